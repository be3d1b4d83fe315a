"""The jobs that lie in a folder, unfinished: what each is, how far it is, and going on with or throwing away one."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.jobs.choice import choose_executor
from rfdn_stream.jobs.file import Result
from rfdn_stream.jobs.journal import Journal
from rfdn_stream.jobs.plan import JobPlan, job_folder, load_plan
from rfdn_stream.jobs.report import Reporter
from rfdn_stream.jobs.segmented import carry_out, resume_job
from rfdn_stream.lock import LOCK, locked
from rfdn_stream.media.target import hidden_name, settle_target

ENDING = job_folder(Path("x")).name.removeprefix(".x")


@dataclass(frozen=True)
class Job:
    """An unfinished job, as it was when it was looked at.

    Args:
        folder: its own, beside its output.
        plan: None where it cannot be read, for the reason that is `fault`.
        whole: segments that are whole, and `frames` in them.
        worked_on: a process is at it.
        size: of its folder, in bytes.
        touched: when something in there changed last, in seconds since the epoch.
    """

    folder: Path
    plan: JobPlan | None
    fault: str
    whole: int
    frames: int
    worked_on: bool
    size: int
    touched: float

    @property
    def target(self) -> Path:
        """The output that it is to become; a long name stands in the plan alone."""
        name = self.folder.name
        if self.plan is not None and hidden_name(Path(self.plan.target), ENDING) == name:
            return self.folder.with_name(Path(self.plan.target).name)
        return self.folder.with_name(name.removeprefix(".").removesuffix(ENDING))


def find_jobs(path: Path) -> list[Job]:
    """Jobs in a folder and below; or the one of an output, or of a job's own folder.

    Raises:
        UsageError: it is neither a folder nor an output that a job is on its way to.
    """
    if path.name.endswith(ENDING) and path.is_dir():
        return [look_at(path)]
    if path.name and job_folder(path).is_dir():
        return [look_at(job_folder(path))]
    if not os.path.isdir(path):  # which takes any name, as Path's does not
        raise UsageError(f"{path} is no folder, and no job is on its way to it; see `rfdn-stream jobs`")
    return [look_at(found) for found in sorted(path.rglob(f".*{ENDING}")) if found.is_dir()]


def look_at(folder: Path) -> Job:
    """A job by its own folder; nothing is changed."""
    plan, fault = None, ""
    try:
        plan = load_plan(folder)
    except UsageError as failure:
        fault = str(failure)
    journal = Journal(folder / "journal")
    stats = [path.stat() for path in folder.iterdir() if path.name != LOCK]
    done = journal.done.values()
    return Job(
        folder,
        plan,
        fault,
        whole=len(done),
        frames=sum(each.frames for each in done),
        worked_on=_is_locked(folder),
        size=sum(each.st_size for each in stats),
        touched=max((each.st_mtime for each in stats), default=folder.stat().st_mtime),
    )


def resume(
    job: Job, reporter: Reporter, *, workers: int = 1, cluster: str | None = None, overwrite: bool = False
) -> Result:
    """Goes on with a job, as it was asked for when it was begun.

    Args:
        workers, cluster, overwrite: as for `upscale`.

    Raises:
        UsageError: it cannot be gone on with, as `segmented.resume_job`, or its output is there already.
        RfdnError: it failed; what is whole is kept.
    """
    begun = time.perf_counter()
    with locked(job.folder):
        known = load_plan(job.folder)
        settle_target(Path(known.source), Path(known.target), overwrite=overwrite)
        plan = resume_job(known.source, known.request, job.folder)
        executor = choose_executor(plan.request.device, workers, cluster)
        made = carry_out(plan, executor, reporter, overwrite=overwrite, keep_job=plan.keep_job, verify=plan.verify)
    return Result(Path(plan.target), made.frames, *made.size, time.perf_counter() - begun, made.outlook, made.proof)


def throw_away(job: Job) -> None:
    """Removes a job with all its segments.

    Raises:
        UsageError: a process is at it.
    """
    with locked(job.folder):
        shutil.rmtree(job.folder)


def _is_locked(folder: Path) -> bool:
    try:
        with locked(folder):
            return False
    except UsageError:
        return True
    except MediaError:  # nobody else has it, but the disk is full, or not ours to write to
        return False
