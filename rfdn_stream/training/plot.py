"""``log.png``: the loss and the held-out PSNR over the steps, drawn from ``log.csv``."""

from __future__ import annotations

import io
from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.training.log import read_log
from rfdn_stream.training.state import write_whole


def plot_log(log: Path, picture: Path, bicubic: float | None) -> None:
    """Draws a log to a PNG file.

    Args:
        log: the CSV file.
        picture: where to; replaced.
        bicubic: PSNR-Y of bicubic enlargement, drawn as a line to be above.

    Raises:
        UsageError: matplotlib is not installed.
        OSError: a file cannot be read or written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("no plot without matplotlib: pip install 'rfdn-stream[plot]'") from None
    columns = read_log(log)
    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(*_axes(columns["loss"]), color="tab:blue", linewidth=1)
    above.set(ylabel="loss", yscale="log")
    below.plot(*_axes(columns["psnr_y"]), color="tab:green", marker=".", label="averaged weights")
    if bicubic is not None:
        below.axhline(bicubic, color="grey", linestyle="--", label="bicubic")
        below.legend(loc="lower right")
    below.set(xlabel="step", ylabel="held-out PSNR-Y, dB")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    write_whole(picture, png.getvalue())


def _axes(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [value for _, value in points]
