"""The one engine behind every door: a device, a network and a ring of slots.

frame -> [pin_in] -> h2d -> pre kernel -> network -> post kernel -> d2h -> [pin_out] -> frame
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from rfdn_stream import registry
from rfdn_stream.arrays import Array, array_of, frame_of
from rfdn_stream.config import Size
from rfdn_stream.devices.base import Device, NoDeviceError
from rfdn_stream.devices.ring import Ring, Slot
from rfdn_stream.engines.base import Engine, EngineUnavailableError
from rfdn_stream.engines.choice import order
from rfdn_stream.errors import DeviceError, ModelError, RfdnError, UsageError
from rfdn_stream.frame import CardPlane, ColorSpec, Frame, Layout, PixelFormat
from rfdn_stream.kernels.resample import resample
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.blend import denoised
from rfdn_stream.nets.catalogue import ModelSpec, default_model, open_model
from rfdn_stream.ticket import HEAD, Ticket

log = logging.getLogger("rfdn_stream")

Output = tuple[PixelFormat, ColorSpec]


@dataclass
class Work:
    """What the compute stream has done for the frames claimed so far, in seconds by the device's own clock."""

    frames: int = 0
    network_seconds: float = 0.0
    colour_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, network: float, colour: float) -> None:
        """One more frame, whichever thread claims it."""
        with self._lock:
            self.frames += 1
            self.network_seconds += network
            self.colour_seconds += colour


@dataclass(frozen=True)
class _Job:
    """One frame's way through the compute stream."""

    ticket: Ticket
    source: Layout
    source_color: ColorSpec
    target: Layout
    target_color: ColorSpec


