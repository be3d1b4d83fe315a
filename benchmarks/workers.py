"""What several workers gain, and what Ray costs.

    uv run python benchmarks/workers.py [--frames 400] [--milliseconds 50] [--only workers|ray]

workers  one and two processes at one job, with a network that sleeps, so that only the way of working counts: not even
         a machine of one core is full. Timed from the first frame that a worker has written to the last segment, and
         with what it takes to begin the processes (each imports torch).
Ray      the same segments one after the other in this process and as tasks of a local cluster of one node that has one
         processor: the difference a segment, from the first segment that is whole to the last.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "150"}
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch

from rfdn_stream import registry, upscale
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.jobs.report import LogReporter
from support import film, save_tiny

COST = "RFDN_BENCHMARK_MILLISECONDS"


class Sleeping:
    """An engine that takes its time and nothing else."""

    precision, description = "fp32", "a network that sleeps"

    def __init__(self, network, model, device, precision, tile):
        self.scale = model.scale

    def __call__(self, rgb):
        time.sleep(float(os.environ[COST]) / 1000)
        return rgb.repeat_interleave(self.scale, 1).repeat_interleave(self.scale, 2)


# Workers run this module's top level, too, before they work.
registry.ENGINES["sleeping"] = f"{__name__}:Sleeping"
CpuDevice.engines = (*CpuDevice.engines, "sleeping")


class Clock(LogReporter):
    """When the job began, when its first frame was written, and when each segment was whole."""

    def __init__(self):
        self.begun, self.first, self.whole = time.perf_counter(), None, []

    def frame(self, stages):
        self.first = self.first or time.perf_counter()

    def segments(self, whole, total, frames):
        if whole:
            self.whole.append(time.perf_counter())


def timed(source, folder, **options):
    clock = Clock()
    upscale(source, folder / "out.mp4", overwrite=True, preset="ultrafast", segment=1.0, reporter=clock, **options)
    return clock


def workers(source, folder, model):
    print(f"a network that sleeps {os.environ[COST]} ms a frame")
    print(f"{'workers':>8}{'segments':>10}{'seconds':>9}{'gain':>7}{'with the beginning':>20}{'gain':>7}")
    alone = None
    for count in (1, 2):
        clock = timed(source, folder, model=model, device="cpu", engine="sleeping", reuse="off", workers=count)
        net, gross = clock.whole[-1] - clock.first, clock.whole[-1] - clock.begun
        alone = alone or (net, gross)
        gains = alone[0] / net, alone[1] / gross
        print(f"{count:8}{len(clock.whole):10}{net:9.2f}{gains[0]:6.2f}x{gross:20.2f}{gains[1]:6.2f}x")


def on_ray(source, folder, model):
    from ray.cluster_utils import Cluster

    here = timed(source, folder, model=model, device="cpu")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False},
    )
    try:
        there = timed(source, folder, model=model, device="cpu", cluster=cluster.address)
    finally:
        cluster.shutdown()
    each = [(clock.whole[-1] - clock.whole[0]) / (len(clock.whole) - 1) for clock in (here, there)]
    print(f"a segment here {each[0]:.3f} s, by Ray {each[1]:.3f} s: {each[1] - each[0]:+.3f} s of overhead")
    print(f"the first one by Ray was whole after {there.whole[0] - there.begun:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--milliseconds", type=float, default=50)
    parser.add_argument("--only", choices=("workers", "ray"))
    arguments = parser.parse_args()
    logging.getLogger("rfdn_stream").setLevel(logging.ERROR)
    torch.set_num_threads(1)  # of one processor, as on Ray's node
    os.environ[COST] = str(arguments.milliseconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = film(folder / "film.mp4", frames=arguments.frames, gop=25)
        model = save_tiny(folder / "tiny.safetensors")
        if arguments.only != "ray":
            workers(source, folder, model)
        if arguments.only != "workers":
            on_ray(source, folder, model)


if __name__ == "__main__":
    main()
