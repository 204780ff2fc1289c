"""What of a stream's window is done, has failed, or is deferred to the next sync."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from source_listrak.soap.faults import Action
from source_listrak.sync.plan import StreamPlan
from source_listrak.sync.slices import FailedSlice, Slice
from source_listrak.sync.state import DEFERRED_LIMIT, Deferred, Key, StreamState

REFUSALS_LIMIT = 5
"""If the first this many slices of a list are all refused, the rest of the list is deferred."""


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
        self._refused: defaultdict[int, list[FailedSlice]] = defaultdict(list)
        self._answered: set[int] = set()
        """Lists of which a slice was not refused."""
        self._is_closed = False
        self._newest: datetime | None = None
        self._lock = threading.Lock()

    def begin(self, key: Key) -> bool:
        """Note that a slice is about to be read; return False if it is done, or its list deferred.

        Deferred slices do not show that a list is refused: they may be refused in every sync.
        """
        if len(key) > 1 and key in self._plan.deferred:
            return True
        if self._plan.running.is_done(key):
            return False
        with self._lock:
            list_id, refused = key[0], self._refused[key[0]]
            is_refused = len(refused) >= REFUSALS_LIMIT and list_id not in self._answered
            if is_refused and len(key) > 1:
                key = (list_id,)
                start, read_to = self._plan.start(list_id), self._plan.read_to(list_id)
                rest = Slice(key, ("list", list_id), start=start, read_to=read_to)
                self.failures.setdefault(key, FailedSlice(rest, refused[0].error))
            self._open.add(key)
            self._to = max(self._to or key, key)
            return not is_refused

    def finish(self, key: Key) -> None:
        """Note that all records of a slice are queued for the output."""
        with self._lock:
            self._answered.add(key[0])
            self._open.discard(key)
            self._deferred.pop(key, None)

    def fail(self, failed: FailedSlice) -> bool:
        """Note that a slice failed permanently; return False if that is known already."""
        key = failed.slice.key
        with self._lock:
            if not failed.calls_for(Action.REFUSED):
                self._answered.add(key[0])
            elif key not in self._plan.deferred:
                self._refused[key[0]].append(failed)
            return self.failures.setdefault(key, failed) is failed

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
                if before is None and len(key) > 1 and key[:1] in self.failures:
                    continue  # it is read with its list
                noticed = before.noticed if before else self._plan.end
                gone = one.calls_for(Action.SKIP) or self._plan.is_lasting(noticed)
                start, rows = one.slice.start, one.slice.expected_rows
                deferred[key] = Deferred(key, one.slice.read_to, noticed, gone, start, rows)
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
