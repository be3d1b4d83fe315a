"""A network's weights as the kernels take them: matrices of padded channels, on the card, ESA's 1x1 convolutions that
follow each other multiplied."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rfdn_stream.nets.blocks import RFDB
from rfdn_stream.nets.rfdn import RFDN

LEAST = 16  # channels; what a tensor core sums up at a time in 16 bits


@dataclass(frozen=True)
class Weights:
    """A convolution's: [inputs, outputs], [9, inputs, outputs] or [parts, inputs, outputs]; and float32 [outputs]."""

    matrix: torch.Tensor
    bias: torch.Tensor


@dataclass(frozen=True)
class Attention:
    """ESA's, its 1x1 convolutions that follow each other multiplied."""

    near: Weights
    small: tuple[Weights, ...]  # conv2, conv_max, conv3, conv3_
    mask: Weights
    far: torch.Tensor


@dataclass(frozen=True)
class Block:
    """An RFDB's."""

    distil: tuple[Weights, ...]
    refine: tuple[Weights, ...]
    last: Weights
    fuse: Weights
    esa: Attention | None
    cca: nn.Module | None
    residual: bool


class PackedWeights:
    """An RFDN's.

    Args:
        network: of RFDBs, folded for inference, float32 on the CPU.
        device, dtype: what they are moved and rounded to.

    Attributes:
        head: of the first convolution, [27, channels]: rows, columns, then colours.
        blocks: of the blocks; `fuse`: of what joins their results, `deep`: of the convolution after that.
        last: of the upsampler's; its outputs lie as pixels do.
    """

    def __init__(self, network: RFDN, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._channels = padded(network.options.channels)
        self.head = self._packed(*_head(network.fea_conv), LEAST * 2, self._channels)
        self.blocks = [self._block(network.get_submodule(name)) for name in network.block_names]
        self.fuse = self._conv(network.c[0], parts=network.options.blocks)
        self.deep = self._conv(network.LR_conv)
        self.last = self._packed(*_interleaved(network.upsampler[0], network.options.scale))

    def _block(self, block: nn.Module) -> Block:
        assert isinstance(block, RFDB)
        steps = range(1, 4)
        attention = block.get_submodule(block.attention)
        esa = self._attention(attention) if block.attention == "esa" else None
        return Block(
            distil=tuple(self._conv(block.get_submodule(f"c{k}_d")) for k in steps),
            refine=tuple(self._conv(block.get_submodule(f"c{k}_r")) for k in steps),
            last=self._conv(block.c4),
            fuse=self._conv(block.c5, parts=4),
            esa=esa,
            cca=None if esa else _wider(attention, self._channels).to(self._device, self._dtype),
            residual=block.residual,
        )

    def _attention(self, esa: nn.Module) -> Attention:
        (w1, b1), (w_f, b_f), (w4, b4) = (_pointwise(esa.get_submodule(name)) for name in ("conv1", "conv_f", "conv4"))
        through = w_f @ w4
        return Attention(
            near=self._packed(w1, b1, self._channels, LEAST),
            small=tuple(self._conv(esa.get_submodule(name)) for name in ("conv2", "conv_max", "conv3", "conv3_")),
            mask=self._packed(w1 @ through, b1 @ through + b_f @ w4 + b4, self._channels, self._channels),
            far=self._packed(w4, b4, LEAST, self._channels).matrix,
        )

    def _conv(self, conv: nn.Module, parts: int = 1) -> Weights:
        """A convolution, of which 1x1 ones may take several maps."""
        assert isinstance(conv, nn.Conv2d)
        outputs, inputs = conv.weight.shape[:2]
        matrix = conv.weight.reshape(outputs, parts, inputs // parts, -1).permute(3, 1, 2, 0)  # [taps, parts, in, out]
        return self._packed(matrix.flatten(0, 1).squeeze(0), conv.bias, padded(inputs // parts), padded(outputs))

    def _packed(self, matrix: torch.Tensor, bias: Any, inputs: int, outputs: int) -> Weights:
        """[..., inputs, outputs], padded with zeros."""
        matrix = F.pad(matrix, (0, outputs - matrix.shape[-1], 0, inputs - matrix.shape[-2]))
        bias = F.pad(bias, (0, outputs - len(bias)))
        return Weights(
            matrix.to(self._device, self._dtype).contiguous(), bias.to(self._device, torch.float32).contiguous()
        )


def padded(channels: int) -> int:
    """The power of two that so many channels are kept in."""
    return max(LEAST, 1 << (channels - 1).bit_length())


def _head(conv: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """[27, outputs]: rows, columns, then channels."""
    assert conv.bias is not None
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias


def _pointwise(conv: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """A 1x1 convolution as a matrix [inputs, outputs]."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    return conv.weight.flatten(1).T, conv.bias


def _interleaved(conv: nn.Module, scale: int) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """The last convolution, its outputs as pixels lie: [scale, scale, 4], one channel of zeros; and its padding."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    weight = conv.weight.reshape(3, scale * scale, conv.in_channels, 9).permute(3, 2, 1, 0)  # [9, in, scale^2, 3]
    weight, bias = F.pad(weight, (0, 1)).flatten(2), F.pad(conv.bias.reshape(3, -1).T, (0, 1)).flatten()
    return weight, bias, padded(conv.in_channels), padded(4 * scale * scale)


def _wider(attention: nn.Module, channels: int) -> nn.Module:
    """CCA over maps of that many channels."""
    wider = copy.deepcopy(attention)
    first, last = wider.get_submodule("conv1"), wider.get_submodule("conv2")
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    more = channels - first.in_channels
    first.weight = nn.Parameter(F.pad(first.weight, (0, 0, 0, 0, 0, more)), requires_grad=False)
    last.weight = nn.Parameter(F.pad(last.weight, (0, 0, 0, 0, 0, 0, 0, more)), requires_grad=False)
    last.bias = nn.Parameter(F.pad(last.bias, (0, more)), requires_grad=False)
    return wider
