"""Plain resampling of a picture to any size, without a network: separable, antialiased where it shrinks.

Each output sample is a weighted mean of the source samples around its place, their centres half a pixel from the
border as everywhere here; beyond the border, the border sample is repeated. Along an axis that is a product with a
matrix whose values lie near the diagonal, so it is taken in blocks of rows: about as fast as OpenCV's fixed kernels,
with one method for any ratio and on any device.

Sources: C. E. Duchon, "Lanczos filtering in one and two dimensions", 1979; R. G. Keys, "Cubic convolution
interpolation", 1981 (a = -1/2, which is the Catmull-Rom spline).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from rfdn_stream.errors import UsageError

SPAN = 32  # source samples that a block advances by: more waste multiplications by zero, fewer cost calls


def _lanczos(distance: Tensor, ratio: float) -> Tensor:
    x = distance / max(ratio, 1.0)
    return torch.sinc(x) * torch.sinc(x / 3) * (x.abs() < 3)


def _cubic(distance: Tensor, ratio: float) -> Tensor:
    x = (distance / max(ratio, 1.0)).abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))


def _area(distance: Tensor, ratio: float) -> Tensor:
    """What an output pixel, `ratio` source pixels wide, covers of a source pixel."""
    return ((ratio + 1) / 2 - distance.abs()).clamp(0.0, min(ratio, 1.0))


KERNELS: dict[str, tuple[Callable[[Tensor, float], Tensor], Callable[[float], float]]] = {
    "lanczos": (_lanczos, lambda ratio: 3 * max(ratio, 1.0)),
    "cubic": (_cubic, lambda ratio: 2 * max(ratio, 1.0)),
    "area": (_area, lambda ratio: (ratio + 1) / 2),
}
"""By name: the weight at a distance in source samples, and the distance from which on it is zero.

Both take the ratio, source samples to an output sample; where it is above 1, Lanczos (3 lobes) and the cubic are
stretched by it, so that they average over what one output sample stands for.
"""


def resample(picture: Tensor, height: int, width: int, kernel: str = "lanczos") -> Tensor:
    """A picture at another size.

    Args:
        picture: float32 [..., H, W], any strides, on any device.
        height, width: of the result, 1 or more.
        kernel: a name of KERNELS: ``lanczos``, ``cubic`` or ``area``.

    Returns:
        float32 [..., height, width], contiguous, new. Lanczos and the cubic overshoot at edges: nothing is clamped.
        Within 1e-6 of the exact sums for values in [0, 1], as long as torch multiplies matrices in full float32
        (`torch.set_float32_matmul_precision`).

    Raises:
        UsageError: no such kernel, or a size below 1.
    """
    if kernel not in KERNELS:
        raise UsageError(f"unknown resampling kernel {kernel!r}; choose {', '.join(KERNELS)}")
    if min(height, width) < 1:
        raise UsageError(f"a picture has 1x1 pixels or more, asked for {width}x{height}")
    *rest, rows, columns = picture.shape
    wide = picture.new_empty((*rest, rows, width))
    for (first, last), (start, stop), weights in _blocks(columns, width, kernel, picture.device):
        wide[..., first:last] = picture[..., start:stop] @ weights.T
    out = picture.new_empty((*rest, height, width))
    for (first, last), (start, stop), weights in _blocks(rows, height, kernel, picture.device):
        out[..., first:last, :] = weights @ wide[..., start:stop, :]
    return out


Block = tuple[tuple[int, int], tuple[int, int], Tensor]


@lru_cache(maxsize=16)
def _blocks(source: int, target: int, kernel: str, device: torch.device) -> tuple[Block, ...]:
    """The products that make `target` samples of `source` ones: outputs, their inputs, weights [outputs, inputs]."""
    places, weights = _taps(source, target, kernel)
    step = max(8, round(SPAN * target / source))
    blocks = []
    for first in range(0, target, step):
        last = min(first + step, target)
        near = places[first:last].clamp(0, source - 1)  # the border repeated
        start, stop = int(near.min()), int(near.max()) + 1
        matrix = torch.zeros(last - first, stop - start, dtype=torch.float64)
        matrix.scatter_add_(1, near - start, weights[first:last])
        blocks.append(((first, last), (start, stop), matrix.to(device, torch.float32)))
    return tuple(blocks)


def _taps(source: int, target: int, kernel: str) -> tuple[Tensor, Tensor]:
    """Of each output sample, the places of the source samples it is made of, and their weights; both [target, taps]."""
    weight, reach = KERNELS[kernel]
    ratio = source / target
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * ratio - 0.5
    radius = math.ceil(reach(ratio))
    places = centre.floor().long()[:, None] + torch.arange(1 - radius, radius + 1)
    weights = weight(centre[:, None] - places, ratio)
    return places, weights / weights.sum(1, keepdim=True)
