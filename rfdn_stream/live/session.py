"""A live session, from the source to the sinks, in time:

    source -> [newest] -> upload, network, download -> [newest] -> sink
                                                    -> [newest] -> sink

The source, the network and every sink have threads of their own. What is too late is replaced by what is newer, and
nothing queues; so a slow network, a stalled sink and a stalled source cost frames, never time or memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import VideoInfo
from rfdn_stream.live.base import Captured, Shot, Sink, Source
from rfdn_stream.live.capture import Capture
from rfdn_stream.live.ladder import Ladder, steps
from rfdn_stream.live.meter import SPAN, Status, Window, percentile
from rfdn_stream.live.outlet import Outlet
from rfdn_stream.live.pump import Pump
from rfdn_stream.live.stepped import Twin, put_steps_in
from rfdn_stream.live.warmup import measure
from rfdn_stream.upscaler import Upscaler

log = logging.getLogger("rfdn_stream")

TICK = 0.05  # seconds between looks at how things are
TOLD_EVERY = 0.25  # seconds between two statuses
REPEATED_EVERY = 0.2  # seconds between repeated shots while the source is lost
PATIENCE = 0.6  # seconds that an interrupted session gives its sinks to finish
FASTEST = 30.0  # frames a second that must hold where the user does not say


@dataclass(frozen=True)
class LiveOptions:
    """What a user can choose of a session.

    Args:
        latency: seconds from a frame's capture to its show that must hold.
        fps: frames a second that must hold; None = the source's, up to `FASTEST`.
        degrade: a machine that cannot hold them goes down the ladder; else frames are dropped.
        duration: seconds after which the session ends; None = never.
        patient: a source that is not there at the beginning is waited for.
    """

    latency: float = 0.2
    fps: float | None = None
    degrade: bool = True
    duration: float | None = None
    patient: bool = False


class Session:
    """Runs from `run` to its end: the source's, the viewer's, the duration's, Ctrl-C, or an error.

    Args:
        make: makes the source; called anew where it was lost.
        upscaler: of depth 2 or more; its engine gets steps, and it stays the caller's to close.
        sinks: one or more, not yet entered. The first one chooses the format, and its latency is told.
        light: what users call a lighter precision, and what makes an engine in it; None = there is none.
        on_status: told how things are, on the thread of `run`.
        on_begin: told the source and the output size when both are settled, on the same thread.
    """

    def __init__(
        self,
        make: Callable[[], Source],
        upscaler: Upscaler,
        sinks: Sequence[Sink],
        options: LiveOptions | None = None,
        *,
        light: tuple[str, Twin] | None = None,
        on_status: Callable[[Status], None] = lambda status: None,
        on_begin: Callable[[VideoInfo, tuple[int, int]], None] = lambda info, size: None,
    ) -> None:
        self._upscaler, self._options, self._light = upscaler, options or LiveOptions(), light
        self._on_status, self._on_begin = on_status, on_begin
        self._capture = Capture(make, self._arrived, self._pass_on, patient=self._options.patient)
        self._outlets = [Outlet(sink) for sink in sinks]
        self._pump: Pump | None = None
        self._arrivals = Window()
        self._emitting = threading.Lock()
        self._last: Shot | None = None
        self._emitted = 0.0
        self._size_note = ""
        self._interrupted = False
        self._lost: BaseException | None = None  # why the first sink that was to last something has not

    def run(self) -> Status:
        """Runs the session, and finishes the sinks however it ends; how it was at the end.

        Raises:
            RfdnError: the source or every sink failed, or a recording could not be completed.
        """
        failure: BaseException | None = None
        try:
            self._begin()
            self._watch()
        except KeyboardInterrupt:
            self._interrupted = True
        except BaseException as error:  # noqa: BLE001 - raised below, after the sinks are finished
            failure = error
        status = self._status(time.monotonic())
        while True:
            try:
                self._finish(failure)
                break
            except KeyboardInterrupt:
                if self._interrupted:  # a second time: at once
                    self._lost = self._lost or self._given_up()
                    break
                self._interrupted = True
        if failure is not None:
            raise failure
        if self._lost is not None:
            raise self._lost
        return replace(status, shown=self._outlets[0].shown.count) if self._outlets else status

    def _begin(self) -> None:
        """Opens the source, the sinks and the way between them."""
        self._capture.start()
        self._info, audio = self._wait(self._capture.opened)
        size = self._upscaler.scale * self._info.width, self._upscaler.scale * self._info.height
        for text in unheeded(self._info):
            log.warning(text)
        for outlet in self._outlets:
            outlet.start(self._info)
        outputs = [self._wait(outlet.wanted) for outlet in self._outlets]
        plans = put_steps_in(self._upscaler, self._light[1] if self._light else None)
        ladder = self._ladder(quick=outputs[0] == (self._info.format, self._info.color))
        measured = _in_background(partial(measure, self._upscaler, plans, self._info, outputs[0]))
        for outlet in self._outlets:
            outlet.open(audio, size, outputs[0])
        network, plain = self._wait(measured)
        if ladder is not None:
            ladder.begin(time.monotonic(), network, plain)
            if ladder.step.name:
                log.warning("this machine is too slow for the network in full: %s", ladder.step.name)
        for outlet in self._outlets:
            self._wait(outlet.ready)
        frame = self._info.width, self._info.height
        self._begun = time.monotonic()
        self._pump = Pump(self._upscaler, plans, outputs[0], frame, ladder, self._emit, self._lag)
        self._on_begin(self._info, size)
        self._pump.start()
        self._capture.go.set()

    def _ladder(self, *, quick: bool) -> Ladder | None:
        options = self._options
        if not options.degrade:
            return None
        rate = options.fps or min(FASTEST, float(self._info.rate))
        rungs = steps(light=self._light[0] if self._light else "", quick=quick)
        return Ladder(rungs, options.latency, rate)

    def _watch(self) -> None:
        """Until something ends the session."""
        told = self._begun
        assert self._pump is not None
        while True:
            self._pump.ended.wait(TICK)
            now = time.monotonic()
            if self._capture.ended.is_set():
                self._pump.end()
            if self._capture.lost and now - self._emitted >= REPEATED_EVERY:
                self._repeat(now)
            if now - told >= TOLD_EVERY:
                told = now
                self._on_status(self._status(now))
            if self._is_over(now):
                return

    def _is_over(self, now: float) -> bool:
        """Whether the session has come to its end; raises what went wrong."""
        assert self._pump is not None
        if self._pump.failure is not None:
            raise self._pump.failure
        for outlet in [outlet for outlet in self._outlets if outlet.failure is not None]:
            self._outlets.remove(outlet)
            assert outlet.failure is not None
            if not self._outlets:
                raise outlet.failure
            log.warning("%s is lost, the others go on: %s", outlet.name, str(outlet.failure))
            if outlet.lasting:
                self._lost = self._lost or outlet.failure
        if any(outlet.closed for outlet in self._outlets):
            return True
        if self._options.duration is not None and now - self._begun >= self._options.duration:
            return True
        if self._pump.ended.is_set():
            if self._capture.failure is not None:
                raise self._capture.failure
            return True
        return False

    def _finish(self, failure: BaseException | None) -> None:
        """Ends the threads. A sink gets the time it needs, but little after Ctrl-C, unless what it makes is to stay."""
        deadline = time.monotonic() + PATIENCE
        if self._pump is not None:
            self._pump.stop()
        for outlet in self._outlets:
            outlet.end()
        self._capture.stop(0.1)
        unfinished = []
        for outlet in self._outlets:
            hurried = self._interrupted or (failure is not None and not outlet.ready.done())
            if not self._joined(outlet, deadline if hurried else None):
                unfinished.append(outlet.name)
            elif outlet.failure not in (None, failure, self._lost) and (failure is None or self._pump is not None):
                if outlet.lasting and failure is None and self._lost is None:
                    self._lost = outlet.failure  # it is raised at the end
                else:
                    log.warning("%s: %s", outlet.name, str(outlet.failure))
        if unfinished:
            log.warning("left unfinished, as it did not answer in time: %s", ", ".join(unfinished))

    @staticmethod
    def _joined(outlet: Outlet, deadline: float | None) -> bool:
        while not outlet.join(TICK):
            if deadline is None or time.monotonic() < deadline:
                continue
            if not (outlet.lasting and outlet.ready.done()):
                return False
            log.warning("completing %s; Ctrl-C once more leaves it unfinished", outlet.name)
            deadline = None
        return True

    def _given_up(self) -> MediaError | None:
        """What to say of recordings that the user did not wait for."""
        lasting = [outlet for outlet in self._outlets if outlet.lasting and outlet.ready.done()]
        names = [outlet.name for outlet in lasting if not outlet.join(0)]
        return MediaError(f"left unfinished, as Ctrl-C came twice: {', '.join(names)}") if names else None

    def _arrived(self, captured: Captured) -> None:
        """On the source's thread: a frame has come."""
        assert self._pump is not None
        self._arrivals.add(captured.at)
        size = captured.frame.width, captured.frame.height
        usual = size == (self._info.width, self._info.height)
        note = "" if usual else f"the source is {size[0]}x{size[1]} now, resampled"
        if note != self._size_note:
            log.warning(note) if note else log.info("the source has its first size again")
            self._size_note = note
        self._pump.put(captured)

    def _pass_on(self, packet: object) -> None:
        """On the source's thread: an audio packet has come."""
        for outlet in list(self._outlets):
            outlet.copy(packet)  # type: ignore[arg-type]

    def _emit(self, shot: Shot) -> None:
        """Hands a frame to every sink, later than all before it."""
        with self._emitting:
            frame, last = shot.frame, self._last
            if last is not None and (frame.pts or 0) <= (last.frame.pts or 0):
                frame = replace(frame, pts=(last.frame.pts or 0) + 1)
            self._last = shot = replace(shot, frame=frame, note=self._note())
            self._emitted = time.monotonic()
            for outlet in list(self._outlets):
                outlet.offer(shot)

    def _repeat(self, now: float) -> None:
        """Shows the last frame again, at the present time, with what is the matter."""
        if (last := self._last) is not None:
            pts = round(self._capture.clock.now(now) / last.frame.time_base)
            self._emit(replace(last, frame=replace(last.frame, pts=pts), repeated=True))

    def _note(self) -> str:
        assert self._pump is not None
        notes = [
            f"{self._capture.lost}; trying again" if self._capture.lost else "",
            "the picture is black" if self._capture.black else "",
            self._size_note,
            self._pump.step.name,
        ]
        return "; ".join(note for note in notes if note)

    def _lag(self) -> float:
        """Seconds that the first sink takes to show a frame, as a rule."""
        return percentile(self._outlets[0].lags.values(time.monotonic()), 0.5) if self._outlets else 0.0

    def _status(self, now: float) -> Status:
        pump = self._pump
        if pump is None or not self._outlets:
            return Status(0.0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, "", "")
        shown, came = self._outlets[0].shown, self._arrivals.rate(now)
        latencies, out = shown.values(now), shown.rate(now)
        return Status(
            seconds=now - self._begun,
            arrived=self._arrivals.count,
            made=pump.made,
            shown=shown.count,
            fps_in=came,
            fps_out=out,
            p50=percentile(latencies, 0.5),
            p95=percentile(latencies, 0.95),
            dropped=max(0.0, 1 - out / came) if came and now - self._begun > SPAN / 2 else 0.0,
            step=pump.step.name,
            note=self._note(),
        )

    def _wait[T](self, future: Future[T]) -> T:
        """A result that another thread makes; Ctrl-C is heard meanwhile."""
        while True:
            if self._capture.failure is not None and future is not self._capture.opened:
                raise self._capture.failure
            try:
                return future.result(TICK)
            except TimeoutError:
                if future.done():  # it is the error of the work itself
                    raise


def unheeded(info: VideoInfo) -> list[str]:
    """What is peculiar about a source's pictures and is left as it is, in sentences for the user."""
    rotated = f"the source asks for a turn by {info.rotation} degrees; live shows it unturned"
    interlaced = "the source is interlaced and its lines are enlarged as they are; --deinterlace auto is better"
    return [text for text, is_so in ((rotated, info.rotation), (interlaced, info.interlaced)) if is_so]


def _in_background[T](work: Callable[[], T]) -> Future[T]:
    """Runs work on a thread that nobody need wait for."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as failure:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(failure)

    threading.Thread(target=run, name="warm-up", daemon=True).start()
    return future
