"""The way of a frame through a file job, as one chain:

    source.items() -> [prefetch thread] -> submit -> pre kernel, network, post kernel -> claim -> sink.write

The source decodes on a thread of its own, the device computes on its streams, and the caller's thread
encodes: so decoding, the network and the encoder overlap. Everything in between is bounded: a few decoded
frames ahead, the ring's slots, and what the encoder itself holds.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from rfdn_stream.batch import Surface
from rfdn_stream.frame import Frame
from rfdn_stream.upscaler import Output, Upscaler

DECODED_AHEAD = 4


class Source(Protocol):
    """Gives frames, and between them the packets of other streams, in the order of the file."""

    def items(self) -> Iterator[Any]: ...


class Sink(Protocol):
    """Takes frames in order of time, and packets to pass on as they are."""

    def write(self, frame: Frame) -> None: ...

    def copy(self, packet: Any) -> None: ...


@dataclass
class Stages:
    """Where the caller's thread spent its time, in seconds: what it waited for most limits the job."""

    frames: int = 0
    decode: float = 0.0
    network: float = 0.0
    encode: float = 0.0

    @property
    def limit(self) -> str:
        """The stage that limits the speed: ``decode``, ``network`` or ``encode``."""
        return max(("decode", "network", "encode"), key=lambda stage: float(getattr(self, stage)))

    @contextmanager
    def spent_on(self, stage: str) -> Iterator[None]:
        """Adds the time of the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - start)


def run(
    source: Source,
    upscaler: Upscaler,
    sink: Sink,
    output: Output | None = None,
    on_frame: Callable[[Frame, Stages], None] = lambda frame, stages: None,
    surface: Surface = tuple,
) -> Stages:
    """Takes everything out of the source, through the network, into the sink.

    Args:
        output: format and colour of the frames for the sink; None = the source's.
        on_frame: called after each written frame, on the caller's thread; for its times, not its pixels.
        surface: where the next frame is to be made.

    Raises:
        Whatever a stage raises; then nothing is in flight any more but what the upscaler still holds.
    """
    stages = Stages()
    with closing(written(source, upscaler, sink, output, surface, stages)) as frames:
        for frame in frames:
            on_frame(frame, stages)
    return stages


def written(
    source: Source, upscaler: Upscaler, sink: Sink, output: Output | None, surface: Surface, stages: Stages
) -> Generator[Frame]:
    """`run`, a frame at a time: each as soon as it is written, for its times, not its pixels. To be closed.

    Args:
        stages: what the caller's time is added to.
    """
    with Prefetch(source.items(), DECODED_AHEAD) as items:
        frames = _copying_packets(items, sink, stages)
        for ticket in upscaler.in_flight(frames, output, surface):
            with stages.spent_on("network"):
                ticket.wait()
            with ticket as frame, stages.spent_on("encode"):
                sink.write(frame)
            stages.frames += 1
            yield frame


def _copying_packets(items: Iterable[Any], sink: Sink, stages: Stages) -> Iterator[Frame]:
    """Passes frames on; packets go straight to the sink, whose muxer interleaves by time."""
    waiting = iter(items)
    while True:
        with stages.spent_on("decode"):
            item = next(waiting, None)
        if item is None:
            return
        if isinstance(item, Frame):
            yield item
        else:
            with stages.spent_on("encode"):
                sink.copy(item)


class Prefetch:
    """Runs an iterator on a thread of its own, a bounded number of items ahead.

    Leaving the block ends the thread: after the item that it is working on, and never later.
    """

    _END = object()

    def __init__(self, items: Iterator[Any], ahead: int) -> None:
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=ahead)
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __iter__(self) -> Iterator[Any]:
        while (item := self._queue.get()) is not self._END:
            yield item
        self._queue.put(self._END)  # for __exit__
        if self._failure is not None:
            raise self._failure

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._stopped.set()
        # Taking out what is queued unblocks the thread, which always puts the end mark last.
        while self._queue.get() is not self._END:
            pass
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                self._queue.put(item)
                if self._stopped.is_set():
                    break
        except BaseException as failure:  # noqa: BLE001 - raised by the consumer's next step
            self._failure = failure
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._queue.put(self._END)
