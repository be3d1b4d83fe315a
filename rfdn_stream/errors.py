"""Errors that reach the user.

Every message says what was got, what is allowed, and what to do next, in one line: the command line
prints it as it stands and exits with `exit_code`; a traceback is shown only with ``--debug``.
"""

from __future__ import annotations


class RfdnError(Exception):
    """Something failed that the user can understand and act on."""

    exit_code = 1


class UsageError(RfdnError):
    """The request itself cannot be carried out as it was put: an option, a name, a path."""

    exit_code = 2


class MediaError(RfdnError):
    """A file or stream cannot be read, decoded, encoded or written."""


class ModelError(RfdnError):
    """Weights are missing, damaged, or belong to another network."""


class DeviceError(RfdnError):
    """Work on a device failed; after it the device takes no more work."""
