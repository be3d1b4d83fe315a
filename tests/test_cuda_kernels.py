"""colour.cu and its launching: the compilers' verdicts, every case, memory, races, errors; most of it without a GPU.

That the kernels are a twin of the others is in test_kernels.py.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import cycle, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cuda_shim import SANITIZERS, Shim, ShimError, build, layout
from pictures import assert_codes, colors_of, random_planes, random_rgb
from rfdn_stream.errors import DeviceError, MediaError, UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, PixelFormat, Siting
from rfdn_stream.kernels import cpu, cuda, reference
from rfdn_stream.kernels.base import ColorKernels

FLOATS = [torch.float32, torch.float16, torch.bfloat16]
SIZES = [(1, 1), (2, 3), (37, 23), (64, 16)]
SOURCE = cuda.SOURCE.read_text()


# What the compilers say


@pytest.mark.skipif(sys.platform != "linux", reason="cuda-bindings and NVRTC are among the dependencies on Linux alone")
@pytest.mark.parametrize("architecture", [75, 80, 86, 89, 90, 100, 120])
def test_nvrtc_builds_every_kernel_without_spills(architecture: int, capsys: pytest.CaptureFixture[str]) -> None:
    from cuda_shim import nvrtc

    usage = nvrtc.usage(architecture)
    assert len(usage) == 2 * 2 * len(FLOATS)
    assert all((use.stack, use.spill_stores, use.spill_loads) == (0, 0, 0) for use in usage.values())
    registers = [use.registers for use in usage.values()]
    assert max(registers) <= 48  # 1280 threads a multiprocessor of 65536 registers, more than half of any
    with capsys.disabled():
        print(f"\nsm_{architecture}: {len(usage)} kernels, {min(registers)} to {max(registers)} registers, no spills")


def test_the_source_needs_no_header_and_no_encoding() -> None:
    assert "#include" not in SOURCE
    assert SOURCE.isascii()


def test_numpy_and_the_compiler_lay_out_the_structs_alike(shim_folder: Path) -> None:
    compiled = layout(build(shim_folder, SANITIZERS["asan+ubsan"]))
    structs = {"Plane": cuda.PLANE, "Image": cuda.IMAGE, "Axis": cuda.AXIS, "Params": cuda.PARAMS}
    ours = {
        f"{name}.{field}": (struct.fields[field][1], struct[field].itemsize)
        for name, struct in structs.items()
        for field in struct.names
    }
    assert compiled == ours | {"Params": (0, cuda.PARAMS.itemsize)}
    assert cuda.PARAMS.itemsize <= 256


# Every case: rounded as on a GPU, and with every access watched


@pytest.fixture(scope="session")
def fused(shim_folder: Path) -> Iterator[Shim]:
    """The shim with products fused into sums, as NVRTC does it, where this CPU can."""
    cpuinfo = Path("/proc/cpuinfo")
    can = cpuinfo.exists() and " fma " in cpuinfo.read_text()
    with Shim(build(shim_folder, ("-O2", "-mfma", "-ffp-contract=fast") if can else ("-O2",))) as shim:
        yield shim


@pytest.fixture(scope="session", params=["fused", pytest.param("card", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> ColorKernels:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session", params=["asan+ubsan", "front", "back"])
def watched(request: pytest.FixtureRequest, shim_folder: Path) -> Iterator[Shim]:
    """The shim under sanitizers, or with a guard page before or behind each piece of memory."""
    if request.param in SANITIZERS:
        yield request.getfixturevalue("shim")
        return
    with Shim(build(shim_folder), memory=request.param) as shim:
        yield shim


@pytest.mark.parametrize("format", FORMATS.values(), ids=lambda f: f.name)
def test_every_case_equals_the_reference(kernels: ColorKernels, format: PixelFormat) -> None:
    """Every matrix, range and siting, odd sizes, every float type, planar and channels last; threads in any order."""
    assert_every_case(kernels, format, product(cases(format), FLOATS))


@pytest.mark.parametrize("format", FORMATS.values(), ids=lambda f: f.name)
def test_every_case_stays_within_its_memory(watched: Shim, format: PixelFormat) -> None:
    """The same, the float types taking turns."""
    assert_every_case(watched, format, zip(cases(format), cycle(FLOATS)))


Case = tuple[ColorSpec, tuple[int, int]]


def cases(format: PixelFormat) -> Iterator[Case]:
    colors = [color for siting in get_args(Siting) for color in colors_of(format, siting=siting)]
    return product(colors, SIZES)


def assert_every_case(kernels: ColorKernels, format: PixelFormat, cases: Iterable[tuple[Case, torch.dtype]]) -> None:
    rng = np.random.default_rng(0)
    for index, ((color, (width, height)), dtype) in enumerate(cases):
        channels_last, dither = index % 2 == 1, index % 5 == 4
        planes, _ = random_planes(format, width, height, rng, pitch=index % 4)
        tensors = [torch.from_numpy(p) for p in planes]
        rgb = random_rgb(width, height, rng, dtype, channels_last)

        out = torch.full_like(rgb, torch.nan)
        kernels.pre(tensors, format, color, out)
        half_a_step = torch.finfo(dtype).eps / 2
        want = reference.to_rgb(planes, format, color)
        np.testing.assert_allclose(out.double().numpy(), want, rtol=half_a_step, atol=1e-6)

        kernels.post(rgb, tensors, format, color, dither=dither)
        assert_codes(planes, reference.from_rgb(rgb.double().numpy(), format, color, dither=dither), format)


# Memory and order; and that the checks can fail


def exercise(shim: Shim) -> None:
    """AssertionError where a picture comes out wrong, or comes out differently in another order of threads."""
    format, color, rng = FORMATS["yuv420p"], ColorSpec(siting="center"), np.random.default_rng(0)
    planes, _ = random_planes(format, 37, 23, rng, pitch=0)
    rgb = random_rgb(37, 23, rng, torch.float32, packed=False)
    outs = [torch.full((3, 23, 37), torch.nan) for _ in range(3)]
    codes = [[torch.zeros(p.shape, dtype=torch.uint8) for p in planes] for _ in range(3)]
    for out, targets in zip(outs, codes):
        shim.pre([torch.from_numpy(p) for p in planes], format, color, out)
        shim.post(rgb, targets, format, color)
    for out, targets in zip(outs[1:], codes[1:]):
        same = torch.equal(out, outs[0]) and all(map(torch.equal, targets, codes[0]))
        assert same, "the result depends on the order"
    np.testing.assert_allclose(outs[0].numpy(), reference.to_rgb(planes, format, color), rtol=0, atol=1e-6)
    assert_codes([t.numpy() for t in codes[0]], reference.from_rgb(rgb.numpy(), format, color), format)


class Check(NamedTuple):
    """A way to run the kernels, and what its findings look like."""

    sanitizer: str
    memory: tuple[str, ...]
    finding: str


CHECKS = {
    "reference": Check("none", ("heap",), "AssertionError"),
    "order": Check("none", ("heap",), "depends on the order"),
    "guard pages": Check("none", ("front", "back"), "exit code -11"),
    "asan+ubsan": Check("asan+ubsan", ("heap",), "AddressSanitizer: heap-buffer-overflow|runtime error: "),
    "tsan": Check("tsan", ("heap",), "ThreadSanitizer: data race"),
}


def findings(check: Check, folder: Path, source: Path = cuda.SOURCE) -> list[str]:
    """What the check has to say against a source."""
    program, said = build(folder, SANITIZERS[check.sanitizer], source), []
    for memory in check.memory:
        try:
            with Shim(program, memory=memory, workers=4 if check.sanitizer == "tsan" else 1) as shim:
                exercise(shim)
        except (AssertionError, ShimError) as found:
            said.append(f"{type(found).__name__}: {found}")
    return said


@pytest.mark.parametrize("name", CHECKS)
def test_the_kernels_stand_every_check(shim_folder: Path, name: str) -> None:
    assert findings(CHECKS[name], shim_folder) == []


# (what the source says, what it is made to say, the checks that must see it)
FAULTS = {
    "guard one too far": ("x >= p.x.luma ||", "x > p.x.luma ||", ["asan+ubsan", "guard pages"]),
    "no guard of rows": ("cx >= p.x.chroma || cy >= p.y.chroma", "cx >= p.x.chroma", ["asan+ubsan", "guard pages"]),
    "chroma read outside": ("inside(x, p.x.chroma)", "x", ["asan+ubsan", "reference"]),
    "pixel read one row below": ("inside(y, p.y.luma))", "min(max(y, 0), p.y.luma))", ["asan+ubsan", "guard pages"]),
    "two threads write one pixel": (
        "out = pixel<Float>(p, x, y)",
        "out = pixel<Float>(p, x & ~1, y)",
        ["order", "tsan"],
    ),
    "two threads write the same": ("left + (1 << p.x.subs", "left + (2 << p.x.subs", ["tsan"]),
    "misaligned store": ("store(out + c", "*(volatile int *)((char *)out + 2) = 0; store(out + c", ["asan+ubsan"]),
    "shift too far": ("y) >> p.shift", "y) >> (p.shift + 40)", ["asan+ubsan"]),
    "NaN gives 1": ("fminf(fmaxf(value, 0.0f), 1.0f)", "fmaxf(fminf(value, 1.0f), 0.0f)", ["reference"]),
    "siting the wrong way": ("p.x.taps[2 * odd_x + i]", "p.x.taps[2 * odd_x + 1 - i]", ["reference"]),
}


@pytest.mark.parametrize(("fault", "name"), [(fault, name) for fault, (*_, names) in FAULTS.items() for name in names])
def test_a_planted_fault_is_found(shim_folder: Path, fault: str, name: str) -> None:
    right, wrong, _ = FAULTS[fault]
    assert SOURCE.count(right) == 1
    source = shim_folder / f"{fault}.cu"
    # Only the kernels that `exercise` runs: the others would take half of the time.
    source.write_text(re.sub(r"^KERNELS\((?!u8_f32).*\n", "", SOURCE.replace(right, wrong), flags=re.MULTILINE))
    assert re.search(CHECKS[name].finding, "\n".join(findings(CHECKS[name], shim_folder, source)))


# Launching


class Recorder:
    """A Launch that only remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *call: Any) -> None:
        self.calls.append(call)


