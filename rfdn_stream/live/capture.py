"""The source on a thread of its own: opened, read, lost and opened again, on one running clock."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from rfdn_stream.errors import RfdnError
from rfdn_stream.frame import Frame, VideoInfo
from rfdn_stream.live.base import Captured, Source, SourceLost
from rfdn_stream.live.sources import Awaited
from rfdn_stream.media.reader import CopiedPacket

log = logging.getLogger("rfdn_stream")

BACK_OFF = (0.25, 0.5, 1.0, 2.0)  # seconds before each attempt to open a lost source again; the last one repeats
JUMP = 2.0  # seconds by which a source's own clock may leave ours before it is set anew
BLACK_AFTER = 2.0


class SessionClock:
    """Moves a source's times to the session's, which begins at 0 and never goes back.

    Where a source begins anew, or its clock jumps, its next frame follows the last one by as much as passed here.
    """

    def __init__(self) -> None:
        self._shift: Fraction | None = None  # seconds to be added; None = not known yet
        self._last: tuple[Fraction, float] | None = None  # the last frame's time, and when it came

    def anew(self) -> None:
        """The source was opened again."""
        self._shift = None

    def frame(self, captured: Captured, time_base: Fraction) -> Frame:
        """The frame at its place in the session, in units of `time_base`."""
        frame = captured.frame
        own = (frame.pts or 0) * frame.time_base
        if self._last is None:
            self._shift = -own
        else:
            last, came = self._last
            passed = Fraction(max(0.0, captured.at - came)).limit_denominator(1_000_000)
            step = None if self._shift is None else own + self._shift - last
            if step is None or step <= 0 or abs(step - passed) > JUMP:
                self._shift = last + max(passed, time_base) - own
        assert self._shift is not None
        time = own + self._shift
        self._last = time, captured.at
        duration = round(frame.duration * frame.time_base / time_base)
        return replace(frame, pts=round(time / time_base), time_base=time_base, duration=duration)

    def packet(self, copied: CopiedPacket) -> CopiedPacket | None:
        """The packet at its place; None where that is not known, or before the session's beginning."""
        packet = copied.packet
        base = Fraction(packet.time_base.numerator, packet.time_base.denominator)
        if self._shift is None or packet.pts is None or packet.pts * base + self._shift < 0:
            return None
        ticks = round(self._shift / base)
        packet.pts += ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        return copied

    def now(self, at: float) -> Fraction:
        """The session's time at a moment of `time.monotonic()`."""
        if self._last is None:
            return Fraction(0)
        last, came = self._last
        return last + Fraction(max(0.0, at - came)).limit_denominator(1_000_000)


class Capture:
    """Reads a source on a thread of its own until `stop`, or its real end, or an error.

    Args:
        make: makes the source, at the beginning and whenever it was lost.
        on_frame, on_packet: get what comes, on that thread.
        patient: a source that is not there at the beginning is waited for, too.

    Attributes:
        opened: (info, audio) of the source when it is open for the first time, or why it cannot be opened.
        lost: why there is no source at the moment; "" = there is one.
        black: the picture has been black for a while.
        losses: how often the source was lost.
        failure: why reading ended, if not at a real end.
        ended: set when there is nothing more to come.
    """

    def __init__(
        self,
        make: Callable[[], Source],
        on_frame: Callable[[Captured], None],
        on_packet: Callable[[CopiedPacket], None],
        *,
        patient: bool = False,
    ) -> None:
        self._make, self._on_frame, self._on_packet, self._patient = make, on_frame, on_packet, patient
        self.opened: Future[tuple[VideoInfo, Any]] = Future()
        self.go = threading.Event()  # set when frames are wanted
        self.clock = SessionClock()
        self.lost = ""
        self.black = False
        self.losses = 0
        self.failure: BaseException | None = None
        self.ended = threading.Event()
        self._stopped = threading.Event()
        self._waits = False  # for a sender, as was told
        self._dark_since: float | None = None
        # A daemon: no signal reaches a thread that waits inside a driver.
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Opens the source."""
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """Ends the thread; whether it was gone within `patience` seconds."""
        self._stopped.set()
        self.go.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._read_to_the_end()
        except BaseException as failure:  # noqa: BLE001 - raised by the session
            self.failure = failure
            if not self.opened.done():
                self.opened.set_exception(failure)
        finally:
            self.ended.set()

    def _read_to_the_end(self) -> None:
        """Opens the source and reads it, again and again, until it ends or the session does."""
        attempt = 0
        while not self._stopped.is_set():
            try:
                with self._make() as source:
                    self._is_there(source)
                    attempt = 0
                    self._read_all(source)
                return
            except RfdnError as failure:
                # What is not there yet may come, and so may anything once it was there.
                may_mend = isinstance(failure, SourceLost) or (self.opened.done() and self.lost)
                if not may_mend or not (self.opened.done() or self._patient):
                    raise
                awaited = isinstance(failure, Awaited)
                self._is_missing(str(failure), awaited)  # as a string, as a log that is kept would keep the last frame
            self.clock.anew()
            if awaited:  # whoever listens has waited, and comes too late to a sender while it does not listen
                attempt = 0
                continue
            self._stopped.wait(BACK_OFF[min(attempt, len(BACK_OFF) - 1)])
            attempt += 1

    def _is_there(self, source: Source) -> None:
        """The source is open, for the first time or again."""
        self.lost = ""
        if self.opened.done():
            log.info("the source is back after %.1f s", time.monotonic() - self._since)
        else:
            self._base = source.info.time_base
            self.opened.set_result((source.info, source.audio))
            self.go.wait()

    def _is_missing(self, why: str, awaited: bool) -> None:
        """The source is lost, or not there yet; `awaited`: it has not failed, but nobody has come."""
        if awaited:
            if not (self._waits or self.lost):
                log.info(why)
            self._waits = True
            return
        if not self.lost:
            self._since = time.monotonic()
            self.losses += self.opened.done()
            log.warning("%s; trying again", why)
        self.lost = why

    def _read_all(self, source: Source) -> None:
        while not self._stopped.is_set():
            item = source.read()
            if item is None:
                return
            if isinstance(item, CopiedPacket):
                if (packet := self.clock.packet(item)) is not None:
                    self._on_packet(packet)
            else:
                self._look(item)
                self._on_frame(Captured(self.clock.frame(item, self._base), item.at))

    def _look(self, captured: Captured) -> None:
        """Notices a picture that stays black: a lens cap, a source that sends nothing."""
        frame = captured.frame
        dark = is_black(frame)
        if not dark:
            if self.black:
                log.info("the picture is no longer black")
            self._dark_since, self.black = None, False
        elif self._dark_since is None:
            self._dark_since = captured.at
        elif not self.black and captured.at - self._dark_since >= BLACK_AFTER:
            self.black = True
            log.warning("the picture has been black for %g s; look at the source", BLACK_AFTER)


def is_black(frame: Frame) -> bool:
    """Whether a picture on the host is black, but for a little noise; looks at one sample in 64."""
    if not frame.planes:
        return False
    plane = frame.planes[0][::8, ::8]
    format, unit = frame.format, 1 << (frame.format.bits - 8 + frame.format.shift)
    floor = 16 * unit if format.family != "rgb" and frame.color.range == "limited" else 0
    return bool(np.max(plane) <= floor + 4 * unit)
