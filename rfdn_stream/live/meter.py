"""What a session measures of itself: rates and latencies over the last seconds. The caller tells the time."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass

SPAN = 3.0


class Window:
    """Values of the last `span` seconds. Usable from several threads.

    Attributes:
        count: of all values ever.
    """

    def __init__(self, span: float = SPAN) -> None:
        self._span = span
        self._values: deque[tuple[float, float]] = deque()
        self._lock = threading.Lock()
        self._begun: float | None = None
        self.count = 0

    def add(self, now: float, value: float = 0.0) -> None:
        """One more."""
        with self._lock:
            self._begun = now if self._begun is None else self._begun
            self.count += 1
            self._values.append((now, value))
            self._forget(now)

    def values(self, now: float) -> list[float]:
        """Of the last `span` seconds, the oldest first."""
        with self._lock:
            self._forget(now)
            return [value for _, value in self._values]

    def rate(self, now: float) -> float:
        """Values a second."""
        with self._lock:
            self._forget(now)
            if self._begun is None or now <= self._begun:
                return 0.0
            # Of the very first values, the intervals count.
            first = self._begun > now - self._span
            return (len(self._values) - first) / min(self._span, now - self._begun)

    def _forget(self, now: float) -> None:
        while self._values and self._values[0][0] <= now - self._span:
            self._values.popleft()


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all do not exceed (nearest rank); 0 where there are none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True)
class Status:
    """How a session is doing.

    Args:
        seconds: since its first frame.
        arrived, made, shown: frames that came in, went through the network or the resampler, and were shown by the
            first sink, ever.
        fps_in, fps_out: of the last seconds; out = shown by the first sink.
        p50, p95: latency of the same frames, from the moment they were complete on this machine to the end of `show`,
            in seconds.
        dropped: share of the frames that came in the last seconds and were not shown.
        step: of the ladder; "" = the first.
        note: what a viewer is told.
    """

    seconds: float
    arrived: int
    made: int
    shown: int
    fps_in: float
    fps_out: float
    p50: float
    p95: float
    dropped: float
    step: str
    note: str
