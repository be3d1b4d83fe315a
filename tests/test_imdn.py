"""IMDN against its formulas, its authors' layout, and the rethought block that does the same."""

from dataclasses import replace

import pytest
import torch

from formulas import ReferenceIMDN, assert_same_gradients
from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets import checkpoint
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.fold import VALUE_RANGES, fold
from rfdn_stream.nets.imdn import IMDN, IMDNOptions, imdb_r_from_imdb
from support import peak_of_memory

SMALL = {
    "narrow": IMDNOptions(channels=16, blocks=2),
    "imdb-r": IMDNOptions(channels=16, blocks=2, scale=4, block="imdb-r"),
    "half": IMDNOptions(channels=10, blocks=1, scale=3, distillation=0.5),
}

every_network = pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)


def network(options, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return IMDN(options).to(dtype)


def authors_names():
    """The names in the authors' published weights."""
    block = ("c1", "c2", "c3", "c4", "c5", "cca.conv_du.0", "cca.conv_du.2")
    modules = ["fea_conv", *(f"IMDB{k}.{name}" for k in range(1, 7) for name in block), "c.0", "LR_conv", "upsampler.0"]
    return [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]


def test_names_and_shapes_are_the_authors():
    state = network(IMDNOptions(scale=4)).state_dict()
    assert list(state) == authors_names()
    shapes = {name: list(tensor.shape) for name, tensor in state.items()}
    assert shapes["IMDB3.c2.weight"] == [64, 48, 3, 3]
    assert shapes["IMDB6.c4.weight"] == [16, 48, 3, 3]
    assert shapes["IMDB1.cca.conv_du.0.weight"] == [4, 64, 1, 1]
    assert shapes["upsampler.0.weight"] == [48, 64, 3, 3]


@pytest.mark.parametrize("options", [SMALL["narrow"], SMALL["half"]], ids=["narrow", "half"])
def test_network_is_what_the_formulas_say(options):
    net = network(options)
    x = torch.rand(2, 3, 13, 18, dtype=torch.float64)
    torch.testing.assert_close(net(x), ReferenceIMDN(net.state_dict(), options)(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rethought_it_does_the_same(scale):
    """On whole networks of the published size."""
    options = IMDNOptions(scale=scale)
    net, rethought = network(options), network(replace(options, block="imdb-r"), seed=1)
    rethought.load_state_dict(imdb_r_from_imdb(net.state_dict()))
    x = torch.rand(1, 3, 12, 17, dtype=torch.float64)
    torch.testing.assert_close(rethought(x), net(x), rtol=0, atol=1e-10)
    assert net(x).std() > 0.01  # there is something to tell apart


@pytest.mark.parametrize("value_range", VALUE_RANGES)
@every_network
def test_folding_is_exact(options, value_range):
    net, peak = network(options), VALUE_RANGES[value_range]
    x = torch.rand(1, 3, 9, 14, dtype=torch.float64)
    folded = fold(net, value_range)
    torch.testing.assert_close(folded(x), net(x * peak) / peak, rtol=0, atol=1e-13)
    assert folded.folded
    assert not net.folded


@pytest.mark.parametrize("options", [SMALL["narrow"], SMALL["half"]], ids=["narrow", "half"])
def test_gradients_are_right_in_spite_of_the_work_in_place(options):
    assert_same_gradients(network(options), ReferenceIMDN)


@pytest.mark.parametrize("block", ["imdb", "imdb-r"])
@pytest.mark.parametrize("distillation", [0.0625, 0.25, 0.75])
def test_peak_of_memory_is_what_engines_are_told(block, distillation):
    options = IMDNOptions(blocks=3, block=block, distillation=distillation)
    assert peak_of_memory(IMDN(options)) == pytest.approx(options.activation_floats_per_pixel, abs=1)


@every_network
def test_saved_networks_come_back_and_open(options, tmp_path):
    net = network(options, torch.float32)
    path = tmp_path / "mine.safetensors"
    checkpoint.save(path, net, {"value_range": "0..1"})
    opened, model = open_model(path)
    assert (model.architecture, model.options, model.scale, model.minimum_size) == ("imdn", options, options.scale, 1)
    assert model.parameters == sum(p.numel() for p in net.parameters())
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(opened(x), net(x), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="folded"):
        checkpoint.save(path, opened, {})


def test_shapes_tell_everything():
    for options in (*SMALL.values(), IMDNOptions(channels=48, blocks=3, scale=4)):
        _, found = checkpoint.build(network(options).state_dict(), {"value_range": "0..1"})
        assert found == checkpoint.Description("imdn", options, "0..1")


def test_weights_that_are_nearly_an_imdn_are_told_apart():
    state = network(SMALL["narrow"]).state_dict()
    for name in ("fea_conv.weight", "fea_conv.bias"):  # as in the authors' network for any scale, IMDN_AS
        state[name.replace("v.", "v.0.")] = state.pop(name)
    with pytest.raises(ModelError) as failure:
        checkpoint.build(state, {})
    message = str(failure.value)
    assert "another network's" in message
    assert "expected RFDN (fea_conv, B1.c1_d, ..., LR_conv, upsampler.0) or IMDN (fea_conv, IMDB1.c1" in message
    assert "nearest is IMDN: missing fea_conv.weight and 57 more; unexpected fea_conv.0.weight and 1 more" in message
    assert "\n" not in message


def test_weights_that_do_not_fit_name_what_differs():
    state = network(SMALL["narrow"]).state_dict()
    del state["IMDB2.c3.bias"]
    state["IMDB1.c5.weight"] = torch.zeros(16, 12, 1, 1)
    with pytest.raises(ModelError, match=r"missing IMDB2\.c3\.bias; IMDB1\.c5\.weight is \[16, 12, 1, 1\] and should"):
        checkpoint.build(state, {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 5}, "an IMDN enlarges by 2, 3 or 4, not by 5"),
        ({"block": "rfdb"}, "unknown block 'rfdb'; available: imdb, imdb-r"),
        ({"blocks": 0}, "1 block or more, not 0"),
        ({"distillation": 0.01}, "keeps 4 channels or more of each step, and not all, not 0.01 of 64"),
        ({"distillation": 1.0}, "not 1.0 of 64"),
    ],
)
def test_options_check_themselves(changes, words):
    with pytest.raises(UsageError, match=words):
        replace(IMDNOptions(), **changes)
