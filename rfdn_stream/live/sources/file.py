"""A file as a camera: each frame at its own time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from av.container.input import InputContainer
from av.packet import Packet
from av.stream import Stream

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import Frame
from rfdn_stream.live.base import Captured
from rfdn_stream.live.sources import SourceOptions
from rfdn_stream.live.sources.stream import Opening, StreamSource
from rfdn_stream.media.probe import ffmpeg_name, open_input
from rfdn_stream.media.reader import CopiedPacket


class FileSource(StreamSource):
    """Plays a file at its own speed; with `loop` again and again, on one running clock."""

    def __init__(self, path: str, options: SourceOptions) -> None:
        how = Opening(path, ffmpeg_name(path), timeout=options.timeout, paced=True, endless=False)
        super().__init__(replace(how, deinterlace=options.deinterlace))
        self._loop = options.loop
        self._shift = 0.0  # seconds that earlier rounds took
        self._first: float | None = None
        self._last = 0.0

    def _open(self) -> InputContainer:
        if not Path(self.name).is_fifo():
            open_input(self.name).close()  # says what is wrong with a file better than FFmpeg
        return super()._open()

    def _next(self) -> Captured | CopiedPacket | None:
        item = super()._next()
        if item is None and self._loop:
            self._again()
            item = super()._next()
        if isinstance(item, Captured):
            frame = self._moved(item.frame)
            start = frame.seconds
            assert start is not None
            if self._first is None:
                self._first = start
            self._last = start + float(frame.duration * frame.time_base)
            return Captured(frame, item.at)
        if item is not None:
            self._move(item.packet)
        return item

    def _again(self) -> None:
        assert self._first is not None
        self._shift = self._last - self._first
        if Path(self.name).is_fifo():
            raise MediaError(f"{self.name} is a pipe, which cannot be begun again; leave out --loop")
        # Opened anew, as to seek to the beginning misses the first keyframe in some formats, and raw ones cannot.
        self._container.close()
        self._container = self._open()
        self._attach()

    def _moved(self, frame: Frame) -> Frame:
        assert frame.pts is not None
        return replace(frame, pts=frame.pts + round(self._shift / frame.time_base))

    def _move(self, packet: Packet[Stream]) -> None:
        ticks = round(self._shift / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
