"""Setting the display size in a finished Matroska or WebM file.

The muxer writes it from a field that PyAV gives no access to, so that AV1 and VP9, whose bitstreams have no
pixel aspect ratio of their own, would lose it. FFmpeg leaves a Void element in front of the track list; what
the list grows by is taken from there, and what lies between moves up.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SEGMENT, _SEEK_HEAD, _SEEK, _SEEK_POSITION = 0x18538067, 0x114D9B74, 0x4DBB, 0x53AC
_TRACKS, _TRACK_ENTRY, _VIDEO = 0x1654AE6B, 0xAE, 0xE0
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
_VOID, _CRC = 0xEC, 0xBF
_HEADER_BYTES = 1 << 20
_SMALLEST_VOID = 9


@dataclass(frozen=True)
class _Element:
    """An EBML element: from `begin` its id and size, from `body` to `end` what it holds."""

    id: int
    begin: int
    body: int
    end: int


def set_display_size(path: Path, width: int, height: int) -> bool:
    """Sets the display size in pixels of the first video track; False where the header has no room for it."""
    with path.open("r+b") as file:
        data = file.read(_HEADER_BYTES)
        try:
            segment = next(e for e in _elements(data, 0, len(data)) if e.id == _SEGMENT)
            top: dict[int, _Element] = {}
            for element in _elements(data, segment.body, len(data)):
                top.setdefault(element.id, element)
                if element.id == _TRACKS:
                    break
            seek_head, void, tracks = top[_SEEK_HEAD], top[_VOID], top[_TRACKS]
        except (StopIteration, KeyError, IndexError):
            return False
        if tracks.end > len(data):
            return False
        made = _with_display_size(data, tracks, width, height)
        between = data[void.end : tracks.begin]
        room = tracks.end - void.begin - len(between) - len(made)
        if void.begin > tracks.begin or room < _SMALLEST_VOID:
            return False
        shift = tracks.end - len(made) - tracks.begin
        moved = range(void.end - segment.body, tracks.end - segment.body)
        file.seek(seek_head.body)
        file.write(_with_moved_positions(data[seek_head.body : seek_head.end], moved, shift))
        file.seek(void.begin)
        file.write(ebml(_VOID, bytes(room - _SMALLEST_VOID)) + between + made)
    return True


def _elements(data: bytes, begin: int, end: int) -> Iterator[_Element]:
    while begin < end:
        id_bytes, size_bytes = _length(data[begin]), 0
        size_at = begin + id_bytes
        size_bytes = _length(data[size_at])
        body = size_at + size_bytes
        size = int.from_bytes(data[size_at:body], "big") & ((1 << 7 * size_bytes) - 1)
        yield _Element(int.from_bytes(data[begin:size_at], "big"), begin, body, body + size)
        begin = body + size


def _length(first: int) -> int:
    """Bytes of a variable-length integer, by its first."""
    return 9 - first.bit_length()


def ebml(id: int, body: bytes) -> bytes:
    """An element whose size is written in 8 bytes, so that a Void of 9 bytes is the smallest."""
    return id.to_bytes((id.bit_length() + 7) // 8, "big") + (len(body) | 1 << 56).to_bytes(8, "big") + body


def _with_display_size(data: bytes, tracks: _Element, width: int, height: int) -> bytes:
    """The track list with the display size in its first video track."""
    entries, done = b"", False
    for entry in _elements(data, tracks.body, tracks.end):
        video = None
        if entry.id == _TRACK_ENTRY and not done:
            video = next((e for e in _elements(data, entry.body, entry.end) if e.id == _VIDEO), None)
        if video is None:
            entries += data[entry.begin : entry.end]
            continue
        old = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
        kept = b"".join(data[e.begin : e.end] for e in _elements(data, video.body, video.end) if e.id not in old)
        kept += ebml(_DISPLAY_WIDTH, width.to_bytes(4, "big")) + ebml(_DISPLAY_HEIGHT, height.to_bytes(4, "big"))
        entries += ebml(_TRACK_ENTRY, data[entry.body : video.begin] + ebml(_VIDEO, kept) + data[video.end : entry.end])
        done = True
    return ebml(_TRACKS, _with_checksum(entries))


def _with_moved_positions(seek_head: bytes, moved: range, shift: int) -> bytes:
    """The index of the top elements, where those at positions in `moved` now lie `shift` further."""
    made = bytearray(seek_head)
    for seek in _elements(seek_head, 0, len(seek_head)):
        if seek.id != _SEEK:
            continue
        for element in _elements(seek_head, seek.body, seek.end):
            at = int.from_bytes(seek_head[element.body : element.end], "big")
            if element.id == _SEEK_POSITION and at in moved:
                made[element.body : element.end] = (at + shift).to_bytes(element.end - element.body, "big")
    return _with_checksum(bytes(made))


def _with_checksum(body: bytes) -> bytes:
    """The body with its CRC-32, which comes first if there is one, made right."""
    if body[:2] != bytes((_CRC, 0x84)):
        return body
    return body[:2] + zlib.crc32(body[6:]).to_bytes(4, "little") + body[6:]
