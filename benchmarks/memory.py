"""Peak memory of a 1080p -> 4K job on the CPU, and whether it depends on the clip's length.

    uv run python benchmarks/memory.py [--frames 80]

A network takes half a minute for such a frame, so all frames but the last two go past it (enlarged by
repeating pixels, which fills the encoder's lookahead just the same); the last two go through it. Each job runs in
a process of its own.
"""

import argparse
import multiprocessing
import resource
import tempfile
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does


def make_clip(path, frames):
    """A moving 1080p picture with grain, as H.264."""
    import av
    import numpy as np

    random = np.random.default_rng(0)
    scene = random.integers(0, 256, (1080 // 8, 3840 // 8), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for number in range(frames):
            grey = scene[:, 4 * number : 4 * number + 1920]
            noisy = np.clip(grey + random.integers(-6, 7, grey.shape), 0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(noisy, format="gray")):
                container.mux(packet)
        container.mux(stream.encode(None))


def job(folder, frames, through_network, queue):
    """One job; puts its peak memory in MB."""
    from rfdn_stream import Upscaler
    from rfdn_stream.jobs.opened import LARGE_PICTURE, Opened
    from rfdn_stream.jobs.report import LogReporter
    from rfdn_stream.jobs.request import Request
    from rfdn_stream.jobs.video import upscale_video
    from rfdn_stream.media.output import plan_output
    from rfdn_stream.media.reader import open_source
    from rfdn_stream.process import return_large_blocks

    clip, out = Path(folder) / f"{frames}.mkv", Path(folder) / "out.mkv"
    make_clip(clip, frames)

    def make_upscaler():
        upscaler = Upscaler()
        network, seen = upscaler.engine, []

        class Mostly:
            scale, precision, description = network.scale, network.precision, network.description

            def __call__(self, rgb):
                seen.append(0)
                if len(seen) > frames - through_network:
                    return network(rgb)
                return rgb.repeat_interleave(2, 1).repeat_interleave(2, 2)

        upscaler.engine = Mostly()
        return upscaler

    with open_source(clip) as source, make_upscaler() as upscaler:
        size = upscaler.size_of(source.info.width, source.info.height)
        if size[0] * size[1] > LARGE_PICTURE:
            return_large_blocks()
        upscale_video(Opened(out, source, plan_output(source, out), upscaler, size), out, Request(), LogReporter())
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measured(*arguments):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=job, args=(*arguments, queue))
    process.start()
    peak = queue.get()
    process.join()
    return peak


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=80)
    frames = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as folder:
        whole = measured(folder, frames, 2)
        print(f"1080p -> 4K, {frames} frames, the last 2 through the network: {whole:.0f} MB at most", flush=True)
        short, long = measured(folder, frames, 0), measured(folder, 3 * frames, 0)
        print(f"without the network: {short:.0f} MB for {frames} frames, {long:.0f} MB for {3 * frames}")
        print(f"three times the length takes {long / short:.3f} of the memory")


if __name__ == "__main__":
    main()
