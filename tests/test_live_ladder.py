"""What a session gives up and takes back, on a machine whose clock and speed the test sets."""

import itertools
from collections import deque

import cv2
import numpy as np
import pytest
import torch

from rfdn_stream.frame import ColorSpec, Layout
from rfdn_stream.kernels import cpu
from rfdn_stream.kernels.resample import resample
from rfdn_stream.live.ladder import FULL, PATIENCE, PLAIN, QUICK, Ladder, Made, Step, steps
from rfdn_stream.live.lighter import lighter_twin
from rfdn_stream.live.meter import Window, percentile
from rfdn_stream.live.quick import enlarged
from rfdn_stream.live.stepped import MIXED, SteppedEngine, put_steps_in
from rfdn_stream.multi import MultiUpscaler
from rfdn_stream.upscaler import Upscaler
from support import assert_frames_equal, random_frame


class Machine:
    """Frames arrive at a rate; the newest is made, at a cost that may change; the ladder hears of each."""

    def __init__(self, ladder, *, rate=25.0, network=0.01, plain=0.004):
        self.ladder, self.rate, self.network, self.plain = ladder, rate, network, plain
        self.now, self._number = 0.0, 0
        self.latencies, self.changes, self.missed = [], [], 0

    def cost(self, step):
        return self.network * step.cost

    def run(self, seconds):
        """Returns the latencies of the frames made meanwhile."""
        end, begun = self.now + seconds, len(self.latencies)
        while self.now < end:
            newest = int(self.now * self.rate + 1e-9)
            if newest <= self._number:  # nothing new yet: wait for it
                newest = self._number + 1
                self.now = newest / self.rate
            for _ in range(self._number + 1, newest):
                self.missed += 1
                self.ladder.missed(self.now)
            self._number = newest
            self._make(newest / self.rate)
        return self.latencies[begun:]

    def _make(self, captured):
        step = self.ladder.plan(self.now)
        network = self.cost(step)
        self.now += network + self.plain
        self.latencies.append(self.now - captured)
        if self.ladder.made(Made(self.now, self.now - captured, network + self.plain, network, step)):
            self.changes.append((self.now, self.ladder.step))


def started(network, *, latency=0.2, rate=25.0, light="", plain=0.004):
    ladder = Ladder(steps(light=light), latency, rate)
    ladder.begin(0.0, network, plain)
    return Machine(ladder, rate=rate, network=network, plain=plain)


def test_a_fast_machine_stays_on_top():
    machine = started(0.01)
    assert max(machine.run(60)) < 0.02
    assert machine.ladder.step is FULL
    assert (machine.changes, machine.missed) == ([], 0)


@pytest.mark.parametrize(("network", "part"), [(0.03, 1.0), (0.05, 0.75), (0.1, 0.5), (0.25, 0.5), (0.9, None)])
def test_it_begins_on_the_first_step_that_holds(network, part):
    """Measured before the first frame, so that no viewer sees the search for it."""
    machine = started(network)
    step = machine.ladder.step
    assert (step.part if step.every else None) == part
    machine.run(20)
    assert [change for change in machine.changes if change[0] < PATIENCE] == []


@pytest.mark.parametrize("network", [0.06, 0.15, 0.5, 3.0])
def test_a_machine_that_gets_slower_holds_the_bound_within_two_seconds(network):
    machine = started(0.01)
    machine.run(10)
    machine.network = network
    machine.run(max(2.0, network))  # a frame that is being made cannot be taken back
    settled = machine.run(4.0)
    assert percentile(settled, 0.95) <= 0.2
    assert len(settled) / 4 >= 0.9 * 25


def test_it_goes_up_again_and_not_before_it_has_waited():
    machine = started(0.01)
    machine.run(5)
    machine.network = 5.0
    machine.run(10)
    down = machine.changes[-1]
    assert down[1] is PLAIN
    hopeless = machine.run(60)  # now and then a part of a frame is tried, which the bound has room for
    assert machine.changes[-1] is down
    assert max(hopeless) <= 0.2
    machine.network = 0.01
    machine.run(120)
    assert machine.ladder.step is FULL
    ups = [at for at, _ in machine.changes if at > down[0]]
    assert all(later - earlier >= PATIENCE for earlier, later in itertools.pairwise([down[0], *ups]))


class Deceptive(Machine):
    """A whole frame costs far more than a part of it lets one think."""

    def cost(self, step):
        return 0.06 if step is FULL else 0.02 * step.cost


