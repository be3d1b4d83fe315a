"""How fast frames go through an `Upscaler` on this machine: decoded frame in, enlarged frame out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rfdn_stream.frame import FORMATS, ColorSpec, Frame
from rfdn_stream.upscaler import Upscaler

CPU_SIZES = ((320, 180), (640, 360))
GPU_SIZES = ((854, 480), (1280, 720), (1920, 1080))
SECONDS = 10.0  # of measurement a size, about


@dataclass(frozen=True)
class Speed:
    """What one frame size reached.

    Args:
        width, height: of the frames put in.
        frames: how many were timed, after one that was not.
        fps: frames put out a second, with all stages overlapping.
        network, colour: the share of the time in which the compute stream ran the network, and the kernels
            that turn codes into RGB and back; the rest it stood idle.
    """

    width: int
    height: int
    frames: int
    fps: float
    network: float
    colour: float

    @property
    def idle(self) -> float:
        """The share of the time in which the compute stream had nothing to do."""
        return max(0.0, 1 - self.network - self.colour)


def measure(upscaler: Upscaler, width: int, height: int, seconds: float = SECONDS) -> Speed:
    """Runs yuv420p frames of one size for about that long, two frames or more."""
    frames = _frames(width, height)
    start = time.perf_counter()
    upscaler.submit(next(frames)).result()
    count = max(2, round(seconds / (time.perf_counter() - start)))
    work = upscaler.work
    network, colour = work.network_seconds, work.colour_seconds
    start = time.perf_counter()
    for _ in upscaler.map(frame for frame, _ in zip(frames, range(count), strict=False)):
        pass
    wall = time.perf_counter() - start
    shares = (work.network_seconds - network) / wall, (work.colour_seconds - colour) / wall
    return Speed(width, height, count, count / wall, *shares)


def _frames(width: int, height: int) -> Iterator[Frame]:
    """A grey ramp with noise that never repeats, endlessly: networks take as long for it as for any picture."""
    random = np.random.default_rng(0)
    format = FORMATS["yuv420p"]
    ramp = np.linspace(16, 219, width).astype(np.uint8)
    chroma = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
    while True:
        luma = ramp + random.integers(0, 16, (height, width), np.uint8)
        yield Frame((luma, chroma, chroma), format, width, height, ColorSpec())
