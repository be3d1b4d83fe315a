"""The newest frame through the network, again and again: the part of a session between source and sinks.

Two threads: one sends frames, one claims them. A frame is sent just before the one before it leaves the network, so
that its upload, and the other's download, run beside the network, and yet it is the newest there is: one that was
sent earlier would wait in the ring while newer ones come.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rfdn_stream.errors import DeviceError, RfdnError
from rfdn_stream.frame import Frame
from rfdn_stream.live.base import Captured, Shot
from rfdn_stream.live.fit import fitted
from rfdn_stream.live.ladder import FULL, Ladder, Made, Step
from rfdn_stream.live.mailbox import Mailbox
from rfdn_stream.live.quick import can_enlarge, enlarged
from rfdn_stream.ticket import Ticket
from rfdn_stream.upscaler import Output, Upscaler

log = logging.getLogger("rfdn_stream")

IN_FLIGHT = 2
_LEAD = 0.005  # seconds before the network is free that the next frame is sent, at most
_LEAD_SHARE = 0.3  # the same, of what a frame takes
_LONG = 0.05  # seconds from which on a frame is sent when the network is free: copies are nothing beside it
_FAILURES = 30  # frames in a row that may fail


@dataclass(frozen=True)
class Flight:
    """A frame on its way; `ticket` is the frame itself where the device was not asked."""

    ticket: Ticket | Frame
    captured: Captured
    step: Step
    sent: float


class Pump:
    """Takes frames by `put`, gives them to `on_shot` on a thread of its own.

    Args:
        upscaler: with steps in its engines; `plans` are theirs (`stepped.put_steps_in`).
        output: format and colour of what is made.
        size: (width, height) that every frame is brought to before the network.
        ladder: chooses the step; None = always the first.
        on_shot: gets each frame, with an empty note.
        lag: seconds that showing takes, which count against the ladder's bound.

    Attributes:
        made: frames made so far.
        failure: why no more frames are made; `ended`: set when there will be none, for this or any other reason.
        step: the present one.
    """

    def __init__(
        self,
        upscaler: Upscaler,
        plans: deque[Step],
        output: Output,
        size: tuple[int, int],
        ladder: Ladder | None,
        on_shot: Callable[[Shot], None],
        lag: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._upscaler, self._plans, self._output, self._size = upscaler, plans, output, size
        self._ladder, self._on_shot, self._lag = ladder, on_shot, lag
        self._inbox: Mailbox[Captured] = Mailbox()
        self._flying: queue.SimpleQueue[Flight | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._in_flight, self._due, self._failed = 0, 0.0, 0
        self._takes: dict[Step, float] = {}  # seconds on the device, by step
        self._seen = (0.0, 0.0)  # of the upscaler's work
        self._stopped = False
        self.made = 0
        self.failure: BaseException | None = None
        self.ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=work.__name__.strip("_"), daemon=True)
            for work in (self._send, self._claim)
        ]

    @property
    def step(self) -> Step:
        return FULL if self._ladder is None else self._ladder.step

    @property
    def arrived(self) -> int:
        """Frames put in so far."""
        return self._inbox.put_in

    @property
    def replaced(self) -> int:
        """Frames that were replaced by newer ones before they were sent."""
        return self._inbox.replaced

    def start(self) -> None:
        """Begins to send."""
        for thread in self._threads:
            thread.start()

    def put(self, captured: Captured) -> None:
        """The newest frame; never waits."""
        if not self._inbox.put(captured) and self._ladder is not None:
            with self._room:
                self._ladder.missed(time.monotonic())

    def end(self) -> None:
        """No more frames will come; `ended` is set when the last one is made."""
        self._inbox.end()

    def stop(self) -> None:
        """Ends at once; what is in flight is left behind."""
        with self._room:
            self._stopped = True
            self._room.notify_all()
        self._inbox.end()
        self._flying.put(None)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001 - raised by the session
            if not self._stopped:
                self.failure = self.failure or failure
            self.stop()
        if work == self._claim or self._stopped:
            self.ended.set()

    def _send(self) -> None:
        while not self._stopped:
            self._wait_for_room()
            captured = self._inbox.take()
            if captured is None or self._stopped:
                break
            captured = Captured(fitted(captured.frame, self._size), captured.at)
            now = time.monotonic()
            step = self._plan(now)
            with self._room:
                self._in_flight += 1
                self._due = max(now, self._due if self._in_flight > 1 else 0.0) + self._takes.get(step, 0.0)
            self._flying.put(Flight(self._made_by(step, captured.frame), captured, step, now))
        self._flying.put(None)

    def _made_by(self, step: Step, frame: Frame) -> Ticket | Frame:
        if step.quick and can_enlarge(frame, self._output):
            return enlarged(frame, self._upscaler.scale)
        self._plans.append(step)
        # A still picture is made anew until nothing is given up for it.
        ticket = self._upscaler.submit(frame, self._output, fresh=step != FULL)
        if ticket.repeats:
            self._plans.pop()  # the engine is not asked
        return ticket

    def _wait_for_room(self) -> None:
        """Until nothing is in flight, or the network is about to be free."""
        with self._room:
            while not self._stopped and self._in_flight:
                took = max(self._takes.values(), default=0.0)
                rest = None
                if self._in_flight < IN_FLIGHT and took < _LONG:
                    rest = self._due - time.monotonic() - min(_LEAD, _LEAD_SHARE * took)
                    if rest <= 0:
                        return
                self._room.wait(rest)

    def _plan(self, now: float) -> Step:
        if self._ladder is None:
            return FULL
        with self._room:
            return self._ladder.plan(now)

    def _claim(self) -> None:
        while (flight := self._flying.get()) is not None:
            try:
                frame = flight.ticket if isinstance(flight.ticket, Frame) else flight.ticket.result()
            except DeviceError:
                raise
            except RfdnError as failure:
                self._landed(flight, time.monotonic())
                self._tolerate(failure)
                continue
            made = time.monotonic()
            self._failed = 0
            self.made += 1
            self._landed(flight, made)
            self._on_shot(Shot(frame, flight.captured.frame, flight.captured.at, made))

    def _landed(self, flight: Flight, now: float) -> None:
        """There is room again; what the frame took is learnt."""
        work = self._upscaler.work
        seen, self._seen = self._seen, (work.network_seconds, work.colour_seconds)
        network, colour = self._seen[0] - seen[0], self._seen[1] - seen[1]
        with self._room:
            self._in_flight -= 1
            if isinstance(flight.ticket, Ticket) and flight.ticket.repeats:
                self._room.notify_all()  # there is nothing to learn from it
                return
            took = now - flight.sent if isinstance(flight.ticket, Frame) else network + colour
            if not flight.step.probe:  # of those, each is a step of its own
                before = self._takes.get(flight.step, took)
                self._takes[flight.step] = 0.7 * before + 0.3 * took
            if self._ladder is not None:
                latency = now - flight.captured.at + self._lag()
                if moved := self._ladder.made(Made(now, latency, took, network, flight.step)):
                    name = self._ladder.step.name or "everything through the network"
                    log.warning("to stay in time: %s", name) if moved > 0 else log.info("there is time again: %s", name)
            self._room.notify_all()

    def _tolerate(self, failure: RfdnError) -> None:
        self._failed += 1
        if self._failed == 1:
            log.warning("a frame is lost: %s", str(failure))
        if self._failed >= _FAILURES:
            raise failure
