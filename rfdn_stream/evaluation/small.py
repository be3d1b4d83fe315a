"""The small video that a reference is made into, to be enlarged again: resized, and encoded as asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.evaluation.enlargers import resized
from rfdn_stream.evaluation.metrics import WINDOW
from rfdn_stream.evaluation.resize import BICUBIC
from rfdn_stream.evaluation.shown import open_shown
from rfdn_stream.frame import Frame, Layout
from rfdn_stream.media.output import OutputPlan, plan_output
from rfdn_stream.media.shape import even_size
from rfdn_stream.media.source import Source
from rfdn_stream.media.writer import VideoFileSink

LOSSLESS = EncodeOptions(codec="ffv1")
"""How the small video is written where no compression is asked for."""


def make_small(
    reference: Path,
    target: Path,
    scale: int,
    encode: EncodeOptions = LOSSLESS,
    frames: int | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> str:
    """Writes the video at 1/scale of its size: antialiased bicubic as MATLAB does it, plane by plane, then encoded.

    What the small size, even where chroma is subsampled, does not cover at the right and the bottom is cropped first.

    Args:
        reference, target: video files; the target is Matroska.
        encode: the encoder and its quality.
        frames: take only so many, from the beginning.
        on_frame: called after each frame.

    Returns:
        The encoding in words, as ``libx264 crf 23``.

    Raises:
        As `plan_small`; MediaError also where a file cannot be read or written.
    """
    with open_shown(reference) as source:
        plan, size = plan_small(source, scale, encode)
        with VideoFileSink(target, source, plan, size) as sink:
            for frame in islice(frames_of(source), frames):
                whole = cropped(frame, size[0] * scale, size[1] * scale)
                sink.write(resized(whole, *size, BICUBIC))
                on_frame()
            sink.finish()
    crf = plan.encoding.options.get("crf")
    return "lossless" if encode == LOSSLESS else plan.encoding.codec + (f" crf {crf}" if crf else "")


def plan_small(source: Source, scale: int, encode: EncodeOptions) -> tuple[OutputPlan, tuple[int, int]]:
    """How the small video is encoded, and its (width, height); nothing is written.

    Raises:
        UsageError: the encoder cannot do what is asked, or what is enlarged again would be too small to be measured.
        MediaError: the video's format is not the encoder's.
    """
    info = source.info
    size = even_size((info.width // scale, info.height // scale), info.format)
    if min(size) * scale < WINDOW:
        raise UsageError(
            f"{source.path} is {info.width}x{info.height}; divided by {scale} and enlarged again it must have "
            f"{WINDOW}x{WINDOW} pixels or more"
        )
    plan = plan_output(source, Path("small.mkv"), encode)
    if plan.encoding.format != info.format:
        raise MediaError(
            f"{plan.encoding.codec} does not take the {info.format.name} of {source.path}; choose another --codec"
        )
    return replace(plan, copied=()), size


def frames_of(source: Source) -> Iterator[Frame]:
    """The frames of a source without the packets between them."""
    return (item for item in source.items() if isinstance(item, Frame))


def cropped(frame: Frame, width: int, height: int) -> Frame:
    """The frame's upper left part, as views."""
    layout = Layout(frame.format, width, height)
    planes = tuple(plane[: shape[0], : shape[1]] for plane, shape in zip(frame.planes, layout.shapes, strict=True))
    return frame.like(planes, layout, frame.color)
