"""Processes of their own that need not import torch first, which takes seconds: forks of one that has.

What they show of the program, they show as a real start of it does: its arguments, its output, its exit code, its
signals. That it starts from nothing, too, tests with `subprocess` show.
"""

import os
import runpy
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["av", "cv2", "torch"])  # av first: see conftest.py


class Fork:
    """A running process that calls a function, like subprocess.Popen with pipes.

    Args:
        call, arguments: what it runs; they are pickled.
        cwd, env: folder and environment, by default this process's of now.
    """

    def __init__(self, call, *arguments, cwd=None, env=None):
        (self._out, out), (self._err, err) = (_FORKS.Pipe(duplex=False) for _ in range(2))
        place = str(cwd or os.getcwd()), dict(os.environ if env is None else env)
        self._process = _FORKS.Process(target=_run, args=(out, err, *place, call, arguments))
        self._process.start()
        out.close()
        err.close()
        self.pid = self._process.pid
        self.stdout, self.stderr = (os.fdopen(end.fileno(), closefd=False) for end in (self._out, self._err))

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        """Its exit code, or a signal's number below 0."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a fork", timeout)
        return self.returncode

    @property
    def returncode(self):
        return self._process.exitcode

    def communicate(self, timeout=120):
        """All that it says from here on: stdout, stderr."""
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(lambda pipe: pipe.read(), (self.stdout, self.stderr)))
        self.wait(timeout)
        return said

    def close(self):
        """Ends it, if it runs still."""
        self.kill()
        self.wait(20)
        for pipe in (self.stdout, self.stderr, self._out, self._err):
            pipe.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def rfdn_stream(*arguments, **place):
    """The program with these arguments, to its end: subprocess.CompletedProcess."""
    arguments = tuple(map(str, arguments))
    with Fork(entry, *arguments, **place) as fork:
        out, err = fork.communicate()
    return subprocess.CompletedProcess(arguments, fork.returncode, out, err)


def entry(*arguments):
    """`python -m rfdn_stream`."""
    sys.argv = ["rfdn-stream", *arguments]
    runpy.run_module("rfdn_stream", run_name="__main__", alter_sys=True)


def script(text, *arguments):
    """`python -c`."""
    sys.argv = ["-c", *arguments]
    exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})


def _run(out, err, folder, environment, call, arguments):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's jobs in the background ignore it
    for number, end in ((1, out), (2, err)):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdout = os.fdopen(1, "w", closefd=False)  # the server's may take the pipe for the file that it had there
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    call(*arguments)
