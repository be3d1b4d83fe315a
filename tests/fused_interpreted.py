"""The fused kernels' arithmetic, by Triton's interpreter, which runs them on the processor: run by test_fused.py.

In a process of its own: TRITON_INTERPRET has to be set before Triton is imported.
"""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from rfdn_stream.engines.fused.network import TAPS, Choice, FusedNetwork, Plan, rows_of_a_strip
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions

CPU = torch.device("cpu")
TILES = replace(TAPS, pixels=256)
STRIPS = Plan(
    step=Choice(strip=True, pixels=16, warps=4, turns=3, together=2),
    close=Choice(strip=True, pixels=32, warps=4, together=3),
    last=Choice(strip=True, pixels=32, warps=4, turns=3, together=2),
    pixels=256,
)
TINY = RFDNOptions(channels=8, blocks=1)


def folded(options, seed=0):
    torch.manual_seed(seed)
    return fold(RFDN(options))


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("options", "shape", "plan"),
    [
        (replace(TINY, channels=50), (1, 3, 15, 18), STRIPS),
        (replace(TINY, block_residual=True, scale=4), (2, 3, 15, 16), TILES),
        (RFDNOptions(channels=52, blocks=2, attention="cca", block_residual=True, scale=3), (1, 3, 3, 7), TILES),
        (replace(TINY, attention="cca", distillation=0.25), (2, 3, 3, 17), STRIPS),
    ],
    ids=["E-RFDN", "residual x4", "RFDN-L x3", "no residual"],
)
@torch.no_grad()
def test_a_network_gives_what_torch_does(options, shape, plan):
    """Of pictures whose sides are no multiples of anything."""
    network, picture = folded(options), noise(*shape)
    want, x = network(picture), picture.half().contiguous(memory_format=torch.channels_last)
    got = FusedNetwork(network, CPU, torch.float16, plan)(x)
    assert (got.shape, got.dtype) == (want.shape, torch.float16)
    assert (got.float() - want).abs().max() < 2e-3


@pytest.mark.parametrize("plan", [STRIPS, TILES], ids=["strips", "tiles"])
@pytest.mark.parametrize("size", [(1, 1), (5, 33)])
@torch.no_grad()
def test_a_step_gives_what_torch_does(plan, size):
    """The convolution, what follows it, and the distilled part; each picture of a batch has borders of its own."""
    fused = FusedNetwork(folded(TINY), CPU, torch.float16, plan)
    network, x, other = folded(TINY), noise(2, *size, 16).half(), noise(2, *size, 16).half()
    x[..., 8:] = 0
    y, part = torch.full_like(x, torch.nan), torch.full_like(x, torch.nan)
    block, weights = network.get_submodule("B1"), fused._weights.blocks[0]
    fused._conv3x3(x, weights.refine[0], y, slope=0.05, add=other, distil=weights.distil[0], part=part)
    picture = x[..., :8].permute(0, 3, 1, 2).float()
    want = F.leaky_relu(block.c1_r(picture), 0.05) + other[..., :8].permute(0, 3, 1, 2).float()
    torch.testing.assert_close(y[..., :8].permute(0, 3, 1, 2).float(), want, rtol=0, atol=4e-3)
    want = F.leaky_relu(block.c1_d(picture), 0.05)
    torch.testing.assert_close(part[..., :4].permute(0, 3, 1, 2).float(), want, rtol=0, atol=4e-3)
    assert torch.equal(y[..., 8:], other[..., 8:])  # channels of zeros stay so
    assert not part[..., 4:].any()


@pytest.mark.parametrize("size", [(15, 16), (27, 22)])
@torch.no_grad()
def test_esa_gives_what_torch_does(size):
    fused, esa = FusedNetwork(folded(TINY, 1), CPU, torch.float16, TILES), folded(TINY, 1).get_submodule("B1.esa")
    x = torch.zeros(2, *size, 16, dtype=torch.float16)
    x[..., :8] = noise(2, *size, 8) - 0.5
    picture = x[..., :8].permute(0, 3, 1, 2).float()
    near, y = torch.zeros_like(x), torch.empty_like(x)
    near[..., :2] = esa.conv1(picture).permute(0, 2, 3, 1)
    fused._attend(fused._weights.blocks[0].esa, x, near, y, None)
    torch.testing.assert_close(y[..., :8].permute(0, 3, 1, 2).float(), esa(picture), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("height", "strips", "programs"), [(1080, 30, 264), (1, 1, 264), (15, 2, 2), (4320, 120, 72)])
def test_strips_are_cut_so_that_all_programs_have_work(height, strips, programs):
    rows = rows_of_a_strip(height, strips, programs)
    chunks = -(-height // rows)
    assert 1 <= rows <= height
    assert chunks * strips >= min(programs, strips * -(-height // 8)) * 0.9
