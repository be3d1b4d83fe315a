"""A video in segments, from the plan to the renamed output: begun, gone on with, paused by whatever happens.

The segments' files and the journal lie in the job's folder beside the output until that has its name. Whoever holds the
folder's lock works on the job.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.jobs.assemble import assemble, outlook
from rfdn_stream.jobs.executors import Executor
from rfdn_stream.jobs.journal import Done, Journal
from rfdn_stream.jobs.opened import Opened, settled
from rfdn_stream.jobs.plan import PLAN, JobPlan, Segment, differences, load_plan, make_plan, processors, sync_folder
from rfdn_stream.jobs.report import Reporter, log
from rfdn_stream.jobs.request import Request
from rfdn_stream.jobs.video import Made, tell_findings, tell_reused
from rfdn_stream.lock import locked
from rfdn_stream.media.cuts import Cuts
from rfdn_stream.media.packets import checksum
from rfdn_stream.media.target import followed, write_error
from rfdn_stream.media.writer import VideoFileSink
from rfdn_stream.pipeline import Stages

RESERVE = 1 << 20  # bytes that a disk is never filled beyond
HEADROOM = 1.5  # by how much the next segment may be larger than those before
OUTPUT = "output.part"


@contextmanager
def new_job(folder: Path) -> Iterator[None]:
    """Makes a job's folder, and locks it inside the block; it does not stay where no plan comes into it."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as failure:
        raise write_error(folder, failure) from failure
    try:
        with locked(folder):
            yield
    finally:
        if folder.is_dir() and not (folder / PLAN).exists():
            shutil.rmtree(folder)


def begin_job(
    job: Opened,
    target: Path,
    request: Request,
    cuts: Cuts,
    folder: Path,
    reporter: Reporter,
    *,
    keep_job: bool = False,
    verify: str = "fast",
) -> JobPlan:
    """Settles the plan of a new job, in its folder, which is locked.

    Args:
        keep_job, verify: as for `upscale`.

    Raises:
        UsageError: the encoder or the container refuses; the folder holds no job then.
    """
    count = processors()
    fixed = job.for_processors(count)
    with VideoFileSink(folder / OUTPUT, fixed.source, fixed.output, fixed.size) as trial:
        for note in trial.notes:
            reporter.note(note)
        plan = make_plan(fixed, target, request, cuts, count, trial, verify=verify, keep_job=keep_job)
    free, likely = shutil.disk_usage(folder).free, 2 * plan.fingerprint.size
    if free < likely:
        log.warning("%s free in %s may not do: the job takes twice what its result does", _size(free), folder)
    plan.save()
    return plan


def resume_job(source: str, request: Request, folder: Path) -> JobPlan:
    """The plan of the job in a folder, which is locked, if it is the one that is asked for, of `Doors.origin`.

    Raises:
        UsageError: it is another one, in what, and what to do.
        MediaError: the source is gone.
    """
    plan = load_plan(folder)
    differs = differences(plan, source, request, settled(request.device)[0])
    if differs:
        raise UsageError(
            f"{folder} holds a job that was begun otherwise: {'; '.join(differs)}; ask for the same again to go on "
            "with it, or pass --restart to throw it away"
        )
    return plan


def carry_out(
    plan: JobPlan,
    executor: Executor,
    reporter: Reporter,
    *,
    overwrite: bool,
    keep_job: bool = False,
    verify: str = "fast",
) -> Made:
    """Does what is left of a job, whose folder is locked, and puts its output in place.

    However it ends before, the segments that are whole are kept, and the user is told so.

    Raises:
        RfdnError: something failed, or the disk is nearly full.
        UsageError: the output has appeared meanwhile, and is not to be replaced.
    """
    folder, target = plan.folder, Path(plan.target)
    journal = Journal(folder / "journal")
    try:
        _drop_what_is_not_whole(plan, journal)
        reporter.event("plan", outlook(plan).facts())
        if journal.done:
            reporter.note(f"going on with the job in {folder}: {_whole(plan, journal)}")
        _work(plan, journal, executor, reporter)
        done = [journal.done[segment.index] for segment in plan.segments]
        assembled = assemble(plan, done, folder / OUTPUT, verify)
        _rename(folder / OUTPUT, target, overwrite=overwrite)
    except BaseException as failure:
        log.warning("%s in %s; the same command goes on from there", _whole(plan, journal), folder)
        if isinstance(failure, OSError):
            raise MediaError(f"the job in {folder} cannot go on: {failure.strerror}") from failure
        raise
    if not keep_job:
        shutil.rmtree(folder)
    written, proof = assembled.written, assembled.proof
    tell_reused(written.frames, sum(each.reused for each in done), sum(each.kept for each in done), reporter)
    tell_findings(assembled.findings, written, proof, reporter)
    return Made(written.frames, written.size, assembled.outlook, proof)


