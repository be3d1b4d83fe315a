"""The values that travel through the engine: pixel formats, colour, frames, and what a stream says of itself.

Nothing here needs torch or PyAV. Names of formats are FFmpeg's (``yuv420p10le``), names of matrices are
``bt601``, ``bt709``, ``bt2020``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rfdn_stream.errors import MediaError, UsageError

Family = Literal["yuv", "gray", "rgb"]
Arrangement = Literal["planar", "semiplanar", "packed"]
Matrix = Literal["bt601", "bt709", "bt2020", "rgb"]
Range = Literal["limited", "full"]
Siting = Literal["left", "center", "topleft"]
Plane = npt.NDArray[Any]
"""Samples, of `PixelFormat.dtype`."""


@dataclass(frozen=True)
class PixelFormat:
    """How the samples of a picture lie in memory.

    Planes are arrays of shape (rows, columns), or (rows, columns, n) where n components are interleaved:
    n = 2 for the chroma plane of NV12/P010, n = 3 for RGB24.

    Args:
        name: FFmpeg's name of the format.
        family: what the components mean.
        bits: significant bits of a sample, 8 to 16; those above 8 bits are stored as little-endian uint16.
        arrangement: planar (one plane a component), semiplanar (Y, then CbCr interleaved), packed.
        subsampling: log2 of the chroma subsampling, (horizontal, vertical), each 0 or 1.
        shift: unused low bits of a stored sample (6 for P010, whose samples are aligned to the top).
        floating: samples are numbers of 16 or 32 bits instead of codes: black is 0 and white 1 in either range,
            Cb and Cr are around 0, and no value is rounded or clamped, neither on the way in nor on the way out.
    """

    name: str
    family: Family
    bits: int
    arrangement: Arrangement = "planar"
    subsampling: tuple[int, int] = (0, 0)
    shift: int = 0
    floating: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for 8 bits, little-endian uint16 above; float16 or float32 where `floating`."""
        if self.floating:
            return np.dtype(f"<f{self.bits // 8}")
        return np.dtype(np.uint8) if self.bits == 8 else np.dtype("<u2")

    @property
    def code_max(self) -> int:
        """The largest code, 2^bits - 1; without meaning where `floating`."""
        return (1 << self.bits) - 1

    def chroma_size(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows of a chroma plane: rounded up, so that odd pictures keep their last column."""
        sx, sy = self.subsampling
        return -(-width >> sx), -(-height >> sy)

    def plane_shapes(self, width: int, height: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the planes of a width x height picture, in FFmpeg's plane order (G, B, R for GBR)."""
        if self.arrangement == "packed":
            return ((height, width, 3),)
        luma = (height, width)
        if self.family == "gray":
            return (luma,)
        cw, ch = self.chroma_size(width, height)
        if self.arrangement == "semiplanar":
            return (luma, (ch, cw, 2))
        return (luma, (ch, cw), (ch, cw))


def _yuv(name: str, bits: int, subsampling: tuple[int, int]) -> PixelFormat:
    return PixelFormat(name, "yuv", bits, subsampling=subsampling)


FORMATS: dict[str, PixelFormat] = {
    f.name: f
    for f in (
        _yuv("yuv420p", 8, (1, 1)),
        _yuv("yuv422p", 8, (1, 0)),
        _yuv("yuv444p", 8, (0, 0)),
        _yuv("yuv420p10le", 10, (1, 1)),
        _yuv("yuv422p10le", 10, (1, 0)),
        _yuv("yuv444p10le", 10, (0, 0)),
        _yuv("yuv420p12le", 12, (1, 1)),
        _yuv("yuv422p12le", 12, (1, 0)),
        _yuv("yuv444p12le", 12, (0, 0)),
        PixelFormat("nv12", "yuv", 8, "semiplanar", (1, 1)),
        PixelFormat("p010le", "yuv", 10, "semiplanar", (1, 1), shift=6),
        PixelFormat("gray", "gray", 8),
        PixelFormat("gray10le", "gray", 10),
        PixelFormat("gray12le", "gray", 12),
        PixelFormat("gbrp", "rgb", 8),
        PixelFormat("gbrp10le", "rgb", 10),
        PixelFormat("gbrp12le", "rgb", 12),
        PixelFormat("gbrp16le", "rgb", 16),
        PixelFormat("rgb24", "rgb", 8, "packed"),
    )
}


def pixel_format(name: str) -> PixelFormat:
    """The format of that FFmpeg name; UsageError lists what is known otherwise."""
    try:
        return FORMATS[name]
    except KeyError:
        raise UsageError(f"pixel format {name!r} is not supported; supported: {', '.join(FORMATS)}") from None


@dataclass(frozen=True)
class ColorSpec:
    """What the codes of a picture mean.

    `matrix`, `range` and `siting` shape the conversion to RGB. `primaries` and `transfer` are FFmpeg's
    (H.273) codes; they are carried through unchanged, 2 = unspecified. `guessed` names the fields that the
    source left untagged.
    """

    matrix: Matrix = "bt709"
    range: Range = "limited"
    siting: Siting = "left"
    primaries: int = 2
    transfer: int = 2
    guessed: tuple[str, ...] = ()


RGB_FULL = ColorSpec(matrix="rgb", range="full", siting="center")


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise MediaError(f"a picture of {width}x{height} has no pixels")


@dataclass(frozen=True)
class Layout:
    """A picture's planes packed tightly, one behind the other, into one flat buffer of bytes."""

    format: PixelFormat
    width: int
    height: int
    shapes: tuple[tuple[int, ...], ...] = field(init=False)
    offsets: tuple[int, ...] = field(init=False)
    nbytes: int = field(init=False)

    def __post_init__(self) -> None:
        _check_size(self.width, self.height)
        shapes = self.format.plane_shapes(self.width, self.height)
        sizes = [int(np.prod(s)) * self.format.dtype.itemsize for s in shapes]
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(self, "offsets", tuple(sum(sizes[:i]) for i in range(len(sizes))))
        object.__setattr__(self, "nbytes", sum(sizes))

    def planes(self, buffer: npt.NDArray[np.uint8]) -> tuple[Plane, ...]:
        """Views of the planes in a flat uint8 array of at least `nbytes` bytes."""
        itemsize = self.format.dtype.itemsize
        return tuple(
            buffer[o : o + int(np.prod(s)) * itemsize].view(self.format.dtype).reshape(s)
            for o, s in zip(self.offsets, self.shapes, strict=True)
        )


@dataclass(frozen=True, eq=False)
class CardPlane:
    """A plane in the memory of a card, which the host never sees.

    Args:
        tensor: of torch, in the shape that NumPy's view would have; row pitch is free.
        ready: the event after which the samples are there; its `wait()` holds up the current stream. None = they are.
    """

    tensor: Any
    ready: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture with its place in time.

    Args:
        planes: NumPy views in the shapes of `format.plane_shapes(width, height)`; row pitch is free.
        format, width, height, color: what the planes hold.
        pts: presentation time in units of `time_base`, None where the picture has no time (an image).
        time_base: seconds a unit.
        duration: in units of `time_base`, 0 = unknown.
        origin: whatever made the frame (a PyAV frame), for side data; the engine hands it on untouched.
        card: the planes of a picture that lies in a card's memory; `planes` is empty then.

    Raises:
        MediaError: no pixels, or planes that do not fit the format and size.
    """

    planes: tuple[Plane, ...]
    format: PixelFormat
    width: int
    height: int
    color: ColorSpec
    pts: int | None = None
    time_base: Fraction = Fraction(1, 1)
    duration: int = 0
    origin: Any = None
    card: tuple[CardPlane, ...] = ()

    def __post_init__(self) -> None:
        _check_size(self.width, self.height)
        planes: tuple[Plane | CardPlane, ...] = (*self.planes, *self.card)
        want = self.format.plane_shapes(self.width, self.height)
        got = tuple(p.shape for p in planes)
        if got != want:
            raise MediaError(f"{self.format.name} {self.width}x{self.height} takes planes {want}, got {got}")
        if any(p.dtype != self.format.dtype for p in planes):
            raise MediaError(f"{self.format.name} takes {self.format.dtype} planes, got {planes[0].dtype}")
        if (self.format.family == "rgb") != (self.color.matrix == "rgb"):
            raise MediaError(f"format {self.format.name} does not go with matrix {self.color.matrix}")
        if self.time_base <= 0:
            raise MediaError(f"time base {self.time_base} is not positive")

    @property
    def layout(self) -> Layout:
        return Layout(self.format, self.width, self.height)

    @property
    def seconds(self) -> float | None:
        """Presentation time in seconds."""
        return None if self.pts is None else float(self.pts * self.time_base)

    def copy_into(self, planes: tuple[Plane, ...]) -> None:
        """Copies the samples into planes of the same shapes."""
        for target, source in zip(planes, self.planes, strict=True):
            np.copyto(target, source)

    def copy(self) -> Frame:
        """The same in memory of its own; planes on a card are shared."""
        return replace(self, planes=tuple(plane.copy() for plane in self.planes))

    def like(
        self, planes: tuple[Plane, ...], layout: Layout, color: ColorSpec, card: tuple[CardPlane, ...] = ()
    ) -> Frame:
        """A picture of other planes at this frame's place in time."""
        format, width, height = layout.format, layout.width, layout.height
        return replace(self, planes=planes, card=card, format=format, width=width, height=height, color=color)


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video stream says; nothing here was counted.

    `rotation` is the clockwise turn in degrees that a player applies; `duration` is in seconds, None where
    the container does not say; `frames_from_header` is 0 where unknown and never to be trusted.
    """

    width: int
    height: int
    format: PixelFormat
    color: ColorSpec
    codec: str
    time_base: Fraction
    rate: Fraction
    start_pts: int | None
    duration: float | None
    frames_from_header: int = 0
    sample_aspect_ratio: Fraction = Fraction(1, 1)
    rotation: int = 0
    interlaced: bool = False
