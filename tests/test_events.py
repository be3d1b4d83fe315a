"""--json, --dry-run and --verify as programs meet them: every line against the schema, failures as objects, too."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from media_samples import make_clip
from program import rfdn_stream
from rfdn_stream import upscale
from rfdn_stream.errors import UsageError
from support import EXAMPLES

BUNNY = EXAMPLES / "bunny.mp4"
SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "events.schema.json").read_text())
FAST = ("--preset", "ultrafast")


def command(*arguments):
    return [sys.executable, "-m", "rfdn_stream", "upscale", *map(str, arguments)]


def events(text):
    """The lines of a run's stdout, each of which must be as the schema says."""
    found = [json.loads(line) for line in text.splitlines()]
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for event in found:
        validator.validate(event)
    return found


def run(*arguments):
    """(exit code, events, stderr)."""
    result = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, timeout=120, check=False)
    return result.returncode, events(result.stdout), result.stderr


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """What MP4 holds in part."""
    return make_clip(
        tmp_path_factory.mktemp("rich") / "in.mkv", frames=38, audio=["aac"], subtitles=["subrip", "ass"],
        attachment=b"font", chapters=[(0, 400, "a")], metadata={"title": "A film", "SHELF": "3"},
    )  # fmt: skip


@pytest.fixture
def in_process(capfd, tiny_model):
    """The command in this process, since torch takes seconds to import: (events, stderr) of a run that succeeds."""
    from rfdn_stream.cli.app import run

    def go(*arguments):
        assert run(["upscale", *map(str, arguments), "--model", str(tiny_model), "--json"]) == 0
        out, err = capfd.readouterr()
        return events(out), err

    return go


def test_a_whole_run(tmp_path, tiny_model, rich):
    out = tmp_path / "out.mp4"
    code, found, said = run(rich, out, "--model", tiny_model, *FAST)
    assert code == 0, said
    kinds = [event["event"] for event in found]
    assert kinds.index("plan") < kinds.index("progress") < kinds.index("report")
    assert kinds.count("plan") == kinds.count("report") == 1
    plan, report = (next(event for event in found if event["event"] == kind) for kind in ("plan", "report"))
    fates = {stream["index"]: (stream["fate"], stream["to"]) for stream in plan["streams"]}
    assert fates == {
        0: ("enlarged", "libx264"),
        1: ("kept", ""),
        2: ("converted", "mov_text"),
        3: ("dropped", ""),
        4: ("dropped", ""),
    }
    reasons = {stream["index"]: stream["reason"] for stream in plan["streams"]}
    assert "MP4 cannot hold ass; .mkv can" in reasons[3]
    assert {"what": "the file's tags SHELF", "why": "MP4 has no place for them; .mkv has"} in plan["dropped"]
    assert (plan["target"]["width"], plan["target"]["height"], plan["options"]["preset"]) == (128, 96, "ultrafast")
    last = [event for event in found if event["event"] == "progress"][-1]
    assert (last["frames"], last["total"]) == (38, plan["frames"])
    assert (report["frames"], report["verified"], report["bytes"]) == (38, "fast", out.stat().st_size)
    for what in ("the video is enlarged", "subtitle #2", "attachment #4", "the file's tags SHELF"):
        assert any(text.startswith(what) for text in report["identical_except"]), what
    warned = [event["text"] for event in found if event["event"] == "warning"]
    assert len(warned) == len(plan["dropped"]) == 3
    assert all(text in said.replace("\n", "") for text in warned)


def test_a_dry_run_says_all_and_writes_nothing(tmp_path, in_process, rich):
    (*_, plan), said = in_process(rich, tmp_path / "out.mp4", "--dry-run", *FAST)
    assert plan["event"] == "plan"
    assert plan["estimate"]["measured"] == 2
    each = plan["estimate"]["network"] + plan["estimate"]["encoder"]
    assert plan["estimate"]["seconds"] == pytest.approx(plan["frames"] * each)
    assert os.listdir(tmp_path) == []
    assert "plan" not in said


def test_a_dry_run_tells_streams_that_were_not_chosen_from_those_that_are_written_anew(tmp_path, in_process):
    clip = make_clip(tmp_path / "in.mp4", frames=4, audio=["aac", "aac"], chapters=[(0, 100, "a")])
    (*_, plan), _ = in_process(clip, tmp_path / "out.mkv", "--dry-run", "--streams", "a:0", *FAST)
    assert [(stream["fate"], stream["reason"]) for stream in plan["streams"]] == [
        ("enlarged", ""),
        ("kept", ""),
        ("dropped", "not among --streams"),
        ("written anew", ""),
    ]


