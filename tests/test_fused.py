"""The fused kernels without a card: their arithmetic by Triton's interpreter, their code by Triton's compiler, and the
engine's ways around them. test_gpu.py has the rest."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.fused import engine as fused_engine
from rfdn_stream.engines.fused.engine import FusedEngine
from rfdn_stream.engines.torch_engine import TorchEngine
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.imdn import IMDN, IMDNOptions
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions, preset
from test_cuda_engine import Again

triton = pytest.importorskip("triton", reason="Triton is there on Linux alone")

CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def model(tiny_model):
    return open_model(tiny_model)


# The kernels


def test_the_kernels_give_what_torch_does():
    """See fused_interpreted.py."""
    script = Path(__file__).with_name("fused_interpreted.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=script.parents[1])
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


SHARED = {86: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}
"""Bytes of shared memory that a program may have, by compute capability."""
STEP = {"K": 64, "N": 64, "D": 32, "SLOPE": 0.05, "ADD": False, "SCALE": 0}
DEEP, LAST = {**STEP, "D": 0, "ADD": True, "SLOPE": 1.0}, {**STEP, "N": 16, "D": 0, "SLOPE": 1.0, "SCALE": 2}
CLOSE = {"K": 64, "D": 32, "I": 16, "SLOPE": 0.05}
OTHERS = {
    "head": {"N": 64},
    "fuse": {"COUNT": 4, "C": 64, "SLOPE": 0.05},
    "small": {"I": 16, "STRIDE": 2, "PADDING": 0, "RELU": True},
    "pool": {"I": 16},
    "mask": {"C": 64, "I": 16, "ADD": False},
}


def code_of(name, constants, capability, warps):
    """A kernel of E-RFDN's for a kind of card, compiled with the tools that come with Triton."""
    from rfdn_stream.engines.fused import kernels

    kernel = getattr(kernels, name)
    types = dict.fromkeys(("b", "b5", "b1", "b_d"), "*fp32") | dict.fromkeys(("down", "across"), "fp32")
    types |= dict.fromkeys(("height", "width", "rows", "columns", "total", "to_n", "to_c", "to_h", "to_w"), "i32")
    names = kernel.arg_names
    signature = {n: "constexpr" if n in constants else types.get(n, "*fp16") for n in names}
    aligned = {(k,): [["tt.divisibility", 16]] for k, n in enumerate(names) if signature[n].startswith("*")}
    constants = {(names.index(n),): value for n, value in constants.items()}
    source = triton.compiler.ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": warps, "enable_fp_fusion": True})


@pytest.mark.parametrize("capability", SHARED)
def test_every_kernel_compiles_and_fits(capability, tmp_path, monkeypatch):
    """Into machine code for each kind of card, within its shared memory."""
    from rfdn_stream.engines.fused.network import STRIPS, TAPS, plan_for

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: divmod(capability, 10))
    plan = plan_for(CARD)
    assert plan is (STRIPS if capability == 90 else TAPS)
    jobs = []
    convolutions = [("step", STEP, plan.step), ("step", LAST, plan.last), ("close", CLOSE, plan.close)]
    for name, constants, how in convolutions if capability != 90 else [*convolutions, ("step", DEEP, plan.step)]:
        form = {"TURNS": how.turns} if how.strip else {"ACROSS": 16}
        constants = {**constants, **form, "M": how.pixels, "STAGES": how.stages}
        jobs.append((f"{name}_{'strip' if how.strip else 'taps'}", constants, capability, how.warps))
    if capability == 90:
        jobs += [(name, {**constants, "M": plan.pixels}, capability, 4) for name, constants in OTHERS.items()]
    with ThreadPoolExecutor(2) as pool:
        for code in pool.map(lambda job: code_of(*job), jobs):
            assert code.asm["cubin"]
            assert 0 <= code.metadata.shared <= SHARED[capability]


# The engine


class Other:
    """Stands in for the kernels: plain torch, changed."""

    bytes_per_pixel = 1

    def __init__(self, change):
        self.change, self.runs, self.network = change, 0, None

    def __call__(self, picture):
        self.runs += 1
        return self.change(self.network(picture))


