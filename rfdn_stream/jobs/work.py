"""Doing a job's segments: what any process does that has the plan, sees the source and can write the job's folder."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Semaphore
from types import TracebackType
from typing import Self

from rfdn_stream.errors import MediaError, ModelError, RfdnError, UsageError
from rfdn_stream.jobs.journal import Done
from rfdn_stream.jobs.opened import Opened, is_same_kind, opened
from rfdn_stream.jobs.plan import Fingerprint, JobPlan, Segment
from rfdn_stream.media.part import Part
from rfdn_stream.media.part_sink import PartSink
from rfdn_stream.pipeline import Stages, written


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
            models = job.upscaler.models
            if tuple(model.sha256 for model in models) != plan.weights:
                names = " and ".join(model.name for model in models)
                raise ModelError(
                    f"the weights of {names} are not those that the job was begun with; --restart begins it anew"
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
        under_way = _UnderWay(self._plan, self._job, segment)
        with closing(under_way.frames()) as frames:
            for stages in frames:
                progress(stages)
        return under_way.finish()

    def work_through(self, segments: Iterable[Segment], progress: Callable[[Segment, Stages], None]) -> Generator[Done]:
        """`work` for one segment after the other.

        Two overlap, unless a network fills the processor: what an encoder still holds, fifty frames perhaps, it gives
        while decoder and card are at the next segment already. That takes the memory of a second encoder. What is whole
        is given as soon as it is, a frame later at most. Closing the iterator ends all work.

        Raises:
            RfdnError: a segment cannot be done; those before it were given.
        """
        beside = 0 if self._job.upscaler.fills_processor else 1
        endings: deque[_Ending] = deque()
        with ThreadPoolExecutor(1, "drain") as thread:
            try:
                for segment in segments:
                    under_way = _UnderWay(self._plan, self._job, segment)
                    with closing(under_way.frames()) as frames:
                        for stages in frames:
                            progress(segment, stages)
                            if endings and endings[0].step():
                                yield endings.popleft().result()
                    endings.append(_Ending(under_way, thread))
                    while len(endings) > beside:
                        yield endings.popleft().result()
                while endings:
                    yield endings.popleft().result()
            except RfdnError:
                while endings:
                    yield endings.popleft().result()
                raise
            finally:
                for ending in endings:
                    ending.stop()


class _Ending:
    """A segment whose encoder gives what it still holds, on a thread: a frame for each that the next encoder takes.

    At that pace the two hold as many frames as one does, and the one's work fills the time in which the other, that
    has yet to look ahead, leaves processors idle.

    Args:
        under_way: at the end of its frames.
        thread: where it is finished.
    """

    LONGEST_STEP = 0.2  # seconds; where the next segment's frames take longer, this one is soon whole all the same

    def __init__(self, under_way: _UnderWay, thread: ThreadPoolExecutor) -> None:
        self._steps, self._hurried, self._stopped = Semaphore(0), False, False
        self._done: Future[Done] = thread.submit(under_way.finish, self._wait)

    def step(self) -> bool:
        """Lets it go on by a frame; whether it came to its end, so that `result` will not wait."""
        self._steps.release()
        return self._done.done()

    def result(self) -> Done:
        """Has it come to its end at once, and waits for that; raises as `_UnderWay.finish`."""
        self._hurried = True
        self._steps.release()
        return self._done.result()

    def stop(self) -> None:
        """Leaves it at its next frame."""
        self._stopped = True
        self._steps.release()

    def _wait(self) -> None:
        if not self._hurried:
            self._steps.acquire(timeout=self.LONGEST_STEP)
        if self._stopped:
            raise CancelledError


class _UnderWay:
    """A segment that is worked on: first `frames`, to their end, and then `finish`, on any thread."""

    def __init__(self, plan: JobPlan, job: Opened, segment: Segment) -> None:
        self._plan, self._job, self._segment = plan, job, segment
        begin = None if segment.begin is None else (segment.begin, segment.dts)
        self._part = Part(job.source, begin, segment.before, segment.end)
        self._sink = PartSink(plan.path(segment), job.source, job.output, job.size)

    def frames(self) -> Generator[Stages]:
        """Decodes, enlarges and encodes; after each frame gives where the time went so far. To be closed."""
        upscaler, encoding = self._job.upscaler, self._job.output.encoding
        check_source(self._plan)
        upscaler.forget()
        reused, kept = upscaler.work.reused, upscaler.work.kept
        with ExitStack() as stack:
            sink = stack.enter_context(self._sink)
            stages, output = Stages(), (encoding.format, encoding.color)
            for _ in stack.enter_context(closing(written(self._part, upscaler, sink, output, sink.surface, stages))):
                yield stages
            check_source(self._plan)
            self._reused, self._kept = upscaler.work.reused - reused, upscaler.work.kept - kept
            self._open = stack.pop_all()

    def finish(self, wait: Callable[[], None] = lambda: None) -> Done:
        """Has the encoder give what it still holds, and makes the file whole.

        Args:
            wait: called after each frame.

        Raises:
            MediaError: it cannot be made whole.
            Whatever `wait` raises; then it is not whole.
        """
        sink, part = self._sink, self._part
        with self._open:
            for _ in sink.drain():
                wait()
            header = sink.finish().hex()
        if header != (self._plan.header or header):
            raise MediaError(f"{sink.report.codec} began a segment otherwise than the whole video; please report this")
        if sink.report.frames != part.frames:
            raise MediaError(f"{part.frames} frames were decoded but {sink.report.frames} written; please report this")
        return Done(
            self._segment.index,
            sink.report.frames,
            sink.packets.delay,
            sink.packets.bytes,
            sink.packets.checksum,
            header,
            part.findings,
            self._reused,
            self._kept,
        )


def check_source(plan: JobPlan) -> None:
    """MediaError if the source is gone, or no longer what it was when the job began."""
    if Fingerprint.of(Path(plan.source)) != plan.fingerprint:
        raise MediaError(f"the source {plan.source} has changed since the job began; --restart begins it anew")
