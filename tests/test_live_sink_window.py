"""The window: what it draws, and a real one under Xvfb with real keys."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from live_shots import AFTER, BEFORE, info, shot, until
from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.live import viewer
from rfdn_stream.live.sinks import open_sink
from rfdn_stream.live.sinks.picture import rgb_of
from rfdn_stream.live.view import ESCAPE, KEYS, LEFT, RIGHT, Pair, View, fitted, place
from rfdn_stream.live.viewer import read_pair, snapshot

NOW = datetime(2025, 3, 4, 5, 6, 7)
PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[2])
from live_shots import Feed, info
from rfdn_stream.live.sinks import SinkOptions, open_sink
with open_sink("window", SinkOptions(folder=sys.argv[1], title="rfdn under test")) as sink:
    sink.open(info(), (640, 480), sink.wants(info()))
    with Feed(sink, size=(640, 480), before="rgb24") as feed:
        while not sink.closed:
            time.sleep(0.02)
    print("closed", feed.failure, flush=True)
"""


def pair(size=(64, 48), note="", captured=None, aspect=1.0):
    made = shot(size=size, note=note, captured=captured)
    return Pair(rgb_of(made.before), rgb_of(made.frame), made.captured, made.made, note, aspect)


def colour(picture, x, y):
    """Which picture a point of a drawing in BGR shows."""
    rgb = picture[y, x][::-1].astype(int)
    return next(
        (name for name, want in (("before", BEFORE), ("after", AFTER)) if abs(rgb - want).max() < 20), tuple(rgb)
    )


def test_modes():
    view, drawn = View(), lambda: view.draw(pair(size=(200, 100)), (200, 100), 0)
    assert colour(drawn(), 50, 60) == "after"
    view.press(ord("b"))
    assert colour(drawn(), 50, 60) == colour(drawn(), 190, 60) == "before"
    view.press(ord("B"))
    assert colour(drawn(), 50, 60) == "after"
    view.press(ord("s"))
    assert (colour(drawn(), 90, 60), colour(drawn(), 110, 60)) == ("before", "after")
    for _ in range(10):
        view.press(min(LEFT))
    assert (colour(drawn(), 55, 60), colour(drawn(), 65, 60)) == ("before", "after")
    for _ in range(100):
        view.press(min(RIGHT))
    assert (view.wipe, colour(drawn(), 190, 60)) == (1, "before")
    view.drag(-3)
    assert (view.wipe, colour(drawn(), 10, 60)) == (0, "after")
    view.press(ord("s"))
    assert view.mode == "after"


def test_actions_and_keys_without_meaning():
    view = View()
    before = view.state(0)
    assert [view.press(key) for key in (ord("q"), ESCAPE, ord("p"), ord("f"))] == ["quit", "quit", "save", "full"]
    assert [view.press(key) for key in (-1, 0, ord("x"), 65505, 1 << 24)] == [""] * 5
    assert view.state(0) == before


def test_writing_covers_the_picture_only_when_asked():
    view, now = View(), 100.0
    size, clean = (640, 480), View().draw(pair(size=(640, 480)), (640, 480), now)
    changed = lambda: (view.draw(pair(size=size), size, now) != clean).any(axis=2)  # noqa: E731
    assert not changed().any()
    for key in "ih":
        view.press(ord(key))
        assert changed()[:240, :320].any()
        view.press(ord(key))
    view.say("saved", now)
    assert changed()[400:].any()
    now = 104.0
    assert not changed().any()
    assert (view.draw(pair(size=size, note="source lost"), size, now) != clean)[400:].any()


def test_information_is_the_truth():
    view, made = View(information=True), pair(size=(64, 48), captured=10.0)
    for number in range(50):
        view.count(9 + number / 25)
    assert view._lines(made, 11.0) == ["32x24 to 64x48", "latency 1000 ms, 25.0 fps"]
    view.press(ord("h"))
    assert all(f"{key}  {what}" in view._lines(made, 11.0) for key, what in KEYS)


def test_a_picture_that_is_shown_again_counts_once():
    """As it is while the source is lost: all that is left of the last two seconds is one moment."""
    view = View(information=True)
    for moment in (9.0, 9.04, 9.08, *[10.0] * 5):
        view.count(moment)
    assert "3.0 fps" in view._lines(pair(captured=10.0), 10.5)[1]
    assert "0.0 fps" in view._lines(pair(captured=10.0), 11.5)[1]


