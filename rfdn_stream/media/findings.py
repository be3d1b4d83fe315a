"""What turns out on the way through a video, or through a part of it, and is told when the work is done."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

_TELECINED = (0.35, 0.45)  # share of interlaced frames: two in five
_ENOUGH = 50  # frames from which the share says something


@dataclass(frozen=True)
class Damage:
    """Something in the file that could not be read as it was meant; `seconds` on the file's clock."""

    seconds: Fraction
    what: str


@dataclass(frozen=True)
class Findings:
    """Of one part, or of several that follow one another (`+`).

    Args:
        damage: in order of time.
        changes: when the picture changed its size or format, and to which, on the file's clock.
        notes: sentences for the user, the same for every part.
        deinterlaced, progressive: frames that were interlaced and no longer are, and the others.
        untimed: frames whose time was made up; `repeats`: pictures that asked for a field to be shown twice.
    """

    damage: tuple[Damage, ...] = ()
    changes: tuple[tuple[Fraction, str], ...] = ()
    notes: tuple[str, ...] = ()
    deinterlaced: int = 0
    progressive: int = 0
    untimed: int = 0
    repeats: int = 0

    def __add__(self, later: Findings) -> Findings:
        shape = self.changes[-1][1] if self.changes else ""
        news = later.changes[1:] if later.changes and later.changes[0][1] == shape else later.changes
        return Findings(
            self.damage + later.damage,
            self.changes + news,
            tuple(dict.fromkeys(self.notes + later.notes)),
            self.deinterlaced + later.deinterlaced,
            self.progressive + later.progressive,
            self.untimed + later.untimed,
            self.repeats + later.repeats,
        )

    @property
    def sentences(self) -> list[str]:
        """All but the damage, for the user."""
        told = [
            f"the picture changes to {shape} at {float(when):.3f} s and is scaled to the first size"
            for when, shape in self.changes
        ]
        told += [*self.notes, *self._on_interlacing()]
        if self.repeats:
            told.append(f"{self.repeats} pictures asked for a field to be shown twice and are made once each")
        if self.untimed:
            told.append(f"{self.untimed} frames had no usable timestamp and follow the frame before them")
        return told

    def _on_interlacing(self) -> list[str]:
        every = self.deinterlaced + self.progressive
        if not self.deinterlaced or not self.progressive:
            return []
        told = [f"{self.deinterlaced} of {every} frames were interlaced and have been deinterlaced"]
        if every >= _ENOUGH and _TELECINED[0] < self.deinterlaced / every < _TELECINED[1]:
            told.append("two interlaced frames in five are what a telecine makes of film; undo it first for all detail")
        return told

    def as_json(self) -> dict[str, Any]:
        """For `json.dumps`; times as text, which loses nothing."""
        return {
            "damage": [[str(each.seconds), each.what] for each in self.damage],
            "changes": [[str(when), shape] for when, shape in self.changes],
            "notes": list(self.notes),
            "deinterlaced": self.deinterlaced,
            "progressive": self.progressive,
            "untimed": self.untimed,
            "repeats": self.repeats,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """What `as_json` made."""
        return cls(
            tuple(Damage(Fraction(when), what) for when, what in found["damage"]),
            tuple((Fraction(when), shape) for when, shape in found["changes"]),
            tuple(found["notes"]),
            found["deinterlaced"],
            found["progressive"],
            found["untimed"],
            found["repeats"],
        )
