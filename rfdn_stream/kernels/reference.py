"""The colour kernels in float64, slow and obvious: what every fast twin is held to.

Chroma is resampled by whole matrices made from the continuous kernel, which shares no method and no tap with the
twins; the numbers of matrices and ranges are `colour`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rfdn_stream.frame import ColorSpec, PixelFormat, Plane
from rfdn_stream.kernels.colour import CO_SITED, bayer, components, conversion

Array = npt.NDArray[np.float64]


def to_rgb(planes: Sequence[Plane], format: PixelFormat, color: ColorSpec) -> Array:
    """RGB of a picture.

    Args:
        planes: codes, in the shapes of `format.plane_shapes`.
        format, color: what the planes hold.

    Returns:
        [3, H, W], clamped to [0, 1] unless the format is floating point.
    """
    height, width = planes[0].shape[:2]
    numbers = conversion(format, color)
    values = [
        ((codes >> numbers.shift if numbers.shift else codes).astype(np.float64) - offset) / span
        for codes, offset, span in zip(
            components(planes, format, width, height), numbers.offset, numbers.span, strict=True
        )
    ]
    up_x, up_y = (
        up_matrix(length, 1 << subsampling, co_sited)
        for length, subsampling, co_sited in zip((width, height), format.subsampling, CO_SITED[color.siting])
    )
    values[1:] = [up_y @ chroma @ up_x.T for chroma in values[1:]]
    rgb = np.tensordot(np.array(numbers.to_rgb), np.stack(values), 1)
    return rgb if format.floating else np.clip(rgb, 0, 1)


def from_rgb(
    rgb: npt.NDArray[np.floating], format: PixelFormat, color: ColorSpec, *, dither: bool = False
) -> tuple[Array, ...]:
    """A picture's codes before the last step: their floor is the code, their fraction tells how near an edge lies.

    Args:
        rgb: [3, H, W]; clamped to [0, 1], NaN counts as 0.
        format, color: what the planes shall hold.
        dither: add the ordered thresholds instead of 1/2.

    Returns:
        Arrays in the shapes of `format.plane_shapes`, clipped to [0, code_max + 1/2], for `quantise`. Of a
        floating-point format the values themselves, nothing clamped or added.
    """
    _, height, width = rgb.shape
    numbers = conversion(format, color)
    rgb = rgb.astype(np.float64)
    if not format.floating:
        rgb = np.clip(np.nan_to_num(rgb, nan=0.0), 0, 1)
    values = list(np.tensordot(np.array(numbers.from_rgb), rgb, 1))
    down_x, down_y = (
        down_matrix(length, 1 << subsampling, co_sited)
        for length, subsampling, co_sited in zip((width, height), format.subsampling, CO_SITED[color.siting])
    )
    values[1:] = [down_y @ chroma @ down_x.T for chroma in values[1:]]
    planes = tuple(np.empty(shape) for shape in format.plane_shapes(width, height))
    for plane, value, offset, span in zip(
        components(planes, format, width, height), values, numbers.offset, numbers.span, strict=True
    ):
        if numbers.code_max is None:
            plane[...] = value
            continue
        rows, columns = np.indices(value.shape)
        threshold = bayer()[rows % 8, columns % 8] if dither else 0.5
        plane[...] = np.clip(value * span + offset + threshold, 0, numbers.code_max + 0.5)
    return planes


def quantise(planes: Sequence[Array], format: PixelFormat) -> tuple[Plane, ...]:
    """Real planes, in the format's dtype and alignment, from what `from_rgb` gives."""
    if format.floating:
        return tuple(p.astype(format.dtype) for p in planes)
    return tuple((np.floor(p).astype(np.int64) << format.shift).astype(format.dtype) for p in planes)


def disagreements(got: Sequence[Plane], exact: Sequence[Array], format: PixelFormat) -> tuple[int, int]:
    """How many codes are not the reference's: (those that float32 may get so, those that are wrong).

    It may where the exact value is so near a rounding edge that float32 can fall on either side: within 1e-4 of a
    code, or four float32 steps at the largest code where they are coarser (10 bits and more).

    Args:
        got: planes of codes.
        exact: of `from_rgb`.
    """
    slack = max(1e-4, 4 * float(np.spacing(np.float32(format.code_max))))
    near = wrong = 0
    for plane, value, want in zip(got, exact, quantise(exact, format), strict=True):
        distance = np.abs(plane.astype(np.int64) - want)
        excused = (distance == 1 << format.shift) & (np.abs(value - np.round(value)) <= slack)
        near += int(excused.sum())
        wrong += int(((distance > 0) & ~excused).sum())
    return near, wrong


def up_matrix(length: int, factor: int, co_sited: bool) -> Array:
    """[length, chroma length]: each luma sample as a weighted sum of chroma samples, linear between neighbours."""
    chroma = -(-length // factor)
    position = np.arange(length) / factor - (0 if co_sited else (factor - 1) / (2 * factor))
    return _resampling(position, chroma, 1)


def down_matrix(length: int, factor: int, co_sited: bool) -> Array:
    """[chroma length, length]: each chroma sample as a mean of luma samples under a triangle `factor` times as wide."""
    chroma = -(-length // factor)
    position = np.arange(chroma, dtype=np.float64) * factor + (0 if co_sited else (factor - 1) / 2)
    return _resampling(position, length, factor)


def _resampling(position: Array, count: int, radius: int) -> Array:
    """[len(position), count]: a triangle of that radius around each position, borders repeated."""
    sample = np.arange(-4, count + 4)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - sample) / radius) / radius
    matrix = np.zeros((len(position), count))
    np.add.at(matrix.T, np.clip(sample, 0, count - 1), weights.T)
    return matrix
