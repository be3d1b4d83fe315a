"""`doctor --gpu` without a card: the same checks on a checking CpuDevice and on the CUDA of fake_cuda.py.

Each planted fault is found, and the verdict comes of it. test_gpu.py runs it on a card.
"""

import json
import math
import time
from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

import rfdn_stream.upscaler
from fake_cuda import FakeCuda, HostWatchedDevice
from rfdn_stream.cli.app import run as run_command
from rfdn_stream.cli.bench import CARD_COLUMNS, _card_row
from rfdn_stream.devices.base import NoDeviceError
from rfdn_stream.devices.cpu import CpuDevice
from rfdn_stream.doctor import bench, card
from rfdn_stream.doctor.agreement import check_engines, check_frames, check_kernels, engine_maker
from rfdn_stream.doctor.bench import Speed, measure
from rfdn_stream.doctor.card import Limits, examine_card, judge_memory, judge_network, judge_overlap, verdict
from rfdn_stream.doctor.finding import State, absent, broken, ok
from rfdn_stream.doctor.floor import Cost, Floor, cost_of, cost_of_all, floor_of
from rfdn_stream.doctor.rates import RUNS, Rates, measure_rates, published_memory_rate
from rfdn_stream.engines import torch_engine
from rfdn_stream.engines.graph import GraphEngine
from rfdn_stream.errors import UsageError
from rfdn_stream.kernels import cpu, cuda
from rfdn_stream.nets.catalogue import describe, open_model
from rfdn_stream.upscaler import Upscaler
from test_cuda_engine import Again

ANY = Limits(idle=1.0, above_floor=math.inf)  # a processor with other work to do is not judged
QUICK = {"sizes": [(48, 32), (64, 48)], "seconds": 0.05, "rates": partial(measure_rates, nbytes=1 << 20, channels=64)}


class PlainDevice(CpuDevice):
    """With none of a processor's own engines, as a card."""

    engines = ("torch",)


class SlowDevice(PlainDevice):
    """Copies up take as long as that."""

    def __init__(self, seconds):
        super().__init__(check=True)
        self._seconds = seconds

    def _enqueue(self, what, work, stream, reads, writes):
        def slowly():
            time.sleep(self._seconds)
            work()

        super()._enqueue(what, slowly if what == "h2d copy" else work, stream, reads, writes)


@pytest.fixture(autouse=True)
def no_bf16(monkeypatch):
    """`auto` is fp32 on every processor: precisions are named and counted here."""
    monkeypatch.setattr(torch_engine, "_best_on_cpu", lambda: ("fp32", "as on a processor without bf16"))


@pytest.fixture
def upscaler(tiny_model):
    upscaler = Upscaler(tiny_model, device=PlainDevice(check=True), reuse="off")
    yield upscaler
    upscaler.close(abandon=True)


def broken_parts(findings):
    return [finding.part for finding in findings if finding.state is State.BROKEN]


def test_a_device_that_is_fine(upscaler):
    findings = list(examine_card(upscaler, **QUICK, limits=ANY))
    assert [f.part for f in findings if f.state is not State.OK] == []
    parts = [f.part for f in findings]
    assert parts[:3] == ["cpu", "colour kernels", "engine torch fp32"]
    assert parts[-7:] == ["copies", "memory", "arithmetic", "48x32 x2", "64x48 x2", "overlap", "network"]
    assert "282 cases" in findings[1].detail
    assert verdict(findings) == "this card is fine"


# Colour


def siting_of_another(planes, format, color, out):
    cpu.pre(planes, format, replace(color, siting="topleft"), out)


def nothing_written(planes, format, color, out):
    if format.name != "gray12le":
        cpu.pre(planes, format, color, out)


def one_code_more(rgb, planes, format, color):
    cpu.post(rgb, planes, format, color)
    if format.name == "p010le":
        planes[1][0, 0, 1] ^= 1 << format.shift


@pytest.mark.parametrize(
    ("kernels", "as_"),
    [
        ({"pre": siting_of_another}, "yuv420p bt601 limited left"),
        ({"pre": nothing_written}, "gray12le bt601 limited left"),
        ({"post": one_code_more}, "p010le bt601 limited left"),
    ],
)
def test_a_wrong_kernel_is_found(upscaler, kernels, as_):
    upscaler.device.kernels = SimpleNamespace(**{"pre": cpu.pre, "post": cpu.post} | kernels)
    (finding,) = check_kernels(upscaler.device)
    assert finding.state is State.BROKEN
    assert f"of 282 cases are wrong, as {as_}" in finding.detail
    assert finding.remedy


