"""The cheapest enlargement there is: planes resized as they are, on the host, by OpenCV's fixed-point cubic.

For machines on which even the resampler of the kernels is too slow: it needs no RGB, and a tenth of the time.
"""

from __future__ import annotations

import cv2
import numpy as np

from rfdn_stream.frame import Frame, Layout, Plane
from rfdn_stream.kernels.colour import CO_SITED
from rfdn_stream.upscaler import Output


def can_enlarge(frame: Frame, output: Output) -> bool:
    """Whether nothing but the size has to change: OpenCV knows no colour."""
    return bool(frame.planes) and output == (frame.format, frame.color) and not frame.format.shift


def enlarged(frame: Frame, scale: int) -> Frame:
    """The frame at `scale` times its size, chroma where its siting says; within two codes of the exact cubic."""
    layout = Layout(frame.format, scale * frame.width, scale * frame.height)
    co_sited = CO_SITED[frame.color.siting]
    planes = []
    for index, (plane, shape) in enumerate(zip(frame.planes, layout.shapes, strict=True)):
        is_chroma = index > 0 and frame.format.family == "yuv"
        x, y = (is_chroma and sub > 0 and on for sub, on in zip(frame.format.subsampling, co_sited, strict=True))
        planes.append(_resized(plane, shape, scale, x, y))
    return frame.like(tuple(planes), layout, frame.color)


def _resized(plane: Plane, shape: tuple[int, ...], scale: int, on_luma_x: bool, on_luma_y: bool) -> Plane:
    """A plane at another size.

    Sample x of the result lies at (x + c) / scale - c of the source: c = 1/2 where samples are centred in the picture,
    1/4 for chroma that lies on every second luma sample.
    """
    plane = np.ascontiguousarray(plane)
    size = shape[1], shape[0]
    if not (on_luma_x or on_luma_y):
        return cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC)
    x, y = (centre / scale - centre for centre in (0.25 if on_luma_x else 0.5, 0.25 if on_luma_y else 0.5))
    matrix = np.array([[1 / scale, 0, x], [0, 1 / scale, y]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
