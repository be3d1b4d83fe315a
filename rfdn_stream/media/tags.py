"""Colour tags: FFmpeg's codes (H.273) on streams and frames, and what they mean for us."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import ColorSpec, Matrix, PixelFormat, Range, Siting

_UNSPECIFIED = 2
_BT2020_PRIMARIES = 9
_MATRICES: dict[int, Matrix] = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
_CODES = {"bt601": 6, "bt709": 1, "bt2020": 9}
_REFUSED_MATRICES = {
    4: "FCC",
    7: "SMPTE 240M",
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    12: "chromaticity-derived",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_SITINGS: dict[int, Siting] = {1: "left", 2: "center", 3: "topleft"}
# Sitings that the engine has no kernel for, and the nearest one that it has.
_NEAREST_SITINGS: dict[int, tuple[str, Siting]] = {
    4: ("top", "center"),
    5: ("bottomleft", "left"),
    6: ("bottom", "center"),
}
_CENTERED_CODECS = frozenset({"mjpeg", "mpeg1video", "webp", "webp_anim"})
# Standards whose pictures are limited-range unless they say otherwise; other monochrome is full-range.
_LIMITED_GRAY_CODECS = frozenset({"h264", "hevc", "av1", "vvc", "mpeg2video"})


class _TaggedFrame(Protocol):
    colorspace: int
    color_range: int
    color_primaries: int
    color_trc: int
    chroma_location: int


class _TaggedContext(Protocol):
    colorspace: int
    color_range: int
    color_primaries: int
    color_trc: int
    chroma_sample_location: int


@dataclass(frozen=True)
class ColorTags:
    """Raw codes; `matrix`, `primaries` and `transfer` are 2, `range` and `siting` 0 where unspecified."""

    matrix: int = _UNSPECIFIED
    range: int = 0
    siting: int = 0
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED

    @classmethod
    def of_frame(cls, frame: _TaggedFrame) -> ColorTags:
        """The tags that a decoded picture carries itself."""
        return cls(frame.colorspace, frame.color_range, frame.chroma_location, frame.color_primaries, frame.color_trc)

    @classmethod
    def of_context(cls, context: _TaggedContext) -> ColorTags:
        """The tags of a stream's header."""
        return cls(
            context.colorspace,
            context.color_range,
            context.chroma_sample_location,
            context.color_primaries,
            context.color_trc,
        )

    @classmethod
    def of_color(cls, color: ColorSpec, format: PixelFormat, source: ColorTags) -> ColorTags:
        """The codes that say `color`; of the two codes of BT.601 the source's own is kept."""
        if color.matrix == "rgb":
            matrix = 0
        elif _MATRICES.get(source.matrix) == color.matrix:
            matrix = source.matrix
        else:
            matrix = _CODES[color.matrix]
        siting = {"left": 1, "center": 2, "topleft": 3}[color.siting] if format.subsampling != (0, 0) else 0
        return cls(matrix, 2 if color.range == "full" else 1, siting, color.primaries, color.transfer)

    def or_else(self, other: ColorTags) -> ColorTags:
        """These tags, with those of `other` where nothing is specified (0 and 3 are reserved codes)."""
        return ColorTags(
            other.matrix if self.matrix in (_UNSPECIFIED, 3) else self.matrix,
            self.range or other.range,
            self.siting or other.siting,
            other.primaries if self.primaries in (0, _UNSPECIFIED, 3) else self.primaries,
            other.transfer if self.transfer in (0, _UNSPECIFIED, 3) else self.transfer,
        )

    def with_matrix(self, matrix: Matrix) -> ColorTags:
        """These tags with another matrix; the codes of BT.601 are the same to us."""
        return self if _MATRICES.get(self.matrix) == matrix else replace(self, matrix=_CODES[matrix])

    def write_to(self, context: _TaggedContext) -> None:
        """Sets the tags on an encoder that is not open yet."""
        context.colorspace = self.matrix
        context.color_range = self.range
        context.chroma_sample_location = self.siting
        context.color_primaries = self.primaries
        context.color_trc = self.transfer

    def write_to_frame(self, frame: _TaggedFrame) -> None:
        """Sets the tags on a picture for an encoder, which may take them from there."""
        frame.colorspace, frame.color_range, frame.chroma_location = self.matrix, self.range, self.siting
        frame.color_primaries, frame.color_trc = self.primaries, self.transfer

    def interpret(
        self, format: PixelFormat, width: int, height: int, codec: str, *, full_range_format: bool = False
    ) -> ColorSpec:
        """What the codes mean; what is untagged is guessed as players guess it, and named in `guessed`.

        Untagged matrix: BT.2020 where the primaries are BT.2020, else BT.709 from 1280 columns or 720 rows on,
        else BT.601. Untagged range: limited for YUV. Untagged siting: left (MPEG-2, H.264), centre for JPEG and
        MPEG-1. `full_range_format` says that the pixel format itself was full-range (yuvj420p).

        Raises:
            MediaError: a matrix that the engine cannot convert, or limited-range RGB.
        """
        if format.family == "rgb":
            if self.range == 1:
                raise MediaError("limited-range RGB video is not supported; convert it to YUV first")
            return ColorSpec("rgb", "full", "center", self.primaries, self.transfer)
        guessed = []
        matrix = _MATRICES.get(self.matrix)
        if matrix is None:
            if self.matrix in _REFUSED_MATRICES:
                raise MediaError(
                    f"colour matrix {_REFUSED_MATRICES[self.matrix]} is not supported; "
                    "supported: BT.601, BT.709, BT.2020 non-constant luminance, RGB"
                )
            guessed.append("matrix")
            matrix = guess_matrix(self.primaries, width, height)
        range_: Range = "full" if self.range == 2 or full_range_format else "limited"
        if self.range == 0 and not full_range_format:
            guessed.append("range")
            if format.family == "gray" and codec not in _LIMITED_GRAY_CODECS:
                range_ = "full"
        siting = _SITINGS.get(self.siting) or _NEAREST_SITINGS.get(self.siting, ("", None))[1]
        if siting is None:
            siting = "center" if codec in _CENTERED_CODECS else "left"
            if format.subsampling != (0, 0):
                guessed.append("siting")
        return ColorSpec(matrix, range_, siting, self.primaries, self.transfer, tuple(guessed))

    def siting_note(self) -> str | None:
        """What to tell the user where the chroma siting is approximated."""
        if self.siting not in _NEAREST_SITINGS:
            return None
        name, nearest = _NEAREST_SITINGS[self.siting]
        return f"chroma siting {name!r} is treated as {nearest!r}"


def guess_matrix(primaries: int, width: int, height: int) -> Matrix:
    """What players take untagged YUV for."""
    if primaries == _BT2020_PRIMARIES:
        return "bt2020"
    return "bt709" if width >= 1280 or height >= 720 else "bt601"
