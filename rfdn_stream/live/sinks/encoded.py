"""What sinks have in common whose frames go through an encoder, with the audio of the source beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rfdn_stream.live.base import Shot
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.encoder import LiveEncoder
from rfdn_stream.live.sinks.null import NullSink
from rfdn_stream.media.reader import CopiedPacket

if TYPE_CHECKING:
    from av.audio.stream import AudioStream


class EncodedSink(NullSink):
    """See `live.base.Sink` for the methods; `open` is the heirs', and sets `_encoder`."""

    def __init__(self, target: str, options: SinkOptions) -> None:
        super().__init__(target, options)
        self._audio: Sequence[AudioStream] = ()
        self._encoder: LiveEncoder | None = None
        self._finished = False

    @property
    def notes(self) -> Sequence[str]:
        return self._encoder.notes if self._encoder else ()

    def listen(self, audio: Sequence[AudioStream]) -> None:
        self._audio = audio

    def show(self, shot: Shot) -> None:
        super().show(shot)
        if self._encoder is not None:
            self._encoder.write(shot.frame)

    def copy(self, packet: CopiedPacket) -> None:
        if self._encoder is not None:
            self._encoder.copy(packet)
