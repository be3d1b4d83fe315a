"""A session: the newest frame wins, nothing grows, nothing hangs, whatever stalls or fails."""

import _thread
import itertools
import logging
import random
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from live_parts import RATE, SIZE, InstantEngine, RecordingSink, ScriptedSource, Turns, frame, lost, no_thread_left
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.live import capture, ladder
from rfdn_stream.live import session as session_module
from rfdn_stream.live.base import SourceLost
from rfdn_stream.live.ladder import QUICK
from rfdn_stream.live.outlet import PACKETS
from rfdn_stream.live.quick import enlarged
from rfdn_stream.live.session import LiveOptions, Session
from rfdn_stream.live.sources import Awaited
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal

SIMPLE = LiveOptions(degrade=False)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Sources are opened again at once."""
    monkeypatch.setattr(capture, "BACK_OFF", (0.005, 0.01))


@pytest.fixture
def upscaler(tiny_model):
    with Upscaler(tiny_model, device="cpu", depth=2) as upscaler:
        upscaler.engine = InstantEngine()
        yield upscaler


def run(source, upscaler, *sinks, options=SIMPLE, **more):
    """Runs a session; returns its last status."""
    with no_thread_left():
        return Session(source, upscaler, sinks, options, **more).run()


def assert_in_order(sink):
    """Times begin near 0 and only grow."""
    assert all(later > earlier for earlier, later in itertools.pairwise(sink.times))
    assert sink.times[0] >= 0


# The plain way.


def test_frames_come_out_in_order_and_the_sink_is_finished(upscaler):
    turns = Turns()
    sink = RecordingSink(stall=turns.shown)
    status = run(ScriptedSource(turns.frames([frame(100 + i) for i in range(30)]), pace=0.01), upscaler, sink)
    assert sink.calls == ["enter", "wants", "listen", "open", "finish", "exit"]
    assert len(sink.threads) == 1
    assert threading.get_ident() not in sink.threads
    assert_in_order(sink)
    assert sink.times[0] == 0  # the source began at 4 s
    assert sink.times[-1] == pytest.approx(29 / RATE)  # the last frame of all is shown
    assert set(sink.notes) == {""}
    assert status.arrived == 30
    assert status.made >= 25
    assert 0 < status.p50 <= status.p95 < 2


def test_the_same_pixels_as_for_files(tiny_model):
    """A whole network, not a fake: what is shown is what `Upscaler` makes of the frame."""
    turns = Turns()
    sink = RecordingSink(keep=True, stall=turns.shown)
    with Upscaler(tiny_model, depth=2) as upscaler:
        run(ScriptedSource(turns.frames([frame(i) for i in range(8)])), upscaler, sink)
    assert len(sink.shots) >= 4
    with Upscaler(tiny_model) as plain:
        for shot in sink.shots:
            assert_frames_equal(shot.frame, plain.submit(shot.before).result())


def test_the_first_sink_chooses_the_format(upscaler):
    from rfdn_stream.frame import FORMATS, RGB_FULL

    first, second = RecordingSink("first"), RecordingSink("second")
    first.wants = lambda info: (FORMATS["rgb24"], RGB_FULL)
    run(ScriptedSource([frame(i) for i in range(5)], pace=0.01), upscaler, first, second)
    assert first.output == second.output == (FORMATS["rgb24"], RGB_FULL)
    assert first.size == second.size == (2 * SIZE[0], 2 * SIZE[1])


def test_a_slow_network_drops_frames_and_takes_the_newest(upscaler):
    given, total = 0, 100

    class SlowEngine(InstantEngine):
        """While it works on a frame, ten more come; the warm-up is before all of them."""

        def __call__(self, rgb):
            enough = min(given + 10, total) if given > 1 else 0
            while given < enough:
                time.sleep(0.001)
            return super().__call__(rgb)

    def items():
        nonlocal given
        for i in range(total):
            given = i + 1
            yield frame(i)

    upscaler.engine = SlowEngine()
    sink = RecordingSink()
    status = run(ScriptedSource(items(), pace=0.01), upscaler, sink)
    assert_in_order(sink)
    # One in ten, the first and the last ones: a queue would have kept more.
    assert 2 <= status.made <= total / 10 + 3
    assert status.arrived == total
    assert sink.times[-1] == pytest.approx(99 / RATE)


def test_upload_and_download_run_beside_the_network(upscaler, monkeypatch):
    """Where the network takes little, the next frame is sent while it still works on the one before."""
    working, beside = threading.Event(), 0

    class TellingEngine(InstantEngine):
        def __call__(self, rgb):
            working.set()
            try:
                return super().__call__(rgb)
            finally:
                working.clear()

    def telling(*arguments, submit=upscaler.submit, **named):
        nonlocal beside
        beside += working.is_set()
        return submit(*arguments, **named)

    monkeypatch.setattr(upscaler, "submit", telling)
    upscaler.engine = TellingEngine(takes=0.03)
    run(ScriptedSource([frame(i) for i in range(300)], pace=0.004), upscaler, RecordingSink())
    assert beside > 0


def test_the_viewer_ends_it(upscaler):
    sink = RecordingSink(closes_at=5)
    run(ScriptedSource((frame(i) for i in itertools.count()), pace=0.005), upscaler, sink)
    assert len(sink.times) == 5
    assert sink.finished


def test_it_ends_after_its_duration(upscaler):
    sink = RecordingSink()
    endless = ScriptedSource((frame(i) for i in itertools.count()), pace=0.005)
    status = run(endless, upscaler, sink, options=LiveOptions(degrade=False, duration=0.3))
    assert 0.3 <= status.seconds < 2
    assert sink.finished


def test_status_and_beginning_are_told(upscaler):
    told, begun, sink = [], [], RecordingSink()

    def tell(status):
        told.append(status)
        if len(told) >= 2 and status.fps_in > 20 and status.shown > 10:
            sink.closes_at = 0

    endless = ScriptedSource((frame(i) for i in itertools.count()), pace=0.01)
    options = LiveOptions(degrade=False, duration=30.0)
    run(endless, upscaler, sink, options=options, on_status=tell, on_begin=lambda *a: begun.append(a))
    assert begun[0][1] == (2 * SIZE[0], 2 * SIZE[1])
    assert sink.closed
    assert 20 < told[-1].fps_in <= 100
    assert told[-1].shown > 10


# The ladder in a session.


def test_a_machine_that_is_too_slow_degrades_says_so_and_holds(upscaler, caplog):
    caplog.set_level(logging.INFO)
    upscaler.engine = InstantEngine(takes=0.15)
    sink = RecordingSink(closes_at=21)
    source = ScriptedSource((frame(i) for i in itertools.count()), pace=0.04)
    status = run(source, upscaler, sink, options=LiveOptions(latency=0.1, duration=30))
    assert "too slow for the network in full" in caplog.text
    assert all(sink.notes)
    assert status.step
    assert status.p50 < 0.15
    assert len(sink.times) > 20


def test_where_even_resampling_is_too_slow_frames_are_resized(upscaler, monkeypatch):
    """The device is not asked at all, so nothing that it does can be late."""
    monkeypatch.setattr(session_module, "measure", lambda *_: (9.0, 9.0))
    instant = upscaler.engine
    instant.gate.clear()
    turns = Turns()
    sink = RecordingSink(keep=True, stall=turns.shown)
    try:
        run(ScriptedSource(turns.frames([frame(i) for i in range(20)])), upscaler, sink, options=LiveOptions())
    finally:
        instant.gate.set()
    assert set(sink.notes) == {QUICK.name}
    assert len(sink.shots) >= 10
    for shot in sink.shots:
        assert_frames_equal(shot.frame, enlarged(shot.before, 2))


def test_a_look_at_what_the_network_costs_is_not_a_step_to_be_remembered(upscaler, monkeypatch):
    monkeypatch.setattr(session_module, "measure", lambda *_: (9.0, 0.001))
    monkeypatch.setattr(ladder, "PROBED_EVERY", 0.02)
    turns = Turns()
    source = ScriptedSource(turns.frames([frame(i) for i in range(20)]), pace=0.01)
    session = Session(source, upscaler, [RecordingSink(stall=turns.shown)], LiveOptions())
    with no_thread_left():
        session.run()
    assert ladder.PLAIN in session._pump._takes
    assert not [step for step in session._pump._takes if step.probe]


def test_without_degrading_frames_are_dropped(upscaler):
    upscaler.engine = InstantEngine(takes=0.15)
    sink = RecordingSink()
    source = ScriptedSource((frame(i) for i in itertools.count()), pace=0.02)
    status = run(source, upscaler, sink, options=LiveOptions(latency=0.1, duration=1.0, degrade=False))
    assert set(sink.notes) == {""}
    assert status.made < 10


# Sources that fail.


def test_a_lost_source_is_opened_again_and_time_goes_on(upscaler, caplog):
    caplog.set_level(logging.INFO)
    turns = Turns()
    sink = RecordingSink(stall=turns.shown)
    rounds = [[frame(i) for i in range(10)] + [lost()], [lost()], [MediaError("busy")], [frame(i) for i in range(10)]]
    source = ScriptedSource(*map(turns.frames, rounds), pace=0.01)
    run(source, upscaler, sink)
    assert (source.opened, source.closed) == (4, 2)
    assert_in_order(sink)
    assert len(sink.times) >= 15
    assert caplog.text.count("trying again") == 1
    assert "the source is back" in caplog.text


def test_while_it_is_lost_the_last_frame_stays_with_a_note(upscaler, monkeypatch):
    monkeypatch.setattr(capture, "BACK_OFF", (0.7,))
    sink = RecordingSink(keep=True)
    run(ScriptedSource([frame(0), frame(1), lost()], [frame(0), frame(1)], pace=0.05), upscaler, sink)
    repeats = [shot for shot in sink.shots if shot.repeated]
    assert 2 <= len(repeats) <= 5
    assert all("is gone" in shot.note for shot in repeats)
    assert all(shot.frame.planes is sink.shots[1].frame.planes for shot in repeats)
    assert_in_order(sink)
    assert sink.notes[-1] == ""


def test_a_source_that_is_not_there_is_one_error(upscaler):
    sink = RecordingSink()
    with pytest.raises(MediaError, match="cannot be opened"):
        run(ScriptedSource(), upscaler, sink)
    assert sink.calls == []
    with pytest.raises(SourceLost, match="is gone"):
        run(ScriptedSource([lost()]), upscaler, sink)


def test_a_sender_that_is_waited_for_may_come_late(upscaler):
    sink = RecordingSink()
    source = ScriptedSource([lost()], [lost()], [frame(i) for i in range(5)], pace=0.02)
    run(source, upscaler, sink, options=LiveOptions(degrade=False, patient=True))
    assert source.opened == 3
    assert sink.times[-1] == pytest.approx(4 / RATE)


def test_whoever_listens_goes_on_at_once_and_says_so_once(upscaler, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(capture, "BACK_OFF", (60.0,))

    def nobody():
        return [Awaited("waiting for the sender at tcp://there")]

    sink = RecordingSink()
    source = ScriptedSource(nobody(), nobody(), nobody(), [frame(i) for i in range(5)], pace=0.02)
    run(source, upscaler, sink, options=LiveOptions(degrade=False, patient=True))
    assert source.opened == 4
    assert caplog.text.count("waiting for the sender at tcp://there") == 1
    assert "trying again" not in caplog.text
    assert "is back" not in caplog.text


def test_a_sender_that_was_lost_is_waited_for_and_is_back(upscaler, caplog):
    caplog.set_level(logging.INFO)
    first, again = ([frame(i) for i in range(5)] for _ in range(2))
    awaited = Awaited("waiting for the sender at tcp://there")
    source = ScriptedSource([Awaited("waiting")], [*first, lost()], [awaited], again, pace=0.02)
    run(source, upscaler, RecordingSink(), options=LiveOptions(degrade=False, patient=True))
    assert [text for text in caplog.messages if "back" not in text] == ["waiting", "scripted is gone; trying again"]
    assert caplog.text.count("the source is back") == 1


def test_an_error_that_will_not_mend_ends_the_session_and_finishes_the_sinks(upscaler):
    sink = RecordingSink()
    with pytest.raises(MediaError, match="colour matrix"):
        run(ScriptedSource([frame(i) for i in range(5)] + [MediaError("colour matrix YCgCo")]), upscaler, sink)
    assert sink.finished


def test_a_source_that_changes_its_size_is_resampled_and_the_output_stays(upscaler):
    sink = RecordingSink()
    items = [frame(0), frame(1), *[frame(i, size=(32, 20), format="yuv422p") for i in range(2, 10)], frame(10)]
    run(ScriptedSource(items, pace=0.03), upscaler, sink)
    assert "" in (sink.notes[0], sink.notes[-1])
    assert any("32x20 now" in note for note in sink.notes)


def test_a_picture_that_stays_black_is_told(upscaler, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(capture, "BLACK_AFTER", 0.1)
    sink = RecordingSink()
    items = [frame(i, black=5 < i < 35) for i in range(45)]
    run(ScriptedSource(items, pace=0.01), upscaler, sink)
    assert any("black" in note for note in sink.notes)
    assert sink.notes[-1] == ""
    assert "no longer black" in caplog.text


def test_clocks_that_jump_do_not_move_the_session(upscaler):
    sink = RecordingSink()
    numbers = [0, 1, 2, 90_000, 90_001, 5, 6, 6, 7, 8]
    run(ScriptedSource([frame(i) for i in numbers], pace=0.02), upscaler, sink)
    assert_in_order(sink)
    assert sink.times[-1] < 2


# Sinks that fail.


def test_a_sink_that_cannot_be_had_is_one_error(upscaler):
    def refuse(info, size, output):
        raise UsageError("the port is taken; choose another one")

    bad, good = RecordingSink("bad"), RecordingSink("good")
    bad.open = refuse
    with pytest.raises(UsageError, match="port is taken"):
        run(ScriptedSource((frame(i) for i in itertools.count()), pace=0.01), upscaler, good, bad)
    assert good.finished
    assert "exit" in bad.calls


def fails_at(count):
    def stall(number):
        if number == count:
            raise MediaError("the viewer is gone")

    return stall


def test_a_lost_sink_leaves_the_others_alone(upscaler, caplog):
    bad, good = RecordingSink("bad", stall=fails_at(3)), RecordingSink("good")
    run(ScriptedSource([frame(i) for i in range(50)], pace=0.005), upscaler, bad, good)
    assert good.times[-1] == pytest.approx(49 / RATE)
    assert "bad is lost, the others go on: the viewer is gone" in caplog.text
    assert not bad.finished


def test_the_last_sinks_loss_is_the_sessions(upscaler):
    source = ScriptedSource((frame(i) for i in itertools.count()), pace=0.005)
    with pytest.raises(MediaError, match="viewer is gone"):
        run(source, upscaler, RecordingSink(stall=fails_at(3)))


def test_a_network_that_fails_on_a_frame_loses_only_that(upscaler, caplog):
    engine = upscaler.engine
    calls = itertools.count()

    def sometimes(rgb):
        result = engine(rgb)
        return result * float("nan") if next(calls) in (6, 7) else result

    sometimes.scale, sometimes.precision, sometimes.description = 2, "fp32", "sometimes"
    upscaler.engine = sometimes
    sink = RecordingSink()
    run(ScriptedSource([frame(i) for i in range(40)], pace=0.01), upscaler, sink)
    assert caplog.text.count("a frame is lost") == 1
    assert sink.times[-1] == pytest.approx(39 / RATE)


def test_a_network_that_always_fails_ends_the_session(upscaler):
    def broken(rgb):
        raise MediaError("no such layer") if rgb.any() else ZeroDivisionError

    engine = upscaler.engine

    def late(rgb):
        if rgb.mean() > 0.01:
            raise MediaError("no such layer")
        return engine(rgb)

    late.scale, late.precision, late.description = 2, "fp32", "late"
    upscaler.engine = late
    with pytest.raises(MediaError, match="no such layer"):
        run(ScriptedSource((frame(i) for i in itertools.count()), pace=0.002), upscaler, RecordingSink())


# Audio.


class Packet:
    """As much of a packet as the session looks at."""

    def __init__(self, pts):
        from fractions import Fraction

        self.pts = self.dts = pts
        self.time_base = Fraction(1, 1000)


def packet(milliseconds):
    from rfdn_stream.media.reader import CopiedPacket

    return CopiedPacket(Packet(milliseconds), 1)


def test_audio_keeps_its_place_beside_the_frames(upscaler):
    """The source begins at 4 s, is lost, and begins at 0 again: audio moves with the picture."""
    first = [frame(100), packet(3960), packet(4020), frame(101), packet(4040), lost()]
    again = [frame(0), packet(0), packet(20), frame(1), packet(40)]
    sink = RecordingSink()
    run(ScriptedSource(first, again, audio=("stream",), pace=0.02), upscaler, sink)
    assert sink.heard == ("stream",)
    pts = [copied.packet.pts for copied in sink.packets]
    assert pts[:2] == [20, 40]  # what came before the first frame has no place
    assert pts[3] - pts[2] == pts[4] - pts[3] == 20
    assert pts[2] > 40
    assert pts == sorted(pts)


def test_packets_for_a_stalled_sink_do_not_pile_up(upscaler):
    stalled, gate = threading.Event(), threading.Event()

    def stall(number):
        stalled.set()
        gate.wait()

    def items():
        yield frame(0)
        yield stalled
        yield from (packet(i) for i in range(3 * PACKETS))
        gate.set()
        yield from (frame(i) for i in itertools.count(1))

    sink, other = RecordingSink(stall=stall), RecordingSink(closes_at=3)
    session = Session(ScriptedSource(items(), pace=0.02), upscaler, [sink, other], SIMPLE)
    with no_thread_left():
        session.run()
    assert session._outlets[0].lost_packets == 2 * PACKETS
    assert len(sink.packets) == PACKETS
    assert sink.packets[-1].packet.pts == 3 * PACKETS - 1


# Everything at once.


@pytest.mark.parametrize("source_stalls", ["never", "often", "for ever"])
@pytest.mark.parametrize("sink_stalls", ["never", "often", "for ever"])
def test_no_stall_holds_anything_else_up(upscaler, source_stalls, sink_stalls):
    gate, dice = threading.Event(), random.Random(1)
    pauses = {"never": lambda i: None, "often": lambda i: time.sleep(dice.choice((0, 0, 0.02)))}

    def items():
        for i in itertools.count():
            yield frame(i)
            if source_stalls == "often":
                yield dice.choice((0.0, 0.0, 0.02))
            if source_stalls == "for ever" and i == 20:
                yield gate

    stalling = RecordingSink("stalling", stall=pauses.get(sink_stalls, lambda i: gate.wait()))
    free = RecordingSink("free")
    source = ScriptedSource(items(), pace=0.002)
    ending = LiveOptions(degrade=False, duration=0.5)
    begun = time.monotonic()
    interrupt = threading.Timer(0.7, _thread.interrupt_main)  # a sink that stalls for ever has till Ctrl-C to finish
    if sink_stalls == "for ever":
        interrupt.start()
    status = Session(source, upscaler, [free, stalling], ending).run()
    took = time.monotonic() - begun
    gate.set()
    assert free.finished
    assert len(free.times) >= 2
    assert_in_order(free)
    assert took < 20  # it ends
    assert status.shown == len(free.times)
    assert source.alive < 20


def test_ten_thousand_frames_with_every_fault(upscaler, caplog):
    """Losses, stalls, sizes, formats, jumps, failing sinks: all frames pass or fall, and nothing is kept."""
    dice, made, most = random.Random(7), 0, 0
    shown = threading.Event()  # by the quick sink, since it was last waited for

    def one_round():
        nonlocal made, most
        start = dice.randrange(1000)
        for i in range(dice.randrange(50, 600)):
            made += 1
            size = SIZE if dice.random() < 0.98 else (dice.randrange(8, 40), dice.randrange(8, 40))
            yield frame(start + i, size=size, format=dice.choice(("yuv420p", "yuv422p")))
            if i % 3 == 0:
                yield packet((start + i) * 40)
            if dice.random() < 0.01:
                yield dice.choice((0.0, 0.001, 0.005))
            if made % 100 == 0:
                most = max(most, source.alive)
            if made % 40 == 0:
                assert shown.wait(30)
                shown.clear()
        yield lost()

    def rounds():
        while made < 10_000:
            yield one_round() if dice.random() < 0.8 or not made else [lost()]
        yield [frame(0), frame(1)]

    source = ScriptedSource()
    source.rounds = rounds()
    quick = RecordingSink("quick", stall=lambda i: shown.set())
    slow = RecordingSink("slow", stall=lambda i: time.sleep(dice.choice((0, 0.004))))
    failing = RecordingSink("failing", stall=fails_at(40))
    status = run(source, upscaler, quick, slow, failing)
    assert made >= 10_000
    assert status.arrived >= 10_000
    assert most < 20
    assert quick.finished
    assert slow.finished
    assert not failing.finished
    assert len(quick.times) > 200
    for sink in (quick, slow):
        assert_in_order(sink)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# Ctrl-C.


@pytest.mark.parametrize(
    "state", ["opening", "sink opening", "running", "network", "lost", "sink stalled", "finishing"]
)
def test_ctrl_c_ends_it_in_every_state(upscaler, state, monkeypatch):
    gate, instant = threading.Event(), upscaler.engine
    endless = (frame(i) for i in itertools.count())
    source = ScriptedSource(endless, pace=0.01)
    sink, options = RecordingSink(), SIMPLE
    if state == "opening":
        source.__class__ = type("Silent", (ScriptedSource,), {"__enter__": lambda self: gate.wait() or self})
    elif state == "sink opening":
        sink.open = lambda info, size, output: gate.wait()
    elif state == "network":
        threading.Timer(0.2, instant.gate.clear).start()
    elif state == "lost":
        monkeypatch.setattr(capture, "BACK_OFF", (60.0,))
        source.rounds = iter([[frame(0), lost()]])
    elif state == "sink stalled":
        sink = RecordingSink(stall=lambda number: number == 5 and gate.wait())
    elif state == "finishing":
        options = LiveOptions(degrade=False, duration=0.1)
        sink.finish = gate.wait
    asked = []

    def interrupt():
        asked.append(time.monotonic())
        _thread.interrupt_main()

    threading.Timer(0.5, interrupt).start()
    try:
        Session(source, upscaler, [sink], options).run()
        # A promise of one second; the margin is for a machine that does something else at the same time.
        assert time.monotonic() - asked[0] < 3.0
    finally:
        gate.set()
        instant.gate.set()
    if state in ("running", "network", "lost"):
        assert sink.finished


@contextmanager
def interrupted(*moments):
    """Ctrl-C as each of the events is set, sent only while the block runs."""
    over = threading.Event()

    def send():
        for moment in moments:
            while not moment.wait(0.01):
                if over.is_set():
                    return
            _thread.interrupt_main()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def recording(finish):
    """A sink that makes what is to stay, and an event that it has shown a picture."""
    shown = threading.Event()
    sink = RecordingSink("out.mkv", stall=lambda number: shown.set())
    sink.lasting, sink.finish = True, finish
    return sink, shown


def test_a_recording_is_completed_after_ctrl_c_however_long_it_takes(upscaler, caplog):
    finished = []

    def slow():
        time.sleep(session_module.PATIENCE + 0.5)
        finished.append(True)

    sink, shown = recording(slow)
    with interrupted(shown):
        run(ScriptedSource((frame(i) for i in itertools.count()), pace=0.01), upscaler, sink)
    assert finished
    assert "completing out.mkv; Ctrl-C once more leaves it unfinished" in caplog.messages


def test_ctrl_c_twice_does_not_wait_for_a_recording(upscaler):
    gate, finishing = threading.Event(), threading.Event()

    def endless():
        finishing.set()
        gate.wait()

    sink, shown = recording(endless)
    source = ScriptedSource((frame(i) for i in itertools.count()), pace=0.01)
    try:
        with (
            interrupted(shown, finishing),
            pytest.raises(MediaError, match=r"left unfinished, as Ctrl-C came twice: out\.mkv"),
        ):
            Session(source, upscaler, [sink], SIMPLE).run()
    finally:
        gate.set()


@pytest.mark.parametrize("lasting", [True, False])
def test_what_was_to_stay_and_could_not_be_completed_is_a_failure(upscaler, lasting, caplog):
    def full():
        raise MediaError("no space left")

    sink, other = RecordingSink("out.mkv"), RecordingSink("other")
    sink.lasting, sink.finish = lasting, full
    source = ScriptedSource([frame(i) for i in range(10)], pace=0.01)
    if lasting:
        with pytest.raises(MediaError, match="no space left"):
            run(source, upscaler, sink, other)
    else:
        run(source, upscaler, sink, other)
        assert "out.mkv: no space left" in caplog.messages
    assert other.finished


def test_a_recording_that_is_lost_midway_is_a_failure_though_others_go_on(upscaler):
    def full(number):
        if number == 3:
            raise MediaError("no space left")

    turns = Turns()
    sink, other = RecordingSink("out.mkv", stall=full), RecordingSink("other", stall=turns.shown)
    sink.lasting = True
    source = ScriptedSource(turns.frames([frame(i) for i in range(30)]), pace=0.01)
    with pytest.raises(MediaError, match="no space left"):
        run(source, upscaler, sink, other)
    assert other.finished
    assert len(other.times) > 4


def test_what_live_leaves_as_it_is_is_said():
    source = ScriptedSource([frame(0)])
    with source as opened:
        info = opened.info
    assert session_module.unheeded(info) == []
    turned, combed = session_module.unheeded(replace(info, rotation=90, interlaced=True))
    assert "asks for a turn by 90 degrees" in turned
    assert "interlaced" in combed
