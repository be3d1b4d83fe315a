"""Which segments of a job are whole: one line each, only ever added to."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rfdn_stream.media.findings import Findings


@dataclass(frozen=True)
class Done:
    """A segment whose file is whole and on the disk, and what was found in it.

    Args:
        index: of the segment.
        frames: in its file.
        delay: packets by which decoding runs ahead of showing, at most.
        size, checksum: of its file, in bytes.
        header: what its encoder says before the first packet, as hexadecimal digits.
        findings: of its part of the source.
        reused, kept: frames that were the same as one before; what was still of others, as a number of whole frames.
    """

    index: int
    frames: int
    delay: int
    size: int
    checksum: int
    header: str
    findings: Findings = field(default_factory=Findings)
    reused: int = 0
    kept: float = 0.0

    def as_line(self) -> bytes:
        """A checksum and JSON."""
        text = json.dumps({**asdict(replace(self, findings=Findings())), "findings": self.findings.as_json()}).encode()
        return b"%08x %s\n" % (zlib.crc32(text), text)

    @classmethod
    def of_line(cls, line: bytes) -> Done | None:
        """What `as_line` made; None where it is damaged."""
        checksum, _, text = line.partition(b" ")
        try:
            if int(checksum, 16) != zlib.crc32(text):
                return None
            found = json.loads(text)
            return cls(**{**found, "findings": Findings.from_json(found["findings"])})
        except (ValueError, TypeError, KeyError):
            return None


class Journal:
    """The journal of a job. A line that a crash has torn is the last one, and is cut off before the next is written.

    Attributes:
        done: segments by index; of two lines the later counts.
        damaged: lines in the middle that say nothing; their segments are not taken for whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[int, Done] = {}
        self.damaged = 0
        data = path.read_bytes() if path.exists() else b""
        *lines, torn = data.split(b"\n")
        self._whole = len(data) - len(torn)
        for line in lines:
            if (found := Done.of_line(line)) is None:
                self.damaged += 1
            else:
                self.done[found.index] = found

    def add(self, done: Done) -> None:
        """Notes a segment."""
        with self.path.open("ab") as file:
            file.truncate(self._whole)
            file.write(done.as_line())
            file.flush()
            os.fsync(file.fileno())
            self._whole = file.tell()
        self.done[done.index] = done
