"""The command line as its users meet it: real processes, exit codes, one line an error, nothing left behind."""

import io
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from program import Fork, entry, rfdn_stream
from support import EXAMPLES

BUNNY = EXAMPLES / "bunny.mp4"


def started(*arguments):
    """Runs the program as installed, from nothing."""
    command = [sys.executable, "-m", "rfdn_stream", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def assert_refused(result, code, message):
    """One line on stderr, nothing on stdout, the exit code, no traceback."""
    assert result.returncode == code, result.stderr
    assert re.search(message, result.stderr), result.stderr
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("rfdn-stream: ")]
    assert len(errors) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["upscale", "--help"], ["models", "--help"]])
def test_answers_come_before_heavy_imports(arguments):
    code = (
        "import sys; sys.argv = ['rfdn-stream', *sys.argv[1:]]\n"
        "from rfdn_stream.cli import main\n"
        "try: main()\n"
        "finally: print('HEAVY', sorted({'torch', 'av', 'numpy', 'cv2'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "HEAVY []" in result.stdout
    assert "rfdn-stream" in result.stdout


def test_help_names_every_option():
    text = rfdn_stream("upscale", "--help", env={**os.environ, "COLUMNS": "200"}).stdout
    for option in (
        "--scale", "--model", "--device", "--precision", "--tile", "--codec", "--crf", "--preset", "--pix-fmt",
        "--start", "--duration", "--overwrite", "--dither", "--quiet", "--decode", "--deinterlace", "--engine",
        "--strength", "--denoise", "--crop", "--streams", "--fps", "--raw", "--matrix", "--dry-run", "--json",
        "--verify", "--workers", "--cluster", "--suffix", "--ext",
    ):  # fmt: skip
        assert option in text


def test_help_breaks_no_name_on_a_narrow_terminal():
    text = rfdn_stream("upscale", "--help", env={**os.environ, "COLUMNS": "80"}).stdout
    for name in ("winograd", "openvino", "fused", "graph", "compile", "tensorrt", "torch", "libvpx-vp9", "libsvtav1"):
        assert re.search(rf"\b{name}\b", text), name


def test_a_file_is_made_and_said(tmp_path, tiny_model):
    out = tmp_path / "out.mkv"
    result = started("upscale", BUNNY, out, "--model", tiny_model, "--duration", "0:00.2", "--preset", "ultrafast")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert "320x180 yuv420p to 640x360 yuv420p" in result.stderr
    assert f"{out}: 5 frames of 640x360" in result.stderr.replace("\n", "")
    assert os.listdir(tmp_path) == ["out.mkv"]
    quiet = rfdn_stream("upscale", BUNNY, out, "-y", "-q", "--model", tiny_model, "--duration", "0.1")
    assert (quiet.returncode, quiet.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.mp4", "out.mkv"], 1, "nowhere.mp4 does not exist"),
        ([BUNNY, "out.xyz"], 2, r"extension '\.xyz' of .*unknown"),
        ([BUNNY, "out"], 2, "no extension"),
        (["there.mkv", "."], 2, "would become itself; choose another folder"),
        ([BUNNY, "no/such/folder/out.mkv"], 2, "does not exist; create it first"),
        ([BUNNY, "there.mkv"], 2, "exists; pass --overwrite"),
        ([BUNNY, "out.mkv", "--scale", "17"], 2, "scale 17"),
        ([BUNNY, "out.mkv", "--scale", "two"], 2, "valid number"),
        ([BUNNY, "out.mkv", "--model", "erfdn-x2-vidio"], 2, "erfdn-x2-video"),
        ([BUNNY, "out.mkv", "--model", "missing.pth"], 1, "there is no weights file missing.pth"),
        ([BUNNY, "out.mkv", "--model", "erfdn-x4-clean", "--scale", "2"], 2, "enlarges by 4, not by 2"),
        ([BUNNY, "out.mkv", "--model", "erfdn-x4-official"], 2, "models fetch erfdn-x4-official"),
        ([BUNNY, "out.mkv", "--codec", "libx246"], 2, "did you mean .*libx264"),
        ([BUNNY, "out.mkv", "--crf", "99"], 2, "crf of 0 to 51"),
        ([BUNNY, "out.mkv", "--preset", "quick"], 2, "no preset 'quick'"),
        ([BUNNY, "out.mkv", "--pix-fmt", "yuv999"], 2, "it takes yuv420p"),
        ([BUNNY, "out.mkv", "--device", "tpu"], 2, "unknown device 'tpu'; available: cuda, cpu"),
        ([BUNNY, "out.mkv", "--precision", "fp8"], 2, "choose auto, fp32, bf16, fp16"),
        ([BUNNY, "out.mkv", "--deinterlace", "yes"], 2, "unknown --deinterlace 'yes'; choose one of auto, off"),
        ([BUNNY, "out.mkv", "--tile", "3"], 2, "at least 64"),
        ([BUNNY, "out.mkv", "--start", "99"], 2, "nothing begins at 99"),
        ([BUNNY, "out.mkv", "--start", "1:2:3:4"], 2, "is not a time"),
        ([BUNNY, "out.mkv", "--duration", "0"], 2, "must be above 0"),
        ([BUNNY, "out.mkv", "--frobnicate"], 2, "No such option"),
        ([BUNNY], 2, "Missing argument 'OUT'"),
        ([BUNNY, "out.png"], 2, "a video by its name"),
        (["text.mp4", "out.mkv"], 1, "not a video file that FFmpeg can read"),
        (["empty.mp4", "out.mkv"], 1, "is empty"),
        (["text.png", "out.png"], 1, r"text\.png"),
        ([EXAMPLES / "bunny.png", "out.png", "--crf", "3"], 2, "are for videos"),
    ],
    ids=lambda value: " ".join(str(v).rpartition("/")[2] for v in value) if isinstance(value, list) else "",
)
def test_wrong_requests(tmp_path, monkeypatch, arguments, code, message):
    """In one process, since torch takes seconds to import: what `main` prints is the exception's text."""
    from rfdn_stream.cli.app import run
    from rfdn_stream.errors import RfdnError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RFDN_STREAM_HOME", str(tmp_path / "home"))
    (tmp_path / "there.mkv").write_text("precious")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    (tmp_path / "text.png").write_text("this is no picture\n" * 100)
    (tmp_path / "empty.mp4").touch()
    before = sorted(os.listdir(tmp_path))
    try:
        got, text = run(["upscale", *map(str, arguments)]), ""
    except RfdnError as failure:
        got, text = failure.exit_code, str(failure)
        assert "\n" not in text
        assert re.search(message, text), text
    assert got == code, text
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "there.mkv").read_text() == "precious"


