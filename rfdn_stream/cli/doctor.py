"""``rfdn-stream doctor``."""

from __future__ import annotations

from collections.abc import Iterable
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
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Check and measure each NVIDIA card instead; takes minutes.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Findings as JSON on stdout.")] = False,
) -> None:
    """Say what this machine has, what is missing, what that costs, and how to get it.

    Ends with exit code 1 when something that is needed does not work, and with --gpu when a card is not fine.
    """
    if gpu:
        findings = _examine_cards(quiet=json)
    else:
        from rfdn_stream.doctor.machine import examine

        findings = _shown(examine(folder), quiet=json)
    broken = [finding.part for finding in findings if finding.state == "broken"]
    if json:
        from dataclasses import asdict
        from json import dumps

        typer.echo(dumps([asdict(finding) for finding in findings], indent=2))
    elif not gpu:
        typer.echo()
        typer.echo(f"{len(broken)} broken: {', '.join(broken)}" if broken else "Everything needed works.")
    if broken:
        raise typer.Exit(1)


def _examine_cards(*, quiet: bool) -> list[Finding]:
    """Each card in turn, with a verdict on each."""
    from rfdn_stream.doctor.card import cards, examine_card, verdict
    from rfdn_stream.upscaler import Upscaler

    found = []
    for name in cards():
        upscaler = Upscaler(device=name, reuse="off")
        findings = _shown(examine_card(upscaler), quiet=quiet)
        upscaler.close(abandon=True)  # a card that failed says so in its findings
        if not quiet:
            typer.echo(f"\n{name}: {verdict(findings)}\n")
        found += findings
    return found


def _shown(findings: Iterable[Finding], *, quiet: bool) -> list[Finding]:
    """All findings, each shown as soon as it is there."""
    found = []
    for finding in findings:
        found.append(finding)
        if not quiet:
            _print(finding)
    return found


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
