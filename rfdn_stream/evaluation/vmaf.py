"""VMAF, by the filter of PyAV's own FFmpeg and the model that is built into it."""

from __future__ import annotations

import csv
import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph, filters_available
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from rfdn_stream.errors import MediaError
from rfdn_stream.evaluation.metrics import Luma
from rfdn_stream.frame import FORMATS, PixelFormat
from rfdn_stream.media.frames import plane_views

MODEL = "vmaf_v0.6.1"
SMALLEST = 32
"""The smallest side; libvmaf crashes below 17 pixels, and its four scales mean little on so few."""

_TICK = Fraction(1, 25)  # any: the frames are told apart by their number


def why_not(width: int, height: int) -> str | None:
    """Why VMAF cannot be measured on pictures of that size; None where it can."""
    if "libvmaf" not in filters_available:
        return "this FFmpeg was built without the libvmaf filter"
    if min(width, height) < SMALLEST:
        return f"it needs sides of {SMALLEST} pixels or more"
    return None


@contextmanager
def open_vmaf(width: int, height: int, bits: int) -> Iterator[Vmaf]:
    """VMAF for pictures of that size and depth (8, 10 or 12 bits), with a folder for its log meanwhile."""
    with tempfile.TemporaryDirectory(prefix="rfdn-stream-vmaf-") as folder:
        vmaf = Vmaf(width, height, bits, Path(folder) / "scores.csv")
        try:
            yield vmaf
        finally:
            vmaf.close()


class Vmaf:
    """Measures pairs of lumas as they come; the score is there once all have come. Made by `open_vmaf`.

    Memory: FFmpeg keeps the two pictures at hand, libvmaf a few hundred bytes a frame.
    """

    def __init__(self, width: int, height: int, bits: int, log: Path) -> None:
        self._size, self._log = (width, height), log
        self._format = FORMATS[{8: "yuv420p", 10: "yuv420p10le"}.get(bits, "yuv420p12le")]
        self._frames = 0
        self._graph: _Filters | None = _connect(width, height, self._format, log)

    def add(self, result: Luma, reference: Luma) -> None:
        """Takes one pair of lumas [H, W], in 16..235; they are rounded to the depth."""
        assert self._graph is not None
        self._graph.push(self._picture(result), self._picture(reference))
        self._frames += 1

    def score(self) -> float:
        """The mean over all frames, 0 to 100. Ends the measuring; raises as `scores`."""
        return float(np.mean(self.scores()))

    def scores(self) -> list[float]:
        """Each frame's, 0 to 100. Ends the measuring.

        Raises:
            MediaError: libvmaf did not score every frame.
        """
        assert self._graph is not None
        self._graph.push(None, None)
        self.close()
        try:
            with self._log.open(newline="") as file:
                scores = [float(row["vmaf"]) for row in csv.DictReader(file)]
        except (OSError, KeyError, ValueError) as error:
            raise MediaError(f"libvmaf left no readable scores ({error}); please report this") from error
        if len(scores) != self._frames:
            raise MediaError(f"libvmaf scored {len(scores)} of {self._frames} frames; please report this")
        return scores

    def close(self) -> None:
        """Frees the filters, whereupon libvmaf writes its log; they hold each other in a circle."""
        if self._graph is not None:
            self._graph = None
            gc.collect()

    def _picture(self, luma: Luma) -> VideoFrame:
        """Luma with grey chroma: the model does not look at it, but the filter takes no format without."""
        picture = VideoFrame(*self._size, self._format.name)
        y, *chroma = plane_views(picture, self._format, writeable=True)
        unit = 1 << (self._format.bits - 8)
        y[...] = np.clip(np.rint(luma * unit), 0, self._format.code_max)
        for plane in chroma:
            plane[...] = 128 * unit
        picture.pts, picture.time_base = self._frames, _TICK
        return picture


@dataclass
class _Filters:
    """FFmpeg's filters, connected: two sources, libvmaf, and a sink for what it passes on."""

    sources: tuple[FilterContext, ...]
    sink: FilterContext

    def push(self, *pictures: VideoFrame | None) -> None:
        """A picture for each source, or None for the end."""
        for source, picture in zip(self.sources, pictures, strict=True):
            source.push(picture)
        try:
            while True:
                self.sink.pull()
        except (av.BlockingIOError, av.EOFError):
            return


def _connect(width: int, height: int, format: PixelFormat, log: Path) -> _Filters:
    graph = Graph()
    options = {"model": f"version={MODEL}", "log_fmt": "csv", "n_threads": str(os.cpu_count() or 1)}
    vmaf = graph.add("libvmaf", log_path=str(log), **options)
    sources = []
    for pad, name in enumerate(("result", "reference")):
        source = graph.add_buffer(width=width, height=height, format=format.name, time_base=_TICK, name=name)
        source.link_to(vmaf, 0, pad)
        sources.append(source)
    sink = graph.add("buffersink")
    vmaf.link_to(sink)
    graph.configure()
    return _Filters(tuple(sources), sink)
