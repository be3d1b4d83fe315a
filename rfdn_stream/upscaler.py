"""The one engine behind every door: a device, a network and a ring of slots.

frame -> [pin_in] -> h2d -> pre kernel -> network -> post kernel -> d2h -> [pin_out] -> frame
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream import registry
from rfdn_stream.devices.base import Device
from rfdn_stream.devices.ring import Ring, Slot
from rfdn_stream.engines.base import Engine
from rfdn_stream.errors import ModelError, RfdnError, UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, Layout, PixelFormat
from rfdn_stream.nets.catalogue import default_model, open_model

Output = tuple[PixelFormat, ColorSpec]
Array = npt.NDArray[Any]


@dataclass
class Work:
    """What the compute stream has done so far; seconds are wall clock."""

    frames: int = 0
    network_seconds: float = 0.0
    colour_seconds: float = 0.0


@dataclass(frozen=True)
class _Job:
    """One frame's way through the compute stream."""

    ticket: Ticket
    source: Layout
    source_color: ColorSpec
    target: Layout
    target_color: ColorSpec


class Ticket:
    """A frame on its way. Claim it once: with `result()`, or as a context manager without a copy.

        frame = ticket.result()          # the frame owns its memory
        with ticket as frame:            # views of the slot, valid inside the block, on this thread
            encoder.encode(frame)

    Submit nothing inside such a block: the new frame may need the very slot that the block holds.
    """

    def __init__(self, upscaler: Upscaler, slot: Slot, frame: Frame, target: Layout, color: ColorSpec) -> None:
        self._upscaler, self._source, self._target, self._color = upscaler, frame, target, color
        self._slot: Slot | None = slot
        self._result: Frame | None = None
        self._failure: BaseException | None = None
        self._viewing = False
        # Held while the slot is viewed, so that nobody takes the slot from under the viewer.
        self._lock = threading.RLock()

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
                self._result = view.like(tuple(p.copy() for p in view.planes), self._target, self._color)
            except BaseException as failure:  # noqa: BLE001 - raised by result()
                self._failure = failure
            self._release()

    def fail(self, failure: BaseException) -> None:
        """This frame's computation failed; others go on."""
        self._failure = failure

    def _view(self, slot: Slot) -> Frame:
        slot.d2h.synchronize()
        if self._failure is not None:
            raise self._failure
        memory = self._upscaler.device.host(slot.pin_out, write=False)
        return self._source.like(self._target.planes(memory), self._target, self._color)

    def _leave(self) -> None:
        if self._viewing:
            self._viewing = False
            self._release()
        self._lock.release()

    def _release(self) -> None:
        if self._slot is not None:
            self._upscaler.release(self._slot)
            self._slot = None


