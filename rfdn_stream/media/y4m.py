"""YUV4MPEG2: bare pictures for other programs' standard input. It knows a rate, but no times."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.frame import CardPlane, Frame
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.probe import STDIN, open_input
from rfdn_stream.media.shape import pixel_aspect_ratio
from rfdn_stream.media.source import Source
from rfdn_stream.media.tags import ColorTags, guess_matrix
from rfdn_stream.media.target import write_error
from rfdn_stream.media.verify import SinkReport

STDOUT = STDIN
"""The path that means standard output."""
SPACES = {
    "yuv420p": "420mpeg2", "yuv422p": "422", "yuv444p": "444", "gray": "mono",
    "yuv420p10le": "420p10", "yuv422p10le": "422p10", "yuv444p10le": "444p10", "gray10le": "mono10",
    "yuv420p12le": "420p12", "yuv422p12le": "422p12", "yuv444p12le": "444p12", "gray12le": "mono12",
}  # fmt: skip
"""Pixel formats that it holds, and its names for them."""
_SITINGS = {"left": "420mpeg2", "center": "420jpeg", "topleft": "420paldv"}


class Y4mSink:
    """Writes y4m to a file, or to standard output where `path` is ``-``. See `VideoFileSink` for the methods.

    Raises:
        UsageError: standard output is a terminal.
        MediaError: the file cannot be written, or whoever reads standard output has closed it.
    """

    def __init__(self, path: str | Path, source: Source, plan: OutputPlan, size: tuple[int, int]) -> None:
        self.path, self._size, self._encoding = path, size, plan.encoding
        self._rate, self._fields = source.info.rate, "?" if source.info.interlaced else "p"
        self._aspect_ratio = pixel_aspect_ratio(source.info, size)
        tags = ColorTags.of_color(plan.encoding.color, plan.encoding.format, source.tags)
        self.report = SinkReport(plan.muxer, plan.encoding.codec, size, tags, 1 / self._rate)
        self.notes = self._matrix_notes()
        self._first: Fraction | None = None
        self._off = 0  # frames that are not shown when the rate says

    def _matrix_notes(self) -> list[str]:
        color = self._encoding.color
        if self._encoding.format.family != "yuv":
            return []
        code = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}[color.matrix]
        guessed = guess_matrix(2, *self._size) == color.matrix
        return [
            f"y4m does not say its colour matrix, which is {color.matrix}; "
            + ("players guess so, too" if guessed else "players would guess another")
            + f" (for ffmpeg: -colorspace {code} before the output)"
        ]

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        try:
            self._file = self._opened()
            self._write(self._header().encode())
        except BaseException as failure:
            self.__exit__(type(failure), failure, None)
            raise
        return self

    def _opened(self) -> BinaryIO:
        if str(self.path) != STDOUT:
            try:
                return self._stack.enter_context(Path(self.path).open("wb"))
            except OSError as error:
                raise write_error(self.path, error) from error
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal; pipe it into a program: rfdn-stream upscale IN - | ...")
        return sys.stdout.buffer

    def _header(self) -> str:
        format, color, ratio, rate = self._encoding.format, self._encoding.color, self._aspect_ratio, self._rate
        space = _SITINGS[color.siting] if format.name == "yuv420p" else SPACES[format.name]
        deep = f" XYSCSS={space.upper()}" if format.bits > 8 and format.family == "yuv" else ""
        return (
            f"YUV4MPEG2 W{self._size[0]} H{self._size[1]} F{rate.numerator}:{rate.denominator} I{self._fields} "
            f"A{ratio.numerator}:{ratio.denominator} C{space}{deep} XCOLORRANGE={color.range.upper()}\n"
        )

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._stack.close()
        except OSError as error:
            if kind is None:  # else what the file has not taken was told, and it refuses it again
                raise write_error(self.path, error) from error

    def surface(self) -> tuple[CardPlane, ...]:
        return ()

    def write(self, frame: Frame) -> None:
        self._write(b"FRAME\n")
        for plane in frame.planes:
            self._write(np.ascontiguousarray(plane).data)
        self._write(None)
        time = (frame.pts or 0) * frame.time_base
        self._first = time if self._first is None else self._first
        self._off += abs((time - self._first) * self._rate - self.report.frames) > Fraction(1, 2)
        self.report.frames += 1

    def copy(self, copied: object) -> None:
        """y4m holds no other streams."""

    def finish(self) -> SinkReport:
        self._write(None)
        if self._off:
            self.notes.append(
                f"{self._off} frames are shown at other times than {float(self._rate):g} frames a second; "
                "y4m cannot say so, .mkv can"
            )
        return self.report

    def check(self) -> None:
        """Counts the frames of a file."""
        if str(self.path) == STDOUT:
            return
        with open_input(self.path) as container:
            found = sum(1 for packet in container.demux(video=0) if packet.size)
        if found != self.report.frames:
            raise MediaError(f"{self.path} holds {found} frames instead of {self.report.frames}")

    def _write(self, data: bytes | memoryview | None) -> None:
        """None = everything so far is to be on its way."""
        try:
            if data is None:
                self._file.flush()
            else:
                self._file.write(data)
        except OSError as error:
            if str(self.path) != STDOUT:
                raise write_error(self.path, error) from error
            # What is still buffered must not fail once more when the program ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise MediaError(
                    f"standard output was closed by the program that reads it, after {self.report.frames} frames"
                ) from None
            raise write_error("standard output", error) from error
