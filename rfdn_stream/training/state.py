"""The file that a run goes on from: written whole or not at all, and the one before it kept."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from rfdn_stream.errors import ModelError

STATE, PREVIOUS = "state.pt", "state.previous.pt"
FORMAT = 1


def holds_state(folder: Path) -> bool:
    """Whether there is a state, even a damaged one."""
    return any((folder / name).exists() for name in (STATE, PREVIOUS))


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under a hidden temporary name and renames it once it is on the disk; OSError if it cannot."""
    os.replace(_write_beside(path, content), path)


def _write_beside(path: Path, content: bytes) -> Path:
    """The temporary name, always the same one, so that not even kill -9 leaves more than one such file."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    return unfinished


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes a state; the former one becomes the previous one.

    Args:
        folder: of the run.
        state: tensors, numbers and text, in dicts and lists.

    Raises:
        OSError: it could not be written; the former states are untouched.
    """
    buffer = io.BytesIO()  # torch's own writer turns a full disk into a RuntimeError without a reason
    torch.save({"format": FORMAT, **state}, buffer)
    path = folder / STATE
    unfinished = _write_beside(path, buffer.getvalue())
    if path.exists():
        os.replace(path, folder / PREVIOUS)
    os.replace(unfinished, path)  # a crash just before this line leaves the previous one, which load_state finds


def load_state(folder: Path, report: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest state of a run that can be read, on the CPU; None where the folder holds none.

    Args:
        folder: of the run.
        report: hears of a damaged state that the previous one stands in for.

    Raises:
        ModelError: there are states, and none can be read.
    """
    failures = []
    for path in (folder / STATE, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                raise ValueError(f"its format is {state['format']}, and this version reads {FORMAT}")
        except Exception as failure:  # noqa: BLE001 - a damaged archive can raise anything
            failures.append(f"{path} cannot be read ({' '.join(str(failure).split())[:80] or type(failure).__name__})")
            continue
        if failures:
            report(f"{failures[0]}; going on from {path.name}, of step {state['trainer']['step']}")
        return state
    if failures:
        raise ModelError(f"{'; '.join(failures)}; remove the folder and start again, or restore it from a copy")
    return None
