"""Segments become the output: their packets joined, every other stream of the source copied beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfdn_stream.errors import MediaError
from rfdn_stream.jobs.journal import Done
from rfdn_stream.jobs.opened import read_source
from rfdn_stream.jobs.outlook import Outlook, of_video
from rfdn_stream.jobs.plan import JobPlan
from rfdn_stream.jobs.proof import Proof, prove
from rfdn_stream.media.findings import Findings
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.packets import joined
from rfdn_stream.media.source import CopiedPacket, Source
from rfdn_stream.media.verify import SinkReport
from rfdn_stream.media.writer import VideoFileSink

if TYPE_CHECKING:
    from av.packet import Packet


@dataclass(frozen=True)
class Assembled:
    """What was written and how it was proven, what was found in the source on the way, and what was planned."""

    written: SinkReport
    proof: Proof
    findings: Findings
    outlook: Outlook


def outlook(plan: JobPlan) -> Outlook:
    """All that is decided of a job, for people and programs."""
    with read_source(plan.doors, plan.request) as source:
        return _outlook(plan, source, _output(plan, source))


def assemble(plan: JobPlan, done: Sequence[Done], partial: Path, verify: str = "fast") -> Assembled:
    """Writes the job's output to `partial`, and checks it against the source and the segments.

    By the very sink that a video in one go is written by; only its packets come from the segments' files.

    Args:
        done: all segments, in order.
        verify: how the output is compared with the source, one of `verify.MODES`.

    Raises:
        MediaError: a segment is damaged or of another encoder, or the result is not what it must be.
    """
    with read_source(plan.doors, plan.request) as source:
        output = _output(plan, source)
        with VideoFileSink(partial, source, output, plan.size) as sink:
            _join(plan, done, source, sink)
            written = sink.finish()
        frames = sum(each.frames for each in done)
        if written.frames != frames:
            raise MediaError(f"{frames} frames are in the segments but {written.frames} written; please report this")
        findings = _findings(done, source)
        proof = prove(
            partial,
            written,
            source,
            output,
            findings,
            verify,
            lambda: read_source(plan.doors, plan.request),
        )
        return Assembled(written, proof, findings, _outlook(plan, source, output))


def _output(plan: JobPlan, source: Source) -> OutputPlan:
    output = plan.doors.plan(source, plan.request.encode, None, plan.request.streams)
    return replace(output, encoding=output.encoding.for_processors(plan.processors))


def _outlook(plan: JobPlan, source: Source, output: OutputPlan) -> Outlook:
    return of_video(source, output, plan.network, plan.scale, plan.size, plan.target)


def _join(plan: JobPlan, done: Sequence[Done], source: Source, sink: VideoFileSink) -> None:
    """Puts the segments' packets and those of the other streams into the sink."""
    foreign = [each.index for each in done if bytes.fromhex(each.header) != sink.header]
    if foreign:
        raise MediaError(
            f"segment {foreign[0]} was encoded with other settings than it would be here; --restart begins the job anew"
        )
    tick = sink.report.time_base
    step = max(1, round(1 / source.info.rate / tick))
    packets = joined(map(plan.path, plan.segments), max(each.delay for each in done), step)
    for item in _interleaved(packets, tick, source.copies()):
        if isinstance(item, CopiedPacket):
            sink.copy(item)
        else:
            sink.join(item)


def _findings(done: Sequence[Done], source: Source) -> Findings:
    """Those of the segments, and what turned out by reading the source for its other streams."""
    findings = sum((each.findings for each in done), Findings())
    rest = [each for each in source.findings.damage if each not in findings.damage]
    return findings + Findings(damage=tuple(rest))


def _interleaved(
    packets: Iterator[Packet[Any]], tick: Fraction, copies: Iterator[CopiedPacket]
) -> Iterator[Packet[Any] | CopiedPacket]:
    """Both in order of time; what has none goes where it stands in the file. The muxer sorts the rest."""
    waiting = next(packets, None)
    for copied in copies:
        time = copied.packet.dts if copied.packet.pts is None else copied.packet.pts
        base = fraction(copied.packet.time_base)
        due = None if time is None or base is None else time * base
        while waiting is not None and due is not None and (waiting.dts or 0) * tick <= due:
            yield waiting
            waiting = next(packets, None)
        yield copied
    while waiting is not None:
        yield waiting
        waiting = next(packets, None)
