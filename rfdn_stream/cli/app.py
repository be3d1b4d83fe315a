"""All commands in one application."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from rfdn_stream import __version__
from rfdn_stream.cli.bench import bench_command
from rfdn_stream.cli.compare import compare_command
from rfdn_stream.cli.doctor import doctor_command
from rfdn_stream.cli.evaluate import evaluate_command
from rfdn_stream.cli.export import export_command
from rfdn_stream.cli.jobs import jobs_command
from rfdn_stream.cli.live import live_command
from rfdn_stream.cli.models import models_app
from rfdn_stream.cli.train import train_command
from rfdn_stream.cli.upscale import upscale_command
from rfdn_stream.errors import UsageError

INTERRUPTED = 130

app = typer.Typer(
    name="rfdn-stream",
    help="Make video sharper with RFDN.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("upscale")(upscale_command)
app.command("jobs")(jobs_command)
app.command("live")(live_command)
app.command("compare")(compare_command)
app.command("evaluate")(evaluate_command)
app.command("train")(train_command)
app.command("bench")(bench_command)
app.command("doctor")(doctor_command)
app.command("export")(export_command)
app.add_typer(models_app, name="models")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"rfdn-stream {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=lambda v: _version(v)),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    """Make video sharper with RFDN."""


def run(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code. Errors are left to the caller."""
    if not arguments or arguments in (["upscale"], ["live"], ["compare"]):
        arguments = [*arguments, "--help"]
    try:
        result = app(arguments, standalone_mode=False, prog_name="rfdn-stream")
    except TyperException as usage:
        raise UsageError(f"{usage.format_message()} (see --help)") from None
    except Abort:
        raise KeyboardInterrupt from None
    if result == INTERRUPTED:  # typer has caught the exception
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0
