"""An RFDN as what the library takes: its options, and its convolutions in the order in which a picture meets them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import nn

from rfdn_stream.engines.winograd.library import Layer, Options
from rfdn_stream.nets.rfdn import RFDN

STEPS = ("c1", "c2", "c3")
ESA_LAYERS = ("conv1", "conv_f", "conv2", "conv_max", "conv3", "conv3_", "conv4")
CCA_LAYERS = ("conv1", "conv2")


def options_of(network: RFDN) -> Options:
    """The options of a network, for the library."""
    o = network.options
    first = network.get_submodule(network.block_names[0])
    inner = first.get_submodule(f"{o.attention}.conv1")
    assert isinstance(inner, nn.Conv2d)
    return Options(
        channels=o.channels,
        distilled=o.distilled,
        blocks=o.blocks,
        scale=o.scale,
        inner=inner.out_channels,
        esa=o.attention == "esa",
        residual=o.block_residual,
        distils=hasattr(first, "c1_d"),
    )


def layers_of(network: RFDN) -> list[Layer]:
    """The convolutions of a network folded for inference, float32 on the CPU."""
    return [_layer(name, network.get_submodule(name)) for name in _names(network)]


def _names(network: RFDN) -> Iterator[str]:
    yield "fea_conv"
    for block in network.block_names:
        for step in STEPS:
            if hasattr(network.get_submodule(block), f"{step}_d"):
                yield f"{block}.{step}_d"
            yield f"{block}.{step}_r"
        yield from (f"{block}.c4", f"{block}.c5")
        attention = network.options.attention
        yield from (f"{block}.{attention}.{own}" for own in (ESA_LAYERS if attention == "esa" else CCA_LAYERS))
    yield from ("c.0", "LR_conv", "upsampler.0")


def _layer(name: str, conv: nn.Module) -> Layer:
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    weight, bias = (np.ascontiguousarray(p.detach().numpy(), np.float32) for p in (conv.weight, conv.bias))
    return Layer(name, weight, bias)
