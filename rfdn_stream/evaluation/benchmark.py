"""PSNR and SSIM over folders of pictures, as papers on super-resolution report them.

Pictures go through the network as rgb24 frames: the very path that video takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from statistics import fmean

import numpy as np

from rfdn_stream.arrays import frame_of
from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.enlargers import Enlarger
from rfdn_stream.evaluation.metrics import WINDOW, Image, psnr_y, ssim_y
from rfdn_stream.evaluation.names import distinct
from rfdn_stream.evaluation.resize import shrink
from rfdn_stream.frame import Frame
from rfdn_stream.media.image import EXTENSIONS, read_image


@dataclass(frozen=True)
class PictureScore:
    """PSNR in dB (infinite for equal pictures) and SSIM of one picture; `name` is its pair's."""

    name: str
    psnr_y: float
    ssim_y: float


@dataclass(frozen=True)
class BenchmarkScore:
    """The scores of a data set's pictures; its own are their means."""

    dataset: Path
    enlarger: str
    scale: int
    pictures: tuple[PictureScore, ...]

    @property
    def psnr_y(self) -> float:
        """dB."""
        return fmean(picture.psnr_y for picture in self.pictures)

    @property
    def ssim_y(self) -> float:
        """At most 1."""
        return fmean(picture.ssim_y for picture in self.pictures)


@dataclass(frozen=True)
class Pair:
    """A picture to be reached (HR), and the small one to start from; None = it is made of the large one.

    `name` is the large one's, without the extension where no other of the data set has the same then.
    """

    large: Path
    small: Path | None
    name: str


OnPicture = Callable[[Pair, Frame], None]


def evaluate_pictures(
    enlarger: Enlarger, dataset: str | Path, on_picture: OnPicture = lambda pair, result: None
) -> BenchmarkScore:
    """Enlarges a data set's small pictures and compares the results with its large ones.

    Args:
        enlarger: of `open_enlargers`.
        dataset: see `find_pairs`.
        on_picture: gets each result, an rgb24 frame.

    Raises:
        UsageError: the data set is empty, or its pictures do not fit each other or the scale.
        MediaError: a picture cannot be read.
    """
    scale, scores = enlarger.scale, []
    # What the enlarger takes ahead waits here for its result.
    taken, opened = tee(_opened(find_pairs(dataset, scale), scale))
    results = enlarger.map(frame_of(small) for _, _, small in opened)
    for (pair, large, _), result in zip(taken, results):
        picture = np.asarray(result.planes[0], np.uint8)
        scores.append(PictureScore(pair.name, psnr_y(picture, large, scale), ssim_y(picture, large, scale)))
        on_picture(pair, result)
    return BenchmarkScore(Path(dataset), enlarger.name, scale, tuple(scores))


def find_pairs(dataset: str | Path, scale: int) -> list[Pair]:
    """The pictures of a data set, in the order of their names.

    Args:
        dataset: a folder of large pictures; or one with the folders HR and LR, whose files have the same names but
            for the extension; or one with such folders in x2, x3, x4; or a single large picture.
        scale: which of x2, x3, x4 to take.

    Raises:
        UsageError: it does not exist, or holds no pictures for this scale, or some have no counterpart or several.
    """
    dataset = Path(dataset)
    if dataset.is_file():
        return [Pair(dataset, None, dataset.stem)]
    if not dataset.is_dir():
        raise UsageError(f"{dataset} does not exist; name a folder of pictures, or one with the folders HR and LR")
    scales = sorted(folder.name for folder in dataset.glob("x[2-4]") if folder.is_dir())
    if scales:
        if f"x{scale}" not in scales:
            raise UsageError(f"{dataset} has pictures for {', '.join(scales)}, not for x{scale}; choose another model")
        dataset = dataset / f"x{scale}"
    if not (dataset / "LR").is_dir():
        found = _pictures(dataset / "HR" if (dataset / "HR").is_dir() else dataset)
        names = distinct([path.stem for path in found], [path.name for path in found])
        return [Pair(path, None, name) for path, name in zip(found, names, strict=True)]
    large, small = (_by_stem(_pictures(dataset / name)) for name in ("HR", "LR"))
    if alone := sorted(large.keys() ^ small.keys()):
        inside, outside = ("HR", "LR") if alone[0] in large else ("LR", "HR")
        more = f", and {len(alone) - 1} more have none" if len(alone) > 1 else ""
        raise UsageError(f"{dataset}: {alone[0]} is in {inside} and has no counterpart of that name in {outside}{more}")
    return [Pair(path, small[name], name) for name, path in large.items()]


def _by_stem(found: list[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in found:
        if (other := named.setdefault(path.stem, path)) != path:
            raise UsageError(f"{other} and {path.name} have one name but for the extension; remove one of them")
    return named


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} does not exist; a data set with small pictures in LR has the large ones in HR")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS and path.name[0] != ".")
    if not found:
        raise UsageError(f"{folder} holds no pictures; known are {', '.join(sorted(EXTENSIONS))}")
    return found


def _opened(pairs: list[Pair], scale: int) -> Iterator[tuple[Pair, Image, Image]]:
    """Each pair with its pictures, [scale * h, scale * w, 3] and [h, w, 3] uint8 RGB."""
    for pair in pairs:
        large = _read(pair.large)
        height, width = large.shape[:2]
        if min(height, width) < WINDOW + 3 * scale:
            raise UsageError(
                f"{pair.large} is {width}x{height}; pictures measured at x{scale} have sides of "
                f"{WINDOW + 3 * scale} pixels or more"
            )
        small = shrink(large, scale) if pair.small is None else _read(pair.small)
        if small.shape[:2] != (height // scale, width // scale):
            raise UsageError(
                f"{pair.small} is {small.shape[1]}x{small.shape[0]}; at x{scale} it must be "
                f"{width // scale}x{height // scale}, as {pair.large} is {width}x{height}"
            )
        yield pair, large[: height // scale * scale, : width // scale * scale], small


def _read(path: Path) -> Image:
    """A picture as RGB; grey ones have three equal components, transparency is left out."""
    frame, _, _ = read_image(path)
    if frame.format.name != "rgb24":
        raise UsageError(f"{path} has 16 bits a sample; benchmarks are measured on pictures of 8")
    return np.asarray(frame.planes[0], np.uint8)
