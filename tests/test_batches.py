"""Batches: what goes where, what is skipped, and that one file's failure is its own."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rfdn_stream.cli.app import run
from rfdn_stream.errors import RfdnError, UsageError
from rfdn_stream.jobs import upscale_all
from rfdn_stream.jobs.batch import means_folder, plan_batch
from support import EXAMPLES

BUNNY, PICTURE = EXAMPLES / "bunny.mp4", EXAMPLES / "bunny.png"


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def planned(*inputs, folder="out", **options):
    """What becomes what, with forward slashes."""
    items = plan_batch(inputs, folder, **options)
    return {item.source.as_posix(): item.target.as_posix() for item in items}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_means_a_folder():
    touch("there/file")
    assert [means_folder(name) for name in ("new/", "there", ".", "new", "a.mkv", "there/file")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_names_are_kept_and_a_folder_is_mirrored():
    touch("s1/b.mkv", "s1/a/ep.MP4", "s1/a/cover.jpg", "s1/notes.txt", "s1/.hidden.mkv", "s1/.job/x.mkv", "film.dat")
    assert planned("s1") == {
        "s1/a/cover.jpg": "out/a/cover.jpg",
        "s1/a/ep.MP4": "out/a/ep.MP4",
        "s1/b.mkv": "out/b.mkv",
    }
    # Of several inputs each folder keeps its name; a file that is named is taken whatever its extension.
    assert planned("s1/a", "s1/b.mkv", "film.dat") == {
        "s1/a/cover.jpg": "out/a/cover.jpg",
        "s1/a/ep.MP4": "out/a/ep.MP4",
        "s1/b.mkv": "out/b.mkv",
        "film.dat": "out/film.dat",
    }
    assert planned("s1/", suffix="-2x", extension="mkv")["s1/a/ep.MP4"] == "out/a/ep-2x.mkv"
    assert planned("s1", extension=".mkv")["s1/a/cover.jpg"] == "out/a/cover.jpg"
    assert planned("s1", extension="png")["s1/a/cover.jpg"] == "out/a/cover.png"
    assert planned("s1", extension="png")["s1/b.mkv"] == "out/b.mkv"


def test_patterns():
    touch("c/b.mp4", "c/a.mp4", "c/d/e.mp4", "c/readme", "odd [x].mp4", "odd x.mp4")
    assert list(planned("c/*.mp4")) == ["c/a.mp4", "c/b.mp4"]
    assert planned("c/**/*.mp4")["c/d/e.mp4"] == "out/e.mp4"
    assert planned("c/*") == {"c/a.mp4": "out/a.mp4", "c/b.mp4": "out/b.mp4", "c/d/e.mp4": "out/d/e.mp4"}
    assert list(planned("odd [x].mp4")) == ["odd [x].mp4"]  # a file of that name is no pattern
    assert list(planned("none*.mp4")) == ["none*.mp4"]  # fails as a file that does not exist


def test_a_file_is_taken_once_and_results_are_no_sources():
    touch("v/a.mp4", "v/b.mp4", "v/b-2x.mp4", "v/out/old.mp4")
    assert list(planned("v/a.mp4", "v/../v/a.mp4", "v/*.mp4")) == ["v/a.mp4", "v/b-2x.mp4", "v/b.mp4"]
    assert "v/out/old.mp4" not in planned("v", folder="v/out")
    assert planned("v", folder="v", suffix="-2x") == {
        "v/a.mp4": "v/a-2x.mp4",
        "v/b.mp4": "v/b-2x.mp4",
        "v/out/old.mp4": "v/out/old-2x.mp4",
    }


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (["empty"], {}, "no video or image in empty; name files"),
        (["a/x.mp4", "b/x.mp4"], {}, r"a/x.mp4 and b/x.mp4 would both become out/x.mp4; do them in two batches"),
        (["a"], {"extension": "mkv"}, r"a/x.avi and a/x.mp4 would both become out/x.mkv"),
        (["b"], {"folder": "b"}, "b/x.mp4 would become itself; choose another folder, or a suffix such as -2x"),
        (["b"], {"extension": "mkkv"}, r"'\.mkkv' .* is unknown"),
        (["b"], {"suffix": "/2x"}, "has a slash in it"),
        (["-"], {}, "standard input has no name"),
        (["b"], {"scale": 17}, "scale 17 is outside its range"),
        (["b"], {"model": "erfdn-x2-vidio"}, "erfdn-x2-video"),
        (["b"], {"device": "tpu"}, "unknown device 'tpu'"),
    ],
)
def test_refused_before_anything_is_done(inputs, options, message):
    touch("a/x.mp4", "a/x.avi", "b/x.mp4", "empty/notes.txt")
    with pytest.raises(UsageError, match=message):
        upscale_all(inputs, **{"folder": "out", **options})
    assert not Path("out").exists()


def test_one_failure_never_stops_the_rest(tiny_model, caplog):
    Path("in/sub").mkdir(parents=True)
    shutil.copy(BUNNY, "in/a.mp4")
    Path("in/bad.mp4").write_text("this is no video\n" * 100)
    cv2.imwrite("in/sub/p.png", np.zeros((20, 24, 3), np.uint8))
    options = {"model": tiny_model, "duration": 0.1, "preset": "ultrafast", "suffix": "-2x"}
    outcomes = upscale_all(["in", "gone.mp4"], "out/deep", **options)
    by_name = {outcome.item.source.as_posix(): outcome for outcome in outcomes}
    assert by_name["in/a.mp4"].result.width == 640
    assert by_name["in/sub/p.png"].result.width == 48  # though --duration is not for images
    assert "not a video file" in by_name["in/bad.mp4"].failure
    assert "does not exist" in by_name["gone.mp4"].failure
    assert sum("failed" in record.message for record in caplog.records) == 2
    found = sorted(path.as_posix() for path in Path("out").rglob("*") if path.is_file())
    assert found == ["out/deep/in/a-2x.mp4", "out/deep/in/sub/p-2x.png"]

    # Once more: what is there is skipped, and stays as it is.
    before = [os.stat(path).st_mtime_ns for path in found]
    again = upscale_all(["in", "gone.mp4"], "out/deep", **options)
    assert [outcome.result for outcome in again] == [None] * 4
    assert sum(outcome.failure is not None for outcome in again) == 2
    assert [os.stat(path).st_mtime_ns for path in found] == before
    replaced = upscale_all(["in/sub/p.png"], "out/deep/in/sub", overwrite=True, model=tiny_model, suffix="-2x")
    assert replaced[0].result.target == Path("out/deep/in/sub/p-2x.png")
    assert os.stat(found[1]).st_mtime_ns > before[1]


def test_a_dry_run_leaves_no_folder(tiny_model):
    touch("in/sub/bad.mp4")
    shutil.copy(PICTURE, "in/p.png")
    good, bad = upscale_all(["in"], "out/deep", model=tiny_model, dry_run=True)
    assert good.result.plan is not None
    assert "is empty" in bad.failure
    assert os.listdir() == ["in"]


def test_images_alone_are_told_what_is_not_for_them(tiny_model):
    (outcome,) = upscale_all([PICTURE], "out", model=tiny_model, crf=3)
    assert "are for videos, not images" in outcome.failure


def test_a_folder_that_cannot_be_made():
    touch("file")
    with pytest.raises(UsageError, match="cannot make the folder file/out"):
        upscale_all([BUNNY], "file/out")


def test_the_command(tiny_model, capsys):
    """A table at the end, and an exit code that tells."""
    Path("bad.mkv").write_text("this is no video\n" * 100)
    shutil.copy(PICTURE, "p.png")
    options = ["--suffix", "-2x", "--model", str(tiny_model)]
    with pytest.raises(RfdnError, match=r"^1 of 2 files failed$"):
        run(["upscale", "p.png", "bad.mkv", "out/", *options])
    said, errors = capsys.readouterr()
    assert said == ""
    assert os.listdir("out") == ["p-2x.png"]
    assert "1 of 2: p.png" in errors
    rows = [line.split() for line in errors.splitlines()]
    assert any(row[:3] == ["p.png", "1", "640x360"] and row[-1] == "out/p-2x.png" for row in rows)
    assert run(["upscale", "p.png", "out", *options]) == 0
    assert "is there already: skipped (--overwrite replaces it)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.mp4", "b.mp4", "c.mkv"], "several inputs go into a folder; write c.mkv/"),
        (["a.mp4", "b.mkv", "--suffix", "-2x"], "--suffix and --ext are for results that go into a folder"),
        (["a.mp4"], "Missing argument 'OUT'"),
    ],
)
def test_wrong_requests(arguments, message):
    with pytest.raises(UsageError, match=message):
        run(["upscale", *arguments])
    assert os.listdir() == []