class Upscaler:
    """Enlarges frames with RFDN. Usable from several threads; up to `depth` frames are in flight.

    Args:
        model: a name of the catalogue (`rfdn-stream models`) or a weights file; None = the default for video.
        scale: 2, 3 or 4; None = the model's own, or 2.
        device: ``auto``, ``cpu``, or ``cuda:N``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16``.
        tile: side of tiles in input pixels; 0 = always whole frames, None = whole frames while they fit.
        depth: slots in the ring, 1 or more.
        dither: ordered dither instead of plain rounding where codes are made.
        purpose: which default model: ``video`` or ``image``.

    Attributes:
        device, engine, model: what runs, on what, with which weights (a `ModelSpec`).
        work: what the compute stream has done so far.

    Raises:
        UsageError: a name, scale, device or precision that does not exist.
        ModelError: weights that are missing, damaged or another network's.

    Example:
        >>> with Upscaler(scale=2) as upscaler:        # doctest: +SKIP
        ...     big = upscaler(array)                  # uint8 [H, W, 3] -> uint8 [2H, 2W, 3]
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        scale: int | None = None,
        device: str | Device = "auto",
        precision: str = "auto",
        tile: int | None = None,
        depth: int = 3,
        dither: bool = False,
        purpose: str = "video",
    ) -> None:
        if depth < 1:
            raise UsageError(f"depth {depth} is too small; a ring has at least one slot")
        self.device = open_device(device) if isinstance(device, str) else device
        network, self.model = open_model(model or default_model(scale or 2, purpose), scale)
        engine_class = registry.load(registry.ENGINES, "torch", "engine")
        self.engine: Engine = engine_class(network, self.model, self.device.torch_device, precision, tile)
        self.work = Work()
        self._dither = dither
        self._ring = Ring(self.device, depth)
        self._tickets: dict[Slot, Ticket] = {}
        self._turn = threading.Lock()
        self._closed = False

    @property
    def scale(self) -> int:
        """Output pixels per input pixel, each way."""
        return self.engine.scale

    @property
    def depth(self) -> int:
        """Slots in the ring."""
        return self._ring.depth

    def submit(self, frame: Frame, output: Output | None = None) -> Ticket:
        """Sends a frame on its way and returns at once, unless all slots are in flight.

        Then the oldest frame's result is moved out of its slot first (its ticket keeps it).

        Args:
            frame: copied before this returns; the caller may reuse its planes.
            output: format and colour of the result; None = the frame's own.
        """
        format, color = output or (frame.format, frame.color)
        source = frame.layout
        target = Layout(format, frame.width * self.scale, frame.height * self.scale)
        with self._turn:
            if self._closed:
                raise RfdnError("this Upscaler is closed; make a new one")
            slot = self._ring.next()
            if slot in self._tickets:
                self._tickets.pop(slot).detach()
            self._ring.acquire(slot, source.nbytes, target.nbytes)
            frame.copy_into(source.planes(self.device.host(slot.pin_in, write=True)))
            ticket = Ticket(self, slot, frame, target, color)
            self._ring.enqueue(slot, self._compute, _Job(ticket, source, frame.color, target, color))
            self._tickets[slot] = ticket
        return ticket

    def map(self, frames: Iterable[Frame | Array]) -> Iterator[Frame | Array]:
        """Enlarges frames in order, `depth` in flight; arrays give arrays, Frames give Frames."""
        flying: deque[tuple[Ticket, Array | None]] = deque()
        for item in frames:
            array = None if isinstance(item, Frame) else item
            flying.append((self.submit(item if isinstance(item, Frame) else frame_of(item)), array))
            if len(flying) == self.depth:
                yield _claimed(*flying.popleft())
        while flying:
            yield _claimed(*flying.popleft())

    def __call__(self, image: Array) -> Array:
        """Enlarges one picture.

        Args:
            image: RGB [H, W, 3] or grey [H, W], uint8 or uint16 using the full range.

        Returns:
            The same kind of array, `scale` times as large each way.
        """
        return array_of(self.submit(frame_of(image)).result(), image)

    def release(self, slot: Slot) -> None:
        """A ticket's reader is done with the slot."""
        self._ring.release(slot)

    def close(self, *, abandon: bool = False) -> None:
        """Ends the device's threads: after the frames in flight, or at once with `abandon`."""
        if not self._closed:
            self._closed = True
            self.device.close(abandon=abandon)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close(abandon=kind is not None)

    def _compute(self, dev_in: torch.Tensor, dev_out: torch.Tensor, job: _Job) -> None:
        """Runs on the compute stream. A failure is this frame's alone."""
        try:
            kernels = self.device.kernels
            start = time.perf_counter()
            rgb = torch.empty((3, job.source.height, job.source.width), device=dev_in.device)
            kernels.pre(_planes(dev_in, job.source), job.source.format, job.source_color, rgb)
            begun = time.perf_counter()
            result = self.engine(rgb)
            # One sum finds any NaN or infinity at a fraction of the cost of isfinite().all().
            if not bool(torch.isfinite(result.sum(dtype=torch.float32))):
                raise ModelError(
                    f"model {self.model.name} gave NaN or infinite values in {self.engine.precision}; "
                    "try --precision fp32, or other weights"
                )
            ended = time.perf_counter()
            planes = _planes(dev_out, job.target)
            kernels.post(result, planes, job.target.format, job.target_color, dither=self._dither)
            self.work.frames += 1
            self.work.network_seconds += ended - begun
            self.work.colour_seconds += (begun - start) + (time.perf_counter() - ended)
        except Exception as failure:  # noqa: BLE001 - raised where the ticket is claimed
            job.ticket.fail(failure)


def open_device(name: str) -> Device:
    """The device that the user names: ``auto``, ``cpu``, ``cuda:1``; UsageError lists what there is."""
    kind, _, index = name.partition(":")
    if index and not index.isdecimal():
        raise UsageError(f"device {name!r} is not understood; write auto, cpu or cuda:N")
    if kind == "auto":
        kind = next(iter(registry.DEVICES))
    device: Device = registry.load(registry.DEVICES, kind, "device")(int(index) if index else None)
    return device


def frame_of(image: Array) -> Frame:
    """A picture in an array (see `Upscaler.__call__`) as a frame; no copy."""
    if (
        image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
        or image.dtype not in (np.uint8, np.uint16)
    ):
        raise UsageError(
            f"got an array of {image.dtype} {list(image.shape)}; "
            "pictures are uint8 or uint16, RGB [H, W, 3] or grey [H, W]"
        )
    height, width = image.shape[:2]
    if image.dtype == np.uint16:
        red, green, blue = (image, image, image) if image.ndim == 2 else np.moveaxis(image, 2, 0)
        return Frame((green, blue, red), FORMATS["gbrp16le"], width, height, RGB_FULL)
    if image.ndim == 2:
        return Frame((image,), FORMATS["gray"], width, height, ColorSpec(range="full"))
    return Frame((image,), FORMATS["rgb24"], width, height, RGB_FULL)


def array_of(frame: Frame, like: Array) -> Array:
    """The way back from `frame_of`."""
    if len(frame.planes) == 1:
        return frame.planes[0]
    green, blue, red = frame.planes
    return green if like.ndim == 2 else np.stack((red, green, blue), axis=2)


def _claimed(ticket: Ticket, array: Array | None) -> Frame | Array:
    return ticket.result() if array is None else array_of(ticket.result(), array)


def _planes(buffer: torch.Tensor, layout: Layout) -> list[torch.Tensor]:
    """Layout.planes for tensors."""
    dtype = torch.uint8 if layout.format.dtype.itemsize == 1 else torch.uint16
    sizes = [int(np.prod(s)) * layout.format.dtype.itemsize for s in layout.shapes]
    return [buffer[o : o + n].view(dtype).view(s) for o, n, s in zip(layout.offsets, sizes, layout.shapes, strict=True)]
