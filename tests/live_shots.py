"""Shots for the sinks: a moving pattern, before and after of known colours, paced by the test."""

import threading
import time
from fractions import Fraction
from functools import lru_cache

import numpy as np

from rfdn_stream.frame import FORMATS, RGB_FULL, ColorSpec, Frame, VideoInfo
from rfdn_stream.kernels import reference
from rfdn_stream.live.base import Shot

BEFORE, AFTER = (200, 40, 40), (40, 160, 220)
"""The grounds of the two pictures, in RGB."""


def flat(colour, size, format="rgb24", *, number=0, pts=None, time_base=Fraction(1, 1000)):
    """A picture of one colour, with a white bar whose column is the number."""
    made, color = FORMATS[format], RGB_FULL if FORMATS[format].family == "rgb" else ColorSpec()
    planes = _planes(colour, size, format, number * 2 % (size[0] - 2))
    return Frame(planes, made, *size, color, pts, time_base)


@lru_cache(200)
def _planes(colour, size, format, bar):
    """Made once: in double precision they would keep a processor busy beside the sink that is tested."""
    made, color = FORMATS[format], RGB_FULL if FORMATS[format].family == "rgb" else ColorSpec()
    rgb = np.empty((size[1], size[0], 3), np.uint8)
    rgb[...] = colour
    rgb[:, bar : bar + 2] = 255
    planes = (rgb,)
    if format != "rgb24":
        planes = tuple(reference.quantise(reference.from_rgb(np.moveaxis(rgb, 2, 0) / 255, made, color), made))
    for plane in planes:
        plane.flags.writeable = False
    return planes


def shot(number=0, *, size=(64, 48), format="rgb24", before="yuv420p", captured=None, pts=None, note=""):
    """A frame of `size` (the enlarged one) and the half of it that it was made of."""
    now = time.monotonic()
    captured = now - 0.02 if captured is None else captured
    half = size[0] // 2, size[1] // 2
    source = flat(BEFORE, half, before, number=number, pts=pts)
    return Shot(flat(AFTER, size, format, number=number, pts=pts), source, captured, now, note)


def info(size=(32, 24), format="yuv420p", rate=25, aspect=Fraction(1)):
    """Of the source that `shot` shows by default; `aspect` is that of its pixels."""
    color = RGB_FULL if FORMATS[format].family == "rgb" else ColorSpec()
    times = Fraction(1, 1000), Fraction(rate), 0, None
    return VideoInfo(*size, FORMATS[format], color, "rawvideo", *times, sample_aspect_ratio=aspect)


class Feed:
    """Shows shots to a sink from a thread, at a pace, until left.

    Attributes:
        failure: what `show` raised, which also ends it.
    """

    def __init__(self, sink, pace=0.04, **options):
        self._sink, self._pace, self._options = sink, pace, options
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.shown, self.failure = 0, None

    def _run(self):
        start = time.monotonic()
        while not self._end.wait(self._pace):
            try:
                pts = round((time.monotonic() - start) * 1000)
                self._sink.show(shot(self.shown, pts=pts, **self._options))
            except Exception as failure:  # noqa: BLE001 - the test looks at it
                self.failure = failure
                return
            self.shown += 1

    def wait(self, seconds=20):
        """Until it ended by itself."""
        self._thread.join(seconds)
        assert not self._thread.is_alive()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def until(condition, seconds=20):
    """Waits for a condition; the value that made it true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
    return value
