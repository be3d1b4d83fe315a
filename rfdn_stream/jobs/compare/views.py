"""Frames as pictures that can lie beside each other: upright, of one size and format, cut to the same part."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.enlargers import resized
from rfdn_stream.evaluation.resize import LANCZOS
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, Layout, PixelFormat
from rfdn_stream.kernels import cpu

Picture = npt.NDArray[np.uint8]
"""[rows, columns, 3], RGB."""

WAYS = ("lanczos", "nearest")
"""How the smaller of two is enlarged to the other's size."""

_OUTSTANDING = 4  # times the mean: a gradient above it counts no more, so that one hard edge is not all the detail


@dataclass(frozen=True)
class Crop:
    """A part of a picture, in its pixels."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"

    def check(self, size: tuple[int, int]) -> None:
        """UsageError where it does not lie inside a picture of (width, height)."""
        inside = self.x >= 0 and self.y >= 0 and self.x + self.width <= size[0] and self.y + self.height <= size[1]
        if not inside or min(self.width, self.height) < 1:
            raise UsageError(
                f"the crop {self} (x,y,width,height) does not lie inside the picture, which is {size[0]}x{size[1]}"
            )

    def scaled(self, x: float, y: float) -> Crop:
        """The same part of the picture at another size, of whole pixels; exact for whole factors."""
        left, top = round(self.x * x), round(self.y * y)
        right, bottom = round((self.x + self.width) * x), round((self.y + self.height) * y)
        return Crop(left, top, max(1, right - left), max(1, bottom - top))

    def of(self, picture: Picture) -> Picture:
        """A view of that part."""
        return picture[self.y : self.y + self.height, self.x : self.x + self.width]


def detailed_crop(picture: Picture, width: int, height: int) -> Crop:
    """The part of that size, or of the picture's where it is smaller, in which the most changes from pixel to pixel."""
    rows, columns = picture.shape[:2]
    width, height = min(width, columns), min(height, rows)
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float32)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    sums = cv2.integral(np.minimum(gradient, _OUTSTANDING * gradient.mean()).astype(np.float64))
    found = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    y, x = np.unravel_index(np.argmax(found[::2, ::2]), found[::2, ::2].shape)
    return Crop(2 * int(x), 2 * int(y), width, height)


def at_size(frame: Frame, size: tuple[int, int], way: str) -> Frame:
    """The frame enlarged to (width, height) by one of `WAYS`, each plane by itself; itself where it is that large."""
    if (frame.width, frame.height) == size:
        return frame
    if way == "lanczos":
        return resized(frame, *size, LANCZOS)
    layout = Layout(frame.format, *size)
    planes = tuple(repeated(p, shape[0], shape[1]) for p, shape in zip(frame.planes, layout.shapes, strict=True))
    return frame.like(planes, layout, frame.color)


def repeated[S: np.generic](samples: npt.NDArray[S], rows: int, columns: int) -> npt.NDArray[S]:
    """Samples [h, w, ...] at another size, each place taking the nearest one."""
    height, width = samples.shape[:2]
    down = (2 * np.arange(rows) + 1) * height // (2 * rows)
    across = (2 * np.arange(columns) + 1) * width // (2 * columns)
    enlarged: npt.NDArray[S] = samples[down[:, None], across]
    return enlarged


def converted(frame: Frame, format: PixelFormat, color: ColorSpec, turn: int = 0) -> Frame:
    """The frame in another format and colour, by the kernels, turned clockwise by `turn` degrees.

    Itself where nothing changes.
    """
    ours, wanted = ((c.matrix, c.range, c.siting) for c in (frame.color, color))
    if frame.format == format and ours == wanted and not turn:
        return frame
    rgb = torch.empty(3, frame.height, frame.width)
    # A decoder's planes are read-only, which torch does not know.
    cpu.pre([torch.from_numpy(plane.copy()) for plane in frame.planes], frame.format, frame.color, rgb)
    rgb = torch.rot90(rgb, -turn // 90, (1, 2))
    layout = Layout(format, rgb.shape[2], rgb.shape[1])
    planes = layout.planes(np.empty(layout.nbytes, np.uint8))
    cpu.post(rgb, [torch.from_numpy(plane) for plane in planes], format, color)
    return replace(frame.like(planes, layout, color), origin=None)


def picture_of(frame: Frame, turn: int = 0) -> Picture:
    """The frame in 8-bit RGB, upright: without HDR's tone mapping, which players do each in their own way."""
    return np.asarray(converted(frame, FORMATS["rgb24"], RGB_FULL, turn).planes[0], np.uint8)


def frame_of(picture: Picture, format: PixelFormat, color: ColorSpec) -> Frame:
    """A drawn picture in a video's format."""
    height, width = picture.shape[:2]
    return converted(Frame((picture,), FORMATS["rgb24"], width, height, RGB_FULL), format, color)


def cut(frame: Frame, crop: Crop) -> Frame:
    """That part of a frame, as views; it must begin at whole chroma samples."""
    layout = Layout(frame.format, crop.width, crop.height)
    planes = []
    for index, (plane, shape) in enumerate(zip(frame.planes, layout.shapes, strict=True)):
        sx, sy = frame.format.subsampling if index else (0, 0)
        y, x = crop.y >> sy, crop.x >> sx
        planes.append(plane[y : y + shape[0], x : x + shape[1]])
    return replace(frame.like(tuple(planes), layout, frame.color), origin=None)


def common_size(sizes: list[tuple[int, int]], names: list[str]) -> tuple[int, int]:
    """The larger of two sizes, which the other picture is enlarged to.

    Raises:
        UsageError: the two are of different shapes.
    """
    small, large = sorted(sizes, key=lambda size: size[0] * size[1])
    factor = large[1] / small[1]
    if abs(small[0] * factor - large[0]) > 2 * factor:  # a column or two may have been cut off
        each = " and ".join(f"{name} is {w}x{h}" for name, (w, h) in zip(names, sizes, strict=True))
        raise UsageError(f"{each}; only pictures of one shape can be compared, crop or scale one of them first")
    return large
