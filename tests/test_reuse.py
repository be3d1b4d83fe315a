"""Frames that are not computed twice: exact in every order, from every thread, whatever fails."""

import gc
import random
import threading
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from live_parts import InstantEngine, RecordingSink, ScriptedSource
from media_samples import frames_of, make_clip, picture
from rfdn_stream import reuse, upscale
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.errors import DeviceError, ModelError, RfdnError, UsageError
from rfdn_stream.frame import FORMATS, CardPlane, ColorSpec
from rfdn_stream.jobs.report import LogReporter
from rfdn_stream.live.ladder import FULL, Step
from rfdn_stream.live.pump import Pump
from rfdn_stream.live.session import LiveOptions, Session
from rfdn_stream.multi import MultiUpscaler
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal, random_frame

PICTURES = [
    random_frame(seed=1),
    random_frame(seed=2),
    random_frame(seed=1, color=ColorSpec(matrix="bt601")),
    random_frame(seed=1, width=34),
    random_frame("yuv444p", seed=1),
    random_frame("yuv420p10le", seed=1),
]


def clip(length=60, seed=0):
    """Runs of pictures that differ in content, colour, size or format alone; each frame in memory of its own."""
    chance = random.Random(seed)
    frames, last = [], 0
    for pts in range(length):
        last = last if chance.random() < 0.6 else chance.randrange(len(PICTURES))
        picture = PICTURES[last]
        frames.append(replace(picture, planes=tuple(plane.copy() for plane in picture.planes), pts=pts))
    return frames


@pytest.fixture(scope="module")
def open_tiny(tiny_model):
    return lambda **options: Upscaler(tiny_model, device=CpuDevice(check=True), **options)


@pytest.fixture(scope="module")
def wanted(open_tiny):
    with open_tiny(reuse="off") as upscaler:
        results = list(upscaler.map(clip()))
        assert upscaler.work.reused == 0
    return results


def runs(frames):
    """Frames that are not the same as the one before."""
    return 1 + sum(
        (a.format, a.width, a.color) != (b.format, b.width, b.color) or not reuse.same(a.planes, b.planes)
        for a, b in pairwise(frames)
    )


def assert_all_equal(got, want):
    for a, b in zip(got, want, strict=True):
        assert_frames_equal(a, b)


class Gate:
    """An engine that counts, waits while told to, and can be made to fail."""

    def __init__(self, engine):
        self.engine, self.calls, self.fail = engine, 0, None
        self.scale, self.precision, self.description = engine.scale, engine.precision, engine.description
        self.open = threading.Event()
        self.open.set()

    def __call__(self, rgb):
        self.calls += 1
        self.open.wait(30)
        if isinstance(self.fail, Exception):
            raise self.fail
        return self.engine(rgb) * (float("nan") if self.fail == "nan" else 1)


@pytest.fixture
def gated(open_tiny):
    with open_tiny() as upscaler:
        upscaler.engine = Gate(upscaler.engine)
        yield upscaler
        upscaler.engine.open.set()


# Exact


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_clip_is_the_same_bit_for_bit_with_fewer_calls(open_tiny, wanted, depth):
    frames = clip()
    with open_tiny(depth=depth) as upscaler:
        upscaler.engine = Gate(upscaler.engine)
        assert_all_equal(upscaler.map(frames), wanted)
        assert upscaler.work.frames == len(frames)
        assert upscaler.work.reused == len(frames) - upscaler.engine.calls
        assert upscaler.engine.calls <= runs(frames) < len(frames) / 2


def test_in_batches_too(open_tiny, wanted):
    with open_tiny(batch=4, engine="torch", precision="fp32", reuse="off") as upscaler:
        want = list(upscaler.map(clip()))
    with open_tiny(batch=4, engine="torch", precision="fp32", depth=1) as upscaler:
        for a, b in zip(upscaler.map(clip()), want, strict=True):
            assert_close(a, b)  # torch adds up in another order for another number of pictures
        assert upscaler.work.reused >= len(want) - runs(clip())


