"""Jobs in processes of their own that start in a moment, so that tests can kill them."""

import multiprocessing
import threading

from rfdn_stream import settle_environment, upscale
from rfdn_stream.lock import locked

settle_environment()  # which the server inherits
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["rfdn_stream.jobs.file", "rfdn_stream.devices.cpu", "rfdn_stream.engines.torch_engine", "rfdn_stream.kernels.cpu"]
)


def start(source, target, **options):
    """A process that runs a job, forked from one that has imported everything and done nothing."""
    process = SERVER.Process(target=_run, args=(source, target, options), daemon=True)
    process.start()
    return process


def _run(source, target, options):
    upscale(source, target, **options)


def hold(folder, held):
    """Holds the lock of a job until the process is killed."""
    with locked(folder):
        held.set()
        threading.Event().wait()
