"""Training pictures, unpacked once into a memory-mapped cache: HR, LR, and where in them is something to learn.

The LR of a picture is made of the whole picture, by MATLAB's bicubic, as the benchmarks' is; so the LR of every
crop is exact up to its border.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from rfdn_stream.errors import MediaError, RfdnError, UsageError
from rfdn_stream.evaluation.resize import Picture, shrink
from rfdn_stream.media.probe import VIDEOS
from rfdn_stream.training.sources import SourceFile, find, pictures, reason, set_aside

RECIPE = 4  # raised whenever the same files give another cache
LR_SIDE = 96
# The standard deviation of luma's detail (what a blur of 9 pixels takes away), in codes of 255, below which a crop
# is flat: sky, paper, defocused backgrounds.
FLAT = 2.0
PIXELS, ABOUT = "pixels.bin", "about.json"
REPORT_EVERY = 5.0  # seconds
MOST_THREADS = 8  # that read pictures; each holds one or two of them

Report = Callable[[str], None]
Sampling = Literal["even", "detail"]
"""How crops are drawn: all equally often, or each as often as it has detail.

There is little to learn from those that any enlargement makes right. To draw the informative ones more often is what
SamplingAug does (arXiv 2111.15185): it keeps the share that bicubic enlarges worst. On photographs that error and the
detail correlate by 0.98.
"""
Crop = npt.NDArray[np.int64]
"""Picture, row and column of a crop's top left, in LR pixels."""


@dataclass(frozen=True)
class Entry:
    """A picture in the cache: LR size, and where its HR samples begin in the file, followed by its LR samples."""

    name: str
    file: str
    height: int
    width: int
    offset: int


@dataclass
class _About:
    """What is known of a cache besides its samples; `crops` are (entry, LR row and column of the top left, detail)."""

    pictures: list[Entry] = field(default_factory=list)
    crops: list[tuple[int, int, int, float]] = field(default_factory=list)
    flat: int = 0
    skipped: list[str] = field(default_factory=list)


