"""The process's Upscalers: one for all filters with the same options, however often their scripts are evaluated."""

from __future__ import annotations

import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rfdn_stream import settle_environment

if TYPE_CHECKING:
    from rfdn_stream import Upscaler

LINGER = 10.0
"""Seconds that an unused Upscaler is kept: players destroy a script before they evaluate it anew, at each seek."""


@dataclass(frozen=True)
class Options:
    """What tells one Upscaler from another; as `Upscaler` takes them."""

    model: str | None
    scale: int | None
    device: str
    precision: str
    tile: int | None
    depth: int
    strength: float
    engine: str
    reuse: str

    def key(self) -> tuple[Options, tuple[Path, int, int] | None]:
        """The options and, of weights in a file, which file, and which state of it."""
        path = None if self.model is None else Path(self.model)
        if path is None or not path.is_file():
            return self, None
        status = path.stat()
        return self, (path.resolve(), status.st_mtime_ns, status.st_size)

    def open(self) -> Upscaler:
        """A new Upscaler; loads the weights, and torch."""
        settle_environment()  # without effect where the host has torch already
        from rfdn_stream import Upscaler

        return Upscaler(
            self.model,
            scale=self.scale,
            device=self.device,
            precision=self.precision,
            tile=self.tile,
            depth=self.depth,
            strength=self.strength,
            engine=self.engine,
            reuse=self.reuse,
        )


@dataclass
class _Shared:
    upscaler: Upscaler
    users: int = 0
    closing: threading.Timer | None = None
    closed: bool = False


class Lease:
    """The right to use an Upscaler, for as long as the lease is alive."""

    def __init__(self, upscaler: Upscaler) -> None:
        self.upscaler = upscaler


class Pool:
    """Lends Upscalers and closes each some time after its last lease is gone."""

    def __init__(self) -> None:
        # Reentrant: a garbage collection inside may end a lease.
        self._lock = threading.RLock()
        self._shared: dict[object, _Shared] = {}

    def lease(self, options: Options) -> Lease:
        """An Upscaler with these options: the one that there is, or a new one.

        Raises what `Upscaler` raises.
        """
        key = options.key()
        with self._lock:
            shared = self._shared.get(key)
            if shared is None:
                shared = self._shared[key] = _Shared(options.open())
            if shared.closing is not None:
                shared.closing.cancel()
                shared.closing = None
            shared.users += 1
        lease = Lease(shared.upscaler)
        weakref.finalize(lease, self._give_back, key, shared).atexit = False
        return lease

    def forget(self, upscaler: Upscaler) -> None:
        """Lends this one no more: its device has failed. Whoever has it keeps it."""
        with self._lock:
            for key, shared in list(self._shared.items()):
                if shared.upscaler is upscaler:
                    del self._shared[key]

    def __len__(self) -> int:
        return len(self._shared)

    def _give_back(self, key: object, shared: _Shared) -> None:
        with self._lock:
            shared.users -= 1
            if shared.users == 0:
                shared.closing = threading.Timer(LINGER, self._close, (key, shared))
                shared.closing.daemon = True
                with suppress(RuntimeError):  # no thread starts when the process ends, which releases everything
                    shared.closing.start()

    def _close(self, key: object, shared: _Shared) -> None:
        with self._lock:
            if shared.users or shared.closed:  # the latter: a timer that was cancelled too late came first
                return
            shared.closed = True
            if self._shared.get(key) is shared:
                del self._shared[key]
        on_card = shared.upscaler.device.torch_device.type == "cuda"
        shared.upscaler.close(abandon=True)
        del shared.upscaler
        if on_card:  # torch keeps what is free for itself, where the player's renderer may need it
            import torch

            torch.cuda.empty_cache()


POOL = Pool()
