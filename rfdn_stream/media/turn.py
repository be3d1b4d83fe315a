"""How a picture is turned and mirrored to be upright, as EXIF and the display matrices of videos ask for it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Turn:
    """One of the eight ways: rows and columns change places first, then either may be put in reverse order."""

    transpose: bool = False
    rows: bool = False
    columns: bool = False

    @classmethod
    def of_picture(cls, picture: VideoFrame) -> Turn | None:
        """What the picture's display matrix asks for; None where that is no right angle."""
        if picture.rotation % 90:
            return None
        matrix = picture.side_data.get(Type.DISPLAYMATRIX)
        if matrix is None:
            return cls()
        # A place (x, y) of the picture is shown at (a x + c y, b x + d y).
        a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, rows=b < 0, columns=c < 0)
        return cls(rows=d < 0, columns=a < 0)

    def __bool__(self) -> bool:
        return self != Turn()

    def __str__(self) -> str:
        if (self.transpose + self.rows + self.columns) % 2 == 0:
            return f"rotation by {180 if not self.transpose else 90 if self.columns else 270} degrees"
        ways = "along a diagonal" if self.transpose else "top to bottom" if self.rows else "left to right"
        return f"mirroring {ways}"

    def of(self, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Samples [height, width, ...] turned so, in memory of their own."""
        turned = samples.swapaxes(0, 1) if self.transpose else samples
        return np.ascontiguousarray(turned[:: -1 if self.rows else 1, :: -1 if self.columns else 1])

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) once turned."""
        return size[::-1] if self.transpose else size
