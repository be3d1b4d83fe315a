"""RFDN, the residual feature distillation network (arXiv 2009.11551), in all its published sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets.blocks import ATTENTIONS, RFDB, FusingConv, activate, conv


@dataclass(frozen=True)
class RFDNOptions:
    """What makes one RFDN differ from another; validated at construction.

    Args:
        channels: of every full-size map.
        blocks: how many RFDBs follow one another.
        attention: ``esa`` (spatial) or ``cca`` (by channel).
        block_residual: whether each block adds its input to its output.
        scale: enlargement, 2, 3 or 4.
        distillation: the part of the channels that each step of a block distils.
    """

    channels: int = 50
    blocks: int = 4
    attention: str = "esa"
    block_residual: bool = False
    scale: int = 2
    distillation: float = 0.5

    def __post_init__(self) -> None:
        if self.scale not in (2, 3, 4):
            raise UsageError(f"an RFDN enlarges by 2, 3 or 4, not by {self.scale}")
        if self.attention not in ATTENTIONS:
            raise UsageError(f"unknown attention {self.attention!r}; available: {', '.join(ATTENTIONS)}")
        if self.channels < 4 or self.blocks < 1:
            raise UsageError(f"an RFDN takes 4 channels and 1 block or more, not {self.channels} and {self.blocks}")
        if not 0 < self.distillation <= 1 or self.distilled < 1:
            raise UsageError(f"the distillation rate lies above 0 and up to 1, not {self.distillation}")

    @property
    def distilled(self) -> int:
        """Channels of one distilled part."""
        return round(self.channels * self.distillation)

    @property
    def minimum_size(self) -> int:
        """The smallest side, in pixels, of a frame that the network takes."""
        return ATTENTIONS[self.attention].minimum_size

    @property
    def activation_floats_per_pixel(self) -> int:
        """Values held at once, at most, for each pixel put in, when nothing is kept for gradients.

        In a block: the first features, the fused sum, the block's input, and its distilled parts both apart
        and concatenated; or later, the attention's input, mask and product.
        """
        return 3 * self.channels + max(8 * self.distilled, 3 * self.channels)


PRESETS = {
    "E-RFDN": RFDNOptions(channels=50, blocks=4, attention="esa", block_residual=False),
    "RFDN": RFDNOptions(channels=48, blocks=6, attention="cca", block_residual=True),
    "RFDN-L": RFDNOptions(channels=52, blocks=6, attention="cca", block_residual=True),
}
"""E-RFDN won the AIM 2020 challenge on efficient super-resolution; RFDN and RFDN-L are the paper's."""


def preset(name: str, scale: int) -> RFDNOptions:
    """The published network of that name at a scale; UsageError lists the names otherwise."""
    if name not in PRESETS:
        raise UsageError(f"unknown network {name!r}; available: {', '.join(PRESETS)}")
    return replace(PRESETS[name], scale=scale)


class RFDN(nn.Module):
    """Enlarges RGB pictures: [N, 3, H, W] to [N, 3, H * scale, W * scale].

    Values are in whatever range the weights were trained for; a folded network (`fold.fold`) takes and gives
    0..1. Picture sides are at least `options.minimum_size`, else forward raises ModelError.
    """

    def __init__(self, options: RFDNOptions) -> None:
        super().__init__()
        self.options = options
        o = options
        self.fea_conv = conv(3, o.channels, 3)
        self.block_names = tuple(f"B{k}" for k in range(1, o.blocks + 1))
        for name in self.block_names:
            self.add_module(name, RFDB(o.channels, o.distilled, o.attention, residual=o.block_residual))
        self.c = nn.ModuleList([FusingConv(o.blocks, o.channels, o.channels)])
        self.LR_conv = conv(o.channels, o.channels, 3)
        self.upsampler = nn.ModuleList([conv(o.channels, 3 * o.scale**2, 3)])

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, H * scale, W * scale]."""
        height, width = x.shape[-2:]
        least = self.options.minimum_size
        if min(height, width) < least:
            raise ModelError(f"the network takes {least}x{least} pixels or more, got {width}x{height}: pad the frame")
        shallow = self.fea_conv(x)  # [N, C, H, W]
        deep = activate(self.c[0](self._features(shallow)))
        y = self.LR_conv(deep).add_(shallow)
        del deep, shallow
        y = self.upsampler[0](y)  # [N, 3 * scale^2, H, W]
        return F.pixel_shuffle(y, self.options.scale)

    def _features(self, x: Tensor) -> Iterator[Tensor]:
        """The output of each block, made when it is asked for."""
        for name in self.block_names:
            x = self.get_submodule(name)(x)
            yield x

    def metadata(self) -> dict[str, str]:
        """What a weights file says of its network, as text."""
        name = next((n for n, p in PRESETS.items() if replace(p, scale=self.options.scale) == self.options), "RFDN")
        return {"architecture": name, **{k: str(v) for k, v in asdict(self.options).items()}}

    @staticmethod
    def options_from(shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> RFDNOptions | None:
        """The options of the network that parameters of these shapes belong to; None where it is not an RFDN.

        The shapes tell everything but the block residual, which has no parameters: `metadata` tells that, and
        where it does not, a network has it with channel attention and not with spatial attention, as in all
        published ones. Parameters that are missing or misshaped are left to be found when they are loaded.
        """
        first, last = shapes.get("fea_conv.weight"), shapes.get("upsampler.0.weight")
        distil = shapes.get("B1.c1_d.weight")
        attention = next((name for name in ATTENTIONS if f"B1.{name}.conv1.weight" in shapes), None)
        if not (first and first[0] and last and distil and attention):
            return None
        channels = first[0]
        residual = metadata.get("block_residual", str(attention == "cca"))
        return RFDNOptions(
            channels=channels,
            blocks=len({key.partition(".")[0] for key in shapes if re.match(r"B\d+\.", key)}),
            attention=attention,
            block_residual=residual == "True",
            scale=round((last[0] / 3) ** 0.5),
            distillation=distil[0] / channels,
        )
