"""``rfdn-stream models``, ``models fetch`` and ``models complexity``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfdn_stream.cli.bench import frame_size
from rfdn_stream.cli.tables import table_console
from rfdn_stream.errors import UsageError

if TYPE_CHECKING:
    from rfdn_stream.nets.base import NetworkOptions
    from rfdn_stream.nets.catalogue import ModelSpec
    from rfdn_stream.nets.complexity import Complexity

PURPOSES = {"video": "video", "image": "images", "general": "any picture"}

models_app = typer.Typer(
    help="List the models there are, download one, or say what networks cost.",
    invoke_without_command=True,
    no_args_is_help=False,
)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the models: scale, parameters, licence, training, scores."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    from rfdn_stream.nets.catalogue import models

    console = Console(highlight=False)
    for model in models():
        console.print(f"[bold]{model.name}[/]  x{model.scale}, for {PURPOSES[model.purpose]}, {escape(_where(model))}")
        facts = f"{model.parameters:,} parameters, {model.licence}, by {model.source}. {model.training}"
        for text in (facts, _scores(model)):
            console.print(Padding(text, (0, 0, 0, 4)), markup=False)
        console.print()
    missing = [model.name for model in models() if not model.available]
    if missing:
        console.print(f"To fetch: rfdn-stream models fetch {missing[0]}")


@models_app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(metavar="NAME", help="A model of the list.")]) -> None:
    """Download a model's weights, checked by sha256; nothing happens if they are here already."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from rfdn_stream.nets.catalogue import fetch_model, spec

    console = Console(stderr=True)
    model = spec(name)
    columns = TextColumn(name), BarColumn(), DownloadColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=model.size)
        path = fetch_model(name, lambda done, total: bar.update(task, completed=done))
    typer.echo(path)


@models_app.command("complexity")
def complexity(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|FILE",
            help="Networks of the papers, models, or weights files. [dim]Default: all published networks.[/]",
        ),
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="The picture given out.")] = "1280x720",
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw PSNR against parameters and mult-adds at x4, known networks and ours: "
            "*.png, *.svg or *.pdf, replaced where it exists.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Figures as JSON on stdout.")] = False,
) -> None:
    """Say what networks cost: parameters, mult-adds, activations and convolutions.

    Counted as papers count: mult-adds without biases, and all values that convolutions put out as activations.
    """
    width, height = frame_size(size)
    if plot is not None:
        _draw(plot)  # first: where it cannot be drawn, nothing is printed
    rows = list(_costs(names or [], width, height))
    if json:
        from dataclasses import asdict
        from json import dumps

        networks = [{"name": n, "architecture": a, "scale": s, **asdict(cost)} for n, a, s, cost in rows]
        typer.echo(dumps({"width": width, "height": height, "networks": networks}, indent=2))
    else:
        _print_costs(rows, f"For an output of {width}x{height}")
    if plot is not None:
        typer.echo(f"drawn: {plot}", err=True)


def _costs(names: list[str], width: int, height: int) -> Iterator[tuple[str, str, int, Complexity]]:
    """Name, architecture, scale and cost of each network."""
    from rfdn_stream.nets.base import blank
    from rfdn_stream.nets.complexity import count_for_output

    for name, architecture, options in _networks(names):
        try:
            cost = count_for_output(blank(architecture, options), width, height)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
        yield name, architecture, options.scale, cost


def _networks(names: list[str]) -> Iterator[tuple[str, str, NetworkOptions]]:
    """Name, architecture and options: of networks at every scale, of models and weights files at their own."""
    from rfdn_stream.nets.base import SCALES, architectures, named
    from rfdn_stream.nets.catalogue import describe

    kinds = architectures().values()
    published = [name for kind in kinds for name in kind.published]
    known = [*published, *(name for kind in kinds for name in kind.variants)]
    for name in names or published:
        if name in known:
            for scale in SCALES:
                yield name, *named(name, scale)
            continue
        try:
            model = describe(name)
        except UsageError as error:
            raise UsageError(f"{error}; networks: {', '.join(known)}") from None
        yield model.name, model.architecture, model.options


def _print_costs(rows: list[tuple[str, str, int, Complexity]], title: str) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("network", overflow="fold")
    for column in ("scale", "parameters", "mult-adds\n(G)", "activations\n(M)", "convs"):
        table.add_column(column, justify="right")
    before = rows[0][0]
    for name, _, scale, cost in rows:
        if name != before:
            table.add_section()
        before = name
        figures = f"{cost.parameters:,}", f"{cost.macs / 1e9:,.2f}", f"{cost.activations / 1e6:,.2f}"
        table.add_row(escape(name), f"x{scale}", *figures, str(cost.convolutions))
    console = table_console()
    console.print(title, style="bold")
    console.print(table)


def _draw(path: Path) -> None:
    """Draws the trade-off, whole or not at all."""
    from rfdn_stream.evaluation.published import PUBLISHED
    from rfdn_stream.evaluation.tradeoff import FORMATS, draw, measured
    from rfdn_stream.media.target import whole_or_nothing

    if path.suffix.lower() not in FORMATS or path.is_dir():
        raise UsageError(f"a chart is a file {', '.join(f'*{ending}' for ending in FORMATS)}, got {path}")
    with whole_or_nothing(path) as partial:
        partial.write_bytes(draw([*PUBLISHED, *measured()], path.suffix.lower()))


def _where(model: ModelSpec) -> str:
    if model.url is None:
        return "bundled"
    return f"fetched to {model.path}" if model.available else f"to be fetched ({model.size / 1e6:.1f} MB)"


def _scores(model: ModelSpec) -> str:
    """PSNR and SSIM on luma, a benchmark each: ``Set5 36.41/.9507``."""
    by_set: dict[str, list[str]] = {}
    for what, score in model.scores.items():
        by_set.setdefault(what.partition(" ")[0], []).append(f"{score:g}" if score > 1 else f"{score:.4f}"[1:])
    return "PSNR/SSIM of luma: " + ", ".join(f"{name} {'/'.join(values)}" for name, values in by_set.items())
