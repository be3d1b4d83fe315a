"""One line of a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a part of the machine is."""

    OK = "ok"
    ABSENT = "absent"
    """Optional, and not there: `Finding.cost` says what is missed."""
    BROKEN = "broken"
    """Something that is needed does not work, or something that is there does not fit."""


@dataclass(frozen=True)
class Finding:
    """One part of the machine.

    Args:
        part: its name, as the user knows it.
        state: how it is.
        detail: what was found: versions, names, sizes.
        cost: what its absence or fault costs; empty where it is in order.
        remedy: the command or step that mends it; empty where it is in order or nothing can be done.
    """

    part: str
    state: State
    detail: str
    cost: str = ""
    remedy: str = ""


def ok(part: str, detail: str) -> Finding:
    """A part in order."""
    return Finding(part, State.OK, detail)


def absent(part: str, detail: str, cost: str, remedy: str = "") -> Finding:
    """An optional part that is not there."""
    return Finding(part, State.ABSENT, detail, cost, remedy)


def broken(part: str, detail: str, cost: str, remedy: str = "") -> Finding:
    """A part that should work and does not."""
    return Finding(part, State.BROKEN, detail, cost, remedy)
