"""`rfdn-stream bench` measures what it says."""

import json
import subprocess
import sys
import time

import pytest
import typer

from rfdn_stream import Upscaler
from rfdn_stream.cli.bench import frame_size
from rfdn_stream.doctor.bench import measure


class Sleeping:
    """An engine of known cost."""

    def __init__(self, engine, seconds):
        self.scale, self.precision, self.description = engine.scale, engine.precision, engine.description
        self._seconds = seconds

    def __call__(self, rgb):
        time.sleep(self._seconds)
        return rgb.repeat_interleave(self.scale, 1).repeat_interleave(self.scale, 2)


def test_a_network_of_known_cost_is_measured_as_such(tiny_model):
    with Upscaler(tiny_model) as upscaler:
        upscaler.engine = Sleeping(upscaler.engine, 0.1)
        speed = measure(upscaler, 32, 20, seconds=0.5)
    assert (speed.width, speed.height) == (32, 20)
    assert speed.frames >= 2
    assert 0 < speed.fps <= 10
    assert speed.network * speed.frames / speed.fps >= 0.1 * speed.frames
    assert 0 <= speed.idle < 1


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "rfdn_stream", "bench", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command(tiny_model):
    ran = command("--model", str(tiny_model), "--size", "64x36", "--seconds", "0.1", "--json")
    assert ran.returncode == 0, ran.stderr
    (speed,) = json.loads(ran.stdout)["speeds"]
    assert (speed["width"], speed["height"]) == (64, 36)
    assert speed["fps"] > 0


@pytest.mark.parametrize("size", ["64", "0x36", "64x", "ax b"])
def test_a_size_that_is_none(size):
    with pytest.raises(typer.BadParameter, match="WIDTHxHEIGHT"):
        frame_size(size)
