"""The queue between the workers and the thread that writes."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any

from airbyte_cdk.models import AirbyteMessage
from airbyte_cdk.sources.message import InMemoryMessageRepository

MOST_RECORDS = 10_000
"""Records that wait to be written at most; about 10 MB."""
MOST_PAGES = 32
"""Pages of up to 1,000 records as text that wait to be written at most; about 10 MB, too."""


class HandoverQueue:
    """A bounded queue on `queue.SimpleQueue`, with the part of `queue.Queue` that the CDK uses.

    `queue.Queue` costs 3 us of CPU more for each item (docs/performance.md), and does not end the
    waiting of those who put when nobody reads any more.
    The bound is soft: each worker that looks at the same time can put one item more.
    """

    def __init__(self, most: int) -> None:
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._most = most
        self._resume_at = most // 2
        self._room = threading.Condition()
        self._waiting = 0
        self.empty = self._items.empty

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item; wait for room, or raise `queue.Full` when not to wait (any longer)."""
        if self._items.qsize() >= self._most:
            if not block:
                raise queue.Full
            with self._room:
                self._waiting += 1
                try:
                    if not self._room.wait_for(lambda: self._items.qsize() < self._most, timeout):
                        raise queue.Full
                finally:
                    self._waiting -= 1
        self._items.put(item)

    def abandon(self) -> None:
        """Let everybody go on who waits for room: nobody is going to read."""
        with self._room:
            self._most = sys.maxsize
            self._room.notify_all()

    def get(self) -> Any:
        """Return the next item; wait for one."""
        item = self._items.get()
        if self._waiting and self._items.qsize() <= self._resume_at:
            with self._room:
                self._room.notify_all()
        return item


class HandoverRepository(InMemoryMessageRepository):
    """Puts messages where they keep their place among the records.

    Those of the workers go through the queue, so that a state never overtakes the records that it
    counts. Those of the thread that writes, which has written all that was on the queue before,
    are written next: the last state of a stream stands before its COMPLETE.
    """

    def __init__(self, handover: HandoverQueue) -> None:
        super().__init__()
        self._handover = handover
        self._writer = threading.get_ident()

    def emit_message(self, message: AirbyteMessage) -> None:
        """Hand over a message from any thread."""
        if threading.get_ident() == self._writer:
            super().emit_message(message)
        else:
            self._handover.put(message)