def picture(
    format: PixelFormat, width: int, height: int, device: str | None = None
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Planes and RGB, all zero."""
    dtype = torch.uint8 if format.dtype.itemsize == 1 else torch.uint16
    planes = [torch.zeros(shape, dtype=dtype, device=device) for shape in format.plane_shapes(width, height)]
    return planes, torch.zeros(3, height, width, device=device)


def test_one_launch_covers_the_picture_and_no_call_changes_the_parameters_of_another() -> None:
    format, launch = FORMATS["p010le"], Recorder()
    pictures = [picture(format, 67, 19) for _ in range(2)]
    for planes, rgb in pictures:
        cuda.pre(planes, format, ColorSpec(), rgb, launch=launch)
        cuda.post(rgb.half(), planes, format, ColorSpec(), launch=launch)
    assert [call[:3] for call in launch.calls] == [
        ("pre_u16_f32", (3, 3, 1), (32, 8, 1)),
        ("post_u16_f16", (2, 2, 1), (32, 8, 1)),
    ] * 2
    for (planes, rgb), (*_, params) in zip(pictures, launch.calls[::2]):
        assert params["rgb"]["address"] == rgb.data_ptr()
        luma, chroma = (plane.data_ptr() for plane in planes)
        np.testing.assert_array_equal(params["component"]["address"], [[luma, chroma, chroma + 2]])
        np.testing.assert_array_equal(params["component"]["column"], [[1, 2, 2]])


@pytest.mark.parametrize(
    ("rgb", "complaint"),
    [
        (torch.zeros(3, 4, 6, dtype=torch.float64), "got torch.float64 .3, 4, 6. for RGB"),
        (torch.zeros(4, 4, 6), "got torch.float32 .4, 4, 6. for RGB"),
        (torch.zeros(3, 4, 6, device="meta"), "takes planes of torch.uint8 on meta, got torch.uint8 on cpu"),
        (torch.zeros(3, 4, 6), "take tensors on a CUDA device, got them on cpu"),
    ],
)
def test_tensors_that_the_kernels_do_not_take_are_refused(rgb: torch.Tensor, complaint: str) -> None:
    planes, _ = picture(FORMATS["yuv420p"], 6, 4)
    with pytest.raises(UsageError, match=complaint):
        cuda.post(rgb, planes, FORMATS["yuv420p"], ColorSpec())


def test_planes_of_another_depth_are_refused() -> None:
    planes, rgb = picture(FORMATS["yuv420p"], 6, 4)
    with pytest.raises(UsageError, match=r"yuv420p10le takes planes of torch\.uint16 on cpu, got torch\.uint8 on cpu"):
        cuda.pre(planes, FORMATS["yuv420p10le"], ColorSpec(), rgb)
    with pytest.raises(MediaError, match="does not go with matrix"):
        cuda.pre(planes, FORMATS["yuv420p"], RGB_FULL, rgb, launch=Recorder())


# CuPy: stand-ins for it, as it cannot launch without a device


DEVICE = torch.device("cuda", 0)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A CuPy that launches nothing; `cupy.launched` tells what it was asked to launch."""
    launched: list[tuple[Any, ...]] = []
    module = SimpleNamespace(get_function=lambda name: lambda *call: launched.append((name, *call)))
    stand_in = SimpleNamespace(
        launched=launched,
        module=module,
        RawModule=lambda code, options: module,
        cuda=SimpleNamespace(
            runtime=SimpleNamespace(runtimeGetVersion=lambda: 13020),
            Stream=SimpleNamespace(from_external=lambda stream: nullcontext()),
        ),
    )
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    cuda._on_cupy.cache_clear()
    yield stand_in
    cuda._on_cupy.cache_clear()


def test_a_kernel_is_built_once_and_gets_its_parameters_by_value(cupy: SimpleNamespace) -> None:
    built: list[str] = []
    get = cupy.module.get_function
    cupy.module.get_function = lambda name: built.append(name) or get(name)
    params = np.zeros(1, cuda.PARAMS)
    for _ in range(2):
        cuda._on_cupy(DEVICE)("pre_u8_f32", (1, 1, 1), cuda.BLOCK, params)
    assert built == ["pre_u8_f32"]
    assert cupy.launched == [("pre_u8_f32", (1, 1, 1), cuda.BLOCK, (params,))] * 2
    assert cuda.choose(DEVICE) is cuda


def no_cupy(monkeypatch: pytest.MonkeyPatch, cupy: SimpleNamespace) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)


