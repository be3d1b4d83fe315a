"""What can be told of a machine in a few seconds, without running a network."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rfdn_stream import __version__
from rfdn_stream.doctor.finding import Finding, absent, broken, ok
from rfdn_stream.errors import RfdnError

ENCODERS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores_ks")
NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
COMPILER = "install a C++ compiler (apt install g++), then rfdn-stream anew (pip install --force-reinstall)"
LOW_SPACE = 10e9  # bytes: an hour of 4K at the default quality

# Optional libraries: import name, distribution, extra, what goes without it.
OPTIONAL = (
    ("openvino", "openvino", "openvino", "no engine openvino, for what winograd cannot run"),
    ("ray", "ray", "ray", "no spreading over a cluster"),
    ("pyvirtualcam", "pyvirtualcam", "live", "no virtual camera"),
    ("onnx", "onnx", "export", "no export to ONNX, no engines openvino and tensorrt"),
    ("onnxruntime", "onnxruntime", "export", "no check of what is exported to ONNX"),
    ("matplotlib", "matplotlib", "plot", "no plots"),
)


def examine(folder: Path) -> Iterator[Finding]:
    """Looks at everything; `folder` is where results would be written. Never raises for what it finds."""
    yield ok(
        "rfdn-stream", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    yield from _torch()
    yield from _gpu()
    yield from _media()
    yield from _models()
    yield from _vapoursynth()
    yield from _optional()
    yield _space(folder)


def _torch() -> Iterator[Finding]:
    import torch

    from rfdn_stream.engines.torch_engine import choose_precision
    from rfdn_stream.engines.winograd.build import X86_64

    precision, why = choose_precision("auto", torch.device("cpu"))
    capability = torch.backends.cpu.get_cpu_capability()
    yield ok("torch", f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} processors")
    if capability in ("DEFAULT", "NO AVX") and platform.machine().lower() in X86_64:
        yield broken("CPU", f"{platform.machine()}, no AVX2", "several times slower", "use another machine")
    else:
        yield ok("CPU", f"{capability}; torch in {precision} ({why})")
    yield _cpu_engine()
    yield _auto_engine()


def _cpu_engine() -> Finding:
    from rfdn_stream.engines.winograd.build import X86_64
    from rfdn_stream.engines.winograd.library import NoLibraryError, library

    try:
        return ok("CPU engine", f"winograd, int16 on {library().isa_name}")
    except NoLibraryError as failure:
        remedy = "" if platform.machine().lower() not in X86_64 else COMPILER
        return absent("CPU engine", str(failure), "OpenVINO or torch takes its place, about three times slower", remedy)


def _auto_engine() -> Finding:
    """What `auto` comes to on this CPU for the default model, and why. Measures where there is AMX and it never has."""
    from rfdn_stream.engines.choice import has_amx, order
    from rfdn_stream.nets.catalogue import default_model, open_model
    from rfdn_stream.upscaler import Upscaler

    part = "engine by auto"
    try:
        with Upscaler(default_model(2), device="cpu") as upscaler:
            device, model = upscaler.device, upscaler.model
            names = order(device.engines, open_model(model)[0], model, device.torch_device, "auto")
    except RfdnError as failure:
        return broken(part, str(failure), "nothing works without it", "install rfdn-stream anew")
    why = ", the fastest first as measured on this CPU with AMX" if has_amx() else ""
    return ok(part, f"{upscaler.engine.description}; the first that can of {', '.join(names)}{why}")


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.version.cuda is None:
        yield absent("GPU", "this torch was built without CUDA", "everything runs on the CPU", CUDA_TORCH)
        return
    if not torch.cuda.is_available():
        yield absent("GPU", "no NVIDIA card with a driver that torch can use", "everything runs on the CPU", DRIVER)
        return
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        memory = f"{card.total_memory / 2**30:.0f} GiB"
        yield ok(
            f"GPU cuda:{index}", f"{card.name}, {memory}, compute {card.major}.{card.minor}, CUDA {torch.version.cuda}"
        )
    yield ok("GPU checks", "`rfdn-stream doctor --gpu` checks and measures each card")
    major = torch.version.cuda.partition(".")[0]
    yield _library("cupy", f"cupy-cuda{major}x", f"cuda{major}", "slower colour conversion on the card")


CUDA_TORCH = "pip install torch from https://pytorch.org with the CUDA version of your driver"
DRIVER = "with an NVIDIA card: install its driver (nvidia-smi shows it)"


def _media() -> Iterator[Finding]:
    import av
    from av.codec import codecs_available

    libraries = av.library_versions["libavcodec"]
    yield ok("PyAV", f"{av.__version__}, libavcodec {'.'.join(map(str, libraries))}")
    there = [name for name in ENCODERS if name in codecs_available]
    missing = [name for name in ENCODERS if name not in codecs_available]
    if "libx264" in missing or "libx265" in missing:
        yield broken("encoders", ", ".join(there), f"no {', '.join(missing)}", "pip install --force-reinstall av")
    else:
        yield ok("encoders", ", ".join(there) + (f"; not {', '.join(missing)}" if missing else ""))
    nvenc = [name for name in NVENC if name in codecs_available]
    yield ok("NVENC", f"{', '.join(nvenc) or 'none'} in this PyAV; they need a card and a driver")


def _models() -> Iterator[Finding]:
    from rfdn_stream.nets.catalogue import default_model, models, open_model

    for purpose in ("video", "image"):
        try:
            model = default_model(2, purpose)
            open_model(model)
        except RfdnError as failure:
            yield broken(f"model for {purpose}", str(failure), "nothing works without it", "install rfdn-stream anew")
        else:
            yield ok(f"model for {purpose}", f"{model.name}, whole")
    there = [model.name for model in models() if model.available]
    missing = [model for model in models() if not model.available]
    yield ok("models here", ", ".join(there))
    for model in missing:
        remedy = f"rfdn-stream models fetch {model.name}"
        yield absent(f"model {model.name}", "not fetched", f"no x{model.scale} by it", remedy)


def _vapoursynth() -> Iterator[Finding]:
    found = _library("vapoursynth", "vapoursynth", "vapoursynth", "no filter for VapourSynth")
    yield found
    if found.state != "ok":
        return
    if importlib.util.find_spec("vsrfdn") is None:
        yield broken("vsrfdn", "not importable", "no filter for VapourSynth", "install rfdn-stream anew")
        return
    yield ok("vsrfdn", "import vsrfdn; vsrfdn.rfdn(clip)")
    yield _vspipe()


def _vspipe() -> Finding:
    """Has vspipe import the filter: it runs the Python that `vapoursynth config` has noted down, if it has run."""
    cost = "no scripts from the command line"
    vspipe = shutil.which("vspipe", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if vspipe is None:
        return absent("vspipe", "not on the PATH", cost, "pip install 'rfdn-stream[vapoursynth]'")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "doctor.vpy"
        script.write_text("import vapoursynth, vsrfdn\nvapoursynth.core.std.BlankClip().set_output()\n")
        try:
            done = subprocess.run(
                [vspipe, "--info", script], capture_output=True, text=True, timeout=60, check=False, cwd=folder
            )
        except (OSError, subprocess.TimeoutExpired) as failure:
            return broken("vspipe", f"{vspipe}: {failure}", cost, "pip install --force-reinstall vapoursynth")
    if "Failed to initialize VSScript" in done.stderr:
        return absent(
            "vspipe", f"{vspipe} does not know its Python yet", cost, f"{sys.executable} -m vapoursynth config"
        )
    if done.returncode:
        why = next((line for line in done.stderr.splitlines() if line.startswith("Python exception")), done.stderr)
        return broken("vspipe", f"{vspipe} cannot use the filter: {why.strip()}", cost, "install rfdn-stream anew")
    return ok("vspipe", f"{vspipe} runs the filter")


def _optional() -> Iterator[Finding]:
    for module, distribution, extra, cost in OPTIONAL:
        yield _library(module, distribution, extra, cost)


def _library(module: str, distribution: str, extra: str, cost: str) -> Finding:
    """An optional library: looked for, not imported (some take seconds, and a broken one may crash)."""
    if importlib.util.find_spec(module) is None:
        return absent(module, "not installed", cost, f"pip install 'rfdn-stream[{extra}]'")
    try:
        return ok(module, version(distribution))
    except PackageNotFoundError:  # installed under another name: cupy has one for each CUDA version
        return ok(module, "installed")


def _space(folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as failure:
        return broken(
            "free space", f"{folder}: {failure.strerror}", "results cannot be written there", "choose another folder"
        )
    detail = f"{free / 1e9:.0f} GB in {folder.resolve()}"
    if free < LOW_SPACE:
        return broken("free space", detail, "a long video may not fit", "write to another disk")
    return ok("free space", detail)
