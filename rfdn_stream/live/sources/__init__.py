"""Where live pictures come from: SOURCE of ``rfdn-stream live SOURCE SINK``, and the class that answers to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.live.base import Source, SourceLost
from rfdn_stream.registry import load

SOURCES = {
    "camera": "rfdn_stream.live.sources.camera:open_camera",
    "opencv": "rfdn_stream.live.sources.opencv:OpenCvSource",
    "screen": "rfdn_stream.live.sources.screen:ScreenSource",
    "test": "rfdn_stream.live.sources.pattern:PatternSource",
    "address": "rfdn_stream.live.sources.address:AddressSource",
    "file": "rfdn_stream.live.sources.file:FileSource",
}
FORMS = "camera[:N], screen[:N], test, an address such as udp://HOST:PORT, a .sdp file, opencv[:N], or a file"
WAYS = ("auto", "off", "tff", "bff")
"""Of `media.deinterlace`, those that leave the number of frames as it is."""
_PLAIN = ("camera", "opencv", "screen", "test")
_FOR = {
    "size": _PLAIN,
    "rate": _PLAIN,
    "input_format": ("camera", "opencv"),
    "as_camera": ("address",),
    "loop": ("file",),
    "listen": ("address",),
    "deinterlace": ("camera", "address", "file"),
}
"""The kinds of sources that an option concerns."""


class Awaited(SourceLost):
    """A source that listens has heard of no sender yet: all is well, and it is to listen again at once."""


@dataclass(frozen=True)
class SourceOptions:
    """What a user can choose of a source; what does not concern one is refused.

    Args:
        size: (width, height) of a camera's, the screen's or the test pattern's picture; None = its own choice.
        rate: frames a second of the same.
        input_format: a camera's format, by FFmpeg's name, such as ``mjpeg`` or ``yuyv422``.
        as_camera: an address is paced by its own timestamps, as files always are.
        loop: a file begins again at its end.
        listen: an address is one that the sender connects to.
        deinterlace: ``auto`` = pictures that say they are interlaced, ``tff`` or ``bff`` = all, with that field first,
            or ``off``.
        timeout: seconds after which a source that gives nothing counts as lost.
    """

    size: tuple[int, int] | None = None
    rate: float | None = None
    input_format: str | None = None
    as_camera: bool = False
    loop: bool = False
    listen: bool = False
    deinterlace: str = "auto"
    timeout: float = 5.0


def open_source(text: str, options: SourceOptions | None = None) -> Source:
    """The source that SOURCE names, not yet entered.

    Raises:
        UsageError: there is no such source, or it cannot be written like this.
    """
    kind, rest = _split(text)
    options = options or SourceOptions()
    if options.deinterlace not in WAYS:
        raise UsageError(f"unknown --deinterlace {options.deinterlace!r}; live has {', '.join(WAYS)}")
    for name, kinds in _FOR.items():
        if getattr(options, name) != getattr(SourceOptions, name) and kind not in kinds:
            raise UsageError(f"--{name.replace('_', '-')} is for {' and '.join(kinds)}, not for {text}; leave it out")
    source: Source = load(SOURCES, kind, "source")(rest, options)
    return source


def _split(text: str) -> tuple[str, str]:
    """The source's name in `SOURCES`, and what it is given: a number, a device, an address, a path."""
    name, _, rest = text.partition(":")
    if name in _PLAIN:
        return name, rest
    if re.match(r"[a-z][a-z0-9+.-]+://", text) or text.lower().endswith(".sdp"):
        return "address", text
    if re.fullmatch(r"/dev/video\d+", text):
        return "camera", text
    if not Path(text).exists() and not re.search(r"[./\\]", text):
        raise UsageError(f"unknown source {text!r}; a source is {FORMS}")
    return "file", text
