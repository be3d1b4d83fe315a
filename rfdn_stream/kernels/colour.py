"""What the codes of a picture mean, as numbers: matrices, ranges, chroma siting, filter taps, dither.

No pixel is touched here. `conversion` turns a format and its colour into one small record of numbers, and every
twin that converts pictures takes its numbers from that record, so that a new matrix or siting is a matter of
this file alone.

Sources: ITU-T H.273, clause 8.3 (matrix and range) and 8.7 (chroma location), for the formulas; ITU-R BT.601-7,
BT.709-6 and BT.2020-2 (non-constant luminance) for the luma weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import ColorSpec, Matrix, PixelFormat, Range, Siting

Rows = tuple[tuple[float, ...], ...]

_IDENTITY: Rows = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

LUMA_WEIGHTS: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
}
"""Kr and Kb of each matrix; Kg = 1 - Kr - Kb."""

CO_SITED: dict[Siting, tuple[bool, bool]] = {
    "left": (True, False),
    "center": (False, False),
    "topleft": (True, True),
}
"""Whether subsampled chroma lies on a luma sample (in x, in y) or half-way between two."""


@dataclass(frozen=True)
class Resampling:
    """How chroma is resampled along one axis: a triangle as wide as two chroma samples, both ways.

    Up: luma sample i, of parity p = i % factor, is the sum of `up[p][k]` * chroma[i // factor + up_first[p] + k].
    Down: chroma sample j is the sum of `down[k]` * luma[factor * j - 1 + k].
    Each set of taps sums to 1. Where an index leaves the picture, the border sample is repeated.
    """

    factor: int
    up_first: tuple[int, int]
    up: tuple[tuple[float, float], tuple[float, float]]
    down: tuple[float, float, float, float]


# In units of chroma samples, luma sample i lies at i/2 where the two are co-sited and at i/2 - 1/4 where centred.
_NONE = Resampling(1, (0, 0), ((1.0, 0.0), (1.0, 0.0)), (0.0, 1.0, 0.0, 0.0))
_ON_LUMA = Resampling(2, (0, 0), ((1.0, 0.0), (0.5, 0.5)), (0.25, 0.5, 0.25, 0.0))
_BETWEEN_LUMA = Resampling(2, (-1, 0), ((0.25, 0.75), (0.75, 0.25)), (0.125, 0.375, 0.375, 0.125))


@dataclass(frozen=True)
class Conversion:
    """All numbers of a conversion between codes and RGB in [0, 1].

    Components are Y, Cb, Cr (a gray picture has Y alone) or R, G, B; n is their number.

    Args:
        offset, span: component k of value v has the code v * span[k] + offset[k].
        to_rgb: 3 rows of n weights, components to RGB.
        from_rgb: n rows of 3 weights, RGB to components.
        x, y: chroma resampling along rows and along columns.
        code_max: the largest code; None for floating point, which is neither rounded nor clamped.
        shift: unused low bits of a stored sample.
    """

    offset: tuple[float, ...]
    span: tuple[float, ...]
    to_rgb: Rows
    from_rgb: Rows
    x: Resampling
    y: Resampling
    code_max: int | None
    shift: int


@lru_cache(maxsize=64)
def conversion(format: PixelFormat, color: ColorSpec) -> Conversion:
    """The numbers that turn planes of that format and colour into RGB and back.

    Raises:
        MediaError: an RGB format with a YCbCr matrix, or the other way round.
    """
    if (format.family == "rgb") != (color.matrix == "rgb"):
        raise MediaError(f"format {format.name} does not go with matrix {color.matrix}")
    scales = [(0.0, 1.0)] * 3
    if not format.floating:
        luma, chroma = _luma_scale(format.bits, color.range), _chroma_scale(format.bits, color.range)
        scales = [luma] * 3 if format.family == "rgb" else [luma, chroma, chroma]
    to_rgb = from_rgb = _IDENTITY
    if format.family != "rgb":
        to_rgb, from_rgb = _from_ycbcr(color.matrix), _to_ycbcr(color.matrix)
    count = 1 if format.family == "gray" else 3
    x, y = (_resampling(s, on) for s, on in zip(format.subsampling, CO_SITED[color.siting], strict=True))
    return Conversion(
        offset=tuple(offset for offset, _ in scales[:count]),
        span=tuple(span for _, span in scales[:count]),
        to_rgb=tuple(row[:count] for row in to_rgb),
        from_rgb=from_rgb[:count],
        x=x,
        y=y,
        code_max=None if format.floating else format.code_max,
        shift=format.shift,
    )


def _resampling(subsampling: int, co_sited: bool) -> Resampling:
    if not subsampling:
        return _NONE
    return _ON_LUMA if co_sited else _BETWEEN_LUMA


def _luma_scale(bits: int, range: Range) -> tuple[float, float]:
    """Code of 0 and codes to 1 for Y, R, G and B (H.273, 8.3)."""
    unit = 1 << (bits - 8)
    return (16.0 * unit, 219.0 * unit) if range == "limited" else (0.0, 2.0**bits - 1)


def _chroma_scale(bits: int, range: Range) -> tuple[float, float]:
    """The same for Cb and Cr, whose values run from -1/2 to 1/2."""
    unit = 1 << (bits - 8)
    return 128.0 * unit, (224.0 * unit if range == "limited" else 2.0**bits - 1)


def _to_ycbcr(matrix: Matrix) -> Rows:
    """Y = Kr R + Kg G + Kb B, Cb = (B - Y) / (2 (1 - Kb)), Cr = (R - Y) / (2 (1 - Kr)) (H.273, 8.3)."""
    kr, kb = LUMA_WEIGHTS[matrix]
    kg = 1 - kr - kb
    cb, cr = 2 * (1 - kb), 2 * (1 - kr)
    return (kr, kg, kb), (-kr / cb, -kg / cb, 0.5), (0.5, -kg / cr, -kb / cr)


def _from_ycbcr(matrix: Matrix) -> Rows:
    """The inverse of `_to_ycbcr`."""
    kr, kb = LUMA_WEIGHTS[matrix]
    kg = 1 - kr - kb
    cb, cr = 2 * (1 - kb), 2 * (1 - kr)
    return (1.0, 0.0, cr), (1.0, -kb * cb / kg, -kr * cr / kg), (1.0, cb, 0.0)


def bayer() -> npt.NDArray[np.float64]:
    """The 8x8 thresholds of ordered dither, in (0, 1) with mean 1/2; sample (x, y) takes [y % 8, x % 8].

    A code is floor(value + threshold), where rounding has floor(value + 1/2). Source: B. E. Bayer, "An optimum
    method for two-level rendition of continuous-tone pictures", IEEE ICC 1973.
    """
    index = np.zeros((1, 1))
    for _ in range(3):
        index = np.block([[4 * index, 4 * index + 2], [4 * index + 3, 4 * index + 1]])
    return np.asarray((index + 0.5) / 64, np.float64)


class Samples(Protocol):
    """An array or tensor of any library."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns and, in a packed plane, components."""

    def __getitem__(self, key: Any, /) -> Any:
        """A view of some of the samples."""


def components[P: Samples](planes: Sequence[P], format: PixelFormat, width: int, height: int) -> tuple[P, ...]:
    """Views (rows, columns) of the components of a picture: Y, Cb, Cr, or Y alone, or R, G, B.

    Raises:
        MediaError: the planes are not those of a width x height picture of that format.
    """
    want, got = format.plane_shapes(width, height), tuple(tuple(p.shape) for p in planes)
    if got != want:
        raise MediaError(f"{format.name} {width}x{height} takes planes {want}, got {got}")
    if format.arrangement == "packed":
        return tuple(planes[0][..., k] for k in range(3))
    if format.arrangement == "semiplanar":
        return planes[0], planes[1][..., 0], planes[1][..., 1]
    if format.family == "rgb":
        green, blue, red = planes
        return red, green, blue
    return tuple(planes)
