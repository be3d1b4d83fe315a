"""Parts of a live session whose timing and faults the test decides."""

import threading
import time
import weakref
from contextlib import contextmanager
from fractions import Fraction

import torch

from rfdn_stream.errors import MediaError
from rfdn_stream.frame import VideoInfo
from rfdn_stream.live.base import Captured, SourceLost
from support import random_frame

SIZE = (16, 12)
RATE = 25


class InstantEngine:
    """The Engine contract in no time: each pixel becomes four. `gate` holds it up while it is cleared."""

    scale, precision, description = 2, "fp32", "instant"

    def __init__(self, takes=0.0):
        self.takes = takes
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, rgb):
        self.gate.wait()
        if self.takes:
            time.sleep(self.takes * rgb.shape[1] * rgb.shape[2] / (SIZE[0] * SIZE[1]))
        return torch.repeat_interleave(torch.repeat_interleave(rgb, 2, 1), 2, 2)


def frame(number, *, size=SIZE, format="yuv420p", black=False):
    """A frame that tells its number."""
    made = random_frame(format, *size, seed=number % 7, pts=number)
    made.planes[0][...] = 16 if black else 30 + number % 200
    return made


class ScriptedSource:
    """Plays items, one source after the other: frames, packets, seconds to wait, events to wait for, exceptions.

    Args:
        rounds: an iterable of items for each time that it is opened; none left = it cannot be opened.
    """

    name = "scripted"

    def __init__(self, *rounds, audio=(), pace=0.0):
        self.rounds, self.audio, self.pace = iter(rounds), audio, pace
        self.opened = self.closed = 0
        self.alive = 0  # frames whose samples somebody still holds

    def __call__(self):
        return self

    def __enter__(self):
        items = next(self.rounds, None)
        if items is None:
            raise MediaError("the source cannot be opened")
        self.opened += 1
        self._items = iter(items)
        first = next(self._items)
        if isinstance(first, Exception):
            raise first
        self._first = first
        self.info = VideoInfo(
            first.width, first.height, first.format, first.color, "test", first.time_base, Fraction(RATE), 0, None
        )
        return self

    def __exit__(self, *_):
        self.closed += 1

    def read(self):
        while True:
            item, self._first = self._first or next(self._items, None), None
            if item is None:
                return None
            if isinstance(item, Exception):
                try:
                    raise item
                finally:
                    del item  # else it would hold itself, and all that it has passed through
            if isinstance(item, float):
                time.sleep(item)
            elif isinstance(item, threading.Event):
                item.wait()
            elif hasattr(item, "planes"):
                if self.pace:
                    time.sleep(self.pace)
                self.alive += 1
                weakref.finalize(item.planes[0], self._let_go)
                return Captured(item, time.monotonic())
            else:
                return item

    def _let_go(self):
        self.alive -= 1


class RecordingSink:
    """Keeps what it is given (but not the pixels, unless asked), and misbehaves as told.

    Args:
        stall: called with the number of each shot before it is taken.
        closes_at: the viewer leaves after so many.
    """

    def __init__(self, name="recorder", *, stall=lambda number: None, keep=False, closes_at=None):
        self.name, self._stall, self._keep, self.closes_at = name, stall, keep, closes_at
        self.lasting = False
        self.times, self.notes, self.repeated, self.shots, self.packets, self.heard = [], [], [], [], [], ()
        self.calls, self.threads = [], set()
        self.closed = self.finished = False

    def _called(self, what):
        self.threads.add(threading.get_ident())
        self.calls.append(what)

    def __enter__(self):
        self._called("enter")
        return self

    def __exit__(self, *_):
        self._called("exit")

    def wants(self, info):
        self._called("wants")
        return info.format, info.color

    def listen(self, audio):
        self._called("listen")
        self.heard = tuple(audio)

    def open(self, info, size, output):
        self._called("open")
        self.info, self.size, self.output = info, size, output

    def show(self, shot):
        self.threads.add(threading.get_ident())
        self._stall(len(self.times))
        assert (shot.frame.width, shot.frame.height) == self.size
        assert shot.frame.format == self.output[0]
        self.times.append(shot.frame.seconds)
        self.notes.append(shot.note)
        self.repeated.append(shot.repeated)
        if self._keep:
            self.shots.append(shot)
        self.closed = self.closes_at is not None and len(self.times) >= self.closes_at

    def copy(self, packet):
        self.packets.append(packet)

    def finish(self):
        self._called("finish")
        self.finished = True


class Turns:
    """Lets a source go on only when its frame has been shown, so that none is passed over whatever the machine does."""

    def __init__(self):
        self._shown = threading.Event()

    def frames(self, items):
        """The items for a ScriptedSource; after each frame it waits."""
        for item in items:
            yield item
            if hasattr(item, "planes"):
                assert self._shown.wait(30), "a frame was never shown"
                self._shown.clear()

    def shown(self, number):
        """To be a RecordingSink's `stall`."""
        self._shown.set()


def lost():
    """A new one each time: an exception keeps what it has passed through."""
    return SourceLost("scripted is gone")


@contextmanager
def no_thread_left():
    """Every thread of a session has ended when the block is left."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left
