"""A job's progress for people: a bar on a terminal, plain lines anywhere else. All of it on stderr."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from rfdn_stream.pipeline import Stages

PLAIN_INTERVAL = 10.0  # seconds between plain lines


class _Speed:
    """Frames a second and time to go, over the last few seconds, so that both follow the job."""

    def __init__(self, total: int) -> None:
        self.total, self.frames = total, 0
        self._marks: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def go_on_from(self, frames: int) -> None:
        """What was done in an earlier run took no time."""
        self.frames = frames
        self._marks = [(time.monotonic(), frames)]

    def step(self, frames: int) -> None:
        now = time.monotonic()
        self.frames = frames
        self._marks.append((now, frames))
        while len(self._marks) > 2 and now - self._marks[0][0] > 15:
            self._marks.pop(0)

    @property
    def fps(self) -> float:
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / (end - start) if end > start else 0.0

    @property
    def seconds_left(self) -> int | None:
        if not self.total or not self.fps:
            return None
        return max(0, round((self.total - self.frames) / self.fps))

    @property
    def eta(self) -> str:
        seconds = self.seconds_left
        if seconds is None:
            return "--:--"
        return f"{seconds // 3600}:{seconds % 3600 // 60:02}:{seconds % 60:02}".removeprefix("0:")

    def line(self, stages: Stages) -> str:
        return f"{self.fps:.2f} fps, {self.eta} to go, limited by {stages.limit}"


class _Notes(logging.Handler):
    """Warnings and notes of the package, above the bar."""

    def __init__(self, console: Console, quiet: bool) -> None:
        super().__init__(logging.WARNING if quiet else logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else None
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        self._console.print(prefix + record.getMessage(), style=style, markup=False, highlight=False, soft_wrap=True)


class ConsoleReporter:
    """The Reporter of the command line."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True)
        self._quiet = quiet
        self._log = logging.getLogger("rfdn_stream")
        self._log.setLevel(logging.INFO)
        for earlier in [handler for handler in self._log.handlers if isinstance(handler, _Notes)]:
            self._log.removeHandler(earlier)  # of a command before, in the same process
        self._log.addHandler(_Notes(self._console, quiet))
        self._bar: Progress | None = None
        self._speed = _Speed(0)
        self._told = 0.0

    def note(self, text: str) -> None:
        self._log.info(text)

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        """People hear of it by notes."""

    def begin(self, what: str, frames: int) -> None:
        self._speed, self._told = _Speed(frames), time.monotonic()
        self.note(what)
        if self._console.is_terminal and not self._quiet:
            self._bar = Progress(
                TaskProgressColumn(),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[line]}"),
                console=self._console,
                transient=True,
            )
            self._bar.add_task("", total=frames or None, line="the first frame is on its way")
            self._bar.start()

    def frame(self, stages: Stages) -> None:
        self._speed.step(stages.frames)
        line = self._speed.line(stages)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=stages.frames, line=line)
        elif time.monotonic() - self._told >= PLAIN_INTERVAL:
            self._told = time.monotonic()
            self.note(f"frame {stages.frames} of {self._speed.total or 'unknown'}: {line}")

    def segments(self, whole: int, total: int, frames: int) -> None:
        if not self._speed.frames:
            self._speed.go_on_from(frames)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
