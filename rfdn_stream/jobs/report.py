"""What a job tells while it runs. The command line draws it; the API is silent unless it is given one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from rfdn_stream.pipeline import Stages

log = logging.getLogger("rfdn_stream")


class Reporter(Protocol):
    """Hears of a job's progress, on the caller's thread."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Something that programs may want to know, in values of JSON: a definition in docs/events.schema.json."""

    def begin(self, what: str, frames: int) -> None:
        """Frames start to flow; `frames` is an estimate from the header, 0 = unknown."""

    def frame(self, stages: Stages) -> None:
        """One more frame is written."""

    def segments(self, whole: int, total: int, frames: int) -> None:
        """So many of a job's segments are whole, with so many frames: after `begin`, and after each segment.

        The first time tells where an earlier run stopped. A video that is done in one go has no segments.
        """

    def end(self) -> None:
        """The last frame is written, or the job failed."""


class LogReporter:
    """Notes go to the ``rfdn_stream`` logger, progress nowhere."""

    def note(self, text: str) -> None:
        log.info(text)

    def event(self, kind: str, facts: Mapping[str, Any]) -> None: ...

    def begin(self, what: str, frames: int) -> None: ...

    def frame(self, stages: Stages) -> None: ...

    def segments(self, whole: int, total: int, frames: int) -> None: ...

    def end(self) -> None: ...
