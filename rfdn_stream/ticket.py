"""A frame's claim check, between `Upscaler.submit` and whoever takes the result."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from rfdn_stream.devices.base import Device
from rfdn_stream.devices.ring import Slot
from rfdn_stream.errors import RfdnError
from rfdn_stream.frame import CardPlane, ColorSpec, Frame, Layout

HEAD = 256
"""Bytes in front of the results' planes: each result's sum, a float32, in which any NaN or infinity shows."""


def place(layout: Layout, index: int) -> int:
    """Where picture `index` of several begins, which lie behind one another, aligned, in one buffer; in bytes."""
    return index * -(-layout.nbytes // HEAD) * HEAD


class Owner(Protocol):
    """What a ticket needs of the Upscaler that gave it."""

    @property
    def device(self) -> Device:
        """Where the slot lies."""

    def check(self, total: float, marks: tuple[Any, ...], share: float) -> None:
        """Looks at what came with the result; raises where it is no picture."""

    def release(self, slot: Slot) -> None:
        """The ticket's reader is done with the slot."""


class Ticket:
    """A frame on its way, number `index` of `count` in its slot.

    Claim it once: with `result()`, or as a context manager without a copy.

        frame = ticket.result()          # the frame owns its memory
        with ticket as frame:            # views of the slot, valid inside the block, on this thread
            encoder.encode(frame)

    Submit nothing inside such a block: the new frame may need the very slot that the block holds.
    """

    def __init__(
        self,
        owner: Owner,
        slot: Slot,
        frame: Frame,
        target: Layout,
        color: ColorSpec,
        into: tuple[CardPlane, ...] = (),
        *,
        index: int = 0,
        count: int = 1,
        first: Ticket | None = None,
    ) -> None:
        self._owner, self._source, self._target, self._color = owner, frame, target, color
        self._into, self._index, self._count, self._first = into, index, count, first
        self._slot: Slot | None = slot
        self._result: Frame | None = None
        self._failure: BaseException | None = None
        self.marks: tuple[Any, ...] = ()
        self._viewing = False
        # Held while the slot is viewed, so that nobody takes the slot from under the viewer.
        self._lock = threading.RLock()

    def again(self, slot: Slot, frame: Frame) -> Ticket:
        """A ticket for a frame that is the same as this one, whose result `slot` still holds."""
        return Ticket(self._owner, slot, frame, self._target, self._color, index=self._index, first=self)

    @property
    def repeats(self) -> bool:
        """Whether the frame was the same as one before, so that the network was not asked."""
        return self._first is not None

    @property
    def claimed(self) -> bool:
        """Whether the slot is of no more use to this ticket."""
        return self._slot is None

    @property
    def failed(self) -> bool:
        """Whether it is known by now that there will be no result."""
        return self._failure is not None

    def result(self) -> Frame:
        """Waits for the enlarged frame and returns it in memory of its own; raises what went wrong."""
        self.detach()
        if self._failure is not None:
            raise self._failure
        assert self._result is not None
        return self._result

    def done(self) -> bool:
        """Whether `result()` would return at once."""
        slot = self._slot
        return slot is None or slot.d2h.done()

    def wait(self) -> None:
        """Waits until the frame is there, without claiming it."""
        slot = self._slot
        if slot is not None:
            slot.d2h.synchronize()

    def __enter__(self) -> Frame:
        self._lock.acquire()
        try:
            if self._slot is None:
                return self.result()
            self._viewing = True
            return self._view(self._slot)
        except BaseException:
            self._leave()
            raise

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._leave()

    def detach(self) -> None:
        """Takes the result out of the slot, so that the slot can serve another frame."""
        with self._lock:
            if self._slot is None:
                return
            if self._viewing:
                raise RfdnError("every slot is in use by this thread; leave a ticket's block before submitting more")
            try:
                view = self._view(self._slot)
                planes = tuple(p.copy() for p in view.planes)
                self._result = view.like(planes, self._target, self._color, view.card)
            except BaseException as failure:  # noqa: BLE001 - raised by result()
                self._failure = failure
            self._release()

    def fail(self, failure: BaseException) -> None:
        """This frame's computation failed; others go on."""
        self._failure = failure

    def _view(self, slot: Slot) -> Frame:
        slot.d2h.synchronize()
        if self._first is not None:
            self._failure = self._failure or self._first._failure
        if self._failure is not None:
            raise self._failure
        memory = self._owner.device.host(slot.pin_out, write=False).view()
        memory.flags.writeable = False  # another ticket may show it, too
        try:
            self._owner.check(float(memory[:HEAD].view(np.float32)[self._index]), self.marks, 1 / self._count)
        except RfdnError as failure:
            self._failure = failure
            raise
        planes = () if self._into else self._target.planes(memory[HEAD + place(self._target, self._index) :])
        return self._source.like(planes, self._target, self._color, self._into)

    def _leave(self) -> None:
        if self._viewing:
            self._viewing = False
            self._release()
        self._lock.release()

    def _release(self) -> None:
        if self._slot is not None:
            self._owner.release(self._slot)
            self._slot = None
            del self._source  # memory of whoever made it, which the latest tickets and queues would keep
