"""``rfdn-stream live`` as its users meet it: real processes, real signals."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import av
import pytest

from program import Fork, entry, rfdn_stream
from support import EXAMPLES

BUNNY = EXAMPLES / "bunny.mp4"


def test_help_names_every_option_before_heavy_imports():
    code = (
        "import sys; sys.argv = ['rfdn-stream', 'live', '--help']\n"
        "from rfdn_stream.cli import main\n"
        "try: main()\n"
        "finally: print('HEAVY', sorted({'torch', 'av', 'numpy', 'cv2'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "COLUMNS": "200"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert result.returncode == 0, result.stderr
    assert "HEAVY []" in result.stdout
    for option in (
        "--list", "--size", "--rate", "--input-format", "--as-camera", "--loop", "--listen", "--timeout", "--scale",
        "--model", "--strength", "--denoise", "--device", "--precision", "--engine", "--latency", "--fps",
        "--deinterlace", "--no-degrade", "--duration", "--serve", "--codec", "--crf", "--preset", "--bitrate",
        "--overwrite", "--quiet",
    ):  # fmt: skip
        assert option in result.stdout


def test_the_list_tells_what_there_is():
    result = rfdn_stream("live", "--list")
    assert result.returncode == 0, result.stderr
    assert "test  a moving test pattern" in result.stdout
    assert "SOURCE is camera" in result.stdout
    assert "SINK is window" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--duration", "1"], 2, "name a SOURCE, such as camera or a file; rfdn-stream live --list"),
        (["cam"], 2, "unknown source 'cam'"),
        (["test", "wndow"], 2, "unknown sink 'wndow'"),
        (["test", "null", "--size", "big"], 2, "'big' is not a frame size"),
        (["test", "null", "--latency", "0"], 2, "latency"),
        (["test", "null", "--crf", "20"], 2, "--crf is for an address or a file, not for null; leave it out"),
        (["test", "null", "--model", "nothing"], 2, "nothing"),
        (["nowhere.mp4", "null"], 1, "nowhere.mp4 does not exist"),
        (["camera:99", "null"], 1, "cannot open camera"),
    ],
)
def test_wrong_requests(tmp_path, monkeypatch, tiny_model, arguments, code, message):
    """In one process, since torch takes seconds to import: what `main` prints is the exception's text."""
    from rfdn_stream.cli.app import run
    from rfdn_stream.errors import RfdnError

    monkeypatch.chdir(tmp_path)
    if "--model" not in arguments:
        arguments = [*arguments, "--model", str(tiny_model)]
    try:
        got, text = run(["live", *arguments]), ""
    except RfdnError as failure:
        got, text = failure.exit_code, str(failure)
        assert "\n" not in text
        assert re.search(message, text), text
    assert got == code, text


def test_a_session_from_beginning_to_end(tiny_model):
    command = ["test", "null", "--size", "64x48", "--model", tiny_model, "--duration", "1"]
    command = [sys.executable, "-m", "rfdn_stream", "live", *command]  # from nothing
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "64x48 yuv420p at 30 fps to 128x96" in result.stderr
    assert re.search(r"\d+ frames shown in 1\.\d s, [\d.]+% of \d+ dropped; latency \d+ ms", result.stderr)
    assert result.stdout == ""


class Live:
    """The program while it runs."""

    def __init__(self, *arguments):
        self.process = Fork(entry, "live", *map(str, arguments))

    def wait_for(self, text):
        for line in self.process.stderr:
            if text in line:
                return
        raise AssertionError(f"{text!r} was never said")

    def end(self, how=signal.SIGINT):
        """Sends the signal; how long it took, and what was said."""
        begun = time.monotonic()
        self.process.send_signal(how)
        rest = self.process.stderr.read()
        self.process.wait(30)
        return time.monotonic() - begun, rest


@pytest.fixture
def live():
    """Starts the program; it has ended with the test."""
    running = []

    def start(*arguments):
        running.append(Live(*arguments))
        return running[-1]

    yield start
    for program in running:
        program.process.close()


@pytest.mark.parametrize("how", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)])
def test_ctrl_c_completes_the_file_within_a_second(tmp_path, tiny_model, live, how):
    """Two signals at once, as `timeout` sends them, are one."""
    out = tmp_path / "out.mkv"
    program = live(BUNNY, out, "--loop", "--model", tiny_model, "--no-degrade")
    program.wait_for("to 640x360")
    time.sleep(1.5)
    for first in how[1:]:
        program.process.send_signal(first)
        time.sleep(0.01)
    took, rest = program.end(how[-1])
    assert program.process.returncode == 0, rest
    assert "frames shown" in rest
    assert "Traceback" not in rest
    assert os.listdir(tmp_path) == ["out.mkv"]
    with av.open(str(out)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        assert container.streams.video[0].codec_context.width == 640
    assert frames >= 3
    # A promise of one second; the margin is for a machine that does something else at the same time.
    assert took < 3


def test_a_source_is_never_replaced_by_its_recording(tmp_path, tiny_model):
    clip = shutil.copy(BUNNY, tmp_path / "clip.mp4")
    before = clip.read_bytes()
    result = rfdn_stream("live", clip, clip, "-y", "--duration", "1", "--model", tiny_model)
    assert result.returncode == 2
    assert f"the output {clip} is the input itself; choose another name" in result.stderr
    assert clip.read_bytes() == before


def test_where_a_page_is_found_is_said_also_when_quiet(tiny_model, live):
    program = live("test", "page:0.0.0.0:0", "--size", "64x48", "--model", tiny_model, "--quiet")
    program.wait_for("/?token=")
    _, rest = program.end()
    assert program.process.returncode == 0, rest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_ctrl_c_while_the_source_is_opened(tiny_model, live):
    """A thread waits inside FFmpeg, which hears no signal."""
    program = live(f"udp://127.0.0.1:{free_port()}", "null", "--model", tiny_model, "--timeout", "60")
    program.wait_for("opening udp://")
    time.sleep(0.5)
    took, rest = program.end()
    assert program.process.returncode == 0, rest
    assert "Traceback" not in rest
    assert took < 3


def test_sigterm_while_the_source_is_lost(tiny_model, live):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the program ffmpeg as the other end")
    address = f"udp://127.0.0.1:{free_port()}"
    send = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-c:v", "mpeg2video", "-f", "mpegts", address]
    with subprocess.Popen(["ffmpeg", "-nostdin", "-loglevel", "error", "-re", *send]) as sender:
        program = live(address, "null", "--model", tiny_model, "--timeout", "1")
        program.wait_for("to 128x96")
        sender.kill()
    program.wait_for("trying again")
    took, rest = program.end(signal.SIGTERM)
    assert program.process.returncode == 0, rest
    assert "frames shown" in rest
    assert took < 3


def test_the_example_runs(tiny_model, capsys):
    """On the test pattern, where there is no camera; else word for word."""
    text = (EXAMPLES / "webcam.py").read_text()
    for word, other in (
        ('"camera"', '"test"'),
        ('"window"', '"null"'),
        ("scale=2", f"model={str(tiny_model)!r}"),
        ("latency=0.1", "latency=0.1, duration=0.5"),
    ):
        assert word in text
        text = text.replace(word, other)
    exec(compile(text, "webcam.py", "exec"), {})
    assert re.match(r"\d+ frames in [01] s, latency \d+ ms", capsys.readouterr().out)
