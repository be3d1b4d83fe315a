"""Weights files: what is read, what is recognised, what is refused, and what is written."""

import os
import pickle
import zipfile
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets import checkpoint
from rfdn_stream.nets.base import Network, architectures, named
from rfdn_stream.nets.catalogue import spec
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.rfdn import PRESETS, RFDN, RFDNOptions

TINY = RFDNOptions(channels=8, blocks=2)


def network(options=TINY, seed=0):
    torch.manual_seed(seed)
    return RFDN(options)


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert got[name].dtype == torch.float32
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=0)


def refused(path_or_state, *words):
    """Reading it fails with one line that says all of `words`."""
    with pytest.raises(ModelError) as failure:
        checkpoint.build(*(checkpoint.load(path_or_state) if isinstance(path_or_state, os.PathLike) else path_or_state))
    message = str(failure.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "options",
    [
        *(replace(o, scale=s) for o, s in zip(PRESETS.values(), (4, 3, 2), strict=True)),
        replace(TINY, block_residual=True),
        replace(TINY, attention="cca"),
        replace(TINY, channels=12, distillation=0.25),
    ],
)
def test_saved_networks_come_back(options, tmp_path):
    net = network(options).to(memory_format=torch.channels_last)
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, net, {"value_range": "0..255", "training": "none"})
    state, metadata = checkpoint.load(path)
    back, found = checkpoint.build(state, metadata)
    assert_same(back.state_dict(), net.state_dict())
    assert found == checkpoint.Description("rfdn", options, "0..255")
    assert metadata["training"] == "none"
    assert all(p.requires_grad and p.device.type == "cpu" for p in back.parameters())
    assert os.listdir(tmp_path) == ["net.safetensors"]


EVERY = {name: kind for kind in architectures().values() for name in (*kind.published, *kind.variants)}


@pytest.mark.parametrize("name", EVERY)
def test_every_network_there_is_comes_back(name, tmp_path):
    architecture, options = named(name, 3)
    net = EVERY[name](options)
    assert isinstance(net, Network)
    assert net.metadata()["architecture"] == name
    checkpoint.save(tmp_path / "net.safetensors", net, {"value_range": "0..1"})
    back, found = checkpoint.build(*checkpoint.load(tmp_path / "net.safetensors"))
    assert found == checkpoint.Description(architecture, options, "0..1")
    assert_same(back.state_dict(), net.state_dict())
    if name in EVERY[name].published:  # these are recognised by their shapes alone
        _, found = checkpoint.build(net.state_dict(), {"value_range": "0..1"})
        assert found.options == options


def test_networks_go_by_one_name_each():
    assert len(EVERY) == sum(len(kind.published) + len(kind.variants) for kind in architectures().values())
    with pytest.raises(UsageError, match=r"unknown network 'EDSR'; available: E-RFDN, RFDN, RFDN-L, .*IMDN"):
        named("EDSR", 2)


WRAPPERS = {
    "bare": lambda s: s,
    "from DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "params": lambda s: {"params": s},
    "average first": lambda s: {"params": {k: v + 1 for k, v in s.items()}, "params_ema": s},
    "training state": lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"lr": 1e-3}},
    "model": lambda s: {"model": {f"module.{k}": v for k, v in s.items()}},
    "nested": lambda s: {"state_dict": {"params_ema": s}},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "pickle"])
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_pytorch_checkpoints_in_all_their_wrappers(wrap, zipped, tmp_path):
    state = network().state_dict()
    torch.save(wrap(state), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    got, metadata = checkpoint.load(tmp_path / "net.pth")
    assert_same(got, state)
    assert metadata == {}


def test_the_extension_does_not_matter(tmp_path):
    torch.save(network().state_dict(), tmp_path / "net.safetensors")
    save_file(network().state_dict(), tmp_path / "net.pth")
    for path in tmp_path.iterdir():
        assert_same(checkpoint.load(path)[0], network().state_dict())


def test_half_precision_is_read_as_float32():
    state = {name: tensor.half() for name, tensor in network().state_dict().items()}
    net, _ = checkpoint.build(state, {"value_range": "0..1"})
    assert_same(net.state_dict(), {name: tensor.float() for name, tensor in state.items()})


def bundled(value_range, name):
    """Bundled weights, rewritten to work on another value range; exact up to rounding."""
    state, _ = checkpoint.load(spec(name).path)
    peak = {"0..1": 1, "0..255": 255}[value_range]
    state["fea_conv.weight"] /= peak
    state["upsampler.0.weight"] *= peak
    state["upsampler.0.bias"] *= peak
    return state


@pytest.mark.parametrize("name", ["erfdn-x2-clean", "erfdn-x2-video"])
@pytest.mark.parametrize("value_range", ["0..1", "0..255"])
def test_value_range_is_measured_where_nothing_tells_it(value_range, name):
    _, found = checkpoint.build(bundled(value_range, name), {})
    assert found.value_range == value_range


def test_value_range_is_believed_where_the_metadata_tells_it():
    _, found = checkpoint.build(bundled("0..1", "erfdn-x2-clean"), {"value_range": "0..255"})
    assert found.value_range == "0..255"
    refused((network().state_dict(), {"value_range": "-1..1"}), "'-1..1'", "0..1, 0..255")


def changed(**changes):
    """A tiny state dict with some tensors replaced; None takes one away."""
    state = {**network().state_dict(), **{name.replace("__", "."): tensor for name, tensor in changes.items()}}
    return {name: tensor for name, tensor in state.items() if tensor is not None}, {"value_range": "0..1"}


def test_weights_of_another_network_are_named():
    other = {f"body.{k}.weight": torch.zeros(4, 4, 3, 3) for k in range(9)}
    refused((other, {}), "another network's", "9 tensors, body.0.weight [4, 4, 3, 3]", "expected RFDN (fea_conv,")
    refused((torch.nn.Linear(3, 4).state_dict(), {}), "weight [4, 3]", "or IMDN (fea_conv, IMDB1.c1")
    refused(changed(fea_conv__weight=torch.tensor(1.0)), "another network's")
    refused(changed(fea_conv__weight=torch.zeros(0, 3, 3, 3)), "another network's")
    refused(changed(B1__c4__weight=None), "nearest is E-RFDN: missing B1.c4.weight and 60 more")
    refused(changed(B1__c1_d__bias=None, B2__c5__weight=None), "missing B1.c1_d.bias and 1 more")
    refused(changed(head__weight=torch.zeros(1)), "unexpected head.weight")
    wide = torch.zeros(8, 9, 3, 3)
    refused(changed(LR_conv__weight=wide), "LR_conv.weight is [8, 9, 3, 3] and should be [8, 8, 3, 3]", "channels=8")
    refused(changed(upsampler__0__weight=torch.zeros(75, 8, 3, 3)), "enlarges by 2, 3 or 4, not by 5")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_numbers_are_named(value):
    bias = torch.zeros(8)
    bias[5] = value
    refused(changed(B2__c3_r__bias=bias), "B2.c3_r.bias holds values that are not finite")


def test_whole_numbers_are_no_weights():
    for kind in (torch.int8, torch.complex64):
        name = str(kind).removeprefix("torch.")
        refused(changed(B2__c3_r__bias=torch.zeros(8, dtype=kind)), f"weights are {name} numbers (B2.c3_r.bias)")


def test_another_network_is_told_before_its_numbers_are_looked_at():
    normed = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).state_dict()
    refused((normed, {}), "another network's", "0.weight [8, 3, 3, 3]")
    refused(({"weight": torch.full((3,), torch.nan)}, {}), "another network's")


