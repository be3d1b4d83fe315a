"""A CPU's engines side by side: the same picture through each of them in turn, so that whatever else the machine does
meets all of them alike."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import torch

from rfdn_stream import registry
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.engines.base import Engine, EngineUnavailableError
from rfdn_stream.engines.winograd.library import NoLibraryError, library
from rfdn_stream.nets.catalogue import default_model, open_model
from rfdn_stream.nets.complexity import count

log = logging.getLogger("rfdn_stream")

SIZE = 480, 270
LEAST_ROUNDS = 3
# The first is the yardstick. An engine's own choice of precision may be one that is here already.
CANDIDATES = (("torch", "fp32"), *((name, "auto") for name in CpuDevice.engines), ("openvino", "fp32"))
WINOGRAD_SHARE = 36 / 144  # products that F(4x4, 3x3) needs, of those of a plain 3x3 convolution
PEAK_ROUNDS, PEAK_SECONDS = 8, 0.03  # the best of so many rounds, each about as long
TRIAL_ROUNDS = 1000  # of the library's loop, some milliseconds


@dataclass
class Timing:
    """One engine's frames.

    Args:
        engine: its name, and what it computes in.
        description: it in its own words.
        seconds: of each frame, by the clock on the wall.
        cpu_seconds: of each frame, of all of this process's threads.
        psnr: of its result to torch's in fp32, in dB; infinite where they are equal.
        floor: seconds that its arithmetic alone would take at this machine's peak; None where that was not measured.
    """

    engine: str
    description: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    psnr: float = 0.0
    floor: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: the model's name, a frame's size and arithmetic, and the engines, the yardstick first.

    `peaks`: what all threads reach by arithmetic alone, in billions of operations a second, by precision; empty where
    there is no library to measure with.
    """

    model: str
    width: int
    height: int
    gflop: float
    timings: list[Timing]
    peaks: dict[str, float]

    def ratio(self, timing: Timing) -> float:
        """How many times as fast as the yardstick: the median over rounds of their ratio in each."""
        return median(a / b for a, b in zip(self.timings[0].seconds, timing.seconds, strict=True))


def compare(
    model: str | Path | None = None, scale: int | None = None, size: tuple[int, int] = SIZE, seconds: float = 10.0
) -> Comparison:
    """Runs each engine of the CPU on one picture, in turn, for about that long altogether, three rounds or more."""
    network, spec = open_model(model or default_model(scale or 2), scale)
    engines: dict[str, Engine] = {}
    for name, precision in CANDIDATES:
        try:
            make = registry.load(registry.ENGINES, name, "engine")
            made = make(copy.deepcopy(network), spec, torch.device("cpu"), precision)  # which rounds its weights
        except EngineUnavailableError as failure:
            log.warning("%s", failure)
            continue
        engines.setdefault(f"{name} {made.precision}", made)
    timings = [Timing(name, engine.description) for name, engine in engines.items()]
    width, height = size
    rgb = picture(width, height)
    threads = torch.get_num_threads()
    before = measure_peaks(threads)
    begun = time.perf_counter()
    _round(list(engines.values()), timings, rgb)  # warms up
    for timing in timings:
        timing.seconds.clear()
        timing.cpu_seconds.clear()
    rounds = max(LEAST_ROUNDS, round(seconds / (time.perf_counter() - begun)))
    for _ in range(rounds):
        _round(list(engines.values()), timings, rgb)
    cost = count(network, max(width, spec.minimum_size), max(height, spec.minimum_size))
    work = {"fp32": 2e-9 * cost.macs, "int16": 2e-9 * (cost.macs - (1 - WINOGRAD_SHARE) * cost.macs_3x3)}
    peaks = {name: max(peak, before[name]) for name, peak in measure_peaks(threads).items()}
    for timing in timings:
        precision = timing.engine.split()[-1]
        timing.floor = work[precision] / peaks[precision] if precision in peaks else None
    return Comparison(spec.name, width, height, work["fp32"], timings, peaks)


def measure_peaks(threads: int) -> dict[str, float]:
    """Sums of products in fp32 and int16 on that many threads, in billions of operations a second, at best."""
    try:
        code = library()
    except NoLibraryError as failure:
        log.info("no peaks: %s", failure)
        return {}
    with ThreadPoolExecutor(threads) as pool:
        return {
            "fp32": _peak(pool, threads, partial(code.operations, integers=False)),
            "int16": _peak(pool, threads, partial(code.operations, integers=True)),
        }


def _peak(pool: ThreadPoolExecutor, threads: int, run: Callable[[int], float]) -> float:
    """The best rate of `run`, which takes rounds and returns operations, on all threads at once."""
    begun = time.perf_counter()
    run(TRIAL_ROUNDS)
    rounds = max(1, round(TRIAL_ROUNDS * PEAK_SECONDS / (time.perf_counter() - begun)))
    best = 0.0
    for _ in range(PEAK_ROUNDS):
        begun = time.perf_counter()
        done = sum(pool.map(run, [rounds] * threads))
        best = max(best, done / (time.perf_counter() - begun))
    return best / 1e9


def _round(engines: Sequence[Engine], timings: Sequence[Timing], rgb: torch.Tensor) -> None:
    """One frame by each engine."""
    want: torch.Tensor | None = None
    for engine, timing in zip(engines, timings, strict=True):
        wall, cpu = time.perf_counter(), time.process_time()
        result = engine(rgb)
        timing.seconds.append(time.perf_counter() - wall)
        timing.cpu_seconds.append(time.process_time() - cpu)
        result = result.float().clamp(0, 1)
        want = result.clone() if want is None else want
        timing.psnr = -10 * float(torch.log10((result - want).square().mean()))


def picture(width: int, height: int) -> torch.Tensor:
    """Float32 RGB [3, height, width]: waves, edges and a little noise, about as hard as a photograph."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([torch.sin(x * a + y * b) for a, b in ((0.05, 0.02), (0.11, 0.07), (0.31, 0.2))])
    edges = ((x // 37 + y // 23) % 2)[None]
    noise = torch.rand(waves.shape, generator=torch.Generator().manual_seed(0))
    return 0.4 + 0.2 * waves + 0.2 * edges + 0.04 * noise