def cupy_of_another_cuda(monkeypatch: pytest.MonkeyPatch, cupy: SimpleNamespace) -> None:
    cupy.cuda.runtime.runtimeGetVersion = lambda: 12090


def nvrtc_refuses(monkeypatch: pytest.MonkeyPatch, cupy: SimpleNamespace) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("colour.cu(3): error: no such thing\nand more lines of it")

    cupy.module.get_function = fail


@pytest.mark.parametrize(
    ("happens", "error", "complaint"),
    [
        (no_cupy, UsageError, r"CuPy is missing \(.*\); pip install 'rfdn-stream\[cuda13\]'$"),
        (
            cupy_of_another_cuda,
            UsageError,
            r"for CUDA 12, torch for 13.2; pip uninstall cupy-cuda12x, then pip install 'rfdn-stream\[cuda13\]'$",
        ),
        (nvrtc_refuses, DeviceError, r"for cuda:0: colour.cu\(3\): error: no such thing; .*'rfdn-stream\[cuda13\]'$"),
    ],
)
def test_what_is_missing_is_named_and_torch_steps_in_loudly(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cupy: SimpleNamespace,
    happens: Callable[[pytest.MonkeyPatch, SimpleNamespace], None],
    error: type[Exception],
    complaint: str,
) -> None:
    happens(monkeypatch, cupy)
    with pytest.raises(error, match=complaint):
        cuda._on_cupy(DEVICE)("pre_u8_f32", (1, 1, 1), cuda.BLOCK, np.zeros(1, cuda.PARAMS))
    assert cuda.choose(DEVICE) is cpu
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search("plain torch, which is slower: .*" + complaint, record.getMessage())


