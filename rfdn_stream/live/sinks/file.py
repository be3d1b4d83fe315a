"""A recording as a sink: a file that is whole, or not there."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import ColorSpec, PixelFormat, VideoInfo
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.encoded import EncodedSink
from rfdn_stream.live.sinks.encoder import LiveEncoder, settle_encoding
from rfdn_stream.media.output import muxer_of
from rfdn_stream.media.probe import ffmpeg_name
from rfdn_stream.media.target import settle_target, whole_or_nothing

# Containers that take no encoder that is chosen automatically; FFmpeg says so only when their header is written.
_PARTICULAR = frozenset(
    ("a64", "film_cpk", "gxf", "oga", "opus", "psp", "spx", "swf", "webm_dash_manifest", "yuv4mpegpipe")
)


class FileSink(EncodedSink):
    """Records into a file; it gets its name when `finish` has completed it.

    Args:
        target: the file's path; its extension chooses the container.
        options: `codec`, `crf`, `preset`, `bitrate`, `pix_fmt`, `overwrite` and `source` are used.
    """

    kind = "file"
    lasting = True

    def __init__(self, target: str, options: SinkOptions) -> None:
        super().__init__(target, options)
        self._path = Path(target).expanduser()
        settle_target(options.source, self._path, overwrite=options.overwrite)
        self._muxer = muxer_of(self._path)
        if options.codec is None and self._muxer in _PARTICULAR:
            extension = self._path.suffix
            raise UsageError(
                f"{extension} holds nothing that live encodes by itself; use .mkv, .mp4, .mov, .webm, .ts or .avi"
            )
        self._stack = ExitStack()

    @property
    def name(self) -> str:
        return str(self._path)

    def wants(self, info: VideoInfo) -> tuple[PixelFormat, ColorSpec]:
        encoding = settle_encoding(self._muxer, info, self.options)
        return encoding.format, encoding.color

    def open(self, info: VideoInfo, size: tuple[int, int], output: tuple[PixelFormat, ColorSpec]) -> None:
        encoding = settle_encoding(self._muxer, info, self.options)
        partial = self._stack.enter_context(whole_or_nothing(self._path))
        encoder = LiveEncoder(ffmpeg_name(partial), self.name, self._muxer, encoding, bitrate=self.options.bitrate)
        self._encoder = encoder
        self._stack.callback(encoder.close)
        encoder.open(info, size, self._audio)
        self._audio = ()

    def finish(self) -> None:
        if self._encoder is None or not self._encoder.frames:
            raise MediaError(f"nothing was recorded into {self._path}: no picture came before the end")
        self._encoder.finish()
        self._finished = True
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if not self._finished:
            unfinished = MediaError(f"{self._path} was not finished")
            self._stack.__exit__(type(unfinished), unfinished, None)
