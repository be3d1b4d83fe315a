"""How much a network costs, counted the way the papers count it, without running it.

Parameters and mult-adds are those of arXiv 2009.11551 (mult-adds for a 1280x720 output); activations and
convolutions those of the AIM 2020 challenge on efficient super-resolution (arXiv 2009.06943, for a 256x256
picture put in).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rfdn_stream.errors import UsageError
from rfdn_stream.nets.base import Network


@dataclass(frozen=True)
class Complexity:
    """Counts for one picture.

    Args:
        parameters: weights and biases.
        macs: multiplications with addition in all convolutions, biases aside.
        activations: elements of the outputs of all convolutions.
        convolutions: how many there are.
        macs_3x3: those of `macs` that are in convolutions of 3x3 with stride 1, which Winograd's way makes fewer of.
    """

    parameters: int
    macs: int
    activations: int
    convolutions: int
    macs_3x3: int = 0


def count(net: nn.Module, width: int, height: int) -> Complexity:
    """The cost of one picture of width x height pixels put in; nothing is computed (meta device)."""
    meta = copy.deepcopy(net).to("meta").eval()
    macs: list[int] = []
    macs_3x3 = 0
    activations: list[int] = []

    def note(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal macs_3x3
        weight = module.get_parameter("weight")
        activations.append(output.numel())
        macs.append(output.numel() * weight[0].numel())  # weight[0]: all that one output element is the sum of
        macs_3x3 += macs[-1] if weight.shape[2:] == (3, 3) and module.stride == (1, 1) else 0

    for module in meta.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        meta(torch.empty(1, 3, height, width, device="meta", dtype=next(meta.parameters()).dtype))
    return Complexity(sum(p.numel() for p in net.parameters()), sum(macs), sum(activations), len(macs), macs_3x3)


def count_for_output(net: Network, width: int = 1280, height: int = 720) -> Complexity:
    """The cost of one picture of width x height pixels given out, in the papers' way.

    Where the scale does not divide the sides (1280 / 3), the papers count the fraction of a pixel too: what the
    next whole size costs, times the ratio of the areas.

    Raises:
        UsageError: the network takes no picture as small as that.
    """
    scale, least = net.options.scale, net.options.minimum_size
    if min(width, height) < least * scale:
        raise UsageError(
            f"at x{scale} an output of {width}x{height} is too small for this network; "
            f"{least * scale}x{least * scale} or more"
        )
    columns, rows = -(-width // scale), -(-height // scale)
    whole = count(net, columns, rows)
    share = width * height / scale**2 / (columns * rows)
    scaled = {name: round(getattr(whole, name) * share) for name in ("macs", "activations", "macs_3x3")}
    return replace(whole, **scaled)
