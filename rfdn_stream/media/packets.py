"""An encoder's packets of one part of a video, in a file of their own until all parts are joined.

Records of a fixed head (times, flags, size, CRC-32) and the packet. No container keeps all of that: NUT takes no times
below 0 and no durations, Matroska no decoding times, MP4 nothing that was not finished.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from av.packet import Packet

from rfdn_stream.errors import MediaError

_MAGIC = b"rfdn-packets 1\n"
_HEAD = struct.Struct("<qqBII")  # pts, duration, keyframe, size, crc


class PacketWriter:
    """Writes such a file. To be used in a ``with`` block; it is there, whole and on the disk, after `finish`.

    Every method raises MediaError where the file cannot be written.

    Attributes:
        bytes, checksum: of what is written so far.
        delay: packets by which decoding runs ahead of showing, at most; known after `finish`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        with self._writing():
            self._file = self._partial.open("wb")
        self.bytes = self.checksum = self.delay = 0
        self._times: list[int] = []
        self._write(_MAGIC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # what could not be written before cannot be now
            self._file.close()
        self._partial.unlink(missing_ok=True)

    def add(self, packet: Packet[Any]) -> None:
        """Writes one packet, in the order of decoding."""
        assert packet.pts is not None
        data = bytes(packet)
        self._times.append(packet.pts)
        self._write(_HEAD.pack(packet.pts, packet.duration or 0, packet.is_keyframe, len(data), zlib.crc32(data)))
        self._write(data)

    def finish(self) -> None:
        """Makes the file last, and gives it its name."""
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self.path)
        rank = {pts: place for place, pts in enumerate(sorted(self._times))}
        self.delay = max((place - rank[pts] for place, pts in enumerate(self._times)), default=0)

    def _write(self, data: bytes) -> None:
        with self._writing():
            self._file.write(data)
        self.bytes += len(data)
        self.checksum = zlib.crc32(data, self.checksum)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = "; free some space or write to another disk" if error.errno in (errno.ENOSPC, errno.EFBIG) else ""
            raise MediaError(f"cannot write {self.path}: {error.strerror}{hint}") from error


def checksum(path: Path) -> int:
    """Of a whole file, as `PacketWriter` counts it."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def joined(paths: Iterable[Path], delay: int, step: int) -> Iterator[Packet[Any]]:
    """The packets of parts that follow one another, with decoding times for all of them.

    An encoder's own would run backwards where parts meet. Those given here are the presentation times in order, so many
    packets late that none is decoded after it is shown.

    Args:
        delay: the largest of the parts'.
        step: ticks of a frame, for the decoding times before the first presentation time.

    Raises:
        MediaError: a file is damaged.
    """
    due: deque[int] = deque()
    for number, path in enumerate(paths):
        times = sorted(pts for pts, *_ in _records(path, skip=True))
        if number == 0:
            due.extend(times[0] - (delay - place) * step for place in range(delay))
        due.extend(times)
        for pts, duration, keyframe, data in _records(path):
            packet: Packet[Any] = Packet(data)
            packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts, due.popleft(), duration, keyframe
            yield packet


def _records(path: Path, *, skip: bool = False) -> Iterator[tuple[int, int, bool, bytes]]:
    """Times, flag and packet of each record; `skip` leaves the packets out."""
    with path.open("rb") as file:
        whole = file.read(len(_MAGIC)) == _MAGIC
        while whole and (head := file.read(_HEAD.size)):
            if len(head) < _HEAD.size:
                break
            pts, duration, keyframe, size, crc = _HEAD.unpack(head)
            if skip:
                file.seek(size, os.SEEK_CUR)
                yield pts, duration, bool(keyframe), b""
                continue
            data = file.read(size)
            if len(data) < size or zlib.crc32(data) != crc:
                break
            yield pts, duration, bool(keyframe), data
        else:
            if whole:
                return
    raise MediaError(f"the segment {path} is damaged; run the same command again to have it made anew")
