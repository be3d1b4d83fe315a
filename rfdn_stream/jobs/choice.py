"""Which executor does a job's segments."""

from __future__ import annotations

from rfdn_stream.errors import UsageError
from rfdn_stream.jobs.executors import Executor, SerialExecutor
from rfdn_stream.jobs.opened import Opened


def choose_executor(device: str, workers: int, cluster: str | None, job: Opened | None = None) -> Executor:
    """What the user asks for: this process, several, or a cluster.

    Args:
        device: as the user names it, several with commas between; each of several workers takes one of them.
        job: source and network, if they are open already.

    Raises:
        UsageError: options that exclude each other, or outside their range.
    """
    if cluster is not None:
        if workers != 1:
            raise UsageError("--workers is for this machine; a --cluster works on as many segments as it has room for")
        from rfdn_stream.jobs.ray_executor import RayExecutor

        return RayExecutor(cluster)
    if workers == 1:
        return SerialExecutor(job)
    from rfdn_stream.jobs.workers import WorkersExecutor

    return WorkersExecutor(workers, tuple(name.strip() for name in device.split(",")) if "," in device else ())
