"""The TensorRT engine without TensorRT and without a card: on the API of fake_tensorrt.py, and on the processor's
memory. The last two tests are for a card that has TensorRT."""

import contextlib
import logging
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fake_tensorrt import OUT_OF_MEMORY, STREAM, FakeTensorRT
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.devices.cuda import CudaDevice
from rfdn_stream.doctor.agreement import check_engines
from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.graph import KEPT
from rfdn_stream.engines.tensorrt import engine as tensorrt
from rfdn_stream.engines.tensorrt import plans
from rfdn_stream.engines.tensorrt.engine import TensorRTEngine
from rfdn_stream.engines.torch_engine import TorchEngine
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.nets.catalogue import describe, open_model
from rfdn_stream.nets.onnx import of_one_size, to_onnx
from rfdn_stream.upscaler import Upscaler
from support import save_tiny
from test_cuda_engine import Again

CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)
PROPERTIES = SimpleNamespace(name="Card A", major=8, minor=9, multi_processor_count=128)


@pytest.fixture
def trt(monkeypatch):
    """TensorRT installed, and the processor for a card."""
    fake = FakeTensorRT()
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(tensorrt, "_check_card", lambda device: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=STREAM))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: PROPERTIES)
    return fake


@pytest.fixture
def make(trt, tiny_model, tmp_path):
    """Makes an engine."""

    def made(precision="fp32", tile=None, *, model=tiny_model, cache=tmp_path / "plans", **options):
        return TensorRTEngine(*open_model(model), CPU, precision, tile, cache=cache, record=Again(), **options)

    return made


@pytest.fixture
def plain(tiny_model):
    return TorchEngine(*open_model(tiny_model), CPU, "fp32")


