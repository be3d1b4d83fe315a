"""PSNR and SSIM as papers on super-resolution report them.

Both are taken on the luma of BT.601 in its 16..235 range (MATLAB's rgb2ycbcr), in float64 and never rounded
to 8 bits (rounding it costs 0.09 dB at x2), after a border as wide as the scale has been cut off. A grey
picture counts as one whose R, G and B are equal. `psnr_y` and `ssim_y` take [H, W, 3] uint8 RGB arrays, the
others luma itself.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rfdn_stream.errors import UsageError

Image = npt.NDArray[np.uint8]
Luma = npt.NDArray[np.float64]

PEAK = 255.0
WINDOW = 11
SIGMA = 1.5
BAND = 256  # rows of windows that are measured at a time, so that memory stays small beside the pictures


def luma(image: Image) -> Luma:
    """Y of BT.601, [H, W] float64 in 16..235, of an [H, W, 3] uint8 RGB picture."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"a picture to measure is a uint8 array [H, W, 3], got {image.dtype} {list(image.shape)}")
    weights = np.array([65.481, 128.553, 24.966]) / 255
    return np.asarray(image.astype(np.float64) @ weights + 16)


def psnr_y(image: Image, reference: Image, border: int) -> float:
    """Peak signal-to-noise ratio in dB (peak 255); infinite for equal pictures.

    Args:
        image, reference: [H, W, 3] uint8 RGB of one size.
        border: pixels cut off at each side, by custom the scale.

    Raises:
        UsageError: the pictures differ in size, or nothing is left inside the border.
    """
    return decibels(squared_error(*_prepare(image, reference, border, least=1)))


def ssim_y(image: Image, reference: Image, border: int) -> float:
    """Structural similarity, 1 for equal pictures (Wang, Bovik, Sheikh, Simoncelli, 2004).

    Arguments and errors as for `psnr_y`; inside the border, 11x11 pixels or more must be left.
    """
    return similarity(*_prepare(image, reference, border, least=WINDOW))


def squared_error(a: Luma, b: Luma) -> float:
    """The mean squared difference of two lumas of one size."""
    return float(np.mean((a - b) ** 2))


def decibels(error: float) -> float:
    """PSNR in dB (peak 255) of a mean squared error; infinite for none."""
    return float("inf") if error == 0 else float(10 * np.log10(PEAK**2 / error))


def similarity(a: Luma, b: Luma) -> float:
    """SSIM of two lumas of one size, 11x11 or more.

    Gaussian window of 11x11 and sigma 1.5, only where it lies wholly inside; K1 = 0.01, K2 = 0.03.
    """
    places = int(a.shape[0]) - WINDOW + 1
    total = 0.0
    for top in range(0, places, BAND):
        rows = slice(top, min(top + BAND, places) + WINDOW - 1)
        total += float(np.sum(_similarities(a[rows], b[rows])))
    return total / (places * (int(a.shape[1]) - WINDOW + 1))


def _similarities(a: Luma, b: Luma) -> Luma:
    """The windows' SSIM, [h - 10, w - 10]."""
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a**2
    var_b = _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return np.asarray(luminance * structure)


def _prepare(image: Image, reference: Image, border: int, least: int) -> tuple[Luma, Luma]:
    """Both lumas without their borders."""
    if image.shape != reference.shape:
        raise UsageError(f"pictures to compare are of one size, got {list(image.shape)} and {list(reference.shape)}")
    height, width = (side - 2 * border for side in image.shape[:2])
    if border < 0 or min(height, width) < least:
        raise UsageError(f"a border of {border} leaves {width}x{height} pixels; {least}x{least} or more are needed")
    inside = slice(border, border + height), slice(border, border + width)
    return luma(image)[inside], luma(reference)[inside]


def _blur(x: Luma) -> Any:
    """The window's weighted mean around each pixel where the window fits."""
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA)
    margin = WINDOW // 2
    return cv2.sepFilter2D(x, -1, kernel, kernel)[margin:-margin, margin:-margin]
