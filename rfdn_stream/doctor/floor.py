"""The least time that a network can take on a device: what it computes and moves, over what the device reaches.

Networks of this kind are bound by memory on every card: plainly run, each operation reads its maps from the card's
memory and writes its result there. The fewer maps travel, the lower the floor:

- `plain`: every operation by itself, as torch runs them;
- `layers`: each convolution with what follows it in one kernel, so that only its input and output travel;
- `blocks`: each block of the network in one kernel;
- `arithmetic`: nothing travels; the multiplications and sums alone.

Maps of small frames may stay in a card's cache, which is faster than its memory: below 720p the first three are no
bounds on large cards.

E-RFDN x2 in fp16 at 1920x1080 takes 1.64e12 operations, and 37.4, 17.7 and 3.8 GB. Padded to multiples of eight
channels, as tensor cores are given them, it takes 17 % more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rfdn_stream.doctor.rates import Rates
from rfdn_stream.nets.base import blank
from rfdn_stream.nets.catalogue import ModelSpec
from rfdn_stream.nets.complexity import count
from rfdn_stream.nets.fold import fold


@dataclass(frozen=True)
class Cost:
    """What one frame costs a network.

    Args:
        operations: multiplications and additions.
        plain, layers, blocks: bytes to and from memory (see above).
    """

    operations: int
    plain: int
    layers: int
    blocks: int

    def __add__(self, other: Cost) -> Cost:
        """Of one network after the other."""
        return Cost(
            self.operations + other.operations,
            self.plain + other.plain,
            self.layers + other.layers,
            self.blocks + other.blocks,
        )


@dataclass(frozen=True)
class Floor:
    """Seconds a frame, at least; see above."""

    arithmetic: float
    plain: float
    layers: float
    blocks: float


def cost_of(model: ModelSpec, width: int, height: int, dtype: torch.dtype) -> Cost:
    """Counts for a frame of width x height put in; nothing is computed, and no weights are needed."""
    net = fold(blank(model.architecture, model.options)).to(dtype)
    height, width = max(model.minimum_size, height), max(model.minimum_size, width)
    operations = 2 * count(net, width, height).macs
    outputs: list[int] = []
    for part in (net.fea_conv, *map(net.get_submodule, net.block_names), net.c[0], net.LR_conv, net.upsampler[0]):
        part.register_forward_hook(lambda _part, _inputs, output: outputs.append(output.nbytes))
    x = torch.empty(1, 3, height, width, dtype=dtype, device="meta")
    with _Traffic() as traffic, torch.no_grad():
        net(x)
    first, *blocks, fused, deep, _ = outputs  # what each part writes, in the order of `Network.forward`
    # Each block reads the map before it, the fusing convolution all of theirs, and the last sum the first map again.
    read = x.nbytes + first + sum(blocks[:-1]) + sum(blocks) + fused + first + deep
    return Cost(operations, traffic.total, traffic.convolutions, read + sum(outputs))


def cost_of_all(models: Sequence[ModelSpec], width: int, height: int, dtype: torch.dtype) -> Cost:
    """As `cost_of`, of networks in sequence: each is given what the one before it has made."""
    total = Cost(0, 0, 0, 0)
    for model in models:
        total += cost_of(model, width, height, dtype)
        width, height = width * model.scale, height * model.scale
    return total


def floor_of(cost: Cost, rates: Rates) -> Floor:
    """The least time on a device of these rates."""
    arithmetic = cost.operations / rates.arithmetic
    memory = (max(arithmetic, moved / rates.memory) for moved in (cost.plain, cost.layers, cost.blocks))
    return Floor(arithmetic, *memory)


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that operations read and write: of all, and of the convolutions alone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = self.convolutions = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        schema = function._schema
        is_view = any(value.alias_info is not None and not value.alias_info.is_write for value in schema.returns)
        if not is_view:
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
            moved = sum(tensor.nbytes for tensor in tensors)
            self.total += moved
            self.convolutions += moved * (schema.name == "aten::convolution")
        return result
