"""Image sequences by their names: ``shot_%05d.png``, a folder of images, ``'shots/*.png'``."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rfdn_stream.errors import MediaError, UsageError
from rfdn_stream.media.image import EXTENSIONS

_NUMBER = re.compile(r"%(0\d+)?d")
_LISTED = 5  # runs of missing numbers that are named one by one


@dataclass(frozen=True)
class Pattern:
    """Names of files that differ in a number, as C's printf writes it.

    Args:
        path: with one ``%d`` or ``%05d`` in its last part; a ``%`` itself is written ``%%``.

    Raises:
        UsageError: no or several numbers, one in the folder's name, or no image format.
    """

    path: Path
    _parts: tuple[str, str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name, found = self.path.name, list(_NUMBER.finditer(self.path.name.replace("%%", "\0\0")))
        if len(found) != 1 or is_pattern(self.path.parent):
            raise UsageError(f"{self.path} is no pattern; write the number's place once, in the name: shot_%05d.png")
        if self.path.suffix.lower() not in EXTENSIONS:
            raise UsageError(
                f"{self.path.suffix or self.path.name} is not an image format of this program; "
                f"it knows {', '.join(sorted(EXTENSIONS))}"
            )
        start, end = found[0].span()
        parts = (name[:start].replace("%%", "%"), name[end:].replace("%%", "%"), int(found[0].group(1) or 0))
        object.__setattr__(self, "_parts", parts)

    def file(self, number: int) -> Path:
        """The file of that number."""
        before, after, digits = self._parts
        return self.path.with_name(f"{before}{number:0{digits}d}{after}")

    def number(self, name: str) -> int | None:
        """The number in a file's name; None where it is not of this pattern."""
        before, after, digits = self._parts
        middle = name[len(before) : len(name) - len(after)]
        if not (name.startswith(before) and name.endswith(after) and middle.isascii() and middle.isdigit()):
            return None
        return int(middle) if middle == f"{int(middle):0{digits}d}" else None

    def existing(self) -> dict[int, Path]:
        """Files of this pattern that are there, by number, in order."""
        if not self.path.parent.is_dir():
            return {}
        found = ((self.number(path.name), path) for path in self.path.parent.iterdir() if path.is_file())
        return dict(sorted((number, path) for number, path in found if number is not None))

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Images:
    """The files of an image sequence, in order.

    Args:
        name: as the user wrote it.
        numbers: of the files, where the user named a pattern; () = none.
        notes: what the user is to know, in sentences.
    """

    name: str
    paths: tuple[Path, ...]
    numbers: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def would_hold(self, path: Path) -> bool:
        """Whether a file of that path would be taken for a part of the sequence."""
        source = Path(self.name)
        if self.numbers:
            return path.parent.resolve() == source.parent.resolve() and Pattern(source).number(path.name) is not None
        if source.is_dir():
            return path.parent.resolve() == source.resolve() and path.suffix.lower() in EXTENSIONS
        return fnmatch.fnmatch(str(path.absolute()), str(source.absolute()))


def is_pattern(path: str | Path) -> bool:
    """Whether a name holds the place of a number, and is not that of a file which is there."""
    return _NUMBER.search(str(path).replace("%%", "")) is not None and not Path(path).exists()


def is_glob(path: str | Path) -> bool:
    """Whether a name has a wildcard, and is not that of a file which is there."""
    return glob.has_magic(str(path)) and not Path(path).exists()


def find_images(source: str | Path) -> Images | None:
    """The sequence that a path stands for; None where it is a single file, or an address.

    Raises:
        MediaError: there are no images, or numbers are missing in the middle of a pattern's.
        UsageError: a pattern that is none.
    """
    path = Path(source)
    if str(source) == "-" or "://" in str(source) or path.is_file():
        return None
    if path.is_dir():
        return _in_folder(path)
    if is_pattern(path):
        return _numbered(Pattern(path))
    return _matching(path) if is_glob(path) else None


def _numbered(pattern: Pattern) -> Images:
    found = pattern.existing()
    if not found:
        raise MediaError(f"no file {pattern} is there, such as {pattern.file(1)}")
    if holes := list(_holes(list(found))):
        raise MediaError(
            f"{pattern} has a hole: {_listed(holes)} of {min(found)} to {max(found)} "
            f"{'is' if holes == [(holes[0][0],) * 2] else 'are'} missing; "
            f"to take those that are there, write '{_as_glob(pattern)}'"
        )
    return Images(str(pattern), tuple(found.values()), tuple(found))


def _as_glob(pattern: Pattern) -> str:
    return _NUMBER.sub("*", str(pattern))


def _in_folder(folder: Path) -> Images:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    images = [path for path in files if path.suffix.lower() in EXTENSIONS]
    if not images:
        what = "is empty" if not files else f"holds no images ({', '.join(sorted(EXTENSIONS))})"
        raise MediaError(f"the folder {folder} {what}; name a video file, or a folder of images")
    others = len(files) - len(images)
    left = (f"{others} other files in {folder} are left out",) if others else ()
    return _ordered(str(folder), images, left)


def _matching(path: Path) -> Images:
    found = [Path(name) for name in glob.glob(str(path)) if Path(name).is_file()]
    if not found:
        raise MediaError(f"no file matches {path}")
    if other := next((file for file in found if file.suffix.lower() not in EXTENSIONS), None):
        raise MediaError(
            f"{path} matches {other.name}, which is no image ({', '.join(sorted(EXTENSIONS))}); "
            "only images make a sequence"
        )
    return _ordered(str(path), found, ())


def _ordered(name: str, paths: list[Path], notes: tuple[str, ...]) -> Images:
    """In the order of the numbers in their names, as people count; missing ones are told."""
    paths = sorted(paths, key=lambda path: _natural(path.name))
    split = [re.fullmatch(r"(.*?)(\d+)(\.\w+)", path.name) for path in paths]
    if all(split) and len({(match[1], match[3]) for match in split if match}) == 1:
        numbers = [int(match[2]) for match in split if match]
        if holes := list(_holes(numbers)):
            notes = (*notes, f"of the numbers {numbers[0]} to {numbers[-1]} in {name}, {_listed(holes)} are missing")
    return Images(name, tuple(paths), notes=notes)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts shot_9 before shot_10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isascii() and part.isdigit() else (0, 0, part) for part in parts]


def _holes(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run that is missing."""
    for one, following in pairwise(numbers):
        if following > one + 1:
            yield one + 1, following - 1


def _listed(holes: list[tuple[int, int]]) -> str:
    named = [str(first) if first == last else f"{first} to {last}" for first, last in holes[:_LISTED]]
    rest = len(holes) - _LISTED
    return ", ".join(named) + (f" and {rest} more runs" if rest > 0 else "")
