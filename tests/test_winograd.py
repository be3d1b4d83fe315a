"""The C++ engine: its layers against float64, its networks against torch, its threads and memory under sanitizers."""

import copy
import logging
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cuda_shim import ENVIRONMENT
from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.engines.torch_engine import TorchEngine
from rfdn_stream.engines.winograd import build, engine
from rfdn_stream.engines.winograd.engine import WinogradEngine
from rfdn_stream.engines.winograd.library import ISAS, Layer, Library, NoLibraryError, library
from rfdn_stream.errors import UsageError
from rfdn_stream.nets import checkpoint
from rfdn_stream.nets.base import blank
from rfdn_stream.nets.catalogue import models, open_model, spec
from rfdn_stream.nets.fold import fold
from rfdn_stream.nets.imdn import IMDN, IMDNOptions
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions
from rfdn_stream.upscaler import Upscaler
from support import EXAMPLES, random_frame, save_tiny

CPU = torch.device("cpu")
# Some of undefined behaviour's checks: all of them take four times as long to compile.
FUZZED = {
    "asan+ubsan": (
        "-fsanitize=address,bounds,shift,signed-integer-overflow,integer-divide-by-zero",
        "-fno-sanitize-recover=all",
    ),
    "tsan": ("-fsanitize=thread",),
}
FUZZ = Path(__file__).with_name("winograd_fuzz.cpp")


def _missing():
    try:
        library()
    except NoLibraryError as failure:
        return str(failure)
    return ""


needs_library = pytest.mark.skipif(bool(_missing()), reason=f"the CPU engine's library: {_missing()}")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, which builds the library")


def snr(got, want):
    """Signal to noise in dB."""
    got, want = (np.asarray(values, np.float64) for values in (got, want))
    return 10 * np.log10((want**2).sum() / max(((got - want) ** 2).sum(), 1e-300))


def psnr(got, want):
    difference = got.clamp(0, 1).double() - want.clamp(0, 1).double()
    return float(-10 * torch.log10(difference.square().mean().clamp_min(1e-30)))


# A layer


def convolution(outputs, inputs, size, seed=0):
    random = np.random.default_rng(seed)
    weight = random.normal(0, (inputs * size * size) ** -0.5, (outputs, inputs, size, size)).astype(np.float32)
    return Layer("some.layer", weight, random.normal(0, 0.1, outputs).astype(np.float32))


