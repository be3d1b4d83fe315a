"""A recording as a sink: a file that is whole, or not there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import ColorSpec, PixelFormat, VideoInfo
from rfdn_stream.live.base import Shot
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.encoder import LiveEncoder, settle_encoding
from rfdn_stream.live.sinks.null import NullSink
from rfdn_stream.media.output import muxer_of
from rfdn_stream.media.reader import CopiedPacket
from rfdn_stream.media.target import settle_target, whole_or_nothing

if TYPE_CHECKING:
    from av.audio.stream import AudioStream


class FileSink(NullSink):
    """Records into a file; it gets its name when `finish` has completed it.

    Args:
        target: the file's path; its extension chooses the container.
        options: `codec`, `crf`, `preset`, `bitrate`, `pix_fmt` and `overwrite` are used.
    """

    kind = "file"

    def __init__(self, target: str, options: SinkOptions) -> None:
        super().__init__(target, options)
        self._path = Path(target).expanduser()
        settle_target(None, self._path, overwrite=options.overwrite)
        self._muxer = muxer_of(self._path)
        self._audio: Sequence[AudioStream] = ()
        self._encoder: LiveEncoder | None = None
        self._finished = False
        self._stack = ExitStack()

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def notes(self) -> Sequence[str]:
        return self._encoder.notes if self._encoder else ()

    def wants(self, info: VideoInfo) -> tuple[PixelFormat, ColorSpec]:
        encoding = settle_encoding(self._muxer, info, self.options)
        return encoding.format, encoding.color

    def listen(self, audio: Sequence[AudioStream]) -> None:
        self._audio = audio

    def open(self, info: VideoInfo, size: tuple[int, int], output: tuple[PixelFormat, ColorSpec]) -> None:
        encoding = settle_encoding(self._muxer, info, self.options)
        partial = self._stack.enter_context(whole_or_nothing(self._path))
        encoder = LiveEncoder(str(partial), self.name, self._muxer, encoding, bitrate=self.options.bitrate)
        self._encoder = encoder
        self._stack.callback(encoder.close)
        encoder.open(info, size, self._audio)
        self._audio = ()

    def show(self, shot: Shot) -> None:
        super().show(shot)
        if self._encoder is not None:
            self._encoder.write(shot.frame)

    def copy(self, packet: CopiedPacket) -> None:
        if self._encoder is not None:
            self._encoder.copy(packet)

    def finish(self) -> None:
        if self._encoder is not None and self._encoder.frames:
            self._encoder.finish()
            self._finished = True
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if not self._finished:
            unfinished = MediaError(f"{self._path} was not finished")
            self._stack.__exit__(type(unfinished), unfinished, None)
