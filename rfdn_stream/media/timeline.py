"""The part of a file that a job takes, and how its times move."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container.core import Chapter


from rfdn_stream.errors import UsageError
from rfdn_stream.frame import Frame
from rfdn_stream.media.frames import fraction


@dataclass(frozen=True)
class Span:
    """A part of a file, in seconds of its own clock: begin <= t < end.

    Args:
        begin: None = from the first picture, whatever its time.
        end: None = to the last.
        shift: taken off every time, so that the output begins near 0.
    """

    begin: Fraction | None = None
    end: Fraction | None = None
    shift: Fraction = Fraction(0)

    @classmethod
    def of(cls, start: float | None, duration: float | None, origin: Fraction, shift: Fraction = Fraction(0)) -> Span:
        """The span that ``ffmpeg -ss START -t DURATION -i`` takes from a file whose first time is `origin`.

        Without `start` no time moves but by `shift`.

        Raises:
            UsageError: a start before 0, or a duration that is not above 0.
        """
        if start is not None and not 0 <= start < math.inf:
            raise UsageError(f"the start is {start} s; it must be 0 or later")
        if duration is not None and not 0 < duration < math.inf:
            raise UsageError(f"the duration is {duration} s; it must be above 0")
        # Through the decimal text: 0.1 means one tenth, not the binary fraction just above it.
        begin = None if start is None else origin + Fraction(str(start))
        end = None if duration is None else (origin if begin is None else begin) + Fraction(str(duration))
        return cls(begin, end, shift if begin is None else begin)

    def holds_time(self, seconds: Fraction) -> bool:
        """Whether a time in seconds lies in the span."""
        return (self.begin is None or self.begin <= seconds) and (self.end is None or seconds < self.end)

    def holds(self, ticks: int, time_base: Fraction) -> bool:
        """Whether a time in units of `time_base` lies in the span."""
        return self.holds_time(ticks * time_base)

    def is_after(self, ticks: int, time_base: Fraction) -> bool:
        """Whether a time lies behind the span."""
        return self.end is not None and ticks * time_base >= self.end

    def moved(self, ticks: int, time_base: Fraction) -> int:
        """The time in the output, in the same units."""
        return ticks - round(self.shift / time_base)

    def cut(self, frame: Frame) -> Frame | None:
        """The frame at its time in the output, not shown beyond the span's end; None outside the span."""
        if frame.pts is None or not self.holds(frame.pts, frame.time_base):
            return None
        duration = frame.duration
        if self.end is not None:
            duration = min(duration, math.ceil(self.end / frame.time_base) - frame.pts)
        return replace(frame, pts=self.moved(frame.pts, frame.time_base), duration=duration)

    def chapters(self, chapters: list[Chapter]) -> list[Chapter]:
        """The chapters that reach into the span, clipped to it and moved."""
        kept = []
        for chapter in chapters:
            base = fraction(chapter["time_base"]) or Fraction(1)
            first, last = chapter["start"], chapter["end"]
            if self.begin is not None:
                first = max(first, math.ceil(self.begin / base))
            if self.end is not None:
                last = min(last, math.floor(self.end / base))
            if first < last or chapter["start"] == chapter["end"] == first == last:
                clipped = chapter.copy()
                clipped["start"], clipped["end"] = self.moved(first, base), self.moved(last, base)
                kept.append(clipped)
        return kept