def exact(layer, slope, source):
    weight, bias, x = (torch.from_numpy(np.asarray(a, np.float64)) for a in (layer.weight, layer.bias, source))
    return F.leaky_relu(F.conv2d(x[None], weight, bias, padding=weight.shape[2] // 2), slope)[0].numpy()


SIZES = [(1, 1), (1, 40), (40, 1), (3, 5), (4, 32), (5, 33), (9, 63), (13, 70), (31, 129)]


@needs_library
@pytest.mark.parametrize("size", [3, 1])
@pytest.mark.parametrize(("outputs", "inputs"), [(50, 50), (25, 50), (12, 48), (1, 1), (7, 3), (64, 13), (53, 104)])
def test_a_layer_is_the_convolution(outputs, inputs, size):
    """Noise is the hardest picture: every tile's scale is set by values far larger than most of its own."""
    layer, random = convolution(outputs, inputs, size), np.random.default_rng(1)
    for height, width in SIZES:
        source = random.normal(0, 1, (inputs, height, width)).astype(np.float32)
        for slope in (1, 0.05, 0):
            want = exact(layer, slope, source)
            error = np.abs(library().layer(layer, slope, source) - want).max()
            # Noise of 12 bits in 9 * inputs products, or of half floats.
            assert error < (0.03 if size == 3 else 0.004) * max(1, np.abs(want).max()), (height, width, slope)


@cache
def bunny():
    return cv2.imread(str(EXAMPLES / "bunny.png"))


@cache
def kinds(height, width):
    """Pictures [3, height, width] in 0..1 of every kind that could be hard."""
    random = np.random.default_rng(height * 100 + width)
    photo = bunny()[20 : 20 + height, 40 : 40 + width, ::-1] / 255
    y, x = np.mgrid[:height, :width]
    inside = (np.minimum(y, height - 1 - y) > 0) & (np.minimum(x, width - 1 - x) > 0)
    return {
        "photograph": np.ascontiguousarray(photo.transpose(2, 0, 1)),
        "noise": random.uniform(0, 1, (3, height, width)),
        "checkerboard": np.repeat(((y + x) % 2)[None], 3, 0).astype(float),
        "grey": np.full((3, height, width), 0.7),
        "black": np.zeros((3, height, width)),
        "white": np.ones((3, height, width)),
        "border": random.uniform(0.5, 1, (3, height, width)) * np.where(inside, 1e-3, 1),
    }


@needs_library
@pytest.mark.parametrize("kind", kinds(1, 1))
@pytest.mark.parametrize(("outputs", "inputs", "size"), [(50, 50, 3), (25, 50, 1), (7, 3, 3)])
def test_layers_on_every_kind_of_picture(outputs, inputs, size, kind):
    """Each height and each width from 1 to 70 once, in maps that are mixtures of the picture's colours."""
    layer = convolution(outputs, inputs, size)
    mixture = np.random.default_rng(3).normal(0, 1, (inputs, 3))
    for height in range(1, 71):
        rgb = kinds(height, height * 37 % 71)[kind]
        source = np.tensordot(mixture, rgb, 1).astype(np.float32)
        assert snr(library().layer(layer, 0.05, source), exact(layer, 0.05, source)) > 50, height


@needs_library
def test_every_tile_has_a_scale_of_its_own():
    """What lies two tiles away from something ten million times larger is as exact as without it."""
    layer, random = convolution(50, 50, 3), np.random.default_rng(2)
    layer = replace(layer, bias=np.zeros(50, np.float32))
    source = random.normal(0, 1e-3, (50, 24, 96)).astype(np.float32)
    source[:, :, 40:44] = random.normal(0, 1e4, (50, 24, 4))
    got, want = library().layer(layer, 1, source), exact(layer, 1, source)
    assert np.abs(want[:, :, 41]).max() > 1e4
    for columns in (slice(0, 36), slice(52, 96)):
        assert snr(got[:, :, columns], want[:, :, columns]) > 45


@needs_library
@pytest.mark.parametrize("value", [0.0, 1e-7, 1.0, 60000.0])
@pytest.mark.parametrize("pattern", ["flat", "checkerboard", "one"])
def test_nothing_saturates(value, pattern):
    """Signs and sizes that would be the worst for fixed scales; half floats end at 65,504 and begin at 6e-8."""
    y, x = np.mgrid[:16, :64]
    picture = {"flat": np.ones((16, 64)), "checkerboard": 1 - 2 * ((y + x) % 2), "one": (y == 7) & (x == 30)}[pattern]
    source = np.repeat((value * picture)[None], 12, 0).astype(np.float32)
    weight = np.full((6, 12, 3, 3), 1 / 108, np.float32)
    layer = Layer("mean", weight, np.zeros(6, np.float32))
    want = exact(layer, 1, source)
    np.testing.assert_allclose(library().layer(layer, 1, source), want, rtol=0, atol=max(1e-3 * value, 6e-8))


@needs_library
def test_what_is_not_finite_stays_so():
    layer = convolution(8, 8, 3)
    for bad in (np.nan, np.inf, -np.inf):
        source = np.random.default_rng(0).normal(0, 1, (8, 12, 40)).astype(np.float32)
        source[3, 5, 17] = bad
        got = library().layer(layer, 0.05, source)
        assert not np.isfinite(got[:, 4:7, 16:19]).any()
        assert np.isfinite(got[:, :, :8]).all()
        assert np.isfinite(got[:, :, 32:]).all()


@needs_library
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"weight": np.full((4, 4, 3, 3), np.nan, np.float32)}, "layer some.layer: a weight is not finite"),
        ({"weight": np.full((4, 4, 3, 3), np.inf, np.float32)}, "layer some.layer: a weight is not finite"),
        ({"bias": np.full(4, 7e4, np.float32)}, "layer some.layer: a bias is beyond the half floats of its map"),
        ({"weight": np.zeros((4, 4, 5, 5), np.float32)}, "a layer is 1x1 or 3x3"),
    ],
)
def test_weights_that_cannot_be_held_are_refused(change, complaint):
    with pytest.raises(UsageError, match=complaint):
        library().layer(replace(convolution(4, 4, 3), **change), 1, np.zeros((4, 8, 8), np.float32))


