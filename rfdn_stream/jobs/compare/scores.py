"""Two videos measured against their reference, each enlarged to its size as it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.series import Series, measure
from rfdn_stream.evaluation.shown import deinterlaced_notes, open_shown, turn_onto, turned, upright
from rfdn_stream.evaluation.small import frames_of
from rfdn_stream.evaluation.video import Pairs
from rfdn_stream.frame import Frame
from rfdn_stream.jobs.compare.duo import together
from rfdn_stream.jobs.compare.views import at_size
from rfdn_stream.media.source import Source


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
    with open_shown(result, start, duration) as ours, open_shown(reference, start, duration) as original:
        _check(ours, original)
        turn = turn_onto(ours, original)
        size = original.info.width, original.info.height
        stored = size[::-1] if turn in (90, 270) else size
        enlarged = (turned(at_size(frame, stored, way), turn) for frame in frames_of(ours))
        streams: tuple[Iterator[Frame], Iterator[Frame]] = (enlarged, frames_of(original))
        if start is not None:
            streams = together(*streams)
        references = islice(streams[1], frames)
        pairs = Pairs(streams[0], references, frames, (str(result), str(reference)))
        series = measure(name, pairs, on_frame)
        return replace(series, notes=(*series.notes, *deinterlaced_notes(ours, original)))


def _check(ours: Source, original: Source) -> None:
    (width, height), (wide, high) = upright(ours), upright(original)
    factor = high / height
    if width > wide or height > high or abs(width * factor - wide) > 2 * factor:
        raise UsageError(
            f"the reference {original.path} is {wide}x{high} and {ours.path} {width}x{height}; "
            "the reference is the original, as large as the larger of the two"
        )