def _drop_what_is_not_whole(plan: JobPlan, journal: Journal) -> None:
    """Unfinished files go, and so do segments whose files are not as the journal says."""
    for path in plan.folder.glob("*.part"):
        path.unlink()
    if journal.damaged:
        log.warning("%d lines of the journal are damaged; their segments are made anew", journal.damaged)
    known = {segment.index: segment for segment in plan.segments}
    for done in list(journal.done.values()):
        wrong = "is of no segment" if done.index not in known else _fault(plan.path(known[done.index]), done)
        if wrong:
            log.warning("segment %d %s; it is made anew", done.index, wrong)
            del journal.done[done.index]


def _fault(path: Path, done: Done) -> str:
    """What is wrong with a segment's file; "" = nothing."""
    if not path.is_file():
        return "is missing"
    if (size := path.stat().st_size) != done.size:
        return f"has {size} bytes instead of {done.size}"
    return "" if checksum(path) == done.checksum else "is damaged"


def _work(plan: JobPlan, journal: Journal, executor: Executor, reporter: Reporter) -> None:
    """Has the segments done that are not whole yet."""
    left = [segment for segment in plan.segments if segment.index not in journal.done]
    progress = _Progress(plan, journal, reporter)
    reporter.begin(plan.headline, plan.frames)
    try:
        progress.tell()
        check = _watch_space(plan, journal)
        with closing(executor.run(plan, left, progress)) as finished:
            check()
            for done in finished:
                journal.add(done)
                progress.tell()
                check()
    finally:
        reporter.end()


class _Progress:
    """Adds up the progress of all segments, of this run and of those before."""

    def __init__(self, plan: JobPlan, journal: Journal, reporter: Reporter) -> None:
        self._plan, self._journal, self._reporter = plan, journal, reporter
        self._stages: dict[int, Stages] = {}

    def __call__(self, segment: Segment, stages: Stages) -> None:
        self._stages[segment.index] = stages
        every = self._stages.values()
        going = sum(each.frames for index, each in self._stages.items() if index not in self._journal.done)
        self._reporter.frame(
            Stages(
                self._frames + going,
                sum(each.decode for each in every),
                sum(each.network for each in every),
                sum(each.encode for each in every),
            )
        )

    @property
    def _frames(self) -> int:
        return sum(done.frames for done in self._journal.done.values())

    def tell(self) -> None:
        """Says which segments are whole."""
        self._reporter.segments(len(self._journal.done), len(self._plan.segments), self._frames)


def _watch_space(plan: JobPlan, journal: Journal) -> Callable[[], None]:
    """Makes what looks at the disk before each segment.

    What it makes raises MediaError where the next segment, or the output at the end, has no room. It warns, once, where
    all that is to come has none.
    """
    warned = False

    def check() -> None:
        nonlocal warned
        sizes = [done.size for done in journal.done.values()]
        left = len(plan.segments) - len(sizes)
        each = sum(sizes) / len(sizes) if sizes else 0
        free = shutil.disk_usage(plan.folder).free
        following = HEADROOM * each if left else sum(sizes)
        if free < following + RESERVE:
            raise MediaError(f"the disk of {plan.folder} is nearly full ({_size(free)} free); free some space")
        needed = each * left + each * len(plan.segments)
        if free < needed and not warned:
            warned = True
            log.warning("about %s more are needed in %s, but %s are free", _size(needed), plan.folder, _size(free))

    return check


def _rename(made: Path, target: Path, *, overwrite: bool) -> None:
    """Gives the output its name, once it is on the disk; where that is a link, its file's."""
    target = followed(target)
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    if target.exists() and not overwrite:
        raise UsageError(f"the output {target} has appeared meanwhile; move it away, or pass --overwrite to replace it")
    made.replace(target)
    sync_folder(target.parent)


def _whole(plan: JobPlan, journal: Journal) -> str:
    return f"{len(journal.done)} of {len(plan.segments)} segments are whole"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
