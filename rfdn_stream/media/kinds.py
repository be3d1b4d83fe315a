"""Depth and transparency of an image by its first bytes, so that a thousand of them are looked at in a moment."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BITS, _SAMPLES = 258, 277  # TIFF's tags


@dataclass(frozen=True)
class Kind:
    """What an image's samples are: more than 8 bits each, with transparency."""

    deep: bool = False
    clear: bool = False

    def __or__(self, other: Kind) -> Kind:
        return Kind(self.deep or other.deep, self.clear or other.clear)


def stored_kind(path: Path) -> Kind:
    """What the beginning of a file tells; plain where it tells nothing, as that of a JPEG.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(32)
        if head[:4] == b"\x89PNG" and len(head) == 32:
            return Kind(head[24] > 8, head[25] in (4, 6) or _has_clear_colour(file))
        if head[8:12] == b"WEBP" and len(head) == 32:
            flags = {b"VP8X": head[20], b"VP8L": head[24]}.get(head[12:16], 0)
            return Kind(clear=bool(flags & 0x10))
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
        return _of_tiff(file, order, head) if order else Kind()


def _has_clear_colour(file: BinaryIO) -> bool:
    """Whether a PNG of a palette, or without an alpha channel, names colours that are transparent."""
    place = 8
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or head[4:] in (b"IDAT", b"tRNS"):
            return head[4:] == b"tRNS"
        place += 12 + int.from_bytes(head[:4], "big")


def _of_tiff(file: BinaryIO, order: str, head: bytes) -> Kind:
    """By the tags of the first page; what is damaged is told when it is read."""
    deep = clear = False
    try:
        file.seek(*struct.unpack_from(order + "I", head, 4))
        (count,) = struct.unpack(order + "H", file.read(2))
        for tag, _, values, value in struct.iter_unpack(order + "HHI4s", file.read(12 * count)):
            if tag == _BITS and values > 2:
                file.seek(*struct.unpack(order + "I", value))
                value = file.read(2)
            if tag == _BITS:
                deep = struct.unpack_from(order + "H", value)[0] > 8
            elif tag == _SAMPLES:
                clear = struct.unpack_from(order + "H", value)[0] == 4
    except struct.error:
        return Kind()
    return Kind(deep, clear)