class Upscaler:
    """Enlarges frames with RFDN. Usable from several threads; up to `depth` frames are in flight.

    Args:
        model: a name of the catalogue (`rfdn-stream models`), a weights file, or a description of one; None = the
            default for video.
        scale: 2, 3 or 4; None = the model's own, or 2.
        device: ``cpu``, ``cuda:N``, or ``auto``: a card that works, else the CPU.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16``.
        tile: side of tiles in input pixels; 0 = always whole frames, None = whole frames while they fit.
        engine: what runs the network, a name of the device's `engines`; ``auto`` = the first of them.
        depth: slots in the ring, 1 or more.
        dither: ordered dither instead of plain rounding where codes are made.
        purpose: which default model: ``video`` or ``image``.
        strength: how much of the network's result is taken, the rest being the source enlarged by Lanczos: 1 = all,
            0 = nothing, and the network does not run.
        size: of the result, where it is not `scale` times the frame's: what the network gives is resampled (Lanczos).
        denoise: instead of a model: 0 = the model for images, 1 = the one for video, which removes what encoders
            leave; between, their weights mixed (`nets.blend`).

    Attributes:
        device, engine, model: what runs, on what, with which weights (a `ModelSpec`).
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
        scale: int | None = None,
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
    ) -> None:
        if depth < 1:
            raise UsageError(f"depth {depth} is too small; a ring has at least one slot")
        if not 0 <= strength <= 1:
            raise UsageError(f"strength {strength:g} is outside its range; choose 0 (no network) to 1 (all of it)")
        if denoise is not None and model is not None:
            raise UsageError("denoise chooses the model by itself; leave out one of the two, model or denoise")
        self.device = open_device(device) if isinstance(device, str) else device
        if denoise is None:
            network, self.model = open_model(model or default_model(scale or 2, purpose), scale)
        else:
            network, self.model = denoised(scale or 2, denoise)
        self.engine = _open_engine(self.device, engine, network, self.model, precision, tile)
        self.work = Work()
        self._dither = dither
        self._strength = strength
        self._size = size
        self._rgb: torch.Tensor | None = None  # the compute stream's own; the last frame's size
        self._ring = Ring(self.device, depth)
        self._tickets: dict[Slot, Ticket] = {}
        self._turn = threading.Lock()
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
        return sum(not ticket.done() for ticket in list(self._tickets.values()))

    @property
    def description(self) -> str:
        """One line for people: which model on which device, how it is run, how much of it is taken."""
        if self._strength == 0:
            return f"Lanczos on {self.device.name}, as strength 0 leaves the network out"
        share = "" if self._strength == 1 else f", strength {self._strength:g}"
        return f"{self.model.name} on {self.device.name}, {self.engine.description}{share}"

    def submit(self, frame: Frame, output: Output | None = None, into: tuple[CardPlane, ...] = ()) -> Ticket:
        """Sends a frame on its way and returns at once, unless all slots are in flight.

        Then the oldest frame's result is moved out of its slot first (its ticket keeps it).

        Args:
            frame: copied before this returns, so that the caller may reuse its planes; one in the card's memory is
                read until its result is there, and never passes through the host.
            output: format and colour of the result; None = the frame's own.
            into: planes in the card's memory that the result is to fill; without them it goes to the host.
        """
        format, color = output or (frame.format, frame.color)
        source = frame.layout
        target = Layout(format, *self.size_of(frame.width, frame.height))
        with self._turn:
            if self._closed:
                raise RfdnError("this Upscaler is closed; make a new one")
            slot = self._ring.next()
            if slot in self._tickets:
                self._tickets.pop(slot).detach()
            back = HEAD if into else None
            self._ring.acquire(slot, source.nbytes, HEAD + target.nbytes, from_host=not frame.card, back=back)
            if not frame.card:
                frame.copy_into(source.planes(self.device.host(slot.pin_in, write=True)))
            ticket = Ticket(self, slot, frame, target, color, into)
            self._ring.enqueue(
                slot,
                self._compute,
                _Job(ticket, source, frame.color, target, color),
                fill=partial(_fill, layout=source, planes=frame.card) if frame.card else None,
                drain=partial(_drain, layout=target, planes=into) if into else None,
            )
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
            The same kind of array, `scale` times as large each way, or as `size` says.
        """
        return array_of(self.submit(frame_of(image)).result(), image)

    def release(self, slot: Slot) -> None:
        """A ticket's reader is done with the slot."""
        self._ring.release(slot)

    def check(self, total: float, marks: tuple[Any, ...]) -> None:
        """Looks at what came with a result: its sum, and when the stages of its way were reached."""
        start, begun, ended, end = marks
        seconds = self.device.seconds
        self.work.add(seconds(begun, ended), seconds(start, begun) + seconds(ended, end))
        if not np.isfinite(total):
            raise ModelError(
                f"model {self.model.name} gave NaN or infinite values in {self.engine.precision}; "
                "try --precision fp32, or other weights"
            )

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
        """Runs on the compute stream, and waits for nothing on it. A failure is this frame's alone."""
        try:
            kernels, mark, size = self.device.kernels, self.device.mark, (3, job.source.height, job.source.width)
            start = mark()
            if self._rgb is None or self._rgb.shape != size:
                self._rgb = torch.empty(size, device=dev_in.device)
            kernels.pre(_planes(dev_in, job.source), job.source.format, job.source_color, self._rgb)
            begun = mark()
            result = self._enlarged(self._rgb, job.target.height, job.target.width)
            ended = mark()
            # Looked at when the frame is claimed (`check`): a look from here would wait for the card.
            torch.sum(result, dim=(0, 1, 2), dtype=torch.float32, out=dev_out[:4].view(torch.float32)[0])
            planes = _planes(dev_out[HEAD:], job.target)
            kernels.post(result, planes, job.target.format, job.target_color, dither=self._dither)
            job.ticket.marks = (start, begun, ended, mark())
        except torch.OutOfMemoryError:
            job.ticket.fail(
                DeviceError(f"{self.device.name} is out of memory; end other programs that use it, or choose a --tile")
            )
        except Exception as failure:  # noqa: BLE001 - raised where the ticket is claimed
            job.ticket.fail(failure)

    def _enlarged(self, rgb: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """RGB [3, height, width] of [3, H, W]: the network's result, blended with the plainly resampled source."""
        if self._strength == 0:
            return resample(rgb, height, width)
        result = self.engine(rgb)
        if result.shape[1:] != (height, width):
            result = resample(result.float(), height, width)
        if self._strength == 1:
            return result
        plain = resample(rgb, height, width)
        return plain.lerp_(result.to(plain.dtype), self._strength)


def open_device(name: str) -> Device:
    """The device that the user names: ``auto``, ``cpu``, ``cuda:1``.

    ``auto`` takes the first kind of registry.DEVICES that works, and says why it passed over the ones before.

    Raises:
        UsageError: no such device, and what there is.
        DeviceError: it is there, but does not work.
    """
    kind, colon, index = name.partition(":")
    if "," in name:
        raise UsageError(f"one Upscaler runs on one device, got {name!r}; name one, or take a MultiUpscaler")
    if (colon and not index.isdecimal()) or (colon and kind == "auto"):
        raise UsageError(f"device {name!r} is not understood; write auto, cpu or cuda:N")
    if kind != "auto":
        device: Device = registry.load(registry.DEVICES, kind, "device")(int(index) if index else None)
        return device
    *better, last = registry.DEVICES
    for kind in better:
        try:
            return open_device(kind)
        except (UsageError, DeviceError) as failure:
            # A machine without a card is no cause for alarm; a card that does not work is.
            level = logging.INFO if isinstance(failure, NoDeviceError) else logging.WARNING
            log.log(level, "not on %s: %s", kind, str(failure))  # a record of it would hold on to its traceback
    return open_device(last)


def _open_engine(
    device: Device, asked: str, network: Network, model: ModelSpec, precision: str, tile: int | None
) -> Engine:
    """The engine that the user names; ``auto`` takes the device's first one that can, and says why not those before.

    Raises:
        UsageError: no such engine on that device, or it cannot run this network so; and what there is.
    """
    if asked in registry.ENGINES and asked not in device.engines:
        raise UsageError(f"engine {asked} does not run on {device.name}; choose {' or '.join(device.engines)}")
    if asked == "auto":
        *better, last = order(device.engines, network, model, device.torch_device, precision)
    else:
        better, last = [], asked
    for name in better:
        try:
            return _engine(name)(network, model, device.torch_device, precision, tile)
        except EngineUnavailableError as failure:
            log.info("not by engine %s: %s", name, str(failure))
    return _engine(last)(network, model, device.torch_device, precision, tile)


def _engine(name: str) -> Callable[..., Engine]:
    """The class of the engine of that name."""
    found: Callable[..., Engine] = registry.load(registry.ENGINES, name, "engine")
    return found


def _claimed(ticket: Ticket, array: Array | None) -> Frame | Array:
    return ticket.result() if array is None else array_of(ticket.result(), array)


def _fill(buffer: torch.Tensor, *, layout: Layout, planes: Sequence[CardPlane]) -> None:
    """From the card's memory into a slot, on the stream of the uploads."""
    for target, plane in zip(_planes(buffer, layout), planes, strict=True):
        if plane.ready is not None:
            plane.ready.wait()
        target.copy_(plane.tensor, non_blocking=True)


def _drain(buffer: torch.Tensor, *, layout: Layout, planes: Sequence[CardPlane]) -> None:
    """From a slot into the card's memory, on the stream of the downloads."""
    for source, plane in zip(_planes(buffer[HEAD:], layout), planes, strict=True):
        plane.tensor.copy_(source, non_blocking=True)


def _planes(buffer: torch.Tensor, layout: Layout) -> list[torch.Tensor]:
    """Layout.planes for tensors."""
    dtype = getattr(torch, layout.format.dtype.name)  # they have the same names in NumPy and torch
    sizes = [int(np.prod(s)) * layout.format.dtype.itemsize for s in layout.shapes]
    return [buffer[o : o + n].view(dtype).view(s) for o, n, s in zip(layout.offsets, sizes, layout.shapes, strict=True)]