@needs_library
def test_sums_fit_int32_whatever_the_weights():
    """256 inputs that all pull the same way: with the finest scale of each weight the sums would wrap."""
    layer = Layer("wide", np.full((4, 256, 3, 3), 3.0, np.float32), np.zeros(4, np.float32))
    source = np.full((256, 12, 40), 2.0, np.float32)
    assert snr(library().layer(layer, 1, source), exact(layer, 1, source)) > 60


@needs_library
def test_the_peaks_operations_are_counted():
    """A lane holds two products of int16, or one of float32; each is a multiplication and an addition."""
    floats, integers = (library().operations(10, integers=integers) for integers in (False, True))
    assert integers == 2 * floats > 0
    assert library().operations(20, integers=True) == 2 * integers


# A network

FAMILY = {
    "E-RFDN": {},
    "odd": {"channels": 11, "distillation": 0.27, "scale": 3},
    "residual": {"block_residual": True, "scale": 4},
    "cca": {"attention": "cca", "block_residual": True},
    "cca, one block": {"attention": "cca", "blocks": 1, "channels": 9},
    "esa, one block": {"blocks": 1},
    "srb": {"block": "srb", "distillation": 1.0},
    "base": {"block": "base", "attention": "cca"},
    "fdc": {"block": "fdc", "blocks": 3},
}


def tiny(seed=0, **options):
    """A folded network with torch's own random weights, and a description of it."""
    torch.manual_seed(seed)
    options = RFDNOptions(**{"channels": 10, "blocks": 2, **options})
    known = spec("erfdn-x2-clean")
    return fold(RFDN(options)), replace(known, name="tiny", options=options)


def picture(height, width, seed=0):
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x * a + y * b) for a, b in ((0.3, 0.1), (0.05, 0.2), (0.6, 0.4))])
    noise = np.random.default_rng(seed).normal(0, 0.05, waves.shape)
    return torch.from_numpy((0.5 + 0.4 * waves + noise).astype(np.float32))


@needs_library
@pytest.mark.parametrize("name", FAMILY)
def test_networks_are_torchs(name):
    network, known = tiny(**FAMILY[name])
    winograd, plain = WinogradEngine(network, known, CPU, tile=0), TorchEngine(network, known, CPU, "fp32", 0)
    least = known.minimum_size
    for height, width in [(least, least), (least + 1, 70), (33, least + 2), (40, 64), (67, 129)]:
        rgb = picture(height, width)
        assert snr(winograd(rgb), plain(rgb)) > 46, (height, width)


@needs_library
@pytest.mark.parametrize("kind", kinds(1, 1))
@pytest.mark.parametrize("name", ["E-RFDN", "cca", "srb"])
def test_attention_and_all_around_it_in_float64(name, kind):
    network, known = tiny(**FAMILY[name])
    winograd = WinogradEngine(network, known, CPU, tile=0)
    exactly = copy.deepcopy(network).double()
    for height, width in ((15, 70), (33, 16), (64, 61)):
        rgb = torch.from_numpy(kinds(height, width)[kind].astype(np.float32))
        assert snr(winograd(rgb), exactly(rgb[None].double())[0]) > 46, (height, width)


@needs_library
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (14, 7)])
def test_pictures_below_the_networks_minimum(size):
    network, known = tiny()
    rgb = picture(*size)
    got = WinogradEngine(network, known, CPU, tile=0)(rgb)
    want = TorchEngine(network, known, CPU, "fp32", 0)(rgb)
    assert got.shape == (3, 2 * size[0], 2 * size[1])
    assert snr(got, want) > 46


