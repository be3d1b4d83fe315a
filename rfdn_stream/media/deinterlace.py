"""Fields become frames before the network sees them: FFmpeg's bwdif, between decoder and network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from rfdn_stream.errors import UsageError
from rfdn_stream.frame import Frame
from rfdn_stream.media.frames import carried, plane_views

CHOICES = {
    "auto": "mode=send_frame:deint=interlaced",
    "off": "",
    "bob": "mode=send_field:deint=interlaced",
    "tff": "mode=send_frame:deint=all:parity=tff",
    "bff": "mode=send_frame:deint=all:parity=bff",
}
"""Names of ways, and bwdif's options: ``bob`` makes a frame of each field; ``tff`` and ``bff`` take every picture for
interlaced, with its top or bottom field first, whatever it says."""


class Deinterlacer:
    """Takes frames in order and gives them back deinterlaced, the last one when it is told the end.

    Pictures go through the filter from the first one on that is flagged as interlaced, so that film is left alone; of
    those behind it the progressive ones come out as they are. Every frame keeps its time. With ``bob`` an interlaced
    one becomes two, each of half its duration, and all times are in units of half the source's.

    Args:
        way: one of `CHOICES`.

    Attributes:
        frames, others: frames so far that were interlaced and no longer are, and those that were not.

    Raises:
        UsageError: there is no such way.
    """

    def __init__(self, way: str) -> None:
        if way not in CHOICES:
            raise UsageError(f"unknown --deinterlace {way!r}; choose one of {', '.join(CHOICES)}")
        self._way = way
        self._doubles = way == "bob"
        self._graph: Graph | None = None
        self._passed: Frame | None = None  # the last one that went around the filter
        self._held: deque[Frame] = deque()
        self._halfway = False  # the first of two fields of the first held frame is out
        self.frames = self.others = 0

    def through(self, frame: Frame | None) -> Iterator[Frame]:
        """The frames that are ready after this one; None drains the filter."""
        if frame is not None:
            due = self.is_due(frame)
            self.frames, self.others = self.frames + due, self.others + (not due)
        if frame is None:
            if self._graph is not None:
                self._graph.vpush(None)
                yield from self._ready()
        elif self._graph is None and not due:
            self._passed = frame
            yield self._timed(frame, False)
        else:
            if self._graph is None:
                self._graph = _graph(frame.origin, frame.time_base, CHOICES[self._way])
                if self._passed is not None:
                    self._push(self._passed)  # the first interlaced frame has a neighbour before it, too
            self._push(frame)
            yield from self._ready()

    def is_due(self, frame: Frame) -> bool:
        """Whether the frame goes in as two fields and comes out as a whole picture, or two."""
        if self._way == "off" or frame.card:
            return False
        return self._way in ("tff", "bff") or bool(frame.origin.interlaced_frame)

    def _push(self, frame: Frame) -> None:
        assert self._graph is not None
        self._held.append(frame)
        frame.origin.pts = frame.pts  # the file's may be missing
        self._graph.vpush(frame.origin)

    def _ready(self) -> Iterator[Frame]:
        assert self._graph is not None
        while True:
            try:
                made = self._made(self._graph.vpull())
            except (av.BlockingIOError, av.EOFError):
                return
            if self._passed is None:
                yield made
            self._passed = None  # it was given out long ago

    def _made(self, picture: VideoFrame) -> Frame:
        """The frame of a picture: of the first one held, unless the picture's time is that of the next."""
        assert picture.pts is not None
        time = picture.pts * Fraction(picture.time_base.numerator, picture.time_base.denominator)
        following = self._held[1] if len(self._held) > 1 else None
        if following is not None and time == (following.pts or 0) * following.time_base:
            self._held.popleft()
            self._halfway = False
        frame = self._held[0]
        made = replace(frame, planes=plane_views(carried(picture), frame.format), origin=picture)
        made = self._timed(made, bool(frame.origin.interlaced_frame), second=self._halfway)
        self._halfway = True
        return made

    def _timed(self, frame: Frame, halved: bool, *, second: bool = False) -> Frame:
        """In units of half the source's, where fields become frames."""
        if not self._doubles:
            return frame
        assert frame.pts is not None
        pts, duration = 2 * frame.pts, frame.duration * (1 if halved else 2)
        return replace(frame, pts=pts + duration * second, duration=duration, time_base=frame.time_base / 2)


def _graph(picture: VideoFrame, time_base: Fraction, options: str) -> Graph:
    """The filter, which gives pictures in the format that it takes."""
    graph = Graph()
    source = graph.add(
        "buffer",
        f"width={picture.width}:height={picture.height}:pix_fmt={picture.format.name}:time_base={time_base}"
        f":colorspace={picture.colorspace}:range={picture.color_range}",
    )
    format = graph.add("format", f"pix_fmts={picture.format.name}")
    graph.link_nodes(source, graph.add("bwdif", options), format, graph.add("buffersink")).configure()
    return graph
