"""Recordings joined end to end in one MPEG file, each with times of its own: made to follow one another."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from rfdn_stream.media.frames import fraction

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

_FORMATS = frozenset({"mpegts", "mpeg"})  # made to be joined so
# Seconds; decoding times of a stream never run backwards in one recording, but for what rounding does.
_STEP_BACK = Fraction(1, 10)


class Joins:
    """Moves packets behind a join, so that they go on where the recording before it ended.

    Streams cross a join one after the other, as the last packet of each comes late; all are moved alike.

    Args:
        muxer: FFmpeg's name of the container; others than MPEG's are left alone.
    """

    def __init__(self, muxer: str) -> None:
        self._active = muxer in _FORMATS
        self._shifts = [Fraction(0)]  # of each recording
        self._recordings: dict[int, int] = {}  # which one a stream is in
        self._ends: dict[int, Fraction] = {}
        self.notes: list[str] = []

    def move(self, packet: Packet[Stream]) -> None:
        """Moves one packet; packets come in the file's order."""
        base, index = fraction(packet.time_base), packet.stream_index
        if not self._active or base is None:
            return
        recording = self._recordings.setdefault(index, len(self._shifts) - 1)
        if packet.dts is not None:
            time = packet.dts * base
            if time + self._shifts[recording] < self._ends.get(index, time) - _STEP_BACK:
                recording = self._recordings[index] = recording + 1
                if recording == len(self._shifts):
                    self._begin(max(self._ends.values()), time)
            self._ends[index] = time + self._shifts[recording] + (packet.duration or 0) * base
        if ticks := round(self._shifts[recording] / base):
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks

    def _begin(self, end: Fraction, time: Fraction) -> None:
        """A recording whose first packet is of `time` follows one that ended at `end`."""
        self._shifts.append(end - time)
        self.notes.append(f"another recording begins at {float(end):.3f} s; its times go on from there")