def test_kernels_that_are_missing_are_no_fault_but_said(monkeypatch):
    monkeypatch.setattr(cuda, "what_is_missing", lambda device: "CuPy is missing; pip install it")
    device = SimpleNamespace(torch_device=torch.device("cuda", 0), kernels=cpu)
    said = next(check_kernels(device))  # the next one would be torch's kernels on a card
    assert (said.state, said.detail) == (State.ABSENT, "CuPy is missing; pip install it")
    assert verdict([said]) == "this card is fine"


# Engines


class Changed:
    """An engine whose results go through a function."""

    def __init__(self, engine, change):
        self.scale, self.precision, self.description = engine.scale, engine.precision, engine.description
        self._engine, self._change = engine, change

    def __call__(self, rgb):
        return self._change(self._engine(rgb))


def engines(upscaler, **made):
    """The findings of `check_engines` with these engines, each made by a function, and plain torch."""
    upscaler.device.engines = (*made, "torch")
    real = engine_maker(upscaler.device, upscaler.model)

    def make(name, precision):
        return made[name](precision) if name in made else real(name, precision)

    return list(check_engines(upscaler.device, replace(upscaler.model, precisions=("fp32",)), make))


def graph(tiny_model, record):
    return lambda precision: GraphEngine(*open_model(tiny_model), torch.device("cpu"), "fp32", 0, record=record)


class Stale(Again):
    """A graph that gives what it was recorded with, whatever the picture."""

    def __call__(self, work):
        result, _ = super().__call__(work)
        return result, lambda: None


def refuses(work):
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing")


def test_a_graph_that_does_as_plain_torch_is_fine(upscaler, tiny_model):
    findings = engines(upscaler, graph=graph(tiny_model, Again()))
    assert [(f.part, f.state) for f in findings] == [("engine graph fp32", "ok"), ("engine torch fp32", "ok")]
    assert "at most 0.0000 of 1 from plain torch" in findings[0].detail


@pytest.mark.parametrize(
    ("record", "cost"), [(Stale(), "wrong pictures"), (refuses, "slower than it should be")], ids=["stale", "refused"]
)
def test_a_graph_that_does_not_is_found(upscaler, tiny_model, record, cost):
    finding, plain = engines(upscaler, graph=graph(tiny_model, record))
    assert (finding.part, finding.state, finding.cost) == ("engine graph fp32", "broken", cost)
    assert plain.state is State.OK


@pytest.mark.parametrize("change", [lambda x: x * 1.1, lambda x: x + math.nan, lambda x: x.flip(2)])
def test_an_engine_that_is_off_is_found(upscaler, change):
    real = engine_maker(upscaler.device, upscaler.model)
    finding, _ = engines(upscaler, graph=lambda precision: Changed(real("torch", precision), change))
    assert (finding.state, finding.cost) == (State.BROKEN, "wrong pictures")


def test_an_engine_that_is_not_to_be_had_is_no_fault(upscaler):
    def compiled(precision):
        raise UsageError("torch.compile does not work here: no compiler; choose engine graph")

    finding, _ = engines(upscaler, compile=compiled)
    assert (finding.part, finding.state) == ("engine compile", State.ABSENT)
    assert verdict([finding]) == "this card is fine"


# Frames in flight


def test_frames_that_get_their_neighbours_picture_are_found(upscaler):
    engine, last = upscaler.engine, []

    def late(rgb):
        last.append(engine(rgb).clone())
        fitting = [one for one in last[:-1] if one.shape == last[-1].shape]
        return fitting[-1] if fitting else last[-1]

    upscaler.engine = Changed(engine, lambda result: result)
    upscaler.engine._engine = late
    finding = check_frames(upscaler)
    assert (finding.state, finding.cost) == (State.BROKEN, "wrong or mixed frames")


def test_frames_that_come_in_another_order_are_found(upscaler, monkeypatch):
    real = upscaler.map
    monkeypatch.setattr(upscaler, "map", lambda frames: sorted(real(frames), key=lambda frame: -frame.pts))
    assert check_frames(upscaler).cost == "frames are mixed up"


