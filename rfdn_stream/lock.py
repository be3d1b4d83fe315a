"""One process at a time works in a folder: on a job, or on a training run."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from rfdn_stream.errors import MediaError, UsageError

LOCK = "lock"
TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


@contextmanager
def locked(folder: Path, what: str = "job", name: str = LOCK) -> Iterator[None]:
    """Holds the lock of a folder inside the block. The system lets go of it when the process ends, however.

    Args:
        folder: where the work is done; it exists.
        what: the work, in a word.
        name: of the file that is locked. It may be removed inside the block.

    Raises:
        UsageError: another process has it, or there are no locks on this disk.
        MediaError: the file cannot be written.
    """
    path = folder / name
    with _opened(path) as file:
        try:
            _lock(file.fileno())
        except OSError as failure:
            if failure.errno not in TAKEN:
                raise UsageError(
                    f"{folder} lies where files cannot be locked ({failure.strerror}); choose a folder on another disk"
                ) from None
            file.seek(0)
            who = file.read(32).decode(errors="replace")
            raise UsageError(f"process {who} is working on the {what} in {folder}; wait for it, or end it") from None
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise UsageError(f"another process has just ended the {what} in {folder}; try again")
        try:
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        except OSError as failure:
            raise _unwritable(path, failure) from failure
        yield


def _opened(path: Path) -> FileIO:
    """Without a buffer, which would be written once more when the file is closed."""
    try:
        return FileIO(path, "a+")
    except OSError as failure:
        raise _unwritable(path, failure) from failure


def _unwritable(path: Path, failure: OSError) -> MediaError:
    hint = "; free some space, or choose a folder on another disk" if failure.errno == errno.ENOSPC else ""
    return MediaError(f"cannot write {path}: {failure.strerror}{hint}")


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, 1 << 30, os.SEEK_SET)  # behind the text, which others may read
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
