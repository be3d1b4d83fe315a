"""A CPU's engines side by side: the same picture through each of them in turn, so that whatever else the machine does
meets all of them alike."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from rfdn_stream import registry
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.engines.base import Engine, EngineUnavailableError
from rfdn_stream.nets.catalogue import default_model, open_model
from rfdn_stream.nets.complexity import count

log = logging.getLogger("rfdn_stream")

SIZE = 480, 270
LEAST_ROUNDS = 3
# The first is the yardstick. An engine's own choice of precision may be one that is here already.
CANDIDATES = (("torch", "fp32"), *((name, "auto") for name in CpuDevice.engines))


@dataclass
class Timing:
    """One engine's frames.

    Args:
        engine: its name, and what it computes in.
        description: it in its own words.
        seconds: of each frame, by the clock on the wall.
        cpu_seconds: of each frame, of all of this process's threads.
        psnr: of its result to torch's in fp32, in dB; infinite where they are equal.
    """

    engine: str
    description: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    psnr: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """What `compare` found: the model's name, a frame's size and arithmetic, and the engines, the yardstick first."""

    model: str
    width: int
    height: int
    gflop: float
    timings: list[Timing]

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
            made = registry.load(registry.ENGINES, name, "engine")(network, spec, torch.device("cpu"), precision)
        except EngineUnavailableError as failure:
            log.warning("%s", failure)
            continue
        engines.setdefault(f"{name} {made.precision}", made)
    timings = [Timing(name, engine.description) for name, engine in engines.items()]
    width, height = size
    rgb = picture(width, height)
    begun = time.perf_counter()
    _round(list(engines.values()), timings, rgb)  # warms up
    for timing in timings:
        timing.seconds.clear()
        timing.cpu_seconds.clear()
    rounds = max(LEAST_ROUNDS, round(seconds / (time.perf_counter() - begun)))
    for _ in range(rounds):
        _round(list(engines.values()), timings, rgb)
    gflop = 2e-9 * count(network, max(width, spec.minimum_size), max(height, spec.minimum_size)).macs
    return Comparison(spec.name, width, height, gflop, timings)


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
