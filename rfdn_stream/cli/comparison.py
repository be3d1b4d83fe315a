"""What ``rfdn-stream compare`` was asked for: checked before work starts, then carried out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from rich import box
from rich.markup import escape
from rich.table import Table

from rfdn_stream.cli.progress import ConsoleReporter
from rfdn_stream.cli.tables import table_console
from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.series import Series, as_csv, check_chart, draw
from rfdn_stream.jobs.compare import (
    SECONDS,
    WAYS,
    Crop,
    Duo,
    is_image,
    media_of_pictures,
    media_of_videos,
    open_duo,
    png_of,
    score,
    still_of,
    stills_of_two,
    told_apart,
    write_page,
    write_whole,
    write_wipe,
)
from rfdn_stream.media.output import muxer_of
from rfdn_stream.media.target import settle_target

PNG, PAGE, VIDEO = "PNG", "page", "video"
ENDINGS = {".png": PNG, ".html": PAGE, ".htm": PAGE}


@dataclass(frozen=True)
class Comparison:
    """A request; None and empty where nothing was said. See `cli.compare` for the meanings."""

    inputs: tuple[Path, ...]
    target: Path
    at: float | None
    number: int | None
    crops: tuple[tuple[int, int, int, int], ...]
    models: tuple[str, ...]
    enlarge: str | None
    divider: float | str | None
    start: float | None
    duration: float | None
    reference: Path | None
    csv: Path | None
    plot: Path | None
    overwrite: bool
    device: str
    precision: str

    @classmethod
    def of(cls, what: Sequence[str], **options: Any) -> Self:
        """The inputs and the result told apart, and all that can be checked by names alone.

        Raises:
            UsageError: something does not go with something else.
        """
        if len(what) > 3:
            raise UsageError(f"one or two files are compared, and the result named last; got {len(what)} names")
        paths = tuple(map(Path, what))
        inputs, target = (paths[:-1], paths[-1]) if len(paths) > 1 else (paths, Path(f"{paths[0].stem}-compared.png"))
        request = cls(inputs, target, **options)
        for wrong, why in request._conflicts():
            if wrong:
                raise UsageError(why)
        request._check_targets()
        return request

    def run(self, reporter: ConsoleReporter) -> None:
        """Carries it out."""
        if self.is_still:
            self._compare_stills(reporter)
        else:
            self._compare_videos(reporter)

    @property
    def kind(self) -> str:
        """What the target is, by its extension."""
        return ENDINGS.get(self.target.suffix.lower(), VIDEO)

    @property
    def is_still(self) -> bool:
        """Whether one moment is compared, not the whole of two videos."""
        one = len(self.inputs) == 1 or (self.at, self.number) != (None, None) or any(map(is_image, self.inputs))
        return self.kind == PNG or (self.kind == PAGE and one)

    @property
    def way(self) -> str:
        """How the smaller of two is enlarged."""
        return self.enlarge or "lanczos"

    @cached_property
    def parts(self) -> list[Crop]:
        """The crops."""
        return [Crop(*numbers) for numbers in self.crops]

    def _conflicts(self) -> Iterator[tuple[bool, str]]:
        one, still, kind = len(self.inputs) == 1, self.is_still, self.kind
        yield (
            one and kind == VIDEO,
            (
                f"one input is compared in OUT.png or OUT.html, got {self.target}; "
                "for a video with a divider name two inputs: A B OUT.mkv"
            ),
        )
        yield kind == VIDEO and any(map(is_image, self.inputs)), "images are compared in OUT.png or OUT.html"
        yield bool(self.models) and not one, "--model enlarges one input, and two are named; leave it out"
        yield self.enlarge is not None and one, "--enlarge is for two inputs; one is shown by nearest and by Lanczos"
        yield self.enlarge not in (None, *WAYS), f"--enlarge takes {' or '.join(WAYS)}, got {self.enlarge!r}"
        yield None not in (self.at, self.number), "--at and --frame choose the frame both; leave one of them out"
        yield (
            not still and (self.at, self.number) != (None, None),
            ("--at and --frame choose one frame, for OUT.png or OUT.html; --start and --duration choose more"),
        )
        yield (
            still and (self.start, self.duration) != (None, None),
            ("--start and --duration are for two videos in OUT.html or OUT.mkv; --at chooses a frame"),
        )
        yield self.divider is not None and kind != VIDEO, "--divider is for OUT.mkv; a page has a slider"
        yield len(self.crops) > 1 and kind != PNG, f"a {kind} shows one part; give --crop once, or name OUT.png"
        yield len(self.models) > 2 and kind == PAGE, "a page shows two pictures; name two --model, or OUT.png"
        yield (
            (self.csv, self.plot) != (None, None) and (self.reference is None or still),
            ("--csv and --plot hold what --reference measures over two videos in OUT.html or OUT.mkv"),
        )

    def _check_targets(self) -> None:
        if self.kind == VIDEO:
            muxer_of(self.target)
        for path in filter(None, (self.target, self.csv, self.plot)):
            for source in (*self.inputs, *filter(None, [self.reference])):
                settle_target(source, path, overwrite=self.overwrite)
        if self.plot is not None:
            check_chart(self.plot.suffix)
        if self.reference is not None and self.kind == PAGE and not self.is_still:
            check_chart(".svg")

    def _compare_stills(self, reporter: ConsoleReporter) -> None:
        which: dict[str, Any] = {"at": self.at, "number": self.number, "crops": self.parts, "reference": self.reference}
        if len(self.inputs) == 1:
            stills = still_of(self.inputs[0], self.models, **which, device=self.device, precision=self.precision)
        else:
            stills = stills_of_two(*self.inputs, **which, way=self.way)
        for way in stills.ways if self.reference else ():
            reporter.note(f"{way.name}: {way.detail}")
        if self.kind == PNG:
            write_whole(self.target, png_of(stills.sheet))
            reporter.note(f"{self.target}: {stills.what}, {stills.crop_told}")
            return
        # Of one input: Lanczos and the network, or the two networks.
        first = 0 if len(self.inputs) == 2 else max(1, len(self.models))
        shown = stills.ways[first : first + 2]
        media = media_of_pictures(shown, next(iter(self.parts), None), stills.size)
        write_page(self.target, stills.what, [way.name for way in shown], [way.detail for way in shown], media)
        reporter.note(f"{self.target}: {' and '.join(way.name for way in shown)}, {stills.what}")

    def _compare_videos(self, reporter: ConsoleReporter) -> None:
        names = told_apart(*self.inputs)
        duration = SECONDS if self.duration is None and self.kind == PAGE else self.duration
        crop = next(iter(self.parts), None)
        with open_duo(*self.inputs, start=self.start, duration=duration, way=self.way, crop=crop) as duo:
            series = self._measured(names, duration, reporter)
            if self.kind == PAGE:
                media = media_of_videos(duo, chosen=crop is not None, reporter=reporter)
                series = [one.first(media.frames) for one in series]
                write_page(self.target, " and ".join(names), names, duo.details, media, series)
                frames, notes = media.frames, list(media.facts)
            else:
                divider = self.divider if isinstance(self.divider, float) else None
                frames, notes = write_wipe(duo, self.target, names, divider=divider, reporter=reporter), duo.notes
            told = {note for one in series for note in one.notes}  # as it was measured
            for note in notes:
                if note not in told:
                    reporter.note(note)
            self._tell(series)
            reporter.note(f"{self.target}: {frames} frames of {_size(duo)}, {names[0]} to the left, {names[1]} right")

    def _measured(self, names: Sequence[str], duration: float | None, reporter: ConsoleReporter) -> list[Series]:
        if self.reference is None:
            return []
        series = []
        for path, name in zip(self.inputs, names, strict=True):
            reporter.note(f"{name} is measured against {self.reference}")
            series.append(score(path, self.reference, name, start=self.start, duration=duration, way=self.way))
        for note in dict.fromkeys(note for one in series for note in one.notes):
            reporter.note(note)
        return series

    def _tell(self, series: Sequence[Series]) -> None:
        """The figures: as files where they were asked for, and as a table on stdout."""
        if not series:
            return
        if self.csv is not None:
            write_whole(self.csv, as_csv(series).encode())
        if self.plot is not None:
            write_whole(self.plot, draw(series, self.plot.suffix))
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("video", overflow="fold")
        for name in ("frames", "PSNR-Y", "worst frame", "SSIM-Y", "worst frame", "VMAF", "worst frame"):
            table.add_column(name, justify="right")
        for one in series:
            figures = []
            for mean, least, digits in zip(one.mean, one.least, (2, 4, 2), strict=True):
                figures += ["-" if value is None else f"{value:.{digits}f}" for value in (mean, least)]
            table.add_row(escape(one.name), str(len(one.seconds)), *figures)
        table_console().print(table)


def _size(duo: Duo) -> str:
    return f"{duo.crop.width}x{duo.crop.height}"