def test_a_mistaken_step_up_makes_it_more_patient():
    ladder = Ladder((FULL, Step("half", 0.5), PLAIN), 0.2, 25)
    ladder.begin(0.0, 0.06, 0.004)
    machine = Deceptive(ladder)
    assert ladder.step.name == "half"
    latencies = machine.run(600)
    ups = [at for at, step in machine.changes if step is FULL]
    waits = [later - earlier for earlier, later in itertools.pairwise(ups)]
    assert 3 <= len(ups) <= 15
    assert waits[-1] > 4 * waits[0] > PATIENCE
    assert percentile(latencies, 0.95) < 0.2


def test_on_the_lowest_step_frames_are_dropped_and_the_latency_holds():
    machine = started(10.0, plain=0.06)
    latencies = machine.run(30)
    assert machine.ladder.step is PLAIN
    assert machine.missed > 100
    assert max(latencies) < 0.2


class Weak(Machine):
    """Even resampling is too slow; resizing is not."""

    resizes = 0.005

    def _make(self, captured):
        step = self.ladder.plan(self.now)
        self.now += self.resizes if step.quick else self.cost(step) + self.plain
        self.latencies.append(self.now - captured)
        busy = self.now - captured
        if self.ladder.made(Made(self.now, busy, busy, self.cost(step), step)):
            self.changes.append((self.now, self.ladder.step))


def test_below_the_resampler_there_is_a_quicker_one():
    ladder = Ladder(steps(quick=True), 0.2, 25)
    ladder.begin(0.0, 2.0, 0.05)
    assert ladder.step is QUICK
    machine = Weak(ladder, network=2.0, plain=0.05)
    assert max(machine.run(60)) < 0.1  # now and then a frame is resampled, to see whether that holds by now
    assert machine.missed < 12
    machine.plain = 0.01
    machine.run(40)
    assert ladder.step is PLAIN


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("format", ["yuv420p", "yuv422p", "nv12", "gray", "rgb24", "yuv420p10le"])
def test_the_quick_way_agrees_with_the_kernels(siting, scale, format):
    """On a smooth picture, where cubic and Lanczos agree: chroma is where its siting says."""
    color = None if format == "rgb24" else ColorSpec(siting=siting)
    frame = random_frame(format, 48, 40, seed=2, color=color)
    unit = 1 << frame.format.bits - 8
    for plane in frame.planes:
        plane[...] = np.clip(cv2.GaussianBlur(plane, (0, 0), 4), 60 * unit, 200 * unit)
    made = enlarged(frame, scale)
    target = Layout(frame.format, scale * 48, scale * 40)
    rgb = torch.empty(3, 40, 48)
    cpu.pre([torch.from_numpy(plane) for plane in frame.planes], frame.format, frame.color, rgb)
    want = target.planes(np.zeros(target.nbytes, np.uint8))
    big = resample(rgb, scale * 40, scale * 48)
    cpu.post(big, [torch.from_numpy(plane) for plane in want], frame.format, frame.color, dither=False)
    for got, wanted in zip(made.planes, want, strict=True):
        difference = np.abs(got.astype(int) - wanted)[6:-6, 6:-6] / unit
        assert difference.mean() < 0.35
        assert difference.max() <= 3


def test_frames_lost_in_bursts_do_not_count_against_the_machine():
    ladder = Ladder(steps(), 0.2, 30)
    ladder.begin(0.0, 0.005, 0.001)
    for i in range(300):  # two frames at once, every 67 ms: one of them is never begun
        ladder.missed(i / 15)
        assert not ladder.made(Made(i / 15 + 0.006, 0.006, 0.006, 0.005, FULL))
    assert ladder.step is FULL


def test_a_slow_source_is_held_at_its_own_rate():
    ladder = Ladder(steps(), 1.0, 30)
    machine = Machine(ladder, rate=5.0, network=0.15)
    machine.run(30)
    assert ladder.step is FULL
    assert machine.missed == 0


def test_a_source_that_is_slower_than_it_declares_gets_what_there_is_time_for():
    ladder = Ladder(steps(), 0.2, 30)
    ladder.begin(0.0, 0.06, 0.004)
    assert ladder.step is not FULL
    machine = Machine(ladder, rate=10.0, network=0.06)
    machine.run(60)
    assert ladder.step is FULL
    machine.rate, machine._number = 30.0, int(machine.now * 30)  # now it is as fast as it declared
    machine.run(5)
    assert ladder.step is not FULL


def test_a_stall_of_the_source_is_not_taken_for_a_slow_one():
    machine = started(0.06, rate=30.0)
    machine.run(30)
    step, changes = machine.ladder.step, len(machine.changes)
    assert step is not FULL
    machine.now += 1.2
    machine._number = int(machine.now * 30)  # nothing came meanwhile
    machine.run(0.01)
    assert machine.ladder.step is step
    assert len(machine.changes) == changes


