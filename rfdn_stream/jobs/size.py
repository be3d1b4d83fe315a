"""How large a file's result is, and which networks' scales are taken for it."""

from __future__ import annotations

from math import prod
from pathlib import Path

from rfdn_stream.config import Size
from rfdn_stream.jobs.report import log
from rfdn_stream.nets.catalogue import describe, models
from rfdn_stream.nets.steps import steps_to

NEAR = 1.1  # what is missing of a factor, at most, for which no further network runs: it costs 4 times the time
ROUNDING = 0.02  # of a factor: sides are whole and even, which is no reason for a larger network


def wanted_size(scale: float | None, width: int | None, height: int | None, fit: tuple[int, int] | None) -> Size | None:
    """What the user asks for; None = just what the network gives.

    Raises:
        UsageError: values that exclude each other, or outside their range.
    """
    if scale is None and width is None and height is None and fit is None:
        return None
    return Size(scale, width, height, fit)


def network_scales(
    wanted: Size | None, width: int, height: int, model: str | Path | None
) -> int | tuple[int, ...] | None:
    """The scale of the network for a picture of this size, or of several in sequence; None = the default.

    Of the models that are here, it is the smallest that enlarges enough: resampling down from more than is needed
    keeps what the network made, resampling up does not. Where none does, several do, unless one comes near. A model
    that the user names is taken as it is.
    """
    if wanted is None:
        return None
    factor = wanted.factor(width, height)
    whole = round(factor)
    scales = {known.scale for known in models() if known.available} if model is None else {describe(model).scale}
    chain = steps_to(factor - ROUNDING, scales)
    if wanted.scale == whole and whole in {known.scale for known in models()} and prod(chain) != whole:
        return whole  # refused, if need be, with words on how to get the model
    single = max(scales)
    if len(chain) > 1 and factor <= NEAR * single:
        chain = (single,)
    if factor > prod(chain) + ROUNDING:
        log.warning("no model here enlarges by %.3g; enlarged by %d, the rest is resampled", factor, prod(chain))
    return chain
