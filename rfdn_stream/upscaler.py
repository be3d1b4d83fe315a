"""The one engine behind every door: a device, a network and a ring of slots.

frame -> [pin_in] -> h2d -> pre kernel -> network -> post kernel -> d2h -> [pin_out] -> frame
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from rfdn_stream.arrays import Array, array_of, frame_of
from rfdn_stream.batch import LARGEST, Batch, Surface, Work, check_batch, drain, fill, together
from rfdn_stream.config import Size
from rfdn_stream.devices.base import Device
from rfdn_stream.devices.ring import Ring, Slot
from rfdn_stream.engines.base import Engine, enlarge, takes_batches
from rfdn_stream.engines.chain import Chain
from rfdn_stream.engines.regions import Change, Regions
from rfdn_stream.engines.torch_engine import out_of_memory
from rfdn_stream.errors import DeviceError, ModelError, RfdnError, UsageError
from rfdn_stream.frame import CardPlane, ColorSpec, Frame, Layout, PixelFormat, Plane
from rfdn_stream.kernels.resample import resample
from rfdn_stream.nets.catalogue import ModelSpec
from rfdn_stream.nets.steps import open_steps
from rfdn_stream.opening import open_device, open_engines
from rfdn_stream.reuse import MODES, Memory, Result, Sent
from rfdn_stream.ticket import HEAD, Ticket, place

log = logging.getLogger("rfdn_stream")

MOST = 8  # frames that are put together unasked

Output = tuple[PixelFormat, ColorSpec]


class Upscaler:
    """Enlarges frames with RFDN. Usable from several threads; up to `depth` frames, or batches, are in flight.

    Args:
        model: a name of the catalogue (`rfdn-stream models`), a weights file, or a description of one; None = the
            default for video.
        scale: 2, 3 or 4; a product of these, or the numbers themselves as (2, 4): networks in sequence (`nets.steps`);
            None = the model's own, or 2.
        device: ``cpu``, ``cuda:N``, or ``auto``: a card that works, else the CPU.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16``.
        tile: side of tiles in input pixels; 0 = always whole frames, None = whole frames while they fit.
        engine: what runs the network, a name of the device's `engines`; ``auto`` = the first of them. Of networks in
            sequence one for all, or each one's with commas between.
        depth: slots in the ring, 1 or more.
        dither: ordered dither instead of plain rounding where codes are made.
        purpose: which default model: ``video`` or ``image``.
        strength: how much of the network's result is taken, the rest being the source enlarged by Lanczos: 1 = all,
            0 = nothing, and the network does not run.
        size: of the result, where it is not `scale` times the frame's: what the network gives is resampled (Lanczos).
        denoise: instead of a model: 1 = the one for video, which removes what encoders leave, 0 = the one that it was
            trained on from; between, their weights mixed (`nets.blend`).
        batch: frames that `map` and `in_flight` send through the network at once, 1 to 64; None = as many as the device
            needs to be busy: one on a CPU, more small ones on a card, where the engine takes several.
        reuse: ``frames``: one that is the same as one of the last few, to the bit, gets that one's result, which is
            exact; ``regions``: of the others, too, what is still is kept, which is nearly exact (`engines.regions`);
            ``off``: every frame goes through the network.

    Attributes:
        device, engine, model: what runs, on what, with which weights (a `ModelSpec`; of several the first).
        models: the weights of all networks, in their order.
        work: what the compute stream has done so far.

    Raises:
        UsageError: a name, scale, device or precision that does not exist, or options that exclude each other.
        ModelError: weights that are missing, damaged or another network's.

    Example:
        >>> with Upscaler(scale=2) as upscaler:        # doctest: +SKIP
        ...     big = upscaler(array)                  # uint8 [H, W, 3] -> uint8 [2H, 2W, 3]
    """

    def __init__(
        self,
        model: str | Path | ModelSpec | None = None,
        *,
        scale: int | Sequence[int] | None = None,
        device: str | Device = "auto",
        precision: str = "auto",
        tile: int | None = None,
        engine: str = "auto",
        depth: int = 3,
        dither: bool = False,
        purpose: str = "video",
        strength: float = 1.0,
        denoise: float | None = None,
        size: Size | None = None,
        batch: int | None = None,
        reuse: str = "frames",
    ) -> None:
        if depth < 1:
            raise UsageError(f"depth {depth} is too small; a ring has at least one slot")
        if batch is not None and not 1 <= batch <= LARGEST:
            raise UsageError(f"batch {batch} is outside its range; choose 1 to {LARGEST} frames")
        if reuse not in MODES:
            raise UsageError(f"unknown reuse {reuse!r}; choose {', '.join(MODES)}")
        if reuse == "regions" and (batch or 1) > 1:
            raise UsageError(f"reuse regions takes one frame at a time, not a batch of {batch}; leave out one of them")
        if not 0 <= strength <= 1:
            raise UsageError(f"strength {strength:g} is outside its range; choose 0 (no network) to 1 (all of it)")
        if denoise is not None and model is not None:
            raise UsageError("denoise chooses the model by itself; leave out one of the two, model or denoise")
        self.device = open_device(device) if isinstance(device, str) else device
        networks = open_steps(model, scale, purpose, denoise)
        self.models = tuple(spec for _, spec in networks)
        self.model = self.models[0]
        if reuse == "regions" and len(networks) > 1:
            raise UsageError("reuse regions goes with one network, not with several in sequence; choose frames")
        engines = open_engines(self.device, engine, networks, precision, tile)
        self.engine: Engine = engines[0] if len(engines) == 1 else Chain(engines)
        if batch is not None and batch > 1 and not takes_batches(self.engine):
            raise UsageError(
                f"batch {batch} is not possible: {self.engine.description} takes one frame at a time; "
                "leave batch out, or choose engine torch"
            )
        if reuse == "regions" and getattr(self.engine, "prepares", False):
            raise UsageError(
                f"reuse regions does not go with {self.engine.description}; choose engine torch, or frames"
            )
        self._regions = Regions(self.model.options) if reuse == "regions" and strength > 0 else None
        self.work = Work()
        self._dither = dither
        self._strength = strength
        self._size = size
        self._batch = batch
        self._rgb: torch.Tensor | None = None  # [N, 3, H, W], the compute stream's own; the last frames' size
        self._ring = Ring(self.device, depth)
        self._tickets: dict[Slot, list[Ticket]] = {}
        self._reuse = reuse
        self._memory = Memory(self.device)
        self._number = 0  # of the last frame that was sent
        self._turn = threading.Lock()
        self._turned: Any = None  # for the next thread that has the turn: what the last one has seen and done
        self._closed = False

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, each way."""
        return self.engine.scale

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the result for a frame of this size."""
        return self._size.of(width, height) if self._size else (width * self.scale, height * self.scale)

    @property
    def depth(self) -> int:
        """Slots in the ring."""
        return self._ring.depth

    @property
    def busy(self) -> int:
        """How many of the latest frames are not there yet."""
        return sum(not ticket.done() for tickets in list(self._tickets.values()) for ticket in tickets)

    @property
    def fills_processor(self) -> bool:
        """Whether a network computes on the processor, and leaves nothing of it idle."""
        return self._strength > 0 and self.device.torch_device.type == "cpu"

    @property
    def description(self) -> str:
        """One line for people: which model on which device, how it is run, how much of it is taken."""
        if self._strength == 0:
            return f"Lanczos on {self.device.name}, as strength 0 leaves the network out"
        share = "" if self._strength == 1 else f", strength {self._strength:g}"
        names = " then ".join(model.name for model in self.models)
        return f"{names} on {self.device.name}, {self.engine.description}{share}"

    def submit(
        self, frame: Frame, output: Output | None = None, into: tuple[CardPlane, ...] = (), *, fresh: bool = False
    ) -> Ticket:
        """Sends a frame on its way and returns at once, unless all slots are in flight.

        Then the oldest frame's result is moved out of its slot first (its ticket keeps it).

        Args:
            frame: copied before this returns, so that the caller may reuse its planes; one in the card's memory is
                read until its result is there, and never passes through the host.
            output: format and colour of the result; None = the frame's own.
            into: planes in the card's memory that the result is to fill; without them it goes to the host.
            fresh: goes through the network whatever `reuse` says, and gives its result to no other frame.
        """
        (ticket,) = self.submit_all((frame,), output, into, fresh=fresh)
        return ticket

    def submit_all(
        self,
        frames: Sequence[Frame],
        output: Output | None = None,
        into: tuple[CardPlane, ...] = (),
        *,
        fresh: bool = False,
    ) -> list[Ticket]:
        """Sends frames on their way together: one slot, one call of the network, a ticket each. Else as `submit`.

        Raises:
            UsageError: not 1 to 64 frames, or several that differ in format, size or colour or concern a card's memory.
        """
        check_batch(frames, into)
        first = frames[0]
        format, color = output or (first.format, first.color)
        result = Layout(format, *self.size_of(first.width, first.height)), color
        with self._own_turn():
            if fresh or into or self._reuse == "off":
                return self._send(frames, result, into, fresh=True)[1]
            return self._send_new(frames, result)

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        """One thread at a time sends; it takes over from the one before."""
        with self._turn:
            if self._closed:
                raise RfdnError("this Upscaler is closed; make a new one")
            self.device.observe(self._turned)
            try:
                yield
            finally:
                self._turned = self.device.publish()

    def _send_new(self, frames: Sequence[Frame], result: Result) -> list[Ticket]:
        """Sends those that are not the same as one before."""
        new, found = self._memory.sort(frames, result, self._again)
        slot, made = self._send(new, result) if new else (None, [])
        tickets: list[Ticket] = []
        for frame, known in zip(frames, found, strict=True):
            ticket = known if isinstance(known, Ticket) else made[known]
            if slot is not None and ticket in tickets:
                ticket = self._again(ticket, slot, frame)
            tickets.append(ticket)
        return tickets

    def _again(self, first: Ticket, slot: Slot, frame: Frame) -> Ticket:
        """A ticket for the same frame, whose result is, or will be, in that slot."""
        ticket = first.again(slot, frame)
        # A new list, as `busy` may be reading the old one.
        self._tickets[slot] = [*(other for other in self._tickets.get(slot, ()) if not other.claimed), ticket]
        return ticket

    def _send(
        self, frames: Sequence[Frame], result: Result, into: tuple[CardPlane, ...] = (), *, fresh: bool = False
    ) -> tuple[Slot, list[Ticket]]:
        """Copies frames into the next slot, and sends that on its way."""
        (target, color), first, last = result, frames[0], len(frames) - 1
        source = first.layout
        sizes = place(source, last) + source.nbytes, HEAD + place(target, last) + target.nbytes
        change = self._change(frames)
        slot = self._ring.next()
        for ticket in self._tickets.get(slot, ()):
            ticket.detach()
        self._memory.forget(slot)
        self._ring.acquire(slot, *sizes, from_host=not first.card, back=HEAD if into else None)
        copies: list[tuple[Plane, ...]] = []
        if not first.card:
            memory = self.device.host(slot.pin_in, write=True)
            copies = [source.planes(memory[place(source, index) :]) for index in range(len(frames))]
            for frame, planes in zip(frames, copies, strict=True):
                frame.copy_into(planes)
        tickets = [
            Ticket(self, slot, frame, target, color, into, index=index, count=len(frames))
            for index, frame in enumerate(frames)
        ]
        self._ring.enqueue(
            slot,
            self._compute,
            Batch(tickets, source, first.color, target, color, change),
            fill=partial(fill, layout=source, planes=first.card) if first.card else None,
            drain=partial(drain, layout=target, planes=into) if into else None,
        )
        self._tickets[slot] = tickets
        if copies:
            frame = Frame(copies[-1], first.format, first.width, first.height, first.color)
            self._memory.keep(Sent(slot, tickets[-1], frame, result, self._number, not fresh))
        return slot, tickets

    def _change(self, frames: Sequence[Frame]) -> Change | None:
        """What the next frame changes of the last one; None where that is not asked for."""
        self._number += 1
        if self._regions is None or len(frames) > 1:
            return None
        (frame,) = frames
        before = self._memory.before(self._number, frame)
        if before is None:
            return Change(self._number)
        return Change(self._number, self._regions.parts(before.planes, frame.planes, frame.format))

    def batch_for(self, frame: Frame) -> int:
        """How many frames like this one `in_flight` sends together."""
        if frame.card or self._regions or not takes_batches(self.engine):
            return 1
        return self._batch or min(MOST, -(-self.device.fills // (frame.width * frame.height)))

    def in_flight(
        self, frames: Iterable[Frame], output: Output | None = None, surface: Surface = tuple
    ) -> Iterator[Ticket]:
        """Sends frames, in batches, and gives their tickets in order, so that the ring is full while one is claimed.

        A frame's planes are to stay as they are until its ticket is given. Else as `submit`.
        """
        flying: deque[list[Ticket]] = deque()
        for batch, into in together(frames, self.batch_for, surface):
            flying.append(self.submit_all(batch, output, into))
            if len(flying) == self.depth:
                yield from flying.popleft()
        while flying:
            yield from flying.popleft()

    def map(self, frames: Iterable[Frame | Array]) -> Iterator[Frame | Array]:
        """Enlarges frames in order, several in flight; arrays give arrays, Frames give Frames.

        Each is copied before the next one is asked for, so that its memory may be reused.
        """
        arrays: deque[Array | None] = deque()

        def sent() -> Iterator[Frame]:
            for item in frames:
                frame = item if isinstance(item, Frame) else frame_of(item)
                arrays.append(None if isinstance(item, Frame) else item)
                yield frame if self.batch_for(frame) == 1 else frame.copy()

        for ticket in self.in_flight(sent()):
            yield _claimed(ticket, arrays.popleft())

    def __call__(self, image: Array) -> Array:
        """Enlarges one picture.

        Args:
            image: RGB [H, W, 3] or grey [H, W], uint8 or uint16 using the full range.

        Returns:
            The same kind of array, `scale` times as large each way, or as `size` says.
        """
        return array_of(self.submit(frame_of(image)).result(), image)

    def forget(self) -> None:
        """What comes next is not compared with the frames before: its results depend on it alone."""
        with self._turn:
            self._memory.clear()

    def release(self, slot: Slot) -> None:
        """A ticket's reader is done with the slot."""
        self._ring.release(slot)

    def check(self, total: float, marks: tuple[Any, ...], share: float) -> None:
        """Looks at what came with a result: its sum, when the stages of its way were reached, its share of a batch.

        One that is reused has no `marks`.
        """
        if marks:
            start, begun, ended, end = marks
            seconds = self.device.seconds
            self.work.add(share * seconds(begun, ended), share * (seconds(start, begun) + seconds(ended, end)))
        else:
            self.work.add_reused()
        if not np.isfinite(total):
            raise ModelError(
                f"model {self.model.name} gave NaN or infinite values in {self.engine.precision}; "
                "try --precision fp32, or other weights"
            )

    def close(self, *, abandon: bool = False) -> None:
        """Ends the device's threads: after the frames in flight, or at once with `abandon`."""
        if not self._closed:
            self._closed = True
            try:
                self.device.close(abandon=abandon)
            finally:
                # Tickets know their Upscaler: what is kept here would keep the network until a garbage collection.
                # New ones, as another thread may be sending.
                self._tickets, self._memory, self._rgb = {}, Memory(self.device), None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close(abandon=kind is not None)

    def _compute(self, dev_in: torch.Tensor, dev_out: torch.Tensor, batch: Batch) -> None:
        """Runs on the compute stream, and waits for nothing on it. A failure is that of these frames alone."""
        try:
            kernels, mark = self.device.kernels, self.device.mark
            start = mark()
            rgb = self._room(len(batch.tickets), batch.source, dev_in.device)
            batch.decode(kernels, dev_in, rgb)
            begun = mark()
            result = self._enlarged(rgb, batch.target.height, batch.target.width, batch.change)
            ended = mark()
            batch.encode(kernels, result, dev_out, dither=self._dither)
            batch.mark(start, begun, ended, mark())
        except Exception as failure:  # noqa: BLE001 - raised where the tickets are claimed
            if out_of_memory(failure):
                failure = DeviceError(
                    f"{self.device.name} is out of memory; end other programs that use it; "
                    "smaller tiles or batches need less"
                )
            batch.fail(failure)

    def _room(self, count: int, source: Layout, device: torch.device) -> torch.Tensor:
        """Float32 [count, 3, H, W], kept for the next frames."""
        size = (3, source.height, source.width)
        if self._rgb is None or self._rgb.shape[1:] != size or len(self._rgb) < count:
            self._rgb = torch.empty((count, *size), device=device)
        return self._rgb[:count]

    def _enlarged(self, rgb: torch.Tensor, height: int, width: int, change: Change | None) -> torch.Tensor:
        """RGB [N, 3, height, width] of [N, 3, H, W]: the network's, blended with the plainly resampled source."""
        if self._strength == 0:
            return resample(rgb, height, width)
        if self._regions and change:
            result = self._regions(self.engine, rgb[0], change)[None]
            self.work.keep(1 - self._regions.share)
        else:
            result = enlarge(self.engine, rgb)
        if result.shape[2:] != (height, width):
            result = resample(result.float(), height, width)
        if self._strength == 1:
            return result
        plain = resample(rgb, height, width)
        return plain.lerp_(result.to(plain.dtype), self._strength)


def _claimed(ticket: Ticket, array: Array | None) -> Frame | Array:
    return ticket.result() if array is None else array_of(ticket.result(), array)