@needs_library
@pytest.mark.parametrize("name", [model.name for model in models()])
def test_every_model_on_a_photograph_and_on_hard_pictures(name):
    """The promise: 64 dB on what cameras see, 42 dB on anything.

    But for checkerboards with the authors' weights, which make values from -12 to 12 of them (docs/cpu.md).
    """
    source = os.environ.get("RFDN_OFFICIAL_WEIGHTS") if spec(name).url else name
    if source is None:
        pytest.skip("RFDN_OFFICIAL_WEIGHTS names no file")
    network, known = open_model(source)
    winograd, plain = WinogradEngine(network, known, CPU), TorchEngine(network, known, CPU, "fp32")
    for kind, rgb in kinds(96, 120).items():
        made, want = (engine(torch.from_numpy(rgb).float()) for engine in (winograd, plain))
        least = 64 if kind == "photograph" else 30 if (kind, name) == ("checkerboard", "erfdn-x4-official") else 42
        assert psnr(made, want) > least, kind


@needs_library
@pytest.mark.parametrize("attention", ["esa", "cca"])
def test_the_result_does_not_depend_on_threads_or_on_pictures_before(attention):
    network, known = tiny(attention=attention, blocks=3)
    rgb, other = picture(90, 100), picture(21, 140, seed=1)
    engines = [WinogradEngine(network, known, CPU, threads=threads) for threads in (1, 2, 3, 7)]
    want = engines[0](rgb).clone()
    for each in engines:
        for _ in range(3):
            assert torch.equal(each(rgb), want)
            each(other)
            each(other * float("nan"))


@needs_library
def test_views_and_tiles():
    network, known = tiny()
    rgb = picture(120, 150)
    whole, tiled = (WinogradEngine(network, known, CPU, tile=tile) for tile in (0, 64))
    want = whole(rgb).clone()
    assert torch.equal(whole(rgb.flip(2).flip(2)), want)
    padded = F.pad(rgb, (3, 5, 2, 1))
    assert torch.equal(whole(padded[:, 2:-1, 3:-5]), want)
    assert torch.equal(whole(rgb.permute(1, 2, 0).contiguous().permute(2, 0, 1)), want)  # columns apart
    got = tiled(rgb)
    assert got.shape == want.shape
    assert snr(got, want) > 20  # not exact: ESA sees each tile's size


@needs_library
def test_two_networks_at_a_time():
    networks = [tiny(seed) for seed in range(3)]
    rgb = picture(60, 70)
    engines = [WinogradEngine(*each, CPU, threads=2) for each in networks]
    wanted = [each(rgb).clone() for each in engines]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(5):
            for got, want in zip(pool.map(lambda each: each(rgb), engines), wanted, strict=True):
                assert torch.equal(got, want)


@needs_library
def test_a_frame_with_nan_fails_alone():
    network, known = tiny()
    winograd = WinogradEngine(network, known, CPU)
    good = picture(30, 40)
    bad = good.clone()
    bad[1, 12, 20] = float("nan")
    want = winograd(good).clone()
    assert not torch.isfinite(winograd(bad)).all()
    assert torch.equal(winograd(good), want)


# Memory


@needs_library
@pytest.mark.parametrize("preset", ["erfdn-x2-video", "erfdn-x4-official"])
def test_a_full_hd_frame_takes_less_memory_than_in_torch(preset):
    known = spec(preset)
    network = RFDN(known.options)
    made = WinogradEngine(fold(network), known, CPU)
    taken = made._network.bytes(1080, 1920)
    assert taken < 0.3 * 1080 * 1920 * 4 * known.activation_floats_per_pixel


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")


@needs_library
@needs_proc
def test_ten_thousand_frames_take_no_more_than_one():
    network, known = tiny(channels=8, blocks=1)
    made = WinogradEngine(network, known, CPU)
    rgb = picture(16, 16)
    for _ in range(500):
        made(rgb)
    before = resident()
    for _ in range(10000):
        made(rgb)
    assert resident() - before < 1e6  # a hundred bytes a frame


@needs_library
@needs_proc
def test_memory_is_given_back():
    network, known = tiny(channels=32)
    rgb = picture(300, 400)

    def use():
        made = WinogradEngine(network, known, CPU, tile=0)
        made(rgb)
        return made._network.bytes(300, 400)

    taken = use()
    before = resident()
    for _ in range(6):
        use()
    assert taken > 30e6
    assert resident() - before < taken


