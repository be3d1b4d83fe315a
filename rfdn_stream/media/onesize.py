"""Streams that change their picture's size or format midway, as broadcasts and joined files do."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from rfdn_stream.errors import MediaError

MAX_SIDE = 16384
"""Pixels a side that a source may have."""
_TOLERANCE = Fraction(1, 50)  # of the shape: sides are whole, and standards round


@dataclass(frozen=True)
class Shape:
    """Size, pixel format and pixel aspect ratio of a picture."""

    width: int
    height: int
    format: str
    aspect: Fraction = Fraction(1)

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.format}"

    @property
    def seen(self) -> Fraction:
        """Width to height as players show it."""
        return self.aspect * self.width / self.height


class OneSize:
    """Scales pictures to the shape of a stream's first one, with black bars where they are seen in another shape."""

    def __init__(self, first: Shape) -> None:
        self._first = first
        self._graphs: dict[Shape, Graph] = {}

    def fitted(self, picture: VideoFrame, shape: Shape) -> VideoFrame:
        """A picture of another `shape` as one of the first's; its time and side data stay.

        Raises:
            MediaError: its size is absurd, or no filter takes the format.
        """
        if max(shape.width, shape.height) > MAX_SIDE:
            raise MediaError(f"the picture changes to {shape}; each side must be 1 to {MAX_SIDE} pixels")
        try:
            if shape not in self._graphs:
                self._graphs[shape] = self._graph(picture, shape)
            self._graphs[shape].vpush(picture)
            return self._graphs[shape].vpull()
        except av.FFmpegError as error:
            raise MediaError(
                f"the picture changes from {self._first} to {shape}, which cannot be scaled: {error.strerror}; "
                "split the video there"
            ) from error

    def _graph(self, picture: VideoFrame, shape: Shape) -> Graph:
        first = self._first
        width, height = first.width, first.height
        if abs(shape.seen / first.seen - 1) > _TOLERANCE:
            # Whole chroma samples, so that the bars end where a sample does.
            width = min(width, max(2, round(height * shape.seen / first.aspect / 2) * 2))
            height = min(height, max(2, round(width * first.aspect / shape.seen / 2) * 2))
        graph = Graph()
        full = 2 if first.format.startswith("yuvj") or picture.color_range == 2 else 1
        # interl=-1: the fields of interlaced pictures are scaled each for itself.
        scale = f"{width}:{height}:interl=-1:flags=lanczos+accurate_rnd:in_range={full}:out_range={full}"
        nodes = [
            graph.add(
                "buffer",
                f"width={shape.width}:height={shape.height}:pix_fmt={shape.format}:time_base={Fraction(1, 1000)}"
                f":colorspace={picture.colorspace}:range={picture.color_range}",
            ),
            graph.add("scale", scale),
        ]
        if (width, height) != (first.width, first.height):
            left, top = (first.width - width) // 4 * 2, (first.height - height) // 4 * 2
            nodes.append(graph.add("pad", f"{first.width}:{first.height}:{left}:{top}"))
        nodes += [graph.add("format", f"pix_fmts={first.format}"), graph.add("buffersink")]
        graph.link_nodes(*nodes).configure()
        return graph
