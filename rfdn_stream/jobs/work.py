"""Doing a job's segments: what any process does that has the plan, sees the source and can write the job's folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from rfdn_stream.errors import MediaError, ModelError, UsageError
from rfdn_stream.jobs.journal import Done
from rfdn_stream.jobs.opened import Opened, is_same_kind, opened
from rfdn_stream.jobs.plan import Fingerprint, JobPlan, Segment
from rfdn_stream.media.part import Part
from rfdn_stream.media.part_sink import PartSink
from rfdn_stream.pipeline import Stages, run


class Worker:
    """Holds source and network open, for one segment after the other. To be used in a ``with`` block, by one thread.

    What it makes of a segment depends on the plan and the segment alone: on nothing that it did before, nor on its
    place, as long as its device is of the plan's kind.

    Args:
        plan: of the job.
        device: where the network runs, of the same kind as the plan's; "" = just there.
        job: source and network, if they are open already; they stay so.

    Raises:
        UsageError: the device is of another kind, or something refuses.
        MediaError: the source cannot be read, or is no longer what it was when the job began.
        ModelError: the weights are no longer the plan's.
    """

    def __init__(self, plan: JobPlan, device: str = "", job: Opened | None = None) -> None:
        if device and not is_same_kind(device, plan.device):
            raise UsageError(f"the job began on {plan.device}, and {device} computes otherwise; --restart begins anew")
        self._plan, self._device, self._given = plan, device or plan.device, job
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        plan = self._plan
        check_source(plan)
        with ExitStack() as stack:
            job = self._given or stack.enter_context(
                opened(plan.doors, plan.request, device=self._device, engine=plan.engine)
            )
            if job.upscaler.model.sha256 != plan.weights:
                raise ModelError(
                    f"the weights of {job.upscaler.model.name} are not those that the job was begun with; "
                    "--restart begins it anew"
                )
            self._job = job.for_processors(plan.processors)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.__exit__(kind, value, tb)

    def work(self, segment: Segment, progress: Callable[[Stages], None] = lambda stages: None) -> Done:
        """Decodes, enlarges and encodes a segment; its file is whole at `plan.path(segment)` when this returns.

        Args:
            progress: called after each written frame, with where this segment's time went so far.

        Raises:
            RfdnError: it cannot be done; nothing was left that looks whole.
        """
        job, upscaler, encoding = self._job, self._job.upscaler, self._job.output.encoding
        check_source(self._plan)
        upscaler.forget()
        reused, kept = upscaler.work.reused, upscaler.work.kept
        begin = None if segment.begin is None else (segment.begin, segment.dts)
        part = Part(job.source, begin, segment.before, segment.end)
        with PartSink(self._plan.path(segment), job.source, job.output, job.size) as sink:
            run(
                part,
                upscaler,
                sink,
                (encoding.format, encoding.color),
                lambda frame, stages: progress(stages),
                sink.surface,
            )
            check_source(self._plan)
            header = sink.finish().hex()
        if header != (self._plan.header or header):
            raise MediaError(f"{sink.report.codec} began a segment otherwise than the whole video; please report this")
        if sink.report.frames != part.frames:
            raise MediaError(f"{part.frames} frames were decoded but {sink.report.frames} written; please report this")
        return Done(
            segment.index,
            sink.report.frames,
            sink.packets.delay,
            sink.packets.bytes,
            sink.packets.checksum,
            header,
            part.findings,
            upscaler.work.reused - reused,
            upscaler.work.kept - kept,
        )


def check_source(plan: JobPlan) -> None:
    """MediaError if the source is gone, or no longer what it was when the job began."""
    try:
        same = Fingerprint.of(Path(plan.source)) == plan.fingerprint
    except OSError as failure:
        raise MediaError(f"the source {plan.source} cannot be read any more: {failure.strerror}") from None
    if not same:
        raise MediaError(f"the source {plan.source} has changed since the job began; --restart begins it anew")
