"""How large a file's result is, and which of the networks' scales is taken for it."""

from __future__ import annotations

from pathlib import Path

from rfdn_stream.config import Size
from rfdn_stream.jobs.report import log
from rfdn_stream.nets.catalogue import describe, models

ROUNDING = 0.02  # of a factor: sides are whole and even, which is no reason for a larger network


def wanted_size(scale: float | None, width: int | None, height: int | None, fit: tuple[int, int] | None) -> Size | None:
    """What the user asks for; None = just what the network gives.

    Raises:
        UsageError: values that exclude each other, or outside their range.
    """
    if scale is None and width is None and height is None and fit is None:
        return None
    return Size(scale, width, height, fit)


def network_scale(
    wanted: Size | None, width: int, height: int, model: str | Path | None, denoise: float | None
) -> int | None:
    """The scale of the network for a picture of this size; None = the model's own, or the default.

    Of the models that are here, it is the smallest that enlarges enough: resampling down from more than is needed
    keeps what the network made, resampling up does not. A model that the user names is taken as it is.
    """
    if wanted is None:
        return None
    factor = wanted.factor(width, height)
    whole = round(factor)
    if wanted.scale == whole and whole in {known.scale for known in models()}:
        return whole  # refused, if need be, with words on how to get the model
    if denoise is not None:
        scales = [2]
    elif model is not None:
        scales = [describe(model).scale]
    else:
        scales = sorted({known.scale for known in models() if known.available})
    chosen = next((scale for scale in scales if scale >= factor - ROUNDING), scales[-1])
    if factor > chosen + ROUNDING:
        log.warning("no model here enlarges by %.3g; enlarged by %d, the rest is resampled", factor, chosen)
    return chosen
