"""What an image says beside its samples, by its bytes: what OpenCV does not give, and what nothing here writes."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

XMP_OF_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
"""What XMP begins with in a JPEG, and nowhere else."""
_XMP_OF_PNG = "XML:com.adobe.xmp"
_HABITUAL = (72, 96)  # dots an inch that programs write where nobody has said any
_INCH = 0.0254  # metres


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, place and content of a JPEG's segments, up to the one before its samples, which is the last."""
    place = 2
    while data[:2] == b"\xff\xd8" and data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        yield data[place + 1], place, data[place + 4 : place + 2 + length]
        if data[place + 1] == 0xDA:
            return
        place += 2 + length


def upright_xmp(xmp: bytes) -> bytes:
    """XMP that no longer asks for a turn."""
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))\d", rb"\g<1>1", xmp)


def lost_facts(data: bytes) -> tuple[str, ...]:
    """What of it no image that is written here will say, in sentences for the user."""
    resolution, texts = _of_png(data) if data[:4] == b"\x89PNG" else _of_jpeg(data)
    found = [f"its text ({', '.join(dict.fromkeys(texts))}) is left out"] if texts else []
    if resolution is not None and round(resolution) not in _HABITUAL:
        found.append(f"its resolution of {resolution:.0f} dpi is left out")
    return tuple(found)


def _of_jpeg(data: bytes) -> tuple[float | None, list[str]]:
    """Dots an inch, and the names of its texts."""
    resolution, texts = None, []
    for marker, _, content in jpeg_segments(data):
        if marker == 0xFE:
            texts.append("comment")
        elif marker == 0xE0 and content[:5] == b"JFIF\0" and len(content) >= 10 and content[7] in (1, 2):
            resolution = int.from_bytes(content[8:10], "big") * (1 if content[7] == 1 else 2.54)
    return resolution, texts


def _of_png(data: bytes) -> tuple[float | None, list[str]]:
    resolution, texts = None, []
    for kind, content in _png_chunks(data):
        if kind == b"pHYs" and len(content) == 9 and content[8] == 1:  # by the metre; else it is a ratio
            resolution = int.from_bytes(content[:4], "big") * _INCH
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts.append(content.partition(b"\0")[0].decode("latin-1"))
    return resolution, [text for text in texts if text != _XMP_OF_PNG]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, data[place + 8 : place + 8 + length]
        place += 12 + length
