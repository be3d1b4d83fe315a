"""A video file from opening to a checked result under its temporary name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError
from rfdn_stream.frame import VideoInfo
from rfdn_stream.jobs.doors import Doors, PlainSink
from rfdn_stream.jobs.dry_run import with_estimate
from rfdn_stream.jobs.outlook import Outlook, expected_frames, of_video, remarks
from rfdn_stream.jobs.proof import Proof, prove
from rfdn_stream.jobs.report import Reporter, log
from rfdn_stream.media.card import Card
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.source import Source
from rfdn_stream.pipeline import run
from rfdn_stream.process import return_large_blocks
from rfdn_stream.upscaler import Upscaler

LARGE_PICTURE = 1920 * 1080  # pixels put out above which memory counts for more than a few per cent of time
LISTED = 5  # places of damage that are named one by one


def upscale_video(
    doors: Doors,
    partial: Path,
    make_upscaler: Callable[[int, int, bool], Upscaler],
    encode: EncodeOptions,
    reporter: Reporter,
    *,
    open_source: Callable[[bool], Source],
    card: Card | None = None,
    streams: str | None = None,
    verify: str = "fast",
    dry_run: bool = False,
) -> tuple[int, tuple[int, int], Outlook, Proof]:
    """Writes the enlarged source to `partial`, as what the target's name says, and checks it.

    The source is opened and everything decided before the weights are loaded: what cannot work fails at once.
    `card` is where the network will run, if it is a card.

    Args:
        verify: how the result is compared with the source, one of `verify.MODES`.
        dry_run: nothing is written, and two frames are timed.

    Returns:
        Frames written, and their (width, height); what was planned, with an estimate of a dry run; what was proven.
    """
    with open_source(False) as source:
        plan = doors.plan(source, encode, card, streams)
        if not dry_run:
            _tell_plan(source, plan, reporter)
        info = source.info
        with make_upscaler(info.width, info.height, info.rotation in (90, 270)) as upscaler:
            size = upscaler.size_of(info.width, info.height)
            outlook = of_video(source, plan, upscaler, size, str(doors.path))
            if dry_run:
                return (
                    0,
                    size,
                    with_estimate(outlook, source, plan, upscaler, size, encoded=not doors.plain),
                    Proof("off"),
                )
            reporter.event("plan", outlook.facts())
            if size[0] * size[1] > LARGE_PICTURE:
                return_large_blocks()
            with doors.sink(partial, source, plan, size) as sink:
                told = len(sink.notes)
                for note in sink.notes:
                    reporter.note(note)
                reporter.begin(_headline(source.info, sink.report.size, plan, upscaler), expected_frames(source.info))
                try:
                    run(
                        source,
                        upscaler,
                        sink,
                        (plan.encoding.format, plan.encoding.color),
                        lambda frame, stages: reporter.frame(stages),
                        sink.surface,
                    )
                    written = sink.finish()
                finally:
                    reporter.end()
                for note in sink.notes[told:]:
                    log.warning(note)
            _tell_reused(upscaler, reporter)
        if written.frames != source.frames:
            raise MediaError(f"{source.frames} frames were decoded but {written.frames} written; please report this")
        if isinstance(sink, PlainSink) and verify != "off":
            sink.check()
        proof = prove(partial, written, source, plan, "off" if doors.plain else verify, lambda: open_source(True))
        _tell_damage(source)
        if written.same_times:
            log.warning(
                "%d frames have the same time as the one before, as the container rounds times; .mp4 keeps them apart",
                written.same_times,
            )
        proof.tell(reporter)
    return written.frames, written.size, outlook, proof


def _headline(info: VideoInfo, size: tuple[int, int], plan: OutputPlan, upscaler: Upscaler) -> str:
    encoding = plan.encoding
    settings = "".join(f" {key} {value}" for key, value in encoding.options.items())
    return (
        f"{info.width}x{info.height} {info.format.name} to {size[0]}x{size[1]} {encoding.format.name}: "
        f"{upscaler.description}; {encoding.codec}{settings}"
    )


def _tell_plan(source: Source, plan: OutputPlan, reporter: Reporter) -> None:
    for what, why in plan.dropped:
        log.warning("not kept: %s (%s)", what, why)
    for warning, text in remarks(source, plan):
        log.warning(text) if warning else reporter.note(text)


def _tell_reused(upscaler: Upscaler, reporter: Reporter) -> None:
    work = upscaler.work
    if work.reused:
        reporter.note(f"{work.reused:,} of {work.frames:,} frames were the same as one just before")
    if work.kept:
        others = work.frames - work.reused
        reporter.note(f"of the {others:,} frames that were computed, {work.kept / others:.0%} was still and was kept")


def _tell_damage(source: Source) -> None:
    for note in source.notes:
        log.warning(note)
    damage = source.damage
    if not damage:
        return
    places = [f"{float(d.seconds):.3f} s ({d.what})" for d in damage[:LISTED]]
    rest = f" and {len(damage) - LISTED} more" if len(damage) > LISTED else ""
    log.warning("the source is damaged in %d places: %s%s", len(damage), ", ".join(places), rest)
