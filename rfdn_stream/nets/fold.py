"""Exact rewrites of a trained network for inference: less work, the same pictures.

- The identity of each shallow residual block moves into the centre tap of its 3x3 convolution:
  W * x + x = (W + I) * x. One addition over a full-size map less, twelve times in E-RFDN.
- The value range moves into the first and the last convolution, so that a folded network takes and gives
  0..1 whatever it was trained for: W * (255 x) = (255 W) * x.

One more is exact, and left out because it gains nothing measurable: in ESA, conv_f follows conv1 without an
activation between, so the two are one 1x1 convolution; what it saves is too small to see (below 1 % in
torch, at 320x180, on two CPU cores), since conv1 is still needed for the other branch.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from rfdn_stream.nets.base import Network
from rfdn_stream.nets.blocks import ResidualConv

VALUE_RANGES = {"0..1": 1.0, "0..255": 255.0}
"""The largest value of a picture, by the name that model descriptions give to the range."""


@torch.no_grad()
def fold[N: Network](net: N, value_range: str = "0..1") -> N:
    """A copy of the network that takes and gives 0..1, in evaluation mode and without gradients.

    Args:
        net: a network as trained, of any floating dtype, on any device; left untouched.
        value_range: a name of VALUE_RANGES, of what `net` takes and gives.
    """
    folded = copy.deepcopy(net).eval().requires_grad_(False)
    for module in list(folded.modules()):
        for name, child in module.named_children():
            if isinstance(child, ResidualConv):
                setattr(module, name, _with_identity(child))
    peak = VALUE_RANGES[value_range]
    folded.get_parameter("fea_conv.weight").mul_(peak)
    folded.get_parameter("upsampler.0.weight").div_(peak)
    folded.get_parameter("upsampler.0.bias").div_(peak)
    folded.folded = True
    return folded


def _with_identity(block: ResidualConv) -> nn.Conv2d:
    """The plain convolution that does the same as the block."""
    plain = nn.Conv2d(block.in_channels, block.out_channels, 3, padding=1, device="meta")
    plain.weight, plain.bias = block.weight, block.bias  # parameters of the copy, free to be changed
    plain.weight.diagonal()[1, 1].add_(1)  # [3, 3, C]: the centre tap from each channel to itself
    return plain
