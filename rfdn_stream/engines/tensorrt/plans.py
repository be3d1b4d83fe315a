"""Plans on disk: each in a file that is named after all that the plan depends on, behind its own checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger("rfdn_stream")

FILES = 32
DIGEST = hashlib.sha256().digest_size


class Plans:
    """The plans in a folder, the latest used of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: Mapping[str, object]) -> bytes | None:
        """The plan that was kept; None where there is none, or only a damaged one."""
        file = self._file(key)
        try:
            content = file.read_bytes()
            os.utime(file)
        except OSError:
            return None
        plan = content[DIGEST:]
        if hashlib.sha256(plan).digest() != content[:DIGEST]:
            log.info("%s is damaged; built anew", file)
            return None
        return plan

    def keep(self, key: Mapping[str, object], plan: bytes) -> None:
        """Writes it, whole or not at all, and removes those that are too many."""
        file = self._file(key)
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(hashlib.sha256(plan).digest() + plan)
            beside.replace(file)
            files = sorted(self._folder.glob("*.plan"), key=lambda each: each.stat().st_mtime, reverse=True)
        except OSError as failure:
            log.info("what TensorRT builds is not kept: %s: %s", self._folder, failure.strerror)
            with contextlib.suppress(OSError):
                beside.unlink()
            return
        for old in files[FILES:]:
            with contextlib.suppress(OSError):  # another process has removed it
                old.unlink()

    def _file(self, key: Mapping[str, object]) -> Path:
        name = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]
        return self._folder / f"{name}.plan"
