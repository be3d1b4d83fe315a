"""Two videos side by side in time: the n-th frame of one with the n-th of the other, upright and of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

from rfdn_stream.config import EncodeOptions
from rfdn_stream.errors import UsageError
from rfdn_stream.evaluation.shown import deinterlaced_notes, open_shown, upright
from rfdn_stream.evaluation.small import frames_of
from rfdn_stream.evaluation.video import Pairs, tolerance
from rfdn_stream.frame import Frame
from rfdn_stream.jobs.compare.views import Crop, at_size, common_size, converted, cut
from rfdn_stream.media.output import OutputPlan, plan_output
from rfdn_stream.media.source import Source


@dataclass
class Duo:
    """Two opened videos. Made by `open_duo`; `frames` runs through them once.

    Args:
        sources: the two.
        size: (width, height) of the larger, upright, which the other is enlarged to by `way`.
        way: one of `views.WAYS`.
        crop: the part to take, in pixels of `size`.
    """

    sources: tuple[Source, Source]
    size: tuple[int, int]
    way: str
    crop: Crop
    _ends: list[str] = field(default_factory=list)

    @property
    def larger(self) -> Source:
        """The one that is shown as it is; the second, where both are of one size."""
        return max(reversed(self.sources), key=lambda source: source.info.width * source.info.height)

    @property
    def details(self) -> tuple[str, str]:
        """Size of each, and how it is enlarged, in words."""
        told = []
        for source in self.sources:
            width, height = upright(source)
            enlarged = "" if (width, height) == self.size else f", {'Lanczos' if self.way == 'lanczos' else self.way}"
            told.append(f"{width}x{height}{enlarged}")
        return told[0], told[1]

    @property
    def notes(self) -> list[str]:
        """What came up on the way so far, in sentences for the user."""
        return [*deinterlaced_notes(*self.sources), *self._ends]

    def expected(self) -> int:
        """Frames by the header; 0 = unknown."""
        info = self.sources[0].info
        return round(info.duration * float(info.rate)) if info.duration else info.frames_from_header

    def plan(self, target: Path, options: EncodeOptions) -> OutputPlan:
        """How the result is encoded: as the larger one would be. Nothing but the picture goes into it."""
        return replace(plan_output(self.larger, target, options), copied=(), dropped=())

    def template(self, size: tuple[int, int], aspect: Fraction) -> Source:
        """What the sink takes a video's header from: the larger one as if it were upright and of `size`."""
        template = copy(self.larger)
        width, height = size
        template.info = replace(template.info, width=width, height=height, rotation=0, sample_aspect_ratio=aspect)
        template.matrix, template.chapters = None, []
        return template

    @property
    def aspect(self) -> Fraction:
        """Pixel aspect ratio of the upright pictures."""
        info = self.larger.info
        return 1 / info.sample_aspect_ratio if info.rotation in (90, 270) else info.sample_aspect_ratio

    def frames(self, plan: OutputPlan) -> Iterator[tuple[Frame, Frame]]:
        """The pairs in the plan's format, cut to the crop, at the times of the larger one's.

        Raises:
            MediaError: the two do not have the same frames.
        """
        names = str(self.sources[0].path), str(self.sources[1].path)
        streams: list[Iterable[Frame]] = [frames_of(source) for source in self.sources]
        if self.sources[0].span.begin is not None:
            streams = list(together(*map(iter, streams)))
        pairs = Pairs(streams[0], streams[1], None, names)
        lead = self.sources.index(self.larger)
        taken = 0
        for pair in pairs:
            made = [self._shown(frame, source, plan) for frame, source in zip(pair, self.sources, strict=True)]
            first, second = (_timed(frame, pair[lead]) for frame in made)
            taken += 1
            yield first, second
        if pairs.ended is not None:
            self._ends.append(f"{pairs.ended} ends after {taken} frames and the other goes on; what both have is shown")

    def _shown(self, frame: Frame, source: Source, plan: OutputPlan) -> Frame:
        turn = source.info.rotation
        size = (self.size[1], self.size[0]) if turn in (90, 270) else self.size
        big = converted(at_size(frame, size, self.way), plan.encoding.format, plan.encoding.color, turn)
        return cut(big, self.crop)


@contextmanager
def open_duo(
    first: str | Path,
    second: str | Path,
    *,
    start: float | None = None,
    duration: float | None = None,
    way: str = "lanczos",
    crop: Crop | None = None,
) -> Iterator[Duo]:
    """Opens two videos to be compared.

    Args:
        first, second: video files of one shape, such as a source and its enlargement.
        start, duration: the part to take, in seconds from the beginning; None = all.
        way: how the smaller is enlarged, one of `views.WAYS`.
        crop: in pixels of the first; None = all of the picture.

    Raises:
        UsageError: they differ in shape, the crop does not lie inside, or they end before `start`.
        MediaError: one cannot be read.
    """
    with open_shown(first, start, duration) as one, open_shown(second, start, duration) as two:
        sizes = [upright(one), upright(two)]
        size = common_size(sizes, [str(first), str(second)])
        part = Crop(0, 0, *size)
        if crop is not None:
            crop.check(sizes[0])
            part = crop.scaled(size[0] / sizes[0][0], size[1] / sizes[0][1])
        yield Duo((one, two), size, way, _even(part, one, two))


def _even(part: Crop, *sources: Source) -> Crop:
    """The part without what would be half a chroma sample in either video."""
    x, y, width, height = part.x & ~1, part.y & ~1, part.width & ~1, part.height & ~1
    if not (width and height):
        raise UsageError(f"a part of {part.width}x{part.height} pixels is too small; choose a crop of 2x2 or more")
    return Crop(x, y, width, height)


def together(first: Iterator[Frame], second: Iterator[Frame]) -> tuple[Iterator[Frame], Iterator[Frame]]:
    """Both from the same moment on: files round times, so that one may begin a frame before the other."""
    a, b = next(first, None), next(second, None)
    while a is not None and b is not None:
        apart = (a.seconds or 0.0) - (b.seconds or 0.0)
        if abs(apart) <= tolerance(b, a) or not a.duration:
            break
        if apart < 0:
            a = next(first, None)
        else:
            b = next(second, None)
    return chain([a] if a else [], first), chain([b] if b else [], second)


def _timed(frame: Frame, lead: Frame) -> Frame:
    return replace(frame, pts=lead.pts, time_base=lead.time_base, duration=lead.duration)
