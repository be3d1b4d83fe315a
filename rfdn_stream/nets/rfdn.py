"""RFDN, the residual feature distillation network (arXiv 2009.11551), in all its published sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn

from rfdn_stream.errors import UsageError
from rfdn_stream.nets.base import SCALES, Network, Shapes
from rfdn_stream.nets.blocks import ATTENTIONS, BLOCKS


@dataclass(frozen=True)
class RFDNOptions:
    """What makes one RFDN differ from another; validated at construction.

    Args:
        channels: of every full-size map.
        blocks: how many blocks follow one another.
        attention: ``esa`` (spatial) or ``cca`` (by channel).
        block_residual: whether each block adds its input to its output.
        scale: enlargement, 2, 3 or 4.
        distillation: the part of the channels that each step of a block distils; in ``base`` and ``srb``, which
            distil nothing, the part that is left at their end.
        block: ``rfdb``, or what the paper's ablation study sets against it: ``fdc`` (feature distillation
            connections alone), ``srb`` (shallow residual blocks alone), ``base`` (neither).
    """

    channels: int = 50
    blocks: int = 4
    attention: str = "esa"
    block_residual: bool = False
    scale: int = 2
    distillation: float = 0.5
    block: str = "rfdb"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"an RFDN enlarges by 2, 3 or 4, not by {self.scale}")
        if self.attention not in ATTENTIONS:
            raise UsageError(f"unknown attention {self.attention!r}; available: {', '.join(ATTENTIONS)}")
        if self.block not in BLOCKS:
            raise UsageError(f"unknown block {self.block!r}; available: {', '.join(BLOCKS)}")
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

        The first features, the fused sum and a block's input, beside what the block itself holds.
        """
        block, attention = BLOCKS[self.block][0], ATTENTIONS[self.attention]
        return 3 * self.channels + max(block.peak(self.channels, self.distilled), attention.peak(self.channels))


PRESETS = {
    "E-RFDN": RFDNOptions(channels=50, blocks=4, attention="esa", block_residual=False),
    "RFDN": RFDNOptions(channels=48, blocks=6, attention="cca", block_residual=True),
    "RFDN-L": RFDNOptions(channels=52, blocks=6, attention="cca", block_residual=True),
}
"""E-RFDN won the AIM 2020 challenge on efficient super-resolution; RFDN and RFDN-L are the paper's."""

ABLATION = {
    "RFDN-Base": replace(PRESETS["RFDN"], block="base", distillation=1.0),
    "RFDN-SRB": replace(PRESETS["RFDN"], block="srb", distillation=1.0),
    "RFDN-FDC": replace(PRESETS["RFDN"], block="fdc"),
}
"""RFDN with less in its blocks. The paper draws these blocks and gives no code; as here, Base and SRB are RFDB's
chain of four 3x3 convolutions at full width, without distilled parts."""


def preset(name: str, scale: int) -> RFDNOptions:
    """The RFDN of that name at a scale; UsageError lists the names otherwise."""
    known = {**PRESETS, **ABLATION}
    if name not in known:
        raise UsageError(f"unknown network {name!r}; available: {', '.join(known)}")
    return replace(known[name], scale=scale)


class RFDN(Network):
    """The residual feature distillation network (see `Network`)."""

    prefix = "B"
    layout = "fea_conv, B1.c1_d, ..., LR_conv, upsampler.0"
    published = PRESETS
    variants = ABLATION
    options: RFDNOptions

    def block(self) -> nn.Module:
        """A new block, [N, C, H, W] to the same shape."""
        o = self.options
        kind, shallow = BLOCKS[o.block]
        return kind(o.channels, o.distilled, o.attention, residual=o.block_residual, shallow=shallow)

    @staticmethod
    def options_from(shapes: Shapes, metadata: Mapping[str, str]) -> RFDNOptions | None:
        """The options of the network that parameters of these shapes belong to; None where it is not an RFDN.

        Identities have no parameters, so `metadata` tells of them. Where it does not, a network has the block
        residual with channel attention and not with spatial attention, as in all published ones, and its 3x3
        steps are shallow residual blocks. Parameters that are missing or misshaped are left to be found when
        they are loaded.

        Raises:
            UsageError: the options that shapes and metadata tell are not possible.
        """
        body = RFDN.body_from(shapes)
        last = shapes.get("B1.c4.weight")
        attention = next((name for name in ATTENTIONS if f"B1.{name}.conv1.weight" in shapes), None)
        if not (body and last and attention):
            return None
        distils = any(key.startswith("B1.c1_d.") for key in shapes)
        return RFDNOptions(
            channels=body.channels,
            blocks=body.blocks,
            attention=attention,
            block_residual=metadata.get("block_residual", str(attention == "cca")) == "True",
            scale=body.scale,
            distillation=last[0] / body.channels,
            block=metadata.get("block", "rfdb" if distils else "srb"),
        )
