"""The scores of ``rfdn-stream evaluate``: as tables on stdout, and as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from rfdn_stream import __version__
from rfdn_stream.cli.tables import table_console
from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.benchmark import BenchmarkScore
from rfdn_stream.evaluation.enlargers import Enlarger
from rfdn_stream.evaluation.video import Enlarged, VideoScore
from rfdn_stream.media.target import check_writable, whole_or_nothing


class Scores:
    """Prints each table as it comes, and keeps everything for the end.

    Args:
        target: the JSON file, ``-`` for stdout, on which no table is printed then, or None.

    Raises:
        UsageError: the name is not a JSON file's, or cannot be one.
    """

    def __init__(self, target: Path | None) -> None:
        self._target, self._alone = target, str(target) == "-"
        if target is not None and not self._alone:
            if target.suffix.lower() != ".json":
                raise UsageError(f"the figures are JSON, got the name {target}; name a file *.json, or - for stdout")
            if not target.parent.is_dir():
                raise UsageError(f"the folder {target.parent} does not exist; create it first")
            check_writable(target)
        self._console = table_console()
        self._figures: dict[str, Any] = {"rfdn-stream": __version__}

    def add_pictures(self, enlargers: Sequence[Enlarger], results: Sequence[BenchmarkScore]) -> None:
        """One data set, measured with each of the enlargers."""
        for enlarger, result in zip(enlargers, results, strict=True):
            pictures = [_finite(asdict(picture)) for picture in result.pictures]
            self._keep("pictures", enlarger, dataset=str(result.dataset), psnr_y=result.psnr_y, ssim_y=result.ssim_y)
            self._figures["pictures"][-1]["pictures"] = pictures
        first = results[0]
        title = f"{first.dataset}, x{first.scale}"
        table = _table()
        table.add_column("picture", overflow="fold")
        for result in results:
            table.add_column(f"{escape(result.enlarger)}\nPSNR-Y", justify="right")
            table.add_column("\nSSIM-Y", justify="right")
        rows = zip(*(result.pictures for result in results), strict=True)
        for row in rows:
            table.add_row(escape(row[0].name), *(text for score in row for text in _pair(score.psnr_y, score.ssim_y)))
        table.add_section()
        table.add_row("mean", *(text for result in results for text in _pair(result.psnr_y, result.ssim_y)))
        self._print(title, table, _descriptions(enlargers))

    def add_video(self, reference: Path, enlargers: Sequence[Enlarger], results: Sequence[Enlarged]) -> None:
        """One video, made small in some ways and enlarged by each of the enlargers."""
        for enlarger, result in zip(cycle(enlargers), results):
            named = {"reference": str(reference), "small": result.encoding}
            self._keep("videos", enlarger, **named, **asdict(result.score))
        score = results[0].score
        size = f"{score.width}x{score.height}"
        title = f"{reference}, {score.frames} frames of {size}, made small by {enlargers[0].scale}"
        table = _table()
        with_vmaf = _add_columns(table, [each.score for each in results], "small video", "enlarged by")
        baseline: VideoScore | None = None
        for number, result in enumerate(results):
            if number % len(enlargers) == 0:
                table.add_section()
                baseline = result.score
            encoding = result.encoding if result.score is baseline else ""
            table.add_row(encoding, escape(result.enlarger), *_measures(result.score, baseline, with_vmaf))
        self._print(title, table, _descriptions(enlargers), _stillness(score), *_notes([r.score for r in results]))

    def add_comparison(self, reference: Path, results: Sequence[tuple[Path, VideoScore]]) -> None:
        """Videos compared with one original."""
        for path, score in results:
            entry = {"result": str(path), "reference": str(reference), **asdict(score)}
            self._figures.setdefault("comparisons", []).append(_finite(entry))
        title = f"compared with {reference}"
        table = _table()
        with_vmaf = _add_columns(table, [score for _, score in results], "video", "frames")
        for path, score in results:
            table.add_row(escape(str(path)), str(score.frames), *_measures(score, None, with_vmaf))
        notes = [(f"{path}: " if len(results) > 1 else "") + note for path, score in results for note in score.notes]
        self._print(title, table, _stillness(results[0][1]), *notes)

    def write_json(self) -> None:
        """Writes the figures where they were asked for; infinite ones become null."""
        text = json.dumps(self._figures, indent=2, allow_nan=False)
        if self._alone:
            sys.stdout.write(text + "\n")
        elif self._target is not None:
            with whole_or_nothing(self._target) as partial:
                partial.write_text(text + "\n", encoding="utf-8")

    def _keep(self, kind: str, enlarger: Enlarger, **figures: Any) -> None:
        named = {"model": enlarger.name, "scale": enlarger.scale, "computed": enlarger.description}
        self._figures.setdefault(kind, []).append(_finite({**named, **figures}))

    def _print(self, title: str, table: Table, *lines: str) -> None:
        if self._alone:
            return
        self._console.print(title, style="bold", markup=False, soft_wrap=True)
        self._console.print(table)
        for line in lines:
            if line:
                self._console.print(line, style="dim", markup=False, soft_wrap=True)
        self._console.print()


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD)  # its cells take markup, so names in them are escaped


def _add_columns(table: Table, scores: Sequence[VideoScore], *first: str) -> bool:
    """The columns of a table of videos; VMAF has one, and True is returned, where it was measured."""
    with_vmaf = any(score.vmaf is not None for score in scores)
    for name in first:
        table.add_column(name, overflow="fold")
    for name in ("PSNR-Y", "SSIM-Y", *(["VMAF"] if with_vmaf else []), "flicker"):
        table.add_column(name, justify="right")
    return with_vmaf


def _pair(psnr: float, ssim: float) -> tuple[str, str]:
    return f"{psnr:.3f}", f"{ssim:.4f}"


def _measures(score: VideoScore, baseline: VideoScore | None, with_vmaf: bool) -> list[str]:
    """A row's figures; behind PSNR and VMAF, how far they are above the baseline's."""
    psnr, vmaf = (None, None) if baseline is None else (baseline.psnr_y, baseline.vmaf)
    flicker = "-" if score.flicker is None else f"{score.flicker:.3f}"
    texts = [_gain(score.psnr_y, psnr), f"{score.ssim_y:.4f}", flicker]
    if with_vmaf:
        texts.insert(2, "-" if score.vmaf is None else _gain(score.vmaf, vmaf))
    return texts


def _gain(value: float, baseline: float | None) -> str:
    if baseline is None:
        return f"{value:.2f}"
    # The baseline itself is padded, so that the numbers stand below each other.
    gain = f" [dim]{value - baseline:+.2f}[/]" if value != baseline else " " * 6
    return f"{value:.2f}{gain}"


def _stillness(score: VideoScore) -> str:
    if score.flicker_reference is None:
        return "flicker: not measured, as nothing in the original stands still from one frame to the next"
    return (
        f"flicker: mean change of luma from frame to frame, in codes of 255, where the original stands still "
        f"({score.still:.0%} of it); its own is {score.flicker_reference:.3f}"
    )


def _descriptions(enlargers: Sequence[Enlarger]) -> str:
    """What each computes with, said once where it is the same."""
    names: dict[str, list[str]] = {}
    for enlarger in enlargers:
        names.setdefault(enlarger.description, []).append(enlarger.name)
    return "; ".join(f"{', '.join(same)}: {description}" for description, same in names.items())


def _notes(scores: Sequence[VideoScore]) -> list[str]:
    return list(dict.fromkeys(note for score in scores for note in score.notes))


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in figures.items()}
