"""Who does a job's segments: here, one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from rfdn_stream.jobs.journal import Done
from rfdn_stream.jobs.opened import Opened
from rfdn_stream.jobs.plan import JobPlan, Segment
from rfdn_stream.jobs.work import Worker
from rfdn_stream.pipeline import Stages

Progress = Callable[[Segment, Stages], None]
"""Hears of each written frame: of which segment, and where its worker's time went in that segment so far. On the
caller's thread."""


class Executor(Protocol):
    """Has segments done, in whatever order, by whomever."""

    def reach(self) -> None:
        """Finds out whether those who work can be had at all; UsageError if not."""

    def run(self, plan: JobPlan, segments: Sequence[Segment], progress: Progress) -> Generator[Done]:
        """Does the segments, and gives for each what `work` returned, as soon as its file is whole.

        The file lies at `plan.path(segment)` then, as this process sees it. The caller alone writes the journal. A
        segment that is done a second time is the same to the bit. Closing the iterator stops all work; half segments
        leave nothing that is taken for whole.

        Raises:
            RfdnError: a segment cannot be done; those that were given are whole.
        """


@dataclass(frozen=True)
class SerialExecutor:
    """One segment after the other, on the plan's device, in this process.

    Args:
        job: source and network, if they are open already.
    """

    job: Opened | None = None

    def reach(self) -> None:
        """Always."""

    def run(self, plan: JobPlan, segments: Sequence[Segment], progress: Progress) -> Generator[Done]:
        if not segments:
            return
        with Worker(plan, job=self.job) as worker, closing(worker.work_through(segments, progress)) as done:
            yield from done