def assert_close(got, want):
    assert (got.pts, got.format, got.width, got.color) == (want.pts, want.format, want.width, want.color)
    for a, b in zip(got.planes, want.planes, strict=True):
        difference = np.abs(a.astype(int) - b.astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


def test_unclaimed_tickets_and_any_order_of_claiming(open_tiny, wanted):
    with open_tiny() as upscaler:
        tickets = [upscaler.submit(frame) for frame in clip()]
        order = list(range(len(tickets)))
        random.Random(1).shuffle(order)
        for index in order:
            assert_frames_equal(tickets[index].result(), wanted[index])


def test_several_threads(open_tiny, wanted):
    frames = clip()
    with open_tiny() as upscaler, ThreadPoolExecutor(6) as pool:
        assert_all_equal(pool.map(lambda frame: upscaler.submit(frame).result(), frames), wanted)
        assert upscaler.work.reused > len(frames) / 4


def test_several_devices(open_tiny, wanted):
    with MultiUpscaler([open_tiny(), open_tiny()]) as upscaler:
        assert_all_equal(upscaler.map(clip()), wanted)
        assert upscaler.work.reused > 0
        assert upscaler.work.frames == len(wanted)


@pytest.mark.parametrize("name", FORMATS)
def test_one_code_anywhere_makes_it_another_frame(gated, name):
    """In any plane, to its last row and column, to the lowest bit."""
    frame = random_frame(name, 35, 131)
    for index, plane in enumerate(frame.planes):
        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1), (64, 1)):
            at = tuple(min(c, s - 1) for c, s in zip(corner, plane.shape))
            planes = [p.copy() for p in frame.planes]
            planes[index][at] ^= 1 << frame.format.shift
            gated.submit(frame)
            assert gated.submit(frame).repeats
            assert not gated.submit(replace(frame, planes=tuple(planes))).repeats


def test_a_comparison_that_forgets_the_last_row_is_found_by_these_tests(open_tiny, monkeypatch):
    """What the test above looks for, planted: results differ."""
    monkeypatch.setattr(reuse, "same", lambda some, others: all((a[:-1] == b[:-1]).all() for a, b in zip(some, others)))
    one = random_frame(pts=0)
    other = replace(one, planes=tuple(plane.copy() for plane in one.planes), pts=1)
    other.planes[0][-1] ^= 255
    with open_tiny(reuse="off") as upscaler:
        want = list(upscaler.map([one, other]))
    with open_tiny() as upscaler, pytest.raises(AssertionError):
        assert_all_equal(upscaler.map([one, other]), want)


def test_what_is_wanted_of_it_counts_too(gated):
    frame = random_frame("rgb24", 24, 20)
    big = [gated.submit(frame, output).result() for output in (None, (FORMATS["yuv444p"], ColorSpec()), None)]
    assert [one.format.name for one in big] == ["rgb24", "yuv444p", "rgb24"]
    assert gated.engine.calls == 2
    assert_frames_equal(big[2], big[0])


def test_floating_point_is_compared_bit_by_bit():
    zero, minus = np.zeros((4, 4), np.float32), np.full((4, 4), -0.0, np.float32)
    nan = np.full((4, 4), np.nan, np.float16)
    assert not reuse.same([zero], [minus])
    assert reuse.same([nan], [nan.copy()])
    assert reuse.same([zero[:, ::2]], [zero[:, 1::2]])


# In flight


def test_a_repeat_waits_for_the_first_and_takes_no_slot(gated):
    gated.engine.open.clear()
    frames = [random_frame(pts=pts) for pts in range(50)]
    tickets = [gated.submit(frame) for frame in frames]  # far more than there are slots, and nothing blocks
    assert not any(ticket.done() for ticket in tickets)
    gated.engine.open.set()
    results = [ticket.result() for ticket in tickets]
    assert [big.pts for big in results] == list(range(50))
    assert gated.engine.calls == 1
    for big in results[1:]:
        assert_frames_equal(replace(big, pts=0), results[0])


def test_views_of_one_result_are_shared_and_cannot_be_written_to(gated):
    frame, together = random_frame(pts=1), threading.Barrier(2, timeout=10)
    want = gated.submit(frame).result()

    def look(ticket):
        with ticket as view:
            together.wait()
            assert_frames_equal(view, want)
            with pytest.raises(ValueError, match="read-only"):
                view.planes[0][0, 0] = 1
            together.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(look, [gated.submit(frame) for _ in range(2)]))
    # The slot goes round only when both have left it: on a checking device anything else is an error.
    others = [random_frame(seed=seed) for seed in range(10, 14)]
    assert len([gated.submit(other).result() for other in others]) == 4