def test_an_error_is_one_line_and_a_traceback_only_with_debug(tmp_path):
    arguments = ["upscale", BUNNY, tmp_path / "out.mkv", "--model", "missing.pth"]
    assert_refused(started(*arguments), 1, "there is no weights file missing.pth")
    assert "Traceback" in rfdn_stream(*arguments, "--debug").stderr
    assert_refused(rfdn_stream("upscale", "--scale"), 2, "--scale")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_within_a_second_and_leaves_nothing(tmp_path, how):
    """On a real network, in the middle of frames that take longer than that second."""
    out = tmp_path / "out.mkv"
    with Fork(entry, "upscale", str(BUNNY), str(out)) as process:
        for line in process.stderr:
            if "320x180" in line:
                break
        time.sleep(1.5)
        assert any(name.endswith(".part") for name in os.listdir(tmp_path))
        asked = time.monotonic()
        process.send_signal(how)
        rest = process.stderr.read()
        process.wait(30)
        took = time.monotonic() - asked
    assert process.returncode == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert os.listdir(tmp_path) == []
    # A promise of one second; the margin is for a machine that does something else at the same time.
    assert took < 5


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("--version | true", 1, "^$"),
        ("--help | true", 1, "^$"),
        ("--version >/dev/full", 1, "^rfdn-stream: cannot write to standard output: No space left on device\n$"),
        ("jobs >&-", 1, "^rfdn-stream: cannot write to standard output: it is closed\n$"),
        ("jobs nowhere >&- 2>/dev/full", 2, "^$"),
        ("--debug jobs nowhere 2>&-", 2, "^$"),
        ("jobs nowhere <&- >&- 2>&-", 2, "^$"),
    ],
)
@pytest.mark.parametrize("unbuffered", [False, True])
def test_standard_streams_that_take_nothing(tmp_path, arguments, code, says, unbuffered):
    """Without PYTHONUNBUFFERED, as users have it, what is written last fails when the program ends."""
    program = f"set -o pipefail; {sys.executable} -m rfdn_stream {arguments}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {"PYTHONUNBUFFERED": "1"} if unbuffered else {}
    result = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert (result.returncode, result.stdout) == (code, "")
    assert re.search(says, result.stderr), result.stderr


