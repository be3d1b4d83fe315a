"""How fast frames go through an `Upscaler` on this machine: decoded frame in, enlarged frame out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import numpy as np

from rfdn_stream.doctor.floor import Floor, cost_of_all, floor_of
from rfdn_stream.doctor.rates import Rates, copy_seconds
from rfdn_stream.engines.torch_engine import DTYPES
from rfdn_stream.frame import FORMATS, ColorSpec, Frame
from rfdn_stream.pipeline import run
from rfdn_stream.ticket import HEAD
from rfdn_stream.upscaler import Upscaler

CPU_SIZES = ((320, 180), (640, 360))
GPU_SIZES = ((854, 480), (1280, 720), (1920, 1080))
SECONDS = 10.0  # of measurement a size, about
PICTURES = 4


@dataclass(frozen=True)
class Speed:
    """What one frame size reached.

    Args:
        width, height: of the frames put in.
        frames: how many were timed, after a few that were not.
        fps: frames put out a second, with all stages overlapping.
        network, colour: the share of the time in which the compute stream ran the network, and the kernels
            that turn codes into RGB and back; the rest it stood idle.
        up, down: seconds that a frame's copies to and from a card take by themselves; None where there is no card.
        floor: the least that the network can take on that card.
    """

    width: int
    height: int
    frames: int
    fps: float
    network: float
    colour: float
    up: float | None = None
    down: float | None = None
    floor: Floor | None = None

    @property
    def idle(self) -> float:
        """The share of the time in which the compute stream had nothing to do."""
        return max(0.0, 1 - self.network - self.colour)


def measure(upscaler: Upscaler, width: int, height: int, seconds: float = SECONDS, rates: Rates | None = None) -> Speed:
    """Runs yuv420p frames of one size through the pipeline for about that long, two frames or more.

    Args:
        upscaler: one that does not reuse frames, as a few are sent again and again.
        rates: what the card reaches; where they are given, so are the frame's copies and the floor.
    """
    frames = _pictures(width, height)
    took = 0.0
    batch = upscaler.batch_for(frames[0])
    for frame in frames[:2]:  # the first one is not counted: a size is prepared with it
        start = time.perf_counter()
        for ticket in upscaler.submit_all([frame] * batch):
            ticket.result()
        took = time.perf_counter() - start
    count = max(2, round(seconds / took)) * batch
    work = upscaler.work
    network, colour = work.network_seconds, work.colour_seconds
    start = time.perf_counter()
    run(_Frames(islice(cycle(frames), count)), upscaler, _Nowhere())
    wall = time.perf_counter() - start
    shares = (work.network_seconds - network) / wall, (work.colour_seconds - colour) / wall
    speed = Speed(width, height, count, count / wall, *shares)
    return speed if rates is None else _on_card(speed, upscaler, frames[0], rates)


def _on_card(speed: Speed, upscaler: Upscaler, frame: Frame, rates: Rates) -> Speed:
    """With what only a card has: copies and a floor."""
    down = HEAD + frame.layout.nbytes * upscaler.scale**2
    cost = cost_of_all(upscaler.models, speed.width, speed.height, DTYPES[upscaler.engine.precision])
    return replace(
        speed,
        up=copy_seconds(upscaler.device, frame.layout.nbytes, up=True),
        down=copy_seconds(upscaler.device, down, up=False),
        floor=floor_of(cost, rates),
    )


@dataclass
class _Frames:
    """A Source of frames that are there already, so that their making costs nothing."""

    frames: Iterable[Frame]

    def items(self) -> Iterator[Frame]:
        yield from self.frames


class _Nowhere:
    """A Sink that takes everything and does nothing."""

    def write(self, frame: Frame) -> None: ...

    def copy(self, packet: Any) -> None: ...


def _pictures(width: int, height: int) -> list[Frame]:
    """A grey ramp with noise: networks take as long for it as for any picture."""
    random = np.random.default_rng(0)
    ramp = np.linspace(16, 219, width).astype(np.uint8)
    chroma = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
    lumas = (ramp + random.integers(0, 16, (height, width), np.uint8) for _ in range(PICTURES))
    return [Frame((luma, chroma, chroma), FORMATS["yuv420p"], width, height, ColorSpec()) for luma in lumas]
