"""The screen as a source."""

from __future__ import annotations

import os
import sys

import av

from rfdn_stream.errors import UsageError
from rfdn_stream.live.sources import SourceOptions
from rfdn_stream.live.sources.stream import Opening, StreamSource

SYSTEMS = {"linux": "x11grab", "win32": "gdigrab", "darwin": "avfoundation"}
_RATE = 30


class ScreenSource(StreamSource):
    """What is on a screen; `size` takes its upper left part.

    Args:
        text: the screen's number; "" = the first.
    """

    def __init__(self, text: str, options: SourceOptions) -> None:
        if text and not text.isdecimal():
            raise UsageError(f"a screen is called by its number, got {text!r}; write screen or screen:1")
        system = SYSTEMS.get(sys.platform, "x11grab")
        if system not in av.formats_available:
            raise UsageError(f"this FFmpeg has no {system}, so it cannot see the screen; take OBS's virtual camera")
        asked = {"framerate": f"{_RATE if options.rate is None else options.rate:g}"}
        if options.size is not None:
            asked["video_size"] = f"{options.size[0]}x{options.size[1]}"
        address = _address(text, system)
        name = f"screen {address}"
        hint = {-1: "is DISPLAY right, and does the screen have the --size?"} if system == "x11grab" else {}
        if system == "x11grab" and _opencv_came_first():
            raise UsageError("OpenCV was imported before PyAV, whose view of the screen would crash; import av first")
        super().__init__(Opening(name, address, system, asked, options.timeout, hints=hint))


def _opencv_came_first() -> bool:
    """Whether OpenCV's own X libraries were loaded before PyAV's: the second ones then meet the first one's."""
    order = list(sys.modules)
    return "cv2" in order and order.index("cv2") < order.index("av")


def _address(text: str, system: str) -> str:
    """What FFmpeg calls the screen."""
    if system == "gdigrab":
        return "desktop"
    if system == "avfoundation":
        return f"Capture screen {text or 0}:none"
    display = os.environ.get("DISPLAY")
    if not display:
        raise UsageError("there is no X screen (DISPLAY is empty); under Wayland, take OBS's virtual camera")
    return display if not text else f"{display.rpartition('.')[0] or display}.{text}"
