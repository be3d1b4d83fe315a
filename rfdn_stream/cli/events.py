"""A job as events: one JSON object a line on standard output, as docs/events.schema.json describes them."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from rfdn_stream.cli.progress import ConsoleReporter
from rfdn_stream.errors import RfdnError
from rfdn_stream.pipeline import Stages

INTERVAL = 0.5  # seconds between events of progress

_turn = threading.RLock()


class OutputClosedError(RfdnError):
    """Standard output takes nothing more."""


def write_event(kind: str, facts: Mapping[str, Any]) -> None:
    """Writes one event, at once. Raises as `write_line` does."""
    write_line(json.dumps({"event": kind, **facts}))  # in ASCII: names of files may be what no encoding holds


def write_line(text: str) -> None:
    """Writes a line to standard output, at once.

    Raises:
        OutputClosedError: it is closed, its reader has gone, or its disk is full; from then on it leads nowhere.
    """
    with _turn:
        try:
            print(text, flush=True)  # noqa: T201
        except OSError as failure:
            _leave_stdout()
            raise OutputClosedError(f"{refusal(failure)}; what was not whole was removed") from None


def refusal(failure: OSError) -> str:
    """Why standard output takes nothing, for people."""
    known = {errno.EPIPE: "whoever read it has gone", errno.EBADF: "it is closed"}
    return f"cannot write to standard output: {known.get(failure.errno or 0, failure.strerror)}"


def _leave_stdout() -> None:
    """What else is written, and flushed at the end, has to go somewhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class _Events(logging.Handler):
    """Warnings and notes of the package as events."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "warning" if record.levelno >= logging.WARNING else "note"
        write_event(kind, {"text": record.getMessage()})


class EventReporter(ConsoleReporter):
    """What the console shows on standard error, and all of it as events."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        for earlier in [handler for handler in self._log.handlers if isinstance(handler, _Events)]:
            self._log.removeHandler(earlier)  # of a command before, in the same process
        self._log.addHandler(_Events(logging.INFO))
        self._last: Stages | None = None
        self._sent = 0.0

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        write_event(kind, facts)

    def begin(self, what: str, frames: int) -> None:
        super().begin(what, frames)
        self._last, self._sent = None, time.monotonic()

    def frame(self, stages: Stages) -> None:
        super().frame(stages)
        self._last = stages
        if time.monotonic() - self._sent >= INTERVAL:
            self._send(stages)

    def segments(self, whole: int, total: int, frames: int) -> None:
        super().segments(whole, total, frames)
        write_event("segments", {"whole": whole, "total": total, "frames": frames})

    def end(self) -> None:
        super().end()
        if self._last is not None:
            self._send(self._last)
            self._last = None

    def _send(self, stages: Stages) -> None:
        self._sent = time.monotonic()
        facts = {
            "frames": stages.frames,
            "total": self._speed.total or None,
            "fps": round(self._speed.fps, 3),
            "seconds_left": self._speed.seconds_left,
            "limit": stages.limit,
        }
        write_event("progress", facts)
