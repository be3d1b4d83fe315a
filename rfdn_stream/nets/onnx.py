"""A network written as an ONNX graph, node by node, for any batch, height and width.

Written rather than traced: one node for each thing that the network does (132 for E-RFDN), under a name that tells
where it belongs, at once; torch's exporter takes seconds, and 145 nodes that run no faster. No operator is newer than
opset 13, so that old runtimes take the graph too. One function below stands for each kind of module, and tests hold
the whole to the network.

The graph has one input, ``input``, and one output, ``output``: float32 RGB, [N, 3, H, W] to
[N, 3, scale * H, scale * W]. That is what video programs ask of a model (vs-mlrt: one of each, four dimensions,
1 or 3 planes, float32). The graph cannot refuse sides below the network's minimum size: its metadata tells that.

Needs the ``onnx`` package; imported only by what exports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rfdn_stream import __version__
from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets.base import Network
from rfdn_stream.nets.blocks import CCA, ESA, NEGATIVE_SLOPE, RFDB, PlainBlock, ResidualConv
from rfdn_stream.nets.imdn import IMDB, IMDBR, ChannelAttention

OPSETS = range(13, 23)
"""From the oldest whose Resize takes a size alone to the newest that is tested."""
DEFAULT_OPSET = 17
"""Of 2022, so that older runtimes read it too; a newer one would change nothing."""

PICTURES = {
    "Image.BitmapPixelFormat": "Rgb8",  # the order of the planes; ONNX has no name for it without a depth
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "Normalized_0_1",
}
"""ONNX's own keys for models of pictures (its docs/MetadataProps.md), as they hold for a folded network."""

Value = str
"""A tensor of the graph, by its name."""


def to_onnx(net: Network, metadata: Mapping[str, str], *, fp16: bool = False, opset: int = DEFAULT_OPSET) -> Any:
    """The network as an `onnx.ModelProto` that ONNX's own checker has passed.

    Args:
        net: on the CPU; folded (`fold.fold`), so that it takes and gives 0..1.
        metadata: goes into the model beside PICTURES.
        fp16: weights and arithmetic in float16; input and output stay float32.
        opset: version of ONNX's operators, one of OPSETS.

    Raises:
        UsageError: another opset.
        ModelError: a kind of module that has no function here.
    """
    if opset not in OPSETS:
        raise UsageError(f"opset {opset} is not supported; choose {OPSETS[0]} to {OPSETS[-1]}")
    graph = _Graph(net, fp16)
    _write(net, graph, graph.add("Cast", "input", to=TensorProto.FLOAT16) if fp16 else "input")
    if fp16:
        graph.add("Cast", graph.last, to=TensorProto.FLOAT)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph.finished(net.options.scale),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="rfdn-stream",
        producer_version=__version__,
    )
    helper.set_model_props(model, {**PICTURES, **metadata})
    onnx.checker.check_model(model, full_check=True)
    return model


def of_one_size(model: Any, shape: Sequence[int], scale: int) -> bytes:
    """The model for pictures [N, 3, H, W] of one shape alone, which runtimes know more of; `model` is changed."""
    count, channels, height, width = shape
    ends = (model.graph.input[0], shape), (model.graph.output[0], (count, channels, scale * height, scale * width))
    for end, sizes in ends:
        for dimension, size in zip(end.type.tensor_type.shape.dim, sizes, strict=True):
            dimension.dim_value = size
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Graph:
    """Nodes and weights as they are written."""

    def __init__(self, net: nn.Module, fp16: bool) -> None:
        self._dtype = np.float16 if fp16 else np.float32
        self._name = type(net).__name__
        self._names = {module: name for name, module in net.named_modules()}
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    @property
    def last(self) -> Value:
        """What the latest node gives."""
        return str(self._nodes[-1].output[0])

    def add(self, operator: str, *inputs: Value, name: str | None = None, **attributes: Any) -> Value:
        """One node; returns what it gives."""
        name = name or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def conv(self, module: nn.Conv2d, x: Value) -> Value:
        """A convolution and its weights."""
        name = self._names[module]
        weights = {f"{name}.{part}": p.detach().numpy() for part, p in module.named_parameters()}
        self._weights += [numpy_helper.from_array(array.astype(self._dtype), key) for key, array in weights.items()]
        padding = [int(p) for p in module.padding] * 2  # top, left, bottom, right
        shape = {"kernel_shape": module.kernel_size, "strides": module.stride, "pads": padding}
        return self.add("Conv", x, *weights, name=name, **shape)

    def split(self, x: Value, parts: list[int]) -> list[Value]:
        """The channels of `x` in pieces of so many."""
        name = f"Split_{len(self._nodes)}"
        pieces = [f"{name}.{k}" for k in range(len(parts))]
        self._weights.append(numpy_helper.from_array(np.array(parts, np.int64), f"{name}.sizes"))
        self._nodes.append(helper.make_node("Split", [x, f"{name}.sizes"], pieces, name=name, axis=1))
        return pieces

    def finished(self, scale: int) -> Any:
        """The graph from ``input`` to ``output``, which the latest node gives."""
        self._nodes[-1].output[0] = "output"
        shapes: dict[str, list[int | str | None]] = {
            "input": ["batch", 3, "height", "width"],
            "output": ["batch", 3, f"{scale}*height", f"{scale}*width"],
        }
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        return helper.make_graph(self._nodes, self._name, ends[:1], ends[1:], self._weights)


