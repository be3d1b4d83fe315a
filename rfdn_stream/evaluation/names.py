"""What models and files are called beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def distinct(short: Sequence[str], whole: Sequence[object]) -> list[str]:
    """The short names, but for those that several have: they are called by their whole ones.

    All are, where one's whole name is another's short one.
    """
    times, full = Counter(short), list(map(str, whole))
    names = [name if times[name] == 1 else other for name, other in zip(short, full, strict=True)]
    return names if len(set(names)) == len(set(full)) else full
