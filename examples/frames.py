"""Frames from your own code: any iterable of arrays, enlarged in order with several in flight."""

import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from rfdn_stream import Upscaler

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")


def frames() -> Iterator[np.ndarray]:
    """The first five frames of the clip as RGB arrays, [H, W, 3] uint8."""
    with av.open("examples/bunny.mp4") as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == 5:
                return
            yield frame.to_ndarray(format="rgb24")


with Upscaler(scale=2) as upscaler:
    for number, big in enumerate(upscaler.map(frames())):
        cv2.imwrite(str(folder / f"frame-{number}.png"), big[..., ::-1])
        print(f"frame {number}: {big.shape[1]}x{big.shape[0]}")
