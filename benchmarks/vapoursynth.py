"""The same network in VapourSynth by vsrfdn, by plain torch, and by vs-mlrt, side by side on a real clip.

    uv run python benchmarks/vapoursynth.py [--frames 8] [--rounds 5] [--size 320x180] [--model erfdn-x2-video]

Interleaved, in one process, a round each; every node is made anew for a round, warmed up by a frame, and timed with
four requests in flight:

    engine       the Upscaler's engine on the frames' RGB, outside of VapourSynth: what nothing can be cheaper than
    vsrfdn       this project's filter, RGBS in and out; "yuv" with the conversion from and to YUV420P8 besides
    ModifyFrame  the same network in plain torch in a std.ModifyFrame, as anyone would write it
    ov, ort      vs-mlrt with OpenVINO and ONNX Runtime (pip install vapoursynth-mlrt-ov vapoursynth-mlrt-ort),
                 on an ONNX file of the same folded network

bf16 rows appear where the processor multiplies bf16 in hardware, or with --bf16. CPU seconds are those of all cores;
ratios are taken within a round, against the bare engine in fp32, since machines change their speed from one minute
to the next. PSNR is that of the clamped frames against the bare engine in fp32.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the filter does, before torch is imported
sys.path.pop(0)  # this folder, where `vapoursynth` would be this very file

import numpy as np
import onnx
import torch
import vapoursynth as vs
from vapoursynth import core

from rfdn_stream import Upscaler
from rfdn_stream.frame import Frame
from rfdn_stream.media.reader import open_source
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.onnx import to_onnx
from vsrfdn import rfdn

IN_FLIGHT = 4
EXAMPLE = Path(__file__).parents[1] / "examples" / "bunny.mp4"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

Run = Callable[[], Iterator[np.ndarray]]


def source_clips(frames: int, size: tuple[int, int]) -> tuple[vs.VideoNode, vs.VideoNode]:
    """The example's first frames at that size: as RGBS, and as YUV420P8."""
    with open_source(EXAMPLE) as source:
        decoded = (item.planes for item in source.items() if isinstance(item, Frame))
        pictures = [planes for planes, _ in zip(decoded, range(frames), strict=False)]
        height, width = pictures[0][0].shape
    blank = core.std.BlankClip(format=vs.YUV420P8, width=width, height=height, length=frames, keep=True)
    blank = blank.std.SetFrameProps(_Matrix=6, _Range=0, _ChromaLocation=0)

    def fill(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        made = f.copy()
        for k, plane in enumerate(pictures[n]):
            np.copyto(np.asarray(made[k]), plane)
        return made

    yuv = blank.std.ModifyFrame(clips=[blank], selector=fill)
    if (width, height) != size:
        yuv = yuv.resize.Bicubic(*size)
    rgb = yuv.resize.Bilinear(format=vs.RGBS)
    for clip in (yuv, rgb):
        clip.std.SetVideoCache(mode=1, fixedsize=frames)  # so that reading costs nobody anything
    return rgb, yuv


def array_of(frame: vs.VideoFrame) -> np.ndarray:
    return np.stack([np.asarray(plane) for plane in frame])


def requested(node: vs.VideoNode) -> Iterator[vs.VideoFrame]:
    """All frames in order, several requested ahead."""
    pending = deque(node.get_frame_async(n) for n in range(min(IN_FLIGHT, node.num_frames)))
    for n in range(IN_FLIGHT, node.num_frames + IN_FLIGHT):
        if not pending:
            return
        frame = pending.popleft().result()
        if n < node.num_frames:
            pending.append(node.get_frame_async(n))
        yield frame


def plain_torch(clip: vs.VideoNode, model: str, precision: str) -> vs.VideoNode:
    """The network in a ModifyFrame, with nothing but what torch offers."""
    network, spec = open_model(model)
    network = network.to(dtype=DTYPES[precision], memory_format=torch.channels_last)
    blank = clip.std.BlankClip(width=clip.width * spec.scale, height=clip.height * spec.scale, keep=True)

    @torch.inference_mode()
    def enlarge(n: int, f: list[vs.VideoFrame]) -> vs.VideoFrame:
        x = torch.from_numpy(array_of(f[0]))[None].to(DTYPES[precision], memory_format=torch.channels_last)
        y = network(x)[0].float().numpy()
        made = f[1].copy()
        for k in range(3):
            np.copyto(np.asarray(made[k]), y[k])
        return made

    return blank.std.ModifyFrame(clips=[clip, blank], selector=enlarge)


def openvino(clip: vs.VideoNode, path: Path, precision: str, streams: int) -> vs.VideoNode:
    config = {
        "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": os.cpu_count() or 1,
    }
    return core.ov.Model([clip], str(path), device="CPU", config=lambda: config)


def contenders(
    rgb: vs.VideoNode, yuv: vs.VideoNode, model: str, onnx_file: Path, precisions: list[str]
) -> dict[str, Callable[[], vs.VideoNode]]:
    """By name: what makes the node."""
    made: dict[str, Callable[[], vs.VideoNode]] = {}
    scale = open_model(model)[1].scale
    for precision in precisions:

        def ours(clip: vs.VideoNode, streams: int, precision: str = precision) -> vs.VideoNode:
            return rfdn(clip, scale, model, precision=precision, num_streams=streams)

        made[f"vsrfdn {precision}, 1 stream"] = lambda ours=ours: ours(rgb, 1)
        made[f"vsrfdn {precision}, 2 streams"] = lambda ours=ours: ours(rgb, 2)
        made[f"vsrfdn {precision}, 2 streams, yuv"] = lambda ours=ours: ours(yuv, 2)
        made[f"ModifyFrame {precision}"] = lambda precision=precision: plain_torch(rgb, model, precision)
        if hasattr(core, "ov"):
            for streams in (1, 2):
                made[f"ov {precision}, {streams} stream{'s' * (streams > 1)}"] = (
                    lambda precision=precision, streams=streams: openvino(rgb, onnx_file, precision, streams)
                )
    if hasattr(core, "ort"):
        made["ort fp32"] = lambda: core.ort.Model([rgb], str(onnx_file), provider="CPU")
    return made


def timed(work: Callable[[], None], frames: int) -> tuple[float, float]:
    """(wall, CPU) seconds a frame."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) / frames, (time.process_time() - cpu) / frames


def psnr(results: list[np.ndarray], reference: list[np.ndarray]) -> float:
    error = statistics.fmean(
        float(np.mean((a.clip(0, 1) - b.clip(0, 1)) ** 2)) for a, b in zip(results, reference, strict=True)
    )
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--model", default="erfdn-x2-video")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    capabilities = torch.cpu.get_capabilities()
    hardware = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    precisions = ["fp32", "bf16"] if hardware or options.bf16 else ["fp32"]

    rgb, yuv = source_clips(options.frames, (width, height))
    pictures = [torch.from_numpy(array_of(frame)) for frame in requested(rgb)]
    engines = {p: Upscaler(options.model, precision=p).engine for p in precisions}
    reference = [engines["fp32"](picture).float().numpy().copy() for picture in pictures]
    network, _ = open_model(options.model)

    times: dict[str, list[tuple[float, float]]] = {}
    quality: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        onnx_file = Path(folder) / "network.onnx"
        onnx.save(to_onnx(network, {}), onnx_file)
        nodes = contenders(rgb, yuv, options.model, onnx_file, precisions)
        for _ in range(options.rounds):
            for precision, engine in engines.items():
                engine(pictures[0])
                name = f"engine {precision}"
                measured = timed(lambda engine=engine: [engine(p) for p in pictures], options.frames)
                times.setdefault(name, []).append(measured)
                quality[name] = psnr([engine(p).float().numpy().copy() for p in pictures[:2]], reference[:2])
            for name, make in nodes.items():
                node = make()
                first = node.get_frame(0)  # warm, and its picture stays in the node's cache at most
                count = options.frames - 1
                work = node[1:]
                times.setdefault(name, []).append(timed(lambda work=work: deque(requested(work), maxlen=0), count))
                if node.format.color_family == vs.RGB:
                    quality[name] = psnr([array_of(first), array_of(node.get_frame(1))], reference[:2])
                del node, work, first

    print(f"{options.model}, {width}x{height}, {options.frames} frames, medians of {options.rounds} rounds,")
    print(f"{os.cpu_count()} processors, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}\n")
    print("| | s a frame | of the engine | CPU s a frame | of the engine | PSNR, dB |")
    print("|---|---|---|---|---|---|")
    for name, measured in times.items():
        wall, cpu = (statistics.median(values) for values in zip(*measured, strict=True))
        ratios = [
            [mine[k] / bare[k] for mine, bare in zip(measured, times["engine fp32"], strict=True)] for k in (0, 1)
        ]
        wall_ratio, cpu_ratio = map(statistics.median, ratios)
        decibels = f"{quality[name]:.1f}" if name in quality else ""
        print(f"| {name} | {wall:.4f} | {wall_ratio:.3f} | {cpu:.4f} | {cpu_ratio:.3f} | {decibels} |")


if __name__ == "__main__":
    main()
