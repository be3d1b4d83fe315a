"""Addresses as they are shown: in the window, on a page, in the log."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_secrets(address: str) -> str:
    """The address without the password, what follows a question mark, and at RTMP the last part: a stream's key."""
    try:
        parts = urlsplit(address)
    except ValueError:  # it is refused where it is opened
        return f"{address.partition('://')[0]}://..."
    path, _, key = parts.path.rpartition("/")
    path = f"{path}/..." if path and key and parts.scheme in ("rtmp", "rtmps") else parts.path
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
