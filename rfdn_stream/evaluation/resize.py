"""Resizing as MATLAB's `imresize` does it: bicubic, which super-resolution benchmarks are made with, and Lanczos.

OpenCV's INTER_CUBIC and INTER_AREA differ from it by up to 8 dB; torch's and Pillow's antialiased bicubic
by 0.01 dB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kernel:
    """What resampling weighs samples with: a function of the distance, 0 from `radius` samples on."""

    weigh: Callable[[Weights], Weights]
    radius: int


def cubic(x: Weights) -> Weights:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, "Cubic convolution interpolation")."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def windowed_sinc(x: Weights) -> Weights:
    """Lanczos' kernel with three lobes: sinc(x) sinc(x/3) (Duchon 1979, "Lanczos filtering")."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


BICUBIC = Kernel(cubic, 2)
LANCZOS = Kernel(windowed_sinc, 3)


def resize[S: np.unsignedinteger](
    image: npt.NDArray[S],
    height: int,
    width: int,
    kernel: Kernel,
    *,
    peak: int = 255,
    offset: tuple[float, float] = (0.0, 0.0),
) -> npt.NDArray[S]:
    """Resizes a picture; antialiased where it shrinks, mirrored borders, rounded to whole codes after each pass.

    Args:
        image: uint8 or uint16 [H, W] or [H, W, C].
        height, width: of the result.
        kernel: `BICUBIC` or `LANCZOS`.
        peak: the largest code.
        offset: added to the place (row, column), in samples of `image`, that each sample of the result is taken
            from: 0 where both pictures cover the same area, as they do but for chroma that is sited on luma.

    Returns:
        [height, width(, C)] in the picture's dtype.
    """
    lengths = height, width
    # MATLAB takes the axis that shrinks the most first, rows before columns.
    for axis in sorted((0, 1), key=lambda axis: lengths[axis] / image.shape[axis]):
        image = _along(image, axis, lengths[axis], kernel, peak, offset[axis])
    return image


def bicubic(image: Picture, height: int, width: int) -> Picture:
    """A uint8 picture [H, W] or [H, W, C] resized by the bicubic kernel."""
    return resize(image, height, width, BICUBIC)


def shrink(image: Picture, scale: int) -> Picture:
    """The LR picture of a benchmark: cropped to a multiple of `scale`, then bicubic to 1/scale."""
    height, width = (n // scale for n in image.shape[:2])
    return bicubic(image[: height * scale, : width * scale], height, width)


def _along[S: np.unsignedinteger](
    image: npt.NDArray[S], axis: int, length: int, kernel: Kernel, peak: int, offset: float
) -> npt.NDArray[S]:
    source = image.shape[axis]
    if source == length:
        return image
    stretch = max(source / length, 1.0)  # how much the kernel is widened against aliasing
    centres = (np.arange(length) + 0.5) * source / length - 0.5 + offset
    reach = kernel.radius * stretch
    taps = np.floor(centres - reach).astype(int)[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)
    weights = kernel.weigh((centres[:, None] - taps) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    period = np.concatenate([np.arange(source), np.arange(source)[::-1]])  # mirrored with the edge repeated
    rows = np.moveaxis(image, axis, 0)
    result = np.zeros((length, *rows.shape[1:]))
    for tap, weight in zip(period[taps % (2 * source)].T, weights.T, strict=True):
        result += weight.reshape(-1, *[1] * (rows.ndim - 1)) * rows[tap]
    rounded = np.floor(np.clip(result, 0, peak) + 0.5).astype(image.dtype)
    return np.moveaxis(rounded, 0, axis)
