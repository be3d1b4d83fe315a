"""Frames that travel together in one slot: which ones do, what becomes of them there, and how they get in and out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rfdn_stream.engines.regions import Change
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import CardPlane, ColorSpec, Frame, Layout
from rfdn_stream.kernels.base import ColorKernels
from rfdn_stream.ticket import HEAD, Ticket, place

LARGEST = HEAD // 4
"""Frames in a slot; as many sums as its head has room for."""

Surface = Callable[[], tuple[CardPlane, ...]]
"""Gives the planes on a card that the next frame is to be made in; () = in the host's memory."""


@dataclass(frozen=True)
class Batch:
    """The way of one slot's frames through the compute stream. They are alike; their places are in their order.

    `change`: of a single frame whose still parts may be kept.
    """

    tickets: Sequence[Ticket]
    source: Layout
    source_color: ColorSpec
    target: Layout
    target_color: ColorSpec
    change: Change | None = None

    def decode(self, kernels: ColorKernels, dev_in: torch.Tensor, rgb: torch.Tensor) -> None:
        """Codes to RGB: fills `rgb` [N, 3, H, W]."""
        for index, picture in enumerate(rgb):
            planes = planes_of(dev_in[place(self.source, index) :], self.source)
            kernels.pre(planes, self.source.format, self.source_color, picture)

    def encode(self, kernels: ColorKernels, rgb: torch.Tensor, dev_out: torch.Tensor, *, dither: bool) -> None:
        """RGB [N, 3, H, W] to codes, and each picture's sum into the head."""
        # Looked at when a frame is claimed (`Upscaler.check`): a look from here would wait for the card.
        sums = dev_out[: 4 * len(rgb)].view(torch.float32)
        torch.sum(rgb, dim=(1, 2, 3), dtype=torch.float32, out=sums)
        for index, picture in enumerate(rgb):
            planes = planes_of(dev_out[HEAD + place(self.target, index) :], self.target)
            kernels.post(picture, planes, self.target.format, self.target_color, dither=dither)

    def mark(self, *marks: Any) -> None:
        """When the stages of the way were reached."""
        for ticket in self.tickets:
            ticket.marks = marks

    def fail(self, failure: BaseException) -> None:
        """A failure of the computation is that of every frame in it."""
        for ticket in self.tickets:
            ticket.fail(failure)


@dataclass
class Work:
    """What the compute stream has done for the frames claimed so far, in seconds by the device's own clock.

    `reused` of these frames were the same as one before, and cost it nothing. `kept` is what was kept of others, as a
    number of whole frames.
    """

    frames: int = 0
    reused: int = 0
    kept: float = 0.0
    network_seconds: float = 0.0
    colour_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, network: float, colour: float) -> None:
        """One more frame, whichever thread claims it; of a batch, its share of the time."""
        with self._lock:
            self.frames += 1
            self.network_seconds += network
            self.colour_seconds += colour

    def add_reused(self) -> None:
        """One more frame that has the result of one before."""
        with self._lock:
            self.frames += 1
            self.reused += 1

    def keep(self, share: float) -> None:
        """So much of a frame did not go through the network."""
        with self._lock:
            self.kept += share


def together(
    frames: Iterable[Frame], most: Callable[[Frame], int], surface: Surface
) -> Iterator[tuple[list[Frame], tuple[CardPlane, ...]]]:
    """Neighbours that are alike, as many as may travel together, and where the result goes if it stays on a card.

    A frame that comes from a card's memory, or goes there, travels alone. None is held back once its batch is full.
    """
    batch: list[Frame] = []
    for frame in frames:
        into = surface()
        if batch and (into or not alike(batch[0], frame)):
            yield batch, ()
            batch = []
        batch.append(frame)
        if into or len(batch) >= most(frame):
            yield batch, into
            batch = []
    if batch:
        yield batch, ()


def alike(one: Frame, other: Frame) -> bool:
    """Whether two frames can travel together: format, size and colour are the same, and the host has both."""
    kinds = [(f.format, f.width, f.height, f.color) for f in (one, other)]
    return kinds[0] == kinds[1] and not (one.card or other.card)


def check_batch(frames: Sequence[Frame], into: Sequence[CardPlane]) -> None:
    """UsageError where the frames cannot travel together."""
    if not 1 <= len(frames) <= LARGEST:
        raise UsageError(f"{len(frames)} frames do not make a batch; send 1 to {LARGEST} at once")
    if len(frames) > 1 and (into or not all(alike(frames[0], frame) for frame in frames)):
        raise UsageError(
            "frames of a batch have one format, size and colour, and lie in the host's memory; send others one by one"
        )


def fill(buffer: torch.Tensor, *, layout: Layout, planes: Sequence[CardPlane]) -> None:
    """From the card's memory into a slot, on the stream of the uploads."""
    for target, plane in zip(planes_of(buffer, layout), planes, strict=True):
        if plane.ready is not None:
            plane.ready.wait()
        target.copy_(plane.tensor, non_blocking=True)


def drain(buffer: torch.Tensor, *, layout: Layout, planes: Sequence[CardPlane]) -> None:
    """From a slot into the card's memory, on the stream of the downloads."""
    for source, plane in zip(planes_of(buffer[HEAD:], layout), planes, strict=True):
        plane.tensor.copy_(source, non_blocking=True)


def planes_of(buffer: torch.Tensor, layout: Layout) -> list[torch.Tensor]:
    """Layout.planes for tensors."""
    dtype = getattr(torch, layout.format.dtype.name)  # they have the same names in NumPy and torch
    sizes = [int(np.prod(s)) * layout.format.dtype.itemsize for s in layout.shapes]
    return [buffer[o : o + n].view(dtype).view(s) for o, n, s in zip(layout.offsets, sizes, layout.shapes, strict=True)]
