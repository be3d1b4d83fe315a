"""Finds missing synchronisation for certain, without waiting for it to go wrong.

Every agent (a stream, a host thread) has a vector clock; events and hand-overs between threads join
clocks. An access to a buffer is allowed only if it happens after the accesses that it conflicts with.
The books are kept on the enqueueing side, so that the verdict does not depend on timing: a forgotten edge
is found at its first use, where random delays find it about every second time.

Method: Lamport's happens-before with vector clocks, as in FastTrack (Flanagan, Freund, PLDI 2009).
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

Clock = dict[str, int]


class RaceError(AssertionError):
    """Two accesses to one buffer that nothing orders."""


@dataclass
class _History:
    """The last write and the reads since, each as (agent's clock value, what it was)."""

    writer: str | None = None
    written: tuple[int, str] = (0, "")
    reads: dict[str, tuple[int, str]] = field(default_factory=dict)


class HappensBefore:
    """The clocks of all agents and the history of all buffers of one device."""

    def __init__(self) -> None:
        self._clocks: defaultdict[str, Clock] = defaultdict(dict)
        self._buffers: WeakKeyDictionary[object, _History] = WeakKeyDictionary()
        self._lock = threading.Lock()

    @staticmethod
    def thread() -> str:
        """The calling host thread as an agent."""
        return f"host:{threading.get_ident()}"

    def snapshot(self, agent: str) -> Clock:
        """Advances the agent and returns what it knows: to be kept in an event or a hand-over."""
        with self._lock:
            return dict(self._tick(agent))

    def join(self, agent: str, clock: Clock) -> None:
        """The agent now happens after everything in `clock`."""
        with self._lock:
            known = self._clocks[agent]
            for other, time in clock.items():
                known[other] = max(known.get(other, 0), time)

    def access(self, agent: str, buffer: object, name: str, what: str, *, write: bool) -> None:
        """Enters an access; RaceError if it is unordered against an earlier one that it conflicts with."""
        with self._lock:
            clock, history = self._tick(agent), self._buffers.setdefault(buffer, _History())
            earlier = dict(history.reads) if write else {}
            if history.writer is not None:
                earlier[history.writer] = max(history.written, earlier.get(history.writer, (0, "")))
            for other, (time, before) in earlier.items():
                if other != agent and clock.get(other, 0) < time:
                    verb = "writes" if write else "reads"
                    raise RaceError(f"{what} on {agent} {verb} {name}, unordered after {before} on {other}")
            if write:
                history.writer, history.written, history.reads = agent, (clock[agent], what), {}
            else:
                history.reads[agent] = (clock[agent], what)

    def _tick(self, agent: str) -> Clock:
        clock = self._clocks[agent]
        clock[agent] = clock.get(agent, 0) + 1
        return clock