def picture(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def close(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


# Pictures


def test_every_size_is_built_once_and_run_on_the_frames_own_memory(make, trt, plain):
    engine = make()
    for seed in range(3):
        for height in (20, 24, 32):
            close(engine(x := picture(height, 40, seed)), plain(x))
    assert trt.log.count("build") == trt.log.count("load") == 3
    assert trt.log.count("run") == 3 + 9  # the first of each is compared
    assert engine.description == "TensorRT 10.13.2.6 fp32 (as asked)"
    assert not engine._record.recorded


def test_views_and_batches(make, plain):
    engine, x = make(), picture(30, 44)
    close(engine(x[:, 3:25, 1:41]), plain(x[:, 3:25, 1:41]))
    both = torch.stack([picture(20, 24, seed) for seed in (1, 2)])
    close(engine(both), torch.stack([plain(one) for one in both]))


def test_the_latest_sizes_are_kept_and_come_back_from_disk(make, trt, plain):
    engine = make()
    for height in (*range(20, 20 + KEPT), 20, 40, 21):  # 40 takes the place of 21
        close(engine(x := picture(height, 30, height)), plain(x))
    assert (trt.log.count("build"), trt.log.count("load")) == (KEPT + 1, KEPT + 2)


def test_a_frame_asks_for_no_memory(make, monkeypatch):
    engine, x = make(), picture(24, 30)
    want = engine(x).clone()
    asked = []
    for name in ("empty", "zeros", "empty_like"):
        monkeypatch.setattr(torch, name, lambda *size, **options: asked.append(size))
    assert torch.equal(engine(x), want)
    assert not asked


def test_small_frames_and_tiles_run_on_plain_torch(make, trt, tiny_model, plain):
    assert torch.equal(make()(x := picture(9, 40)), plain(x))
    tiled = make(tile=64)(x := picture(100, 80))
    assert torch.equal(tiled, TorchEngine(*open_model(tiny_model), CPU, "fp32", 64)(x))
    assert not trt.log


def test_half_precision_is_the_graphs(trt, make, monkeypatch):
    monkeypatch.setattr(tensorrt, "choose_precision", lambda *asked: ("fp16", "the fastest on a GPU"))
    monkeypatch.setattr("rfdn_stream.engines.torch_engine.choose_precision", lambda *asked: ("fp16", ""))
    engine, x = make("auto"), picture(24, 30)
    result = engine(x)
    assert (result.dtype, engine.precision) == (torch.float32, "fp16")
    assert engine.description == "TensorRT 10.13.2.6 fp16 (the fastest on a GPU)"
    (graph,) = (each.graph for each in trt.graphs)
    weights = [each for each in graph.initializer if each.name.endswith("weight")]
    assert {each.data_type for each in weights} == {10}  # FLOAT16
    assert {end.type.tensor_type.elem_type for end in (*graph.input, *graph.output)} == {1}  # FLOAT


@pytest.mark.parametrize("tf32", [True, False])
def test_torchs_setting_of_tf32_holds(make, trt, monkeypatch, tf32):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    make()(picture(20, 24))
    assert trt.cleared == [] if tf32 else [trt.BuilderFlag.TF32]


@pytest.mark.parametrize("factor", [1.5, float("nan")])
def test_pictures_that_differ_from_torchs_are_not_used(make, trt, plain, caplog, factor):
    trt.change = lambda result: result * np.float32(factor)
    engine, x = make(), picture(24, 30)
    for _ in range(2):
        assert torch.equal(engine(x), plain(x))
    (warning,) = caplog.messages
    assert warning.startswith("TensorRT's pictures differ from torch's by ")
    assert warning.endswith(" of 1; going on with those")
    assert (trt.log.count("run"), engine._record.replayed) == (1, 2)


def test_a_graph_of_one_size_is_the_same_network(tiny_model):
    import onnxruntime

    network, _ = open_model(tiny_model)
    model, x = to_onnx(network, {}), picture(22, 31)[None]
    for shape in ((1, 3, 18, 20), tuple(x.shape)):  # a second size takes the first one's place
        content = of_one_size(model, shape, 2)
    session = onnxruntime.InferenceSession(content)
    assert session.get_inputs()[0].shape == [1, 3, 22, 31]
    assert session.get_outputs()[0].shape == [1, 3, 44, 62]
    with torch.no_grad():
        close(torch.from_numpy(session.run(None, {"input": x.numpy()})[0]), network(x))


# On disk


def test_plans_are_kept_by_all_that_they_depend_on(make, trt, tmp_path, monkeypatch):
    def builds(**options):
        before = trt.log.count("build")
        make(**options)(picture(24, 30))
        return trt.log.count("build") - before

    assert [builds(), builds()] == [1, 0]
    assert builds(model=save_tiny(tmp_path / "other.safetensors", seed=1)) == 1
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32)
    assert [builds(), builds()] == [1, 0]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: replace_name("Card B"))
    assert [builds(), builds()] == [1, 0]
    trt.__version__ = "11.4.0.106"
    assert [builds(), builds()] == [1, 0]


def replace_name(name):
    return SimpleNamespace(**{**vars(PROPERTIES), "name": name})


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"", None])
def test_a_damaged_plan_is_built_anew(make, trt, plain, tmp_path, damage, caplog):
    caplog.set_level(logging.INFO, "rfdn_stream")
    make()(x := picture(24, 30))
    (file,) = (tmp_path / "plans").iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(damage(bytes(content)) if damage else bytes(content))
    close(make()(x), plain(x))
    assert (trt.log.count("build"), trt.log.count("load")) == (2, 2)
    assert f"{file} is damaged; built anew" in caplog.text


def test_a_plan_that_tensorrt_no_longer_takes_is_built_anew(make, trt, plain, monkeypatch):
    make()(x := picture(24, 30))
    monkeypatch.setattr(trt, "fails", lambda what, logger: what == "load" and trt.log.count("load") == 2)
    close(make()(x), plain(x))
    assert (trt.log.count("build"), trt.log.count("load")) == (2, 3)


def test_the_plans_unused_for_longest_go(make, trt, tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "FILES", 2)
    engine = make()
    for height in (20, 22, 24):
        engine(picture(height, 30))
    assert len(list((tmp_path / "plans").iterdir())) == 2


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(make, plain, tmp_path, caplog):
    caplog.set_level(logging.INFO, "rfdn_stream")
    (tmp_path / "file").write_text("in the way")
    close(make(cache=tmp_path / "file" / "plans")(x := picture(24, 30)), plain(x))
    assert "what TensorRT builds is not kept: " in caplog.text


