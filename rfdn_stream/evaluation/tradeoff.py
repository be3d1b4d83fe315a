"""The papers' trade-off as a chart: PSNR on Set5 at x4 against parameters, and against mult-adds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.published import Result
from rfdn_stream.nets.base import blank
from rfdn_stream.nets.catalogue import models
from rfdn_stream.nets.complexity import count_for_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
SCALE, SCORE = 4, "Set5 PSNR-Y"

INK, QUIET, ACCENT = "#1f2328", "#6e7781", "#c2410c"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": "#c9ced4",
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#eceff2",
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "svg.hashsalt": "rfdn-stream",
}
UNDATED: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""What keeps the time out of a file, so that the same chart is the same file."""
MARKER = 16  # pixels that a point takes up
PLACES = ((7, 0, "left"), (-7, 0, "right"), (0, 8, "center"), (0, -9, "center"), (6, 7, "left"), (-6, -8, "right"))
"""Where a label may stand, from its point in typographic points, and how it is aligned; the first is the best."""


def measured() -> list[Result]:
    """The models of the catalogue whose PSNR on Set5 at x4 was measured."""
    results = []
    for model in models():
        if model.scale == SCALE and SCORE in model.scores:
            cost = count_for_output(blank(model.architecture, model.options))
            results.append(Result(model.name, cost.parameters, cost.macs, model.scores[SCORE], measured=True))
    return results


def draw(results: Sequence[Result], ending: str = ".png") -> bytes:
    """The chart, as the content of a file.

    Args:
        results: what is drawn; measured ones stand out.
        ending: one of FORMATS.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator
    except ImportError:
        raise UsageError("no chart without matplotlib: pip install 'rfdn-stream[plot]'") from None
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.6), dpi=160)
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.065, right=0.98, top=0.8, bottom=0.12, wspace=0.08)
        figure.text(0.02, 0.93, "PSNR against cost", color=INK, fontsize=13, fontweight="bold")
        figure.text(0.02, 0.875, "Set5 at x4, luma, in dB; up and to the left is better", color=QUIET)
        costs = ([r.parameters / 1e3 for r in results], [r.macs / 1e9 for r in results])
        _points(panels[0], costs[0], results, "parameters, thousands")
        _points(panels[1], costs[1], results, "mult-adds for an output of 1280x720, billions")
        panels[1].set_xscale("log")
        panels[1].xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        panels[1].xaxis.set_major_formatter("{x:,.0f}")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="upper right", bbox_to_anchor=(0.99, 0.975), frameon=False, labelcolor=INK)
        for axes in panels:
            axes.margins(0.1)
        figure.draw_without_rendering()  # settles the scales, and with them where points lie
        for axes, xs in zip(panels, costs, strict=True):
            _name_points(axes, xs, results)
        content = io.BytesIO()
        figure.savefig(content, format=ending.removeprefix("."), metadata=UNDATED.get(ending))
    return content.getvalue()


def _points(axes: Axes, xs: Sequence[float], results: Sequence[Result], label: str) -> None:
    kinds = ((False, "as published", "white", QUIET), (True, "measured here", ACCENT, ACCENT))
    for ours, kind, face, edge in kinds:
        chosen = [(x, r.psnr) for x, r in zip(xs, results, strict=True) if r.measured == ours]
        across, up = [x for x, _ in chosen], [y for _, y in chosen]
        axes.scatter(across, up, 42, label=kind, zorder=3, facecolor=face, edgecolor=edge, linewidth=1.3)
    axes.set_xlabel(label)
    axes.grid(visible=True)


def _name_points(axes: Axes, xs: Sequence[float], results: Sequence[Result]) -> None:
    """Writes each name beside its point, ours first: where it covers no point, no other name and no border."""
    from matplotlib.transforms import Bbox

    centres = axes.transData.transform([(x, r.psnr) for x, r in zip(xs, results, strict=True)])
    taken = [Bbox.from_bounds(h - MARKER / 2, v - MARKER / 2, MARKER, MARKER) for h, v in centres]
    for x, result in sorted(zip(xs, results, strict=True), key=lambda pair: not pair[1].measured):
        text = axes.annotate(result.name, (x, result.psnr), (0, 0), textcoords="offset points", va="center")
        text.set(color=ACCENT if result.measured else INK, fontweight="bold" if result.measured else "normal")
        for across, up, side in PLACES:
            text.set(position=(across, up), horizontalalignment=side)
            extent = text.get_window_extent()
            inside = axes.bbox.containsx(extent.x0) and axes.bbox.containsx(extent.x1)
            if inside and not any(extent.overlaps(other) for other in taken):
                break
        taken.append(extent)
