"""The OpenVINO engine against torch, its files on disk, and which engine `auto` takes where."""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.engines import choice, openvino, torch_engine
from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.choice import order
from rfdn_stream.engines.openvino import KEPT, OpenVinoEngine
from rfdn_stream.engines.torch_engine import TorchEngine
from rfdn_stream.errors import DeviceError, UsageError
from rfdn_stream.nets.catalogue import spec
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.imdn import IMDN, IMDNOptions
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions
from rfdn_stream.upscaler import Upscaler

CPU = torch.device("cpu")
NAMES = CpuDevice.engines


@pytest.fixture(scope="module", autouse=True)
def package():
    return pytest.importorskip("openvino", reason="needs OpenVINO: pip install 'rfdn-stream[openvino]'")


def tiny(seed=0, **options):
    """A folded network with torch's own random weights, and a description of it."""
    torch.manual_seed(seed)
    network = RFDN(RFDNOptions(**{"channels": 8, "blocks": 1, **options}))
    return fold(network), replace(spec("erfdn-x2-clean"), name="tiny", options=network.options)


def imdn():
    torch.manual_seed(0)
    network = IMDN(IMDNOptions(channels=16, blocks=1))
    return fold(network), replace(spec("erfdn-x2-clean"), name="imdn", architecture="imdn", options=network.options)


