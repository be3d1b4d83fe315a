"""What users choose, as frozen values: built by the command line or the API, never read from globals."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rfdn_stream.errors import UsageError

LONGEST_SIDE = 65536  # pixels, of what is put out


@dataclass(frozen=True)
class EncodeOptions:
    """How the output video is encoded; None leaves the choice to the program.

    Args:
        codec: FFmpeg's name of an encoder, such as ``libx265`` or ``ffv1``.
        crf: constant quality on the encoder's own scale, lower is better; only encoders that have one take it.
        preset: the encoder's name or number for its trade of speed against size.
        pix_fmt: FFmpeg's name of the output pixel format; the default keeps the source's depth and sampling.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None


@dataclass(frozen=True)
class Size:
    """How large the result is to be, if not just the network's scale. What is left out keeps the picture's shape.

    Args:
        scale: times as large each way, such as 1.5; goes with nothing else.
        width, height: in pixels; with both, the picture is stretched to them.
        fit: the largest size of the picture's shape within this (width, height); goes with nothing else.

    Raises:
        UsageError: a value outside its range, or values that exclude each other.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    fit: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        sides = self.width is not None or self.height is not None
        if (self.scale is not None) + sides + (self.fit is not None) != 1:
            raise UsageError("a size is a scale, a width and/or height, or a box to fit into; give one of these three")
        if self.scale is not None and not 0 < self.scale <= 16:
            raise UsageError(f"scale {self.scale:g} is outside its range; choose a number above 0, up to 16")
        for name, side in (("width", self.width), ("height", self.height), *zip(("fit",) * 2, self.fit or ())):
            if side is not None and not 1 <= side <= LONGEST_SIDE:
                raise UsageError(f"{name} {side} is outside its range; choose 1 to {LONGEST_SIDE} pixels")

    def turned(self) -> Size:
        """The same of a picture that lies on its side."""
        return Size(self.scale, self.height, self.width, self.fit and (self.fit[1], self.fit[0]))

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the result for a picture of this size; sides that nobody named are even."""
        if self.scale is not None:
            factor = Fraction(str(self.scale))
        elif self.fit is not None:
            factor = min(Fraction(self.fit[0], width), Fraction(self.fit[1], height))
        elif self.height is not None:
            factor = Fraction(self.height, height)
        else:
            factor = Fraction(self.width or width, width)
        widest, highest = self.fit or (None, None)
        return self.width or _side(width, factor, widest), self.height or _side(height, factor, highest)

    def factor(self, width: int, height: int) -> float:
        """How much larger the result is than a picture of this size, along the axis that grows more."""
        wide, high = self.of(width, height)
        return max(wide / width, high / height)


def _side(length: int, factor: Fraction, most: int | None) -> int:
    """A whole multiple is exact; else the nearest even number, which every pixel format takes, up to `most`."""
    exact = length * factor
    if factor.denominator == 1:
        return int(exact)
    even = 2 * round(exact / 2)
    return max(2, even if most is None else min(even, most // 2 * 2))