def test_on_torchs_cuda_nothing_of_the_checks_is_unordered(monkeypatch, tiny_model):
    """And figures are by the card's clock: here a second between any two marks."""
    runtime = FakeCuda(monkeypatch)
    upscaler = Upscaler(tiny_model, device=HostWatchedDevice(runtime), engine="torch", reuse="off")
    with runtime:
        assert check_frames(upscaler).state is State.OK
        runtime.log.clear()
        rates = measure_rates(upscaler.device, torch.float32, nbytes=1 << 16, channels=64)
    assert rates.up == rates.down == RUNS * (1 << 16)
    assert rates.memory == 2 * rates.up
    assert rates.arithmetic == RUNS * 2 * 64**3
    copies = {entry[1:] for entry in runtime.log if entry[0] == "copy" and entry[2] == 1 << 16 and entry[3]}
    assert len(copies) == 1  # on one stream, none of them waited for by the host
    assert [entry for entry in runtime.log if "synchronize" in entry[0]] == [("event synchronize", True)] * 4


# Speed


SLOW = Rates(up=1e9, down=1e9, memory=1e9, arithmetic=1e9)


def test_a_card_that_waits_for_its_copies_is_found(tiny_model):
    with Upscaler(tiny_model, device=SlowDevice(0.05), reuse="off") as upscaler:
        overlap = judge_overlap(measure(upscaler, 16, 16, 0.2, SLOW), Limits())
    assert (overlap.part, overlap.state, overlap.cost) == ("overlap", State.BROKEN, "the bus limits the speed")


def test_a_card_that_waits_for_the_processor_is_found(upscaler, monkeypatch):
    monkeypatch.setattr(bench._Nowhere, "write", lambda sink, frame: time.sleep(0.1))
    overlap = judge_overlap(measure(upscaler, 16, 16, 0.05, SLOW), Limits())
    assert (overlap.state, overlap.cost) == (State.BROKEN, "the processor limits the speed")


FLOOR = Floor(arithmetic=0.001, plain=0.010, layers=0.005, blocks=0.002)


@pytest.mark.parametrize(("network", "state"), [(0.9, "ok"), (0.95, "broken")])
def test_a_network_far_above_its_floor_is_found(network, state):
    speed = Speed(64, 48, 9, 1.0, network * 0.044, 0, floor=FLOOR)
    assert judge_network(speed, Limits()).state == state


def test_a_card_with_slow_memory_is_found():
    assert judge_memory(400e9, 1000e9, Limits()).state is State.BROKEN
    assert judge_memory(900e9, 1000e9, Limits()) == ok("memory", "900 GB/s, 90% of the 1000 by its clock and width")
    assert judge_memory(900e9, 0, Limits()) == ok("memory", "900 GB/s")


def test_what_a_cards_memory_should_give(monkeypatch):
    """GDDR6X at 10,501 MHz on 384 bits is sold as 1008 GB/s."""
    properties = SimpleNamespace(name="RTX 4090", memory_clock_rate=10_501_000, memory_bus_width=384)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    device = SimpleNamespace(torch_device=torch.device("cuda", 0))
    assert published_memory_rate(device) == pytest.approx(1008e9, rel=1e-3)
    properties.name = "A100 MIG 1g.5gb"
    assert published_memory_rate(device) == 0


def test_what_a_network_costs():
    """E-RFDN by the figures that floor.py states; a tiny network's maps by hand."""
    big = cost_of(describe("erfdn-x2-video"), 1920, 1080, torch.float16)
    found = round(big.operations / 1e12, 2), *(round(n / 1e9, 1) for n in (big.plain, big.layers, big.blocks))
    assert found == (1.64, 37.4, 17.7, 3.8)


def test_what_the_parts_of_a_network_move(tiny_model):
    model, pixels = describe(tiny_model), 40 * 30
    read, written = 3 + 8 + 8 + 8 + 8 + 8, 8 + 8 + 8 + 8 + 12
    for dtype in (torch.float16, torch.float32):
        assert cost_of(model, 40, 30, dtype).blocks == (read + written) * pixels * dtype.itemsize
    assert cost_of(model, 4, 3, torch.float32) == cost_of(model, 15, 15, torch.float32)  # as it is padded to


