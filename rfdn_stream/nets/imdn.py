"""IMDN, the information multi-distillation network (Hui, Gao, Yang, Wang, arXiv 1909.11856): what RFDN grew from.

Also its block rethought (IMDB-R, arXiv 2009.11551), in which each convolution that is followed by a split of its
channels becomes two convolutions side by side. Attribute names are the key layout of the authors' weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rfdn_stream.errors import UsageError
from rfdn_stream.nets.base import SCALES, Network, Shapes
from rfdn_stream.nets.blocks import activate, contrast, conv

REDUCTION = 16
"""Channel attention works on this fraction of the channels."""


class ChannelAttention(nn.Module):
    """Contrast-aware channel attention, in the authors' layout."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // REDUCTION
        self.conv_du = nn.Sequential(conv(channels, inner, 1), nn.ReLU(True), conv(inner, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        weight: Tensor = self.conv_du(contrast(x))  # [N, C, 1, 1]
        return x * weight


class IMDB(nn.Module):
    """Information multi-distillation block: of each step's output a part is kept, and the rest refined further.

    Args:
        channels: C, of the input and the output.
        distilled: D, channels of each of the four parts.
    """

    def __init__(self, channels: int, distilled: int) -> None:
        super().__init__()
        coarse = channels - distilled
        self.parts = [distilled, coarse]
        self.c1 = conv(channels, channels, 3)
        self.c2 = conv(coarse, channels, 3)
        self.c3 = conv(coarse, channels, 3)
        self.c4 = conv(coarse, distilled, 3)
        self.c5 = conv(4 * distilled, channels, 1)
        self.cca = ChannelAttention(4 * distilled)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        d1, r = torch.split(activate(self.c1(x)), self.parts, dim=1)  # [N, D, H, W], [N, C - D, H, W]
        d2, r = torch.split(activate(self.c2(r)), self.parts, dim=1)
        d3, r = torch.split(activate(self.c3(r)), self.parts, dim=1)
        distilled = torch.cat((d1, d2, d3, self.c4(r)), dim=1)  # [N, 4D, H, W]
        del d1, d2, d3, r
        y: Tensor = self.c5(self.cca(distilled))
        return y.add_(x)

    @staticmethod
    def peak(channels: int, distilled: int) -> int:
        """Values held at once, at most, for each pixel of a map, beside the block's input."""
        # Three steps whole (their parts are views), the last one and the concatenation; or that before and after
        # the attention, and the result.
        return max(3 * channels + 5 * distilled, 8 * distilled + channels)


class IMDBR(nn.Module):
    """An IMDB rethought: each step's kept and refined parts come from a convolution of their own.

    Arguments as for IMDB. Its weights are those of an IMDB, cut (`imdb_r_from_imdb`).
    """

    def __init__(self, channels: int, distilled: int) -> None:
        super().__init__()
        coarse = channels - distilled
        self.c1_d = conv(channels, distilled, 3)
        self.c1_r = conv(channels, coarse, 3)
        self.c2_d = conv(coarse, distilled, 3)
        self.c2_r = conv(coarse, coarse, 3)
        self.c3_d = conv(coarse, distilled, 3)
        self.c3_r = conv(coarse, coarse, 3)
        self.c4 = conv(coarse, distilled, 3)
        self.c5 = conv(4 * distilled, channels, 1)
        self.cca = ChannelAttention(4 * distilled)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        d1 = activate(self.c1_d(x))  # [N, D, H, W]
        r = activate(self.c1_r(x))  # [N, C - D, H, W]
        d2 = activate(self.c2_d(r))
        r = activate(self.c2_r(r))
        d3 = activate(self.c3_d(r))
        r = activate(self.c3_r(r))
        distilled = torch.cat((d1, d2, d3, self.c4(r)), dim=1)  # [N, 4D, H, W]
        del d1, d2, d3, r
        y: Tensor = self.c5(self.cca(distilled))
        return y.add_(x)

    @staticmethod
    def peak(channels: int, distilled: int) -> int:
        """Values held at once, at most, for each pixel of a map, beside the block's input."""
        # Three parts and two steps; or all parts concatenated, before and after the attention, and the result.
        return max(2 * channels + distilled, 8 * distilled + channels)


BLOCKS: dict[str, type[IMDB] | type[IMDBR]] = {"imdb": IMDB, "imdb-r": IMDBR}


@dataclass(frozen=True)
class IMDNOptions:
    """What makes one IMDN differ from another; validated at construction.

    Args:
        channels: of every full-size map.
        blocks: how many blocks follow one another.
        scale: enlargement, 2, 3 or 4.
        distillation: the part of the channels that each step of a block keeps.
        block: ``imdb``, or ``imdb-r`` (the same with separate convolutions).
    """

    channels: int = 64
    blocks: int = 6
    scale: int = 2
    distillation: float = 0.25
    block: str = "imdb"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"an IMDN enlarges by 2, 3 or 4, not by {self.scale}")
        if self.block not in BLOCKS:
            raise UsageError(f"unknown block {self.block!r}; available: {', '.join(BLOCKS)}")
        if self.blocks < 1:
            raise UsageError(f"an IMDN takes 1 block or more, not {self.blocks}")
        if not 0 < self.distilled < self.channels or 4 * self.distilled < REDUCTION:
            raise UsageError(
                f"an IMDN keeps {REDUCTION // 4} channels or more of each step, and not all, "
                f"not {self.distillation} of {self.channels}"
            )

    @property
    def distilled(self) -> int:
        """Channels that each step keeps."""
        return round(self.channels * self.distillation)

    @property
    def minimum_size(self) -> int:
        """The smallest side, in pixels, of a frame that the network takes."""
        return 1

    @property
    def activation_floats_per_pixel(self) -> int:
        """Values held at once, at most, for each pixel put in, when nothing is kept for gradients.

        The first features, the fused sum and a block's input, beside what the block itself holds.
        """
        return 3 * self.channels + BLOCKS[self.block].peak(self.channels, self.distilled)


PRESETS = {"IMDN": IMDNOptions()}
"""The paper's."""

RETHOUGHT = {"IMDN-R": IMDNOptions(block="imdb-r")}


class IMDN(Network):
    """The information multi-distillation network (see `Network`)."""

    prefix = "IMDB"
    layout = "fea_conv, IMDB1.c1, ..., LR_conv, upsampler.0"
    published = PRESETS
    variants = RETHOUGHT
    options: IMDNOptions

    def block(self) -> nn.Module:
        """A new block, [N, C, H, W] to the same shape."""
        return BLOCKS[self.options.block](self.options.channels, self.options.distilled)

    @staticmethod
    def options_from(shapes: Shapes, metadata: Mapping[str, str]) -> IMDNOptions | None:
        """The options of the network that parameters of these shapes belong to; None where it is not an IMDN.

        The shapes tell everything. Parameters that are missing or misshaped are left to be found when they are
        loaded.

        Raises:
            UsageError: the options that the shapes tell are not possible.
        """
        body = IMDN.body_from(shapes)
        last = shapes.get("IMDB1.c4.weight")
        if not (body and last):
            return None
        apart = any(key.startswith("IMDB1.c1_r.") for key in shapes)
        return IMDNOptions(
            channels=body.channels,
            blocks=body.blocks,
            scale=body.scale,
            distillation=last[0] / body.channels,
            block="imdb-r" if apart else "imdb",
        )


def imdb_r_from_imdb(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the IMDN with IMDB-R that does the same as one with IMDB; nothing is copied.

    A split of channels after an activation is a split of the convolution before it: the first D filters of each
    of c1, c2 and c3 become c1_d, c2_d and c3_d, the others c1_r, c2_r and c3_r.

    Args:
        state: of an IMDN with IMDB, of any scale and dtype.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        block, _, rest = name.partition(".")
        conv_name, _, kind = rest.partition(".")
        if block.startswith(IMDN.prefix) and conv_name in ("c1", "c2", "c3"):
            distilled = len(state[f"{block}.c4.bias"])
            result[f"{block}.{conv_name}_d.{kind}"] = tensor[:distilled]
            result[f"{block}.{conv_name}_r.{kind}"] = tensor[distilled:]
        else:
            result[name] = tensor
    return result
