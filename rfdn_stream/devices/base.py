"""What a device offers: streams, events, buffers, asynchronous copies and launches.

The meaning is CUDA's, and every device keeps it:

- Work on one stream runs in order; work on two streams is unordered unless an event orders it.
- A copy reads its source when it runs, not when it is enqueued.
- `Stream.wait(event)` binds to the latest `record` of the event at the time of the call; waiting for an
  event that was never recorded is no wait at all. It holds up the stream, never the host.
- Errors are sticky: once work has failed, every later call raises that error. A lack of memory is not one of
  these: whoever asked for memory hears of it, and the device goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.errors import UsageError
from rfdn_stream.kernels.base import ColorKernels


class NoDeviceError(UsageError):
    """The machine has no device of the kind, which is no fault of it: ``auto`` goes on to the next kind."""


class Event(Protocol):
    """A mark in a stream. `name` tells what it marks (``h2d``, ``compute``, ``d2h``)."""

    name: str

    def done(self) -> bool:
        """Whether the work before the mark has run (True where nothing was ever recorded)."""

    def synchronize(self) -> None:
        """Blocks the host until the mark is reached; raises the device's error if one is pending."""


class Stream(Protocol):
    """A queue of work that runs in order, beside the host and the other streams."""

    name: str

    def record(self, event: Event) -> None: ...

    def wait(self, event: Event) -> None: ...


class Buffer(Protocol):
    """`nbytes` flat bytes, on the host where `pinned`, else on the device."""

    name: str
    nbytes: int
    pinned: bool


class Device(Protocol):
    """A place where frames are computed.

    Attributes:
        name: as the user writes it: ``cpu``, ``cuda:0``.
        torch_device: where engines put their weights.
        kernels: the colour kernels that run on its tensors (`kernels.base`).
        engines: names of registry.ENGINES that run on it, the best first.
        fills: pixels put into the network at once that keep all of it busy; of smaller frames several travel together.
    """

    name: str
    torch_device: torch.device
    kernels: ColorKernels
    engines: tuple[str, ...]
    fills: int

    def stream(self, name: str) -> Stream:
        """The stream of that name, made at the first call."""

    def event(self, name: str) -> Event: ...

    def pinned(self, nbytes: int, name: str) -> Buffer:
        """Host memory that copies to and from the device run beside the host with."""

    def empty(self, nbytes: int, name: str) -> Buffer:
        """Uninitialised device memory."""

    def copy(self, dst: Buffer, src: Buffer, nbytes: int, stream: Stream) -> None:
        """Enqueues a copy of the first `nbytes` bytes."""

    def launch(
        self,
        work: Callable[..., None],
        stream: Stream,
        reads: Sequence[Buffer],
        writes: Sequence[Buffer],
        *args: Any,
    ) -> None:
        """Enqueues `work(*reads, *writes, *args)`; buffers arrive as flat uint8 tensors on the device."""

    def host(self, buffer: Buffer, *, write: bool) -> npt.NDArray[np.uint8]:
        """The host's view of pinned memory, about to be read or written by the calling thread."""

    def mark(self) -> Any:
        """The time at this point of launched work, for `seconds`; to be called by that work."""

    def seconds(self, start: Any, end: Any) -> float:
        """The time between two marks, which the stream has passed."""

    def publish(self) -> Any:
        """A token for what the calling thread has seen and done, to hand to another thread..."""

    def observe(self, token: Any) -> None:
        """...which takes over that knowledge with it. Only a checking device does anything here."""

    def close(self, *, abandon: bool = False) -> None:
        """Drains the streams and raises a pending error; with `abandon`, drops queued work and returns."""