@singledispatch
def _write(module: nn.Module, graph: _Graph, x: Value) -> Value:
    """Adds what a module does to `x`; returns its result."""
    raise ModelError(f"a network with {type(module).__name__} cannot be exported: nets/onnx.py has no form of it")


@_write.register
def _conv(module: nn.Conv2d, graph: _Graph, x: Value) -> Value:
    return graph.conv(module, x)


@_write.register
def _residual_conv(module: ResidualConv, graph: _Graph, x: Value) -> Value:
    return graph.add("Add", graph.conv(module, x), x)


@_write.register
def _esa(module: ESA, graph: _Graph, x: Value) -> Value:
    near = _write(module.conv1, graph, x)
    far = graph.add("MaxPool", _write(module.conv2, graph, near), kernel_shape=[7, 7], strides=[3, 3])
    far = graph.add("Relu", _write(module.conv_max, graph, far))
    far = graph.add("Relu", _write(module.conv3, graph, far))
    far = _write(module.conv3_, graph, far)
    # `near` has just the shape wanted, batch and channels included. Half-pixel centres are align_corners=False.
    size = graph.add("Shape", near)
    far = graph.add("Resize", far, "", "", size, mode="linear", coordinate_transformation_mode="half_pixel")
    mask = _write(module.conv4, graph, graph.add("Add", far, _write(module.conv_f, graph, near)))
    return graph.add("Mul", x, graph.add("Sigmoid", mask))


@_write.register
def _cca(module: CCA, graph: _Graph, x: Value) -> Value:
    weight = graph.add("Relu", _write(module.conv1, graph, _contrast(graph, x)))
    return graph.add("Mul", x, graph.add("Sigmoid", _write(module.conv2, graph, weight)))


@_write.register
def _channel_attention(module: ChannelAttention, graph: _Graph, x: Value) -> Value:
    squeeze, _, excite, _ = module.conv_du  # with a ReLU between, and a sigmoid behind
    weight = graph.add("Relu", _write(squeeze, graph, _contrast(graph, x)))
    return graph.add("Mul", x, graph.add("Sigmoid", _write(excite, graph, weight)))


@_write.register
def _rfdb(module: RFDB, graph: _Graph, x: Value) -> Value:
    distilled, r = _distilled(module, graph, x)
    distilled.append(_activated(module.c4, graph, r))
    return _attended(module, graph, graph.add("Concat", *distilled, axis=1), x)


@_write.register
def _plain_block(module: PlainBlock, graph: _Graph, x: Value) -> Value:
    r = x
    for step in (module.c1_r, module.c2_r, module.c3_r, module.c4):
        r = _activated(step, graph, r)
    return _attended(module, graph, r, x)


@_write.register
def _imdb(module: IMDB, graph: _Graph, x: Value) -> Value:
    distilled, r = [], x
    for step in (module.c1, module.c2, module.c3):
        kept, r = graph.split(_activated(step, graph, r), module.parts)
        distilled.append(kept)
    distilled.append(_write(module.c4, graph, r))
    return _fused(module, graph, distilled, x)


@_write.register
def _imdb_r(module: IMDBR, graph: _Graph, x: Value) -> Value:
    distilled, r = _distilled(module, graph, x)
    distilled.append(_write(module.c4, graph, r))
    return _fused(module, graph, distilled, x)


@_write.register
def _network(net: Network, graph: _Graph, x: Value) -> Value:
    shallow = _write(net.fea_conv, graph, x)
    maps = [shallow]
    for name in net.block_names:
        maps.append(_write(net.get_submodule(name), graph, maps[-1]))
    deep = _activated(net.c[0], graph, graph.add("Concat", *maps[1:], axis=1))
    y = graph.add("Add", _write(net.LR_conv, graph, deep), shallow)
    y = _write(net.upsampler[0], graph, y)
    return graph.add("DepthToSpace", y, blocksize=net.options.scale, mode="CRD")  # as torch's pixel_shuffle


def _distilled(block: RFDB | IMDBR, graph: _Graph, x: Value) -> tuple[list[Value], Value]:
    """Three steps of a block whose parts have convolutions of their own: the parts kept, and the last one refined."""
    kept, r = [], x
    for k in (1, 2, 3):
        kept.append(_activated(block.get_submodule(f"c{k}_d"), graph, r))
        r = _activated(block.get_submodule(f"c{k}_r"), graph, r)
    return kept, r


def _fused(block: IMDB | IMDBR, graph: _Graph, distilled: list[Value], x: Value) -> Value:
    """The end of a block of IMDN that began with `x`."""
    y = _write(block.cca, graph, graph.add("Concat", *distilled, axis=1))
    return graph.add("Add", _write(block.c5, graph, y), x)


def _attended(block: RFDB | PlainBlock, graph: _Graph, distilled: Value, x: Value) -> Value:
    """The end of a block of RFDN that began with `x`."""
    y = _write(block.get_submodule(block.attention), graph, _write(block.c5, graph, distilled))
    return graph.add("Add", y, x) if block.residual else y


def _contrast(graph: _Graph, x: Value) -> Value:
    """blocks.contrast."""
    mean = graph.add("GlobalAveragePool", x)
    off = graph.add("Sub", x, mean)
    deviation = graph.add("Sqrt", graph.add("GlobalAveragePool", graph.add("Mul", off, off)))
    return graph.add("Add", deviation, mean)


def _activated(module: nn.Module, graph: _Graph, x: Value) -> Value:
    return graph.add("LeakyRelu", _write(module, graph, x), alpha=NEGATIVE_SLOPE)
