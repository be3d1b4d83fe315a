"""A video file: enlarged, with its sound, subtitles, chapters and timestamps kept."""

import sys
from pathlib import Path

from rfdn_stream import upscale

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

result = upscale("examples/bunny.mp4", folder / "bunny-2x.mkv", start=0.5, duration=0.4, crf=14, overwrite=True)
print(result)
