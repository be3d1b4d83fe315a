"""``log.csv``: what a run measured, a row every few steps."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

HEADER = "step,seconds,lr,loss,psnr_y\n"
logger = logging.getLogger("rfdn_stream")


class Log:
    """Rows appended to a file. A disk that is full does not stop the run: rows wait until there is room.

    Args:
        path: made with its header where it is not there.
        position: bytes to keep of it, those of the state that the run goes on from; None = begin anew.
    """

    def __init__(self, path: Path, position: int | None = None) -> None:
        self.path = path
        self.position = 0
        self._waiting = ""
        self._warned = False
        if position is not None and path.exists():
            self.position = min(position, path.stat().st_size)
        self._write("" if self.position else HEADER)

    def row(self, step: int, seconds: float, lr: float, loss: float | None, psnr: float | None) -> None:
        """One row: losses are means since the last one; what was not measured stays empty."""
        texts = ("" if value is None else format(value, form) for value, form in ((loss, ".6g"), (psnr, ".4f")))
        self._write(f"{step},{seconds:.1f},{lr:.6g},{','.join(texts)}\n")

    def _write(self, text: str) -> None:
        self._waiting += text
        try:
            with self.path.open("r+b" if self.path.exists() else "w+b") as file:
                file.truncate(self.position)  # what a crash, or a full disk, left of a row
                file.seek(self.position)
                file.write(self._waiting.encode())
                file.flush()
                position = file.tell()
        except OSError as failure:
            if not self._warned:
                logger.warning("%s cannot be written (%s); training goes on", self.path, failure.strerror)
            self._warned = True
            return
        self.position, self._waiting, self._warned = position, "", False


def read_log(path: Path) -> dict[str, list[tuple[int, float]]]:
    """The columns ``lr``, ``loss`` and ``psnr_y`` as (step, value), where there is a value."""
    columns: dict[str, list[tuple[int, float]]] = {"lr": [], "loss": [], "psnr_y": []}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, values in columns.items():
                if row[name]:
                    values.append((int(row["step"]), float(row[name])))
    return columns
