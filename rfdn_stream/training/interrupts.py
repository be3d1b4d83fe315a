"""Ctrl-C and SIGTERM during training: at once, but never inside an update of the weights."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """While entered, SIGINT and SIGTERM raise KeyboardInterrupt; inside `held()` they wait for its end.

    Off the main thread Python gives no signals, and nothing is changed.
    """

    def __init__(self) -> None:
        self._holding = self._asked = False
        self._former: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def held(self) -> Iterator[None]:
        """What runs in here runs to its end."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._asked:
            self._asked = False
            raise KeyboardInterrupt

    def hold(self) -> None:
        """From here on signals wait for ever: what is left to do is short and must be done."""
        self._holding = True

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if not self._holding:
            raise KeyboardInterrupt
        self._asked = True
