"""Static HDR metadata: read from a picture's side data, written in the words of each encoder."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

Point = tuple[Fraction, Fraction]

# What no encoder here writes of a picture, and what it is called.
_LOST = {
    Type.DOVI_METADATA: "Dolby Vision metadata",
    Type.DOVI_RPU_BUFFER: "Dolby Vision metadata",
    Type.DYNAMIC_HDR_VIVID: "HDR Vivid dynamic metadata",
    Type.AMBIENT_VIEWING_ENVIRONMENT: "the ambient viewing environment",
    Type.AFD: "the active format description",
    Type.S12M_TIMECODE: "timecodes of single frames",
    Type.ICC_PROFILE: "the ICC profile",
}


@dataclass(frozen=True)
class StaticHdr:
    """SMPTE ST 2086 mastering display and CTA 861.3 content light level; None where the picture has none.

    `primaries` are CIE 1931 (x, y) of red, green, blue; luminances and light levels are in cd/m2.
    """

    primaries: tuple[Point, Point, Point] | None = None
    white: Point | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    light: tuple[int, int] | None = None

    @classmethod
    def of(cls, picture: VideoFrame) -> Self:
        """What the picture's side data says (AVMasteringDisplayMetadata, AVContentLightMetadata)."""
        light = mastering = None
        if (data := picture.side_data.get(Type.CONTENT_LIGHT_LEVEL)) is not None:
            light = struct.unpack_from("=2I", bytes(data))
        if (data := picture.side_data.get(Type.MASTERING_DISPLAY_METADATA)) is not None:
            raw = bytes(data)
            has_primaries, has_luminance = struct.unpack_from("=2i", raw, 80)
            numbers = struct.unpack_from("=20i", raw)
            if has_primaries and has_luminance and all(numbers[1::2]):
                mastering = [Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        if mastering is None:
            return cls(light=light)
        rx, ry, gx, gy, bx, by, wx, wy, darkest, brightest = mastering
        return cls(((rx, ry), (gx, gy), (bx, by)), (wx, wy), (darkest, brightest), light)

    def in_integers(self, mastering_key: str, light_key: str) -> list[str]:
        """``key=value`` pairs in x264's and x265's units: 0.00002 and 0.0001 cd/m2."""
        pairs = []
        if self.primaries and self.white and self.luminance:
            points = (f"({round(x * 50000)},{round(y * 50000)})" for x, y in (*self.primaries, self.white))
            red, green, blue, white = points
            low, high = (round(value * 10000) for value in self.luminance)
            pairs.append(f"{mastering_key}=G{green}B{blue}R{red}WP{white}L({high},{low})")
        if self.light:
            pairs.append(f"{light_key}={self.light[0]},{self.light[1]}")
        return pairs

    def in_decimals(self, mastering_key: str, light_key: str) -> list[str]:
        """``key=value`` pairs in SVT-AV1's units: coordinates and cd/m2 as decimals."""
        pairs = []
        if self.primaries and self.white and self.luminance:
            points = (f"({float(x):.5f},{float(y):.5f})" for x, y in (*self.primaries, self.white))
            red, green, blue, white = points
            low, high = map(float, self.luminance)
            pairs.append(f"{mastering_key}=G{green}B{blue}R{red}WP{white}L({high:.4f},{low:.4f})")
        if self.light:
            pairs.append(f"{light_key}={self.light[0]},{self.light[1]}")
        return pairs


def lost_metadata(picture: VideoFrame) -> list[str]:
    """Names of the metadata in the picture that cannot be carried over."""
    return sorted({name for kind, name in _LOST.items() if picture.side_data.get(kind) is not None})
