"""RFDN by the fused kernels: one launch after the other, each layer's map read and written once."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rfdn_stream.engines.fused import kernels
from rfdn_stream.engines.fused.weights import LEAST, Attention, Block, PackedWeights, Weights, padded
from rfdn_stream.nets.blocks import NEGATIVE_SLOPE, contrast
from rfdn_stream.nets.rfdn import RFDN

ACROSS = 16  # pixels of a tile
MOST = 64  # channels: nine matrices of 64 x 64 are what fits beside the maps into a card's shared memory


@dataclass(frozen=True)
class Choice:
    """How the 3x3 convolutions run.

    Args:
        strip: which of the two forms (see `kernels`).
        pixels: that a program takes at once.
        warps: of 32 threads each.
        turns: rows of a strip in a turn of its loop; with three, registers keep their places.
        stages: of the loop's loads that are under way at once.
        together: programs that a multiprocessor has room for, of the strip form.
    """

    strip: bool
    pixels: int
    warps: int
    turns: int = 1
    stages: int = 1
    together: int = 1


@dataclass(frozen=True)
class Plan:
    """How the kernels run.

    Args:
        step: 3x3 convolutions of full width.
        close: those that close a block.
        last: the one that gives the picture.
        pixels: that a program of the other kernels takes at once.
    """

    step: Choice
    close: Choice
    last: Choice
    pixels: int = 64


_TILE = Choice(strip=False, pixels=128, warps=4, stages=3)
TAPS = Plan(step=_TILE, close=_TILE, last=_TILE)
STRIPS = Plan(
    step=Choice(strip=True, pixels=64, warps=4, turns=3, together=2),
    close=Choice(strip=True, pixels=128, warps=8, stages=2),
    last=Choice(strip=True, pixels=64, warps=4, stages=2, together=2),
)
"""The fastest of nine on an H200, each by itself; loading the next row into registers beforehand was slower."""


def plan_for(device: torch.device) -> Plan:
    """What suits a device."""
    hopper = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9
    return STRIPS if hopper else TAPS


def refusal(network: nn.Module) -> str:
    """Why the kernels cannot run a network; empty where they can."""
    if not (isinstance(network, RFDN) and network.folded and network.options.block == "rfdb"):
        return "runs RFDN in its published forms alone"
    if network.options.channels > MOST:
        return f"runs networks of up to {MOST} channels, not {network.options.channels}"
    return ""


class FusedNetwork:
    """An RFDN of RFDBs, [N, 3, H, W] of any strides to [N, 3, scale*H, scale*W], by the kernels.

    Args:
        network: one without `refusal`, folded for inference, float32 on the CPU.
        device, dtype: a card's, and float16 or bfloat16.
        plan: how its kernels run; None = `plan_for` the device.
    """

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype, plan: Plan | None = None) -> None:
        assert isinstance(network, RFDN)
        self.options = network.options
        self._channels, self._distilled = padded(self.options.channels), padded(self.options.distilled)
        self._device, self._dtype, self.plan = device, dtype, plan or plan_for(device)
        self._processors = 1
        if device.type == "cuda":
            self._processors = torch.cuda.get_device_properties(device).multi_processor_count
        self._weights = PackedWeights(network, device, dtype)

    @property
    def bytes_per_pixel(self) -> int:
        """Held at once for each input pixel: the first features, all blocks' results, and what a block works with."""
        maps = self.options.blocks + 1 + 3
        return 2 * (maps * self._channels + 3 * self._distilled + LEAST) + 8 * self.options.scale**2

    @torch.inference_mode()
    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        count, _, height, width = picture.shape
        shape, channels = (count, height, width), self._channels
        shallow = self._head_conv(picture)
        deep = self._empty(self.options.blocks, *shape, channels)
        for block, source, target in zip(self._weights.blocks, (shallow, *deep), deep):
            self._run_block(block, source, target)
        fused, y = self._empty(*shape, channels), self._empty(*shape, channels)
        self._pixelwise(
            kernels.fuse, prod(shape), deep, self._weights.fuse.matrix, self._weights.fuse.bias, fused, prod(shape),
            COUNT=len(deep), C=channels, SLOPE=NEGATIVE_SLOPE,
        )  # fmt: skip
        self._conv3x3(fused, self._weights.deep, y, add=shallow)
        scale = self.options.scale
        result = self._empty(count, scale * height, scale * width, 4)
        self._conv3x3(y, self._weights.last, result, scale=scale)
        return result[..., :3].permute(0, 3, 1, 2)

    # Layers

    def _head_conv(self, picture: torch.Tensor) -> torch.Tensor:
        count, _, height, width = picture.shape
        total, y = count * height * width, self._empty(count, height, width, self._channels)
        head = self._weights.head
        self._pixelwise(
            kernels.head, total, picture, head.matrix, head.bias, y,
            height, width, *picture.stride(), total, N=self._channels,
        )  # fmt: skip
        return y

    def _run_block(self, block: Block, x: torch.Tensor, y: torch.Tensor) -> None:
        """`y` becomes what the block makes of `x`, both [N, H, W, channels]."""
        shape, maps, distilled = x.shape[:3], [x], []
        for refine, distil in zip(block.refine, block.distil):
            maps.append(torch.empty_like(x))
            distilled.append(self._empty(*shape, self._distilled))
            self._conv3x3(maps.pop(0), refine, maps[0], slope=NEGATIVE_SLOPE, distil=distil, part=distilled[-1])
        fused, near = torch.empty_like(x), self._empty(*shape, LEAST) if block.esa else x
        self._close(block, maps[0], distilled, fused, near)
        if block.esa:
            self._attend(block.esa, fused, near, y, x if block.residual else None)
            return
        assert block.cca is not None
        weights = _channel_weights(block.cca, fused)
        torch.addcmul(x, fused, weights, out=y) if block.residual else torch.mul(fused, weights, out=y)

    def _conv3x3(
        self,
        x: torch.Tensor,
        weights: Weights,
        y: torch.Tensor,
        *,
        slope: float = 1.0,
        add: torch.Tensor | None = None,
        distil: Weights | None = None,
        part: torch.Tensor | None = None,
        scale: int = 0,
    ) -> None:
        """`y` becomes the convolution of `x`; `part` that of `distil`."""
        if distil is None:
            distil, depth = weights, 0
        else:
            depth = self._distilled
        self._launch(
            self.plan.last if scale else self.plan.step, (kernels.step_strip, kernels.step_taps), x,
            weights.matrix, weights.bias, y, x if add is None else add,
            distil.matrix, distil.bias, y if part is None else part,
            K=x.shape[-1], N=weights.matrix.shape[-1], D=depth, SLOPE=slope, ADD=add is not None, SCALE=scale,
        )  # fmt: skip

    def _close(
        self, block: Block, x: torch.Tensor, parts: list[torch.Tensor], fused: torch.Tensor, near: torch.Tensor
    ) -> None:
        """`fused` becomes a block's map before its attention, `near` the attention's first."""
        first = block.esa.near if block.esa else block.fuse
        self._launch(
            self.plan.close, (kernels.close_strip, kernels.close_taps), x,
            block.last.matrix, block.last.bias, *parts,
            block.fuse.matrix, block.fuse.bias, fused, first.matrix, first.bias, near,
            K=self._channels, D=self._distilled, I=LEAST if block.esa else 0, SLOPE=NEGATIVE_SLOPE,
        )  # fmt: skip

    def _attend(
        self, esa: Attention, x: torch.Tensor, near: torch.Tensor, y: torch.Tensor, add: torch.Tensor | None
    ) -> None:
        """`y` becomes ESA's result for `x`."""
        count, height, width, _ = x.shape
        far = self._small(near, esa.small[0], stride=2, padding=0)
        far = self._pool(far)
        far = self._small(far, esa.small[1], relu=True)
        far = self._small(far, esa.small[2], relu=True)
        far = self._small(far, esa.small[3])
        _, rows, columns, _ = far.shape
        total = count * height * width
        self._pixelwise(
            kernels.mask, total, x, far, esa.mask.matrix, esa.far, esa.mask.bias, y, x if add is None else add,
            height, width, rows, columns, rows / height, columns / width, total,
            C=self._channels, I=LEAST, ADD=add is not None,
        )  # fmt: skip

    def _small(
        self, x: torch.Tensor, weights: Weights, *, stride: int = 1, padding: int = 1, relu: bool = False
    ) -> torch.Tensor:
        count, height, width, channels = x.shape
        rows, columns = ((side + 2 * padding - 3) // stride + 1 for side in (height, width))
        y, total = self._empty(count, rows, columns, channels), count * rows * columns
        self._pixelwise(
            kernels.small, total, x, weights.matrix, weights.bias, y, height, width, rows, columns, total,
            I=channels, STRIDE=stride, PADDING=padding, RELU=relu,
        )  # fmt: skip
        return y

    def _pool(self, x: torch.Tensor) -> torch.Tensor:
        count, height, width, channels = x.shape
        rows, columns = ((side - 7) // 3 + 1 for side in (height, width))
        y, total = self._empty(count, rows, columns, channels), count * rows * columns
        self._pixelwise(kernels.pool, total, x, y, height, width, rows, columns, total, I=channels)
        return y

    # Launching

    def _launch(self, how: Choice, forms: tuple[Any, Any], x: torch.Tensor, *arguments: Any, **constants: Any) -> None:
        """A 3x3 convolution of `x`, in one of the two forms."""
        count, height, width, _ = x.shape
        if how.strip:
            strips = -(-width // how.pixels)
            rows = rows_of_a_strip(height, count * strips, self._processors * how.together)
            grid = (count * strips * -(-height // rows),)
            sizes, shape = [height, width, rows], {"TURNS": how.turns}
        else:
            grid = (count * -(-height // (how.pixels // ACROSS)) * -(-width // ACROSS),)
            sizes, shape = [height, width], {"ACROSS": ACROSS}
        self._run(
            forms[0 if how.strip else 1],
            grid,
            how.warps,
            x,
            *arguments,
            *sizes,
            **constants,
            **shape,
            M=how.pixels,
            STAGES=how.stages,
        )

    def _pixelwise(self, kernel: Any, total: int, *arguments: Any, **constants: Any) -> None:
        """A kernel that takes `total` pixels each by itself."""
        self._run(kernel, (-(-total // self.plan.pixels),), 4, *arguments, **constants, M=self.plan.pixels)

    def _run(self, kernel: Any, grid: tuple[int], warps: int, *arguments: Any, **constants: Any) -> None:
        kernel[grid](*arguments, **constants, num_warps=warps, enable_fp_fusion=True)  # Triton warns where it is unsaid

    def _empty(self, *shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=self._dtype, device=self._device)


def rows_of_a_strip(height: int, strips: int, programs: int) -> int:
    """How many rows a program takes, so that all programs are under way at once, or in as few rounds as it needs.

    Each program loads two rows more than it makes: that asks for long strips; short ones spread better.
    """
    best = height
    cost = float("inf")
    for chunks in range(1, height + 1):
        rows = -(-height // chunks)
        rounds = -(-strips * -(-height // rows) // programs)
        if rounds * (rows + 4) < cost:
            best, cost = rows, rounds * (rows + 4)
        if rows <= 4:
            break
    return best


def _channel_weights(cca: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What CCA multiplies a map [N, H, W, C] with: [N, 1, 1, C]."""
    seen = F.relu(cca.get_submodule("conv1")(contrast(x.permute(0, 3, 1, 2))))
    return torch.sigmoid(cca.get_submodule("conv2")(seen)).permute(0, 2, 3, 1)
