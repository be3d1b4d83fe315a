"""A picture: once as a file, once as an array."""

import sys
from pathlib import Path

import cv2

from rfdn_stream import Upscaler, upscale

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

print(upscale("examples/bunny.png", folder / "bunny-2x.png", overwrite=True))

with Upscaler("erfdn-x2-clean") as upscaler:
    rgb = cv2.imread("examples/bunny.png")[..., ::-1]
    print(rgb.shape, "->", upscaler(rgb).shape)
