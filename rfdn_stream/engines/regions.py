"""The still parts of a picture kept, the changed ones computed again: rectangles, each with its surroundings.

What changes in a picture changes the network's result as far as its convolutions reach, and a rectangle's result is
right as far as it sees as much around itself. Both are `reach` pixels, so all but attention is exact. Attention is not:
ESA's pools see a few hundred pixels, and what it makes of a pool depends on the size of the whole; CCA averages over
the picture. A rectangle sees these as it would in a small picture. `docs/reuse.md` has what that changes: about one
code.

Such deviations do not add up. Codes are compared bit by bit with the frame before, so that nothing drifts away below
a threshold; and what is made again is made from the source, not from an earlier result. Parts of one picture may have
been made at different times, whose surroundings differed outside of `reach`; after `AGE` frames all is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rfdn_stream.engines.base import Engine
from rfdn_stream.frame import PixelFormat, Plane
from rfdn_stream.nets.base import NetworkOptions

BLOCK = 16  # pixels, of the grid in which changes are looked for
GRID = 6  # pixels between ESA's pools: rectangles that begin on that grid have theirs where the whole picture has them
CHROMA = 4  # pixels that a sample of subsampled chroma reaches beyond its block
CALL = 4000  # pixels that a call of the network is worth
CUTS = 5  # one after the other
PAYS = 0.7  # of a picture's pixels: where more had to be computed, with their surroundings, the whole is
AGE = 100  # frames after which the whole is computed

Mask = npt.NDArray[np.bool_]
"""[rows, columns] of blocks: which have changed."""


@dataclass(frozen=True)
class Rect:
    """Pixels [top:bottom, left:right] of a picture."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def pixels(self) -> int:
        """How many."""
        return (self.bottom - self.top) * (self.right - self.left)

    def grown(self, by: int, height: int, width: int, grid: int = 1) -> Rect:
        """With so much around it, as far as there is; its beginning is moved back onto a grid."""
        top, left = max(0, self.top - by), max(0, self.left - by)
        bottom, right = min(height, self.bottom + by), min(width, self.right + by)
        return Rect(top - top % grid, bottom, left - left % grid, right)


Parts = Sequence[tuple[Rect, Rect]]
"""What is made again of a picture, each with what the network sees for it."""


@dataclass(frozen=True)
class Change:
    """What of a picture differs from the one sent before it.

    Args:
        number: of this picture; the one before has the number below.
        parts: None = all, or not known.
    """

    number: int
    parts: Parts | None = None


def reach(options: NetworkOptions) -> int:
    """Pixels that a result depends on to each side, attention left aside: the 3x3 convolutions on the longest way.

    Four in a block, of RFDN as of IMDN; one before the blocks, two after them.
    """
    return 4 * options.blocks + 3


class Regions:
    """The last result, and how to make the next one from it.

    Args:
        options: of the network.

    Attributes:
        share: of the last picture's pixels, how many went through the network; with their surroundings.
    """

    def __init__(self, options: NetworkOptions) -> None:
        self.share = 1.0
        self._reach = reach(options)
        self._result: torch.Tensor | None = None  # as all that follows, the compute stream's own
        self._number = -1  # of the picture that it was made of
        self._age = 0

    def parts(self, before: Sequence[Plane], now: Sequence[Plane], format: PixelFormat) -> Parts | None:
        """Where two pictures of one size differ; None where it does not pay to tell. For any thread."""
        height, width = now[0].shape[:2]
        mask = changed(before, now, format)
        if mask.mean() > PAYS:
            return None
        found = rectangles(mask, 2 * self._reach + CHROMA, height, width)
        made = [part.grown(self._reach + CHROMA, height, width) for part in found]
        parts = [(part, part.grown(self._reach, height, width, GRID)) for part in made]
        return None if sum(seen.pixels for _, seen in parts) > PAYS * height * width else parts

    def __call__(self, engine: Engine, rgb: torch.Tensor, change: Change) -> torch.Tensor:
        """As `Engine`, on the compute stream; the result is not to be written to."""
        kept, self._result = self._result, None  # whatever fails below leaves nothing to build on
        follows = self._number == change.number - 1 and self._age < AGE
        if kept is None or change.parts is None or not follows:
            result = engine(rgb).clone()  # the engine's own until its next call
            self.share, self._age = 1.0, 0
        else:
            result, pixels = kept, 0
            for part, seen in change.parts:
                made = engine(rgb[:, seen.top : seen.bottom, seen.left : seen.right])
                _put(made, result, part, seen, engine.scale)
                pixels += seen.pixels
            self.share, self._age = pixels / (rgb.shape[1] * rgb.shape[2]), self._age + 1
        if bool(torch.isfinite(result.sum(dtype=torch.float32))):  # a NaN must not outlive its frame
            self._result, self._number = result, change.number
        return result


