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
    from rfdn_stream.errors import RfdnError as RfdnError
    from rfdn_stream.jobs import upscale as upscale
    from rfdn_stream.nets.catalogue import open_model as open_model
    from rfdn_stream.upscaler import Upscaler as Upscaler

_WHERE = {
    "RfdnError": "rfdn_stream.errors",
    "Upscaler": "rfdn_stream.upscaler",
    "open_model": "rfdn_stream.nets.catalogue",
    "upscale": "rfdn_stream.jobs",
}

__all__ = ["RfdnError", "Upscaler", "__version__", "open_model", "upscale"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
