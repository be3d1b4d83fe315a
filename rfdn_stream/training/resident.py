"""Batches cut on the card itself, out of pictures that lie in its memory: no step ever waits for the processor.

They are bit for bit those of `Batches`, which says what is drawn (`Batches.draw`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rfdn_stream.training.clips import KEPT, Clips
from rfdn_stream.training.data import Batches, Draw, Pair, turned

SHARE = 0.5  # of the card's free memory, which pictures may take


def needed(batches: Batches, steps: int) -> int:
    """The bytes that so many steps' pictures and clips take."""
    clips = batches.clips
    return batches.crops.samples.size + (0 if clips is None else Clips.count(steps) * clips.nbytes)


def fits(batches: Batches, steps: int, device: torch.device) -> bool:
    """Whether that may be kept in a card's memory."""
    return needed(batches, steps) <= SHARE * torch.cuda.mem_get_info(device)[0]


class Resident:
    """The batches of a run, made on a device.

    Args:
        batches: says what is drawn, and holds the pictures.
        steps: of the run; no batch is asked for behind them.
        device: whose memory takes the pictures.
    """

    def __init__(self, batches: Batches, steps: int, device: torch.device) -> None:
        self._batches, self._device = batches, device
        crops, scale = batches.crops, batches.options.scale
        self._samples = torch.empty(needed(batches, steps), dtype=torch.uint8, device=device)
        self._samples[: crops.samples.size].copy_(torch.from_numpy(np.array(crops.samples)))
        self._places = crops.places()
        self._uploaded: set[int] = set()
        patch = batches.options.patch
        self._grids = [_grids(patch).to(device), _grids(patch * scale).to(device)]
        self._channels = torch.arange(3, device=device)

    @property
    def held_out(self) -> Sequence[Pair]:
        """As `Batches.held_out`."""
        return self._batches.held_out

    @property
    def description(self) -> str:
        """As `Batches.description`."""
        return self._batches.description

    def stream(self, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches `start`, `start` + 1, ... without end."""
        yield from map(self, itertools.count(start))

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """As `Batches.__call__`, on the device."""
        drawn = self._batches.draw(step)
        self._upload(drawn)
        lr, hr = self._origins(drawn)
        small, large = self._grids
        return self._cut(small, drawn.way, *lr), self._cut(large, drawn.way, *hr)

    def _upload(self, drawn: Draw) -> None:
        """The clips among what is drawn that are not here yet."""
        clips = self._batches.clips
        if clips is None:
            return
        for number in set(drawn.clip[drawn.worn].tolist()) - self._uploaded:
            start = self._clip_start(number)
            self._samples[start : start + clips.nbytes].copy_(torch.from_numpy(np.array(clips.samples(number))))
            self._uploaded.add(number)

    def _clip_start(self, number: npt.NDArray[np.int64] | int) -> npt.NDArray[np.int64] | int:
        clips = self._batches.clips
        return self._batches.crops.samples.size + (0 if clips is None else number * clips.nbytes)

    def _origins(self, drawn: Draw) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """For LR and HR: where each patch begins among all samples, and how many samples a row of its picture has."""
        crops, side = self._batches.crops, self._batches.crops.side
        index, top, left = crops.training[drawn.crop].T
        lr_start, hr_start, width = self._places[index].T
        clip = self._clip_start(drawn.clip)
        origins = []
        for scale, start, before in ((1, lr_start, 0), (crops.scale, hr_start, KEPT * side**2)):
            stride = 3 * scale * np.where(drawn.worn, side, width)
            frame = clip + 3 * (before + drawn.frame * (side * scale) ** 2)
            row = scale * (drawn.row + np.where(drawn.worn, 0, top))
            column = scale * (drawn.column + np.where(drawn.worn, 0, left))
            origins.append((np.where(drawn.worn, frame, start) + row * stride + 3 * column, stride))
        return origins

    def _cut(
        self, grids: Tensor, way: npt.NDArray[np.int64], start: npt.NDArray[np.int64], stride: npt.NDArray[np.int64]
    ) -> Tensor:
        """The patches float32 [N, 3, P, P] in [0, 1], channels last in memory."""
        numbers = torch.from_numpy(np.stack([way, start, stride])).to(self._device, non_blocking=True)
        rows, columns = grids[:, numbers[0]]  # each [N, P, P]
        places = numbers[1][:, None, None] + rows * numbers[2][:, None, None] + 3 * columns
        patches = self._samples[places[..., None] + self._channels]
        return patches.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def _grids(side: int) -> Tensor:
    """Row and column that each pixel of a turned patch comes from, for each of the 8 ways: int64 [2, 8, P, P]."""
    rows, columns = np.indices((side, side))
    return torch.from_numpy(np.stack([np.stack(turned((rows, columns), way)) for way in range(8)], 1).copy())
