"""What models and files are called beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def distinct(short: Sequence[str], whole: Sequence[object]) -> list[str]:
    """The short names, but for those that several have: they are called by their whole ones."""
    times = Counter(short)
    return [name if times[name] == 1 else str(full) for name, full in zip(short, whole, strict=True)]
