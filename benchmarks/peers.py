"""The same weights and the same picture through this project's engine and through what else runs RFDN on a CPU.

    uv run python benchmarks/peers.py [--model erfdn-x2-video] [--size 480x270] [--rounds 7] [--plugins FOLDER]

In one process, a frame each in turn, all on as many threads as torch has. Ratios are medians over rounds of the ratio
in each, as machines change their speed from one minute to the next. What is not installed is named, with the command
that gets it. --plugins: where vs-mlrt's libraries lie, if VapourSynth does not load them by itself.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does
sys.path.pop(0)  # this folder, where `vapoursynth` would be the benchmark of that name

import numpy as np
import torch

from rfdn_stream import registry
from rfdn_stream.doctor.engines import picture
from rfdn_stream.engines.base import EngineUnavailableError
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.onnx import to_onnx

Run = Callable[[], np.ndarray]
ENGINES = ("winograd", "auto"), ("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16")


class AbsentError(Exception):
    """A peer that is not here, and how to get it."""


def engines(model: str, rgb: torch.Tensor) -> Iterator[tuple[str, Run]]:
    """This project's engines; bf16 only where the processor multiplies it."""
    for name, precision in ENGINES:
        if precision == "bf16" and not getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16"):
            continue
        network, spec = open_model(model)
        try:
            made = registry.load(registry.ENGINES, name, "engine")(network, spec, torch.device("cpu"), precision, 0)
        except EngineUnavailableError as failure:
            print(f"{name} {precision}: {failure}")
            continue
        yield f"{name} {made.precision}", lambda engine=made: engine(rgb).float().numpy()


def onnx_runtime(graph: Path, rgb: np.ndarray) -> Run:
    try:
        import onnxruntime
    except ImportError:
        raise AbsentError("pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input": rgb[None]})[0][0]


def ncnn(graph: Path, rgb: np.ndarray) -> Run:
    """By pnnx, with the picture's size fixed, which its resizing needs."""
    try:
        import ncnn
        import pnnx
    except ImportError:
        raise AbsentError("pip install ncnn pnnx") from None
    _, height, width = rgb.shape
    command = [pnnx.EXEC_PATH, graph.name, f"inputshape=[1,3,{height},{width}]f32", "fp16=0"]
    subprocess.run(command, cwd=graph.parent, check=True, capture_output=True)
    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.load_param(str(graph.with_suffix(".ncnn.param")))
    net.load_model(str(graph.with_suffix(".ncnn.bin")))

    def run() -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(rgb))
        return np.array(extractor.extract("out0")[1])

    run.net = net  # lives as long as what runs it
    return run


def vs_mlrt(name: str, graph: Path, rgb: np.ndarray, plugins: Path | None) -> Run:
    """vs-mlrt's plugin of that name, a frame at a time."""
    try:
        import vapoursynth as vs
    except ImportError:
        raise AbsentError("pip install 'rfdn-stream[vapoursynth]'") from None
    core = vs.core
    if not hasattr(core, name) and plugins:
        for library in plugins.rglob(f"libvs{name}.so"):
            core.std.LoadPlugin(str(library))
    if not hasattr(core, name):
        raise AbsentError(f"pip install vapoursynth-mlrt-{name}")
    _, height, width = rgb.shape

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        made = f.copy()
        for k, plane in enumerate(rgb):
            np.copyto(np.asarray(made[k]), plane)
        return made

    blank = core.std.BlankClip(format=vs.RGBS, width=width, height=height, length=1, keep=True)
    source = blank.std.ModifyFrame(clips=[blank], selector=fill)
    source.std.SetVideoCache(mode=1, fixedsize=1)
    made = getattr(core, name).Model([source.std.Loop(100000)], str(graph), **MLRT[name])
    numbers = iter(range(100000))

    def run() -> np.ndarray:
        with made.get_frame(next(numbers)) as frame:
            return np.stack([np.asarray(plane) for plane in frame])

    return run


MLRT = {
    "ov": {"device": "CPU", "config": lambda: {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": torch.get_num_threads()}},
    "ort": {"provider": "CPU"},
}


def timed(run: Run) -> tuple[float, float, np.ndarray]:
    """Seconds on the wall, CPU seconds of all threads, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def psnr(result: np.ndarray, want: np.ndarray) -> float:
    error = np.square(result.clip(0, 1).astype(np.float64) - want.clip(0, 1)).mean()
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="erfdn-x2-video")
    parser.add_argument("--size", default="480x270")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plugins", type=Path)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    rgb = picture(width, height)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "net.onnx"
        graph.write_bytes(to_onnx(open_model(options.model)[0], {}).SerializeToString())
        runs = dict(engines(options.model, rgb))
        peers: dict[str, Callable[[], Run]] = {
            "ONNX Runtime": lambda: onnx_runtime(graph, rgb.numpy()),
            "ncnn": lambda: ncnn(graph, rgb.numpy()),
            "vs-mlrt ov": lambda: vs_mlrt("ov", graph, rgb.numpy(), options.plugins),
            "vs-mlrt ort": lambda: vs_mlrt("ort", graph, rgb.numpy(), options.plugins),
        }
        for name, make in peers.items():
            try:
                runs[name] = make()
            except AbsentError as how:
                print(f"{name}: not here; {how}")
        want = runs["torch fp32"]().copy()
        quality = {name: psnr(run(), want) for name, run in runs.items()}  # warms up, too
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, run in runs.items():
                seconds[name].append(timed(run)[:2])
    first = next(iter(runs))
    print(f"{options.model}, {width}x{height}, {options.rounds} rounds, {torch.get_num_threads()} threads")
    print(f"{'':16} {'s/frame':>8} {'least':>7} {'CPU s':>7} {'of ' + first:>18} {'PSNR to fp32':>13}")
    for name, measured in seconds.items():
        wall, cpu = zip(*measured, strict=True)
        ratio = statistics.median(a / b for a, (b, _) in zip(wall, seconds[first], strict=True))
        print(
            f"{name:16} {statistics.median(wall):8.3f} {min(wall):7.3f} {statistics.median(cpu):7.3f} "
            f"{ratio:16.2f} x {quality[name]:10.1f} dB"
        )


if __name__ == "__main__":
    main()