def test_a_dry_run_writes_no_aspect_ratio_and_does_not_complain(tmp_path, in_process):
    clip = make_clip(tmp_path / "in.mkv", frames=2, sar=Fraction(16, 11))
    (*_, plan), _ = in_process(clip, tmp_path / "out.mkv", "--dry-run", "--codec", "ffv1")
    assert plan["estimate"]["measured"] == 2
    assert not [note for note in plan["notes"] if "aspect" in note]


def test_events_do_not_mix_with_a_video_on_standard_output(rich):
    from rfdn_stream.cli.app import run

    with pytest.raises(UsageError, match="--json and the y4m of OUT - would both go to standard output; name a file"):
        run(["upscale", str(rich), "-", "--json"])


def test_a_dry_run_for_people(tmp_path, tiny_model, rich, capfd):
    from rfdn_stream.cli.app import run

    assert run(["upscale", str(rich), str(tmp_path / "o.mp4"), "--model", str(tiny_model), "--dry-run", *FAST]) == 0
    out, err = capfd.readouterr()
    for text in (
        "in:         64x48 yuv420p, h264, 25 fps", "out:        128x96 yuv420p, libx264 crf 16 preset ultrafast",
        ", MP4\n",
        "matrix bt601, range limited, siting left", "(guessed: matrix, range)", "network:    x2: tiny-x2 on cpu",
        "kept:       audio #1 (aac)", "converted:  subtitle #2 (subrip) to mov_text",
        "dropped:    attachment #4 (font.ttf) (MP4 has no attachments; .mkv has)", "for about 39 frames",
        "measured on 2",
    ):  # fmt: skip
        assert text in out, out
    assert "not kept" not in err
    assert os.listdir(tmp_path) == []


def test_a_dry_run_of_an_image(tmp_path, in_process):
    (*_, plan), _ = in_process(EXAMPLES / "bunny.png", tmp_path / "big.png", "--dry-run")
    assert (plan["kind"], plan["target"]["width"], plan["estimate"]["measured"]) == ("image", 640, 1)
    assert os.listdir(tmp_path) == []


def test_a_dry_run_of_one_frame_and_of_a_size(tmp_path, in_process):
    one = make_clip(tmp_path / "one.mkv", frames=1)
    (*_, plan), _ = in_process(one, tmp_path / "out.mkv", "--dry-run", "--height", "72", *FAST)
    assert (plan["estimate"]["measured"], plan["target"]["width"], plan["target"]["height"]) == (1, 96, 72)
    assert os.listdir(tmp_path) == ["one.mkv"]


def test_a_dry_run_refuses_what_the_job_would(tmp_path, tiny_model):
    for name, changes, says in (
        ("out.mkv", {"preset": "quick"}, "no preset 'quick'"),
        ("out.mov", {"codec": "dnxhd"}, "dnxhd in MOV refuses 640x360"),
    ):
        with pytest.raises(UsageError, match=says):
            upscale(BUNNY, tmp_path / name, model=tiny_model, dry_run=True, **changes)
    (tmp_path / "there.mkv").touch()
    with pytest.raises(UsageError, match="pass --overwrite"):
        upscale(BUNNY, tmp_path / "there.mkv", model=tiny_model, dry_run=True)
    assert os.listdir(tmp_path) == ["there.mkv"]


@pytest.mark.parametrize("name", ["out.png", "out.jpg"])
def test_an_image_s_events(tmp_path, in_process, name):
    found, _ = in_process(EXAMPLES / "bunny.png", tmp_path / name)
    report = next(event for event in found if event["event"] == "report")
    assert (report["frames"], report["width"], report["verified"]) == (1, 640, "fast")
    assert report["identical_except"][0] == "enlarged from 320x180 to 640x360"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.mp4", "out.mkv"], 1, "nowhere.mp4 does not exist"),
        ([BUNNY, "out.mkv", "--crf", "99"], 2, "crf of 0 to 51"),
        ([BUNNY, "out.mkv", "--scale", "two"], 2, "valid number"),
        ([BUNNY, "out.mkv", "--frobnicate"], 2, "No such option"),
        ([BUNNY, "out.mkv", "--verify", "thoroughly"], 2, "choose one of fast, full, off"),
        (["-", "out.mkv", "--verify", "full"], 2, "standard input"),
    ],
)
def test_a_failure_is_an_event(tmp_path, monkeypatch, capfd, arguments, code, says):
    """As `main` does it, without its exit."""
    import rfdn_stream.cli as cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rfdn-stream", "upscale", *map(str, arguments), "--json"])
    monkeypatch.setattr(cli.signal, "signal", lambda *how: None)

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(cli.os, "_exit", leave)
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capfd.readouterr()
    found = events(out)
    assert left.value.code == code
    assert (found[-1]["event"], found[-1]["exit_code"]) == ("error", code)
    assert says in found[-1]["text"]
    assert says in err
    assert [event["event"] for event in found].count("error") == 1
    assert os.listdir(tmp_path) == []


