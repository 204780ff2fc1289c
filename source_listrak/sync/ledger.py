"""What of a stream's window is done, has failed, or is deferred to the next sync."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime

from source_listrak.soap.faults import Action
from source_listrak.sync.plan import StreamPlan
from source_listrak.sync.slices import FailedSlice
from source_listrak.sync.state import DEFERRED_LIMIT, Deferred, Key, StreamState

REFUSALS_LIMIT = 5
"""A table whose first this many reports are all refused ends."""


class Ledger:
    """The slices of one stream in this sync. Thread-safe.

    Slices begin in ascending order and finish in any order. All slices up to `to` are done, except
    those that are open; an open (list,) keeps all slices of that list open. ::

        begun     (1, 7)  (1, 9)  (2, 3)  (2, 8)        to   = (2, 8)
        finished  (1, 7)          (2, 3)                open = (1, 9), (2, 8)

    A message or conversation that an earlier window deferred is not part of this window. A list
    that one deferred is: its slices are read with their list.

    :param list_ids: the lists of this sync
    :ivar failures: the slices that failed in this sync, in the order of failing
    """

    def __init__(self, plan: StreamPlan, list_ids: Iterable[int]) -> None:
        self.failures: dict[Key, FailedSlice] = {}
        self._plan = plan
        self._lists = frozenset(list_ids)
        self._to, self._open = plan.running.to, set(plan.running.open)
        self._deferred = dict(plan.deferred)
        self._has_finished = self._is_closed = False
        self._newest: datetime | None = None
        self._lock = threading.Lock()

    def begin(self, key: Key) -> bool:
        """Note that a slice is about to be read; return False if it is done already."""
        if len(key) > 1 and key in self._plan.deferred:
            return True
        if self._plan.running.is_done(key):
            return False
        with self._lock:
            self._open.add(key)
            self._to = max(self._to or key, key)
        return True

    def finish(self, key: Key) -> None:
        """Note that all records of a slice are queued for the output."""
        with self._lock:
            self._has_finished = True
            self._open.discard(key)
            self._deferred.pop(key, None)

    def fail(self, failed: FailedSlice) -> bool:
        """Note that a slice failed permanently; return False if that is known already."""
        with self._lock:
            return self.failures.setdefault(failed.slice.key, failed) is failed

    @property
    def is_refused(self) -> bool:
        """Whether the first `REFUSALS_LIMIT` slices were all refused.

        Deferred slices do not count: they may be refused in every sync.
        """
        with self._lock:
            first = [one for key, one in self.failures.items() if key not in self._plan.deferred]
            all_refused = all(one.calls_for(Action.REFUSED) for one in first)
            return not self._has_finished and len(first) == REFUSALS_LIMIT and all_refused

    def close(self, newest: datetime | None) -> Mapping[Key, Deferred]:
        """Complete the window and return what is deferred: what failed, and what was postponed.

        More than `DEFERRED_LIMIT` slices are returned, but leave the window open.

        :param newest: the date of the newest row seen in this sync
        """
        with self._lock:
            deferred = {
                key: one
                for key, one in self._deferred.items()
                if key[0] in self._lists and (len(key) > 1 or self._plan.is_postponed(key))
            }
            for key, one in self.failures.items():
                before = self._plan.deferred.get(key)
                noticed = before.noticed if before else self._plan.end
                is_gone, read = one.calls_for(Action.SKIP), one.slice
                deferred[key] = Deferred(
                    key, read.read_to, noticed, is_gone, read.start, read.expected_rows
                )
            if len(deferred) <= DEFERRED_LIMIT:
                self._deferred, self._is_closed, self._newest = deferred, True, newest
            return deferred

    def state(self) -> StreamState:
        """Return the state as of now.

        At most `DEFERRED_LIMIT` slices are open in it; slices beyond the limit are read again.
        """
        with self._lock:
            deferred, to, found = sorted(self._deferred.values()), self._to, sorted(self._open)
            if len(found) > DEFERRED_LIMIT:
                to = found[DEFERRED_LIMIT - 1]
            done = None if self._is_closed else (to, tuple(found[:DEFERRED_LIMIT]))
        return self._plan.state(self._lists, deferred, done, self._newest)