def test_a_viewed_result_stays_while_its_slot_is_wanted(gated):
    frame = random_frame()
    want, repeat = gated.submit(frame).result(), gated.submit(frame)
    entered, leave = threading.Event(), threading.Event()

    def look():
        with repeat as view:
            entered.set()
            leave.wait(10)
            assert_frames_equal(view, want)

    with ThreadPoolExecutor(2) as pool:
        viewer = pool.submit(look)
        entered.wait(10)
        many = pool.submit(lambda: [gated.submit(random_frame(seed=20 + i)) for i in range(gated.depth)])
        assert not many.done()
        leave.set()
        viewer.result(10)
        many.result(10)


def test_memory_does_not_grow_with_a_still_picture(gated):
    frame, alive = random_frame(), []
    for _ in range(200):
        result = gated.submit(frame).result()
        alive.append(weakref.ref(result.planes[0]))
    del result
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= gated.depth
    assert sum(len(tickets) for tickets in gated._tickets.values()) <= gated.depth
    assert gated.engine.calls == 1


# Failures


@pytest.mark.parametrize("fail", ["nan", RuntimeError("injected")])
def test_a_failure_is_not_reused(gated, fail):
    frame = random_frame()
    gated.engine.fail = fail
    gated.engine.open.clear()
    first, waiting = gated.submit(frame), gated.submit(frame)
    gated.engine.open.set()
    for ticket in (waiting, first):  # the repeat was promised the first one's result, which does not come
        with pytest.raises((ModelError, RuntimeError), match=r"NaN|injected"):
            ticket.result()
    gated.engine.fail = None
    again = gated.submit(frame)
    assert not again.repeats
    assert again.result().width == 2 * frame.width
    assert gated.engine.calls == 2


def test_closing(open_tiny):
    upscaler = open_tiny()
    first, repeat = upscaler.submit(random_frame()), upscaler.submit(random_frame())
    upscaler.close()
    with pytest.raises(RfdnError, match="closed"):
        upscaler.submit(random_frame())
    assert_frames_equal(repeat.result(), first.result())


def test_abandoning(open_tiny):
    upscaler = open_tiny()
    upscaler.engine = gate = Gate(upscaler.engine)
    gate.open.clear()
    upscaler.submit(random_frame(seed=3))
    tickets = [upscaler.submit(random_frame()) for _ in range(3)]
    upscaler.close(abandon=True)
    assert not gate.open.is_set()
    gate.open.set()
    for ticket in tickets:
        with pytest.raises(DeviceError, match="closed before its work was done"):
            ticket.result()


# Asked for


def test_fresh_frames_are_computed_and_give_nothing(gated):
    frame = random_frame()
    for fresh in (True, False, False, True):
        gated.submit(frame, fresh=fresh).result()
    assert gated.engine.calls == 3
    assert gated.work.reused == 1


def test_without_reuse_every_frame_is_computed(open_tiny):
    with open_tiny(reuse="off") as upscaler:
        upscaler.engine = Gate(upscaler.engine)
        list(upscaler.map([random_frame()] * 4))
        assert upscaler.engine.calls == 4


def test_an_unknown_mode_is_refused(tiny_model):
    with pytest.raises(UsageError, match="unknown reuse 'all'; choose off, frames, regions"):
        Upscaler(tiny_model, reuse="all")


def test_on_the_cards_side_nothing_is_compared(gated):
    """What is to be made in a card's memory has a place of its own for each frame."""
    frame = random_frame()
    into = tuple(CardPlane(torch.empty(s, dtype=torch.uint8)) for s in frame.format.plane_shapes(72, 56))
    for _ in range(2):
        assert gated.submit(frame, into=into).result().card == into
    assert gated.engine.calls == 2


