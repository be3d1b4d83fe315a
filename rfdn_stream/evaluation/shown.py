"""Videos as they are measured and shown: as `upscale` takes them by default, and upright."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rfdn_stream.frame import FORMATS, Frame, Layout
from rfdn_stream.media.image import right_angle
from rfdn_stream.media.reader import Source, open_source

_GREYS = {format.bits: format for format in FORMATS.values() if format.family == "gray"}


def open_shown(path: str | Path, start: float | None = None, duration: float | None = None) -> Source:
    """The video, its fields made into whole frames where it says that it is interlaced; else as `open_source`."""
    return open_source(path, start, duration, deinterlace="auto")


def deinterlaced_notes(*sources: Source) -> tuple[str, ...]:
    """What is to be known of those whose fields were made into frames, in sentences for the user."""
    return tuple(
        f"{path} is interlaced; whole frames were made of its fields, as upscale does"
        for path in dict.fromkeys(str(source.path) for source in sources if source.deinterlaced)
    )


def upright(source: Source) -> tuple[int, int]:
    """Width and height as players turn it."""
    size = source.info.width, source.info.height
    return (size[1], size[0]) if source.info.rotation in (90, 270) else size


def turn_onto(ours: Source, reference: Source) -> int:
    """By how much frames of one video are turned clockwise to lie as those of another are stored, in degrees."""
    return right_angle((ours.info.rotation - reference.info.rotation) % 360)


def turned(frame: Frame, turn: int) -> Frame:
    """The frame's luma, which is all that is measured, turned clockwise: to the code, no value is converted."""
    if not turn or frame.format.family == "rgb":  # that has no luma, as whoever measures will say
        return frame
    luma = np.rot90(frame.planes[0] >> frame.format.shift, -turn // 90)
    layout = Layout(_GREYS[frame.format.bits], luma.shape[1], luma.shape[0])
    return frame.like((luma,), layout, frame.color)
