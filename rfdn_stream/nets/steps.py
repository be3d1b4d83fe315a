"""Networks in sequence, for scales that no single one has."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import combinations_with_replacement
from numbers import Integral
from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.blend import denoised
from rfdn_stream.nets.catalogue import ModelSpec, default_model, describe, models, open_model

MOST = 4
"""Networks in sequence: x16 of x2."""

Opened = tuple[Network, ModelSpec]


def steps_to(factor: float, scales: Collection[int]) -> tuple[int, ...]:
    """The scales whose product is the least that reaches `factor`, with as few networks as can be.

    They ascend, as what runs first runs on the fewest pixels. Where not even `MOST` reach it, it is the most there is.

    Args:
        scales: what there is, each 2 or more.
    """
    for count in range(1, MOST + 1):
        found = list(combinations_with_replacement(sorted(scales), count))
        reaching = [chain for chain in found if math.prod(chain) >= factor]
        if reaching:
            return min(reaching, key=math.prod)
    return max(found, key=math.prod)


def open_steps(
    model: str | Path | ModelSpec | None,
    scale: int | Sequence[int] | None,
    purpose: str = "video",
    denoise: float | None = None,
) -> list[Opened]:
    """Networks that enlarge by `scale` together, each as of `open_model`.

    The first one meets the source. Those behind it meet what a network has made, so they are the models for images.

    Args:
        model: what all of them are; None = the defaults.
        scale: one number, also such a one that no single network has, or that of each network; None = the model's own,
            or 2.
        purpose: of the default model that comes first.
        denoise: the first one is `blend.denoised` by so much.

    Raises:
        UsageError: a scale that is neither a whole number nor some of them.
        UsageError, ModelError: as `open_model`, `default_model` and `denoised`.
    """
    scales: tuple[int | None, ...]
    if scale is None or isinstance(scale, Integral):
        scales = _split(model, scale if scale is None else int(scale))
    else:
        scales = _whole(scale)
    if denoise is not None:
        first = denoised(2 if scales[0] is None else scales[0], denoise)
    else:
        first = open_model(model or default_model(scales[0] or 2, purpose), scales[0])
    return [first, *(open_model(model or default_model(each or 2, "image"), each) for each in scales[1:])]


def _split(model: str | Path | ModelSpec | None, scale: int | None) -> tuple[int | None, ...]:
    """One number as that of each network; as it is where one has it, or no product is it."""
    scales = {one.scale for one in models()}
    if model is not None:
        scales = {model.scale if isinstance(model, ModelSpec) else describe(model).scale}
    if scale is None or scale < 2 or scale in scales:
        return (scale,)
    chain = steps_to(scale, scales)
    return chain if math.prod(chain) == scale else (scale,)


def _whole(scales: object) -> tuple[int, ...]:
    """The numbers of a sequence, NumPy's as Python's."""
    if isinstance(scales, Sequence) and scales and all(isinstance(each, Integral) for each in scales):
        return tuple(int(each) for each in scales)
    raise UsageError(
        f"scale {scales!r} is not understood; give a whole number, or one for each network in sequence: (2, 4)"
    )