class Stranger:
    """Something that a checkpoint must not bring to life."""

    def __reduce__(self):
        return (pytest.fail, ("the checkpoint ran code",))


def test_files_that_are_no_weights(tmp_path):
    path = tmp_path / "net.pth"
    refused(path, "there is no weights file", "net.pth", "rfdn-stream models")
    refused(tmp_path, "is a folder")
    path.write_bytes(b"")
    refused(path, "is empty", "download it again")
    path.write_text("<!DOCTYPE html><html>not found</html>")
    refused(path, "neither a safetensors file nor a PyTorch checkpoint")
    path.write_text("short")
    refused(path, "neither")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<text/>")
    refused(path, "net.pth is damaged or holds more than weights")
    path.write_bytes(pickle.dumps({"params": Stranger()}))
    refused(path, "save the network's state_dict() alone")
    for content in ([], {}, {"epoch": 3}, {"state_dict": None}, [torch.zeros(3)]):
        torch.save(content, path)
        refused(path, "holds no state dict of tensors")
    ring = {}
    ring["model"] = ring
    torch.save(ring, path)
    refused(path, "holds no state dict of tensors")
    torch.save({"weight\x1b[2J\n": torch.zeros(3)}, path)
    refused(path, "names of its tensors are not text")


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
def test_tensors_that_are_not_plain_are_named(tmp_path):
    for tensor in (torch.eye(3).to_sparse(), torch.zeros(3, device="meta")):
        torch.save({"weight": tensor}, tmp_path / "net.pth")
        refused(tmp_path / "net.pth", "holds weight without its numbers side by side")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same tiny network in every format, as bytes, and a file to spoil."""
    folder = tmp_path_factory.mktemp("whole")
    state = network().state_dict()
    save_file(state, folder / "a", {"value_range": "0..1"})
    torch.save(state, folder / "b")
    torch.save(state, folder / "c", _use_new_zipfile_serialization=False)
    return [path.read_bytes() for path in sorted(folder.iterdir())], folder / "spoilt"


@settings(max_examples=60)
@given(st.data())
def test_truncated_files_are_refused(files, data):
    contents, path = files
    content = data.draw(st.sampled_from(contents))
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    refused(path, str(path))


@settings(max_examples=150)
@given(st.data())
def test_spoilt_files_are_read_or_refused_and_nothing_else(files, data):
    contents, path = files
    content = bytearray(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 3000) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        checkpoint.build(*checkpoint.load(path))
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, network(), {})
    before = path.read_bytes()

    def full(_source, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ModelError, match=r"cannot be written to .*net\.safetensors: No space left on device"):
        checkpoint.save(path, network(seed=1), {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.safetensors"]
    with pytest.raises(ModelError, match="No such file or directory"):
        checkpoint.save(tmp_path / "no folder" / "net.safetensors", network(), {})


def test_folded_networks_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="folded"):
        checkpoint.save(tmp_path / "net.safetensors", fold(network()), {})
    assert not os.listdir(tmp_path)