def test_a_batch_with_a_failure_ends_with_an_event_and_so_does_debug(tmp_path, tiny_model):
    (tmp_path / "bad.mkv").write_text("this is no video\n" * 100)
    batch = "upscale", BUNNY.with_suffix(".png"), "bad.mkv", "out/", "--model", tiny_model, "--json"
    for before, said in ((), "1 of 2 files failed"), (("--debug",), "Traceback"):
        result = rfdn_stream(*before, *batch, "-y", cwd=tmp_path)
        found = events(result.stdout)
        assert found[-1] == {"event": "error", "text": "1 of 2 files failed", "exit_code": 1}
        assert [event["event"] for event in found].count("report") == 1
        assert (result.returncode, said in result.stderr) == (1, True)


@pytest.mark.parametrize("encoding", ["utf-8:strict", "cp1252", "utf-8:surrogateescape"])
def test_names_that_standard_output_cannot_encode(tmp_path, encoding):
    """A byte that is no UTF-8, and a letter that is not in every code page."""
    name = os.fsdecode(b"\xff\xe2\x98\xba.mp4")
    code = "from rfdn_stream.cli.events import write_event; import sys; write_event('note', {'text': sys.argv[1]})"
    result = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )  # fmt: skip
    assert events(result.stdout.decode()) == [{"event": "note", "text": name}]


def test_a_listener_that_goes_ends_the_job(tmp_path, tiny_model):
    """stdout's other end is closed after the plan: one line, exit code 1, nothing left."""
    with subprocess.Popen(
        command(BUNNY, tmp_path / "out.mkv", "--model", tiny_model, "--json"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout:
            if json.loads(line)["event"] == "plan":
                break
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 1
    assert "rfdn-stream: cannot write to standard output: whoever read it has gone" in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "stdout", "code", "says"),
    [
        ("--json", ">/dev/full", 1, "cannot write to standard output: No space left"),
        ("--json", ">&-", 1, "cannot write to standard output: it is closed"),
        ("", ">&-", 0, ""),
        ("--dry-run", ">&-", 1, "cannot write to standard output: it is closed"),
    ],
)
def test_a_standard_output_that_takes_nothing(tmp_path, tiny_model, arguments, stdout, code, says):
    options = f"{arguments} --model {tiny_model} --duration 0.1 --preset ultrafast -q"
    shell = f"{sys.executable} -m rfdn_stream upscale {BUNNY} {tmp_path}/out.mkv {options} {stdout}"
    result = subprocess.run(["sh", "-c", shell], stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert (result.returncode, says in result.stderr) == (code, True)
    assert len(result.stderr.splitlines()) == bool(code)
    assert os.listdir(tmp_path) == ([] if code else ["out.mkv"])


@pytest.mark.parametrize("mode", ["full", "off"])
def test_other_ways_of_verifying(tmp_path, in_process, rich, mode):
    found, _ = in_process(rich, tmp_path / "out.mp4", "--verify", mode, *FAST)
    assert next(event for event in found if event["event"] == "report")["verified"] == mode


def test_full_verification_of_a_part_with_fields(tmp_path, tiny_model, clips):
    """A part from the middle, every field a frame: the second reading takes the same way."""
    result = upscale(
        BUNNY, tmp_path / "out.mkv", model=tiny_model, start=0.5, duration=0.6, deinterlace="bob", verify="full",
        preset="ultrafast",
    )  # fmt: skip
    assert result.frames == 15
    assert result.proof.mode == "full"


def test_an_image_that_is_not_what_was_made_does_not_pass(tmp_path, tiny_model, monkeypatch):
    from rfdn_stream.errors import MediaError
    from rfdn_stream.jobs import image

    real = image.write_image

    def damaged(path, frame, *arguments, **options):
        notes = real(path, frame, *arguments, **options)
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        pixels[3, 4] ^= 1
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        return notes

    monkeypatch.setattr(image, "write_image", damaged)
    with pytest.raises(MediaError, match="its pixels differ"):
        upscale(EXAMPLES / "bunny.png", tmp_path / "big.png", model=tiny_model)
    assert os.listdir(tmp_path) == []
    assert upscale(EXAMPLES / "bunny.png", tmp_path / "big.png", model=tiny_model, verify="off").frames == 1
