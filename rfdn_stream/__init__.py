"""rfdn-stream: video made sharper with RFDN, for files, live streams and editors.

    from rfdn_stream import Upscaler, upscale

    upscale("in.mp4", "out.mkv")                 # a file, everything else in it kept
    with Upscaler(scale=2) as upscaler:          # frames from your own code
        big = upscaler(array)

Importing this package is cheap; torch is imported when one of the names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rfdn_stream.errors import DeviceError as DeviceError
    from rfdn_stream.errors import RfdnError as RfdnError
    from rfdn_stream.errors import UsageError as UsageError
    from rfdn_stream.frame import ColorSpec as ColorSpec
    from rfdn_stream.frame import Frame as Frame
    from rfdn_stream.frame import PixelFormat as PixelFormat
    from rfdn_stream.jobs import upscale as upscale
    from rfdn_stream.media.tags import ColorTags as ColorTags
    from rfdn_stream.nets.catalogue import open_model as open_model
    from rfdn_stream.process import settle_environment as settle_environment
    from rfdn_stream.upscaler import Upscaler as Upscaler

_WHERE = {
    "ColorSpec": "rfdn_stream.frame",
    "ColorTags": "rfdn_stream.media.tags",
    "DeviceError": "rfdn_stream.errors",
    "Frame": "rfdn_stream.frame",
    "PixelFormat": "rfdn_stream.frame",
    "RfdnError": "rfdn_stream.errors",
    "Upscaler": "rfdn_stream.upscaler",
    "UsageError": "rfdn_stream.errors",
    "open_model": "rfdn_stream.nets.catalogue",
    "settle_environment": "rfdn_stream.process",
    "upscale": "rfdn_stream.jobs",
}

__all__ = [
    "ColorSpec",
    "ColorTags",
    "DeviceError",
    "Frame",
    "PixelFormat",
    "RfdnError",
    "Upscaler",
    "UsageError",
    "__version__",
    "open_model",
    "settle_environment",
    "upscale",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