# Who takes it


@needs_library
def test_auto_takes_it_and_says_on_what(tiny_model, caplog):
    with Upscaler(tiny_model, device="cpu") as upscaler:
        assert isinstance(upscaler.engine, WinogradEngine)
        assert upscaler.engine.precision == "int16"
        assert "winograd int16 on AVX" in upscaler.description
    assert not caplog.records
    with Upscaler(tiny_model, device="cpu", engine="torch") as upscaler:
        assert isinstance(upscaler.engine, TorchEngine)


@needs_library
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"precision": "fp32"}, "engine winograd computes in int16, not in fp32; choose engine torch"),
        ({"model": "imdn"}, "engine winograd runs RFDN, not imdn; choose engine torch"),
        ({"model": "large"}, "engine winograd cannot hold these weights: layer LR_conv: a bias is beyond the half"),
    ],
)
def test_auto_goes_on_to_the_next_and_says_why(tiny_model, tmp_path, caplog, options, why):
    caplog.set_level(logging.INFO, "rfdn_stream")
    model = tmp_path / f"{options['model']}.safetensors" if "model" in options else None
    if options.get("model") == "imdn":
        net = blank("imdn", IMDNOptions(channels=16, blocks=1)).to_empty(device="cpu")
        checkpoint.save(model, IMDN(net.options), {"value_range": "0..1"})
    elif model:
        save_tiny(model, LR_conv__bias=7e4)
    options = {**options, "model": model or tiny_model, "device": "cpu"}
    with Upscaler(**options) as upscaler:
        assert not isinstance(upscaler.engine, WinogradEngine)
    assert f"not by engine winograd: {why}" in caplog.text
    with pytest.raises(UsageError, match=why):
        Upscaler(**options, engine="winograd")


class Wrong:
    """A library that has computed something else."""

    isa_name = "AVX2"

    def network(self, options, layers, threads):
        return library().network(options, [replace(layers[0], bias=layers[0].bias + 0.01), *layers[1:]], threads)


@needs_library
def test_a_library_that_is_wrong_here_is_not_used(caplog):
    with pytest.raises(EngineUnavailableError, match=r"engine winograd reaches -?[0-9.]+ dB of fp32 here"):
        WinogradEngine(*tiny(), CPU, code=Wrong())
    assert "engine winograd is not used: it reaches" in caplog.text


def test_no_library_no_engine(tiny_model, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "rfdn_stream")

    def missing():
        return Library(tmp_path / "librfdn.so")

    monkeypatch.setattr(engine, "library", missing)
    with Upscaler(tiny_model, device="cpu") as upscaler:
        assert not isinstance(upscaler.engine, WinogradEngine)
    assert "engine winograd is not there: it was not built at installation" in caplog.text


def test_a_file_that_is_no_library(tmp_path):
    (tmp_path / "librfdn.so").write_bytes(b"no library")
    with pytest.raises(NoLibraryError, match=r"librfdn.so cannot be loaded"):
        Library(tmp_path / "librfdn.so")


@needs_compiler
def test_a_library_of_another_version(tmp_path):
    old = tmp_path / "librfdn.so"
    command = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(old)]
    subprocess.run(command, input=b'extern "C" int rfdn_abi() { return 0; }', check=True)
    with pytest.raises(NoLibraryError, match=r"librfdn\.so has interface 0, not 2; install rfdn-stream anew"):
        Library(old)


@needs_library
def test_a_network_whose_maps_are_too_large_is_left_to_the_next(tmp_path):
    """Each layer by itself fits into half floats, but not their sum."""
    path = save_tiny(tmp_path / "large.safetensors", LR_conv__bias=6e4, fea_conv__bias=6e4)
    with Upscaler(path, device="cpu") as upscaler:
        assert not isinstance(upscaler.engine, WinogradEngine)
        upscaler.submit(random_frame()).result()


# The build


@needs_library
def test_the_library_has_every_instruction_set_that_the_compiler_knows():
    compiler = build.find_compiler()
    for number, flags in enumerate(build.ISAS.values()):
        known = subprocess.run([compiler, *flags, "-x", "c++", "-fsyntax-only", "-"], input=b"", capture_output=True)
        name = library()._c.rfdn_isa_name(number)
        assert (name is not None) == (known.returncode == 0)
    assert len(build.ISAS) == ISAS


