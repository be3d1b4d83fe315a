"""What has passed of a stream, kept in a few bytes whatever its length: counts, hashes, the first and the last time."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

from av.packet import Packet

_ADTS = b"\xff\xf0"  # the syncword of a frame of AAC with a header of its own, and the bits of it to look at
_GAP = 2  # bytes of a packet of mov_text that says nothing: MP4's muxer fills gaps with them


class Fingerprint:
    """Of the packets of one stream, in the file's order. Two that are alike come from the same packets.

    Times are hashed relative to the first one, as a container may move all of them.

    Args:
        codec: FFmpeg's name; some containers wrap the packets of some codecs, which is no difference.
        hashed: whether the packets' bytes count, or only their times.

    Attributes:
        packets, bytes: how many, of how many bytes in all.
        first, last: pts of the first and the last packet that has one, in units of `time_base`.
        timed: packets with a pts.
    """

    def __init__(self, codec: str = "", *, hashed: bool = True) -> None:
        self.packets = self.bytes = self.timed = 0
        self.first: int | None = None
        self.last: int | None = None
        self.time_base = Fraction(0)
        self.codec, self._hashed = codec, hashed
        self._payload, self._times = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)

    def add(self, packet: Packet[Any], time_base: Fraction) -> None:
        """Takes one packet, whose pts is in units of `time_base`, the stream's."""
        if self.codec == "mov_text" and packet.size <= _GAP:
            return
        self.packets += 1
        self.bytes += packet.size
        if self._hashed:
            self._payload.update(_bare(packet) if self.codec == "aac" else packet)
        if packet.pts is None:
            return
        if self.first is None:
            self.first, self.time_base = packet.pts, time_base
        self.last = packet.pts
        self.timed += 1
        self._times.update((packet.pts - self.first).to_bytes(8, "little", signed=True))

    @property
    def payload(self) -> str:
        """Hash of the bytes of all packets; how they are divided into packets does not count."""
        return self._payload.hexdigest()

    @property
    def times(self) -> str:
        """Hash of the times of all packets, each relative to the first."""
        return self._times.hexdigest()

    @property
    def begins(self) -> Fraction | None:
        """Time of the first packet, in seconds."""
        return None if self.first is None else self.first * self.time_base

    @property
    def lasts(self) -> Fraction:
        """Seconds from the time of the first packet to that of the last."""
        return ((self.last or 0) - (self.first or 0)) * self.time_base


def _bare(packet: Packet[Any]) -> bytes:
    """A frame of AAC without the header that MPEG-TS puts before each and other containers have once a file."""
    data = bytes(packet)
    if data[:1] != _ADTS[:1] or len(data) < 7 or data[1] & _ADTS[1] != _ADTS[1]:
        return data
    return data[7:] if data[1] & 1 else data[9:]  # without and with a checksum
