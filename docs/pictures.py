"""Makes docs/before-after.png: the same crop of the example clip, enlarged by Lanczos and by the program.

    uv run python docs/pictures.py

The right half is a frame of the file that `rfdn-stream upscale examples/bunny.mp4` writes, encoder and all.
"""

import tempfile
from pathlib import Path

import av
import cv2
import numpy as np

from rfdn_stream import upscale

ROOT = Path(__file__).parents[1]
SECOND, CROP, ENLARGE = 0.2, (76, 6, 75, 52), 8  # CROP: x, y, width, height in source pixels


def frame_at(path: Path, second: float) -> np.ndarray:
    """The frame shown at a time, as BGR."""
    with av.open(str(path)) as container:
        return next(f for f in container.decode(video=0) if f.time >= second).to_ndarray(format="bgr24")


def labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture with a caption below it."""
    bar = np.full((34, picture.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, text, (12, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([picture, bar])


def main() -> None:
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "bunny-2x.mkv"
        upscale(ROOT / "examples/bunny.mp4", result, duration=0.4)
        small, big = frame_at(ROOT / "examples/bunny.mp4", SECOND), frame_at(result, SECOND)
    x, y, width, height = CROP
    lanczos = cv2.resize(small, None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4)
    halves = []
    for picture, text in ((lanczos, "Lanczos, 320x180 to 640x360"), (big, "rfdn-stream, 320x180 to 640x360")):
        crop = picture[2 * y : 2 * (y + height), 2 * x : 2 * (x + width)]
        # Whole pixels: what is seen is what was made.
        shown = cv2.resize(crop, None, fx=ENLARGE / 2, fy=ENLARGE / 2, interpolation=cv2.INTER_NEAREST)
        halves.append(labelled(shown, text))
    gap = np.full((halves[0].shape[0], 8, 3), 24, np.uint8)
    cv2.imwrite(str(ROOT / "docs/before-after.png"), np.hstack([halves[0], gap, halves[1]]))


if __name__ == "__main__":
    main()
