"""`rfdn-stream bench` measures what it says."""

import json
import math
import os
import re
import time

import pytest
import typer

from program import rfdn_stream
from rfdn_stream import Upscaler
from rfdn_stream.cli.bench import _print as print_table
from rfdn_stream.cli.bench import frame_size
from rfdn_stream.doctor.bench import measure
from rfdn_stream.doctor.engines import compare
from rfdn_stream.engines import torch_engine
from rfdn_stream.nets.catalogue import open_model
from rfdn_stream.nets.complexity import count


class Sleeping:
    """An engine of known cost."""

    def __init__(self, engine, seconds):
        self.scale, self.precision, self.description = engine.scale, engine.precision, engine.description
        self._seconds = seconds

    def __call__(self, rgb):
        time.sleep(self._seconds)
        return rgb.repeat_interleave(self.scale, 1).repeat_interleave(self.scale, 2)


def test_a_network_of_known_cost_is_measured_as_such(tiny_model):
    with Upscaler(tiny_model, reuse="off") as upscaler:
        upscaler.engine = Sleeping(upscaler.engine, 0.1)
        speed = measure(upscaler, 32, 20, seconds=0.5)
    assert (speed.width, speed.height) == (32, 20)
    assert speed.frames >= 2
    assert 0 < speed.fps <= 10
    assert speed.network * speed.frames / speed.fps >= 0.1 * speed.frames
    assert 0 <= speed.idle < 1


def command(*arguments):
    return rfdn_stream("bench", *arguments, env={**os.environ, "COLUMNS": "120"})


def test_the_command(tiny_model):
    ran = command("--model", str(tiny_model), "--size", "64x36", "--seconds", "0.1", "--json")
    assert ran.returncode == 0, ran.stderr
    (speed,) = json.loads(ran.stdout)["speeds"]
    assert (speed["width"], speed["height"]) == (64, 36)
    assert speed["fps"] > 0


def test_all_networks_in_sequence_are_named(tiny_model):
    ran = command("--model", str(tiny_model), "--scale", "4", "--size", "32x24", "--seconds", "0.1", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["what"].startswith("tiny-x2 then tiny-x2 x4 on cpu, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cpu", "--precision", "fp32"], "--cpu measures every engine and precision; leave out"),
        (["--device", "cpu,cpu"], "bench measures one device at a time, got cpu,cpu"),
    ],
)
def test_what_bench_cannot_heed_is_refused(arguments, message):
    ran = command(*arguments)
    assert ran.returncode == 2
    assert message in ran.stderr


def test_a_narrow_table_cuts_no_figure_off(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_table(("in", "fps", "network", "blocks"), [["1920x1080", "123.4", "8.1234567", "7.6543210"]])
    shown = capsys.readouterr().out
    assert "…" not in shown
    digits = "".join(character for line in shown.splitlines()[2:] for character in line if character.isdigit())
    assert sorted(digits) == sorted("1920x1080 123.4 8.1234567 7.6543210".translate({ord(c): None for c in "x. "}))


@pytest.mark.parametrize("best", ["fp32", "bf16"])
def test_engines_side_by_side(tiny_model, monkeypatch, best):
    """On processors without bf16 and with it."""
    monkeypatch.setattr(torch_engine, "_best_on_cpu", lambda: (best, "as asked by the test"))
    found = compare(tiny_model, size=(64, 36), seconds=0.1)
    yardstick, *others = found.timings
    assert yardstick.engine == "torch fp32"
    assert found.ratio(yardstick) == 1
    assert math.isinf(yardstick.psnr)
    assert f"torch {best}" in {timing.engine for timing in found.timings}
    assert all(len(timing.seconds) == len(timing.cpu_seconds) >= 3 for timing in found.timings)
    assert all(timing.psnr > 40 for timing in others)
    network, _ = open_model(tiny_model)
    if any(timing.engine == "winograd int16" for timing in others):
        assert set(found.peaks) == {"fp32", "int16"}
        for timing in found.timings:
            known = timing.engine.split()[-1] in found.peaks  # nothing is measured of bf16
            assert timing.floor > 0 if known else timing.floor is None
    assert found.gflop == pytest.approx(2e-9 * count(network, 64, 36).macs)
    assert {timing.engine.split()[0] for timing in found.timings} <= {"torch", "winograd", "openvino"}


def test_engines_from_the_command_line(tiny_model):
    options = ("--cpu", "--model", str(tiny_model), "--size", "64x36", "--seconds", "0.1")
    ran = command(*options)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"torch fp32 +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9]+ +1.00 x +[-0-9.]+ +-", ran.stdout)
    written = command(*options, "--json").stdout
    yardstick = json.loads(written, parse_constant=pytest.fail)[0]["timings"][0]  # Infinity is no JSON
    assert (yardstick["engine"], yardstick["psnr"]) == ("torch fp32", None)


@pytest.mark.parametrize("size", ["64", "0x36", "64x", "ax b"])
def test_a_size_that_is_none(size):
    with pytest.raises(typer.BadParameter, match="WIDTHxHEIGHT"):
        frame_size(size)
