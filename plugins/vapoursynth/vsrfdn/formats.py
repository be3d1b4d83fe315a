"""VapourSynth's formats and frames as the engine's, without copies."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import vapoursynth as vs

from rfdn_stream import PixelFormat, UsageError

FAMILIES: dict[vs.ColorFamily, Literal["yuv", "gray", "rgb"]] = {vs.YUV: "yuv", vs.GRAY: "gray", vs.RGB: "rgb"}
SUBSAMPLINGS = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440"}
"""What the engine's kernels resample themselves."""

# VapourSynth has R, G, B where the engine has G, B, R.
_ORDER = {"yuv": (0, 1, 2), "gray": (0,), "rgb": (1, 2, 0)}


def pixel_format(format: vs.VideoFormat) -> PixelFormat:
    """The engine's description of a format, named as FFmpeg names it where FFmpeg has it.

    Raises:
        UsageError: integers of more than 16 bits, or chroma subsampled by more than 2 (see `converted`).
    """
    floating = format.sample_type == vs.FLOAT
    if not floating and format.bits_per_sample > 16:
        raise UsageError(
            f"{format.name} has {format.bits_per_sample} bits; integers of 8 to 16 bits and floating point are taken"
        )
    family, bits = FAMILIES[format.color_family], format.bits_per_sample
    subsampling = (format.subsampling_w, format.subsampling_h)
    if subsampling not in SUBSAMPLINGS:
        raise UsageError(
            f"the chroma of {format.name} is subsampled by more than 2; convert it first, for example with "
            "clip.resize.Bicubic(format=vs.YUV444P8)"
        )
    name = {"yuv": f"yuv{SUBSAMPLINGS[subsampling]}p", "gray": "gray", "rgb": "gbrp"}[family]
    depth = f"f{bits}le" if floating else f"{bits}le" if bits > 8 else ""
    return PixelFormat(name + depth, family, bits, subsampling=subsampling, floating=floating)


def converted(format: vs.VideoFormat) -> vs.VideoFormat:
    """What VapourSynth's own resizers make of a format first: 4:4:4 of 4:1:1 and 4:1:0, all others as they are."""
    if format.color_family != vs.YUV or (format.subsampling_w, format.subsampling_h) in SUBSAMPLINGS:
        return format
    return format.replace(subsampling_w=0, subsampling_h=0)


def planes_of(frame: vs.VideoFrame, format: PixelFormat) -> tuple[npt.NDArray[Any], ...]:
    """Views of a frame's planes, in the engine's order; writable where the frame is."""
    return tuple(np.asarray(frame[k]) for k in _ORDER[format.family])
