"""A moving test pattern, which needs no device and no network."""

from __future__ import annotations

from rfdn_stream.errors import UsageError
from rfdn_stream.live.sources import SourceOptions
from rfdn_stream.live.sources.stream import Opening, StreamSource


class PatternSource(StreamSource):
    """FFmpeg's testsrc2, which counts its own time: whoever sees it sees lost frames and delay."""

    def __init__(self, text: str, options: SourceOptions) -> None:
        if text:
            raise UsageError(f"the source test takes nothing behind its name, got {text!r}; choose --size and --rate")
        width, height = options.size or (640, 360)
        rate = 30 if options.rate is None else options.rate
        address = f"testsrc2=size={width}x{height}:rate={rate:g}"
        super().__init__(Opening("test", address, "lavfi", timeout=options.timeout, paced=True, endless=False))