@pytest.mark.parametrize("format", FORMATS.values(), ids=lambda f: f.name)
def test_torch_steps_in_on_the_device_alone(format: PixelFormat) -> None:
    """No tensor of another device among its operations, by torch's own account."""
    color = RGB_FULL if format.family == "rgb" else ColorSpec()
    with FakeTensorMode(), torch.device("cuda"):
        planes, rgb = picture(format, 37, 23)
        cpu.pre(planes, format, color, rgb)
        for dither in (False, True):
            cpu.post(rgb.half(), planes, format, color, dither=dither)


# On a real device


@pytest.mark.gpu
def test_a_call_runs_on_the_current_stream_and_takes_no_memory() -> None:
    format = FORMATS["yuv420p"]
    planes, out = picture(format, 640, 360, "cuda")
    cuda.pre(planes, format, ColorSpec(), out)
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(50_000_000)
        planes[0].fill_(235)
        for plane in planes[1:]:
            plane.fill_(128)
        cuda.pre(planes, format, ColorSpec(), out)
        assert not torch.cuda.current_stream().query()  # still asleep: the call did not wait
        torch.cuda.current_stream().synchronize()
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before
    torch.testing.assert_close(out, torch.ones_like(out), rtol=0, atol=1e-6)


@pytest.mark.gpu
def test_torch_steps_in_with_the_same_codes() -> None:
    format, color, rng = FORMATS["yuv420p10le"], ColorSpec(), np.random.default_rng(0)
    rgb = random_rgb(64, 36, rng, torch.float32, packed=False)
    planes, out = picture(format, 64, 36, "cuda")
    cpu.post(rgb.cuda(), planes, format, color)
    assert_codes([p.cpu().numpy() for p in planes], reference.from_rgb(rgb.numpy(), format, color), format)
    cpu.pre(planes, format, color, out)
    np.testing.assert_allclose(
        out.cpu().numpy(), reference.to_rgb([p.cpu().numpy() for p in planes], format, color), atol=1e-6
    )
