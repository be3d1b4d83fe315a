"""What a session gives up, step by step, to stay in time; and when it takes it back.

Pure arithmetic: whoever asks tells the time, so tests have a clock of their own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from rfdn_stream.live.meter import percentile

WINDOW = 1.0  # seconds that a verdict looks back
ROOM = 0.9  # of the time there is, what a step may take
AHEAD = 0.7  # the same, for the step above: only a step that fits well is tried
PATIENCE = 5.0  # seconds without trouble before a step up; doubled when it was a mistake
LONGEST = 80.0
PROBED_EVERY = 10.0  # seconds between looks, from the lowest step, at what the network would cost now
MISTAKE = 10.0  # seconds after a step up in which a step down means that it was one


@dataclass(frozen=True)
class Step:
    """A way to make frames.

    Args:
        name: for the user; "" = nothing is given up.
        part: of the input's width and height that the network sees.
        light: in a lighter precision than was asked for.
        every: the network takes every n-th frame, the others are resampled; 0 = all are.
        probe: what the network makes is only timed, and the frame is resampled.
        quick: frames are resized on the host (`quick`), and the device rests.
    """

    name: str = ""
    part: float = 1.0
    light: bool = False
    every: int = 1
    probe: bool = False
    quick: bool = False

    @property
    def cost(self) -> float:
        """Of the network's time for a whole frame, for a frame that the network takes: a guess, until measured."""
        return self.part**2 * (0.5 if self.light else 1.0) if self.every else 0.0


FULL = Step()
PLAIN = Step("resampled without the network", every=0)
QUICK = Step("resized without the network", every=0, quick=True)


def steps(*, light: str = "", quick: bool = False) -> tuple[Step, ...]:
    """The ladder from its top down.

    Args:
        light: names a lighter precision where there is one.
        quick: with `QUICK` at its foot.
    """
    full = replace(FULL, name=f"in {light}", light=True) if light else FULL
    also = f", in {light}" if light else ""
    three_quarters = replace(full, name=f"network at 3/4 size{also}", part=0.75)
    half = replace(full, name=f"network at half size{also}", part=0.5)
    alternating = replace(half, name=f"network at half size{also}, every second frame", every=2)
    return (FULL, *([full] if light else []), three_quarters, half, alternating, PLAIN, *([QUICK] if quick else []))


@dataclass(frozen=True)
class Made:
    """What is known of a frame once it is made; times in seconds.

    Args:
        at: when.
        latency: since it was captured.
        busy: that the device worked on it.
        network: of these, in the network, or in the resampler where that made it.
        step: how it was made.
    """

    at: float
    latency: float
    busy: float
    network: float
    step: Step


