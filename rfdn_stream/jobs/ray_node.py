"""What a node of a Ray cluster does: one segment after the other, with copies of its own of what it cannot see."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.jobs.journal import Done
from rfdn_stream.jobs.plan import Fingerprint, JobPlan, Segment, versions, write_whole
from rfdn_stream.jobs.work import Worker
from rfdn_stream.nets.catalogue import ModelSpec, models
from rfdn_stream.pipeline import Stages

INTERVAL = 0.2  # seconds between two words on the progress


@dataclass(frozen=True)
class Weights:
    """A weights file that nodes may lack; `name` is that of a model to be fetched, or else the file's."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Copy:
    """The source as blocks in Ray's object store, in order."""

    blocks: tuple[Any, ...]


def work(
    plan: JobPlan, segment: Segment, weights: tuple[Weights, ...], copy: Copy | None, board: Any
) -> tuple[Done, bytes] | None:
    """A segment, done on this node.

    Args:
        plan: as it is where the job is at home.
        weights: the files that a node may lack.
        copy: of the source, for a node that does not see it.
        board: the actor that hears of the progress.

    Returns:
        What was found in the segment, and its file's content; None if the source is not here and was not sent along.

    Raises:
        RfdnError: as of `Worker`, or another version of the program is here.
    """
    if (here := versions()) != plan.versions:
        raise UsageError(
            f"{socket.gethostname()} has {_listed(here)}, not {_listed(plan.versions)}; install the same there"
        )
    scratch(plan).mkdir(mode=0o700, exist_ok=True)
    source = _source(plan, copy)
    if source is None:
        return None
    target = scratch(plan) / str(os.getpid()) / Path(plan.target).name
    own = replace(
        plan, source=str(source), target=str(target), request=replace(plan.request, model=_model(plan, weights))
    )
    own.folder.mkdir(parents=True, exist_ok=True)
    done = _worker(own).work(segment, _Teller(segment, board).tell)
    path = own.path(segment)
    content = path.read_bytes()
    path.unlink()
    return done, content


def scratch(plan: JobPlan) -> Path:
    """The folder on a node for what belongs to a job, whoever works on it there."""
    job = hashlib.sha256(f"{plan.target} {plan.fingerprint}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"rfdn-stream-{os.getuid()}-{job}"


class _Teller:
    """Passes the progress on, but not each frame's."""

    def __init__(self, segment: Segment, board: Any) -> None:
        self._segment, self._board, self._told = segment, board, 0.0

    def tell(self, stages: Stages) -> None:
        if time.monotonic() - self._told >= INTERVAL:
            self._told = time.monotonic()
            self._board.tell.remote(self._segment.index, (stages.frames, stages.decode, stages.network, stages.encode))


_kept: list[tuple[JobPlan, Worker]] = []
"""This process's worker, if any: its next segment is most likely of the same job."""


def _worker(plan: JobPlan) -> Worker:
    """An open worker for the plan."""
    if not _kept or _kept[0][0] != plan:
        while _kept:
            _kept.pop()[1].__exit__(None, None, None)
        import ray

        context: Any = ray.get_runtime_context()
        torch.set_num_threads(max(1, int(context.get_assigned_resources().get("CPU", 1))))
        # The one card that Ray has given to this process is the only one that it sees.
        worker = Worker(plan, "cuda:0" if plan.device.startswith("cuda") else "")
        _kept.append((plan, worker.__enter__()))
    return _kept[0][1]


def _source(plan: JobPlan, copy: Copy | None) -> Path | None:
    """The source by its own path, or a copy that lies here or is made now; None without one."""
    own = Path(plan.source)
    if own.is_file() and Fingerprint.of(own) == plan.fingerprint:
        return own
    if copy is None:
        return None
    folder = scratch(plan)
    path = folder / own.name
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process of this node fetches it, the others wait
        if not path.exists():
            _fetch(copy, path, plan.fingerprint)
    return path


def _fetch(copy: Copy, path: Path, fingerprint: Fingerprint) -> None:
    import ray

    partial = path.with_name(f"{path.name}.part")
    with partial.open("wb") as file:
        for block in copy.blocks:
            file.write(ray.get(block))
    os.utime(partial, ns=(fingerprint.changed_ns, fingerprint.changed_ns))
    if Fingerprint.of(partial) != fingerprint:
        raise MediaError(f"the source has changed while it was sent to {socket.gethostname()}; begin again")
    partial.replace(path)


def _model(plan: JobPlan, weights: tuple[Weights, ...]) -> str | None:
    """The request's model, as it is named here; the files that came along lie where they are looked for then."""
    model = plan.request.model
    places = {known.name: known.path for known in fetched(plan)}
    for each in weights:
        path = places.get(each.name)
        if path is None:  # the user's own
            path = scratch(plan) / plan.weights[0] / each.name
            model = str(path)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, each.content)
    return model


def fetched(plan: JobPlan) -> list[ModelSpec]:
    """The models of the plan that have to be downloaded."""
    return [known for known in models() if known.sha256 in plan.weights and known.url]


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())
