"""How near a video is to its reference, frame by frame: figures, as CSV and as a chart."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation import vmaf
from rfdn_stream.evaluation.metrics import WINDOW, decibels, similarity, squared_error
from rfdn_stream.evaluation.tradeoff import ACCENT, FORMATS, INK, QUIET, STYLE, UNDATED
from rfdn_stream.evaluation.video import Pairs, luma_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (QUIET, ACCENT, "#1d4ed8", "#15803d")
LEFT, RIGHT = 0.075, 0.985
"""Where the charts' time axis begins and ends, as shares of the width."""


@dataclass(frozen=True)
class Series:
    """The figures of one video, one for each frame.

    Args:
        name: as charts and tables show it.
        seconds: when each frame is shown, from the first one on.
        errors: mean squared error of luma, on the scale of 8 bits.
        ssim: of luma.
        vmaf: 0 to 100; empty where it was not measured.
        notes: what is to be known of them, in sentences for the user.
    """

    name: str
    seconds: tuple[float, ...]
    errors: tuple[float, ...]
    ssim: tuple[float, ...]
    vmaf: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    def first(self, frames: int) -> Series:
        """The figures of so many frames from the beginning."""
        seconds, errors, ssim, of_vmaf = (each[:frames] for each in (self.seconds, self.errors, self.ssim, self.vmaf))
        return Series(self.name, seconds, errors, ssim, of_vmaf, self.notes)

    @property
    def psnr(self) -> tuple[float, ...]:
        """In dB; infinite where a frame equals its reference."""
        return tuple(map(decibels, self.errors))

    @property
    def mean(self) -> tuple[float, float, float | None]:
        """PSNR of the mean error, mean SSIM, mean VMAF, as `video.VideoScore` has them."""
        of_vmaf = float(np.mean(self.vmaf)) if self.vmaf else None
        return decibels(float(np.mean(self.errors))), float(np.mean(self.ssim)), of_vmaf

    @property
    def least(self) -> tuple[float, float, float | None]:
        """The worst frame's PSNR, SSIM and VMAF, each by itself."""
        return min(self.psnr), min(self.ssim), min(self.vmaf) if self.vmaf else None


def measure(name: str, pairs: Pairs, on_frame: Callable[[], None] = lambda: None) -> Series:
    """Measures results against their references, on luma as the files hold it; see `video` for the measures.

    Args:
        name: of the series.
        pairs: results and references of one size, 11x11 or more.
        on_frame: called after each pair.

    Raises:
        MediaError: frames that are RGB, or that do not belong together.
        UsageError: the pictures are too small.
    """
    seconds: list[float] = []
    errors: list[float] = []
    ssim: list[float] = []
    meter: vmaf.Vmaf | None = None
    notes: list[str] = []
    with ExitStack() as stack:
        for result, reference in pairs:
            if not seconds:
                size = reference.width, reference.height
                if min(size) < WINDOW:
                    raise UsageError(f"{size[0]}x{size[1]} is too small to be measured; {WINDOW}x{WINDOW} is the least")
                reason = vmaf.why_not(*size)
                if reason is None:
                    meter = stack.enter_context(vmaf.open_vmaf(*size, reference.format.bits))
                else:
                    notes.append(f"VMAF is left out: {reason}")
            ours, theirs = luma_of(result), luma_of(reference)
            seconds.append(reference.seconds or 0.0)
            errors.append(squared_error(ours, theirs))
            ssim.append(similarity(ours, theirs))
            if meter is not None:
                meter.add(ours, theirs)
            on_frame()
        scores = meter.scores() if meter is not None else []
    if pairs.ended is not None:
        notes.append(f"{pairs.ended} ends after {len(seconds)} frames and the other goes on; what both have counts")
    times = tuple(second - seconds[0] for second in seconds)
    return Series(name, times, tuple(errors), tuple(ssim), tuple(scores), tuple(notes))


def as_csv(series: Sequence[Series]) -> str:
    """A line a frame and video, with a head line; PSNR is ``inf`` where a frame equals its reference."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["video", "frame", "seconds", "psnr_y", "ssim_y", "vmaf"])
    for one in series:
        for number, (second, psnr, ssim) in enumerate(zip(one.seconds, one.psnr, one.ssim, strict=True)):
            of_vmaf = f"{one.vmaf[number]:.4f}" if one.vmaf else ""
            lines.writerow([one.name, number, f"{second:.6f}", f"{psnr:.4f}", f"{ssim:.6f}", of_vmaf])
    return text.getvalue()


def check_chart(ending: str) -> None:
    """UsageError where no chart can be drawn: matplotlib is missing, or `ending` none of its formats here."""
    if ending.lower() not in FORMATS:
        raise UsageError(f"a chart is {', '.join(FORMATS)}, got {ending or 'a name without extension'}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("no chart without matplotlib: pip install 'rfdn-stream[plot]'") from None


def draw(series: Sequence[Series], ending: str = ".png") -> bytes:
    """All series over time, a panel a measure, as the content of a file; the same chart is the same file.

    Raises:
        UsageError: as `check_chart`.
    """
    check_chart(ending)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with_vmaf = any(one.vmaf for one in series)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.4 if with_vmaf else 3.8), dpi=130)
        FigureCanvasAgg(figure)
        panels = figure.subplots(3 if with_vmaf else 2, 1, sharex=True)
        figure.subplots_adjust(left=LEFT, right=RIGHT, top=0.91, bottom=0.1, hspace=0.14)
        for one, colour in zip(series, _colours(len(series)), strict=True):
            _line(panels[0], one, one.psnr, colour)
            _line(panels[1], one, one.ssim, colour)
            if one.vmaf:
                _line(panels[2], one, one.vmaf, colour)
        for axes, name in zip(panels, ("PSNR-Y, dB", "SSIM-Y", "VMAF")):
            axes.set_ylabel(name)
            axes.grid(visible=True)
            axes.margins(x=0)
        figure.align_ylabels()
        panels[-1].set_xlabel("seconds")
        # Numbers first: of names, those that begin with _ would be left out, and what is between $ read as formulas.
        numbers = list(map(str, range(len(series))))
        legend = figure.legend(panels[0].lines, numbers, loc="upper right", ncols=4, frameon=False, labelcolor=INK)
        for text, one in zip(legend.get_texts(), series, strict=True):
            text.set(text=one.name, parse_math=False)
        content = io.BytesIO()
        figure.savefig(content, format=ending.lower().removeprefix("."), metadata=UNDATED.get(ending))
    return content.getvalue()


def _line(axes: Axes, one: Series, values: Sequence[float], colour: str) -> None:
    """Gaps where a value is infinite; a dot for a single frame."""
    finite = [value if math.isfinite(value) else math.nan for value in values]
    marker = "o" if len(finite) == 1 else ""
    axes.plot(one.seconds, finite, color=colour, linewidth=1.4, marker=marker)


def _colours(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]
