"""Tiles: a frame in pieces, where a whole one would not fit into memory.

Tiles are not exact for networks with ESA, whose pooling grid and resize depend on the whole size
(measured: 256 px tiles with a 16 px margin 64.5 dB against the whole frame). Whole frames are the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import ceil

import torch

MARGIN = 16
SMALLEST = 64


def pieces(length: int, tile: int) -> Iterator[tuple[int, int]]:
    """Cuts `length` into equal pieces of at most `tile`: (start, stop), without a sliver at the end."""
    count = ceil(length / tile)
    bounds = [round(i * length / count) for i in range(count + 1)]
    return pairwise(bounds)


def largest_tile(height: int, width: int, max_pixels: int) -> int:
    """The largest side of square tiles (margins included) within `max_pixels`; 0 = the whole frame fits."""
    if height * width <= max_pixels:
        return 0
    return max(SMALLEST, int(max_pixels**0.5) - 2 * MARGIN)


def run_tiled(
    network: Callable[[torch.Tensor], torch.Tensor], rgb: torch.Tensor, scale: int, tile: int, margin: int = MARGIN
) -> torch.Tensor:
    """Runs `network` over tiles of at most tile x tile pixels, each seen with `margin` px of its surroundings.

    Args:
        network: [3, h, w] -> [3, scale*h, scale*w].
        rgb: [3, H, W].

    Returns:
        float32 [3, scale*H, scale*W].
    """
    _, height, width = rgb.shape
    out = rgb.new_empty((3, scale * height, scale * width))
    for top, bottom in pieces(height, tile):
        for left, right in pieces(width, tile):
            y, x = max(0, top - margin), max(0, left - margin)
            result = network(rgb[:, y : bottom + margin, x : right + margin])
            inner = result[:, scale * (top - y) : scale * (bottom - y), scale * (left - x) : scale * (right - x)]
            out[:, scale * top : scale * bottom, scale * left : scale * right] = inner
    return out