def picture(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def psnr(got, want):
    return float(-10 * torch.log10((got - want).double().square().mean().clamp_min(1e-30)))


@pytest.mark.parametrize(
    "made",
    [tiny(), tiny(scale=4, block_residual=True), tiny(attention="cca", scale=3), tiny(block="base"), imdn()],
    ids=["esa", "x4, residual", "x3, cca", "base", "imdn"],
)
def test_networks_are_torchs(made, tmp_path):
    """At the smallest size, below it, and at others in turn, more of them than are kept."""
    ours, torchs = OpenVinoEngine(*made, CPU, "fp32", 0, cache=tmp_path), TorchEngine(*made, CPU, "fp32", 0)
    least = made[1].minimum_size
    sizes = [(least, least), (3, 50), (1, 1), (33, least + 2), (40, 64), (67, 129)]
    assert len(sizes) > KEPT
    for height, width in [*sizes, *sizes[:2]]:
        rgb = picture(height, width)
        got, want = ours(rgb), torchs(rgb)
        assert got.shape == want.shape
        assert got.dtype == torch.float32
        assert psnr(got, want) > 80, (height, width)


def test_views_and_tiles(tmp_path):
    made = tiny()
    whole, tiled = (OpenVinoEngine(*made, CPU, tile=tile, cache=tmp_path) for tile in (0, 64))
    rgb = picture(120, 150)
    want = whole(rgb).clone()
    padded = F.pad(rgb, (3, 5, 2, 1))
    assert torch.equal(whole(padded[:, 2:-1, 3:-5]), want)
    assert torch.equal(whole(rgb.permute(1, 2, 0).contiguous().permute(2, 0, 1)), want)
    assert torch.equal(tiled(rgb), TorchTiles(whole)(rgb))
    with pytest.raises(UsageError, match="tile 8 is too small; at least 64 px"):
        OpenVinoEngine(*made, CPU, tile=8, cache=tmp_path)


class TorchTiles:
    """An engine's whole pictures as tiles of 64."""

    def __init__(self, engine):
        self._engine = engine

    def __call__(self, rgb):
        from rfdn_stream.engines.tiling import run_tiled

        return run_tiled(self._engine._whole, rgb, self._engine.scale, 64)


def test_a_large_frame_is_cut_to_fit_into_memory(tmp_path, monkeypatch):
    made = tiny()
    engine = OpenVinoEngine(*made, CPU, cache=tmp_path)
    sizes = []
    monkeypatch.setattr(openvino, "cpu_bytes", lambda *size: 100 * 100 * engine._bytes_per_pixel)
    whole = engine._whole
    monkeypatch.setattr(engine, "_whole", lambda rgb: sizes.append(tuple(rgb.shape[1:])) or whole(rgb))
    assert engine(picture(130, 200)).shape == (3, 260, 400)
    assert len(sizes) > 1
    assert all(height * width <= 100 * 100 for height, width in sizes)


def test_several_threads_and_a_frame_with_nan(tmp_path):
    engines = [OpenVinoEngine(*tiny(seed), CPU, threads=2, cache=tmp_path) for seed in range(3)]
    rgb, bad = picture(40, 60), picture(40, 60)
    bad[1, 12, 20] = float("nan")
    wanted = [each(rgb).clone() for each in engines]
    assert not torch.equal(wanted[0], wanted[1])
    assert not torch.isfinite(engines[0](bad)).all()
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            for got, want in zip(pool.map(lambda each: each(rgb), engines), wanted, strict=True):
                assert torch.equal(got, want)


def test_what_fails_inside_says_so(tmp_path):
    class Failing:
        def infer(self, *arguments, **options):
            raise RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223:\nstd::bad_alloc\n")

    engine = OpenVinoEngine(*tiny(), CPU, cache=tmp_path)
    engine._requests[(40, 60)] = Failing()
    with pytest.raises(
        DeviceError, match=r"OpenVINO failed at 60x40: std::bad_alloc; smaller tiles need less, or choose engine torch"
    ):
        engine(picture(40, 60))


# Precision


class Core:
    """OpenVINO on a processor with other abilities."""

    def __init__(self, *abilities):
        self._abilities = abilities

    def get_property(self, device, name):
        return [*self._abilities] if (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES") else None


@pytest.mark.parametrize(
    ("asked", "abilities", "measured", "chosen"),
    [
        ("auto", ("FP32", "BF16"), ("fp32", "bf16"), "bf16"),
        ("auto", ("FP32", "BF16"), ("fp32",), "fp32"),
        ("auto", ("FP32",), ("fp32", "bf16"), "fp32"),
        ("fp32", ("FP32", "BF16"), ("fp32", "bf16"), "fp32"),
        ("bf16", ("FP32", "BF16"), ("fp32", "bf16"), "bf16"),
    ],
)
def test_precision(asked, abilities, measured, chosen):
    known = replace(spec("erfdn-x2-clean"), precisions=measured)
    assert openvino._choose_precision(asked, known, Core(*abilities))[0] == chosen


@pytest.mark.parametrize(
    ("asked", "abilities", "complaint"),
    [
        ("bf16", ("FP32",), "engine openvino has no bf16 on this CPU; choose precision fp32, or engine torch"),
        ("fp16", ("FP32",), "engine openvino computes in fp32 or bf16, not in fp16; choose engine torch"),
        ("bf16", ("BF16",), "was not measured in bf16; choose fp32"),
    ],
)
def test_precisions_that_are_refused(asked, abilities, complaint):
    known = replace(spec("erfdn-x2-clean"), precisions=("fp32",))
    with pytest.raises(UsageError, match=complaint):
        openvino._choose_precision(asked, known, Core(*abilities))


def test_bf16_here_is_real_or_refused(package, tmp_path):
    made = tiny()
    if "BF16" in package.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        rgb = picture(40, 60)
        got = OpenVinoEngine(*made, CPU, "bf16", cache=tmp_path)(rgb)
        assert 30 < psnr(got, TorchEngine(*made, CPU, "fp32")(rgb)) < 90
    else:
        with pytest.raises(EngineUnavailableError, match="has no bf16 on this CPU"):
            OpenVinoEngine(*made, CPU, "bf16", cache=tmp_path)


# On disk


def compiled(folder, seed=0):
    """An engine's picture, and whether its graph came from the folder."""
    engine = OpenVinoEngine(*tiny(seed), CPU, cache=folder)
    result = engine(picture(40, 60)).clone()
    return result, engine._requests[(40, 60)].get_compiled_model().get_property("LOADED_FROM_CACHE")


def test_compiled_graphs_are_kept_by_their_weights(tmp_path):
    first, loaded = compiled(tmp_path / "new")
    assert not loaded
    again, loaded = compiled(tmp_path / "new")
    assert loaded
    assert torch.equal(first, again)
    other, loaded = compiled(tmp_path / "new", seed=1)
    assert not loaded
    assert not torch.equal(first, other)


def test_a_damaged_file_is_compiled_anew(tmp_path):
    first, _ = compiled(tmp_path)
    for file in tmp_path.glob("*.blob"):
        content = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(content[: len(content) // 2])
    again, loaded = compiled(tmp_path)
    assert not loaded
    assert torch.equal(first, again)


def test_the_oldest_files_go(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino, "FILES", 1)
    compiled(tmp_path)
    (kept, _), files = compiled(tmp_path, seed=1), list(tmp_path.glob("*.blob"))
    assert len(files) == 3  # the one that was kept, and the two sizes of the second engine
    assert kept.shape == (3, 80, 120)


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path, caplog):
    caplog.set_level(logging.INFO, "rfdn_stream")
    (tmp_path / "file").write_text("in the way")
    result, loaded = compiled(tmp_path / "file" / "cache")
    assert (result.shape, loaded) == ((3, 80, 120), False)
    assert "compiled graphs are not kept" in caplog.text


# Who takes it


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """What the engines keep goes to the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rfdn-stream"


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_without_it_auto_goes_on_and_the_extra_is_named(tiny_model, own_cache, monkeypatch, caplog, name):
    caplog.set_level(logging.INFO, "rfdn_stream")
    for module in [m for m in sys.modules if m == "rfdn_stream.nets.onnx" or m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    why = f"the package {name} is not installed; pip install 'rfdn-stream[openvino]'"
    with pytest.raises(UsageError) as refused:
        Upscaler(tiny_model, device="cpu", engine="openvino")
    assert why in str(refused.value)
    with Upscaler(tiny_model, device="cpu", precision="fp32") as upscaler:
        assert isinstance(upscaler.engine, TorchEngine)
    assert f"not by engine openvino: engine openvino is not there: {why}" in caplog.text


def test_where_it_does_not_load_auto_goes_on(tiny_model, own_cache, monkeypatch, tmp_path):
    package = tmp_path / "broken" / "openvino"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('libtbb.so.12: no such file', name='openvino._pyopenvino')")
    for module in [m for m in sys.modules if m.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(UsageError, match=r"its package does not load \(libtbb\.so\.12: no such file\)"):
        Upscaler(tiny_model, device="cpu", engine="openvino")
    with Upscaler(tiny_model, device="cpu", precision="fp32") as upscaler:
        assert isinstance(upscaler.engine, TorchEngine)


def test_auto_takes_it_where_the_projects_own_code_cannot(tiny_model, own_cache):
    with Upscaler(tiny_model, device="cpu", precision="fp32") as upscaler:
        assert isinstance(upscaler.engine, OpenVinoEngine)
        assert "openvino 20" in upscaler.description
        assert upscaler.engine.precision == "fp32"
    assert list((own_cache / "openvino").glob("*.blob"))


def test_on_a_cpu_without_amx_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(choice, "has_amx", lambda: False)
    monkeypatch.setattr(choice, "measure", None)
    assert order(NAMES, *tiny(), CPU, "auto") == NAMES


@pytest.fixture
def amx(monkeypatch):
    monkeypatch.setattr(choice, "has_amx", lambda: True)
    monkeypatch.setattr(torch_engine, "_best_on_cpu", lambda: ("bf16", "as with AMX"))
    monkeypatch.setattr(choice, "SIZE", (40, 60))


def test_on_a_cpu_with_amx_the_engines_are_measured_once(amx, own_cache, monkeypatch):
    """Which one wins is this machine's affair; that the winner is taken, and measured no second time, is ours."""
    assert order(NAMES, *tiny(), CPU, "fp32") == NAMES
    network, known = tiny()
    first = order(NAMES, network, known, CPU, "auto")
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}  # whatever was measured on
    (file,) = (own_cache / "engines").iterdir()
    kept = json.loads(file.read_text())
    assert set(kept["seconds"]) >= {"openvino", "torch"}
    assert list(first) == sorted(NAMES, key=lambda name: kept["seconds"].get(name, float("inf")))
    monkeypatch.setattr(choice, "measure", None)  # not called again
    assert order(NAMES, *tiny(), CPU, "auto") == first


def test_the_answer_is_asked_anew_for_other_versions_and_networks(amx, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(choice, "measure", lambda names, *made: asked.append(made) or {"torch": 1.0, "winograd": 2.0})
    for _ in range(2):
        assert order(NAMES, *tiny(), CPU, "auto", tmp_path) == ["torch", "winograd", "openvino"]
    assert len(asked) == 1
    order(NAMES, *tiny(blocks=2), CPU, "auto", tmp_path)
    assert len(asked) == 2
    monkeypatch.setattr(choice, "_version", lambda package: "another")
    order(NAMES, *tiny(), CPU, "auto", tmp_path)
    assert len(asked) == 3
    for file in tmp_path.iterdir():
        file.write_text("{")
    order(NAMES, *tiny(), CPU, "auto", tmp_path)
    assert len(asked) == 4


def test_auto_takes_the_winner(amx, own_cache, tiny_model, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "rfdn_stream")
    monkeypatch.setattr(choice, "measure", lambda *made: {"openvino": 0.1, "winograd": 0.2, "torch": 0.3})
    with Upscaler(tiny_model, device="cpu") as upscaler:
        assert isinstance(upscaler.engine, OpenVinoEngine)
    assert "a CPU with AMX: openvino 0.100 s, winograd 0.200 s, torch 0.300 s" in caplog.text
    with Upscaler(tiny_model, device="cpu", engine="torch") as upscaler:
        assert isinstance(upscaler.engine, TorchEngine)
