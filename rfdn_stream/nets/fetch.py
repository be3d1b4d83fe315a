"""Downloads of weights: pinned by their SHA-256, kept in the user's data folder."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
import pooch

from rfdn_stream.errors import ModelError

Progress = Callable[[int, int], None]
"""Called with the bytes received so far and the bytes in all."""

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16


def home() -> Path:
    """Where downloads are kept: $RFDN_STREAM_HOME, else the user's data folder of this platform."""
    return Path(os.environ.get("RFDN_STREAM_HOME") or platformdirs.user_data_dir("rfdn-stream", appauthor=False))


def sha256_of(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, sha256: str, size: int, progress: Progress | None = None) -> None:
    """Downloads a file, unless it is there already and right; a file that is there and wrong is replaced.

    Args:
        url: http or https.
        path: where the file is to lie; folders are made.
        sha256: what the file's checksum must be.
        size: of the file in bytes, for `progress`.
        progress: called as bytes arrive.

    Raises:
        ModelError: no connection, an answer other than the file, another checksum, or nowhere to write;
            nothing new is left at `path` or beside it.
    """
    by_hand = f"or download {url} by other means and put it at {path}"
    pooch.get_logger().setLevel(logging.WARNING)  # the callback reports
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(
                progressbar=_Meter(progress, size) if progress else False, chunk_size=CHUNK, timeout=TIMEOUT
            ),
        )
    except ValueError:  # pooch's word for a checksum that does not match
        raise ModelError(f"what {url} sent is not the published file (its SHA-256 differs); try again later") from None
    except OSError as error:
        response = getattr(error, "response", None)
        if response is not None:
            answer = f"{response.status_code} {response.reason}"
            raise ModelError(f"the server answered {answer} for {url}; try again later, {by_hand}") from error
        if error.errno is not None or isinstance(error, PermissionError):  # the connection's errors have no number
            reason = error.strerror or "permission denied"
            raise ModelError(
                f"cannot write to {path.parent} ({reason}); set RFDN_STREAM_HOME to another folder"
            ) from error
        host = urlsplit(url).netloc
        raise ModelError(f"no connection to {host}, or it broke off; check the network, {by_hand}") from error


class _Meter:
    """What pooch takes for a progress bar, handing on to a callback."""

    def __init__(self, progress: Progress, size: int) -> None:
        self._progress = progress
        self._size = size
        self._received = 0
        self.total = 0  # set by pooch to what the server announces

    def update(self, received: int) -> None:
        """Notes more bytes; pooch counts whole chunks, so that the last one may be too much."""
        self._received = min(self._received + received, self._size)
        self._progress(self._received, self._size)

    def reset(self) -> None:
        """Nothing to do: pooch calls it once all is there, only to fill the bar."""

    def close(self) -> None:
        """Nothing to close."""
