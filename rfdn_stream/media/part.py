"""The frames between two keyframes of a source: exactly those that reading it from its beginning gives."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.container.input import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import Frame
from rfdn_stream.media.decoder import Decoder
from rfdn_stream.media.deinterlace import Deinterlacer
from rfdn_stream.media.findings import Findings
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.probe import choose_video
from rfdn_stream.media.seeking import packets_at, packets_from
from rfdn_stream.media.source import Source

Place = tuple[int, int | None]
"""Presentation and decoding time of a keyframe's packet, in the stream's ticks."""


class Part:
    """A part of the span of an open source, decoded on its own.

    The pictures that are shown before a keyframe and come behind it (open GOPs) belong to the part before, which is
    read on until they are there. Where the first picture cannot be had from its own keyframe alone, or needs a
    neighbour to be deinterlaced, decoding begins a keyframe earlier.

    Args:
        source: stays open, and is not moved.
        begin: the keyframe that the part begins with; None = with the span's first picture.
        before: the keyframe before that; None = the file's beginning.
        end: the presentation time of the next part's keyframe; None = to the span's last picture.

    Attributes:
        frames: given out so far.
    """

    def __init__(self, source: Source, begin: Place | None, before: Place | None, end: int | None) -> None:
        self._source, self._begin, self._before, self._end = source, begin, before, end
        self._base = fraction(source.video.time_base) or Fraction(1, 1_000_000)
        self._deinterlaced = self._progressive = self._repeats = self.frames = 0

    def items(self) -> Iterator[Frame]:
        """Frames in order of time, moved as the source's. To be run through once.

        Raises:
            MediaError: the source cannot be read, or the keyframe is not where it was.
        """
        span, end = self._source.span, None if self._end is None else self._end * self._base
        begin = None if self._begin is None else self._begin[0] * self._base
        for frame in self._deinterlacing():
            time = (frame.pts or 0) * frame.time_base
            if (end is not None and time >= end) or span.is_after(frame.pts or 0, frame.time_base):
                return
            if (begin is None or time >= begin) and (shown := self._source.shown(frame)) is not None:
                self.frames += 1
                yield shown

    @property
    def findings(self) -> Findings:
        """What was found in this part so far."""
        decoder = self._decoder
        damage = tuple(each for each in decoder.damage if self._holds(each.seconds))
        changes = tuple((max(when, self._since), shape) for when, shape in decoder.changes if self._is_before_end(when))
        return Findings(
            damage,
            changes,
            tuple(decoder.notes),
            self._deinterlaced,
            self._progressive,
            decoder.untimed,
            self._repeats,
        )

    @property
    def _since(self) -> Fraction:
        return Fraction(0) if self._begin is None else self._begin[0] * self._base

    def _is_before_end(self, seconds: Fraction) -> bool:
        return self._end is None or seconds < self._end * self._base

    def _holds(self, seconds: Fraction) -> bool:
        begun = self._begin is None or seconds >= self._since
        return begun and self._is_before_end(seconds) and self._source.span.holds_time(seconds)

    def _deinterlacing(self) -> Iterator[Frame]:
        deinterlacer = self._deinterlacer = Deinterlacer(self._source.deinterlace)
        for frame in self._decoded():
            if self._holds((frame.pts or 0) * self._base):
                due = deinterlacer.is_due(frame)
                self._deinterlaced, self._progressive = self._deinterlaced + due, self._progressive + (not due)
            yield from deinterlacer.through(frame)
        yield from deinterlacer.through(None)

    def _decoded(self) -> Iterator[Frame]:
        """Frames from the part's first one on, or from some before it."""
        if self._begin is None:
            yield from self._decoded_from(None)
            return
        begin = self._begin[0]
        frames = self._decoded_from(self._begin)
        first = next((frame for frame in frames if (frame.pts or 0) >= begin), None)
        if first is not None and first.pts == begin and not Deinterlacer(self._source.deinterlace).is_due(first):
            yield from chain([first], frames)
            return
        frames.close()
        for frame in self._decoded_from(self._before):
            if self._before is None or (frame.pts or 0) >= self._before[0]:
                yield frame

    def _decoded_from(self, place: Place | None) -> Generator[Frame]:
        with self._source.open_container() as container:
            video = choose_video(container, self._source.path)
            decoder = self._decoder = Decoder(
                video, self._source.nvdec, self._source.shape, matrix=self._source.asked_matrix
            )
            for packet in self._packets(container, video, place):
                repeats = decoder.repeats
                yield from decoder.decode(packet)
                if self._holds((packet.pts or 0) * self._base):
                    self._repeats += decoder.repeats - repeats
            yield from decoder.decode(None)

    def _packets(
        self, container: InputContainer, video: VideoStream, place: Place | None
    ) -> Iterator[Packet[VideoStream]]:
        """Packets of the video from a keyframe on; None = those that suffice for the span's first picture."""
        path, span = self._source.path, self._source.span
        found: Iterator[Packet[Any]] | None = container.demux(video)
        if place is not None:
            found = packets_at(container, video, *place)
        elif self._begin is None and span.begin is not None:
            found = packets_from(container, video, span.begin)
        with self._source.open_container() if found is None else nullcontext(container) as opened:
            packets: Iterator[Packet[Any]] = opened.demux(choose_video(opened, path)) if found is None else found
            reached = place is None
            for packet in _readable(packets, path):
                reached = reached or (packet.is_keyframe and place is not None and packet.pts == place[0])
                if reached and packet.stream_index == video.index:
                    yield packet
        if not reached and place is not None:
            raise MediaError(f"the keyframe at {float(place[0] * self._base):.3f} s of {path} is no longer there")


def _readable(packets: Iterator[Packet[Any]], path: str | Path) -> Iterator[Packet[Any]]:
    """Packets that hold something, up to where the file cannot be read on."""
    while True:
        try:
            packet = next(packets, None)
        except (av.InvalidDataError, av.UnknownError):
            return  # told by whoever reads the other streams
        except av.FFmpegError as error:
            raise MediaError(f"cannot read {path} on: {error.strerror}") from error
        if packet is None:
            return
        if packet.size:
            yield packet
