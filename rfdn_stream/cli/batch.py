"""``rfdn-stream upscale IN... OUT/``: many files, and a table of what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rfdn_stream.cli.tables import table_console
from rfdn_stream.errors import RfdnError

if TYPE_CHECKING:
    from rfdn_stream.jobs.batch import Outcome


def upscale_into(
    folder: str,
    sources: Sequence[str],
    suffix: str,
    extension: str | None,
    quiet: bool,
    options: dict[str, Any],
    *,
    plans: bool,
) -> None:
    """Carries a batch out and prints its table.

    Args:
        plans: print what would be done with each file, instead of the table.

    Raises:
        RfdnError: a file of it failed; all others were made.
    """
    from rfdn_stream.cli.events import write_line
    from rfdn_stream.jobs import upscale_all

    outcomes = upscale_all(sources, folder, suffix=suffix, extension=extension, **options)
    for result in (outcome.result for outcome in outcomes if plans and outcome.result):
        write_line(f"{result.plan}\n")
    if len(outcomes) > 1 and not quiet and not plans:
        _print_table(outcomes)
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if failed:
        what = f"{len(failed)} of {len(outcomes)} files failed" if len(outcomes) > 1 else failed[0].failure
        raise RfdnError(what)


def _print_table(outcomes: Sequence[Outcome]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("file", overflow="fold")
    for column in ("frames", "size", "seconds", "fps"):
        table.add_column(column, justify="right")
    table.add_column("result", overflow="fold")
    for outcome in outcomes:
        result = outcome.result
        if result is None:
            what = "[dim]skipped: it is there already" if outcome.failure is None else f"[red]{escape(outcome.failure)}"
            table.add_row(escape(str(outcome.item.source)), "", "", "", "", what)
            continue
        rate = f"{result.frames / result.seconds:.2f}" if result.frames > 1 else ""
        figures = str(result.frames), f"{result.width}x{result.height}", f"{result.seconds:.1f}", rate
        table.add_row(escape(str(outcome.item.source)), *figures, escape(str(result.target)))
    table_console(stderr=True).print(table)
