"""Flicker: how much a result changes from frame to frame where the picture itself stands still."""

from __future__ import annotations

import cv2
import numpy as np

from rfdn_stream.evaluation.metrics import Luma

RADIUS = 4
"""A pixel's neighbourhood reaches this far each way: what a pixel at half the size is made of, by bicubic resizing."""

STILL = 1.0
"""Codes of 255 that the reference may change by, anywhere in the neighbourhood, and still counts as standing still."""


class Flicker:
    """The mean absolute change of luma between consecutive frames, over the pixels that stand still.

    With R the reference and X the result, both luma in codes of 255, pixel p is still in frame t > 0 where
    |R[t](q) - R[t-1](q)| <= 1 for every q in the 9x9 pixels around p (at the borders, those that exist). Then

        result    = mean of |X[t](p) - X[t-1](p)| over all still (t, p)
        reference = mean of |R[t](p) - R[t-1](p)| over the same

    all pixels of all frames weighing the same. A result that invents no motion comes near the reference's figure:
    what is left there is grain and the noise of its own encoder. Fades, pans and grain above one code leave
    little that is still; `still` says how much there was.
    """

    def __init__(self) -> None:
        self._last: tuple[Luma, Luma] | None = None
        self._pixels = self._still = 0
        self._changes = [0.0, 0.0]

    def add(self, result: Luma, reference: Luma) -> None:
        """Takes the next frame's lumas [H, W], in 16..235; they are kept until the next call."""
        if self._last is not None:
            changes = [np.abs(now - before) for now, before in zip((result, reference), self._last, strict=True)]
            window = np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)
            still = cv2.dilate(changes[1], window) <= STILL
            self._pixels += still.size
            self._still += int(np.count_nonzero(still))
            self._changes = [total + float(change[still].sum()) for total, change in zip(self._changes, changes)]
        self._last = result, reference

    @property
    def still(self) -> float:
        """The share of pixels, 0 to 1, that stood still; 0 for a single frame."""
        return self._still / self._pixels if self._pixels else 0.0

    @property
    def result(self) -> float | None:
        """Mean change of the result in codes of 255; None where nothing stood still."""
        return self._changes[0] / self._still if self._still else None

    @property
    def reference(self) -> float | None:
        """The same of the reference."""
        return self._changes[1] / self._still if self._still else None
