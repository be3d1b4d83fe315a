"""The command line: one file a command; heavy imports stay inside the commands.

``--version`` and ``--help`` answer before torch is imported. Every error is one line and a non-zero exit
code: 2 for a request that cannot be carried out, 1 for work that failed, 130 for Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import NoReturn

from rfdn_stream import __version__
from rfdn_stream.errors import RfdnError
from rfdn_stream.process import settle_environment


def main() -> NoReturn:
    """The entry point of ``rfdn-stream``."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"rfdn-stream {__version__}")  # noqa: T201
        sys.exit(0)
    debug = "--debug" in arguments
    events = arguments[:1] == ["upscale"] and "--json" in arguments
    signal.signal(signal.SIGTERM, _interrupt)
    settle_environment()
    try:
        from rfdn_stream.cli.app import run

        code = run([a for a in arguments if a != "--debug"])
    except KeyboardInterrupt:
        code = _say("interrupted; the unfinished output was removed", 130, events)
    except RfdnError as failure:
        code = _say(str(failure), failure.exit_code, events)
        if debug:
            traceback.print_exc()
    except Exception as failure:  # noqa: BLE001 - the last one to say something
        code = _say(f"unexpected {type(failure).__name__}: {failure}; run again with --debug and report it", 1, events)
        if debug:
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it is where the shell closed it
            stream.flush()
    if code or any(thread.daemon for thread in threading.enumerate()):
        # A network may still be computing on its thread, or a driver waiting; waiting for them would take seconds.
        os._exit(code)
    sys.exit(0)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _say(text: str, code: int, events: bool) -> int:
    if events:
        from rfdn_stream.cli.events import OutputClosedError, write_event

        with contextlib.suppress(OutputClosedError):
            write_event("error", {"text": text, "exit_code": code})
    print(f"rfdn-stream: {text}", file=sys.stderr)  # noqa: T201
    return code
