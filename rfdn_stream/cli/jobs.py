"""``rfdn-stream jobs``: what was begun and is not finished."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfdn_stream.cli.tables import table_console
from rfdn_stream.errors import RfdnError, UsageError

if TYPE_CHECKING:
    from rfdn_stream.jobs.overview import Job


def jobs_command(
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER|OUT",
            help="Where to look, below it, too; or the output of a job. [dim]Default: this folder.[/]",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with each, one after the other.")] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Throw each away, with what is done of it; asks first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --clean: do not ask; so does -y.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", "-y", help="With --resume: replace outputs that exist. With --clean: as --yes."),
    ] = False,
    workers: Annotated[int, typer.Option(metavar="N", help="With --resume: as for upscale.")] = 1,
    cluster: Annotated[str | None, typer.Option(metavar="auto|ADDRESS", help="With --resume: as for upscale.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")] = False,
) -> None:
    """List the jobs that were interrupted, show one, go on with them, or throw them away.

    [dim]Examples:[/]

      rfdn-stream jobs films

      rfdn-stream jobs films/holiday-2x.mkv

      rfdn-stream jobs films --resume
    """
    from rfdn_stream.jobs.overview import find_jobs

    if resume and clean:
        raise UsageError("--resume goes on with jobs and --clean throws them away; choose one")
    for option, given, heard, where in (
        ("--workers", workers != 1, resume, "--resume"),
        ("--cluster", cluster is not None, resume, "--resume"),
        ("--overwrite", overwrite, resume or clean, "--resume or --clean"),
        ("--yes", yes, clean, "--clean"),
    ):
        if given and not heard:
            raise UsageError(f"{option} is for {where}, which was not given; add that, or leave out {option}")
    found = list({job.folder: job for place in places or [Path()] for job in find_jobs(place)}.values())
    if not found:
        if not quiet:
            typer.echo("no jobs: nothing was interrupted here")
    elif resume:
        _resume(found, overwrite, workers, cluster, quiet)
    elif clean:
        _clean(found, yes or overwrite)
    elif places and len(found) == 1 and not places[0].is_dir():
        _show(found[0])
    else:
        _list(found)
        command = ["rfdn-stream", "jobs", *map(str, places or []), "--resume"]
        quoted = subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)
        typer.echo(f"To go on: {quoted}", err=True)


def _list(jobs: Sequence[Job]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("output", overflow="fold")
    for column in ("segments", "frames", "MB", "last"):
        table.add_column(column, justify="right")
    table.add_column("state", overflow="fold")
    for job in jobs:
        total = f" of {len(job.plan.segments)}" if job.plan else ""
        table.add_row(
            escape(str(job.target)),
            f"{job.whole}{total}",
            f"{job.frames:,}",
            f"{job.size / 1e6:,.1f}",
            _when(job),
            escape(_state(job)),
        )
    table_console().print(table)


def _show(job: Job) -> None:
    typer.echo(f"{job.target}: {_state(job)}")
    typer.echo(f"folder: {job.folder}, {job.size / 1e6:,.1f} MB, last touched {_when(job)}")
    if job.plan is None:
        return
    plan = job.plan
    typer.echo(f"source: {plan.source}")
    typer.echo(f"work: {plan.headline}")
    typer.echo(f"whole: {job.whole} of {len(plan.segments)} segments, {job.frames:,} of about {plan.frames:,} frames")
    usual = type(plan.request)().settings()
    given = [f"{name} {value}" for name, value in plan.request.settings().items() if value != usual[name]]
    typer.echo(f"options: {' '.join(given) or 'none'}")
    typer.echo(f"versions: {', '.join(f'{name} {number}' for name, number in plan.versions.items())}")


def _state(job: Job) -> str:
    if job.worked_on:
        return "at work"
    return "interrupted" if job.plan else _in_jobs(job.fault)


def _in_jobs(fault: str) -> str:
    """Why a job cannot be gone on with, and what to do; its own advice is for the upscale command."""
    why, _, advice = fault.rpartition("; ")
    if "--restart" not in advice:
        return fault
    return f"{why}; begin it anew with `rfdn-stream upscale ... --restart`, or throw it away with `jobs --clean`"


def _when(job: Job) -> str:
    from datetime import datetime

    return f"{datetime.fromtimestamp(job.touched):%Y-%m-%d %H:%M}"


def _resume(jobs: Sequence[Job], overwrite: bool, workers: int, cluster: str | None, quiet: bool) -> None:
    from rfdn_stream.cli.progress import ConsoleReporter
    from rfdn_stream.jobs.overview import resume

    reporter = ConsoleReporter(quiet=quiet)
    failed = 0
    for job in jobs:
        try:
            if job.plan is None and not job.worked_on:
                raise UsageError(job.fault)
            reporter.note(str(resume(job, reporter, workers=workers, cluster=cluster, overwrite=overwrite)))
        except RfdnError as failure:
            failure.args = (_in_jobs(str(failure)),)
            if len(jobs) == 1:
                raise
            failed += 1
            typer.echo(f"rfdn-stream: {failure}", err=True)
    if failed:
        raise typer.Exit(1)


def _clean(jobs: Sequence[Job], yes: bool) -> None:
    from rfdn_stream.jobs.overview import throw_away

    for job in jobs:
        what = f"{job.target}: {job.whole} segments, {job.frames:,} frames, {job.size / 1e6:,.1f} MB"
        if yes or typer.confirm(f"Throw away {what}?"):
            throw_away(job)
            typer.echo(f"thrown away: {what}")
