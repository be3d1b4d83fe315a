"""The RFDN paper's ablation family: four blocks, and distillation rates other than 0.5."""

from dataclasses import replace

import pytest
import torch

from formulas import ReferenceRFDN, assert_same_gradients
from rfdn_stream.errors import ModelError
from rfdn_stream.nets import checkpoint
from rfdn_stream.nets.base import blank, named
from rfdn_stream.nets.complexity import count
from rfdn_stream.nets.fold import VALUE_RANGES, fold
from rfdn_stream.nets.rfdn import ABLATION, RFDN, RFDNOptions, preset
from support import peak_of_memory

SMALL = {
    "base": RFDNOptions(channels=12, blocks=2, attention="cca", block_residual=True, block="base", distillation=1.0),
    "base, narrowing": RFDNOptions(channels=8, blocks=1, block="base", scale=3),
    "srb": RFDNOptions(channels=8, blocks=2, block="srb", distillation=1.0, scale=4),
    "fdc": RFDNOptions(channels=12, blocks=2, attention="cca", block_residual=True, block="fdc", distillation=0.25),
    "rfdb 0.75": RFDNOptions(channels=8, blocks=1, distillation=0.75),
    "rfdb 1": RFDNOptions(channels=8, blocks=1, distillation=1.0),
}

every_block = pytest.mark.parametrize("options", SMALL.values(), ids=SMALL)


def network(options, seed=0):
    torch.manual_seed(seed)
    return RFDN(options).double()


@every_block
def test_blocks_are_what_the_formulas_say(options):
    net, x = network(options), torch.rand(2, 3, 17, 20, dtype=torch.float64)
    torch.testing.assert_close(net(x), ReferenceRFDN(net.state_dict(), options)(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("value_range", VALUE_RANGES)
@every_block
def test_folding_is_exact(options, value_range):
    net, peak = network(options), VALUE_RANGES[value_range]
    x = torch.rand(1, 3, 18, 16, dtype=torch.float64)
    torch.testing.assert_close(fold(net, value_range)(x), net(x * peak) / peak, rtol=0, atol=1e-13)


@every_block
def test_gradients_are_right(options):
    assert_same_gradients(network(options), ReferenceRFDN)


def test_identities_are_all_that_sets_the_pairs_apart():
    """Without its identities an SRB network is the Base network; with them folded in, both are the same kind."""
    for less, more in (("base", "srb"), ("fdc", "rfdb")):
        options = RFDNOptions(channels=8, blocks=2, block=more)
        shallow, plain = network(options), network(replace(options, block=less), seed=1)
        assert list(shallow.state_dict()) == list(plain.state_dict())
        x = torch.rand(1, 3, 16, 16, dtype=torch.float64)
        folded = fold(shallow)
        plain.load_state_dict(folded.state_dict())
        torch.testing.assert_close(plain(x), folded(x), rtol=0, atol=0)
        plain.load_state_dict(shallow.state_dict())
        assert not torch.allclose(plain(x), shallow(x))


@every_block
def test_weights_files_say_which_block_they_are_of(options, tmp_path):
    net = network(options).float()
    checkpoint.save(tmp_path / "net.safetensors", net, {"value_range": "0..1"})
    state, metadata = checkpoint.load(tmp_path / "net.safetensors")
    back, found = checkpoint.build(state, metadata)
    assert found.options == options
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(back(x), net(x), rtol=0, atol=0)


@every_block
def test_without_metadata_shallow_residual_blocks_are_taken_for_granted(options):
    _, found = checkpoint.build(network(options).state_dict(), {"value_range": "0..1"})
    assert found.options == replace(options, block={"base": "srb", "fdc": "rfdb"}.get(options.block, options.block))


def test_metadata_that_the_weights_belie_is_refused():
    state = network(SMALL["fdc"]).state_dict()
    with pytest.raises(ModelError, match=r"block='base'.*unexpected B1\.c1_d\.weight and 11 more"):
        checkpoint.build(state, {"value_range": "0..1", "block": "base"})
    with pytest.raises(ModelError, match="unknown block 'conv'; available: rfdb, fdc, srb, base"):
        checkpoint.build(state, {"value_range": "0..1", "block": "conv"})


def test_what_the_parts_cost():
    """Identities are free. At full width, distilling costs less than the fourth convolution does."""
    costs = {name: count(blank(*named(name, 4)), 64, 64) for name in (*ABLATION, "RFDN")}
    assert costs["RFDN-Base"] == costs["RFDN-SRB"]
    assert costs["RFDN-FDC"] == costs["RFDN"]
    assert costs["RFDN"].parameters == 549_624 < costs["RFDN-Base"].parameters == 576_984


@pytest.mark.parametrize("options", [*ABLATION.values(), *SMALL.values()])
def test_no_more_memory_than_engines_are_told(options):
    options = replace(options, channels=48, blocks=3, scale=2)
    used, told = peak_of_memory(RFDN(options)), options.activation_floats_per_pixel
    assert 0.9 * told < used <= told + 1


def test_the_family_goes_by_names():
    assert preset("RFDN-FDC", 3) == replace(ABLATION["RFDN-FDC"], scale=3)
    assert RFDN(preset("RFDN-SRB", 2)).metadata()["architecture"] == "RFDN-SRB"
