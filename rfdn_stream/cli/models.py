"""``rfdn-stream models`` and ``models fetch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rfdn_stream.nets.catalogue import ModelSpec

PURPOSES = {"video": "video", "image": "images", "general": "any picture"}

models_app = typer.Typer(
    help="List the models there are, or download one.", invoke_without_command=True, no_args_is_help=False
)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the models: scale, parameters, licence, training, scores."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.padding import Padding

    from rfdn_stream.nets.catalogue import models

    console = Console(highlight=False)
    for model in models():
        console.print(f"[bold]{model.name}[/]  x{model.scale}, for {PURPOSES[model.purpose]}, {_where(model)}")
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
