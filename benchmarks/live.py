"""What a live session costs beside its network, whether it keeps its promises, and whether it grows.

    uv run python benchmarks/live.py [--seconds 20] [--soak MINUTES]

overhead  a paced test pattern of 160x120, everything through the network: latency from capture to show at the 95th
          percentile, less the bare network's on the very same frames, in frame times of the network.
          `calm`: the source leaves the network time; `crowded`: it gives 30 fps, whatever the network makes of them.
degrade   640x360 at 25 fps, to be held at 200 ms: the step it begins on; and after the device has become 60 times as
          slow in the middle of it, the time until no frame is late any more, and the latency from then on.
soak      160x120 for MINUTES: memory, threads and latency, minute by minute.
"""

import argparse
import os
import threading
import time
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does

import torch

from rfdn_stream import Upscaler
from rfdn_stream.live.base import Shot
from rfdn_stream.live.meter import percentile
from rfdn_stream.live.session import LiveOptions, Session
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.null import NullSink
from rfdn_stream.live.sources import SourceOptions, open_source


class Stopwatch(NullSink):
    """Remembers when each frame was captured and shown."""

    def __init__(self) -> None:
        super().__init__("", SinkOptions())
        self.seen: list[tuple[float, float]] = []

    def show(self, shot: Shot) -> None:
        self.seen.append((shot.captured, time.monotonic()))

    def latencies(self, begin: float = 0.0, end: float = float("inf")) -> list[float]:
        """Of the frames shown between two times."""
        return [shown - captured for captured, shown in self.seen if begin <= shown < end]


class Slowing:
    """An engine that takes longer from some moment on."""

    def __init__(self, engine, network: float) -> None:
        self.scale, self.precision, self.description = engine.scale, engine.precision, engine.description
        self._engine, self.network, self.slow = engine, network, False

    def __call__(self, rgb):
        pixels = rgb.shape[1] * rgb.shape[2] / (640 * 360)
        time.sleep((60 if self.slow else 1) * self.network * pixels)
        return torch.nn.functional.interpolate(rgb[None], scale_factor=self.scale)[0]


def session(upscaler, sink, size, rate, seconds, **options):
    """Runs the test pattern; the last status."""
    source = SourceOptions(size=size, rate=rate)
    made = LiveOptions(duration=seconds, **options)
    return Session(lambda: open_source("test", source), upscaler, [sink], made).run()


class Timed:
    """An engine that notes how long each frame takes it."""

    def __init__(self, engine) -> None:
        self.scale, self.precision, self.description = engine.scale, engine.precision, engine.description
        self._engine = engine
        self.seconds: list[float] = []

    def __call__(self, rgb):
        begun = time.perf_counter()
        result = self._engine(rgb)
        self.seconds.append(time.perf_counter() - begun)
        return result


def overhead(seconds: float, size=(160, 120)) -> None:
    with Upscaler(depth=2) as upscaler:
        engine = Timed(upscaler.engine)
        engine(torch.rand(3, size[1], size[0]))
        engine(torch.rand(3, size[1], size[0]))
        print(f"overhead at {size[0]}x{size[1]}, {upscaler.description}")
        for name, rate in (("calm", 0.5 / engine.seconds[-1]), ("crowded", 30.0)):
            upscaler.engine, sink = engine, Stopwatch()
            session(upscaler, sink, size, round(rate, 3), seconds, degrade=False)
            latencies = sink.latencies()
            networks = engine.seconds[-len(latencies) - 1 :][: len(latencies)]  # the last one may not have been shown
            frame = percentile(networks, 0.5)
            print(
                f"  {name:8} {rate:4.1f} fps in, {len(latencies) / seconds:4.1f} out: latency p50 "
                f"{1000 * percentile(latencies, 0.5):.0f} ms, p95 {1000 * percentile(latencies, 0.95):.0f} ms; network "
                f"p50 {1000 * frame:.0f} ms, p95 {1000 * percentile(networks, 0.95):.0f} ms; added at p95: "
                f"{(percentile(latencies, 0.95) - percentile(networks, 0.95)) / frame:.2f} frame times"
            )


def degrade(seconds: float, size=(640, 360), bound=0.2) -> None:
    with Upscaler(depth=2) as upscaler:
        sink = Stopwatch()
        status = session(upscaler, sink, size, 25, seconds, latency=bound)
        latencies = sink.latencies()
        print(f"degrade at {size[0]}x{size[1]}, {1000 * bound:.0f} ms to be held, {upscaler.description}")
        print(
            f"  begins on: {status.step or 'the network in full'}; {len(latencies) / seconds:.1f} fps, latency p50 "
            f"{1000 * percentile(latencies, 0.5):.0f} ms, p95 {1000 * percentile(latencies, 0.95):.0f} ms"
        )
    with Upscaler(depth=2) as upscaler:
        engine = upscaler.engine = Slowing(upscaler.engine, 0.01)
        sink, slowed = Stopwatch(), []

        def slow() -> None:
            engine.slow = True
            slowed.append(time.monotonic())

        threading.Timer(seconds / 2, slow).start()
        status = session(upscaler, sink, size, 25, seconds + 4, latency=bound)
        late = [shown for captured, shown in sink.seen if shown > slowed[0] and shown - captured > bound]
        held = max(late, default=slowed[0])
        after = sink.latencies(held + 1e-6)
        rate = len(after) / max(1e-9, sink.seen[-1][1] - held)
        print(
            f"  60 times as slow midway: holds again after {held - slowed[0]:.2f} s on: {status.step}; from then "
            f"{rate:.1f} fps, latency p95 {1000 * percentile(after, 0.95):.0f} ms"
        )


def rss() -> float:
    """Resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(minutes: float, size=(160, 120)) -> None:
    print(f"soak at {size[0]}x{size[1]}\n  minute  RSS MB  threads  frames  p50 ms  p95 ms")
    told = 0

    def tell(status) -> None:
        nonlocal told
        if status.seconds >= 60 * told:
            figures = f"{status.made:7} {1000 * status.p50:7.0f} {1000 * status.p95:7.0f}"
            print(f"  {told:6} {rss():7.0f} {threading.active_count():8} {figures}", flush=True)
            told += 1

    with Upscaler(depth=2) as upscaler:
        options = LiveOptions(duration=60 * minutes + 1)
        source = SourceOptions(size=size, rate=30)
        Session(lambda: open_source("test", source), upscaler, [Stopwatch()], options, on_status=tell).run()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    options = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if options.soak:
        soak(options.soak)
    else:
        overhead(options.seconds)
        degrade(options.seconds)


if __name__ == "__main__":
    main()
