"""``rfdn-stream doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rfdn_stream.doctor.finding import Finding

MARKS = {"ok": "[green]ok[/]", "absent": "[yellow]--[/]", "broken": "[red]XX[/]"}


def doctor_command(
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where results would go: its free space is looked at.")
    ] = Path(),
    json: Annotated[bool, typer.Option("--json", help="Findings as JSON on stdout.")] = False,
) -> None:
    """Say what this machine has, what is missing, what that costs, and how to get it.

    Ends with exit code 1 when something that is needed does not work.
    """
    from rfdn_stream.doctor.machine import examine

    findings = []
    for finding in examine(folder):
        findings.append(finding)
        if not json:
            _print(finding)
    broken = [finding for finding in findings if finding.state == "broken"]
    if json:
        from dataclasses import asdict
        from json import dumps

        typer.echo(dumps([asdict(finding) for finding in findings], indent=2))
    else:
        typer.echo()
        typer.echo(
            f"{len(broken)} broken: {', '.join(f.part for f in broken)}" if broken else "Everything needed works."
        )
    if broken:
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    row = Table.grid(padding=(0, 2))
    row.add_column(width=2)
    row.add_column(width=24)
    row.add_column()
    text = escape(finding.detail)
    if finding.cost:
        text += f"; {escape(finding.cost)}"
    if finding.remedy:
        text += f"\n[cyan]{escape(finding.remedy)}[/]"
    row.add_row(MARKS[finding.state], f"[bold]{escape(finding.part)}[/]", text)
    Console(highlight=False).print(row)
