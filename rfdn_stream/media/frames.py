"""Between PyAV's frames and ours: views of the same memory, and exact conversions where no view fits.

A PyAV frame is called a picture here, to tell it from `Frame`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from av.rational import AVRational
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import FORMATS, PixelFormat, Plane

# Formats whose samples lie in memory as another format's do; only the range differs by name.
_SAME_MEMORY = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p"}
# An alpha plane comes last; see `alpha`.
_SAME_MEMORY |= {
    name.replace("yuv", "yuva").replace("gbrp", "gbrap"): name for name in FORMATS if name.startswith(("yuv", "gbrp"))
}
# Formats whose samples swscale rearranges without changing one, and what it makes of them.
_REARRANGED = {
    "bgr24": "rgb24",
    "rgb0": "rgb24",
    "bgr0": "rgb24",
    "0rgb": "rgb24",
    "0bgr": "rgb24",
    "pal8": "rgb24",
    "rgba": "rgb24",
    "bgra": "rgb24",
    "argb": "rgb24",
    "abgr": "rgb24",
    "rgba64le": "gbrp16le",
    "rgba64be": "gbrp16le",
    "ya8": "gray",
    "rgb48le": "gbrp16le",
    "rgb48be": "gbrp16le",
    "nv21": "nv12",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "p010be": "p010le",
} | {f"{name[:-2]}be": name for name in FORMATS if name.endswith("le") and name != "p010le"}
# Formats whose chroma swscale must interpolate: luma stays as it is.
_UPSAMPLED = dict.fromkeys(("yuv410p", "yuv411p", "yuv440p", "yuvj411p", "yuvj440p"), "yuv444p")
_CONVERTED = _REARRANGED | _UPSAMPLED
_BEST = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)


def carrier(name: str) -> PixelFormat:
    """The format that carries FFmpeg's pixel format `name` through the engine without loss.

    Raises:
        MediaError: there is none: unusual depths, hardware formats.
    """
    known = FORMATS.get(_SAME_MEMORY.get(name, _CONVERTED.get(name, name)))
    if known is None:
        raise MediaError(
            f"pixel format {name} is not supported (a depth other than 8, 10 or 12 bits); "
            f"convert the video first, for example: ffmpeg -i IN -pix_fmt {_suggestion(name)} -c:a copy OUT"
        )
    return known


def _suggestion(name: str) -> str:
    if any(part in name for part in ("rgb", "bgr", "gbr")):
        return "gbrp10le" if any(digit in name for digit in ("48", "64", "10", "14", "16")) else "gbrp"
    return "yuv444p10le" if any(digit in name for digit in ("9", "14", "16", "f")) else "yuv444p"


def is_full_range(name: str) -> bool:
    """Whether the name of a pixel format itself says full range."""
    return name.startswith("yuvj")


def carried(picture: VideoFrame) -> VideoFrame:
    """The picture in the memory layout of its `carrier`: itself wherever a view suffices."""
    target = _CONVERTED.get(picture.format.name)
    if target is None:
        return picture
    range_ = 2 if is_full_range(picture.format.name) or picture.color_range == 2 else 1
    if target == "yuv444p" and picture.chroma_location == 0:
        picture.chroma_location = 1  # swscale would take unspecified for centre
    # Both ranges alike: swscale must not rescale what it only rearranges.
    return picture.reformat(format=target, interpolation=_BEST, src_color_range=range_, dst_color_range=range_)


def plane_views(picture: VideoFrame, format: PixelFormat, *, writeable: bool = False) -> tuple[Plane, ...]:
    """NumPy views of the picture's planes, in the shapes that `format` asks for; they keep it alive.

    Read-only by default: a decoder still predicts other pictures from this memory.
    """
    return tuple(
        _view(plane, shape, format.dtype, writeable)
        for plane, shape in zip(picture.planes, format.plane_shapes(picture.width, picture.height))  # but alpha
    )


def _view(plane: VideoPlane, shape: tuple[int, ...], dtype: np.dtype[Any], writeable: bool) -> Plane:
    pitch = plane.line_size
    # A negative pitch (bottom-up pictures) starts at the last row of the buffer.
    offset = -pitch * (shape[0] - 1) if pitch < 0 else 0
    inner = (dtype.itemsize * shape[2], dtype.itemsize) if len(shape) == 3 else (dtype.itemsize,)
    view: Plane = np.ndarray(shape, dtype, buffer=plane, offset=offset, strides=(pitch, *inner))
    view.flags.writeable = writeable
    return view


def fraction(value: AVRational) -> Fraction | None:
    """An FFmpeg rational as a Fraction; None where it is 0/x or x/0, which mean unknown."""
    return Fraction(value.numerator, value.denominator) if value.numerator and value.denominator else None
