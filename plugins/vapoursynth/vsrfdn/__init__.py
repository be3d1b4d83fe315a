"""RFDN for VapourSynth: clips made sharper and larger, by the engine of rfdn-stream.

    from vsrfdn import rfdn

    clip = rfdn(clip)                           # twice as large, in the clip's own format
    clip = rfdn(clip, scale=4, height=2160)     # four times as large, then resampled to 2160 rows

Importing this module is cheap; torch is imported when the first filter is made.
"""

from __future__ import annotations

try:
    import vapoursynth as _  # noqa: F401 - only to say what is missing
except ImportError as missing:
    raise ImportError(f"VapourSynth is not here ({missing}); pip install 'rfdn-stream[vapoursynth]'") from missing

from rfdn_stream import __version__
from vsrfdn.filter import rfdn

__all__ = ["__version__", "rfdn"]
