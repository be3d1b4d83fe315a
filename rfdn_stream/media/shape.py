"""Sizes and pixel shapes that a result can have."""

from __future__ import annotations

from fractions import Fraction

from rfdn_stream.frame import PixelFormat, VideoInfo


def pixel_aspect_ratio(info: VideoInfo, size: tuple[int, int]) -> Fraction:
    """Of the result: the source's, unless the picture is stretched to another shape; it is shown in its old one."""
    width, height = size
    if abs(width * info.height - height * info.width) < 2 * info.height:  # less than two columns: rounding
        return info.sample_aspect_ratio
    stretched = info.sample_aspect_ratio * Fraction(info.width * height, info.height * width)
    return stretched.limit_denominator(10_000)


def even_size(size: tuple[int, int], format: PixelFormat) -> tuple[int, int]:
    """The size without a last column or row that would have only half a chroma sample."""
    sx, sy = format.subsampling
    return size[0] >> sx << sx, size[1] >> sy << sy
