"""``rfdn-stream jobs``: jobs that were interrupted are found, shown, gone on with, thrown away."""

import errno
import io
import json
import os
import resource
import shutil
from pathlib import Path

import pytest

from program import rfdn_stream
from rfdn_stream import lock, upscale
from rfdn_stream.cli.app import run
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.jobs.overview import find_jobs, resume
from rfdn_stream.jobs.plan import job_folder
from rfdn_stream.jobs.report import LogReporter
from rfdn_stream.lock import locked
from rfdn_stream.media.image import write_image
from support import film, random_frame

CUT = {"segment": 0.5, "preset": "ultrafast"}


class Interrupting(LogReporter):
    def segments(self, whole, total, frames):
        if whole == 2:
            raise KeyboardInterrupt


@pytest.fixture
def begun(tmp_path, tiny_model, monkeypatch):
    """Begins a job below the current folder, and interrupts it after two of its three segments."""
    monkeypatch.chdir(tmp_path)
    source = film(tmp_path / "film.mp4", frames=50, gop=12)

    def begin(name, source=source, **options):
        target = Path(name)
        target.parent.mkdir(exist_ok=True)
        with pytest.raises(KeyboardInterrupt):
            upscale(source, target, model=tiny_model, reporter=Interrupting(), **CUT, **options)
        return target

    return begin


def test_they_are_listed_and_shown(begun, capsys):
    assert run(["jobs"]) == 0
    assert "nothing was interrupted here" in capsys.readouterr().out
    begun("a.mp4")
    target = begun("deep/b.mkv")
    assert run(["jobs"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:5] for row in rows if "interrupted" in row] == [
        ["a.mp4", "2", "of", "3", "48"],
        ["deep/b.mkv", "2", "of", "3", "48"],
    ]
    assert run(["jobs", str(target)]) == 0
    shown = capsys.readouterr().out
    for fact in ("deep/b.mkv: interrupted", "film.mp4", "2 of 3 segments, 48 of about 50 frames", "--preset ultrafast"):
        assert fact in shown
    with locked(job_folder(target)):
        assert [job.worked_on for job in find_jobs(target)] == [True]


def test_they_are_gone_on_with(begun, tiny_model, tmp_path, capsys):
    begun("a.mp4")
    lost = begun("b.mp4")
    (job_folder(lost) / "job.json").write_text("{")
    whole = upscale("film.mp4", "whole.mp4", model=tiny_model, **CUT)
    assert run(["jobs", "--resume", "-q"]) == 1  # of one that cannot be, and yet the other is done
    said = capsys.readouterr().err
    assert "the plan of the job in .b.mp4.rfdn-job is damaged" in said
    assert Path("a.mp4").read_bytes() == whole.target.read_bytes()
    assert sorted(os.listdir(tmp_path)) == [".b.mp4.rfdn-job", "a.mp4", "film.mp4", "whole.mp4"]
    with pytest.raises(UsageError, match=r"is damaged; begin it anew with `rfdn-stream upscale .* --restart`, or"):
        run(["jobs", "b.mp4", "--resume"])
    assert run(["jobs", "b.mp4"]) == 0
    assert "is damaged; begin it anew with `rfdn-stream upscale ... --restart`" in capsys.readouterr().out


def test_what_to_do_about_another_job_is_said_for_this_command(begun):
    begun("a.mp4")
    os.utime("film.mp4", (0, 0))
    with pytest.raises(UsageError) as failure:
        run(["jobs", "--resume", "-q"])
    assert "film.mp4 has changed since (content or time of change); begin it anew with `rfdn-stream" in str(
        failure.value
    )
    assert str(failure.value).endswith(" --restart`, or throw it away with `jobs --clean`")


@pytest.mark.parametrize("name", ["x" * 245 + ".mp4", "映" * 80 + ".mp4"])
def test_a_job_of_a_long_name(begun, tiny_model, capsys, name):
    target = begun(name)
    assert len(os.fsencode(job_folder(target).name)) <= 255
    assert [job.target for job in find_jobs(Path())] == [job.target for job in find_jobs(target)] == [target]
    assert run(["jobs", name]) == 0
    assert f"{name}: interrupted" in capsys.readouterr().out
    upscale("film.mp4", name, model=tiny_model, **CUT)
    assert sorted(os.listdir()) == sorted(["film.mp4", name])
    with pytest.raises(UsageError, match="no job is on its way to it"):
        run(["jobs", "x" * 300])


def test_a_job_of_a_link(begun):
    Path("disk").mkdir()
    Path("out.mp4").symlink_to("disk/real")
    target = begun("out.mp4")
    assert os.listdir("disk") == [".real.rfdn-job"]
    assert run(["jobs", "out.mp4", "--resume", "-q"]) == 0
    assert target.is_symlink()
    assert os.listdir("disk") == ["real"]


def test_another_source_is_named_as_it_was_written(begun, tiny_model):
    begun("a.mp4")
    Path("shots").mkdir()
    write_image("shots/1.png", random_frame("rgb24", 24, 16))
    here = os.getcwd()
    for source, said in (
        ("shots", f"{here}/shots"),
        ("-", "-"),
        ("http://127.0.0.1:9/a.mkv", "http://127.0.0.1:9/a.mkv"),
    ):
        with pytest.raises(UsageError, match=f"begun otherwise: the source is {said}, not {here}/film.mp4; "):
            upscale(source, "a.mp4", model=tiny_model, **CUT)