@needs_compiler
def test_kernels_share_no_code(tmp_path):
    """A function that two objects share is taken from either: from the one that this processor cannot run, say.

    Unoptimized, so that nothing is missing only because it was inlined.
    """
    for isa, flags in build.ISAS.items():
        source, made = build.SOURCES / f"kernels_{isa}.cpp", tmp_path / f"{isa}.o"
        subprocess.run(["g++", *build.FLAGS, "-O0", *build.WARNINGS, *flags, "-c", source, "-o", made], check=True)
        symbols = subprocess.run(["nm", "--defined-only", made], capture_output=True, text=True, check=True).stdout
        kinds = {line.split()[1] for line in symbols.splitlines()}
        assert "T" in kinds
        assert kinds <= set("Ttrdb"), symbols


def test_without_a_compiler_the_build_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError, match=r"no C\+\+ compiler \(no-such-compiler\)"):
        build.build(tmp_path)
    monkeypatch.setattr(build.platform, "machine", lambda: "arm64")
    with pytest.raises(build.BuildError, match="there is no code for arm64, only for x86-64"):
        build.build(tmp_path)
    assert list(tmp_path.iterdir()) == []


def compiled(folder, sources, flags_of):
    """The objects of sources, each with its flags."""

    def compile_one(source):
        made = folder / f"{source.stem}.o"
        flags = ["-std=c++17", "-O0", "-pthread", *build.WARNINGS, *flags_of(source.stem), "-I", build.SOURCES]
        subprocess.run(["g++", *flags, "-c", source, "-o", made], check=True)
        return made

    with ThreadPoolExecutor() as pool:
        return list(pool.map(compile_one, sources))


@needs_library
@needs_compiler
@pytest.mark.parametrize("sanitizer", FUZZED)
def test_sanitizers_find_nothing(tmp_path, sanitizer):
    """Random networks and pictures on several threads; maps have forbidden bytes between them."""
    sources = [FUZZ, *build.SOURCES.glob("*.cpp")]
    objects = compiled(tmp_path, sources, lambda _: (*FUZZED[sanitizer], *build.ISAS["avx2"]))
    program = tmp_path / "fuzz"
    subprocess.run(["g++", "-pthread", *FUZZED[sanitizer], *objects, "-o", program], check=True)
    count = "30" if sanitizer != "tsan" else "8"
    ran = subprocess.run([program, "1", count], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr


@needs_library
@needs_compiler
def test_the_kernels_of_avx512_lane_by_lane(tmp_path):
    """Their instructions emulated, for processors that lack them: vectors of 16, their order of lanes, their edges."""
    emulated = ("-include", Path(__file__).with_name("avx512_emulated.hpp"), "-Wno-unused-parameter")
    special = {"kernels_avx512_vnni": (*emulated, *build.ISAS["avx2"]), "kernels_avx2": build.ISAS["avx2"]}
    objects = compiled(tmp_path, build.SOURCES.glob("*.cpp"), lambda stem: ("-fPIC", *special.get(stem, ())))
    file = tmp_path / "librfdn.so"
    subprocess.run(["g++", "-shared", "-pthread", *objects, "-o", file], check=True)
    plain, wide = Library(file, 0), Library(file, 0)
    wide.isa = ISAS - 1  # which Library would refuse here
    random = np.random.default_rng(1)
    for size in (3, 1):
        for outputs, inputs in ((50, 50), (7, 3)):
            layer = convolution(outputs, inputs, size)
            for height, width in SIZES:
                source = random.normal(0, 1, (inputs, height, width)).astype(np.float32)
                assert snr(wide.layer(layer, 0.05, source), exact(layer, 0.05, source)) > 50
    for options in FAMILY.values():
        network, known = tiny(**options)
        got, want = (WinogradEngine(network, known, CPU, tile=0, code=code) for code in (wide, plain))
        for rgb in (picture(16, 15), picture(33, 150)):
            assert snr(got(rgb), want(rgb)) > 55
