"""Times the colour kernels of the CPU beside swscale: ms per frame, medians of interleaved runs.

    python benchmarks/kernels.py [--runs 200]

`pre` turns 640x272 codes into RGB, `post` turns 1280x544 RGB into codes, as one x2 upscale does. swscale gets the
same formats, sizes and threads, with 8-bit rgb24 (gbrp, where the format is rgb24 itself) on the RGB side and its
default flags. The work is not the same: swscale's RGB is integer and its default chroma is neither sited nor
filtered; it stands here as the yardstick of a fast conversion on this machine.

On a machine that is busy with anything else, OMP_WAIT_POLICY=PASSIVE decides: without it each of the kernels' passes
spins until a thread that lost its core gets it back, which takes milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from rfdn_stream.frame import RGB_FULL, ColorSpec, pixel_format
from rfdn_stream.kernels import cpu

SOURCE, TARGET = (640, 272), (1280, 544)


def kernels(name: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """`pre` and `post` on buffers of noise."""
    format = pixel_format(name)
    color = RGB_FULL if format.family == "rgb" else ColorSpec()
    dtype = torch.uint8 if format.bits == 8 else torch.uint16
    planes = [
        torch.randint(0, format.code_max + 1, shape, dtype=torch.int32).to(dtype)
        for shape in format.plane_shapes(*SOURCE)
    ]
    target = [torch.empty(shape, dtype=dtype) for shape in format.plane_shapes(*TARGET)]
    out, rgb = torch.empty(3, SOURCE[1], SOURCE[0]), torch.rand(3, TARGET[1], TARGET[0])
    return lambda: cpu.pre(planes, format, color, out), lambda: cpu.post(rgb, target, format, color)


def swscale(name: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same two conversions by libswscale, on frames of grey."""
    there, back, threads = VideoReformatter(), VideoReformatter(), torch.get_num_threads()
    rgb = "gbrp" if name == "rgb24" else "rgb24"
    source, result = VideoFrame(*SOURCE, name), VideoFrame(*TARGET, rgb)
    for frame in (source, result):
        for plane in frame.planes:
            plane.update(bytes([1]) * plane.buffer_size)
    return (
        lambda: there.reformat(source, format=rgb, threads=threads),
        lambda: back.reformat(result, format=name, threads=threads),
    )


def medians(jobs: list[Callable[[], object]], runs: int) -> list[float]:
    """Median ms of each job; the jobs take turns, so that a disturbance meets all of them."""
    times: list[list[float]] = [[] for _ in jobs]
    for run in range(runs + 10):
        for job, taken in zip(jobs, times):
            start = time.perf_counter()
            job()
            if run >= 10:
                taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the colour kernels of the CPU beside swscale.")
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, median of {runs}")
    print(f"{'ms per frame':14}{'pre':>8}{'swscale':>9}{'ratio':>7}{'post':>8}{'swscale':>9}{'ratio':>7}{'sum':>8}")
    for name in ("yuv420p", "yuv420p10le", "nv12", "rgb24"):
        pre, post, there, back = medians([*kernels(name), *swscale(name)], runs)
        print(
            f"{name:14}{pre:8.2f}{there:9.2f}{pre / there:7.2f}"
            f"{post:8.2f}{back:9.2f}{post / back:7.2f}{pre + post:8.2f}"
        )


if __name__ == "__main__":
    main()