def test_networks_in_sequence_cost_what_each_does_on_the_size_that_it_meets(tiny_model):
    model = describe(tiny_model)
    first, second = cost_of(model, 40, 30, torch.float32), cost_of(model, 80, 60, torch.float32)
    both = cost_of_all([model, model], 40, 30, torch.float32)
    assert both == Cost(*(getattr(first, each.name) + getattr(second, each.name) for each in fields(Cost)))
    with Upscaler(tiny_model, scale=4, device=PlainDevice(), reuse="off") as chain:
        assert measure(chain, 40, 30, 0.05, SLOW).floor == floor_of(both, SLOW)


def test_the_floor_is_the_slower_of_memory_and_arithmetic():
    rates = Rates(up=1, down=1, memory=10, arithmetic=1000)
    assert floor_of(Cost(2000, plain=50, layers=30, blocks=10), rates) == Floor(2.0, plain=5.0, layers=3.0, blocks=2.0)


def test_bench_on_a_card_has_its_stages_and_its_floor(upscaler):
    speed = measure(upscaler, 64, 48, 0.05, SLOW)
    assert speed.up > 0
    assert speed.down > 0
    assert speed.floor == floor_of(cost_of(upscaler.model, 64, 48, torch.float32), SLOW)
    row = dict(zip(CARD_COLUMNS, _card_row(replace(speed, fps=40.0, up=0.002, network=0.5)), strict=True))
    assert (row["in"], row["fps"], row["up"], row["network"]) == ("64x48", "40", "2", "12.5")


# The verdict


def test_every_card_is_examined(monkeypatch):
    FakeCuda(monkeypatch)
    assert card.cards() == ["cuda:0", "cuda:1"]


def test_a_check_that_cannot_be_carried_out_is_a_finding_and_the_others_go_on(upscaler, monkeypatch):
    def rates(device, dtype):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    monkeypatch.setattr(upscaler.device, "kernels", None)
    findings = list(examine_card(upscaler, **QUICK | {"rates": rates}, make=lambda name, precision: 1 / 0))
    assert broken_parts(findings) == ["colour kernels", "engines", "frames in flight", "speed"]
    assert findings[-1].detail == "CUDA error: an illegal memory access was encountered"
    assert all(finding.remedy for finding in findings[1:])


def test_the_verdict_says_what_is_wrong_and_what_to_do():
    findings = [
        ok("a", "1"),
        absent("b", "2", "slower"),
        broken("c", "3", "wrong", "mend c"),
        broken("d", "", "x", "y"),
    ]
    assert verdict(findings) == "this card is not fine. c: wrong; mend c. d: x; y"
    assert verdict(findings[:2]) == "this card is fine"


@pytest.fixture
def a_card(monkeypatch, tiny_model):
    """The command on a machine that has a card, which is the processor."""
    monkeypatch.setattr(card, "cards", lambda: ["cpu"])
    monkeypatch.setattr(CpuDevice, "engines", PlainDevice.engines)
    monkeypatch.setattr(rfdn_stream.upscaler, "Upscaler", partial(Upscaler, tiny_model))
    monkeypatch.setattr(card, "examine_card", partial(examine_card, **QUICK, limits=ANY))
    monkeypatch.setattr(card, "check_kernels", lambda device: [ok("colour kernels", "left out")])


def test_the_command_on_a_card_that_is_fine(a_card, capsys):
    assert run_command(["doctor", "--gpu"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == "cpu: this card is fine"


def test_the_command_on_a_card_that_is_not(a_card, capsys, monkeypatch):
    monkeypatch.setattr(card, "check_frames", lambda upscaler: broken("frames in flight", "far off", "mixed", "report"))
    assert run_command(["doctor", "--gpu"]) == 1
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == "cpu: this card is not fine. frames in flight: mixed; report"
    assert run_command(["doctor", "--gpu", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [finding["part"] for finding in found if finding["state"] == "broken"] == ["frames in flight"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
@pytest.mark.parametrize("command", [["doctor", "--gpu"], ["bench", "--device", "cuda:0"]])
def test_without_a_card_it_is_one_line(command):
    with pytest.raises(NoDeviceError):
        run_command(command)
