"""The encoder of a part of a video, whose packets wait in a file to be joined with those of the other parts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import av

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import CardPlane, Frame
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.packets import PacketWriter
from rfdn_stream.media.source import Source
from rfdn_stream.media.video_encoder import VideoEncoder


class PartSink:
    """Encodes as `VideoFileSink` does, but writes the packets alone. To be used in a ``with`` block, by one thread.

    Args:
        path: where the packets lie after `finish`, and not before.
        source, plan, size: as for `VideoFileSink`; alike for all parts.

    Raises:
        UsageError: on entering, the encoder refuses its settings.
        MediaError: the file cannot be written.
    """

    def __init__(self, path: Path, source: Source, plan: OutputPlan, size: tuple[int, int]) -> None:
        self._path, self._plan = path, plan
        self._encoder = VideoEncoder(source, plan, size)
        self.report = self._encoder.report

    def __enter__(self) -> Self:
        # The encoder gets its settings from the stream of a container, here of one that is never written.
        self._container = av.open(io.BytesIO(), "w", format=self._plan.muxer)
        try:
            self._encoder.add_to(self._container)
            self._encoder.open()
            self.packets = PacketWriter(self._path)
        except (av.FFmpegError, ValueError) as error:
            raise self._encoder.refusal(error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.packets.__exit__(kind, value, tb)

    def surface(self) -> tuple[CardPlane, ...]:
        """Where the next frame is to be made, on the encoder's card; () = in the host's memory."""
        return self._encoder.surface

    def write(self, frame: Frame) -> None:
        """Encodes a frame in the plan's format; its pts must lie behind the last frame's."""
        for packet in self._encoder.encode(frame):
            self.packets.add(packet)

    def copy(self, packet: Any) -> NoReturn:
        """Parts hold nothing but pictures."""
        raise MediaError("a part of a video takes no packets of other streams")

    def drain(self) -> Iterator[None]:
        """Has the encoder give the frames that it still holds, one at a step. To be run through before `finish`."""
        for packet in self._encoder.drain():
            self.packets.add(packet)
            yield

    def finish(self) -> bytes:
        """Completes the file.

        Returns:
            What the encoder says before its first packet (extradata), the same for every part.
        """
        self.packets.finish()
        return bytes(self._encoder.video.codec_context.extradata or b"")
