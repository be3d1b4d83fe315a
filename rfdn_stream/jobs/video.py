"""A video in one go: from its opened source to a checked result under its temporary name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rfdn_stream.errors import MediaError
from rfdn_stream.jobs.doors import PlainSink
from rfdn_stream.jobs.opened import Opened, read_source
from rfdn_stream.jobs.outlook import Outlook
from rfdn_stream.jobs.proof import Proof, prove
from rfdn_stream.jobs.report import Reporter, log
from rfdn_stream.jobs.request import Request
from rfdn_stream.media.findings import Findings
from rfdn_stream.media.verify import SinkReport
from rfdn_stream.pipeline import run

LISTED = 5  # places of damage that are named one by one


@dataclass(frozen=True)
class Made:
    """What a job made: frames of (width, height), as they were planned and proven."""

    frames: int
    size: tuple[int, int]
    outlook: Outlook
    proof: Proof


def upscale_video(job: Opened, partial: Path, request: Request, reporter: Reporter, *, verify: str = "fast") -> Made:
    """Writes the enlarged video to `partial`, and checks it.

    Args:
        verify: how the result is compared with the source, one of `verify.MODES`.
    """
    source, output, upscaler, doors = job.source, job.output, job.upscaler, job.doors
    reporter.event("plan", job.outlook.facts())
    with doors.sink(partial, source, output, job.size) as sink:
        told = len(sink.notes)
        for note in sink.notes:
            reporter.note(note)
        reporter.begin(job.headline(sink.report.size), job.frames)
        try:
            run(
                source,
                upscaler,
                sink,
                (output.encoding.format, output.encoding.color),
                lambda frame, stages: reporter.frame(stages),
                sink.surface,
            )
            written = sink.finish()
        finally:
            reporter.end()
        for note in sink.notes[told:]:
            log.warning(note)
    tell_reused(upscaler.work.frames, upscaler.work.reused, upscaler.work.kept, reporter)
    if written.frames != source.frames:
        raise MediaError(f"{source.frames} frames were decoded but {written.frames} written; please report this")
    if isinstance(sink, PlainSink) and verify != "off":
        sink.check()
    mode = "off" if doors.plain else verify
    proof = prove(partial, written, source, output, source.findings, mode, lambda: read_source(doors, request))
    tell_findings(source.findings, written, proof, reporter)
    return Made(written.frames, written.size, job.outlook, proof)


def tell_reused(frames: int, reused: int, kept: float, reporter: Reporter) -> None:
    """What was spared: frames that were the same as one just before, and what was kept of others, in whole frames."""
    if reused:
        reporter.note(f"{reused:,} of {frames:,} frames were the same as one just before")
    if kept:
        others = frames - reused
        reporter.note(f"of the {others:,} frames that were computed, {kept / others:.0%} was still and was kept")


def tell_findings(findings: Findings, written: SinkReport, proof: Proof, reporter: Reporter) -> None:
    """What turned out on the way through the source, and by comparing the result with it."""
    for note in findings.sentences:
        log.warning(note)
    if damage := findings.damage:
        places = [f"{float(d.seconds):.3f} s ({d.what})" for d in damage[:LISTED]]
        rest = f" and {len(damage) - LISTED} more" if len(damage) > LISTED else ""
        log.warning("the source is damaged in %d places: %s%s", len(damage), ", ".join(places), rest)
    if written.same_times:
        log.warning(
            "%d frames have the same time as the one before, as the container rounds times; .mp4 keeps them apart",
            written.same_times,
        )
    proof.tell(reporter)
