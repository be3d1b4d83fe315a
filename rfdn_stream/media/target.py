"""Where a result is written: checked before work starts, under a temporary name until it is whole."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from rfdn_stream.errors import MediaError, UsageError

_LONGEST_NAME = 255  # bytes, on the usual file systems
_LONGEST_STEM = 230  # what leaves room for a point, a process's number and an ending
_HASHED = 8  # bytes that tell long names from each other

_under_way: set[Path] = set()
"""Unfinished results of this process. In a container a dead one may have had its number, and left files under it."""
_loaded = time.time()
_turn = threading.Lock()


def settle_target(source: Path | None, target: Path, *, overwrite: bool) -> None:
    """UsageError if `target` cannot or must not be written; `source` = the file that it must not be, if it is one."""
    if (length := len(os.fsencode(target.name))) > _LONGEST_NAME:
        raise UsageError(f"the output's name has {length} bytes, and {_LONGEST_NAME} are possible; shorten {target}")
    if target.is_dir():
        name = "video.mkv" if source is None else source.name
        raise UsageError(f"the output {target} is a folder; name a file in it, such as {target / name}")
    if target.exists() and not target.is_file():
        raise UsageError(f"the output {target} is a pipe or a device; name a file, or - for standard output")
    folder = followed(target).parent
    if not folder.is_dir():
        raise UsageError(f"the output's folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write into {folder}: it is read-only; choose another folder")
    check_writable(target)
    if not target.exists():
        return
    if source is not None and source.exists() and target.samefile(source):
        raise UsageError(f"the output {target} is the input itself; choose another name")
    if not overwrite:
        raise UsageError(f"the output {target} exists; pass --overwrite to replace it, or choose another name")


def check_writable(target: Path) -> None:
    """UsageError if nothing can be written beside `target`."""
    folder = followed(target).parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as failure:
        raise UsageError(f"cannot write into {folder}: {failure.strerror}; choose another folder") from None


def followed(target: Path) -> Path:
    """The file that is written: where a link leads, whether or not something is there."""
    if not os.path.islink(target):  # which takes any name, as Path's does not
        return target
    try:
        return target.resolve()
    except RuntimeError:
        raise UsageError(f"the output {target} is a link that leads to itself; remove it") from None


def hidden_name(target: Path, ending: str) -> str:
    """Of what lies beside a target until that is whole; of a long one the head and a hash, to stay possible itself."""
    name, data = target.name, os.fsencode(target.name)
    if len(data) > _LONGEST_STEM:
        digest = hashlib.sha256(data).hexdigest()[: 2 * _HASHED]
        name = f"{data[: _LONGEST_STEM - len(digest) - 1].decode(errors='ignore')}-{digest}"
    return f".{name}{ending}"


@contextmanager
def whole_or_nothing(target: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A temporary name in the target's folder, renamed to `target` if the block succeeds, else removed.

    Where the target is a link, all of this is of the file that it leads to.

    Args:
        overwrite: replace what has come to lie under the target's name meanwhile.

    Raises:
        UsageError: the folder cannot be written into, another run is at work on the target, or has just made it.
    """
    target = followed(target)
    with partial_name(target) as partial:
        try:
            partial.open("xb").close()
        except OSError as failure:
            raise UsageError(f"cannot write into {target.parent}: {failure.strerror}; choose another folder") from None
        try:
            yield partial
            if target.exists() and not overwrite:
                raise UsageError(f"the output {target} has appeared meanwhile and is kept; the new result was removed")
            os.replace(partial, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
            raise


@contextmanager
def partial_name(target: Path) -> Iterator[Path]:
    """A name beside the target that is the block's alone; nothing is there, as what dead processes left is removed.

    It is hidden and ends in ``.part``: nothing takes it for a whole result, even after a crash.

    Raises:
        UsageError: a run is at work on the target.
    """
    partial = target.with_name(hidden_name(target, f".{os.getpid()}.part"))
    own = partial.resolve()
    with _turn:
        if own in _under_way:
            raise UsageError(f"{target} is being written by this very process; choose another name")
        _under_way.add(own)
    try:
        _remove_left_over(target)
        yield partial
    finally:
        _under_way.discard(own)


def write_error(path: str | Path, error: av.FFmpegError | OSError) -> MediaError:
    """What to tell where a file cannot be written."""
    hint = "; free some space or write to another disk" if error.errno in (errno.ENOSPC, errno.EFBIG) else ""
    return MediaError(f"cannot write {path}: {error.strerror}{hint}")


def _remove_left_over(target: Path) -> None:
    """Removes unfinished results of the same target; UsageError if another process that is alive has one."""
    for other in target.parent.glob(f"{glob.escape(hidden_name(target, '.'))}*.part"):
        number = other.name.removesuffix(".part").rpartition(".")[2]
        if not number.isdigit() or other.name != hidden_name(target, f".{number}.part"):
            continue
        if _is_at_work(int(number), other):
            raise UsageError(
                f"process {number} is writing {target}; wait for it or choose another name "
                f"(if it is another program, delete {other})"
            )
        with contextlib.suppress(OSError):
            shutil.rmtree(other) if other.is_dir() else other.unlink()


def _is_at_work(process: int, partial: Path) -> bool:
    """Whether the process that left this is alive: one of our number is another one, which wrote before we began.

    What was written since is another container's, whose processes have the same numbers.
    """
    if process != os.getpid():
        return _is_alive(process)
    with contextlib.suppress(OSError):
        return partial.stat().st_mtime > _loaded
    return False


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # where asking ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
