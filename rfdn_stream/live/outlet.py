"""A sink on a thread of its own: it gets the newest frame when it is ready for one, and holds nobody up."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from rfdn_stream.frame import VideoInfo
from rfdn_stream.live.base import Shot, Sink
from rfdn_stream.live.meter import Window
from rfdn_stream.media.reader import CopiedPacket
from rfdn_stream.upscaler import Output

PACKETS = 512  # of audio that wait for a sink at most: about ten seconds
log = logging.getLogger("rfdn_stream")

_LOOK = 0.1  # seconds between looks at whether the viewer has left


class Outlet:
    """Opens, feeds and finishes a sink. Nothing here waits for the sink but `finish`.

    Attributes:
        lasting: as the sink's.
        wanted: the output that the sink would like, or why it cannot be had.
        ready: done when it is open.
        failure: why it has ended early.
        closed: its viewer has left.
        finished: it was completed.
        shown: frames shown, with their latency; `lags`: seconds from made to shown.
        lost_packets: audio packets that came when `PACKETS` were waiting.
    """

    def __init__(self, sink: Sink) -> None:
        self.name, self.lasting = sink.name, sink.lasting
        self.wanted: Future[Output] = Future()
        self.ready: Future[None] = Future()
        self.failure: BaseException | None = None
        self.closed = self.finished = False
        self.shown, self.lags = Window(), Window()
        self.lost_packets = 0
        self._sink = sink
        self._agreed: Future[tuple[VideoInfo, Sequence[Any], tuple[int, int], Output]] = Future()
        self._shot: Shot | None = None
        self._packets: deque[CopiedPacket] = deque()
        self._ending = False
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    def start(self, info: VideoInfo) -> None:
        """Enters the sink, and asks what it wants."""
        self._info = info
        self._thread.start()

    def open(self, audio: Sequence[Any], size: tuple[int, int], output: Output) -> None:
        """Tells what was agreed on; `ready` tells when the sink has opened."""
        self._agreed.set_result((self._info, audio, size, output))

    def offer(self, shot: Shot) -> None:
        """The newest frame, in the place of one that waits."""
        with self._changed:
            self._shot = shot
            self._changed.notify()

    def copy(self, packet: CopiedPacket) -> None:
        """An audio packet; the oldest one falls out where too many wait."""
        with self._changed:
            if len(self._packets) == PACKETS:
                self._packets.popleft()
                self.lost_packets += 1
            self._packets.append(packet)
            self._changed.notify()

    def end(self) -> None:
        """Nothing more will come: the sink is to be finished after what waits."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._agreed.cancel()

    def join(self, patience: float | None = None) -> bool:
        """Whether the sink's work has ended within `patience` seconds.

        By an event, as a `Thread.join` that Ctrl-C interrupts takes its thread for ended (Python 3.12).
        """
        return self._thread.ident is None or self._over.wait(patience)

    @property
    def alive(self) -> bool:
        return self.failure is None and not self.closed

    def _run(self) -> None:
        try:
            with self._sink as sink:
                self.wanted.set_result(sink.wants(self._info))
                if not self._wait_for_agreement():
                    return
                info, audio, size, output = self._agreed.result()
                sink.listen(audio)
                sink.open(info, size, output)
                for note in sink.notes:
                    log.info("%s: %s", self.name, note)
                self.ready.set_result(None)
                while self._feed(sink):
                    pass
                sink.finish()
                self.finished = True
        except BaseException as failure:  # noqa: BLE001 - the session's to judge
            self.failure = failure
            for future in (self.wanted, self.ready):
                if not future.done():
                    future.set_exception(failure)
        finally:
            self._over.set()

    def _wait_for_agreement(self) -> bool:
        """Whether there is one; False = the session ended before."""
        agreed = threading.Event()
        self._agreed.add_done_callback(lambda _: agreed.set())
        agreed.wait()
        return not self._agreed.cancelled()

    def _feed(self, sink: Sink) -> bool:
        """Gives the sink what waits; whether there will be more."""
        with self._changed:
            self._changed.wait_for(lambda: self._shot or self._packets or self._ending, _LOOK)
            shot, self._shot = self._shot, None
            packets, self._packets = self._packets, deque()
            ending = self._ending
        for packet in packets:
            sink.copy(packet)
        if shot is not None:
            sink.show(shot)
            if not shot.repeated:
                now = time.monotonic()
                self.shown.add(now, now - shot.captured)
                self.lags.add(now, now - shot.made)
        if sink.closed:
            self.closed = True
        return not ending and not self.closed
