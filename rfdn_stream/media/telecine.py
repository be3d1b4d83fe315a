"""Soft telecine: film whose pictures ask players to show a field once more, so that 24 become 30 a second."""

from __future__ import annotations

_EXTENSION = b"\0\0\1\xb5"
_PICTURE_CODING = 8  # which of MPEG-2's extensions it is
_REPEAT_FIRST_FIELD = 0x02  # in the fourth byte (ISO/IEC 13818-2, 6.2.3.1)


def repeats_field(packet: bytes) -> bool:
    """Whether a packet of MPEG-2 holds a picture with `repeat_first_field`."""
    at = packet.find(_EXTENSION)
    while at >= 0:
        body = packet[at + len(_EXTENSION) :][:5]
        if len(body) == 5 and body[0] >> 4 == _PICTURE_CODING:
            return bool(body[3] & _REPEAT_FIRST_FIELD)
        at = packet.find(_EXTENSION, at + 1)
    return False
