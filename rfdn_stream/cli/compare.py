"""``rfdn-stream compare IN [OUT]`` and ``rfdn-stream compare A B OUT``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from rfdn_stream.cli.upscale import seconds

WHICH, TWO, MEASURE, HOW = "Which part", "Two files", "Measure", "How"


def part(text: str) -> tuple[int, int, int, int]:
    """``X,Y,W,H`` as four numbers; colons, as upscale writes it, do as well."""
    text = text.replace(":", ",")
    if not re.fullmatch(r"\d+(,\d+){3}", text):
        raise typer.BadParameter(f"{text!r} is not a part of a picture; write X,Y,W,H in pixels, as 320,180,120,90")
    x, y, width, height = map(int, text.split(","))
    return x, y, width, height


def place(text: str) -> float | str:
    """``sweep``, or a share of the width."""
    if text == "sweep":
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no place for the divider; write sweep, or 0 (left) to 1") from None


def compare_command(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="IN [OUT] | A B OUT",
            help="One image or video, and OUT.png or OUT.html; or two, and OUT.png, OUT.html or OUT.mkv.",
            show_default=False,
        ),
    ],
    at: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=seconds,
            help="The frame of a video that begins there, or the next. [dim]Default: the middle.[/]",
            rich_help_panel=WHICH,
        ),
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="The frame with this number; the first is 0.", rich_help_panel=WHICH),
    ] = None,
    crop: Annotated[
        list[Any] | None,
        typer.Option(
            metavar="X,Y,W,H",
            parser=part,
            help="The part to show, in pixels of the first file; in a PNG several times, a row each. "
            "[dim]Default: all, and in a PNG the most detailed part.[/]",
            rich_help_panel=WHICH,
        ),
    ] = None,
    start: Annotated[
        float | None,
        typer.Option(metavar="TIME", parser=seconds, help="Two videos: begin here.", rich_help_panel=WHICH),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=seconds,
            help="Two videos: take this much. [dim]Default: all; 10 s in a page.[/]",
            rich_help_panel=WHICH,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="What enlarges IN; several times to compare models. [dim]Default: the model for what IN is.[/]",
            rich_help_panel=HOW,
        ),
    ] = None,
    enlarge: Annotated[
        str | None,
        typer.Option(
            metavar="lanczos|nearest",
            help="How the smaller is brought to the other's size. [dim]Default: lanczos.[/]",
            rich_help_panel=TWO,
        ),
    ] = None,
    divider: Annotated[
        Any,
        typer.Option(
            metavar="sweep|0..1",
            parser=place,
            help="In a video: moving to and fro, or at this share of the width. [dim]Default: sweep.[/]",
            rich_help_panel=TWO,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The original at the result's size: PSNR and SSIM of a picture, and VMAF of two videos' frames.",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Each frame's figures as CSV.", rich_help_panel=MEASURE),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Each frame's figures as a chart: *.png, *.svg or *.pdf.", rich_help_panel=MEASURE
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "-y", help="Replace what exists.", rich_help_panel=HOW)
    ] = False,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda:N", help="Where the network runs.", rich_help_panel=HOW)
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16|fp16", help="What the network computes in.", rich_help_panel=HOW)
    ] = "auto",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only warnings and errors.", rich_help_panel=HOW)
    ] = False,
) -> None:
    """Show what the program does to a picture, or how two files differ.

    One input: the same part by nearest, Lanczos and the network, in one PNG,
    as the network gives it, before an encoder.

    Two inputs, such as a source and its result: a PNG, a page with a slider
    that needs no network access, or a video with a moving divider.

    [dim]Examples:[/]

      rfdn-stream compare film.mkv --at 1:30

      rfdn-stream compare photo.jpg models.png --model erfdn-x2-clean --model erfdn-x2-video

      rfdn-stream compare film.mkv film-2x.mkv wipe.mkv --start 60 --duration 10

      rfdn-stream compare film.mkv film-2x.mkv page.html --reference original.mkv
    """
    from rfdn_stream.cli.comparison import Comparison
    from rfdn_stream.cli.progress import ConsoleReporter

    Comparison.of(
        what,
        at=at,
        number=frame,
        crops=tuple(crop or ()),
        models=tuple(dict.fromkeys(model or ())),
        enlarge=enlarge,
        divider=divider,
        start=start,
        duration=duration,
        reference=reference,
        csv=csv,
        plot=plot,
        overwrite=overwrite,
        device=device,
        precision=precision,
    ).run(ConsoleReporter(quiet=quiet))
