"""Packets in, frames out at once: nothing is held back to learn more of it."""

from __future__ import annotations

import logging

from av.codec.context import Flags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import ColorSpec, Frame, PixelFormat
from rfdn_stream.media.decoder import UNDECODABLE
from rfdn_stream.media.frames import carried, carrier, fraction, is_full_range, plane_views
from rfdn_stream.media.probe import guess_rate
from rfdn_stream.media.tags import ColorTags

log = logging.getLogger("rfdn_stream")

# Their decoders, asked for little delay, give B-frames in the order in which they were coded.
_NOT_PROMPT = ("mpeg1video", "mpeg2video", "mpeg4")


class PromptDecoder:
    """Decodes one video stream with as little delay as it allows.

    One thread a slice, not one a frame: those would hold a frame each. What cannot be decoded is passed over, as
    the next keyframe mends it; size and format may change at any frame.

    Attributes:
        broken: packets that could not be decoded.
        timed: whether the last frame had a time of its own; those of raw streams are counted by a guessed rate.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._context = stream.codec_context
        self._context.thread_type = "SLICE"
        self._codec = self._context.codec.canonical_name
        if self._codec not in _NOT_PROMPT:
            self._context.flags |= Flags.low_delay
        self._time_base = fraction(stream.time_base)
        self._ticks = max(1, round(1 / guess_rate(stream) / self._time_base)) if self._time_base else 1
        self._tags = ColorTags.of_context(self._context)
        self._colors: dict[tuple[ColorTags, str, int, int], ColorSpec] = {}
        self._converted: set[str] = set()
        self._last: int | None = None
        self.broken = 0
        self.timed = True

    def decode(self, packet: Packet[VideoStream]) -> list[Frame]:
        """The frames that a packet sets free, in order of time.

        Raises:
            MediaError: colour that the engine cannot convert.
        """
        try:
            pictures = self._context.decode(packet)
        except UNDECODABLE:
            self.broken += 1
            return []
        return [self._frame(picture) for picture in pictures]

    def hurry(self, keyframes_only: bool) -> None:
        """Passes over all but keyframes, for as long as there is a backlog to be caught up with."""
        self._context.skip_frame = "NONKEY" if keyframes_only else "DEFAULT"

    def _frame(self, picture: VideoFrame) -> Frame:
        picture = self._usable(picture)
        format = carrier(picture.format.name)
        time_base = self._time_base or fraction(picture.time_base)
        assert time_base is not None
        pts = picture.pts
        self.timed = pts is not None
        if pts is None:
            pts = 0 if self._last is None else self._last + self._ticks
        self._last = pts
        return Frame(
            planes=plane_views(carried(picture), format),
            format=format,
            width=picture.width,
            height=picture.height,
            color=self._color(picture, format),
            pts=pts,
            time_base=time_base,
            duration=picture.duration or self._ticks,
            origin=picture,
        )

    def _usable(self, picture: VideoFrame) -> VideoFrame:
        """The picture, in a format that the engine takes; of a camera even transparency is only padding."""
        name = picture.format.name
        try:
            carrier(name)
        except MediaError:
            is_rgb = picture.format.is_rgb
            target = "rgb24" if is_rgb else "yuv444p"
            if name not in self._converted:
                self._converted.add(name)
                log.info("pixel format %s is converted to %s", name, target)
            pts, duration, time_base = picture.pts, picture.duration, picture.time_base
            picture = picture.reformat(format=target)
            picture.pts, picture.duration, picture.time_base = pts, duration, time_base
        return picture

    def _color(self, picture: VideoFrame, format: PixelFormat) -> ColorSpec:
        tags = ColorTags.of_frame(picture).or_else(self._tags)
        name, width, height = picture.format.name, picture.width, picture.height
        key = (tags, name, width, height)
        if key not in self._colors:
            full = is_full_range(name)
            self._colors[key] = tags.interpret(format, width, height, self._codec, full_range_format=full)
        return self._colors[key]
