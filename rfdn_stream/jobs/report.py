"""What a job tells while it runs. The command line draws it; the API is silent unless it is given one."""

from __future__ import annotations

import logging
from typing import Protocol

from rfdn_stream.pipeline import Stages

log = logging.getLogger("rfdn_stream")


class Reporter(Protocol):
    """Hears of a job's progress, on the caller's thread."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def begin(self, what: str, frames: int) -> None:
        """Frames start to flow; `frames` is an estimate from the header, 0 = unknown."""

    def frame(self, stages: Stages) -> None:
        """One more frame is written."""

    def end(self) -> None:
        """The last frame is written, or the job failed."""


class LogReporter:
    """Notes go to the ``rfdn_stream`` logger, progress nowhere."""

    def note(self, text: str) -> None:
        log.info(text)

    def begin(self, what: str, frames: int) -> None: ...

    def frame(self, stages: Stages) -> None: ...

    def end(self) -> None: ...
