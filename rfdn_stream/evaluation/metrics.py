"""PSNR and SSIM as papers on super-resolution report them.

Both are taken on the luma of BT.601 in its 16..235 range (MATLAB's rgb2ycbcr), in float64 and never rounded
to 8 bits (rounding it costs 0.09 dB at x2), after a border as wide as the scale has been cut off. A grey
picture counts as one whose R, G and B are equal. All take [H, W, 3] uint8 RGB arrays.
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
    a, b = _prepare(image, reference, border, least=1)
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(PEAK**2 / error))


def ssim_y(image: Image, reference: Image, border: int) -> float:
    """Structural similarity, 1 for equal pictures (Wang, Bovik, Sheikh, Simoncelli, 2004).

    Gaussian window of 11x11 and sigma 1.5, only where it lies wholly inside; K1 = 0.01, K2 = 0.03. Arguments
    and errors as for `psnr_y`; inside the border, 11x11 pixels or more must be left.
    """
    a, b = _prepare(image, reference, border, least=WINDOW)
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a**2
    var_b = _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return float(np.mean(luminance * structure))


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
