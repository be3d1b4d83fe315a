"""The window's own process: ``python -m rfdn_stream.live.viewer TITLE WIDTH HEIGHT FOLDER``, fed by standard input.

OpenCV's window and PyAV each bring a copy of the X libraries, and the window waits for ever where PyAV's came first;
its toolkit ends the process that finds no display; and on macOS it must have the main thread. So it gets a process
with nothing else in it. It says "ready" on standard output when the window is there, and ends when the viewer closes
it or standard input ends.

A pair of pictures comes as a line of JSON (`header`), then the samples of both in RGB.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from rfdn_stream.errors import RfdnError
from rfdn_stream.frame import FORMATS, RGB_FULL, Frame
from rfdn_stream.live.view import Pair, Picture, View, place
from rfdn_stream.media.image import write_image

_FLAGS = cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL
# Milliseconds that the window waits for a key before it looks for a new picture.
_KEYS = 8


def header(pair: Pair) -> bytes:
    """The line before the samples of a pair."""
    told = {
        "before": pair.before.shape,
        "after": pair.after.shape,
        "captured": pair.captured,
        "made": pair.made,
        "note": pair.note,
        "aspect": pair.aspect,
    }
    return json.dumps(told).encode() + b"\n"


def read_pair(stream: BinaryIO) -> Pair | None:
    """The next pair; None at the end."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    told = json.loads(line)
    pictures = []
    for shape in (told["before"], told["after"]):
        picture: Picture = np.empty(shape, np.uint8)
        memory, at = memoryview(picture).cast("B"), 0
        while at < len(memory):
            count = stream.readinto(memory[at:])  # type: ignore[attr-defined]
            if not count:
                return None
            at += count
        pictures.append(picture)
    return Pair(pictures[0], pictures[1], told["captured"], told["made"], told["note"], told["aspect"])


class Viewer:
    """A window until its viewer or its input ends it.

    Args:
        title: of the window.
        size: (width, height) that its inside begins with.
        folder: where snapshots go.
    """

    def __init__(self, title: str, size: tuple[int, int], folder: Path) -> None:
        self._title, self._size, self._folder = title, size, folder
        self._view = View()
        self._pair: Pair | None = None
        self._ended = threading.Event()

    def run(self, stream: BinaryIO) -> None:
        """Shows what comes."""
        cv2.namedWindow(self._title, _FLAGS)
        cv2.resizeWindow(self._title, *self._size)
        cv2.setMouseCallback(self._title, self._on_mouse)
        print("ready", flush=True)  # noqa: T201 - to the process that waits for it
        threading.Thread(target=self._receive, args=(stream,), daemon=True).start()
        drawn: object = None
        while not self._ended.is_set():
            pair, now = self._pair, time.monotonic()
            wanted = pair, self._area(), self._view.state(now)
            if pair is not None and wanted != drawn:
                cv2.imshow(self._title, self._view.draw(pair, wanted[1], now))
                drawn = wanted
            key = cv2.waitKeyEx(_KEYS)
            if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1 or not self._obey(key, pair):
                break

    def _receive(self, stream: BinaryIO) -> None:
        try:
            while (pair := read_pair(stream)) is not None:
                self._view.count(pair.made)
                self._pair = pair
        finally:
            self._ended.set()

    def _obey(self, key: int, pair: Pair | None) -> bool:
        """Does what a key asks for; False = quit."""
        action = self._view.press(key) if key > 0 else ""
        if action == "save" and pair is not None:
            self._view.say(self._save(pair), time.monotonic())
        elif action == "full":
            full = cv2.getWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN) > 0
            state = cv2.WINDOW_NORMAL if full else cv2.WINDOW_FULLSCREEN
            cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, state)
        return action != "quit"

    def _area(self) -> tuple[int, int]:
        """Width and height of the window's inside."""
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return (width, height) if width > 1 and height > 1 else self._size

    def _on_mouse(self, event: int, x: int, y: int, flags: int, _: object) -> None:
        if self._pair is not None and flags & cv2.EVENT_FLAG_LBUTTON:
            left, _top, width, _height = place(self._pair, self._area())
            self._view.drag((x - left) / width)

    def _save(self, pair: Pair) -> str:
        """Writes before and after as PNG, and says where."""
        try:
            paths = snapshot(pair, self._folder, datetime.now())
        except RfdnError as error:
            return str(error)
        return f"saved {' and '.join(path.name for path in paths)}"


def snapshot(pair: Pair, folder: Path, now: datetime) -> list[Path]:
    """Writes `rfdn-DATE-TIME-before.png` and `...-after.png`, each in its own size; replaces nothing.

    Raises:
        MediaError: they cannot be written.
    """
    for stem in _stems(now):
        paths = [folder / f"{stem}-{which}.png" for which in ("before", "after")]
        if not any(path.exists() for path in paths):
            break
    for path, picture in zip(paths, (pair.before, pair.after), strict=True):
        height, width, _ = picture.shape
        write_image(path, Frame((picture,), FORMATS["rgb24"], width, height, RGB_FULL))
    return paths


def _stems(now: datetime) -> Iterator[str]:
    stem, number = f"rfdn-{now:%Y%m%d-%H%M%S}", 1
    while True:
        yield stem if number == 1 else f"{stem}-{number}"
        number += 1


def main(title: str, width: str, height: str, folder: str) -> None:
    """The process. Ctrl-C is for the one that feeds it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Viewer(title, (int(width), int(height)), Path(folder)).run(sys.stdin.buffer)
    os._exit(0)  # not waiting for the thread that reads: it may wait for ever


if __name__ == "__main__":
    main(*sys.argv[1:])
