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
from rfdn_stream.cli.bench import frame_size
from rfdn_stream.doctor.bench import measure
from rfdn_stream.doctor.engines import compare
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


def test_engines_side_by_side(tiny_model):
    found = compare(tiny_model, size=(64, 36), seconds=0.1)
    yardstick, *others = found.timings
    assert yardstick.engine == "torch fp32"
    assert found.ratio(yardstick) == 1
    assert math.isinf(yardstick.psnr)
    assert all(len(timing.seconds) == len(timing.cpu_seconds) >= 3 for timing in found.timings)
    assert all(timing.psnr > 40 for timing in others)
    network, _ = open_model(tiny_model)
    if any(timing.engine == "winograd int16" for timing in others):
        assert set(found.peaks) == {"fp32", "int16"}
        assert all(timing.floor > 0 for timing in found.timings)
    assert found.gflop == pytest.approx(2e-9 * count(network, 64, 36).macs)
    assert {timing.engine.split()[0] for timing in found.timings} <= {"torch", "winograd", "openvino"}


def test_engines_from_the_command_line(tiny_model):
    options = ("--cpu", "--model", str(tiny_model), "--size", "64x36", "--seconds", "0.1")
    ran = command(*options)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"torch fp32 +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9]+ +1.00 x +[-0-9.]+ +-", ran.stdout)
    assert json.loads(command(*options, "--json").stdout)[0]["timings"][0]["engine"] == "torch fp32"


@pytest.mark.parametrize("size", ["64", "0x36", "64x", "ax b"])
def test_a_size_that_is_none(size):
    with pytest.raises(typer.BadParameter, match="WIDTHxHEIGHT"):
        frame_size(size)
