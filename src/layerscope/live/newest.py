"""A place for one thing: whoever takes it gets the newest, what was not taken in time is lost."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """Hands the newest of what one thread makes to another, which may be slower."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.put_count, self.dropped = 0, 0

    def put(self, item: T) -> None:
        """Leave `item`; one that still lies there is dropped and counted."""
        with self._changed:
            self.put_count += 1
            if self._closed:
                self.dropped += 1
                return
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> T | None:
        """Wait for an item and take it; None when closed or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None, timeout_s)
            if self._closed:
                return None
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Let nobody wait any longer; what lies there counts as dropped."""
        with self._changed:
            self.dropped += self._item is not None
            self._item, self._closed = None, True
            self._changed.notify_all()
