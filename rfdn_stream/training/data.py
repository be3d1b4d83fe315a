"""Batches of LR and HR patches: every one a pure function of the options and its number."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import platformdirs
import torch

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.resize import Picture
from rfdn_stream.pipeline import Prefetch
from rfdn_stream.training.clips import KEPT, Clips, open_clips
from rfdn_stream.training.crops import Crop, Crops, Sampling, detail, open_crops

BATCHES_AHEAD = 4
# Held-out pictures: at most so many, of so many LR pixels a side where the picture has them.
HELD_OUT, HELD_OUT_SIDE = 8, 160
HELD_OUT_CLIPS = 2  # of each of them, for video
NAMED = 5  # files that were passed over and are named

Degrade = Literal["clean", "video"]
Pair = tuple[Picture, Picture]
Numbers = npt.NDArray[np.int64]
type Sides[T: np.generic] = tuple[npt.NDArray[T], npt.NDArray[T]]


@dataclass(frozen=True)
class DataOptions:
    """What a network is trained on.

    Args:
        folders: of images and videos, with all that is below them.
        scale: 2, 3 or 4.
        patch: LR pixels a side of a patch.
        batch: patches in a batch.
        seed: of every choice at random.
        degrade: ``clean``, the LR pictures are the HR ones shrunk; ``video``, they went through real encoders, too.
        clean_share: of a video batch that stays clean, from 0 to 1.
        sampling: ``even``, every crop is drawn as often as any other; ``detail``, as often as it has detail.
        cache: folder for unpacked pictures and encoded clips; None = the user's cache folder of this platform.

    Raises:
        UsageError: a value out of its range.
    """

    folders: tuple[Path, ...]
    scale: int
    patch: int = 64
    batch: int = 64
    seed: int = 0
    degrade: Degrade = "clean"
    clean_share: float = 0.2
    sampling: Sampling = "even"
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.scale not in (2, 3, 4):
            raise UsageError(f"the scale is {self.scale}; it must be 2, 3 or 4")
        if self.patch < 8:
            raise UsageError(f"the patch is {self.patch} LR pixels; it must be at least 8")
        if self.batch < 1:
            raise UsageError(f"the batch is {self.batch} patches; it must be at least 1")
        if self.seed < 0:
            raise UsageError(f"the seed is {self.seed}; it must be 0 or more")
        if self.degrade not in ("clean", "video"):
            raise UsageError(f"the degradation is {self.degrade!r}; it must be clean or video")
        if self.sampling not in ("even", "detail"):
            raise UsageError(f"the sampling is {self.sampling!r}; it must be even or detail")
        if not 0 <= self.clean_share <= 1:
            raise UsageError(f"the clean share is {self.clean_share}; it must be from 0 to 1")


@dataclass(frozen=True)
class Draw:
    """What a batch is made of, N patches: arrays [N].

    Args:
        worn: whether a patch comes out of a clip; else it is clean.
        crop: number of a clean patch's crop; clip, frame: of one that is not.
        row, column: where in the crop, or in the frame, its top left lies, in LR pixels.
        way: how it is turned (`turned`).
    """

    worn: npt.NDArray[np.bool]
    crop: Numbers
    clip: Numbers
    frame: Numbers
    row: Numbers
    column: Numbers
    way: Numbers


class Batches:
    """The batches of a training run. Made by `open_batches`.

    Attributes:
        held_out: LR and HR of a few pictures that no batch shows, or of frames of clips of them: uint8 RGB [H, W, 3]
            and [H * scale, W * scale, 3].
        description: what there is to train on, for the user.
    """

    def __init__(self, options: DataOptions, crops: Crops, clips: Clips | None) -> None:
        self.options = options
        self.crops = crops
        self.clips = clips
        aside = _richest(crops)
        pairs = [crops.around(crop, HELD_OUT_SIDE) for crop in aside]
        if clips is not None:
            pairs = [clips.unseen(crop, number) for number, crop in enumerate(aside * HELD_OUT_CLIPS)]
        self.held_out: Sequence[Pair] = [_copied(pair) for pair in pairs]
        self.description = describe(options, crops)

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Batch number `step`: the same bits whenever and in whatever order it is asked for.

        Returns:
            LR float32 [N, 3, P, P] and HR float32 [N, 3, P * scale, P * scale], RGB in [0, 1], channels last in memory.
        """
        drawn = self.draw(step)
        patches = [turned(self._patch(drawn, n), int(way)) for n, way in enumerate(drawn.way)]
        lr, hr = zip(*patches, strict=True)
        return tensor(lr), tensor(hr)

    def draw(self, step: int) -> Draw:
        """What batch number `step` is made of: anywhere in any crop, or in any clip that there is at that step."""
        options, n = self.options, self.options.batch
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((options.seed, step))))
        clips = 0 if self.clips is None else self.clips.count(step)
        row, column = rng.integers(self.crops.side - options.patch + 1, size=(2, n))
        return Draw(
            worn=(rng.random(n) >= options.clean_share) & (clips > 0),
            crop=self.crops.draw(rng, n, options.sampling),
            clip=rng.integers(max(clips, 1), size=n),
            frame=rng.integers(KEPT, size=n),
            row=row,
            column=column,
            way=rng.integers(8, size=n),
        )

    def stream(self, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches `start`, `start` + 1, ... without end, made ahead on a thread that ends as the iterator is closed."""
        with Prefetch(map(self, itertools.count(start)), BATCHES_AHEAD) as batches:
            yield from batches

    def _patch(self, drawn: Draw, n: int) -> Pair:
        """Patch number `n`, not turned yet."""
        row, column, side = int(drawn.row[n]), int(drawn.column[n]), self.options.patch
        if drawn.worn[n]:
            assert self.clips is not None
            lr, hr = self.clips.frame(int(drawn.clip[n]), int(drawn.frame[n]))
            return part(lr, hr, row, column, side, self.options.scale)
        index, top, left = self.crops.training[drawn.crop[n]]
        return self.crops.cut(index, top + row, left + column, side, side)


def open_batches(options: DataOptions, report: Callable[[str], None]) -> Batches:
    """Makes ready what batches are drawn from; the first time, that means unpacking every picture.

    Args:
        report: called with sentences on the progress.

    Raises:
        UsageError: there is nothing to train on, or the cache folder cannot be written.
        MediaError: the disk is full.
    """
    cache = options.cache or Path(platformdirs.user_cache_dir("rfdn-stream", appauthor=False)) / "training"
    crops = open_crops(options.folders, options.scale, options.patch, cache, report)
    clips = open_clips(crops, options.sampling, options.seed, cache, report) if options.degrade == "video" else None
    return Batches(options, crops, clips)


def _richest(crops: Crops) -> list[Crop]:
    """The crop with the most detail of each of the first pictures that are set aside."""
    chosen = []
    for index in np.unique(crops.held_out[:, 0])[:HELD_OUT]:
        of_picture = crops.held_out[crops.held_out[:, 0] == index]
        chosen.append(max(of_picture, key=lambda crop: detail(crops.around(crop, crops.side)[1])))
    return chosen


def _copied(pair: Pair) -> Pair:
    lr, hr = map(np.ascontiguousarray, pair)
    return lr, hr


def part(lr: Picture, hr: Picture, row: int, column: int, side: int, scale: int) -> Pair:
    """`side` LR pixels each way from (row, column) on, and the HR pixels there."""
    top, left = row * scale, column * scale
    return lr[row : row + side, column : column + side], hr[top : top + side * scale, left : left + side * scale]


def turned[T: np.generic](pair: Sides[T], way: int) -> Sides[T]:
    """LR and HR in one of the 8 ways that a square can lie: a flip (1), and quarter turns (2, 4, 6)."""
    lr, hr = (np.rot90(side[:, ::-1] if way % 2 else side, way // 2) for side in pair)
    return lr, hr


def tensor(pictures: Sequence[Picture]) -> torch.Tensor:
    """uint8 pictures [H, W, 3] as float32 [N, 3, H, W] in [0, 1], channels last in memory."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(torch.float32).div_(255)


def describe(options: DataOptions, crops: Crops) -> str:
    """What there is to train on, and what was passed over, in one line."""
    images, aside = crops.images
    parts = [f"{images} pictures, {len(crops.training)} crops; {aside} pictures set aside to measure on"]
    if options.degrade == "video":
        parts.append(f"{1 - options.clean_share:.0%} of patches through x264, x265, VP9 and MPEG-2")
    if crops.flat:
        parts.append(f"{crops.flat} flat crops left out")
    if crops.skipped:
        more = len(crops.skipped) - NAMED
        parts.append("passed over: " + ", ".join(crops.skipped[:NAMED]) + (f", and {more} more" if more > 0 else ""))
    return "; ".join(parts)
