"""What all networks have in common: the body around their blocks, and how they describe themselves."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import Field, asdict, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_stream import registry
from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets.blocks import FusingConv, activate, conv

SCALES = (2, 3, 4)

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of a state dict's tensors, by name."""


class NetworkOptions(Protocol):
    """What makes one network of an architecture differ from another: a frozen dataclass that checks itself."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def channels(self) -> int:
        """Of every full-size map."""

    @property
    def blocks(self) -> int:
        """How many blocks follow one another."""

    @property
    def scale(self) -> int:
        """Enlargement of each side, one of SCALES."""

    @property
    def minimum_size(self) -> int:
        """The smallest side, in pixels, of a frame that the network takes."""

    @property
    def activation_floats_per_pixel(self) -> int:
        """Values held at once, at most, for each pixel put in, when nothing is kept for gradients."""


class Body(NamedTuple):
    """What the shapes of the body's parameters tell of a network."""

    channels: int
    blocks: int
    scale: int


class Network(nn.Module):
    """Enlarges RGB pictures: [N, 3, H, W] to [N, 3, H * scale, W * scale].

    Values are in whatever range the weights were trained for; a folded network (`fold.fold`) takes and gives
    0..1. Picture sides are at least `options.minimum_size`, else forward raises ModelError.

    The body is that of IMDN (arXiv 1909.11856), which RFDN keeps: F_0 = conv3x3(x); F_k = block_k(F_{k-1});
    A = conv3x3(act(conv1x1(concat F_1..F_n))); y = PixelShuffle(conv3x3(A + F_0)). An architecture adds its
    blocks to it, and a description of itself:

    - `prefix`: what its blocks are called in a state dict, before their number;
    - `layout`: the names of some parameters, for messages;
    - `published`: the options of the networks that papers give figures for, by name; `variants`: of others.
    """

    prefix: ClassVar[str]
    layout: ClassVar[str]
    published: ClassVar[Mapping[str, NetworkOptions]]
    variants: ClassVar[Mapping[str, NetworkOptions]] = {}
    folded = False
    """Whether `fold.fold` has rewritten it, after which its weights are no longer those of a state dict to keep."""

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        self.options = options
        o = options
        self.fea_conv = conv(3, o.channels, 3)
        self.block_names = tuple(f"{self.prefix}{k}" for k in range(1, o.blocks + 1))
        for name in self.block_names:
            self.add_module(name, self.block())
        self.c = nn.ModuleList([FusingConv(o.blocks, o.channels, o.channels)])
        self.LR_conv = conv(o.channels, o.channels, 3)
        self.upsampler = nn.ModuleList([conv(o.channels, 3 * o.scale**2, 3)])

    @abstractmethod
    def block(self) -> nn.Module:
        """A new block as `self.options` want it, [N, C, H, W] to the same shape."""

    @staticmethod
    @abstractmethod
    def options_from(shapes: Shapes, metadata: Mapping[str, str]) -> NetworkOptions | None:
        """The options of the network that parameters of these shapes belong to; None for another architecture.

        What has no parameters is told by `metadata` (see the method of that name). Parameters that are missing
        or misshaped are left to be found when they are loaded.

        Raises:
            UsageError: the options that shapes and metadata tell are not possible.
        """

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
        o, known = self.options, {**self.published, **self.variants}
        name = next((n for n, p in known.items() if replace(p, scale=o.scale) == o), type(self).__name__)
        return {"architecture": name, **{k: str(v) for k, v in asdict(o).items()}}

    @classmethod
    def body_from(cls, shapes: Shapes) -> Body | None:
        """The body that parameters of these shapes belong to; None where its first or last convolution is missing."""
        first, last = shapes.get("fea_conv.weight"), shapes.get("upsampler.0.weight")
        if not (first and first[0] and last):
            return None
        blocks = {key.partition(".")[0] for key in shapes if re.match(rf"{cls.prefix}\d+\.", key)}
        return Body(first[0], len(blocks), round((last[0] / 3) ** 0.5))


def architectures() -> dict[str, type[Network]]:
    """All architectures of the registry, by name."""
    return {name: registry.load(registry.ARCHITECTURES, name, "architecture") for name in registry.ARCHITECTURES}


def blank(architecture: str, options: NetworkOptions) -> Network:
    """A network without values, on the meta device: to be counted, or to be given a state dict."""
    with torch.device("meta"):
        net: Network = registry.load(registry.ARCHITECTURES, architecture, "architecture")(options)
    return net


def named(name: str, scale: int) -> tuple[str, NetworkOptions]:
    """The published network or variant of that name at a scale, of whatever architecture: (architecture, options).

    Raises:
        UsageError: there is no network of that name.
    """
    known = {n: (a, o) for a, net in architectures().items() for n, o in {**net.published, **net.variants}.items()}
    if name not in known:
        raise UsageError(f"unknown network {name!r}; available: {', '.join(known)}")
    architecture, options = known[name]
    return architecture, replace(options, scale=scale)