# Behind each door


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Four pictures, five frames each, losslessly coded."""

    def show(made, index):
        for plane, source in zip(made.planes, picture(index // 5, FORMATS["yuv420p"], 64, 48).planes, strict=True):
            plane.update(bytes(source))

    return make_clip(tmp_path_factory.mktemp("slides") / "slides.mkv", codec="ffv1", frames=20, prepare=show)


class Notes(LogReporter):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("mode", ["frames", "regions"])
def test_a_file_is_the_same_and_the_report_says_so(slides, tiny_model, tmp_path, mode):
    made, reporter = {}, Notes()
    for reuse_ in ("off", mode):
        target = tmp_path / f"{reuse_}.mkv"
        options = {"model": tiny_model, "device": "cpu", "codec": "ffv1", "reuse": reuse_}
        upscale(slides, target, **options, reporter=reporter if reuse_ == mode else None)
        made[reuse_] = frames_of(target)
    for (*time, a), (*same_time, b) in zip(made["off"], made[mode], strict=True):
        assert time == same_time
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)
    assert "16 of 20 frames were the same as one just before" in reporter.notes


def test_vapoursynth_asks_in_any_order(tiny_model):
    vs = pytest.importorskip("vapoursynth", reason="needs VapourSynth: pip install 'rfdn-stream[vapoursynth]'")
    from vsrfdn import pool, rfdn

    shades = [0, 0, 90, 90, 90, 0, 0, 160, 160, 160] * 3
    blank = vs.core.std.BlankClip(format=vs.YUV420P8, width=36, height=28, length=len(shades), keep=True)
    clip = blank.std.FrameEval(lambda n: blank.std.BlankClip(color=[shades[n], 120, 130]))
    results = {mode: rfdn(clip, model_path=tiny_model, device="cpu", reuse=mode) for mode in ("off", "frames")}
    order = list(range(len(shades)))
    random.Random(2).shuffle(order)
    got = {mode: [(n, result.get_frame_async(n)) for n in order] for mode, result in results.items()}
    for (n, one), (_, other) in zip(got["off"], got["frames"], strict=True):
        for a, b in zip(one.result(), other.result(), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=str(n))
    reused = sorted(shared.upscaler.work.reused for shared in pool.POOL._shared.values())
    assert reused[0] == 0
    assert reused[-1] > 0
    with pytest.raises(vs.Error, match="rfdn: unknown reuse 'never'; choose off, frames, regions"):
        rfdn(clip, model_path=tiny_model, device="cpu", reuse="never")


def test_what_a_step_has_made_is_not_reused_on_another(tiny_model):
    """A picture that stands still while the ladder climbs is made anew, in full; then it stays."""
    frame, plans, half = random_frame(), deque(maxlen=8), Step("half", part=0.5)
    with Upscaler(tiny_model, device="cpu", depth=2) as upscaler:
        pump = Pump(upscaler, plans, (frame.format, frame.color), (36, 28), None, lambda shot: None)
        repeats = [pump._made_by(step, frame).repeats for step in (half, half, FULL, FULL, half, FULL)]
    assert repeats == [False, False, False, True, False, True]
    assert list(plans) == [half, half, FULL, half]


def test_a_still_live_picture_costs_nothing_and_motion_goes_on(tiny_model):
    """A frame that is not computed leaves no step of the ladder behind for the next one."""

    class Counting(InstantEngine):
        calls = 0

        def __call__(self, rgb):
            self.calls += 1
            return super().__call__(rgb)

    still = random_frame(width=16, height=12)
    frames = [replace(still, planes=tuple(p.copy() for p in still.planes), pts=pts) for pts in range(30)]
    frames += [random_frame(width=16, height=12, seed=pts, pts=pts) for pts in range(30, 40)]
    with Upscaler(tiny_model, device="cpu", depth=2) as upscaler:
        upscaler.engine = engine = Counting()
        sink = RecordingSink(keep=True)
        status = Session(ScriptedSource(frames, pace=0.01), upscaler, [sink], LiveOptions(degrade=False)).run()
        assert not upscaler.engine._plans
        assert upscaler.work.reused > 10
        assert status.made > 20
    assert engine.calls < 30
    with Upscaler(tiny_model, device="cpu", reuse="off") as upscaler:
        upscaler.engine = InstantEngine()
        for shot in sink.shots:
            want = upscaler.submit(shot.before).result()
            assert_frames_equal(replace(shot.frame, pts=want.pts, time_base=want.time_base, duration=0), want)
