"""Pictures beside each other on a neutral ground, each column with its name: what becomes a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rfdn_stream.jobs.compare.views import Picture

GROUND, INK, QUIET = (38, 38, 38), (240, 240, 240), (170, 170, 170)  # no hue: it would tint what lies on it
MARGIN, GAP = 24, 12
NAME, SMALL, SMALLEST = 20, 15, 10  # sizes of the writing, in pixels
_BOLD, _PLAIN = 500, 400


@dataclass(frozen=True, eq=False)
class Column:
    """What stands below one name.

    Args:
        name, detail: written above it; `detail` is smaller, and may be empty.
        pictures: RGB, one a row; those of one row have one size in all columns.
    """

    name: str
    detail: str
    pictures: tuple[Picture, ...]


def draw_sheet(columns: Sequence[Column], caption: str = "") -> Picture:
    """All columns beside each other, a caption below them; RGB."""
    width = max(picture.shape[1] for picture in columns[0].pictures)
    heights = [picture.shape[0] for picture in columns[0].pictures]
    head = MARGIN + NAME + (SMALL + 8 if any(column.detail for column in columns) else 0) + 14
    foot = MARGIN + (SMALL + 16 if caption else 0)
    size = 2 * MARGIN + len(columns) * (width + GAP) - GAP
    sheet = np.full((head + sum(heights) + GAP * (len(heights) - 1) + foot, size, 3), GROUND, np.uint8)
    for number, column in enumerate(columns):
        left, top = MARGIN + number * (width + GAP), head
        write(sheet, column.name, (left, MARGIN + NAME - 4), NAME, INK, width, _BOLD)
        write(sheet, column.detail, (left, MARGIN + NAME + SMALL + 4), SMALL, QUIET, width)
        for picture in column.pictures:
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            top += picture.shape[0] + GAP
    write(sheet, caption, (MARGIN, sheet.shape[0] - MARGIN), SMALL, QUIET, size - 2 * MARGIN)
    return sheet


def label(text: str, most: int) -> Picture:
    """A name on a small plate, to be laid over a picture: even sides, no wider than `most` pixels."""
    width = max(2, min(_extent(text, SMALL, _BOLD) + 20, most)) // 2 * 2
    plate = np.full((30, width, 3), GROUND, np.uint8)
    write(plate, text, (10, 20), SMALL, INK, width - 20, _BOLD)
    return plate


def write(
    picture: Picture,
    text: str,
    at: tuple[int, int],
    size: int,
    colour: tuple[int, int, int],
    most: int,
    weight: int = _PLAIN,
) -> None:
    """Writes a line that begins at `at`, on its base line, smaller or cut off where it would be wider than `most`."""
    while size > SMALLEST and _extent(text, size, weight) > most:
        size -= 1
    whole = text
    while text and _extent(text, size, weight) > most:
        whole = whole[:-1]
        text = whole and whole + "…"
    if text:
        cv2.putText(picture, text, at, colour, cv2.FontFace("sans"), size, weight)


def _extent(text: str, size: int, weight: int) -> int:
    if not text:
        return 0
    left, _, width, _ = cv2.getTextSize((1, 1), text, (0, 0), cv2.FontFace("sans"), size, weight)
    return int(left + width)