class Crops:
    """The pictures of some folders, and the crops in them that are worth training on.

    Attributes:
        folder: of the cache; `key`, its name, names the pictures and everything that was made of them.
        side: of a crop in LR pixels; in HR, `scale` times that.
        training: int64 [n, 3], the crops.
        detail: float64 [n], that of each of them (`detail`).
        held_out: those of pictures that are set aside, never in `training`.
        images: number of pictures for training, and of those set aside.
        flat: number of crops that were left out; skipped: files that were, each with the reason.
    """

    def __init__(self, folder: Path, scale: int, side: int) -> None:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        self.folder = folder
        self.key = folder.name
        self.scale = scale
        self.side = side
        self.skipped: list[str] = about["skipped"]
        self.flat: int = about["flat"]
        self._entries = [Entry(**entry) for entry in about["pictures"]]
        self._pixels = np.memmap(folder / PIXELS, np.uint8, "r")
        *places, details = np.array(about["crops"], np.float64).reshape(-1, 4).T
        crops = np.stack(places, axis=1).astype(np.int64)
        aside = {index for index, entry in enumerate(self._entries) if entry.file in about["set_aside"]}
        is_aside = np.isin(crops[:, 0], sorted(aside))
        self.training, self.held_out = crops[~is_aside], crops[is_aside]
        self.detail: npt.NDArray[np.float64] = details[~is_aside]
        self._shares = np.cumsum(self.detail)
        self._shares /= self._shares[-1]
        self.images = len(self._entries) - len(aside), len(aside)

    def draw(self, rng: np.random.Generator, count: int, sampling: Sampling) -> npt.NDArray[np.int64]:
        """Numbers of so many crops of `training`."""
        if sampling == "even":
            return rng.integers(len(self.training), size=count)
        return np.searchsorted(self._shares, rng.random(count), side="right")

    @property
    def samples(self) -> Picture:
        """All pictures' samples, read-only and flat; `places` says where which lie."""
        return self._pixels

    def places(self) -> npt.NDArray[np.int64]:
        """For each picture where its LR and its HR samples begin in `samples`, and its LR width: int64 [n, 3]."""
        return np.array(
            [(e.offset + 3 * e.height * e.width * self.scale**2, e.offset, e.width) for e in self._entries], np.int64
        )

    def picture(self, index: int) -> tuple[Picture, Picture]:
        """LR and HR of a picture, read-only views of the cache."""
        entry, scale = self._entries[index], self.scale
        hr_shape = (entry.height * scale, entry.width * scale, 3)
        end = entry.offset + int(np.prod(hr_shape))
        lr = self._pixels[end : end + entry.height * entry.width * 3].reshape(entry.height, entry.width, 3)
        return lr, self._pixels[entry.offset : end].reshape(hr_shape)

    def cut(self, index: int, row: int, column: int, rows: int, columns: int) -> tuple[Picture, Picture]:
        """LR [rows, columns, 3] and HR of a part of picture `index`, whose top left is (row, column) of the LR."""
        (lr, hr), scale = self.picture(index), self.scale
        bottom, right = row + rows, column + columns
        return lr[row:bottom, column:right], hr[row * scale : bottom * scale, column * scale : right * scale]

    def around(self, crop: Crop, side: int) -> tuple[Picture, Picture]:
        """LR and HR around a crop's centre, `side` LR pixels each way or as many as the picture has."""
        index, row, column = map(int, crop)
        entry = self._entries[index]
        rows, columns = min(side, entry.height), min(side, entry.width)
        top = min(max(row + (self.side - rows) // 2, 0), entry.height - rows)
        left = min(max(column + (self.side - columns) // 2, 0), entry.width - columns)
        return self.cut(index, top, left, rows, columns)


def open_crops(folders: Sequence[Path], scale: int, patch: int, cache: Path, report: Report) -> Crops:
    """The crops of the folders' pictures, from the cache, or unpacked into it now.

    Args:
        scale: of the network.
        patch: LR pixels a side that a crop must at least hold.
        cache: a folder; it is made if need be. An older cache of the same folders, and the clips
            made of it, are removed once the new is whole.
        report: called with sentences on the progress.

    Raises:
        UsageError: there is nothing to train on, or the cache cannot be written.
        MediaError: the disk is full; an older cache is left as it was.
    """
    files = find(folders)
    side = max(LR_SIDE, patch + patch % 2)
    request = _digest([sorted(str(folder.resolve()) for folder in folders), scale, side, RECIPE])
    content = _digest([[file.name, file.size, file.mtime_ns] for file in files])
    target = cache / f"crops-{request}-{content}"
    if not target.is_dir():
        with _whole_folder(target) as partial:
            _build(files, scale, side, partial, report)
        for old in set(cache.glob(f"*-{request}-*")) - {target}:  # clips, too
            shutil.rmtree(old, ignore_errors=True)
    return Crops(target, scale, side)


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A hidden folder that is renamed to `target` if the block succeeds, else removed."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    with writing(target.parent):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        with writing(target.parent):
            yield partial
        with writing(target.parent):
            try:
                os.rename(partial, target)
            except OSError:
                if not target.is_dir():  # else another run has made the same meanwhile, which is as good
                    raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Turns what goes wrong when the cache is written into an error that the user can act on."""
    try:
        yield
    except PermissionError as failure:
        raise UsageError(f"cannot write into {cache}: {failure.strerror}; choose another cache folder") from None
    except OSError as failure:
        raise MediaError(
            f"cannot write the training cache in {cache}: {failure.strerror}; make room, or choose another cache folder"
        ) from failure


def _build(files: Sequence[SourceFile], scale: int, side: int, folder: Path, report: Report) -> None:
    about, sizes = _About(), []
    report(f"unpacking {len(files)} training files into {folder.parent} (once)")
    shown = time.monotonic()
    with (folder / PIXELS).open("wb") as pixels, closing(_all_pictures(files, scale, side, about.skipped)) as found:
        for number, file, name, picture in found:
            height, width = picture.hr.shape[0] // scale, picture.hr.shape[1] // scale
            sizes.append((width * scale, height * scale))
            if min(height, width) < side:
                too_small = f"{file.name}: {picture.hr.shape[1]}x{picture.hr.shape[0]} is too small"
                about.skipped += [] if too_small in about.skipped else [too_small]  # a video's frames are all alike
                continue
            about.flat += picture.flat
            if not picture.kept:
                about.skipped.append(f"{name}: flat all over")
                continue
            about.crops += [(len(about.pictures), *crop) for crop in picture.kept]
            about.pictures.append(Entry(name, file.name, height, width, pixels.tell()))
            pixels.write(picture.hr)
            pixels.write(picture.lr)
            if time.monotonic() - shown > REPORT_EVERY:
                shown = time.monotonic()
                report(f"unpacking: {number + 1} of {len(files)} files, {len(about.crops)} crops")
    if not about.pictures:
        raise UsageError(_nothing_left(about, sizes, side, scale))
    used = {entry.file for entry in about.pictures}
    aside = set_aside([file for file in files if file.name in used])
    text = json.dumps({**asdict(about), "set_aside": sorted(aside)})
    (folder / ABOUT).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class _Prepared:
    """A picture cut to whole LR pixels, its LR, (row, column, detail) of the crops worth keeping, how many are flat.

    One that is too small has only its HR.
    """

    hr: Picture
    lr: Picture
    kept: list[tuple[int, int, float]] = field(default_factory=list)
    flat: int = 0


def _prepared(hr: Picture, scale: int, side: int) -> _Prepared:
    height, width = (n // scale for n in hr.shape[:2])
    if min(height, width) < side:
        return _Prepared(hr, hr[:0])
    hr = np.ascontiguousarray(hr[: height * scale, : width * scale])
    crops = [(*origin, round(_detail_at(hr, *origin, scale, side), 2)) for origin in _origins(hr, scale, side)]
    kept = [crop for crop in crops if crop[2] >= FLAT]
    lr = np.ascontiguousarray(shrink(hr, scale)) if kept else hr[:0]
    return _Prepared(hr, lr, kept, len(crops) - len(kept))


def _all_pictures(
    files: Sequence[SourceFile], scale: int, side: int, skipped: list[str]
) -> Generator[tuple[int, SourceFile, str, _Prepared]]:
    """Every picture that can be read, in order; the next few images are read and shrunk on other threads meanwhile."""

    def read(file: SourceFile) -> Iterator[tuple[str, _Prepared] | str]:
        try:
            for name, picture in pictures(file):
                yield name, _prepared(picture, scale, side)
        except (RfdnError, OSError) as failure:
            yield reason(failure, file)

    def begin(file: SourceFile) -> Callable[[], Iterable[tuple[str, _Prepared] | str]]:
        if file.path.suffix.lower() in VIDEOS:  # many pictures, one at a time
            return lambda: read(file)
        return pool.submit(lambda: list(read(file))).result

    workers = min(MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(map(begin, files[:workers]))
        try:
            for number, file in enumerate(files):
                for found in ahead.popleft()():
                    if isinstance(found, str):
                        skipped.append(found)
                    else:
                        yield number, file, *found
                ahead.extend(map(begin, files[number + workers : number + workers + 1]))
        finally:
            pool.shutdown(cancel_futures=True)


def _origins(hr: Picture, scale: int, side: int) -> Iterator[tuple[int, int]]:
    """LR rows and columns of crops that cover the picture, overlapping no more than they must."""
    rows, columns = (_spread(n // scale, side) for n in hr.shape[:2])
    yield from ((row, column) for row in rows for column in columns)


def _spread(length: int, side: int) -> list[int]:
    return [round(float(start)) for start in np.linspace(0, length - side, -(-length // side))]


def _detail_at(hr: Picture, row: int, column: int, scale: int, side: int) -> float:
    return detail(hr[row * scale : (row + side) * scale, column * scale : (column + side) * scale])


def detail(rgb: npt.NDArray[np.uint8]) -> float:
    """The standard deviation of what a blur of 9 pixels takes from the luma of a picture, in codes of 255."""
    luma = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float((luma - cv2.blur(luma, (9, 9))).std())


def _nothing_left(about: _About, sizes: Sequence[tuple[int, int]], side: int, scale: int) -> str:
    reasons = "; ".join(about.skipped[:3])
    if sizes:
        width, height = max(sizes, key=min)
        smaller = ", or choose a smaller patch" if side > LR_SIDE else ""  # below it, crops do not get smaller
        return (
            f"no picture is large and rich enough to train on ({reasons}): at least {side * scale}x{side * scale} "
            f"pixels are needed, the largest has {width}x{height}; add larger pictures{smaller}"
        )
    return f"none of the {len(about.skipped)} files can be read ({reasons}); add pictures that can"