def test_plans_lie_in_the_users_cache(trt, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    TensorRTEngine(*open_model(tiny_model), CPU, "fp32")(picture(24, 30))
    assert list((tmp_path / "rfdn-stream" / "tensorrt").glob("*.plan"))


# What fails


@pytest.mark.parametrize(
    ("fault", "said", "complaint"),
    [
        ("builder", ("CUDA initialization failure with error: 35",), "cannot build networks: CUDA init.* error: 35"),
        ("builder", (), "cannot build networks: pybind11::init"),
        ("parse", ("other words",), "cannot read the network: In node 3 with name: Resize_3: Assertion failed"),
        (
            "build",
            ("Skipping tactic", "Error Code 10: Could not\nfind"),
            r"cannot build the network: .* Could not find",
        ),
        ("build", (), "cannot build the network: no reason given"),
        ("load", ("Error Code 4",), "cannot load what it has built: Error Code 4"),
        ("context", ("Error Code 1",), "cannot run what it has built: Error Code 1"),
        ("address", ("Error Code 3",), "cannot find input in what it has built: Error Code 3"),
    ],
)
def test_what_fails_is_said_on_one_line(make, trt, fault, said, complaint):
    trt.faults = {fault: said}
    engine = make()
    with pytest.raises(UsageError, match=rf"^TensorRT 10.13.2.6 {complaint}.*; choose engine graph$") as failure:
        engine(picture(24, 30))
    assert not isinstance(failure.value, EngineUnavailableError)


def test_a_run_that_fails(make, trt):
    engine, x = make(), picture(24, 30)
    engine(x)
    trt.faults = {"run": ("Error Code 1: Cuda Runtime (an illegal memory access)",)}
    with pytest.raises(
        DeviceError, match=r"^TensorRT 10.13.2.6 failed: .*illegal memory access\); choose engine graph$"
    ):
        engine(x)


@pytest.mark.parametrize("fault", ["build", "load", "context"])
def test_no_memory_is_as_for_other_engines(make, trt, tiny_model, caplog, fault):
    """Tiles, on plain torch."""
    engine, x = make(), picture(130, 140)
    engine(picture(24, 30))
    trt.faults = {fault: OUT_OF_MEMORY}
    assert torch.equal(engine(x), TorchEngine(*open_model(tiny_model), CPU, "fp32", 70)(x))
    assert caplog.messages == ["out of memory: going on with tiles of 70 px from this frame on"]
    assert (engine._shots, engine._tensorrt._memory.numel()) == ({}, 0)


def test_a_tensorrt_that_does_not_start(make, trt):
    trt.faults = {"runtime": ("CUDA initialization failure with error: 35",)}
    with pytest.raises(
        EngineUnavailableError, match=r"^TensorRT 10.13.2.6 does not start on cpu: CUDA .* 35; choose engine graph$"
    ):
        make()


@pytest.mark.parametrize("version", ["8.6.1", "10.12.0.36"])
def test_a_version_that_is_too_old(make, trt, version):
    trt.__version__ = version
    with pytest.raises(
        EngineUnavailableError, match=rf"^TensorRT {version} is too old, engine tensorrt needs 10.13; pip install --upg"
    ):
        make()


def test_other_versions(make, trt, plain, monkeypatch):
    trt.__version__ = "11.0.0.114.post1"
    monkeypatch.setattr(trt, "NetworkDefinitionCreationFlag", SimpleNamespace(STRONGLY_TYPED=0))
    close(make()(x := picture(24, 30)), plain(x))


@pytest.mark.parametrize("name", ["tensorrt", "onnx"])
def test_a_package_that_is_missing(make, monkeypatch, name):
    for module in [m for m in sys.modules if m == "rfdn_stream.nets.onnx" or m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(EngineUnavailableError) as refused:
        make()
    assert str(refused.value) == (
        f"engine tensorrt is not there: the package {name} is not installed; "
        "pip install 'rfdn-stream[tensorrt12]', or choose engine graph"
    )


def test_libraries_that_are_missing(make, monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(
        EngineUnavailableError, match=r"^TensorRT does not start: libnvinfer.* file; pip .*\[tensorrt13\]', or choose"
    ):
        make()


def test_precisions_and_machines_that_are_refused(tiny_model, make):
    with pytest.raises(EngineUnavailableError, match="computes in fp16 or fp32, not in bf16; choose engine graph"):
        make("bf16")
    with pytest.raises(UsageError, match=r"^engine tensorrt does not run on cpu; choose winograd, openvino, torch$"):
        Upscaler(tiny_model, device="cpu", engine="tensorrt")


def test_without_a_card(tiny_model):
    with pytest.raises(EngineUnavailableError, match=r"^engine tensorrt runs on NVIDIA cards; choose engine torch$"):
        TensorRTEngine(*open_model(tiny_model), CPU)


# Who takes it


def test_auto_never_takes_it():
    """It comes behind engines that refuse nothing."""
    names = CudaDevice.engines
    assert names.index("tensorrt") > names.index("graph")


def test_the_doctor_checks_it_or_says_what_is_missing(make, trt, tiny_model, monkeypatch):
    made = {"tensorrt": make, "torch": lambda: TorchEngine(*open_model(tiny_model), CPU, "fp32")}
    with contextlib.closing(CpuDevice()) as device:
        monkeypatch.setattr(device, "engines", tuple(made))
        model = replace(describe(tiny_model), precisions=("fp32",))
        for missing in (False, True):
            if missing:
                monkeypatch.setitem(sys.modules, "tensorrt", None)
            finding, _ = check_engines(device, model, lambda name, precision: made[name]())
            assert finding.state == ("absent" if missing else "ok")
    assert finding.detail.startswith("engine tensorrt is not there: the package tensorrt is not installed; pip ins")
    assert finding.cost == "engine tensorrt cannot be chosen"


# On a card


@pytest.mark.gpu
@pytest.mark.parametrize("precision", tensorrt.PRECISIONS)
def test_on_a_card_it_gives_what_fp32_on_the_cpu_does(precision, tmp_path, caplog):
    pytest.importorskip("tensorrt", reason="needs TensorRT: pip install 'rfdn-stream[tensorrt13]'")
    from test_gpu import LEAST_PSNR, MODEL, on_a_stream, psnr, smooth_picture

    reference = TorchEngine(*open_model(MODEL), CPU, "fp32", 0)
    for _ in range(2):  # built, then from disk
        tested = TensorRTEngine(*open_model(MODEL), CARD, precision, 0, cache=tmp_path)
        for size, seed in (((180, 320), 0), ((181, 319), 1), ((180, 320), 2), ((9, 40), 0)):
            x = smooth_picture(*size, seed)
            got = on_a_stream(lambda: tested(x.to(CARD)).float().cpu())  # noqa: B023
            assert psnr(got.clamp(0, 1), reference(x).clamp(0, 1)) >= LEAST_PSNR[precision]
        assert len(list(tmp_path.iterdir())) == 2
    assert not [record for record in caplog.records if record.name == "rfdn_stream"]  # no falling back


@pytest.mark.gpu
def test_on_a_card_by_its_own_clock(tmp_path):
    """Prints it, beside the default engine."""
    pytest.importorskip("tensorrt", reason="needs TensorRT: pip install 'rfdn-stream[tensorrt13]'")
    from rfdn_stream.engines.graph import GraphEngine
    from test_gpu import MODEL, engine, time_of

    x = torch.rand(3, 1080, 1920, device=CARD)
    tested = TensorRTEngine(*open_model(MODEL), CARD, "fp16", 0, cache=tmp_path)
    print(
        f"\n{tested.description}: {time_of(tested, x):.2f} ms at 1080p, graph {time_of(engine(GraphEngine), x):.2f} ms"
    )
