"""What the VapourSynth filter takes of memory: many frames after few, and two filters beside one.

    uv run python benchmarks/vapoursynth_memory.py [--frames 20000] [--size 320x180] [--model erfdn-x2-video]

First filters of the model at that size, one after the other: with the same options, they share a network and its
memory. Then a tiny network on 16x16 pixels, whose resident memory is read after every tenth of the frames. Linux.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from rfdn_stream import settle_environment

settle_environment()  # as the filter does, before torch is imported
sys.path.pop(0)  # this folder, where `vapoursynth` would be another benchmark

import vapoursynth as vs
from vapoursynth import core

from rfdn_stream.nets import checkpoint
from rfdn_stream.nets.rfdn import RFDN, RFDNOptions
from vsrfdn import rfdn

IN_FLIGHT = 4


def resident() -> float:
    """MB of this process's memory that are in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def blank(size: tuple[int, int], length: int) -> vs.VideoNode:
    clip = core.std.BlankClip(format=vs.YUV420P8, width=size[0], height=size[1], length=length, keep=True)
    return clip.std.SetFrameProps(_Matrix=6, _Range=0, _ChromaLocation=0)


def run(clip: vs.VideoNode, every: int = 0) -> None:
    """All frames, several in flight; prints the memory after every so many."""
    for n, _ in enumerate(clip.frames(prefetch=IN_FLIGHT, close=True), start=1):
        if every and n % every == 0:
            print(f"{n:6} frames: {resident():.1f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=20000)
    parser.add_argument("--size", default="320x180")
    parser.add_argument("--model", default="erfdn-x2-video")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))

    clip, kept = blank((width, height), 24), []
    filters = {"one filter": {}, "two, the same options": {}, "a third, num_streams=2": {"num_streams": 2}}
    for name, asked in filters.items():
        kept.append(rfdn(clip, model=options.model, **asked))
        for _ in range(2):  # memory settles in the first round
            run(kept[-1])
            print(f"{name}: {resident():.1f} MB, {core.used_cache_size / 1e6:.1f} of them cached frames", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "tiny.safetensors"
        network = RFDN(RFDNOptions(channels=8, blocks=1, attention="esa", block_residual=False, scale=2))
        checkpoint.save(weights, network, {"value_range": "0..1"})
        run(rfdn(blank((16, 16), options.frames), model_path=weights), every=options.frames // 10)


if __name__ == "__main__":
    main()
