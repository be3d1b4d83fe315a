"""HDR10+: its messages taken out of the source's packets and put into the encoder's.

No encoder here writes them. They are messages as of ITU-T T.35 with the same content in every codec, a message a
picture; it says brightnesses and shares of the picture, which enlarging does not change (SMPTE ST 2094-40).
"""

from __future__ import annotations

from collections.abc import Iterator

# Country USA, provider Samsung, provider-oriented code 1, application 4.
_HDR10_PLUS = bytes.fromhex("b5003c000104")
_T35 = 4  # its number as a payload of HEVC, and as metadata of AV1
_PARAMETERS, _PREFIX_SEI = 32, 39  # of HEVC
_SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _METADATA = 1, 2, 5  # of AV1
CODECS = frozenset({"hevc", "av1"})
"""FFmpeg's names of the codecs in whose packets messages are found, and put; players look in no other."""


def find_message(packet: bytes, codec: str, extradata: bytes | None) -> bytes | None:
    """The HDR10+ message in a packet of one picture, from its country code on; None = it has none.

    Args:
        packet: with start codes, or with lengths as `extradata` (hvcC) says.
    """
    if _HDR10_PLUS[:3] not in packet:
        return None  # the rest may be broken by a byte that prevents emulation
    if codec == "av1":
        payloads = (body[1:] for _, kind, body in _obus(packet) if kind == _METADATA and body[:1] == bytes((_T35,)))
        # The last byte that is not 0 only marks the end.
        found = (payload.rstrip(b"\0")[:-1] for payload in payloads)
    else:
        units = _units(packet, extradata)
        found = (message for unit in units if _kind(unit) == _PREFIX_SEI for message in _messages(unit))
    return next((message for message in found if message.startswith(_HDR10_PLUS)), None)


def with_message(packet: bytes, codec: str, message: bytes) -> bytes:
    """An encoder's packet (start codes, or OBUs with sizes) with a message before its picture."""
    if codec == "av1":
        at = next(begin for begin, kind, _ in _obus(packet) if kind not in (_SEQUENCE_HEADER, _TEMPORAL_DELIMITER))
        body = bytes((_T35,)) + message + b"\x80"
        return packet[:at] + bytes((_METADATA << 3 | 2,)) + _leb128(len(body)) + body + packet[at:]
    at = next(begin for begin, unit in _start_codes(packet) if _kind(unit) < _PARAMETERS)
    size = len(message)
    raw = bytes((_T35,)) + b"\xff" * (size // 255) + bytes((size % 255,)) + message + b"\x80"
    return packet[:at] + b"\0\0\0\1" + bytes((_PREFIX_SEI << 1, 1)) + _escaped(raw) + packet[at:]


def _units(packet: bytes, extradata: bytes | None) -> Iterator[bytes]:
    """NAL units, without start codes or lengths."""
    if not extradata or extradata[0] != 1:
        yield from (unit for _, unit in _start_codes(packet))
        return
    bytes_of_length = (extradata[21] & 3) + 1
    at = 0
    while at + bytes_of_length <= len(packet):
        begin = at + bytes_of_length
        at = begin + int.from_bytes(packet[at:begin], "big")
        yield packet[begin:at]


def _start_codes(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """NAL units, each with the place of its start code."""
    begin = packet.find(b"\0\0\1")
    while begin >= 0:
        end = packet.find(b"\0\0\1", begin + 3)
        # A further 0 before a start code belongs to it.
        yield begin - (begin > 0 and packet[begin - 1] == 0), packet[begin + 3 : end if end >= 0 else None]
        begin = end


def _kind(unit: bytes) -> int:
    """An HEVC unit's type: below `_PARAMETERS`, it is a part of a picture."""
    return unit[0] >> 1 & 63 if unit else _PREFIX_SEI


def _messages(unit: bytes) -> Iterator[bytes]:
    """The T.35 messages in an SEI unit."""
    data = unit[2:].replace(b"\0\0\3", b"\0\0")
    at = 0
    while at + 2 < len(data):
        kind, at = _number(data, at)
        size, at = _number(data, at)
        if kind == _T35:
            yield data[at : at + size]
        at += size


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number as the sum of bytes up to the first that is not 255, and where the next begins."""
    value = 0
    while at < len(data) and data[at] == 255:
        value, at = value + 255, at + 1
    return value + (data[at] if at < len(data) else 0), at + 1


def _escaped(raw: bytes) -> bytes:
    """With a 3 after two zeros wherever a start code could be seen."""
    made, zeros = bytearray(), 0
    for byte in raw:
        if zeros == 2 and byte <= 3:
            made.append(3)
            zeros = 0
        made.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(made)


def _obus(packet: bytes) -> Iterator[tuple[int, int, bytes]]:
    """AV1's units with sizes: where they begin, their kinds and bodies."""
    at = 0
    while at < len(packet) and packet[at] & 2:
        place, kind, begin = at, packet[at] >> 3 & 15, at + 1 + (packet[at] >> 2 & 1)
        size = shift = 0
        while begin < len(packet):
            byte, begin = packet[begin], begin + 1
            size, shift = size | (byte & 127) << shift, shift + 7
            if byte < 128:
                break
        at = begin + size
        yield place, kind, packet[begin:at]


def _leb128(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes((*made, value))
