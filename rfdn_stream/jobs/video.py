"""A video in one go: from its opened source to a checked result under its temporary name."""

from __future__ import annotations

from pathlib import Path

from rfdn_stream.errors import MediaError
from rfdn_stream.jobs.opened import Opened
from rfdn_stream.jobs.report import Reporter, log
from rfdn_stream.media.findings import Findings
from rfdn_stream.media.verify import verify
from rfdn_stream.media.writer import VideoFileSink
from rfdn_stream.pipeline import run

LISTED = 5  # places of damage that are named one by one


def upscale_video(job: Opened, partial: Path, reporter: Reporter) -> tuple[int, tuple[int, int]]:
    """Writes the enlarged video to `partial`, and checks it.

    Returns:
        Frames written, and their (width, height).
    """
    source, output, upscaler = job.source, job.output, job.upscaler
    with VideoFileSink(partial, source, output, job.size) as sink:
        for note in sink.notes:
            reporter.note(note)
        reporter.begin(job.headline, job.frames)
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
    tell_reused(upscaler.work.frames, upscaler.work.reused, upscaler.work.kept, reporter)
    if written.frames != source.frames:
        raise MediaError(f"{source.frames} frames were decoded but {written.frames} written; please report this")
    verify(partial, written)
    tell_findings(source.findings)
    return written.frames, written.size


def tell_reused(frames: int, reused: int, kept: float, reporter: Reporter) -> None:
    """What was spared: frames that were the same as one just before, and what was kept of others, in whole frames."""
    if reused:
        reporter.note(f"{reused:,} of {frames:,} frames were the same as one just before")
    if kept:
        others = frames - reused
        reporter.note(f"of the {others:,} frames that were computed, {kept / others:.0%} was still and was kept")


def tell_findings(findings: Findings) -> None:
    """What turned out on the way through the source."""
    for note in findings.sentences:
        log.warning(note)
    damage = findings.damage
    if not damage:
        return
    places = [f"{float(d.seconds):.3f} s ({d.what})" for d in damage[:LISTED]]
    rest = f" and {len(damage) - LISTED} more" if len(damage) > LISTED else ""
    log.warning("the source is damaged in %d places: %s%s", len(damage), ", ".join(places), rest)
