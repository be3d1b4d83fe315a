"""The size of an image by its first bytes, so that a thousand of them are looked at in a moment."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's markers of a frame's header
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})  # without a length


def stored_size(path: Path) -> tuple[int, int] | None:
    """(width, height) as stored, before EXIF turns it; None where the beginning does not tell: TIFF, damage.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(32)
        if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
            width, height = struct.unpack_from(">2I", head, 16)
            return width, height
        if head[:2] == b"\xff\xd8":
            return _of_jpeg(file)
        return _of_webp(head) if head[8:12] == b"WEBP" and len(head) == 32 else None


def _of_webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<2H", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _of_jpeg(file: BinaryIO) -> tuple[int, int] | None:
    place = 2
    while True:
        file.seek(place)
        segment = file.read(9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        marker, length = segment[1], int.from_bytes(segment[2:4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack_from(">2H", segment, 5)
            return width, height
        # A marker may have any number of fill bytes before it.
        place += 1 if marker == 0xFF else 2 if marker in _BARE else 2 + length
