"""A video with a divider: one video to the left of it, another to the right."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.frame import Frame
from rfdn_stream.jobs.compare.duo import Duo
from rfdn_stream.jobs.compare.sheet import label
from rfdn_stream.jobs.compare.views import frame_of
from rfdn_stream.jobs.report import LogReporter, Reporter
from rfdn_stream.media.output import OutputPlan
from rfdn_stream.media.target import whole_or_nothing
from rfdn_stream.media.verify import verify
from rfdn_stream.media.writer import VideoFileSink
from rfdn_stream.pipeline import Stages

PERIOD = 6.0
"""Seconds that a moving divider takes there and back."""
REACH = 0.45
"""How far from the middle it goes, as a share of the width."""
_LINE, _EDGE = 2, 8  # width of the divider, and how far labels are from the border, in pixels


def write_wipe(
    duo: Duo,
    target: str | Path,
    names: tuple[str, str],
    *,
    divider: float | None = None,
    reporter: Reporter | None = None,
) -> int:
    """Writes two videos as one, without sound.

    Args:
        duo: the two.
        target: its extension chooses the container.
        names: written over the left and the right one.
        divider: a share of the width, 0 to 1; None = it moves to and fro.
        reporter: hears of the progress.

    Returns:
        How many frames were written.

    Raises:
        UsageError: the divider lies outside the picture, or the container is unknown.
        MediaError: a file cannot be read or written, or the two do not have the same frames.
    """
    target, reporter = Path(target), reporter or LogReporter()
    if divider is not None and not 0 <= divider <= 1:
        raise UsageError(f"the divider stands at {divider:g} of the width; choose 0 (left) to 1 (right), or sweep")
    plan = duo.plan(target, EncodeOptions())
    return write_frames(duo, target, plan, wiped(duo, plan, names, divider), reporter, aspect=duo.aspect)


def write_frames(
    duo: Duo,
    target: Path,
    plan: OutputPlan,
    frames: Iterator[Frame],
    reporter: Reporter,
    *,
    aspect: Fraction = Fraction(1),
    most: int | None = None,
) -> int:
    """Encodes frames into `target`, which gets its name when it is whole and was checked.

    Args:
        aspect: pixel aspect ratio to be written.
        most: stop when so many bytes are written, about.

    Returns:
        How many frames were written.
    """
    first = next(frames)
    size = first.width, first.height
    stages = Stages()
    with whole_or_nothing(target) as partial:
        with VideoFileSink(partial, duo.template(size, aspect), plan, size) as sink:
            reporter.begin(f"{size[0]}x{size[1]} {plan.encoding.format.name}: {plan.encoding.codec}", duo.expected())
            try:
                frame: Frame | None = first
                while frame is not None:
                    sink.write(frame)
                    stages.frames += 1
                    reporter.frame(stages)
                    full = most is not None and partial.stat().st_size > most
                    frame = None if full else next(frames, None)
                written = sink.finish()
            finally:
                reporter.end()
        verify(partial, written)
    return written.frames


def wiped(duo: Duo, plan: OutputPlan, names: tuple[str, str], divider: float | None) -> Iterator[Frame]:
    """The frames with the divider and both names in them."""
    width, height = duo.crop.width, duo.crop.height
    encoding = plan.encoding
    plates = [frame_of(label(name, width // 2 - 2 * _EDGE), encoding.format, encoding.color) for name in names]
    line = frame_of(np.full((height, _LINE, 3), 255, np.uint8), encoding.format, encoding.color)
    begun: float | None = None
    for left, right in duo.frames(plan):
        seconds = left.seconds or 0.0
        begun = seconds if begun is None else begun
        edge = 2 * round(width * _place(seconds - begun, divider) / 2)
        a, b = _own(left), _own(right)
        _paste(a, plates[0], _EDGE, _EDGE)
        _paste(b, plates[1], width - _EDGE - plates[1].width, _EDGE)
        _paste(b, a, 0, 0, edge)
        if 0 < edge < width:
            _paste(b, line, min(edge, width - _LINE), 0)
        yield b


def _place(seconds: float, divider: float | None) -> float:
    """Where the divider stands, as a share of the width; a moving one begins in the middle and goes to the right."""
    return 0.5 + REACH * math.sin(2 * math.pi * seconds / PERIOD) if divider is None else divider


def _own(frame: Frame) -> Frame:
    """In memory that can be drawn into."""
    return replace(frame, planes=tuple(np.array(plane) for plane in frame.planes))


def _paste(frame: Frame, piece: Frame, x: int, y: int, columns: int | None = None) -> None:
    """Lays a piece of the same format, or so many columns of it, over a frame; all numbers are even.

    What does not fit inside is cut off.
    """
    for index, (plane, samples) in enumerate(zip(frame.planes, piece.planes, strict=True)):
        sx, sy = frame.format.subsampling if index else (0, 0)
        area = plane[max(y, 0) >> sy :, max(x, 0) >> sx :]
        across = samples.shape[1] if columns is None else columns >> sx
        rows, across = min(samples.shape[0], area.shape[0]), min(across, samples.shape[1], area.shape[1])
        area[:rows, :across] = samples[:rows, :across]
