"""A window on the screen as a sink; `live.viewer` is the process that has it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from types import TracebackType

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, PixelFormat, VideoInfo
from rfdn_stream.live import viewer
from rfdn_stream.live.base import Shot
from rfdn_stream.live.sinks import SinkOptions
from rfdn_stream.live.sinks.null import NullSink
from rfdn_stream.live.sinks.picture import rgb_of
from rfdn_stream.live.view import Pair
from rfdn_stream.media.shape import pixel_aspect_ratio
from rfdn_stream.process import uninterrupted_children

_LARGEST, _SMALLEST = (1280, 720), (320, 180)
# Seconds that the window may take to go.
_PATIENCE = 5
# How a traceback's last line begins. What Python and the toolkit say after it tells nobody anything.
_ERROR = re.compile(r"[\w.]*[Ee]rror(: |$)")


class WindowSink(NullSink):
    """Shows the picture until a key or the window's cross ends it; `view.KEYS` are its keys.

    Args:
        target: what follows the sink's name in SINK; nothing may.
        options: `folder` and `title` are used.
    """

    kind = "window"

    def __init__(self, target: str, options: SinkOptions) -> None:
        super().__init__("", options)
        if target:
            raise UsageError(f"the sink window takes nothing behind its name, got {target!r}")
        if sys.platform.startswith("linux") and not _display():
            raise UsageError("no display; use SINK page or set DISPLAY")
        self._process: subprocess.Popen[bytes] | None = None
        self._aspect = 1.0

    @property
    def closed(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def wants(self, info: VideoInfo) -> tuple[PixelFormat, ColorSpec]:
        return FORMATS["rgb24"], RGB_FULL

    def open(self, info: VideoInfo, size: tuple[int, int], output: tuple[PixelFormat, ColorSpec]) -> None:
        self._aspect = float(pixel_aspect_ratio(info, size))
        shape = size[0] * self._aspect, size[1]
        factor = min(1, _LARGEST[0] / shape[0], _LARGEST[1] / shape[1])
        sides = (str(max(least, round(side * factor))) for least, side in zip(_SMALLEST, shape, strict=True))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving
        command = [sys.executable, "-m", viewer.__name__, self.options.title, *sides, self.options.folder or "."]
        with uninterrupted_children():
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, bufsize=0
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            self._process.wait()
            raise self._refusal()

    def show(self, shot: Shot) -> None:
        super().show(shot)
        if self._process is None or self.closed:
            self._check()
            return
        pair = Pair(rgb_of(shot.before), rgb_of(shot.frame), shot.captured, shot.made, shot.note, self._aspect)
        assert self._process.stdin is not None
        try:
            for part in (viewer.header(pair), pair.before, pair.after):
                _write(self._process.stdin.fileno(), part)
        except BrokenPipeError:
            self._process.wait()
            self._check()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        process = self._process
        if process is not None and process.stdin is not None and process.stdout is not None:
            process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
            self._log.close()

    def _check(self) -> None:
        if self._process is not None and self._process.returncode:
            raise MediaError(f"the window ended by itself: {self._last_words()}")

    def _refusal(self) -> UsageError:
        words = self._last_words()
        if "not implemented" in words:
            return UsageError("this OpenCV has no windows; install opencv-python instead of opencv-python-headless")
        return UsageError(f"the display {_display()!r} cannot be used; use SINK page or set DISPLAY")

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if _ERROR.match(line)]
        return (errors or lines or ["it said nothing"])[-1]


def _display() -> str:
    return os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or ""


def _write(file: int, part: object) -> None:
    """All of it: a pipe takes as much as it has room for."""
    rest = memoryview(part).cast("B")  # type: ignore[arg-type]
    while rest:
        rest = rest[os.write(file, rest) :]
