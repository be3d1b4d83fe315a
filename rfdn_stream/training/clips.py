"""Short clips that move over a training picture and went through a real encoder: what video files really contain.

Clip number n of a seed is always the same, whoever makes it and whenever; how many there are at a training step
depends on the step alone. So batches that draw from them can be made again, bit for bit, after a run was killed.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import av
import numpy as np

from rfdn_stream.evaluation.resize import Picture, bicubic
from rfdn_stream.training.crops import REPORT_EVERY, Crops, Report, writing
from rfdn_stream.training.degrade import degrade, draw

Pair = tuple[Picture, Picture]

RECIPE = 1  # raised whenever the same number gives another clip
FRAMES, KEPT = 8, 3  # of a clip: encoded, and kept, for neighbours teach nearly the same
FIRST, EVERY, MOST = 64, 4, 2000  # clips at the first step, steps until there is one more, and the last number
FARTHEST = 2.0  # how much smaller than the picture a clip may show it
SPEED = 6.0  # HR pixels a frame that the view moves by, at most
CLIPS, STILLS = 1, 2  # what random numbers are for, beside the seed


class Clips:
    """The clips of some pictures, made when they are first needed and kept in a folder. Made by `open_clips`."""

    def __init__(self, crops: Crops, seed: int, folder: Path) -> None:
        self._crops, self._seed, self._folder = crops, seed, folder
        self._side, self._scale = crops.side, crops.scale

    @staticmethod
    def count(step: int) -> int:
        """How many clips there are at a step."""
        return min(MOST, FIRST + step // EVERY)

    def frame(self, rng: np.random.Generator, step: int) -> Pair:
        """LR [S, S, 3] and HR of one frame of one clip, S = `Crops.side`."""
        number, index = int(rng.integers(self.count(step))), int(rng.integers(KEPT))
        lr, hr = self._open(number)
        return lr[index], hr[index]

    def prepare(self, count: int, report: Report) -> None:
        """Makes the first `count` clips where they are not there yet."""
        shown = time.monotonic()
        for number in range(count):
            self._open(number)
            if time.monotonic() - shown > REPORT_EVERY:
                shown = time.monotonic()
                report(f"encoding training clips: {number + 1} of {count}")

    def _open(self, number: int) -> tuple[Picture, Picture]:
        """LR [K, S, S, 3] and HR [K, S * scale, S * scale, 3] of a clip, read-only."""
        path = self._folder / f"{number}.npy"
        small, large = (KEPT, self._side, self._side, 3), (KEPT, *[self._side * self._scale] * 2, 3)
        split = int(np.prod(small))
        try:
            samples = np.load(path, mmap_mode="r")
        except (FileNotFoundError, ValueError, EOFError):  # not made yet, or cut off as the power failed
            self._write(path, self._make(number))
            samples = np.load(path, mmap_mode="r")
        return samples[:split].reshape(small), samples[split:].reshape(large)

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
        hr = self._views(rng)
        lr = [bicubic(view, self._side, self._side) for view in hr]
        decoded = degrade(lr, draw(rng), rng)
        kept = sorted(rng.choice(FRAMES, KEPT, replace=False))
        return np.concatenate([frames[index].ravel() for frames in (decoded, hr) for index in kept])

    def _views(self, rng: np.random.Generator) -> list[Picture]:
        """HR frames of a view that pans, and zooms out, over a picture; never nearer than its own pixels."""
        index, row, column = map(int, self._crops.training[rng.integers(len(self._crops.training))])
        picture, size = self._crops.picture(index)[1], self._side * self._scale
        farthest = min(FARTHEST, min(picture.shape[:2]) / size)
        near = rng.uniform(1, farthest) if rng.random() < 0.5 else 1.0
        far = min(farthest, near * rng.uniform(1, 1.15)) if rng.random() < 0.3 else near
        velocity = rng.uniform(-SPEED, SPEED, 2) if rng.random() < 0.8 else np.zeros(2)
        views = []
        for time_, zoom in enumerate(np.linspace(near, far, FRAMES)):
            window = round(size * zoom)
            place = np.array([row, column]) * self._scale + velocity * zoom * time_
            top, left = np.clip(np.round(place), 0, np.array(picture.shape[:2]) - window).astype(int)
            views.append(bicubic(picture[top : top + window, left : left + window], size, size))
        return views


def open_clips(crops: Crops, seed: int, cache: Path, report: Report) -> Clips:
    """The clips of these pictures; those of the first step are made now.

    Args:
        crops: the pictures.
        seed: of the clips.
        cache: where they are kept.
        report: called with sentences on the progress.

    Raises:
        UsageError, MediaError: the cache cannot be written, or an encoder is missing.
    """
    versions = hashlib.sha256(repr((av.__version__, av.library_versions, RECIPE)).encode()).hexdigest()[:8]
    folder = cache / f"clips-{crops.key.removeprefix('crops-')}-{seed}-{versions}"
    clips = Clips(crops, seed, folder)
    clips.prepare(FIRST, report)
    return clips


def still(pair: Pair, number: int) -> Pair:
    """A held-out picture as a frame of a video that shows nothing else; `number` chooses how it is encoded."""
    lr, hr = pair
    height, width = (side - side % 2 for side in lr.shape[:2])
    scale = hr.shape[0] // lr.shape[0]
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((STILLS, number))))
    decoded = degrade([np.ascontiguousarray(lr[:height, :width])] * KEPT, draw(rng), rng)
    return decoded[-1], hr[: height * scale, : width * scale]