@pytest.mark.parametrize("room", [0, 100])
def test_a_disk_that_is_full_when_a_job_begins(tmp_path, tiny_model, room):
    """At its lock, and at its plan."""
    source = film(tmp_path / "film.mp4", frames=50, gop=12)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(MediaError, match=r"cannot write .*: File too large"):
            upscale(source, tmp_path / "a.mp4", model=tiny_model, **CUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["film.mp4"]


def test_one_whose_source_is_gone_holds_up_no_other(begun, tiny_model, capsys):
    shutil.copy("film.mp4", "gone.mp4")
    lost, other = begun("a.mp4", "gone.mp4"), begun("b.mp4")
    Path("gone.mp4").unlink()
    assert run(["jobs", "--resume", "-q"]) == 1
    said = capsys.readouterr().err
    assert "gone.mp4 cannot be read any more: No such file or directory; put it back to go on with the job" in said
    assert other.exists()
    with pytest.raises(MediaError, match=r"gone\.mp4 cannot be read any more"):
        upscale("gone.mp4", lost, model=tiny_model, **CUT)
    assert job_folder(lost).is_dir()


def test_an_output_that_is_there_is_known_before_work(begun):
    target = begun("a.mp4")
    target.write_text("precious")
    with pytest.raises(UsageError, match=r"a\.mp4 exists; pass --overwrite to replace it"):
        run(["jobs", "a.mp4", "--resume"])
    (job,) = find_jobs(target)
    assert (job.whole, target.read_text()) == (2, "precious")
    assert run(["jobs", "a.mp4", "--resume", "--overwrite", "-q"]) == 0


def test_they_go_on_as_they_were_begun(begun, tiny_model):
    """With their --verify and --keep-job, which may yet be others when the same is asked for again."""
    target = begun("a.mp4", verify="off", keep_job=True)
    (job,) = find_jobs(target)
    assert resume(job, LogReporter()).proof.mode == "off"
    assert job_folder(target).is_dir()
    plan = json.loads((job.folder / "job.json").read_text())
    (job.folder / "job.json").write_text(json.dumps({k: v for k, v in plan.items() if k not in ("verify", "keep_job")}))
    result = upscale("film.mp4", target, model=tiny_model, overwrite=True, verify="full", **CUT)
    assert result.proof.mode == "full"
    assert not job_folder(target).exists()


def test_they_are_thrown_away(begun, capsys, monkeypatch):
    target = begun("a.mp4")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        run(["jobs", "--clean"])
    assert job_folder(target).is_dir()
    with locked(job_folder(target)), pytest.raises(UsageError, match=r"process \d+ is working on the job"):
        run(["jobs", "--clean", "--yes"])
    assert run(["jobs", "--clean", "-y"]) == 0
    assert "thrown away: a.mp4: 2 segments, 48 frames" in capsys.readouterr().out
    assert not job_folder(target).exists()


def test_what_to_do_next_is_said_of_the_same_places(begun, capsys):
    begun("my films/a.mp4")
    assert run(["jobs", "my films"]) == 0
    assert "To go on: rfdn-stream jobs 'my films' --resume\n" in capsys.readouterr().err
    Path("empty").mkdir()
    for option in ("--resume", "--clean"):
        assert run(["jobs", "empty", option]) == 0
        assert "no jobs: nothing was interrupted here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["--overwrite"], "--resume or --clean"),
        (["--workers", "3"], "--resume"),
        (["--cluster", "auto", "--clean"], "--resume"),
        (["--yes", "--resume"], "--clean"),
    ],
)
def test_options_that_would_do_nothing(arguments, where):
    option = arguments[0]
    with pytest.raises(UsageError, match=f"^{option} is for {where}, which was not given; add that, or leave out"):
        run(["jobs", *arguments])


def test_ctrl_c_at_the_question_removes_nothing_and_does_not_say_so(begun):
    target = begun("a.mp4")
    result = rfdn_stream("jobs", "--clean")
    assert result.returncode == 130
    assert result.stderr.splitlines()[-1] == "rfdn-stream: interrupted"
    assert job_folder(target).is_dir()


def test_a_name_that_standard_output_cannot_encode(begun):
    begun("a.mp4")  # under a name that can be logged, too
    job_folder(Path("a.mp4")).rename(job_folder(Path(os.fsdecode(b"\xff.mp4"))))
    result = rfdn_stream("jobs")
    assert (result.returncode, r"\udcff.mp4" in result.stdout) == (0, True), result.stderr


def test_wrong_requests(begun):
    with pytest.raises(UsageError, match="nowhere is no folder, and no job is on its way to it"):
        run(["jobs", "nowhere"])
    with pytest.raises(UsageError, match="choose one"):
        run(["jobs", "--resume", "--clean"])


def test_a_disk_without_locks_is_told_from_a_job_that_is_worked_on(tmp_path, monkeypatch):
    def refused(handle):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", refused)
    with pytest.raises(UsageError, match=r"cannot be locked \(No locks available\)"), locked(tmp_path):
        pass
