"""``rfdn-stream bench``."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfdn_stream.cli.tables import table_console

if TYPE_CHECKING:
    from rich.table import Table

    from rfdn_stream.doctor.bench import Speed
    from rfdn_stream.doctor.engines import Comparison

ENGINE_COLUMNS = ("engine", "s/frame", "least", "CPU s/frame", "GFLOP/s", "of torch fp32", "floor", "PSNR")
COLUMNS = ("in", "out", "frames", "fps", "s/frame", "network", "colour", "idle")
CARD_COLUMNS = ("in", "fps", "up", "colour", "network", "down", "idle", "plain", "layers", "blocks", "sums")


def frame_size(text: str) -> tuple[int, int]:
    """``1280x720`` as (width, height)."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or not (int(found[1]) and int(found[2])):
        raise typer.BadParameter(f"{text!r} is not a frame size; write WIDTHxHEIGHT, as 1280x720")
    return int(found[1]), int(found[2])


def bench_command(
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WxH", help="Frames to put in; may be given several times. [dim]Default: by the device.[/]"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME|FILE", help="As for upscale.")] = None,
    scale: Annotated[
        int | None,
        typer.Option(help="Whole, as for upscale: 2, 3, 4, or a product of these; with --cpu of one network alone."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda:N", help="As for upscale.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="auto|fp32|bf16|fp16", help="As for upscale.")] = "auto",
    tile: Annotated[int | None, typer.Option(metavar="PX", help="As for upscale.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure each size, about.")] = 10.0,
    cpu: Annotated[
        bool, typer.Option("--cpu", help="Instead: the CPU's engines side by side, one frame each in turn.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Figures as JSON on stdout.")] = False,
) -> None:
    """Measure how many frames a second this machine enlarges, without decoding and encoding.

    Shares are of the time that frames took; idle is when the network had nothing to do.

    With --cpu: GFLOP/s are of plain convolutions; floor is an engine's arithmetic at the measured peak.

    On a card: milliseconds a frame, and the least that the network can take there.
    Plain is each operation by itself, layers and blocks are one kernel for each, sums is arithmetic alone.
    """
    from rfdn_stream.errors import UsageError

    sizes = [frame_size(text) for text in size or []]
    if "," in device:
        raise UsageError(f"bench measures one device at a time, got {device}; name one of them")
    if cpu:
        if (device, precision, tile) != ("auto", "auto", None):
            raise UsageError("--cpu measures every engine and precision; leave out --device, --precision and --tile")
        _compare_engines(sizes, model, scale, seconds, json)
        return
    from rfdn_stream.doctor.bench import CPU_SIZES, GPU_SIZES, measure
    from rfdn_stream.doctor.rates import measure_rates
    from rfdn_stream.engines.torch_engine import DTYPES
    from rfdn_stream.upscaler import Upscaler

    with Upscaler(model, scale=scale, device=device, precision=precision, tile=tile, reuse="off") as upscaler:
        names = " then ".join(model.name for model in upscaler.models)
        what = f"{names} x{upscaler.scale} on {upscaler.device.name}, {upscaler.engine.description}"
        if not json:
            typer.echo(what)
        on_cpu = upscaler.device.torch_device.type == "cpu"
        rates = None if on_cpu else measure_rates(upscaler.device, DTYPES[upscaler.engine.precision])
        speeds = [measure(upscaler, *each, seconds, rates) for each in sizes or (CPU_SIZES if on_cpu else GPU_SIZES)]
        if json:
            from dataclasses import asdict
            from json import dumps

            measured = {"what": what, "speeds": [asdict(speed) for speed in speeds]}
            more = {} if rates is None else {"rates": asdict(rates)}
            typer.echo(dumps(measured | more, indent=2, allow_nan=False))
            return
        if rates is None:
            _print(COLUMNS, [_row(speed, upscaler.scale) for speed in speeds])
        else:
            _print(CARD_COLUMNS, [_card_row(speed) for speed in speeds])
            typer.echo(
                f"up {rates.up / 1e9:.3g} GB/s, down {rates.down / 1e9:.3g} GB/s, the card's own memory "
                f"{rates.memory / 1e9:.3g} GB/s, {rates.arithmetic / 1e12:.3g} Tflop/s"
            )


def _compare_engines(
    sizes: list[tuple[int, int]], model: str | None, scale: int | None, seconds: float, json: bool
) -> None:
    from rfdn_stream.doctor.engines import SIZE, compare

    found = [compare(model, scale, size, seconds) for size in sizes or [SIZE]]
    if json:
        from json import dumps

        typer.echo(dumps([_plain(each) for each in found], indent=2, allow_nan=False))
    else:
        for each in found:
            _print_engines(each)


def _plain(found: Comparison) -> dict[str, Any]:
    """For JSON, which has no infinite numbers: the yardstick's PSNR is null."""
    from dataclasses import asdict

    figures = asdict(found)
    for timing in figures["timings"]:
        timing["psnr"] = timing["psnr"] if math.isfinite(timing["psnr"]) else None
    return figures


def _print_engines(found: Comparison) -> None:
    """Medians, except for the column that says otherwise."""
    from statistics import median

    from rich import box
    from rich.table import Table

    console = table_console()
    title = f"{found.model}, {found.width}x{found.height}, {found.gflop:.1f} GFLOP a frame"
    console.print(title, markup=False)
    table = Table(*ENGINE_COLUMNS, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    _fold(table)
    table.columns[0].justify = "left"
    for timing in found.timings:
        seconds = median(timing.seconds)
        table.add_row(
            timing.engine,
            f"{seconds:.3f}",
            f"{min(timing.seconds):.3f}",
            f"{median(timing.cpu_seconds):.3f}",
            f"{found.gflop / seconds:.0f}",
            f"{found.ratio(timing):.2f} x",
            "-" if timing.floor is None else f"{timing.floor:.3f}",
            "-" if math.isinf(timing.psnr) else f"{timing.psnr:.1f} dB",
        )
    console.print(table)
    if found.peaks:
        peaks = (f"{peak:.0f} Gop/s in {precision}" for precision, peak in found.peaks.items())
        console.print(f"this machine's peak, all threads: {', '.join(peaks)}")
    for timing in found.timings:
        console.print(f"{timing.engine}: {timing.description}")


def _row(speed: Speed, scale: int) -> list[str]:
    return [
        f"{speed.width}x{speed.height}",
        f"{speed.width * scale}x{speed.height * scale}",
        str(speed.frames),
        f"{speed.fps:.3g}",
        f"{1 / speed.fps:.3g}",
        *(f"{share:.1%}" for share in (speed.network, speed.colour, speed.idle)),
    ]


def _card_row(speed: Speed) -> list[str]:
    """In milliseconds a frame."""
    assert speed.floor is not None
    frame, floor = 1 / speed.fps, speed.floor
    stages = (speed.up, speed.colour * frame, speed.network * frame, speed.down)
    times = [f"{1e3 * (seconds or 0.0):.3g}" for seconds in stages]
    best = (f"{1e3 * seconds:.3g}" for seconds in (floor.plain, floor.layers, floor.blocks, floor.arithmetic))
    return [f"{speed.width}x{speed.height}", f"{speed.fps:.3g}", *times, f"{speed.idle:.1%}", *best]


def _print(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    _fold(table)
    for row in rows:
        table.add_row(*row)
    table_console().print(table)


def _fold(table: Table) -> None:
    """Figures to the right, and in two lines rather than cut off where the terminal is narrow."""
    for column in table.columns:
        column.justify, column.overflow = "right", "fold"
