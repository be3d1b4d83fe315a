"""The CPU engine's time against the picture's size, its gain from a second thread, and its memory over many frames.

    uv run python benchmarks/cpu.py [--rounds 3] [--frames 10000] [--model erfdn-x2-video]

Sizes and numbers of threads take turns, in one process; the least of all rounds counts, as whatever else the machine
does only ever adds. Frames are whole (no tiles).
"""

import argparse
import os
import time
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does

import numpy as np
import torch

from rfdn_stream.doctor.engines import picture
from rfdn_stream.engines.winograd.engine import WinogradEngine
from rfdn_stream.nets.catalogue import open_model

SIZES = (160, 120), (320, 240), (480, 270), (640, 360), (960, 540), (1280, 720), (1920, 1080)
THREADS_SIZE = 480, 270
SMALL = 40, 30


def seconds(engine: WinogradEngine, rgb: torch.Tensor) -> float:
    begun = time.perf_counter()
    engine(rgb)
    return time.perf_counter() - begun


def linear_in_pixels(model: str, rounds: int) -> None:
    engine = WinogradEngine(*open_model(model), torch.device("cpu"), tile=0)
    least = dict.fromkeys(SIZES, float("inf"))
    for _ in range(rounds):
        for size in SIZES:
            least[size] = min(least[size], seconds(engine, picture(*size)))
    pixels = np.array([width * height for width, height in SIZES])
    times = np.array(list(least.values()))
    slope, start = np.polyfit(pixels, times, 1)
    left = np.square(times - slope * pixels - start).sum() / np.square(times - times.mean()).sum()
    for (width, height), taken in least.items():
        print(f"{width}x{height}: {taken:.3f} s, {1e9 * taken / width / height:.0f} ns a pixel")
    print(f"{1e9 * slope:.0f} ns a pixel and {1e3 * start:.1f} ms a frame; R^2 {1 - left:.5f}")


def threads(model: str, rounds: int) -> None:
    engines = {n: WinogradEngine(*open_model(model), torch.device("cpu"), tile=0, threads=n) for n in (1, 2)}
    rgb = picture(*THREADS_SIZE)
    taken = [{n: seconds(engine, rgb) for n, engine in engines.items()} for _ in range(rounds + 1)][1:]
    one, two = (min(each[n] for each in taken) for n in (1, 2))
    print(f"{THREADS_SIZE[0]}x{THREADS_SIZE[1]}: {one:.3f} s on one thread, {two:.3f} s on two, {one / two:.2f} times")


def memory(model: str, frames: int) -> None:
    engine = WinogradEngine(*open_model(model), torch.device("cpu"))
    rgb = picture(*SMALL)
    for _ in range(frames // 20):
        engine(rgb)
    before = resident()
    for _ in range(frames - frames // 20):
        engine(rgb)
    print(f"{frames} frames of {SMALL[0]}x{SMALL[1]}: memory grew by {(resident() - before) / 1e6:.2f} MB")


def resident() -> int:
    """Bytes of this process in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="erfdn-x2-video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=10000)
    options = parser.parse_args()
    linear_in_pixels(options.model, options.rounds)
    threads(options.model, 10 * options.rounds)
    memory(options.model, options.frames)


if __name__ == "__main__":
    main()
