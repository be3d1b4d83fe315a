"""The network against the formulas, its published counts, its rewrites and its use of memory."""

import weakref
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rfdn_stream.errors import ModelError, UsageError
from rfdn_stream.nets.blocks import FusingConv, ResidualConv
from rfdn_stream.nets.complexity import count, macs_for_output
from rfdn_stream.nets.fold import VALUE_RANGES, fold
from rfdn_stream.nets.rfdn import PRESETS, RFDN, RFDNOptions, preset

SMALL = {
    "esa": RFDNOptions(channels=8, blocks=2, attention="esa", block_residual=False, scale=2),
    "cca": RFDNOptions(channels=12, blocks=3, attention="cca", block_residual=True, scale=3),
    "mixed": RFDNOptions(channels=10, blocks=1, attention="esa", block_residual=True, scale=4, distillation=0.25),
}


def network(options, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return RFDN(options).to(dtype)


def by_the_formulas(state, options, x):
    """RFDN once more: straight from the paper's formulas and the names in the weights, nothing in place."""

    def conv(name, x, padding=0, stride=1):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding, stride=stride)

    def act(x):
        return torch.where(x > 0, x, 0.05 * x)

    def esa(name, x):
        near = conv(f"{name}.conv1", x)
        far = F.max_pool2d(conv(f"{name}.conv2", near, stride=2), 7, 3)
        far = torch.relu(conv(f"{name}.conv_max", far, 1))
        far = conv(f"{name}.conv3_", torch.relu(conv(f"{name}.conv3", far, 1)), 1)
        far = F.interpolate(far, x.shape[2:], mode="bilinear", align_corners=False)
        return x / (1 + torch.exp(-conv(f"{name}.conv4", far + conv(f"{name}.conv_f", near))))

    def cca(name, x):
        mean = x.mean((2, 3), keepdim=True)
        contrast = ((x - mean) ** 2).mean((2, 3), keepdim=True).sqrt() + mean
        return x / (1 + torch.exp(-conv(f"{name}.conv2", torch.relu(conv(f"{name}.conv1", contrast)))))

    def block(name, x):
        distilled, r = [], x
        for step in "123":
            distilled.append(act(conv(f"{name}.c{step}_d", r)))
            r = act(conv(f"{name}.c{step}_r", r, 1) + r)
        distilled.append(act(conv(f"{name}.c4", r, 1)))
        attention = {"esa": esa, "cca": cca}[options.attention]
        y = attention(f"{name}.{options.attention}", conv(f"{name}.c5", torch.cat(distilled, 1)))
        return y + x if options.block_residual else y

    first = conv("fea_conv", x, 1)
    features = [first]
    for k in range(1, options.blocks + 1):
        features.append(block(f"B{k}", features[-1]))
    deep = conv("LR_conv", act(conv("c.0", torch.cat(features[1:], 1))), 1)
    return F.pixel_shuffle(conv("upsampler.0", deep + first, 1), options.scale)


@pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)
def test_network_is_what_the_formulas_say(options):
    net = network(options)
    x = torch.rand(2, 3, 19, 34, dtype=torch.float64)
    torch.testing.assert_close(net(x), by_the_formulas(net.state_dict(), options, x), rtol=0, atol=1e-12)


COUNTS = {  # parameters, and G mult-adds for a 1280x720 output, at x2, x3 and x4
    "E-RFDN": ((417_212, 91.31), (423_977, 41.27), (433_448, 23.76)),
    "RFDN": ((534_036, 120.93), (540_531, 54.41), (549_624, 31.13)),
    "RFDN-L": ((625_962, 141.79), (632_997, 63.74), (642_846, 36.42)),
}


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_papers(name, scale):
    with torch.device("meta"):
        net = RFDN(preset(name, scale))
    parameters, giga_macs = COUNTS[name][scale - 2]
    assert count(net, 64, 64).parameters == parameters
    assert round(macs_for_output(net, scale) / 1e9, 2) == giga_macs


def test_counts_are_the_challenges():
    net = RFDN(preset("E-RFDN", 4))
    cost = count(net, 256, 256)
    assert (round(cost.macs / 1e9, 2), round(cost.activations / 1e6, 2), cost.convolutions) == (27.03, 112.03, 64)
    assert count(fold(net), 256, 256) == cost  # folding takes additions away, no convolution
    assert net.fea_conv.weight.device.type == "cpu"  # counting leaves the network alone
    assert not any(module._forward_hooks for module in net.modules())


def test_spatial_attention_needs_fifteen_pixels_and_channel_attention_one():
    net = network(SMALL["esa"])
    assert net(torch.rand(1, 3, 15, 15, dtype=torch.float64)).shape == (1, 3, 30, 30)
    with pytest.raises(ModelError, match="15x15 pixels or more, got 40x14"):
        net(torch.rand(1, 3, 14, 40, dtype=torch.float64))
    assert network(SMALL["cca"])(torch.rand(1, 3, 1, 1, dtype=torch.float64)).shape == (1, 3, 3, 3)


@pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)
def test_gradients_are_right_in_spite_of_the_work_in_place(options):
    net = network(options)
    parameters = dict(net.named_parameters())

    def run(x, *values):
        return torch.func.functional_call(net, dict(zip(parameters, values, strict=True)), (x,))

    x = torch.rand(1, 3, 15, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *parameters.values()), fast_mode=True)


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


class PeakOfMemory(TorchDispatchMode):
    """Counts the elements of all tensors made inside that are alive at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak, self._views = 0, 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        output = function(*args, **(kwargs or {}))
        for tensor in (t for t in tree_leaves(output) if isinstance(t, torch.Tensor)):
            storage = tensor.untyped_storage()._cdata
            foreign = storage not in self._views and any(t.untyped_storage()._cdata == storage for t in inputs)
            if not foreign and not any(t is tensor for t in inputs):
                self._hold(tensor, storage)
        return output

    def _hold(self, tensor, storage):
        if storage not in self._views:
            self.alive += tensor.numel()
            self.peak = max(self.peak, self.alive)
        self._views[storage] = self._views.get(storage, 0) + 1
        weakref.finalize(tensor, self._release, storage, tensor.numel())

    def _release(self, storage, elements):
        self._views[storage] -= 1
        if not self._views[storage]:
            del self._views[storage]
            self.alive -= elements


@pytest.mark.parametrize("name", PRESETS)
def test_peak_of_memory_is_what_engines_are_told(name):
    with torch.device("meta"):
        net = fold(RFDN(preset(name, 2)))
        x = torch.empty(1, 3, 90, 160)
    with torch.no_grad(), PeakOfMemory() as memory:
        net(x)
    assert memory.peak / (90 * 160) == pytest.approx(net.options.activation_floats_per_pixel, abs=1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 5}, "enlarges by 2, 3 or 4, not by 5"),
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
