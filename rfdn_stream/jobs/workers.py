"""Segments in several processes of this machine: one a card, or several on a processor that one cannot fill."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from rfdn_stream.errors import RfdnError, UsageError
from rfdn_stream.jobs.executors import Progress
from rfdn_stream.jobs.journal import Done
from rfdn_stream.jobs.plan import JobPlan, Segment
from rfdn_stream.jobs.report import log
from rfdn_stream.jobs.work import Worker
from rfdn_stream.pipeline import Stages
from rfdn_stream.process import uninterrupted_children

TRIES = 3  # of one segment, until it is to blame that its workers end
DYING = 5.0  # seconds that a process may take from the end of its pipe to its own


class Deaths:
    """Counts the workers that each segment has cost."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def tell(self, segment: Segment, how: str) -> None:
        """One more has ended; the segment is to be done again, and that is said.

        Raises:
            RfdnError: it was the last try.
        """
        self._counts[segment.index] += 1
        if self._counts[segment.index] == TRIES:
            raise RfdnError(
                f"segment {segment.index} was tried {TRIES} times, and each time its worker ended ({how}); if memory "
                "is short, fewer workers or a smaller --tile need less; the same command goes on with what is done"
            )
        log.warning("a worker ended (%s); segment %d is done again", how, segment.index)


@dataclass(frozen=True)
class WorkersExecutor:
    """Segments in several processes of this machine, each with a share of the processor's threads.

    A process that dies, for want of memory for example, is replaced, and its segment is done again; see `TRIES`.

    Args:
        count: of processes, 1 or more.
        devices: theirs in turn, such as (``cuda:0``, ``cuda:1``); none = the plan's.
    """

    count: int
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"{self.count} workers do nothing; choose 1 or more")

    def reach(self) -> None:
        """Always."""

    def run(self, plan: JobPlan, segments: Sequence[Segment], progress: Progress) -> Generator[Done]:
        waiting, deaths = deque(segments), Deaths()
        count = min(self.count, len(segments))
        devices = [self.devices[n % len(self.devices)] if self.devices else "" for n in range(count)]
        team = [_Worker(plan, device, threads=max(1, torch.get_num_threads() // count)) for device in devices]
        try:
            while waiting or any(worker.segment for worker in team):
                for worker in team:
                    if waiting and worker.segment is None:
                        worker.give(waiting.popleft())
                busy = {worker.pipe: worker for worker in team if worker.segment is not None}
                for pipe in wait(list(busy)):
                    worker = busy[pipe]  # type: ignore[index]
                    segment, said = worker.hear()
                    if isinstance(said, Stages):
                        progress(segment, said)
                    elif isinstance(said, Done):
                        yield said
                    elif isinstance(said, RfdnError):
                        raise said
                    else:
                        waiting.appendleft(segment)
                        deaths.tell(segment, said)
        finally:
            for worker in team:
                worker.kill()


class _Worker:
    """A process that works on one segment at a time, seen from the one that has it work; begun when it is needed.

    It is a new process, not a fork: threads, and what a card knows of the process, do not survive a fork.

    Attributes:
        segment: what it is doing; None = it is free.
    """

    def __init__(self, plan: JobPlan, device: str, threads: int) -> None:
        self._arguments = plan, device, threads
        self._process: BaseProcess | None = None
        self.pipe: Connection
        self.segment: Segment | None = None

    def give(self, segment: Segment) -> None:
        """Has it begin."""
        if self._process is None:
            self._begin()
        self.segment = segment
        with suppress(BrokenPipeError):  # it died while it was free, which is heard next
            self.pipe.send(segment)

    def hear(self) -> tuple[Segment, Stages | Done | RfdnError | str]:
        """What it says of its segment: how far it is, that it is done, why it cannot be, or how the process died."""
        segment = self.segment
        assert segment is not None
        said: Stages | Done | RfdnError | str
        try:
            said = self.pipe.recv()
        except (EOFError, ConnectionError):
            if self._process is not None:
                self._process.join(DYING)
            said = self.kill()
        if not isinstance(said, Stages):
            self.segment = None
        return segment, said

    def kill(self) -> str:
        """Ends the process, if it has not yet; says how it ended."""
        if self._process is None:
            return ""
        self._process.kill()
        self._process.join()
        code, self._process = self._process.exitcode or 0, None
        self.pipe.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        with uninterrupted_children():
            self._process.start()
        theirs.close()


def _serve(pipe: Connection, plan: JobPlan, device: str, threads: int) -> None:
    """A worker's life: segments come in, what becomes of them goes out, until the other side is gone."""
    logging.getLogger("rfdn_stream").addHandler(logging.NullHandler())  # what counts stands in Done
    torch.set_num_threads(threads)
    with suppress(EOFError, ConnectionError):  # there is nobody any more to work for
        try:
            with Worker(plan, device) as worker:
                while True:
                    pipe.send(worker.work(pipe.recv(), pipe.send))
        except RfdnError as failure:
            pipe.send(failure)
        except (EOFError, ConnectionError):
            raise
        except Exception as failure:  # noqa: BLE001 - told where it can be read
            pipe.send(RfdnError(f"unexpected {type(failure).__name__} in a worker: {failure}"))
