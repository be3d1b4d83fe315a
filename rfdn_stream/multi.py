"""Several devices behind the doors of one: each has its own ring, and frames go to whichever is least busy."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Self

from rfdn_stream.batch import Work
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import CardPlane, Frame
from rfdn_stream.ticket import Ticket
from rfdn_stream.upscaler import Output, Upscaler


def open_upscaler(*args: Any, device: str = "auto", **options: Any) -> Upscaler:
    """An Upscaler on the device that the user names, or on several: ``cuda:0,cuda:1``.

    Args:
        args, options: as for Upscaler, each device's alike.
        device: as for Upscaler, or several of these with commas between.

    Raises:
        UsageError: a device that does not exist, or whatever else Upscaler refuses.
    """
    names = [name.strip() for name in device.split(",")]
    if len(names) == 1:
        return Upscaler(*args, device=device, **options)
    if not all(names) or "auto" in names:
        raise UsageError(f"device {device!r} is not understood; name each, as in cuda:0,cuda:1")
    return MultiUpscaler.open(names, *args, **options)


class MultiUpscaler(Upscaler):
    """Upscalers with one model on several devices, used as one; see `Upscaler` for the methods.

    Results of `map` come in order, whichever device made them; a ticket's frame is the same whichever it was, where
    the devices are alike. If one device fails, so do the frames that were sent to it and every later `submit`.

    Args:
        upscalers: one or more, which belong to this one from now on.

    Attributes:
        device, engine, model: of the first.
        work: what all have done together.
    """

    def __init__(self, upscalers: list[Upscaler]) -> None:
        first = upscalers[0]
        self.upscalers = tuple(upscalers)
        self.device, self.engine, self.work = first.device, first.engine, Work()
        self.model, self.models = first.model, first.models
        for upscaler in upscalers:
            upscaler.work = self.work
        self._turns = list(upscalers)
        self._sending = threading.Lock()

    @classmethod
    def open(cls, devices: list[str], *args: Any, **options: Any) -> Self:
        """One Upscaler a device; those that were opened are closed again if one is refused."""
        upscalers: list[Upscaler] = []
        try:
            for device in devices:
                upscalers.append(Upscaler(*args, device=device, **options))
        except BaseException:
            for upscaler in upscalers:
                upscaler.close(abandon=True)
            raise
        return cls(upscalers)

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        return self.upscalers[0].size_of(width, height)

    @property
    def depth(self) -> int:
        """Slots in all rings together."""
        return sum(upscaler.depth for upscaler in self.upscalers)

    @property
    def busy(self) -> int:
        """As of one, of all rings together."""
        return sum(upscaler.busy for upscaler in self.upscalers)

    @property
    def fills_processor(self) -> bool:
        """Whether one of them computes on the processor."""
        return any(upscaler.fills_processor for upscaler in self.upscalers)

    @property
    def description(self) -> str:
        """One line for people, as of one, with all devices in it."""
        first, *others = self.upscalers
        return f"{first.description}; and on {', '.join(other.device.name for other in others)}"

    def batch_for(self, frame: Frame) -> int:
        return self.upscalers[0].batch_for(frame)

    def submit_all(
        self,
        frames: Sequence[Frame],
        output: Output | None = None,
        into: tuple[CardPlane, ...] = (),
        *,
        fresh: bool = False,
    ) -> list[Ticket]:
        with self._sending:
            free = min(self._turns, key=lambda upscaler: upscaler.busy)
            # To the end of the queue, so that devices that are equally busy take turns.
            self._turns.remove(free)
            self._turns.append(free)
            return free.submit_all(frames, output, into, fresh=fresh)

    def forget(self) -> None:
        for upscaler in self.upscalers:
            upscaler.forget()

    def close(self, *, abandon: bool = False) -> None:
        """Closes all, whatever becomes of one; raises the first error."""
        failures = []
        for upscaler in self.upscalers:
            try:
                upscaler.close(abandon=abandon)
            except Exception as failure:  # noqa: BLE001 - raised below
                failures.append(failure)
        if failures:
            raise failures[0]
