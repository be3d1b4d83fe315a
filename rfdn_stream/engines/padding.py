"""Channels padded to multiples of eight: an exact rewrite of a network for tensor cores.

They take eight 16-bit channels at a time, so a layer of 50 channels gets a slower kernel, or is padded anew for each
frame. Filters of zeros make channels of zeros, which stay zero through every activation and attention; what they
add to later sums is zero too. Only the order of the sums changes (4e-6 at most in E-RFDN).
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from rfdn_stream.nets.base import Network
from rfdn_stream.nets.blocks import FusingConv

TOLERANCE = 1e-3  # of the largest value; far above the noise of another order of sums, far below any mistake


@torch.no_grad()
def pad_channels(network: nn.Module, multiple: int) -> nn.Module:
    """A copy of the network whose maps have multiples of `multiple` channels, but for the picture and the result.

    Args:
        network: folded for inference, float32 on the CPU; left untouched.
        multiple: 1 = leave everything.

    Returns:
        The network itself where nothing is to be padded, and where padding would change what it computes: blocks
        that split their maps at fixed channels (IMDB of unusual widths) do not stand it.
    """
    if multiple == 1 or not isinstance(network, Network):
        return network
    wider = copy.deepcopy(network)
    for name, conv in wider.named_modules():
        if isinstance(conv, nn.Conv2d):
            inputs = conv.in_channels if name == "fea_conv" else multiple
            outputs = conv.out_channels if name == "upsampler.0" else multiple
            _pad(conv, _parts(network, name), inputs, outputs)
    return wider if _agree(network, wider) else network


class Padding:
    """Where the tensors of a network lie in those of what `pad_channels` made of it, by its parameters' names.

    Whatever goes with a parameter, such as an optimizer's moments, lies in the same place.
    """

    def __init__(self, network: nn.Module, wider: nn.Module) -> None:
        self._own = {name: parameter.shape for name, parameter in network.named_parameters()}
        self._wide = {name: parameter.shape for name, parameter in wider.named_parameters()}
        self._parts = {
            f"{name}.weight": _parts(network, name) if network is not wider else 1
            for name, conv in network.named_modules()
            if isinstance(conv, nn.Conv2d)
        }

    def crop(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """What belongs to the network's own parameter, in its shape."""
        own = self._own[name]
        return self._place(name, tensor).reshape(own) if len(own) == 4 else tensor[: own[0]]

    def pad(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the parameter's own shape in the wider one's, zeros around it."""
        wide = tensor.new_zeros(self._wide[name])
        if tensor.ndim == 4:
            place = self._place(name, wide)
            place.copy_(tensor.reshape(place.shape))
        else:
            wide[: len(tensor)] = tensor
        return wide

    def _place(self, name: str, wide: torch.Tensor) -> torch.Tensor:
        """The view [outputs, parts, inputs, rows, columns] of a wide weight that its own values lie in."""
        rows, columns = self._own[name][:2]
        parts = self._parts[name]
        return _by_parts(wide, parts)[:rows, :, : columns // parts]


def _by_parts(weight: torch.Tensor, parts: int) -> torch.Tensor:
    """A view [outputs, parts, inputs, rows, columns]."""
    return weight.view(len(weight), parts, -1, *weight.shape[2:])


def _parts(network: nn.Module, name: str) -> int:
    """How many maps, each padded by itself, the convolution of that name takes side by side."""
    conv = network.get_submodule(name)
    if isinstance(conv, FusingConv):
        return conv.in_channels // conv.channels
    block, _, own = name.rpartition(".")
    if own == "c5":  # the fusing convolution of a block, over what its steps distil
        last = network.get_submodule(f"{block}.c4")
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(last, nn.Conv2d)
        return conv.in_channels // last.out_channels
    return 1


def _pad(conv: nn.Conv2d, parts: int, inputs: int, outputs: int) -> None:
    """Pads the outputs, and each of the `parts` of the inputs, to multiples."""
    old = _by_parts(conv.weight, parts)  # [outputs, parts, inputs, 3, 3]
    rows, columns = (-(-length // by) * by for length, by in ((old.shape[0], outputs), (old.shape[2], inputs)))
    weight = old.new_zeros(rows, parts, columns, *old.shape[3:])
    weight[: old.shape[0], :, : old.shape[2]] = old
    assert conv.bias is not None
    bias = conv.bias.new_zeros(rows)
    bias[: old.shape[0]] = conv.bias
    conv.weight = nn.Parameter(weight.flatten(1, 2), requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
    conv.out_channels, conv.in_channels = conv.weight.shape[:2]
    if isinstance(conv, FusingConv):
        conv.channels = columns


def _agree(network: Network, wider: Network) -> bool:
    """Whether both make the same of a small picture of noise."""
    side = network.options.minimum_size + 8
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    want = network(picture)
    try:
        got = wider(picture)
    except RuntimeError:  # shapes that do not fit
        return False
    return bool((got - want).abs().max() <= TOLERANCE * want.abs().max())