class Ladder:
    """Decides on the step.

    Args:
        rungs: the steps from the top down; the last one is taken whatever it costs.
        latency: seconds from capture to show that must hold.
        rate: frames a second that must hold; of a slower source, its own.

    Attributes:
        step: the present one.
    """

    def __init__(self, rungs: tuple[Step, ...], latency: float, rate: float) -> None:
        self._rungs, self._latency, self._rate = rungs, latency, rate
        self._at = 0
        self._since = self._calm = self._measured = float("-inf")
        self._turn = 0
        self._went_up = float("-inf")
        self._patience = PATIENCE
        self._made: deque[Made] = deque()
        self._missed: deque[float] = deque()
        self._full: float | None = None  # seconds of the network for a whole frame
        self._plain = 0.0  # seconds of a frame without the network, all else included
        self._beside = 0.0  # seconds of latency that are not the device's

    @property
    def step(self) -> Step:
        return self._rungs[self._at]

    def begin(self, now: float, network: float, rest: float) -> None:
        """Chooses the first step by what was measured before the first frame.

        Args:
            network: seconds of the network for a whole frame; `rest`: of everything else on the device.
        """
        self._full, self._plain, self._measured = network, rest, now
        self._go(now, self._first_fitting(0))

    def made(self, frame: Made) -> int:
        """A frame was made; how many steps down (or, below 0, up) the next ones are."""
        now = frame.at
        self._learn(frame)
        self._beside += 0.3 * (max(0.0, frame.latency - frame.busy) - self._beside)
        self._made.append(frame)
        self._forget(now)
        before = self._at
        if self._in_trouble(now):
            self._down(now)
        elif now - self._calm >= self._patience and self._at and self._fits(self._above, AHEAD, self._arrivals):
            self._went_up = now
            self._go(now, self._at - 1)
        return self._at - before

    def plan(self, now: float) -> Step:
        """How the next frame is to be made."""
        step = self.step
        self._turn += 1
        if step.every > 1 and self._turn % step.every:
            return PLAIN
        if step.quick and now - self._measured >= PROBED_EVERY:
            self._measured = now
            return PLAIN
        if step is PLAIN and self._full is not None and now - self._measured >= PROBED_EVERY:
            self._measured = now
            # As much of a frame as the latency has room for: a small one is dearer for its size.
            return Step(part=min(0.5, (self._latency / 4 / max(self._full, 1e-6)) ** 0.5), probe=True)
        return step

    def missed(self, now: float) -> None:
        """A frame came and was replaced by a newer one before it was begun."""
        self._missed.append(now)

    def _learn(self, frame: Made) -> None:
        """Takes what a frame has cost into account; smoothed, so as not to follow every hiccup."""
        step = frame.step
        if step.quick:
            return
        if not step.every:
            self._plain = frame.busy if not self._plain else 0.7 * self._plain + 0.3 * frame.busy
            return
        seconds = max(0.0, frame.busy - self._plain) if step.probe else frame.network
        new = 1.0 if self._full is None else 0.5
        self._full = (1 - new) * (self._full or 0.0) + new * seconds / step.cost
        self._measured = frame.at

    def _in_trouble(self, now: float) -> bool:
        last = self._made[-1]
        if last.latency > 2 * self._latency and last.busy > self._latency:
            return True
        if now - self._since < WINDOW / 2 or len(self._made) < 3:
            return False
        if percentile([frame.latency for frame in self._made], 0.95) > self._latency:
            return True
        span = min(WINDOW, now - self._since)
        if sum(frame.busy for frame in self._made) < span / 2:
            return False  # what was lost was not lost for want of time: it came in bursts
        arrived = len(self._made) + len(self._missed)
        return len(self._made) < ROOM * min(self._rate * span, arrived) - 1

    def _down(self, now: float) -> None:
        if self._at == len(self._rungs) - 1:
            return
        if now - self._went_up < MISTAKE:
            self._patience = min(2 * self._patience, LONGEST)
        elif now - self._calm > 2 * LONGEST:
            self._patience = PATIENCE
        self._go(now, self._first_fitting(self._at + 1))

    def _first_fitting(self, start: int) -> int:
        last = len(self._rungs) - 1
        return next((i for i in range(start, last) if self._fits(self._rungs[i], ROOM, self._rate)), last)

    @property
    def _above(self) -> Step:
        return self._rungs[self._at - 1]

    @property
    def _arrivals(self) -> float:
        """Frames a second that come, if fewer than must hold: sources declare more than they give in the dark."""
        times = sorted([*(frame.at for frame in self._made), *self._missed])
        span = times[-1] - times[0] if times else 0.0
        return min(self._rate, (len(times) - 1) / span) if span else self._rate

    def _fits(self, step: Step, room: float, rate: float) -> bool:
        """Whether a step holds what must hold at a rate, by what is known of its cost."""
        if self._full is None:
            return True
        network = self._full * step.cost + self._plain
        each = (network + (step.every - 1) * self._plain) / step.every if step.every else self._plain
        return each * rate <= room and network + min(self._beside, network) <= room * self._latency

    def _go(self, now: float, rung: int) -> None:
        self._at, self._since, self._calm = rung, now, now
        self._made.clear()
        self._missed.clear()

    def _forget(self, now: float) -> None:
        while self._made and self._made[0].at <= now - WINDOW:
            self._made.popleft()
        while self._missed and self._missed[0] <= now - WINDOW:
            self._missed.popleft()
