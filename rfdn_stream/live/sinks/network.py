"""A stream over the network as a sink: RTMP, RTSP, MPEG-TS by UDP, and SRT where FFmpeg has it."""

from __future__ import annotations

from types import TracebackType
from urllib.parse import SplitResult, urlsplit

from av.error import ProtocolNotFoundError

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import ColorSpec, PixelFormat, VideoInfo
from rfdn_stream.live.address import without_secrets
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.encoded import EncodedSink
from rfdn_stream.live.sinks.encoder import LiveEncoder, settle_encoding
from rfdn_stream.media.encoders import Encoding

# Containers by scheme, and their settings. Seven packets of MPEG-TS fill a datagram that no network splits.
_MUXERS = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "udp": "mpegts", "srt": "mpegts"}
_SETTINGS = {
    "flv": {"flvflags": "no_duration_filesize"},
    "rtsp": {"rtsp_transport": "tcp"},
    "mpegts": {"pkt_size": "1316", "mpegts_flags": "resend_headers", "muxdelay": "0"},
}
# What came is sent at once, and a stream of which nothing comes (silent audio) holds up no other for long.
_AT_ONCE = {"flush_packets": "1", "max_interleave_delta": "100000"}
# In seconds, for connecting, and for a receiver that takes nothing.
_TIMEOUT = (10.0, 5.0)
_CRF = {"libx264": 21.0, "libx265": 23.0}
# Transfers of HDR, which eight bits do not carry.
_DEEP = (16, 18)


class NetworkSink(EncodedSink):
    """Streams to an address, with the audio of the source where the container holds it.

    Args:
        target: the address.
        options: `codec`, `crf`, `preset`, `bitrate` and `pix_fmt` are used.
    """

    kind = "network"

    def __init__(self, target: str, options: SinkOptions) -> None:
        super().__init__(target, options)
        self._url = target
        self._parts = _checked(target)
        self._muxer = _MUXERS[self._parts.scheme]

    @property
    def name(self) -> str:
        return without_secrets(self._url)

    def wants(self, info: VideoInfo) -> tuple[PixelFormat, ColorSpec]:
        encoding = self._encoding(info)
        return encoding.format, encoding.color

    def open(self, info: VideoInfo, size: tuple[int, int], output: tuple[PixelFormat, ColorSpec]) -> None:
        encoder = LiveEncoder(
            self._url,
            self.name,
            self._muxer,
            self._encoding(info),
            bitrate=self.options.bitrate,
            at_once=True,
            settings={**_SETTINGS[self._muxer], **_AT_ONCE},
            timeout=_TIMEOUT,
        )
        self._encoder = encoder
        try:
            encoder.open(info, size, self._audio)
        except MediaError as error:
            if isinstance(error.__cause__, ProtocolNotFoundError):
                scheme = self._parts.scheme
                raise UsageError(f"FFmpeg has no {scheme} here; use rtmp, rtsp or udp") from error
            raise
        self._audio = ()

    def finish(self) -> None:
        if self._encoder is not None:
            self._encoder.finish()
            self._finished = True

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._encoder is not None and not self._finished:
            self._encoder.close()

    def _encoding(self, info: VideoInfo) -> Encoding:
        """Eight bits of 4:2:0, which every receiver takes, unless the source is HDR or the user wants otherwise."""
        pix_fmt = None if info.color.transfer in _DEEP else "yuv420p"
        return settle_encoding(self._muxer, info, self.options, crf=_CRF, pix_fmt=pix_fmt)


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        has_port = parts.port is not None
    except ValueError as error:
        raise UsageError(f"{url} is not an address: {error}") from None
    if not parts.hostname or (parts.scheme in ("udp", "srt") and not has_port):
        form = {"udp": "udp://HOST:PORT", "srt": "srt://HOST:PORT"}.get(parts.scheme, f"{parts.scheme}://HOST/APP/NAME")
        raise UsageError(f"{url} is no address to stream to; write {form}")
    return parts
