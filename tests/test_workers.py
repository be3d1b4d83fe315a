"""Several processes at one job: the same file, whoever did what and whatever became of him."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from rfdn_stream import upscale
from rfdn_stream.errors import MediaError, RfdnError, UsageError
from rfdn_stream.jobs import workers as module
from rfdn_stream.jobs.choice import choose_executor
from rfdn_stream.jobs.executors import SerialExecutor
from rfdn_stream.jobs.plan import job_folder, load_plan
from rfdn_stream.jobs.report import LogReporter
from rfdn_stream.jobs.workers import WorkersExecutor
from support import film

CUT = {"segment": 0.5, "preset": "ultrafast"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Six segments."""
    return film(tmp_path_factory.mktemp("film") / "film.mp4", frames=75, gop=12)


@pytest.fixture(scope="module")
def alone(source, tiny_model):
    """What one worker makes of it, byte for byte."""
    target = source.with_name("alone.mp4")
    upscale(source, target, model=tiny_model, **CUT)
    return target.read_bytes()


class Disturbance(LogReporter):
    """Does something at the first frame that a worker has written."""

    def __init__(self, disturb):
        self.disturb, self.heard = disturb, []

    def frame(self, stages):
        self.heard.append(stages.frames)
        if self.disturb:
            disturb, self.disturb = self.disturb, None
            disturb()


def kill_one():
    multiprocessing.active_children()[0].kill()


def test_the_same_file_though_a_worker_is_killed(source, alone, tiny_model, tmp_path, caplog):
    reporter = Disturbance(kill_one)
    result = upscale(source, tmp_path / "out.mp4", model=tiny_model, workers=2, reporter=reporter, **CUT)
    assert result.target.read_bytes() == alone
    assert reporter.heard[-1] == result.frames == 75  # one progress for all
    (warning,) = [record.message for record in caplog.records if "ended" in record.message]
    assert "a worker ended (SIGKILL); segment" in warning
    assert os.listdir(tmp_path) == ["out.mp4"]
    assert multiprocessing.active_children() == []


def test_a_segment_that_costs_too_many_workers(source, alone, tiny_model, tmp_path, monkeypatch):
    """One line, and what is whole is kept: a run that is not disturbed ends in the same file."""
    monkeypatch.setattr(module, "TRIES", 1)
    with pytest.raises(RfdnError, match=r"segment \d was tried 1 times.*\(SIGKILL\).*smaller --tile") as failure:
        upscale(source, tmp_path / "out.mp4", model=tiny_model, workers=2, reporter=Disturbance(kill_one), **CUT)
    assert "\n" not in str(failure.value)
    assert multiprocessing.active_children() == []
    assert job_folder(tmp_path / "out.mp4").is_dir()
    assert upscale(source, tmp_path / "out.mp4", model=tiny_model, **CUT).target.read_bytes() == alone


def test_a_worker_says_why_it_cannot(source, tiny_model, tmp_path):
    copy = tmp_path / "film.mp4"
    copy.write_bytes(source.read_bytes())
    reporter = Disturbance(lambda: os.utime(copy, (1, 1)))
    with pytest.raises(MediaError, match=r"film\.mp4 has changed since the job began; --restart"):
        upscale(copy, tmp_path / "out.mp4", model=tiny_model, workers=2, reporter=reporter, **CUT)
    assert multiprocessing.active_children() == []


def test_ctrl_c_ends_all(tiny_model, tmp_path):
    """As a terminal sends it, to every process of the command; what is whole is told and kept."""
    source = film(tmp_path / "film.mp4", frames=800, gop=50)
    command = [sys.executable, "-m", "rfdn_stream", "upscale", source, tmp_path / "out.mp4", "--model", tiny_model]
    options = ["--workers", "2", "--preset", "veryslow"]
    with subprocess.Popen(
        [*map(str, command), *options], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        folder = job_folder(tmp_path / "out.mp4")
        while not list(folder.glob("0*.part")):  # what a worker is writing
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()  # ends when none of the processes is there any more
        process.wait(30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert f"of {len(load_plan(folder).segments)} segments are whole" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cpu", 0, None), "0 workers do nothing; choose 1 or more"),
        (("cpu", 2, "auto"), "--workers is for this machine"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        choose_executor(*arguments)


def test_who_does_it():
    assert choose_executor("cpu", 1, None) == SerialExecutor()
    assert choose_executor("cpu", 2, None) == WorkersExecutor(2)
    assert choose_executor("cuda:0, cuda:1", 3, None) == WorkersExecutor(3, ("cuda:0", "cuda:1"))


def test_each_of_several_devices_has_its_worker(monkeypatch):
    devices = []

    class Noted(module._Worker):
        def __init__(self, plan, device, threads):
            devices.append(device)
            if len(devices) == 3:
                raise RfdnError("enough")

        def kill(self):
            return ""

    monkeypatch.setattr(module, "_Worker", Noted)
    with pytest.raises(RfdnError, match="enough"):
        next(WorkersExecutor(3, ("cuda:0", "cuda:1")).run(None, [1, 2, 3], None))
    assert devices == ["cuda:0", "cuda:1", "cuda:0"]