@pytest.mark.parametrize(("stream", "code"), [(1, 1), (2, 0)])
def test_a_pipe_of_frames_and_a_stream_that_is_closed(tmp_path, tiny_model, stream, code):
    """Of the two, only a result that nobody gets is a failure; errors and FFmpeg's log never get into it."""
    command = [sys.executable, "-m", "rfdn_stream", "upscale", BUNNY, "-", "--model", tiny_model, "--duration", "0.1"]
    closed = ["sh", "-c", f'exec "$@" {stream}>&-', "sh", *map(str, command)]
    result = subprocess.run(closed, capture_output=True, timeout=120, check=False)
    assert result.returncode == code, result.stderr
    assert result.stdout[:9] == (b"" if code else b"YUV4MPEG2")
    assert result.stderr[-80:].endswith(b"cannot write standard output: Bad file descriptor\n" if code else b"")


def test_what_is_printed_last_fails_like_all_else(monkeypatch, capsys):
    """As `evaluate --json -` writes, which leaves the flush to the end."""
    import rfdn_stream.cli as cli
    from rfdn_stream.cli import app

    left = []
    monkeypatch.setattr(cli.signal, "signal", lambda *how: None)
    monkeypatch.setattr(cli.os, "_exit", left.append)
    monkeypatch.setattr(app, "run", lambda arguments: 0 * sys.stdout.write("{}\n"))
    for failure, said in ((28, "rfdn-stream: cannot write to standard output: No space left on device\n"), (32, "")):

        class Refusing(io.StringIO):
            def flush(self, failure=failure):
                raise OSError(failure, os.strerror(failure))

        monkeypatch.setattr(sys, "stdout", Refusing())
        with pytest.raises(SystemExit):
            cli.main()
        assert (left.pop(), capsys.readouterr().err) == (1, said)


def test_a_full_disk_is_not_taken_for_standard_output(monkeypatch, capfd):
    """Only a result that is to go there may be what has failed."""
    import rfdn_stream.cli as cli
    from rfdn_stream.cli import app

    def full(arguments):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(cli.signal, "signal", lambda *how: None)
    monkeypatch.setattr(cli.os, "_exit", lambda code: None)
    monkeypatch.setattr(app, "run", full)
    for arguments, said in (
        (["upscale", "-", "out.mkv"], "unexpected OSError: .* No space left on device"),
        (["evaluate", "a", "b", "--json", "-"], "cannot write to standard output: No space left on device"),
    ):
        monkeypatch.setattr(sys, "argv", ["rfdn-stream", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        assert re.search(f"rfdn-stream: {said}", capfd.readouterr().err)


def test_models_are_listed():
    text = rfdn_stream("models", env={**os.environ, "COLUMNS": "200"}).stdout
    for fact in ("erfdn-x2-video", "erfdn-x2-clean", "erfdn-x4-official", "417,212", "433,448", "MIT", "x4", "37.335"):
        assert fact in text
    assert "models fetch erfdn-x4-official" in text
    assert_refused(rfdn_stream("models", "fetch", "nothing"), 2, "there is no model 'nothing'")
