"""The chain: order, overlap, bounded memory, and every way to end."""

import threading

import pytest

from rfdn_stream.errors import MediaError
from rfdn_stream.pipeline import DECODED_AHEAD, Prefetch, Stages, run
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal, random_frame


class ListSource:
    """Frames and packets from a list; an exception in the list is raised."""

    def __init__(self, items):
        self._items = items
        self.given = 0
        self.closed = False

    def items(self):
        try:
            for item in self._items:
                if isinstance(item, Exception):
                    raise item
                self.given += 1
                yield item
        finally:
            self.closed = True


class ListSink:
    def __init__(self, fail_at=None):
        self.frames, self.packets, self.fail_at = [], [], fail_at

    def write(self, frame):
        if len(self.frames) == self.fail_at:
            raise MediaError("the disk is full")
        self.frames.append(frame.like(tuple(p.copy() for p in frame.planes), frame.layout, frame.color))

    def copy(self, packet):
        self.packets.append(packet)


@pytest.fixture(scope="module")
def upscaler(tiny_model):
    with Upscaler(tiny_model) as upscaler:
        yield upscaler


def test_every_frame_in_order_and_every_packet(upscaler):
    frames = [random_frame(seed=i, pts=i) for i in range(10)]
    items = [x for i, f in enumerate(frames) for x in (f, f"packet {i}")]
    sink, heard = ListSink(), []
    stages = run(ListSource(items), upscaler, sink, on_frame=lambda frame, stages: heard.append(frame.pts))
    assert heard == list(range(10))
    assert stages.frames == 10
    assert sink.packets == [f"packet {i}" for i in range(10)]
    for got, frame in zip(sink.frames, frames, strict=True):
        assert_frames_equal(got, upscaler.submit(frame).result())


def test_a_source_without_frames(upscaler):
    assert run(ListSource([]), upscaler, ListSink()).frames == 0


def test_a_failing_source_gives_what_it_had_and_then_its_error(upscaler):
    sink = ListSink()
    with pytest.raises(MediaError, match="gone"):
        run(ListSource([random_frame(pts=0), random_frame(pts=1), MediaError("gone")]), upscaler, sink)


def test_a_failing_sink_stops_the_source(upscaler):
    source = ListSource([random_frame(pts=i) for i in range(100)])
    with pytest.raises(MediaError, match="disk is full"):
        run(source, upscaler, ListSink(fail_at=2))
    assert source.closed
    assert source.given <= 2 + DECODED_AHEAD + upscaler.depth + 3
    assert not [t for t in threading.enumerate() if t.name == "decode"]


def test_prefetch_runs_ahead_but_not_far():
    source = ListSource(list(range(50)))
    with Prefetch(source.items(), 3) as items:
        first = next(iter(items))
        assert first == 0
        for _ in range(100):
            if source.given >= 5:
                break
            threading.Event().wait(0.01)
        assert source.given == 5  # one taken, three queued, one in hand
    assert source.closed


def test_prefetch_can_be_left_unread():
    source = ListSource(list(range(50)))
    with Prefetch(source.items(), 3):
        pass
    assert source.closed


@pytest.mark.parametrize("slow", ["decode", "network", "encode"])
def test_the_limit_is_what_was_waited_for(slow):
    stages = Stages(decode=1, network=1, encode=1)
    setattr(stages, slow, 2)
    assert stages.limit == slow
