"""Where results go: two runs on one output, left-overs, and folders that cannot be written into."""

import os
import signal
import subprocess
import sys

import pytest

from rfdn_stream import upscale
from rfdn_stream.errors import UsageError
from rfdn_stream.jobs.report import LogReporter
from rfdn_stream.media.naming import Pattern
from rfdn_stream.media.stills import all_or_none
from rfdn_stream.media.target import hidden_name, settle_target, whole_or_nothing
from support import EXAMPLES

BUNNY = EXAMPLES / "bunny.mp4"


@pytest.fixture
def someone_else(tmp_path):
    """A process that is alive, and another that has ended; their numbers."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        yield alive.pid, ended.pid
        alive.kill()


def test_the_second_of_two_runs_is_refused(tmp_path, tiny_model):
    """A real run, stopped in the middle, and another one of the same output."""
    out = tmp_path / "out.mkv"
    command = [sys.executable, "-m", "rfdn_stream", "upscale", BUNNY, out, "--model", tiny_model, "--duration", 0.4]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as first:
        for line in first.stderr:
            if "320x180" in line:
                break
        first.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(UsageError, match=rf"process {first.pid} is writing .*out\.mkv; wait for it"):
                upscale(BUNNY, out, model=tiny_model, overwrite=True)
            upscale(BUNNY, tmp_path / "other.mkv", model=tiny_model, duration=0.1, preset="ultrafast")
        finally:
            first.send_signal(signal.SIGCONT)
        first.stderr.read()
        assert first.wait(60) == 0
    assert sorted(os.listdir(tmp_path)) == ["other.mkv", "out.mkv"]


def test_what_a_crash_left_is_removed_and_the_living_are_left_alone(tmp_path, someone_else):
    alive, ended = someone_else
    target = tmp_path / "[out].mkv"
    left_over, others = tmp_path / f".[out].mkv.{ended}.part", tmp_path / ".o.mkv.word.part"
    left_over.touch()
    others.touch()
    with whole_or_nothing(target) as partial:
        partial.write_text("whole")
        with pytest.raises(UsageError, match="by this very process"), whole_or_nothing(target):
            pass
    assert sorted(os.listdir(tmp_path)) == [".o.mkv.word.part", "[out].mkv"]
    (tmp_path / f".[out].mkv.{alive}.part").touch()
    with pytest.raises(UsageError, match=f"process {alive} is writing"), whole_or_nothing(target):
        pass
    assert target.read_text() == "whole"


def test_what_a_dead_process_of_our_number_left_is_removed(tmp_path):
    """As in a container, where every run may be process 1."""
    target = tmp_path / "out.mkv"
    left_over = tmp_path / f".out.mkv.{os.getpid()}.part"
    left_over.write_text("half")
    with pytest.raises(UsageError, match="is writing"), whole_or_nothing(target):
        pass  # written since we began: by another container's process of our number
    os.utime(left_over, (0, 0))
    (tmp_path / f".out.mkv.zip.{os.getpid()}.part").touch()  # another result's
    with whole_or_nothing(target) as partial:
        assert partial.read_bytes() == b""
        elsewhere = tmp_path / "folder"
        elsewhere.symlink_to(tmp_path)
        with pytest.raises(UsageError, match="by this very process"), whole_or_nothing(elsewhere / "out.mkv"):
            pass
        elsewhere.unlink()
    with whole_or_nothing(target):
        pass
    assert sorted(os.listdir(tmp_path)) == [f".out.mkv.zip.{os.getpid()}.part", "out.mkv"]


@pytest.mark.parametrize("name", ["x" * 250 + ".mkv", "映" * 83 + ".mkv"])
def test_long_names(tmp_path, name, someone_else):
    """Those of unfinished results are longer, and yet there, apart from each other, and known for what they are."""
    _, ended = someone_else
    target, other = tmp_path / name, tmp_path / f"{name[:-5]}y.mkv"
    (tmp_path / hidden_name(target, f".{ended}.part")).touch()
    with whole_or_nothing(target) as partial, whole_or_nothing(other) as another:
        assert sorted(os.listdir(tmp_path)) == sorted([partial.name, another.name])
        with pytest.raises(UsageError, match="by this very process"), whole_or_nothing(target):
            pass
    assert sorted(os.listdir(tmp_path)) == sorted([target.name, other.name])
    with pytest.raises(UsageError, match="the output's name has 256 bytes, and 255 are possible"):
        settle_target(None, tmp_path / ("x" * 252 + ".mkv"), overwrite=False)


def test_a_link_is_written_through(tmp_path):
    """Also where nothing is there yet, as other programs do."""
    (tmp_path / "there").mkdir()
    link, real = tmp_path / "out.mkv", tmp_path / "there" / "real.bin"
    link.symlink_to("there/real.bin")
    for text, overwrite in (("one", False), ("two", True)):
        settle_target(None, link, overwrite=overwrite)
        with whole_or_nothing(link, overwrite=overwrite) as partial:
            assert partial.parent == real.parent
            partial.write_text(text)
        assert (link.is_symlink(), real.read_text()) == (True, text)
    with pytest.raises(UsageError, match=r"out\.mkv exists; pass --overwrite"):
        settle_target(None, link, overwrite=False)
    link.unlink()
    link.symlink_to("nowhere/real.bin")
    with pytest.raises(UsageError, match=r"folder .*nowhere does not exist; create it first"):
        settle_target(None, link, overwrite=True)
    link.unlink()
    link.symlink_to("out.mkv")
    with pytest.raises(UsageError, match="a link that leads to itself"):
        settle_target(None, link, overwrite=True)


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "out.mkv")
    with pytest.raises(UsageError, match=r"out\.mkv is a pipe or a device; name a file, or - for standard"):
        settle_target(None, tmp_path / "out.mkv", overwrite=True)


def test_what_a_crash_left_of_a_sequence_is_removed(tmp_path, someone_else):
    alive, ended = someone_else
    pattern = Pattern(tmp_path / "f_%d.png")
    for process in (ended, os.getpid()):
        (tmp_path / f".f_%d.png.{process}.part").mkdir()
        (tmp_path / f".f_%d.png.{process}.part" / "f_1.png").touch()
        os.utime(tmp_path / f".f_%d.png.{process}.part", (0, 0))
    with all_or_none(pattern, overwrite=False) as folder:
        assert os.listdir(tmp_path) == [folder.name]
        assert os.listdir(folder) == []
        with pytest.raises(UsageError, match="by this very process"), all_or_none(pattern, overwrite=False):
            pass
    assert os.listdir(tmp_path) == []
    (tmp_path / f".f_%d.png.{alive}.part").mkdir()
    with pytest.raises(UsageError, match=f"process {alive} is writing"), all_or_none(pattern, overwrite=False):
        pass


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_that_appears_meanwhile(tmp_path, tiny_model, overwrite):
    out = tmp_path / "out.mkv"

    class Intruder(LogReporter):
        def begin(self, what, frames):
            out.write_text("precious")

    options = {"model": tiny_model, "duration": 0.1, "preset": "ultrafast", "reporter": Intruder()}
    if overwrite:
        upscale(BUNNY, out, overwrite=True, **options)
        assert out.stat().st_size > 1000
    else:
        with pytest.raises(UsageError, match="has appeared meanwhile and is kept"):
            upscale(BUNNY, out, **options)
        assert out.read_text() == "precious"
    assert os.listdir(tmp_path) == ["out.mkv"]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("source", ["bunny.mp4", "bunny.png"])
def test_folders_and_missing_folders(tmp_path, source, dry_run):
    extension = source[-4:]
    (tmp_path / f"folder{extension}").mkdir()
    for name, says in ((f"folder{extension}", "is a folder; name a file in it"), (f"no/out{extension}", "create it")):
        with pytest.raises(UsageError, match=says):
            upscale(EXAMPLES / source, tmp_path / name, overwrite=True, dry_run=dry_run)
    assert os.listdir(tmp_path) == [f"folder{extension}"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_known_before_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="it is read-only; choose another folder"):
        settle_target(BUNNY, tmp_path / "out.mkv", overwrite=False)
