"""The ring of slots: everything mutable of the pipeline, and the only synchronisation in it.

A slot owns the four buffers and three events of one frame in flight, or of a few that travel together:

    pin_in --h2d--> dev_in --compute--> dev_out --d2h--> pin_out

Copies up, computation and copies down have a stream each, so that they overlap between frames. Four
waits order them: compute waits for h2d, d2h waits for compute, whoever reads pin_out waits for d2h, and so
does whoever fills a slot again, who takes over from every reader besides. No other synchronisation exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from rfdn_stream.devices.base import Buffer, Device


class Slot:
    """What is in flight together. Buffers grow to the most that they have held."""

    def __init__(self, device: Device, index: int) -> None:
        self.h2d, self.compute, self.d2h = (device.event(n) for n in ("h2d", "compute", "d2h"))
        self.pin_in = self.dev_in = self.dev_out = self.pin_out = device.pinned(0, f"empty[{index}]")
        self.in_bytes = self.out_bytes = self.back = 0
        self.released: list[Any] = []
        self._device, self._index = device, index

    def reserve(self, in_bytes: int, out_bytes: int, *, from_host: bool = True, back: int | None = None) -> None:
        """Room for a frame of these sizes (see `Ring.acquire`). Only for a slot that is not in flight."""
        back = out_bytes if back is None else back
        self.pin_in = self._grown(self.pin_in, in_bytes * from_host, "pin_in", self._device.pinned)
        self.dev_in = self._grown(self.dev_in, in_bytes, "dev_in", self._device.empty)
        self.dev_out = self._grown(self.dev_out, out_bytes, "dev_out", self._device.empty)
        self.pin_out = self._grown(self.pin_out, back, "pin_out", self._device.pinned)
        self.in_bytes, self.out_bytes, self.back = in_bytes, out_bytes, back

    def _grown(self, buffer: Buffer, nbytes: int, name: str, make: Callable[[int, str], Buffer]) -> Buffer:
        return buffer if buffer.nbytes >= nbytes else make(nbytes, f"{name}[{self._index}]")


class Ring:
    """`depth` slots used in turn, and the three streams.

    Not locked: whoever owns the ring lets one thread at a time acquire and enqueue.
    """

    def __init__(self, device: Device, depth: int) -> None:
        self.device, self.depth = device, depth
        self._up, self._compute, self._down = (device.stream(n) for n in ("h2d", "compute", "d2h"))
        self._slots: Iterator[Slot] = cycle([Slot(device, i) for i in range(depth)])

    def next(self) -> Slot:
        """The slot whose turn it is, oldest first. It may still be in flight: see `acquire`."""
        return next(self._slots)

    def acquire(
        self, slot: Slot, in_bytes: int, out_bytes: int, *, from_host: bool = True, back: int | None = None
    ) -> None:
        """Makes a slot ready to be filled: what it held was read, or nobody will read it.

        Args:
            in_bytes, out_bytes: of dev_in and dev_out.
            from_host: whether dev_in is filled from pin_in.
            back: bytes from the start of dev_out that come back to pin_out; None = all.
        """
        slot.d2h.synchronize()
        for token in slot.released:
            self.device.observe(token)
        slot.reserve(in_bytes, out_bytes, from_host=from_host, back=back)
        slot.released.clear()

    def enqueue(
        self,
        slot: Slot,
        work: Callable[..., None],
        *args: Any,
        fill: Callable[..., None] | None = None,
        drain: Callable[..., None] | None = None,
    ) -> None:
        """Sends a filled slot on its way: `work(dev_in, dev_out, *args)` between the two copies.

        A frame that lies on the device needs no host: `fill(dev_in)` runs on the stream of the uploads instead of
        the copy from pin_in, `drain(dev_out)` on that of the downloads before the copy to pin_out.
        """
        device = self.device
        if fill is None:
            device.copy(slot.dev_in, slot.pin_in, slot.in_bytes, self._up)
        else:
            device.launch(fill, self._up, [], [slot.dev_in])
        self._up.record(slot.h2d)

        self._compute.wait(slot.h2d)
        device.launch(work, self._compute, [slot.dev_in], [slot.dev_out], *args)
        self._compute.record(slot.compute)

        self._down.wait(slot.compute)
        if drain is not None:
            device.launch(drain, self._down, [slot.dev_out], [])
        device.copy(slot.pin_out, slot.dev_out, slot.back, self._down)
        self._down.record(slot.d2h)

    def release(self, slot: Slot) -> None:
        """The calling thread has read pin_out, or its part of it, and leaves that to the next frame."""
        token = self.device.publish()
        if token is not None:  # only a checking device gives any; of frames that repeat, one slot has many readers
            slot.released.append(token)
