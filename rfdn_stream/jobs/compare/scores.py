"""Two videos measured against their reference, each enlarged to its size as it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.series import Series, measure
from rfdn_stream.evaluation.small import frames_of
from rfdn_stream.evaluation.video import Pairs
from rfdn_stream.frame import FORMATS, Frame, Layout
from rfdn_stream.jobs.compare.duo import together, upright
from rfdn_stream.jobs.compare.views import at_size
from rfdn_stream.media.image import right_angle
from rfdn_stream.media.reader import Source, open_source

_GREYS = {format.bits: format for format in FORMATS.values() if format.family == "gray"}


def score(
    result: str | Path,
    reference: str | Path,
    name: str,
    *,
    start: float | None = None,
    duration: float | None = None,
    frames: int | None = None,
    way: str = "lanczos",
    on_frame: Callable[[], None] = lambda: None,
) -> Series:
    """The figures of each frame of a video against its original; a smaller one is enlarged first.

    Args:
        result, reference: video files of one shape, the reference the larger.
        name: of the series.
        start, duration: the part to take, in seconds.
        frames: take only so many.
        way: how a smaller video is enlarged, one of `views.WAYS`.
        on_frame: called after each frame.

    Raises:
        UsageError: the result is larger than the reference, or of another shape.
        MediaError: a file cannot be read, is RGB, or has other frames.
    """
    with open_source(result, start, duration) as ours, open_source(reference, start, duration) as original:
        _check(ours, original)
        turn = right_angle((ours.info.rotation - original.info.rotation) % 360)
        size = original.info.width, original.info.height
        stored = size[::-1] if turn in (90, 270) else size
        enlarged = (_turned(at_size(frame, stored, way), turn) for frame in frames_of(ours))
        streams: tuple[Iterator[Frame], Iterator[Frame]] = (enlarged, frames_of(original))
        if start is not None:
            streams = together(*streams)
        references = islice(streams[1], frames)
        pairs = Pairs(streams[0], references, frames, (str(result), str(reference)))
        return measure(name, pairs, on_frame)


def _turned(frame: Frame, turn: int) -> Frame:
    """The frame's luma, which is all that is measured, turned clockwise: to the code, as `converted` would not."""
    if not turn or frame.format.family == "rgb":  # that has no luma, as whoever measures will say
        return frame
    luma = np.rot90(frame.planes[0] >> frame.format.shift, -turn // 90)
    layout = Layout(_GREYS[frame.format.bits], luma.shape[1], luma.shape[0])
    return frame.like((luma,), layout, frame.color)


def _check(ours: Source, original: Source) -> None:
    (width, height), (wide, high) = upright(ours), upright(original)
    factor = high / height
    if width > wide or height > high or abs(width * factor - wide) > 2 * factor:
        raise UsageError(
            f"the reference {original.path} is {wide}x{high} and {ours.path} {width}x{height}; "
            "the reference is the original, as large as the larger of the two"
        )
