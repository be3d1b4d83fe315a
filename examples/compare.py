"""The same part of a video's frame by nearest, Lanczos and the network, as a PNG."""

import sys
from pathlib import Path

from rfdn_stream.jobs.compare import Crop, png_of, still_of

here = Path(__file__).parent
target = Path(sys.argv[1] if len(sys.argv) > 1 else ".") / "compared.png"

stills = still_of(here / "bunny.mp4", at=0.2, crops=[Crop(76, 6, 75, 52)])
target.write_bytes(png_of(stills.sheet))
print(f"{target}: {stills.what}, {stills.crop_told}")