@pytest.fixture
def on_the_cpu(tiny_model, monkeypatch):
    """Makes an engine whose kernels are those of torch, changed by what is given; (engine, kernels)."""

    def make(change=lambda y: y, **options):
        other = Other(change)
        monkeypatch.setattr(fused_engine, "_refusal", lambda *_: "")
        monkeypatch.setattr("rfdn_stream.engines.fused.network.FusedNetwork", lambda *_: other)
        engine = FusedEngine(*open_model(tiny_model), CPU, "bf16", record=Again(), **options)
        other.network = engine._plain
        return engine, other

    return make


def picture(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def test_frames_batches_tiles_and_small_frames_all_go_through_the_kernels(tiny_model, on_the_cpu):
    plain = TorchEngine(*open_model(tiny_model), CPU, "bf16")
    engine, kernels = on_the_cpu()
    for x in (picture(20, 30), picture(9, 40), torch.stack([picture(20, 30, seed) for seed in range(3)])):
        before = kernels.runs
        assert torch.equal(engine(x), plain(x))
        assert kernels.runs > before
    tiled, kernels = on_the_cpu(tile=64)
    assert torch.equal(tiled(picture(100, 80)), TorchEngine(*open_model(tiny_model), CPU, "bf16", 64)(picture(100, 80)))
    assert kernels.runs == 1 + 4  # the first one is compared, too
    assert engine.description.startswith("fused kernels bf16")


def failing(y):
    raise ValueError("ptxas fatal: unsupported\nmore")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: y + 0.1, "the fused kernels differ from torch's by 0.1"),
        (lambda y: y * torch.nan, "the fused kernels differ from torch's by nan of 1; going on with those, slower"),
        (failing, "the fused kernels do not run here: ptxas fatal: unsupported; going on with torch's"),
    ],
    ids=["other", "nan", "fails"],
)
@pytest.mark.parametrize("order", [(20, 20, 24), (9, 20, 24)], ids=["whole", "small first"])
def test_kernels_that_are_wrong_are_told_and_not_used(tiny_model, on_the_cpu, caplog, change, said, order):
    engine, kernels = on_the_cpu(change)
    plain, runs = TorchEngine(*open_model(tiny_model), CPU, "bf16"), []
    for height in order:
        assert torch.equal(engine(picture(height, 30)), plain(picture(height, 30)))
        runs.append(kernels.runs)
    assert runs == [1, 1, 1]
    (message,) = caplog.messages
    assert message.startswith(said)


def test_no_memory_is_no_fault_of_the_kernels(on_the_cpu, caplog):
    def full(y):
        if y.shape[-1] > 200:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return y

    engine, _ = on_the_cpu(full)
    engine(picture(80, 150))
    assert caplog.messages == ["out of memory: going on with tiles of 75 px from this frame on"]


SPEC_OF = {"E-RFDN": preset("E-RFDN", 2), "wide": RFDNOptions(channels=80), "ablation": preset("RFDN-SRB", 2)}


@pytest.mark.parametrize(
    ("network", "capability", "precision", "said"),
    [
        ("E-RFDN", (7, 5), "auto", "needs compute capability 8.0 or later, and cuda:0 has 7.5"),
        ("E-RFDN", (9, 0), "fp32", "computes in fp16 or bf16"),
        ("wide", (9, 0), "auto", "runs networks of up to 64 channels, not 80"),
        ("ablation", (9, 0), "auto", "runs RFDN in its published forms alone"),
        ("IMDN", (9, 0), "auto", "runs RFDN in its published forms alone"),
    ],
)
def test_what_it_is_not_for(model, monkeypatch, network, capability, precision, said):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    made = IMDN(IMDNOptions()) if network == "IMDN" else RFDN(SPEC_OF[network])
    with pytest.raises(EngineUnavailableError, match=rf"^engine fused {said}; choose engine graph or torch$"):
        FusedEngine(fold(made), replace(model[1], precisions=("fp32", "fp16")), CARD, precision)


def test_without_a_card_or_triton(model, monkeypatch):
    with pytest.raises(EngineUnavailableError, match=r"^engine fused runs on NVIDIA cards; choose"):
        FusedEngine(*model, CPU)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setitem(sys.modules, "rfdn_stream.engines.fused.network", None)
    with pytest.raises(
        EngineUnavailableError, match=r"^engine fused needs Triton, which does not load here .*; choose"
    ):
        FusedEngine(*model, CARD, "fp16")
