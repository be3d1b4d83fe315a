"""Segments become the output: their packets joined, every other stream of the source copied beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfdn_stream.errors import MediaError
from rfdn_stream.jobs.journal import Done
from rfdn_stream.jobs.opened import read_source
from rfdn_stream.jobs.plan import JobPlan
from rfdn_stream.media.findings import Findings
from rfdn_stream.media.frames import fraction
from rfdn_stream.media.output import plan_output
from rfdn_stream.media.packets import joined
from rfdn_stream.media.source import CopiedPacket
from rfdn_stream.media.verify import SinkReport, verify
from rfdn_stream.media.writer import VideoFileSink

if TYPE_CHECKING:
    from av.packet import Packet


def assemble(plan: JobPlan, done: Sequence[Done], partial: Path) -> tuple[SinkReport, Findings]:
    """Writes the job's output to `partial`, and checks it against the source and the segments.

    By the very sink that a video in one go is written by; only its packets come from the segments' files.

    Args:
        done: all segments, in order.

    Returns:
        What was written, and what was found in the source on the way.

    Raises:
        MediaError: a segment is damaged or of another encoder, or the result is not what it must be.
    """
    with read_source(Path(plan.source), plan.request) as source:
        output = plan_output(source, plan.target, plan.request.encode)
        output = replace(output, encoding=output.encoding.for_processors(plan.processors))
        with VideoFileSink(partial, source, output, plan.size) as sink:
            foreign = [each.index for each in done if bytes.fromhex(each.header) != sink.header]
            if foreign:
                raise MediaError(
                    f"segment {foreign[0]} was encoded with other settings than it would be here; "
                    "--restart begins the job anew"
                )
            tick = sink.report.time_base
            step = max(1, round(1 / source.info.rate / tick))
            paths = [plan.path(segment) for segment in plan.segments]
            packets = joined(paths, max(each.delay for each in done), step)
            for item in _interleaved(packets, tick, source.copies()):
                if isinstance(item, CopiedPacket):
                    sink.copy(item)
                else:
                    sink.join(item)
            written = sink.finish()
        found = replace(source.findings, deinterlaced=0, progressive=0, untimed=0, changes=(), notes=())
    frames = sum(each.frames for each in done)
    if written.frames != frames:
        raise MediaError(f"{frames} frames are in the segments but {written.frames} were written; please report this")
    verify(partial, written)
    in_segments = sum((each.findings for each in done), Findings())
    first = {(damage.seconds, damage.what) for damage in in_segments.damage}
    rest = tuple(damage for damage in found.damage if (damage.seconds, damage.what) not in first)
    return written, in_segments + Findings(damage=rest)


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
