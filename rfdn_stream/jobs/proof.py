"""What was made, compared with its source; and in what the two differ, all of which was announced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.jobs.report import Reporter
from rfdn_stream.media.findings import Findings
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.probe import is_pipe
from rfdn_stream.media.source import Source
from rfdn_stream.media.verify import MODES, SinkReport, verify


@dataclass(frozen=True)
class Proof:
    """How a result was compared with its source, and the sentences on what is another way in it."""

    mode: str
    exceptions: tuple[str, ...] = ()

    def tell(self, reporter: Reporter) -> None:
        """Says it."""
        if self.mode != "off":
            reporter.note(f"compared with the source ({self.mode}): identical except: {'; '.join(self.exceptions)}")


def check_mode(mode: str, source: str | Path) -> None:
    """UsageError if there is no such way of verifying, or the source cannot be read a second time for it."""
    if mode not in MODES:
        raise UsageError(f"unknown --verify {mode!r}; choose one of {', '.join(MODES)}")
    if mode == "full" and is_pipe(source):
        raise UsageError("--verify full reads the source twice, which standard input and pipes cannot; use fast")


def prove(
    path: Path,
    written: SinkReport,
    source: Source,
    plan: OutputPlan,
    findings: Findings,
    mode: str,
    reopen: Callable[[], Source],
) -> Proof:
    """Compares a written video with its source.

    Args:
        findings: of the whole way through the source.
        mode: one of `verify.MODES`.
        reopen: opens the source once more, for ``full``.

    Raises:
        MediaError: the two differ in what was not announced.
    """
    if mode == "full":
        with reopen() as again:
            verify(path, written, again)
    elif mode == "fast":
        verify(path, written)
    return Proof(mode, tuple(_exceptions(written, source, plan, findings)))


def _exceptions(written: SinkReport, source: Source, plan: OutputPlan, findings: Findings) -> list[str]:
    info = source.info
    found = [
        f"the video is enlarged from {info.width}x{info.height} to {written.size[0]}x{written.size[1]} "
        f"and encoded by {written.codec}"
    ]
    if findings.deinterlaced:
        found.append("its fields have become frames")
    if findings.repeats:
        found.append("its pictures no longer ask for fields to be shown twice")
    found += plan.notes
    found += [f"{what} is left out" for what, _ in plan.dropped]
    if written.same_times:
        found.append(f"{written.same_times} frames have the time of the one before")
    if findings.damage:
        found.append(f"what was damaged in {len(findings.damage)} places of the source")
    return found