def test_pixels_that_are_not_square_keep_their_shape():
    assert place(pair(size=(96, 64), aspect=32 / 27), (1600, 900)) == (0, 0, 1600, 900)
    assert place(pair(size=(96, 64), aspect=0.5), (960, 640)) == (240, 0, 480, 640)


@pytest.mark.parametrize("size", [(64, 48), (1, 1), (640, 20), (20, 640), (3, 999)])
def test_any_window_holds_the_picture(size):
    view = View(mode="split", information=True, help=True)
    made = pair(size=(64, 48), note="note")
    left, top, width, height = place(made, size)
    assert 0 <= left <= left + width <= size[0]
    assert 0 <= top <= top + height <= size[1]
    assert view.draw(made, size, 0).shape == (size[1], size[0], 3)


def test_snapshots_replace_nothing(tmp_path):
    made = pair(size=(64, 48))
    first = snapshot(made, tmp_path, NOW)
    second = snapshot(made, tmp_path, NOW)
    assert [path.name for path in first] == ["rfdn-20250304-050607-before.png", "rfdn-20250304-050607-after.png"]
    assert [path.name for path in second] == ["rfdn-20250304-050607-2-before.png", "rfdn-20250304-050607-2-after.png"]
    before, after = (cv2.imread(str(path)) for path in first)
    assert (before.shape, after.shape) == ((24, 32, 3), (48, 64, 3))
    assert (colour(before, 30, 20), colour(after, 60, 40)) == ("before", "after")
    with pytest.raises(MediaError, match="cannot write /proc/"):
        snapshot(made, Path("/proc"), NOW)


def test_fitting_keeps_the_level():
    grey = np.full((30, 40, 3), 77, np.uint8)
    for size in ((40, 30), (80, 60), (20, 15), (100, 10)):
        assert fitted(grey, size).shape == (size[1], size[0], 3)
        assert (fitted(grey, size) == 77).all()


def test_a_pair_travels_and_a_torn_one_is_the_end():
    made = pair(note="über\nzwei", aspect=32 / 27)
    data = viewer.header(made) + made.before.tobytes() + made.after.tobytes()
    stream = io.BytesIO(data * 2 + data[:-1])
    for _ in range(2):
        got = read_pair(stream)
        assert (got.captured, got.made, got.note) == (made.captured, made.made, made.note)
        assert got.aspect == made.aspect
        np.testing.assert_array_equal(got.before, made.before)
        np.testing.assert_array_equal(got.after, made.after)
    assert read_pair(stream) is None
    assert read_pair(io.BytesIO(data[:5])) is None


def test_no_display_is_one_line(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UsageError, match=r"^no display; use SINK page or set DISPLAY$"):
        open_sink("window")


def test_a_dead_display_is_one_line_and_ends_no_process(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":4711")
    words = r"^the display ':4711' cannot be used; use SINK page or set DISPLAY$"
    with open_sink("window") as sink, pytest.raises(UsageError, match=words):
        sink.open(info(), (64, 48), sink.wants(info()))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="needs signals that can be blocked")
def test_ctrl_c_is_not_for_the_window(monkeypatch):
    """A terminal sends it to all processes; this one would end in the middle of its imports, the display blamed."""
    monkeypatch.setenv("DISPLAY", ":4711")
    with open_sink("window") as sink:

        def interrupt():
            until(lambda: sink._process)
            while not sink.closed:
                sink._process.send_signal(signal.SIGINT)
                time.sleep(0.01)

        terminal = threading.Thread(target=interrupt)
        terminal.start()
        with pytest.raises(UsageError, match="cannot be used"):
            sink.open(info(), (64, 48), sink.wants(info()))
        terminal.join(20)
        assert sink._process.returncode != -signal.SIGINT
        assert "KeyboardInterrupt" not in sink._last_words()


VIEWER = """
import sys
if sys.argv[1:]:
    print("ready", flush=True)
    print("WIDTH", *sys.argv[2:4], file=sys.stderr)
    sys.stdin.buffer.readline()
    print("Traceback:\\nZeroDivisionError: float division by zero\\n\\n  <no Python frame>", file=sys.stderr)
    sys.exit(1)
"""


