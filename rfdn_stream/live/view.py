"""What the window shows: before, after or both, with what is written over them.

No window is needed for it, and nothing of FFmpeg: see `viewer`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""[rows, columns, 3]."""

KEYS = (
    ("b", "before / after"),
    ("s", "split: move it by mouse or arrows"),
    ("p", "save both as PNG"),
    ("i", "latency and rate"),
    ("f", "full screen"),
    ("h", "this help"),
    ("q", "quit"),
)
ESCAPE = 27
# Arrow keys, as OpenCV's toolkits report them: Qt and GTK, Windows, macOS.
LEFT, RIGHT = {65361, 0x250000, 63234}, {65363, 0x270000, 63235}
_STEP = 0.02
# How long a message stays, in seconds.
_MESSAGE = 3.0
_WHITE, _AMBER, _SHADE = (255, 255, 255), (107, 196, 255), (24, 18, 16)  # BGR

Action = Literal["", "quit", "save", "full"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures of one moment, in RGB.

    Args:
        before, after: each in its own size.
        captured, made: as in `live.base.Shot`.
        note: what the viewer should know.
        aspect: how wide a pixel is shown for its height, in both pictures.
    """

    before: Picture
    after: Picture
    captured: float
    made: float
    note: str = ""
    aspect: float = 1.0


@dataclass
class View:
    """What the viewer has chosen.

    Args:
        mode: which picture is shown; `split` = before to the left of `wipe`, after to its right.
        wipe: a share of the picture's width.
        information, help: whether they are written over the picture.
    """

    mode: Literal["after", "before", "split"] = "after"
    wipe: float = 0.5
    information: bool = False
    help: bool = False
    _message: tuple[str, float] = ("", 0.0)
    _moments: deque[float] = field(default_factory=lambda: deque(maxlen=120))

    def press(self, key: int) -> Action:
        """Takes a key of `cv2.waitKeyEx`, and gives back what is the window's to do."""
        if key in LEFT or key in RIGHT:
            self._move(self.wipe + (_STEP if key in RIGHT else -_STEP))
            return ""
        letter = chr(key).lower() if 0 < key < 128 else ""
        if letter == "b":
            self.mode = "after" if self.mode == "before" else "before"
        elif letter == "s":
            self.mode = "after" if self.mode == "split" else "split"
        elif letter == "i":
            self.information = not self.information
        elif letter == "h":
            self.help = not self.help
        actions: dict[str, Action] = {"q": "quit", chr(ESCAPE): "quit", "p": "save", "f": "full"}
        return actions.get(letter, "")

    def drag(self, share: float) -> None:
        """The mouse is held down at a share of the picture's width."""
        self._move(share)

    def say(self, message: str, now: float) -> None:
        """Shows a message for a while."""
        self._message = message, now + _MESSAGE

    def count(self, moment: float) -> None:
        """A picture was made at that moment, in seconds; one that is shown again counts once."""
        if not self._moments or moment != self._moments[-1]:
            self._moments.append(moment)

    def state(self, now: float) -> tuple[object, ...]:
        """What a drawing depends on besides the frame: where it is the same, the drawing is."""
        message = self._message if now < self._message[1] else None
        return self.mode, self.wipe, self.information, self.help, message

    def draw(self, pair: Pair, size: tuple[int, int], now: float) -> Picture:
        """The window's content: the picture as large as fits into (width, height), in BGR, and the writing."""
        canvas = np.zeros((size[1], size[0], 3), np.uint8)
        left, top, width, height = place(pair, size)
        canvas[top : top + height, left : left + width] = self._picture(pair, (width, height))[..., ::-1]
        scale = max(0.45, min(size[1] / 900, 1.2))
        lines = self._lines(pair, now)
        if lines:
            _write(canvas, lines, scale, _WHITE)
        message, until = self._message
        note = message if now < until else pair.note
        if note:
            _write(canvas, [note], scale, _AMBER, bottom=True)
        return canvas

    def _move(self, share: float) -> None:
        self.mode, self.wipe = "split", min(max(share, 0.0), 1.0)

    def _picture(self, pair: Pair, size: tuple[int, int]) -> Picture:
        if self.mode == "after":
            return fitted(pair.after, size)
        before = fitted(pair.before, size)
        if self.mode == "before":
            return before
        edge = round(self.wipe * size[0])
        picture = fitted(pair.after, size).copy()
        picture[:, :edge] = before[:, :edge]
        picture[:, max(edge - 1, 0) : edge + 1] = 255
        return picture

    def _lines(self, pair: Pair, now: float) -> list[str]:
        lines = []
        if self.mode == "before":
            lines.append("before")
        if self.information:
            (h, w, _), (rows, columns, _) = pair.before.shape, pair.after.shape
            lines.append(f"{w}x{h} to {columns}x{rows}")
            lines.append(f"latency {1000 * (now - pair.captured):.0f} ms, {self._rate(now):.1f} fps")
        if self.help:
            lines += [f"{key}  {what}" for key, what in KEYS]
        return lines

    def _rate(self, now: float) -> float:
        times = [moment for moment in list(self._moments) if now - moment < 2]
        span = times[-1] - times[0] if times else 0.0
        return (len(times) - 1) / span if span else 0.0


def place(pair: Pair, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of the picture in a window of (width, height), its shape kept."""
    rows, columns, _ = pair.after.shape
    shown = columns * pair.aspect
    factor = min(size[0] / shown, size[1] / rows)
    width, height = max(1, round(shown * factor)), max(1, round(rows * factor))
    return (size[0] - width) // 2, (size[1] - height) // 2, width, height


def _write(
    canvas: Picture, lines: list[str], scale: float, colour: tuple[int, int, int], *, bottom: bool = False
) -> None:
    """Lines of text on a shade, in the upper left corner or in the lower one."""
    font, pad = cv2.FONT_HERSHEY_SIMPLEX, round(14 * scale)
    step = round(30 * scale)
    width = max(cv2.getTextSize(line, font, scale * 0.75, 1)[0][0] for line in lines)
    top = canvas.shape[0] - len(lines) * step - 3 * pad if bottom else pad
    area = canvas[top : top + len(lines) * step + 2 * pad, pad : pad + width + 2 * pad]
    area[...] = (area * 0.3 + np.array(_SHADE) * 0.7).astype(np.uint8)
    for number, line in enumerate(lines, 1):
        at = 2 * pad, top + pad + number * step - round(9 * scale)
        cv2.putText(canvas, line, at, font, scale * 0.75, colour, 1, cv2.LINE_AA)


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture at (width, height): bicubic where it grows, means of areas where it shrinks."""
    rows, columns = picture.shape[:2]
    if (columns, rows) == size:
        return picture
    method = cv2.INTER_AREA if size[0] <= columns and size[1] <= rows else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)
