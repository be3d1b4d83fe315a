"""A sink that takes everything and keeps nothing: for measuring, and what the other sinks build on."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rfdn_stream.errors import UsageError
from rfdn_stream.frame import ColorSpec, PixelFormat, VideoInfo
from rfdn_stream.live.base import Shot
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.media.reader import CopiedPacket

if TYPE_CHECKING:
    from av.audio.stream import AudioStream


class NullSink:
    """See `live.base.Sink` for the methods.

    Args:
        target: what follows the sink's name in SINK; nothing may.
        options: what concerns the sink.
    """

    kind = "null"
    lasting = False

    def __init__(self, target: str, options: SinkOptions) -> None:
        if target and type(self) is NullSink:
            raise UsageError(f"the sink null takes nothing behind its name, got {target!r}")
        self.options = options
        self.shown = 0

    @property
    def name(self) -> str:
        return self.kind

    @property
    def closed(self) -> bool:
        return False

    @property
    def notes(self) -> Sequence[str]:
        return ()

    def wants(self, info: VideoInfo) -> tuple[PixelFormat, ColorSpec]:
        return info.format, info.color

    def listen(self, audio: Sequence[AudioStream]) -> None:
        pass

    def open(self, info: VideoInfo, size: tuple[int, int], output: tuple[PixelFormat, ColorSpec]) -> None:
        pass

    def show(self, shot: Shot) -> None:
        self.shown += 1

    def copy(self, packet: CopiedPacket) -> None:
        pass

    def finish(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        pass
