"""Frames that are the same, to the last code, as one whose result still lies in the ring: they need no network.

Such a frame takes no slot. It gets a ticket of its own for the slot and the place of the first one, whose result it
reads there, or waits for; so whatever becomes of the first one becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from rfdn_stream.batch import alike
from rfdn_stream.devices.base import Device
from rfdn_stream.devices.ring import Slot
from rfdn_stream.frame import ColorSpec, Frame, Layout, Plane
from rfdn_stream.ticket import Ticket

MODES = ("off", "frames", "regions")
BAND = 64  # rows that are compared at once: frames that differ mostly do so in the first
LOOKED_AT = 8  # slots, the newest first

Result = tuple[Layout, ColorSpec]
"""What is to be made of a frame."""


@dataclass(frozen=True)
class Sent:
    """A frame on its way, or there.

    Args:
        slot: where; `ticket`: the first one for it.
        frame: a view of its codes there.
        result: what is made of it.
        number: in the order of sending.
        shared: whether others may have its result.
    """

    slot: Slot
    ticket: Ticket
    frame: Frame
    result: Result
    number: int
    shared: bool


class Memory:
    """The last frame of each slot. Not locked, as the ring."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._sent: dict[Slot, Sent] = {}  # the newest last

    def keep(self, sent: Sent) -> None:
        """The slot holds this frame from now on."""
        self._sent[sent.slot] = sent

    def forget(self, slot: Slot) -> None:
        """The slot is about to be filled with another frame."""
        self._sent.pop(slot, None)

    def clear(self) -> None:
        """No frame so far counts any more."""
        self._sent.clear()

    def first(self, frame: Frame, result: Result) -> Sent | None:
        """The same frame, sent before, of which the same is made; one that is known to have failed does not count."""
        for sent in islice(reversed(self._sent.values()), LOOKED_AT):
            wanted = sent.shared and sent.result == result and not sent.ticket.failed
            if wanted and alike(sent.frame, frame):
                self._device.host(sent.slot.pin_in, write=False)
                if same(sent.frame.planes, frame.planes):
                    return sent
        return None

    def before(self, number: int, frame: Frame) -> Frame | None:
        """The frame that was sent as the one before that number, if this one can be compared with it."""
        sent = next(reversed(self._sent.values()), None)
        if sent is None or sent.number != number - 1 or not alike(sent.frame, frame):
            return None
        self._device.host(sent.slot.pin_in, write=False)
        return sent.frame

    def sort(
        self, frames: Sequence[Frame], result: Result, again: Callable[[Ticket, Slot, Frame], Ticket]
    ) -> tuple[list[Frame], list[Ticket | int]]:
        """Finds out what is new among neighbours.

        Args:
            again: makes the ticket of a frame that is the same as one sent before, from that one's and its slot.

        Returns:
            The new frames, and for each of `frames` its ticket, or its place among the new ones.
        """
        new: list[Frame] = []
        found: list[Ticket | int] = []
        for frame in frames:
            if new and same(new[-1].planes, frame.planes):
                found.append(len(new) - 1)
            elif sent := self.first(frame, result):
                found.append(again(sent.ticket, sent.slot, frame))
            else:
                found.append(len(new))
                new.append(frame)
        return new, found


def same(some: Sequence[Plane], others: Sequence[Plane]) -> bool:
    """Whether planes of the same shapes hold the same bits."""
    pairs = [(codes(one), codes(other)) for one, other in zip(some, others, strict=True)]
    return all(
        np.array_equal(one[top : top + BAND], other[top : top + BAND])
        for one, other in pairs
        for top in range(0, len(one), BAND)
    )


def codes(plane: Plane) -> Plane:
    """The samples as whole numbers: so a NaN is the same as itself, and -0 is not 0."""
    return plane.view(f"u{plane.itemsize}")
