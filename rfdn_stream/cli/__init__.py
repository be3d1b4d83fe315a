"""The command line: one file a command; heavy imports stay inside the commands.

``--version`` and ``--help`` answer before torch is imported. Every error is one line and a non-zero exit
code: 2 for a request that cannot be carried out, 1 for work that failed, 130 for Ctrl-C.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
import traceback
from types import FrameType
from typing import NoReturn

from rfdn_stream.errors import RfdnError
from rfdn_stream.process import settle_environment

TWICE = 0.3  # seconds between two signals that are two
_interrupted = float("-inf")


def main() -> NoReturn:
    """The entry point of ``rfdn-stream``."""
    _settle_streams()
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    upscaling = arguments[:1] == ["upscale"]
    events = upscaling and "--json" in arguments
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, _interrupt)
    settle_environment()
    try:
        from rfdn_stream.cli.app import run

        code = run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _say("interrupted; what was not whole was removed" if upscaling else "interrupted", 130, events)
    except RfdnError as failure:
        code = _say(str(failure), failure.exit_code, events, debug)
    except BrokenPipeError:  # whoever read standard output has gone, and wants to hear no more
        code = 1
    except Exception as failure:  # noqa: BLE001 - the last one to say something
        unexpected = f"unexpected {type(failure).__name__}: {failure}; run again with --debug and report it"
        to_stdout = "-" in arguments and not upscaling  # which says itself what it could not write, and where
        code = _say(_refusal(failure, to_stdout) or unexpected, 1, events, debug)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # which was told, as far as it could be
            stream.flush()
    if code or any(thread.daemon for thread in threading.enumerate()):
        # A network may still be computing on its thread, or a driver waiting; waiting for them would take seconds.
        os._exit(code)
    sys.exit(0)


def _settle_streams() -> None:
    """Standard streams for all that is printed: open ones, which take any file's name, whatever their encoding.

    Where the shell closed one, the next file that is opened would take its number, and get FFmpeg's log. Standard
    output that was closed refuses what is written, as a result would be lost; standard error swallows it.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - for the rest of the process
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, once for what comes at once: `timeout` sends its signal twice."""
    global _interrupted
    before, _interrupted = _interrupted, time.monotonic()
    if _interrupted - before > TWICE:
        raise KeyboardInterrupt


def _refusal(failure: Exception, to_stdout: bool) -> str:
    """What standard output has against being written to; "" = nothing: then it is another file that has failed.

    Args:
        to_stdout: a result was to go there, so that a disk which is full is likely to be its.
    """
    from rfdn_stream.cli.events import refusal

    try:
        sys.stdout.flush()  # what it has not taken, it refuses again
        os.write(sys.stdout.fileno(), b"")
    except OSError as refused:
        return refusal(refused)
    if to_stdout and isinstance(failure, OSError) and failure.filename is None and failure.errno == errno.ENOSPC:
        return refusal(failure)
    return ""


def _say(text: str, code: int, events: bool, debug: bool = False) -> int:
    if events:
        from rfdn_stream.cli.events import OutputClosedError, write_event

        with contextlib.suppress(OutputClosedError):
            write_event("error", {"text": text, "exit_code": code})
    with contextlib.suppress(OSError):  # nobody is left to be told
        print(f"rfdn-stream: {text}", file=sys.stderr)  # noqa: T201
        if debug:
            traceback.print_exc()
    return code