def test_lighter_precision_is_the_first_thing_given_up():
    names = [step.name for step in steps(light="bf16")]
    assert names[0] == ""
    assert names[1] == "in bf16"
    assert all("bf16" in name for name in names[2:-1])
    assert started(0.05, light="bf16").ladder.step == Step("in bf16", light=True)
    assert [step.light for step in steps()] == [False] * 5
    costs = [step.cost for step in steps(light="bf16")]
    assert costs == sorted(costs, reverse=True)


# The engine that carries the steps out.


@pytest.fixture(scope="module")
def upscaler(tiny_model):
    with Upscaler(tiny_model, depth=2) as upscaler:
        yield upscaler


def test_every_step_makes_the_same_size_and_the_first_one_the_same_bits(upscaler):
    engine = upscaler.engine
    plans = put_steps_in(upscaler)
    try:
        frame = random_frame(width=40, height=24, seed=3)
        for step in steps():
            plans.append(step)
            made = upscaler.submit(frame, fresh=True).result()
            assert (made.width, made.height) == (80, 48)
            assert not plans
        rgb = torch.rand(3, 24, 40, generator=torch.Generator().manual_seed(0))
        stepped = upscaler.engine
        assert torch.equal(stepped(rgb), engine(rgb).clone())
        plans.append(PLAIN)
        assert torch.equal(stepped(rgb), resample(rgb, 48, 80))
        plans.append(Step(part=0.5))
        small = resample(engine(resample(rgb, 12, 20)).float(), 48, 80)
        torch.testing.assert_close(stepped(rgb), (1 - MIXED) * resample(rgb, 48, 80) + MIXED * small)
    finally:
        upscaler.engine = engine


def test_the_lighter_engine_is_made_when_it_is_first_wanted():
    made = []

    def engine(rgb):
        return rgb.repeat_interleave(2, 1).repeat_interleave(2, 2)

    engine.scale, engine.precision, engine.description = 2, "fp32", "exact"

    def lighter():
        made.append(1)
        return lambda rgb: torch.zeros(3, 2 * rgb.shape[1], 2 * rgb.shape[2])

    plans = [Step(light=True), FULL, Step(light=True)]
    stepped = SteppedEngine(engine, deque(plans), lighter)
    rgb = torch.rand(3, 4, 4)
    assert made == []
    assert stepped(rgb).sum() == 0
    assert torch.equal(stepped(rgb), engine(rgb))
    assert stepped(rgb).sum() == 0
    assert made == [1]


def test_there_is_a_lighter_twin_where_the_user_asked_for_a_heavier_precision(tiny_model, monkeypatch):
    from rfdn_stream.live import lighter as module
    from rfdn_stream.nets.catalogue import open_model

    def network():
        return open_model(tiny_model)[0]

    with Upscaler(tiny_model, precision="fp32", engine="torch") as upscaler:
        monkeypatch.setattr(module, "choose_precision", lambda *_: ("bf16", "as on a processor that has it"))
        name, make = lighter_twin(upscaler, network)
        assert name == "bf16"
        twin = make(upscaler.engine, upscaler.model, torch.device("cpu"))
        assert twin.precision == "bf16"
        rgb = torch.rand(3, 16, 16)
        torch.testing.assert_close(twin(rgb).float(), upscaler.engine(rgb).float(), atol=0.05, rtol=0.05)
        monkeypatch.setattr(module, "choose_precision", lambda *_: ("fp32", "as on one that has not"))
        assert lighter_twin(upscaler, network) is None
    monkeypatch.setattr(module, "choose_precision", lambda *_: ("bf16", "as on a processor that has it"))
    with Upscaler(tiny_model, scale=(2, 2), precision="fp32", engine="torch") as upscaler:
        assert lighter_twin(upscaler, network) is None  # the weights of both would be needed


def test_several_devices_share_the_plans(tiny_model):
    with MultiUpscaler([Upscaler(tiny_model, depth=2), Upscaler(tiny_model, depth=2)]) as several:
        plans = put_steps_in(several)
        frame = random_frame(seed=5)
        made = []
        for _ in range(4):
            plans.append(FULL)
            made.append(several.submit(frame, fresh=True).result())
        assert not plans
        for other in made[1:]:
            assert_frames_equal(made[0], other)


# What a session measures.


def test_rates_and_percentiles():
    window = Window(2.0)
    assert window.rate(0.0) == 0
    for i in range(6):
        window.add(i / 10, i)
    assert window.rate(0.5) == pytest.approx(10)
    assert window.rate(5.0) == 0
    assert window.count == 6
    for i in range(100):
        window.add(10 + i / 25, i)
    assert window.rate(10 + 99 / 25) == pytest.approx(25, rel=0.02)
    assert len(window.values(13.96)) == 50
    assert percentile([], 0.95) == 0
    assert percentile([5.0], 0.95) == 5
    assert percentile([float(i) for i in range(1, 101)], 0.95) == 95
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
