"""Short clips that move over a training picture and went through a real encoder: what video files really contain.

Clip number n of a seed is always the same, whoever makes it and whenever; how many there are at a training step
depends on the step alone. So batches that draw from them can be made again, bit for bit, after a run was killed.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.errors import RfdnError
from rfdn_stream.evaluation.resize import Picture, bicubic
from rfdn_stream.process import uninterrupted_children
from rfdn_stream.training.crops import REPORT_EVERY, Crop, Crops, Report, Sampling, writing
from rfdn_stream.training.degrade import degrade, draw

Pair = tuple[Picture, Picture]

RECIPE = 3  # raised whenever the same number gives another clip
FRAMES, KEPT = 12, 3  # of a clip: encoded, and kept, for neighbours teach nearly the same
FIRST, EVERY, MOST = 64, 3, 8000  # clips at the first step, steps until there is one more, and the last number
WORTH_A_PROCESS = 16  # clips; a process takes seconds to start
FARTHEST = 2.0  # how much smaller than the picture a clip may show it
SPEED = 6.0  # HR pixels a frame that the view moves by, at most
WARPED, WARP = 0.5, 1.0  # how often the picture bends, and by how many HR pixels a frame (standard deviation)
BENDS = 5  # places a side that move by themselves
CLIPS, UNSEEN = 1, 2  # what random numbers are for, beside the seed

type _Settings = tuple[tuple[Path, int, int], Sampling, int, Path]


class Clips:
    """The clips of some pictures, made when they are first needed and kept in a folder. Made by `open_clips`."""

    def __init__(self, crops: Crops, sampling: Sampling, seed: int, folder: Path) -> None:
        self._crops, self._sampling, self._seed, self._folder = crops, sampling, seed, folder
        self._side, self._scale = crops.side, crops.scale
        self._settings = (crops.folder, crops.scale, crops.side), sampling, seed, folder  # for other processes

    @staticmethod
    def count(step: int) -> int:
        """How many clips there are at a step."""
        return min(MOST, FIRST + step // EVERY)

    def frame(self, number: int, index: int) -> Pair:
        """LR [S, S, 3] and HR of one of the KEPT frames of a clip, S = `Crops.side`."""
        small, large = (KEPT, self._side, self._side, 3), (KEPT, *[self._side * self._scale] * 2, 3)
        samples, split = self.samples(number), int(np.prod(small))
        return samples[:split].reshape(small)[index], samples[split:].reshape(large)[index]

    def prepare(self, count: int, report: Report) -> None:
        """Makes the first `count` clips where they are not there yet; many of them in several processes.

        RfdnError where one of those ends early.
        """
        missing = [number for number in range(count) if not (self._folder / f"{number}.npy").exists()]
        workers = min(os.cpu_count() or 1, len(missing) // WORTH_A_PROCESS)
        with ExitStack() as stack:
            if workers > 1:
                pool = stack.enter_context(_processes(workers, self._settings))
                with uninterrupted_children():  # they begin as the first clips are given out
                    made: Iterable[object] = pool.map(_work, missing)
            else:
                made = (self.samples(number) for number in missing)
            shown = time.monotonic()
            try:
                for done, _ in enumerate(made):
                    if time.monotonic() - shown > REPORT_EVERY:
                        shown = time.monotonic()
                        report(f"encoding training clips: {done + 1} of {len(missing)}")
            except BrokenProcessPool:
                raise RfdnError(
                    "a process that encodes training clips ended early: it was killed, perhaps for its memory, or the "
                    'script that trains lacks `if __name__ == "__main__":` around its calls; run it again, or guard it'
                ) from None

    def samples(self, number: int) -> Picture:
        """A clip, read-only and flat: LR [K, S, S, 3] and then HR [K, S * scale, S * scale, 3], K = KEPT."""
        path = self._folder / f"{number}.npy"
        try:
            return cast(Picture, np.load(path, mmap_mode="r"))
        except (FileNotFoundError, ValueError, EOFError):  # not made yet, or cut off as the power failed
            self._write(path, self._make(number))
            return cast(Picture, np.load(path, mmap_mode="r"))

    @property
    def nbytes(self) -> int:
        """Of a clip."""
        return KEPT * 3 * self._side**2 * (1 + self._scale**2)

    def _write(self, path: Path, samples: Picture) -> None:
        unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("wb") as file:
                    np.save(file, samples)
                os.replace(unfinished, path)
            finally:
                unfinished.unlink(missing_ok=True)

    def _make(self, number: int) -> Picture:
        """The samples of a clip: those of its kept LR frames, then of its HR frames."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self._seed, CLIPS, number))))
        (crop,) = self._crops.draw(rng, 1, self._sampling)
        worn, hr = self._film(self._crops.training[crop], rng)
        kept = sorted(rng.choice(FRAMES, KEPT, replace=False))
        return np.concatenate([frames[index].ravel() for frames in (worn, hr) for index in kept])

    def unseen(self, crop: Crop, number: int) -> Pair:
        """LR and HR of a frame of a clip that is never trained on; `number` chooses how it moves and is encoded."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((UNSEEN, number))))
        worn, hr = self._film(crop, rng)
        index = rng.integers(FRAMES)
        return worn[index], hr[index]

    def _film(self, crop: Crop, rng: np.random.Generator) -> tuple[list[Picture], list[Picture]]:
        """FRAMES decoded LR and HR frames of a clip that begins at a crop."""
        hr = self._views(crop, rng)
        return degrade([bicubic(view, self._side, self._side) for view in hr], draw(rng), rng), hr

    def _views(self, crop: Crop, rng: np.random.Generator) -> list[Picture]:
        """HR frames of a view that pans, zooms out and bends, over a picture; never nearer than its own pixels."""
        index, row, column = map(int, crop)
        picture, size = self._crops.picture(index)[1], self._side * self._scale
        farthest = min(FARTHEST, min(picture.shape[:2]) / size)
        near = rng.uniform(1, farthest) if rng.random() < 0.5 else 1.0
        far = min(farthest, near * rng.uniform(1, 1.15)) if rng.random() < 0.3 else near
        velocity = rng.uniform(-SPEED, SPEED, 2) if rng.random() < 0.8 else np.zeros(2)
        bend = rng.normal(0, WARP, (BENDS, BENDS, 2)) if rng.random() < WARPED else None
        views = []
        for time_, zoom in enumerate(np.linspace(near, far, FRAMES)):
            window = round(size * zoom)
            place = np.array([row, column]) * self._scale + velocity * zoom * time_
            top, left = np.clip(np.round(place), 0, np.array(picture.shape[:2]) - window).astype(int)
            view = picture[top : top + window, left : left + window]
            if bend is not None:
                view = _bent(view, bend * zoom * (time_ - FRAMES / 2))
            views.append(bicubic(view, size, size))
        return views


def _bent(picture: Picture, shifts: npt.NDArray[np.float64]) -> Picture:
    """A picture whose pixels moved by `shifts` [n, n, (x, y)], smoothly in between: no codec predicts that well."""
    height, width = picture.shape[:2]
    across, down = cv2.split(cv2.resize(shifts.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC))
    across += np.arange(width, dtype=np.float32)
    down += np.arange(height, dtype=np.float32)[:, None]
    return cast(Picture, cv2.remap(picture, across, down, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101))


_worker: Clips  # of a process that makes clips and nothing else


@contextmanager
def _processes(count: int, settings: _Settings) -> Iterator[ProcessPoolExecutor]:
    """Processes for `_work`; Ctrl-C, or whatever else ends this early, ends them at once."""
    others = set(active_children())
    pool = ProcessPoolExecutor(count, get_context("spawn"), _start_worker, (settings,))
    try:
        yield pool
    except BaseException:
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(settings: _Settings) -> None:
    global _worker
    crops, sampling, seed, folder = settings
    torch.set_num_threads(1)
    _worker = Clips(Crops(*crops), sampling, seed, folder)


def _work(number: int) -> None:
    _worker.samples(number)


def open_clips(crops: Crops, sampling: Sampling, seed: int, cache: Path, report: Report) -> Clips:
    """The clips of these pictures; those of the first step are made now.

    Args:
        crops: the pictures.
        sampling: how clips choose where in them to begin.
        seed: of the clips.
        cache: where they are kept.
        report: called with sentences on the progress.

    Raises:
        UsageError, MediaError: the cache cannot be written, or an encoder is missing.
    """
    versions = hashlib.sha256(repr((av.__version__, av.library_versions, RECIPE, sampling)).encode()).hexdigest()[:8]
    folder = cache / f"clips-{crops.key.removeprefix('crops-')}-{seed}-{versions}"
    clips = Clips(crops, sampling, seed, folder)
    clips.prepare(FIRST, report)
    return clips