@pytest.fixture
def dying_viewer(tmp_path, monkeypatch):
    """In the place of the window's process: it fails at the first picture, and the toolkit says more after it."""
    (tmp_path / "dying.py").write_text(VIEWER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":4711")
    monkeypatch.setattr(viewer, "__name__", "dying")


def test_a_window_that_fails_tells_why(dying_viewer):
    wide = info((96, 64), aspect=Fraction(2))
    with open_sink("window") as sink:
        sink.open(wide, (960, 640), sink.wants(wide))
        with pytest.raises(
            MediaError, match=r"^the window ended by itself: ZeroDivisionError: float division by zero$"
        ):
            until(lambda: sink.show(shot()))
        sink._log.seek(0)
        assert sink._log.readline() == b"WIDTH 1280 427\n"  # of 1920x640, as it is shown


def test_the_window_takes_no_name():
    with pytest.raises(UsageError, match="takes nothing behind its name, got 'x'"):
        open_sink("window:x")


@contextmanager
def screen():
    """A display of its own, with a window manager."""
    if missing := [name for name in ("Xvfb", "openbox", "xdotool", "import") if shutil.which(name) is None]:
        pytest.skip(f"needs {', '.join(missing)} (apt-get install xvfb openbox xdotool imagemagick)")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1000x700x24", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as file:
            environment = {**os.environ, "DISPLAY": f":{file.readline().strip()}"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        manager = subprocess.Popen(["openbox", "--sm-disable"], env=environment, **quiet)
        try:
            yield environment
        finally:
            manager.terminate()
            manager.wait(20)
    finally:
        server.terminate()
        server.wait(20)


class Desk:
    """Keys, mouse and eyes at a display."""

    def __init__(self, environment, folder):
        self._environment, self._folder = environment, folder

    def do(self, *arguments):
        command = ["xdotool", *map(str, arguments)]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=20).stdout

    def colours(self, right=500):
        """What is to be seen at the left of the window and at column `right` of the screen."""
        path = self._folder / "screen.png"
        subprocess.run(["import", "-window", "root", str(path)], env=self._environment, check=True, timeout=20)
        picture = cv2.imread(str(path))
        return colour(picture, 100, 300), colour(picture, right, 300)

    def is_in_its_corner(self):
        """Moves the window there, wherever the window manager put it."""
        self.do("search", "--name", "rfdn under test", "windowmove", 0, 0)
        return self.colours() == ("after", "after")

    def press(self, key, then):
        """Presses a key until `then` is to be seen: a toolkit may miss one that comes too soon."""
        self.do("key", key)
        until(lambda: self.colours() == then)


@contextmanager
def shown(tmp_path):
    """A window in a process of its own; its desk and the process."""
    with screen() as environment:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(Path(__file__).parent)]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        desk = Desk(environment, tmp_path)
        try:
            until(lambda: desk.is_in_its_corner())
            yield desk, process
        finally:
            process.kill()
            process.wait(20)
            process.stdout.close()


def told(process):
    """What the program said to its end, which came by itself."""
    text, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    return text


def test_a_real_window_and_its_keys(tmp_path):
    with shown(tmp_path) as (desk, process):
        desk.press("b", ("before", "before"))
        desk.press("b", ("after", "after"))
        desk.press("s", ("before", "after"))
        desk.do("mousemove", 560, 200, "mousedown", 1, "mousemove", 580, 200)
        until(lambda: desk.colours() == ("before", "before"))
        desk.do("mouseup", 1)
        desk.press("s", ("after", "after"))
        assert desk.colours(930) == ("after", (0, 0, 0))
        desk.do("key", "f")
        until(lambda: desk.colours(930) == ("after", "after"))
        desk.do("key", "f")
        until(lambda: desk.colours(930) == ("after", (0, 0, 0)))
        desk.do("key", "p")
        until(lambda: len(list(tmp_path.glob("rfdn-*.png"))) == 2)
        time.sleep(0.2)
        desk.do("key", "Escape")
        assert told(process) == "closed None\n"


def test_the_window_manager_closes_it(tmp_path):
    with shown(tmp_path) as (desk, process):
        desk.do("key", "alt+F4")
        assert "closed" in told(process)
