"""Segments on the machines of a Ray cluster: each a task, its file brought back through Ray's object store."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfdn_stream.errors import RfdnError, UsageError
from rfdn_stream.jobs import ray_node
from rfdn_stream.jobs.executors import Progress
from rfdn_stream.jobs.journal import Done
from rfdn_stream.jobs.plan import JobPlan, Segment, write_whole
from rfdn_stream.jobs.ray_node import Copy, Weights
from rfdn_stream.jobs.workers import Deaths
from rfdn_stream.pipeline import Stages

PATIENCE = 10.0  # seconds for a cluster to answer
INTERVAL = 0.5  # seconds between looks at the progress
BLOCK = 32 << 20  # bytes of the source that travel as one object
MOST_PROCESSORS = 4  # for one segment: on more of them, several segments at once do better


@dataclass(frozen=True)
class RayExecutor:
    """Segments as tasks on a Ray cluster that is running.

    A node reads the source by its path, where it finds the same file there; else it gets a copy, once. Weights
    travel by content. rfdn-stream must be installed on the nodes, with the versions of here. What a dead node or
    worker was doing is done again; see `workers.TRIES`.

    Args:
        address: ``auto``, or ``HOST:PORT``; this machine is one of the cluster's.
    """

    address: str

    def reach(self) -> None:
        """Connects to the cluster, and leaves it again."""
        with _connected(self.address):
            pass

    def run(self, plan: JobPlan, segments: Sequence[Segment], progress: Progress) -> Generator[Done]:
        if segments:
            with _connected(self.address) as ray:
                yield from _Tasks(ray, plan, progress).run(segments)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster; it stays so where the caller's program was before."""
    # Ray would have uv build the environment of this process anew on each node, where `uv run` started it.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise UsageError("a cluster needs Ray; install it with: pip install 'rfdn-stream[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    what = "no Ray cluster runs on this machine" if address == "auto" else f"no Ray cluster answers at {address}"
    help = "begin one with `ray start --head`, or name another with --cluster HOST:PORT"
    try:
        if address != "auto":
            _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as failure:
        raise UsageError(f"{what} ({_first_line(failure)}); {help}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _first_line(failure: BaseException) -> str:
    (line, *_) = str(failure).strip().splitlines() or [type(failure).__name__]
    return line


def _knock(address: str) -> None:
    """OSError or ValueError if nobody listens there; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ValueError("an address is HOST:PORT")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE):
        pass


class _Tasks:
    """A job's segments as tasks of a cluster that Ray is connected to."""

    def __init__(self, ray: Any, plan: JobPlan, progress: Progress) -> None:
        self._ray, self._plan, self._progress = ray, plan, progress
        self._resource, self._needed = _resource(ray, plan)
        needs = {"num_gpus": 1} if self._resource == "GPU" else {"num_cpus": self._needed}
        # Ray's own retries would be silent, and without end where memory is short.
        self._task = ray.remote(max_retries=0, scheduling_strategy="SPREAD", **needs)(ray_node.work)
        self._board = _board(ray)
        self._shipped = ray.put(plan), ray.put(_weights(plan))
        self._copy: Copy | None = None
        self._flying: dict[Any, Segment] = {}  # by the reference to what will come of it

    def run(self, segments: Sequence[Segment]) -> Generator[Done]:
        """Does the segments; see `Executor.run`."""
        waiting, deaths = deque(segments), Deaths()
        try:
            while waiting or self._flying:
                while waiting and len(self._flying) < self._room():
                    self._send(waiting.popleft())
                ready, _ = self._ray.wait(list(self._flying), num_returns=1, timeout=INTERVAL)
                self._tell_progress()
                for reference in ready:
                    segment = self._flying.pop(reference)
                    said = self._outcome(reference)
                    if said is None:  # what comes next brings the source along
                        self._copy = self._copy or _copied(self._ray, Path(self._plan.source))
                        waiting.appendleft(segment)
                    elif isinstance(said, str):
                        waiting.appendleft(segment)
                        deaths.tell(segment, said)
                    else:
                        done, content = said
                        write_whole(self._plan.path(segment), content)
                        yield done
            self._tidy()
        finally:
            for reference in self._flying:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(reference, force=True)

    def _send(self, segment: Segment) -> None:
        plan, weights = self._shipped
        self._flying[self._task.remote(plan, segment, weights, self._copy, self._board)] = segment

    def _room(self) -> int:
        """Segments to hand to the cluster as it is now: twice what it works on at once, so that no node waits."""
        return 2 * max(1, int(self._ray.cluster_resources().get(self._resource, 0) // self._needed))

    def _outcome(self, reference: Any) -> tuple[Done, bytes] | str | None:
        """What `ray_node.work` gave; or how its worker ended.

        Raises:
            RfdnError: the segment cannot be done.
        """
        errors = self._ray.exceptions
        try:
            said: tuple[Done, bytes] | None = self._ray.get(reference)
        except errors.RayTaskError as failure:
            cause = failure.cause
            if isinstance(cause, RfdnError):
                raise cause from None
            what = f"{type(cause).__name__} on a node of the cluster"
            raise RfdnError(f"unexpected {what}: {_first_line(cause)}") from failure
        except errors.RayError as failure:
            return type(failure).__name__
        return said

    def _tell_progress(self) -> None:
        """Passes on what the board has heard since the last look; without a board the job goes on all the same."""
        flying = {segment.index: segment for segment in self._flying.values()}
        with suppress(self._ray.exceptions.RayError):
            for index, stages in self._ray.get(self._board.take.remote(), timeout=PATIENCE).items():
                if index in flying:
                    self._progress(flying[index], Stages(*stages))

    def _tidy(self) -> None:
        """Has every node throw away what it holds of the job."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

        task = self._ray.remote(num_cpus=0, max_retries=0)(_remover())
        nodes = [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]
        folder = str(ray_node.scratch(self._plan))
        sent = [task.options(scheduling_strategy=OnNode(node, soft=False)).remote(folder) for node in nodes]
        self._ray.wait(sent, num_returns=len(sent), timeout=PATIENCE)


def _resource(ray: Any, plan: JobPlan) -> tuple[str, float]:
    """What a segment takes of a node: a card, or a share of its processors that every node has.

    Raises:
        UsageError: no node has any.
    """
    name = "GPU" if plan.device.startswith("cuda") else "CPU"
    amounts = [node["Resources"].get(name, 0) for node in ray.nodes() if node["Alive"]]
    least = min((amount for amount in amounts if amount), default=0)
    if not least:
        raise UsageError(f"no node of the cluster has a {name} to work on; see `ray status`")
    return name, 1 if name == "GPU" else min(MOST_PROCESSORS, least)


def _board(ray: Any) -> Any:
    """An actor that the nodes tell how far they are, and that is asked for it. It needs nothing of this program."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as OnNode

    class Board:
        def __init__(self) -> None:
            self.latest: dict[int, Any] = {}

        def tell(self, index: int, stages: Any) -> None:
            self.latest[index] = stages

        def take(self) -> dict[int, Any]:
            latest, self.latest = self.latest, {}
            return latest

    here = OnNode(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(num_cpus=0)(Board).options(scheduling_strategy=here).remote()


def _remover() -> Any:
    """A function that removes a folder; made here, it goes to the nodes as it stands and imports nothing of ours."""

    def remove(folder: str) -> None:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)

    return remove


def _weights(plan: JobPlan) -> tuple[Weights, ...]:
    """Those that do not come with the program."""
    model = plan.request.model
    if model and Path(model).is_file():
        return (Weights(Path(model).name, Path(model).read_bytes()),)
    return tuple(Weights(known.name, known.path.read_bytes()) for known in ray_node.fetched(plan))


def _copied(ray: Any, path: Path) -> Copy:
    """A file in the object store, which moves to the disk what does not fit into memory."""
    with path.open("rb") as file:
        return Copy(tuple(ray.put(block) for block in iter(lambda: file.read(BLOCK), b"")))
