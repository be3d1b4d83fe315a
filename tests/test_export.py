"""ONNX files against torch, in the runtimes that will read them."""

import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import nn

from rfdn_stream import registry
from rfdn_stream.cli.app import run
from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.jobs.export import export
from rfdn_stream.nets import checkpoint
from rfdn_stream.nets import onnx as nets_onnx
from rfdn_stream.nets.base import architectures
from rfdn_stream.nets.catalogue import open_model, spec
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.onnx import OPSETS, to_onnx
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions

CLEAN = "erfdn-x2-clean"
SHAPES = [(1, 15, 15), (3, 16, 31), (1, 45, 38), (2, 23, 37)]  # the least, odd ones, batches


def random_network(**options):
    return initialised(RFDN(RFDNOptions(**{"channels": 12, "blocks": 2, **options})))


def initialised(net):
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return net.eval().requires_grad_(False)


def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def assert_same_pictures(net, run_onnx, shapes=SHAPES, atol=1e-5):
    for batch, height, width in shapes:
        picture = torch.rand(batch, 3, height, width)
        got, want = run_onnx(picture.numpy()), net(picture).numpy()
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=0, atol=atol)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("attention", "residual"), [("esa", False), ("cca", True), ("esa", True)])
def test_every_kind_of_attention_and_scale(attention, residual, scale):
    net = random_network(scale=scale, attention=attention, block_residual=residual, distillation=0.25)
    for network in (net, fold(net)):
        onnx_session = session(to_onnx(network, {}))
        assert_same_pictures(network, lambda x, s=onnx_session: s.run(None, {"input": x})[0])
    if attention == "cca":
        assert_same_pictures(network, lambda x: onnx_session.run(None, {"input": x})[0], [(1, 1, 1), (1, 2, 5)])


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        (name, options)
        for name, kind in architectures().items()
        for options in {o.block: o for o in {**kind.published, **kind.variants}.values()}.values()
    ],
    ids=lambda value: value if isinstance(value, str) else value.block,
)
def test_every_block_of_every_architecture(architecture, options):
    kind = registry.load(registry.ARCHITECTURES, architecture, "architecture")
    net = initialised(kind(replace(options, channels=32, blocks=2)))
    onnx_session = session(to_onnx(net, {}))
    assert_same_pictures(net, lambda x: onnx_session.run(None, {"input": x})[0])


@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset(opset):
    net = random_network(blocks=1)
    for fp16 in (False, True):
        model = to_onnx(net, {}, opset=opset, fp16=fp16)
        assert model.opset_import[0].version == opset
        run_onnx = session(model)
        assert_same_pictures(
            net, lambda x, s=run_onnx: s.run(None, {"input": x})[0], SHAPES[:2], 2e-3 if fp16 else 1e-5
        )
    with pytest.raises(UsageError, match="opset 12 is not supported; choose 13 to 22"):
        to_onnx(net, {}, opset=12)


def test_half_precision_inside_and_not_at_the_ends():
    model = to_onnx(fold(random_network()), {}, fp16=True)
    assert {w.data_type for w in model.graph.initializer} == {TensorProto.FLOAT16}
    ends = [end.type.tensor_type.elem_type for end in (*model.graph.input, *model.graph.output)]
    assert ends == [TensorProto.FLOAT, TensorProto.FLOAT]
    inner = onnx.shape_inference.infer_shapes(model).graph.value_info
    kinds = {v.name: v.type.tensor_type.elem_type for v in inner}
    assert kinds["B1.c1_d"] == kinds["upsampler.0"] == TensorProto.FLOAT16


def test_what_video_programs_ask_of_a_model():
    """vs-mlrt sets the input's sides and both batches, infers shapes, and reads the output's."""
    model = to_onnx(open_model(CLEAN)[0], {})
    (given,), (made,) = model.graph.input, model.graph.output
    assert (given.name, made.name) == ("input", "output")
    dims = given.type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 3, "height", "width"]
    for dim, value in zip(dims, (1, 3, 27, 33), strict=True):
        dim.dim_value = value
    made.type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output[0]
    assert [d.dim_value for d in inferred.type.tensor_type.shape.dim] == [1, 3, 54, 66]
    assert session(model).get_outputs()[0].shape == [1, 3, 54, 66]
    assert len(model.graph.node) <= 132