def _put(made: torch.Tensor, result: torch.Tensor, part: Rect, seen: Rect, scale: int) -> None:
    """The part of `result` out of what was made of `seen`."""
    y, x = part.top - seen.top, part.left - seen.left
    rows, columns = part.bottom - part.top, part.right - part.left
    target = result[:, scale * part.top : scale * part.bottom, scale * part.left : scale * part.right]
    target.copy_(made[:, scale * y : scale * (y + rows), scale * x : scale * (x + columns)])


def changed(before: Sequence[Plane], now: Sequence[Plane], format: PixelFormat) -> Mask:
    """Compares the planes of two pictures of one size, block by block."""
    height, width = now[0].shape[:2]
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    mask = np.zeros((rows, columns), bool)
    for index, (one, other) in enumerate(zip(before, now, strict=True)):
        sx, sy = format.subsampling if index else (0, 0)
        differs = one != other
        if differs.ndim == 3:
            differs = differs.any(axis=2)
        down, across = BLOCK >> sy, BLOCK >> sx
        # Without the padding of the last row and column of blocks, which may be cut off.
        lines = np.logical_or.reduceat(differs, np.arange(0, differs.shape[0], down), axis=0)
        mask |= np.logical_or.reduceat(lines, np.arange(0, differs.shape[1], across), axis=1)
    return mask


def rectangles(mask: Mask, margin: int, height: int, width: int) -> list[Rect]:
    """Covers what has changed, cut apart wherever that saves pixels.

    Args:
        margin: pixels around each rectangle that are computed with it.
        height, width: of the picture.
    """
    return [
        Rect(BLOCK * top, min(BLOCK * bottom, height), BLOCK * left, min(BLOCK * right, width))
        for top, bottom, left, right in _cut(mask, 0, 0, margin, CUTS)
    ]


def _cut(mask: Mask, top: int, left: int, margin: int, cuts: int) -> list[tuple[int, int, int, int]]:
    """(top, bottom, left, right) in blocks, of a mask whose corner lies at (top, left); in up to 2^cuts pieces."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = top + int(rows[0]), left + int(columns[0])
    across, at = _best_cut(mask, margin) if cuts else (False, 0)
    if not at:
        return [(top, top + mask.shape[0], left, left + mask.shape[1])]
    if across:
        return _cut(mask[:, :at], top, left, margin, cuts - 1) + _cut(mask[:, at:], top, left + at, margin, cuts - 1)
    return _cut(mask[:at], top, left, margin, cuts - 1) + _cut(mask[at:], top + at, left, margin, cuts - 1)


def _best_cut(mask: Mask, margin: int) -> tuple[bool, int]:
    """The cut in two that saves the most: (whether it is between columns, before which one); 0 = none does."""
    best, across, at = float(_cost(mask.shape[0], mask.shape[1], margin)), False, 0
    for turned in (False, True):
        lying = mask.T if turned else mask
        if len(lying) > 1:
            both = _costs(lying, margin)[:-1] + _costs(lying[::-1], margin)[::-1][1:]
            if both.min() < best:
                best, across, at = float(both.min()), turned, int(both.argmin()) + 1
    return across, at


def _costs(mask: Mask, margin: int) -> npt.NDArray[np.float64]:
    """For each row, the cost of the bounds of all rows up to it; the first row is not empty."""
    so_far = np.logical_or.accumulate(mask, axis=0)
    width = mask.shape[1] - so_far.argmax(axis=1) - so_far[:, ::-1].argmax(axis=1)
    height = np.maximum.accumulate(np.where(mask.any(axis=1), np.arange(1, len(mask) + 1), 0))
    return _cost(height, width, margin)


def _cost(height: npt.ArrayLike, width: npt.ArrayLike, margin: int) -> npt.NDArray[np.float64]:
    """Pixels of a rectangle of that many blocks and of what is around it, and what a call of the network costs."""
    rows, columns = (BLOCK * np.asarray(blocks, np.float64) + 2 * margin for blocks in (height, width))
    return np.asarray(rows * columns + CALL)
