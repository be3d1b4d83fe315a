"""Between two threads of a session: the newest item, and no queue that could grow."""

from __future__ import annotations

import threading


class Mailbox[T]:
    """Holds one item. A newer one takes the place of what nobody has fetched.

    Attributes:
        put_in: items so far; `replaced`: those of them that nobody will see.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._ended = False
        self.put_in = 0
        self.replaced = 0

    def put(self, item: T) -> bool:
        """Never waits. Whether the mailbox was empty."""
        with self._changed:
            was_empty = self._item is None
            self.put_in += 1
            self.replaced += not was_empty
            self._item = item
            self._changed.notify()
            return was_empty

    def take(self, timeout: float | None = None) -> T | None:
        """The newest item, waited for; None after the timeout, or when there will be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._ended, timeout)
            item, self._item = self._item, None
            return item

    def end(self) -> None:
        """No more items will come; the last one can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    @property
    def finished(self) -> bool:
        """Whether nothing is left and nothing will come."""
        with self._changed:
            return self._ended and self._item is None
