"""RFDN against its formulas, its rewrites and its use of memory."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from formulas import ReferenceRFDN, assert_same_gradients
from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets.blocks import FusingConv, ResidualConv
from rfdn_stream.nets.fold import VALUE_RANGES, fold
from rfdn_stream.nets.rfdn import PRESETS, RFDN, RFDNOptions, preset
from support import peak_of_memory

SMALL = {
    "esa": RFDNOptions(channels=8, blocks=2, attention="esa", block_residual=False, scale=2),
    "cca": RFDNOptions(channels=12, blocks=3, attention="cca", block_residual=True, scale=3),
    "mixed": RFDNOptions(channels=10, blocks=1, attention="esa", block_residual=True, scale=4, distillation=0.25),
}


def network(options, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return RFDN(options).to(dtype)


@pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)
def test_network_is_what_the_formulas_say(options):
    net = network(options)
    x = torch.rand(2, 3, 19, 34, dtype=torch.float64)
    torch.testing.assert_close(net(x), ReferenceRFDN(net.state_dict(), options)(x), rtol=0, atol=1e-12)


def test_spatial_attention_needs_fifteen_pixels_and_channel_attention_one():
    net = network(SMALL["esa"])
    assert net(torch.rand(1, 3, 15, 15, dtype=torch.float64)).shape == (1, 3, 30, 30)
    with pytest.raises(ModelError, match="15x15 pixels or more, got 40x14"):
        net(torch.rand(1, 3, 14, 40, dtype=torch.float64))
    assert network(SMALL["cca"])(torch.rand(1, 3, 1, 1, dtype=torch.float64)).shape == (1, 3, 3, 3)


@pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)
def test_gradients_are_right_in_spite_of_the_work_in_place(options):
    assert_same_gradients(network(options), ReferenceRFDN)


def test_constant_pictures_train_channel_attention():
    """The standard deviation's slope is infinite at zero; it must not reach the weights."""
    net = network(SMALL["cca"])
    torch.nn.init.zeros_(net.fea_conv.weight)
    net(torch.zeros(1, 3, 1, 1, dtype=torch.float64)).sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_fusing_is_the_convolution_of_the_concatenation():
    torch.manual_seed(0)
    fusing = FusingConv(3, 4, 5).double()
    maps = torch.rand(3, 2, 4, 6, 7, dtype=torch.float64)
    want = F.conv2d(torch.cat(list(maps), 1), fusing.weight, fusing.bias)
    torch.testing.assert_close(fusing(iter(maps)), want, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="zip"):
        fusing(maps[:2])


@pytest.mark.parametrize("value_range", VALUE_RANGES)
@pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)
def test_folding_changes_nothing_but_the_work(options, value_range):
    net = network(options)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x, peak = torch.rand(1, 3, 20, 33, dtype=torch.float64), VALUE_RANGES[value_range]
    want = net(x * peak) / peak
    folded = fold(net, value_range)
    torch.testing.assert_close(folded(x), want, rtol=0, atol=1e-13)
    torch.testing.assert_close(fold(net.float(), value_range)(x.float()), want.float(), rtol=0, atol=1e-5)
    assert not any(isinstance(module, ResidualConv) for module in folded.modules())
    assert not folded(x).requires_grad
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name].float())


@pytest.mark.parametrize("name", PRESETS)
def test_peak_of_memory_is_what_engines_are_told(name):
    options = preset(name, 2)
    assert peak_of_memory(RFDN(options)) == pytest.approx(options.activation_floats_per_pixel, abs=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 5}, "enlarges by 2, 3 or 4, not by 5"),
        ({"block": "rfb"}, "unknown block 'rfb'; available: rfdb, fdc, srb, base"),
        ({"attention": "none"}, "unknown attention 'none'; available: esa, cca"),
        ({"channels": 3}, "takes 4 channels and 1 block or more, not 3 and 4"),
        ({"blocks": 0}, "not 50 and 0"),
        ({"distillation": 0.0}, "rate lies above 0 and up to 1"),
        ({"distillation": 0.001}, "rate lies above 0 and up to 1"),
    ],
)
def test_options_check_themselves(changes, words):
    with pytest.raises(UsageError, match=words):
        replace(RFDNOptions(), **changes)


def test_unknown_preset_lists_the_known():
    with pytest.raises(UsageError, match="unknown network 'SRCNN'; available: E-RFDN, RFDN, RFDN-L"):
        preset("SRCNN", 2)
