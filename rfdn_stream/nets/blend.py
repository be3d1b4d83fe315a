"""Two models of one network, mixed: the weights of the result lie on the straight line between theirs.

Between a network and what it became by training on, that line leads through networks that work (Wang et al., "Deep
Network Interpolation for Continuous Imagery Effect Transition", CVPR 2019), so that a share between 0 and 1 is a
strength to choose.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import torch

from rfdn_stream.errors import UsageError
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.catalogue import ModelSpec, models, open_model
from rfdn_stream.nets.fold import fold


def denoised(scale: int, amount: float) -> tuple[Network, ModelSpec]:
    """A scale's model for video, which removes what encoders leave, mixed with the one that it was trained on from.

    Args:
        scale: enlargement of each side.
        amount: 0 = the model that it began as, 1 = the one for video.

    Returns:
        As `catalogue.open_model`: folded, on the CPU in float32, and its description.

    Raises:
        UsageError: an amount outside 0..1, or a scale that has not both models, or not yet on this machine.
    """
    if not 0 <= amount <= 1:
        raise UsageError(f"denoise {amount:g} is outside its range; choose 0 (keep all detail) to 1 (clean most)")
    video = _video_model(scale)
    assert video.begun_from is not None
    return blend(video.begun_from, video, amount)


def blend(first: str | ModelSpec, second: str | ModelSpec, share: float) -> tuple[Network, ModelSpec]:
    """A network with the weights (1 - share) * first + share * second, ready for inference, and its description.

    Args:
        first, second: models of the catalogue, or names of models, of one network and value range.
        share: of the second, 0 to 1. At the ends it is that model itself.

    Raises:
        UsageError: a share outside 0..1, or models that do not fit each other.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"the share of the second model lies between 0 and 1, not at {share:g}")
    if share in (0, 1):
        return open_model(second if share else first)
    (net, a), (other, b) = (open_model(model, folded=False) for model in (first, second))
    if (a.architecture, a.options, a.value_range) != (b.architecture, b.options, b.value_range):
        raise UsageError(f"{a.name} and {b.name} are not the same network; only models of one network can be mixed")
    with torch.no_grad():
        for weight, towards in zip(net.parameters(), other.parameters(), strict=True):
            weight.lerp_(towards, share)
    return fold(net, a.value_range), _described(a, b, share)


def _video_model(scale: int) -> ModelSpec:
    """The catalogue's first model for video of that scale that began as another one."""
    for model in models():
        if (model.purpose, model.scale) == ("video", scale) and model.begun_from:
            return model
    raise UsageError(
        f"denoise mixes a scale's model for video with the one that it was trained on from, and scale {scale} has none "
        "for video; leave denoise out"
    )


def _described(a: ModelSpec, b: ModelSpec, share: float) -> ModelSpec:
    """What is known of the mixture; its checksum tells it from every other."""
    return replace(
        a,
        name=f"{1 - share:.3g} {a.name} + {share:.3g} {b.name}",
        precisions=tuple(p for p in a.precisions if p in b.precisions),
        sha256=sha256(f"{a.sha256} {b.sha256} {share!r}".encode()).hexdigest(),
        licence=" and ".join(dict.fromkeys((a.licence, b.licence))),
        source=" and ".join(dict.fromkeys((a.source, b.source))),
        training=f"The weights of {a.name} and {b.name}, mixed.",
        purpose="general",
        scores={},
    )