def test_openvino_reads_it_too(tmp_path):
    openvino = pytest.importorskip("openvino")
    net = random_network()
    onnx.save(to_onnx(net, {}), tmp_path / "net.onnx")
    compiled = openvino.Core().compile_model(tmp_path / "net.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert_same_pictures(net, lambda x: compiled([x])[0])


def test_a_network_of_other_parts_is_refused():
    net = random_network()
    net.LR_conv = nn.Identity()
    with pytest.raises(ModelError, match="a network with Identity cannot be exported"):
        to_onnx(net, {})


def test_the_file_says_what_it_is(tmp_path, capsys):
    target = tmp_path / "clean.onnx"
    assert run(["export", CLEAN, str(target)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "fp32, opset 17, 132 nodes, 1.7 MB; checked, at most" in said.err.replace("\n", "")
    assert "at 15x15, 37x23 (batch of 2), 128x96" in said.err
    assert len(said.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["clean.onnx"]
    told = onnxruntime.InferenceSession(target).get_modelmeta().custom_metadata_map
    known = spec(CLEAN)
    assert told["name"] == CLEAN
    assert (told["scale"], told["minimum_size"], told["value_range"]) == ("2", "15", "0..1")
    assert (told["licence"], told["source"], told["weights_sha256"]) == (known.licence, known.source, known.sha256)
    assert told["Image.BitmapPixelFormat"] == "Rgb8"
    assert told["Image.NominalPixelRange"] == "Normalized_0_1"


def test_a_network_of_0_to_255_takes_0_to_1_as_a_file(tmp_path):
    """The range is folded in: the same weights saved for 0..255 give the same pictures."""
    net = random_network(blocks=1)
    net.fea_conv.weight.data /= 255
    net.upsampler[0].weight.data *= 255
    net.upsampler[0].bias.data *= 255
    checkpoint.save(tmp_path / "wide.safetensors", net, {"value_range": "0..255"})
    result = export(tmp_path / "wide.safetensors", tmp_path / "wide.onnx")
    assert result.agreement.difference < 1e-5
    assert_same_pictures(
        open_model(tmp_path / "wide.safetensors")[0],
        lambda x: onnxruntime.InferenceSession(result.target).run(None, {"input": x})[0],
    )
    with pytest.raises(UsageError, match="wide was not measured in fp16; leave out --fp16"):
        export(tmp_path / "wide.safetensors", tmp_path / "half.onnx", fp16=True)


def test_half_precision_is_measured(tmp_path, tiny_model):
    result = export(tiny_model, tmp_path / "half.onnx", fp16=True)
    assert 60 < result.agreement.psnr < 120  # rounded, and not by much
    assert f"({result.agreement.psnr:.1f} dB)" in str(result)
    assert result.size < export(tiny_model, tmp_path / "full.onnx").size


@pytest.mark.parametrize(("fp16", "allowed"), [(False, r"must be at most 0\.0001"), (True, "must be at least 60 dB")])
def test_a_file_that_does_something_else_is_not_left(tmp_path, tiny_model, monkeypatch, fp16, allowed):
    monkeypatch.setattr(nets_onnx, "NEGATIVE_SLOPE", 0.5)
    with pytest.raises(ModelError, match=allowed):
        export(tiny_model, tmp_path / "wrong.onnx", fp16=fp16)
    assert list(tmp_path.iterdir()) == []
    assert export(tiny_model, tmp_path / "wrong.onnx", fp16=fp16, check=False).agreement is None


def test_missing_packages_are_named(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"onnxruntime is not installed; pip install 'rfdn-stream\[export\]', or pass"):
        export(tiny_model, tmp_path / "out.onnx")
    assert "not checked" in str(export(tiny_model, tmp_path / "out.onnx", check=False))
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "rfdn_stream.nets.onnx")
    monkeypatch.delattr(sys.modules["rfdn_stream.nets"], "onnx")
    with pytest.raises(UsageError, match=r"the package onnx is not installed; pip install 'rfdn-stream\[export\]'$"):
        export(tiny_model, tmp_path / "out.onnx", overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([CLEAN, "there.onnx"], "exists; pass --overwrite"),
        ([CLEAN, "out.bin"], r"let its name end in \.onnx"),
        ([CLEAN, "no/out.onnx"], "does not exist; create it first"),
        (["erfdn-x2-clear", "out.onnx"], "there is no model 'erfdn-x2-clear'"),
        (["missing.pth", "out.onnx"], r"no weights file missing\.pth"),
        ([CLEAN, "out.onnx", "--opset", "9"], "opset 9 is not supported; choose 13 to 22"),
    ],
)
def test_wrong_requests_leave_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_text("precious")
    with pytest.raises((UsageError, ModelError), match=message):
        run(["export", *arguments])
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_text() == "precious"
