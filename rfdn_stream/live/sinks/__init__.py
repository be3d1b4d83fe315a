"""Where a live picture goes: SINK of ``rfdn-stream live SOURCE SINK``, and the class that answers to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.live.base import Sink
from rfdn_stream.registry import load

SINKS = {
    "window": "rfdn_stream.live.sinks.window:WindowSink",
    "camera": "rfdn_stream.live.sinks.camera:CameraSink",
    "page": "rfdn_stream.live.sinks.page:PageSink",
    "null": "rfdn_stream.live.sinks.null:NullSink",
    "rtmp": "rfdn_stream.live.sinks.network:NetworkSink",
    "rtmps": "rfdn_stream.live.sinks.network:NetworkSink",
    "rtsp": "rfdn_stream.live.sinks.network:NetworkSink",
    "udp": "rfdn_stream.live.sinks.network:NetworkSink",
    "srt": "rfdn_stream.live.sinks.network:NetworkSink",
    "file": "rfdn_stream.live.sinks.file:FileSink",
}
FORMS = (
    "window, camera[:DEVICE], page[:[HOST:]PORT], rtmp://..., rtsp://..., udp://HOST:PORT, srt://..., null, "
    "or a file's name such as out.mkv"
)
_PLAIN = ("window", "camera", "page", "null")
_ENCODERS = ("codec", "crf", "preset", "bitrate")


@dataclass(frozen=True)
class SinkOptions:
    """What a user can choose of a sink; an encoder's options are refused where there is none.

    Args:
        codec: FFmpeg's name of an encoder, for network and file; None = the best for the container.
        crf: constant quality, on the encoder's own scale.
        preset: the encoder's trade of speed against size; None = one that keeps up.
        bitrate: at most this many kbit/s, for network and file; None = as many as the quality takes.
        pix_fmt: FFmpeg's name of the encoded pixel format.
        overwrite: whether a file is replaced.
        source: the file that is shown, which is never replaced; None = it is no file.
        host: the address that the page is served on, where SINK names none.
        token: what the page's viewers must know; None = made where `host` is reached from other machines.
        folder: where the window puts its snapshots; None = the current one.
        title: of the window and the page.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    bitrate: int | None = None
    pix_fmt: str | None = None
    overwrite: bool = False
    source: Path | None = None
    host: str = "127.0.0.1"
    token: str | None = None
    folder: str | None = None
    title: str = "rfdn-stream"


def open_sink(text: str, options: SinkOptions | None = None) -> Sink:
    """The sink that SINK names, not yet entered.

    Raises:
        UsageError: there is no such sink, or it cannot be written like this.
    """
    options = options or SinkOptions()
    scheme, rest = _split(text)
    for name in _ENCODERS if scheme in _PLAIN else ():
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for an address or a file, not for {text}; leave it out")
    sink: Sink = load(SINKS, scheme, "sink")(rest, options)
    return sink


def _split(text: str) -> tuple[str, str]:
    """The sink's name in `SINKS`, and what it is given: a port, a device, an address, a path."""
    name, _, rest = text.partition(":")
    if name in _PLAIN:
        return name, rest
    if re.match(r"[a-z][a-z0-9+.-]+://", text):
        if name not in SINKS or name == "file":
            raise UsageError(f"unknown sink {text!r}; a sink is {FORMS}")
        return name, text
    if not re.search(r"[./\\]", text):
        raise UsageError(f"unknown sink {text!r}; a sink is {FORMS}")
    return "file", text
