"""Black bars: found in a video, or named by the user, and cut off before the network sees them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.video.frame import VideoFrame

from rfdn_stream.errors import UsageError
from rfdn_stream.frame import CardPlane, Frame, PixelFormat, Plane
from rfdn_stream.media.alpha import has_alpha
from rfdn_stream.media.frames import carried, carrier, is_full_range, plane_views
from rfdn_stream.media.image import read_image
from rfdn_stream.media.probe import choose_video, is_pipe, open_input

Luma = tuple[Plane, float, float]
"""Samples [H, W], the code of black, and codes to a code of 8 bits."""

SAMPLES = 24  # frames that are looked at
_REACH = 50  # pictures that are decoded for one of them
_DARK = 12  # codes of 8 bits above black up to which a sample may belong to a bar
_NOISE = 0.02  # of a line may be lighter than that
_LEAST = 4  # lines: fewer are the picture's own edge
_EDGE, _STRAIGHT = 8, 0.5  # so many lines behind a bar, one is that light in some frame


@dataclass(frozen=True)
class Crop:
    """The part of a picture that is kept, in pixels of the picture as it is stored.

    Raises:
        UsageError: an empty part, or one whose corner lies outside.
    """

    left: int
    top: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.left, self.top) < 0 or min(self.width, self.height) < 1:
            raise UsageError(f"crop {self} is no part of a picture; write L:T:W:H, such as 0:140:1920:800")

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Of ``L:T:W:H``: left, top, width, height."""
        try:
            left, top, width, height = map(int, re.split("[:,]", text))  # with commas, as compare writes it
        except ValueError:
            raise UsageError(
                f"crop {text!r} is not understood; write auto, or L:T:W:H (left, top, width, height): 0:140:1920:800"
            ) from None
        return cls(left, top, width, height)

    def __str__(self) -> str:
        return f"{self.left}:{self.top}:{self.width}:{self.height}"

    def check(self, width: int, height: int, format: PixelFormat) -> None:
        """UsageError where a picture has no such part, or chroma samples would be cut apart."""
        if self.left + self.width > width or self.top + self.height > height:
            raise UsageError(f"crop {self} reaches beyond the picture, which has {width}x{height} pixels")
        sx, sy = format.subsampling
        if self.left % (1 << sx) or self.top % (1 << sy):
            raise UsageError(f"crop {self} begins at an odd place; {format.name} takes even ones")

    def of(self, frame: Frame) -> Frame:
        """The part of a frame; its planes are views of the frame's."""
        sx, sy = frame.format.subsampling
        planes = tuple(self._view(plane, index, sx, sy) for index, plane in enumerate(frame.planes))
        card = tuple(
            CardPlane(self._view(plane.tensor, index, sx, sy), plane.ready) for index, plane in enumerate(frame.card)
        )
        origin = self._cut(frame.origin) if frame.origin is not None and has_alpha(frame.origin) else frame.origin
        return replace(frame, planes=planes, card=card, width=self.width, height=self.height, origin=origin)

    def _view(self, plane: Any, index: int, sx: int, sy: int) -> Any:
        if not index:
            sx = sy = 0
        rows = slice(self.top >> sy, -(-(self.top + self.height) >> sy))
        columns = slice(self.left >> sx, -(-(self.left + self.width) >> sx))
        return plane[rows, columns]

    def _cut(self, picture: VideoFrame) -> VideoFrame:
        """A picture whose alpha goes beside the network."""
        graph = Graph()
        source = graph.add(
            "buffer",
            f"width={picture.width}:height={picture.height}:pix_fmt={picture.format.name}:time_base=1/1000"
            f":colorspace={picture.colorspace}:range={picture.color_range}",
        )
        part = f"{self.width}:{self.height}:{self.left}:{self.top}:exact=1"
        graph.link_nodes(source, graph.add("crop", part), graph.add("buffersink")).configure()
        graph.vpush(picture)
        return graph.vpull()


def find_crop(lumas: Iterable[Luma]) -> Crop | None:
    """The picture inside bars that all frames have; None where there are none.

    A dark scene has no edges, and credits have no straight ones: neither is taken for bars.

    Args:
        lumas: of frames; those of another size than the first are passed over.
    """
    rows = columns = np.zeros(0)
    for luma, black, step in lumas:
        light = luma > black + _DARK * step
        if not len(rows):
            rows, columns = light.mean(axis=1), light.mean(axis=0)
        elif light.shape == (len(rows), len(columns)):
            rows, columns = np.maximum(rows, light.mean(axis=1)), np.maximum(columns, light.mean(axis=0))
    (top, bottom), (left, right) = _inside(rows), _inside(columns)
    if (right - left, bottom - top) == (len(columns), len(rows)):
        return None
    return Crop(left, top, right - left, bottom - top)


def _inside(shares: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Where the picture begins and ends along an axis, at even places; `shares` of each line are light at most."""
    before, behind = _bar(shares), _bar(shares[::-1])
    return -(-before // 2) * 2, (len(shares) - behind) // 2 * 2 if behind else len(shares)


def _bar(shares: npt.NDArray[np.float64]) -> int:
    """Lines of the bar at the beginning."""
    light = np.flatnonzero(shares > _NOISE)
    if not len(light) or light[0] < _LEAST or shares[light[0] : light[0] + _EDGE].max() < _STRAIGHT:
        return 0
    return int(light[0])


def luma_of(planes: tuple[Plane, ...], format: PixelFormat, *, full: bool) -> Luma:
    """What `find_crop` takes, of a picture; of RGB the lightest component."""
    step = 2.0 ** (format.bits - 8 + format.shift)
    if format.family == "rgb":
        return (planes[0].max(axis=2) if len(planes) == 1 else np.maximum.reduce(planes)), 0.0, step
    return planes[0], 0.0 if full else 16 * step, step


def lumas_of_video(path: str | Path) -> Iterator[Luma]:
    """Of frames from all over a video file.

    Raises:
        UsageError: it is a pipe.
        MediaError: it cannot be opened.
    """
    if is_pipe(path):
        raise UsageError("--crop auto looks all over a video, but a pipe gives it once; name the part: L:T:W:H")
    with open_input(path) as container:
        video = choose_video(container, path)
        for time in _times(container.start_time or 0, container.duration or 0):
            if time is not None:
                with contextlib.suppress(av.FFmpegError):
                    container.seek(time)
            with contextlib.suppress(av.FFmpegError):  # damage is told by whoever reads all
                picture = _picture_at(container.decode(video), time)
                if picture is not None:
                    full = picture.color_range == 2 or is_full_range(picture.format.name)
                    format = carrier(picture.format.name)
                    yield luma_of(plane_views(carried(picture), format), format, full=full)


def _picture_at(pictures: Iterator[VideoFrame], time: int | None) -> VideoFrame | None:
    """The picture at a time, in microseconds, or `_REACH` behind the keyframe; None = the next one."""
    found = None
    for found in islice(pictures, _REACH):
        if time is None or found.time is None or found.time * 1_000_000 >= time:
            break
    return found


def lumas_of_images(paths: Sequence[Path]) -> Iterator[Luma]:
    """Of some of the images of a sequence."""
    for path in paths[:: max(1, len(paths) // SAMPLES)]:
        frame, _, _ = read_image(path)
        yield luma_of(frame.planes, frame.format, full=True)


def _times(start: int, duration: int) -> list[int | None]:
    """Where to look, in microseconds; None = where the file stands."""
    if not duration:
        return [None] * SAMPLES
    return [None, *(start + duration * (2 * n + 1) // (2 * SAMPLES) for n in range(SAMPLES))]
