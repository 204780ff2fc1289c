"""Reports that other tables are sliced by, each fetched once per sync and shared by all streams.

They are fetched as concurrently as everything else, in the order of the lists, as far ahead as
there are workers.
"""

from __future__ import annotations

import threading
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from datetime import datetime
from typing import Any

from source_listrak.sync.windows import Window, to_micros

Row = dict[str, Any]

UNKNOWN = -1
"""A counter that the response left out, or a date that a message does not have."""

Fetch = Callable[[int, "Window | None"], list[Row]]


def micros(date: str | None) -> int:
    """Return microseconds since 1970 of a date in the connector's form; UNKNOWN without one."""
    if date is None:
        return UNKNOWN
    return to_micros(datetime.fromisoformat(date.replace("Z", "+00:00")))


class Parents:
    """Ids, dates and counters of a list's messages or conversations, ascending by id.

    Packed, since an account can have very many: 8 bytes for each id, date and counter. Of several
    rows of one id the last counts.
    """

    def __init__(
        self, rows: Iterable[Row], id_column: str, date_column: str | None, counters: Sequence[str]
    ) -> None:
        latest = {row[id_column]: row for row in rows if id_column in row}
        self._width = 2 + len(counters)
        self._packed = array("q")
        for ident in sorted(latest):
            row = latest[ident]
            self._packed.append(ident)
            self._packed.append(micros(row.get(date_column)) if date_column else UNKNOWN)
            self._packed.extend(row.get(counter, UNKNOWN) for counter in counters)

    def __len__(self) -> int:
        return len(self._packed) // self._width

    def with_rows(self, place: int) -> int:
        """Return how many have a counter, by its place, that is not zero."""
        return len(self) - self._packed[2 + place :: self._width].count(0)

    def __iter__(self) -> Iterator[Sequence[int]]:
        """Yield (id, date, counters...) of each; the date in microseconds since 1970."""
        for start in range(0, len(self._packed), self._width):
            yield self._packed[start : start + self._width]


class SharedReport:
    """One report per list and window, as rows for its own table and as parents for others.

    :param fetch: requests the report of a list in a window
    :param windows: the windows of a list that this sync needs; None: the whole report
    :param list_ids: all lists of this sync, ascending
    :param kept: the lists whose rows a selected table will take; only those are kept
    :param on_complete: called when the last list is fetched, with the number of parents ("all") and
        of those for which each counter is not zero
    :param ahead: lists that are fetched ahead, and lists whose rows may wait to be taken
    """

    def __init__(
        self,
        fetch: Fetch,
        windows: Callable[[int], Sequence[Window | None]],
        list_ids: Sequence[int],
        kept: Collection[int],
        *,
        ahead: int,
        executor: Executor,
        id_column: str,
        date_column: str | None,
        counters: Sequence[str],
        on_complete: Callable[[Mapping[str, int]], None] = lambda tally: None,
    ) -> None:
        self._fetch = fetch
        self._windows = windows
        self._list_ids = list_ids
        self._places = {list_id: place for place, list_id in enumerate(list_ids)}
        self._kept = set(kept)
        self._ahead = ahead
        self._executor = executor
        self._columns = (id_column, date_column, tuple(counters))
        self._counters = tuple(counters)
        self._on_complete = on_complete
        self._tally: Counter[str] = Counter()
        self._out = 0
        self._changed = threading.Condition()
        self._next = self._goal = 0
        self._waiting = 0
        """Lists whose rows are fetched, or being fetched, and not taken yet."""
        self._is_released = False
        self._futures: dict[int, list[Future[tuple[Parents, list[Row]]]]] = {}

    def parents(self, list_id: int) -> Iterator[Sequence[int]]:
        """Yield (id, date, counters...) of a list's rows, ascending by id.

        :raises ListrakError: the report could not be fetched
        """
        found = [future.result()[0] for future in self._of_list(list_id)]
        if len(found) == 1:
            yield from found[0]
            return
        # Of a message that is in two windows, the later one counts.
        latest = {row[0]: row for parents in found for row in parents}
        for ident in sorted(latest):
            yield latest[ident]

    def take_rows(self, list_id: int) -> Iterator[tuple[Window | None, list[Row]]]:
        """Yield a list's windows and their rows, which are let go when they are taken.

        :raises ListrakError: the report could not be fetched
        """
        try:
            futures = self._of_list(list_id)
            for window, future in zip(self._windows(list_id), futures, strict=True):
                rows = future.result()[1]
                yield window, list(rows)
                rows.clear()
        finally:
            with self._changed:
                self._kept.discard(list_id)
                self._waiting -= 1
                self._advance()

    def release(self) -> None:
        """Let all that wait go on: no rows will be taken any more."""
        with self._changed:
            self._is_released = True
            self._advance()

    def _of_list(self, list_id: int) -> list[Future[tuple[Parents, list[Row]]]]:
        with self._changed:
            self._goal = max(self._goal, self._places[list_id] + self._ahead)
            self._advance()
            self._changed.wait_for(lambda: list_id in self._futures)
            return self._futures[list_id]

    def _advance(self) -> None:
        """Start fetching the next lists, as far as room for their rows allows."""
        while self._next < min(self._goal, len(self._list_ids)):
            list_id = self._list_ids[self._next]
            if list_id in self._kept:
                if self._waiting >= self._ahead and not self._is_released:
                    break
                self._waiting += 1
            self._futures[list_id] = [
                self._executor.submit(self._read, list_id, window)
                for window in self._windows(list_id)
            ]
            self._out += len(self._futures[list_id])
            self._next += 1
        self._changed.notify_all()

    def _read(self, list_id: int, window: Window | None) -> tuple[Parents, list[Row]]:
        rows = self._fetch(list_id, window)
        parents = Parents(rows, *self._columns)
        with self._changed:
            self._tally["all"] += len(parents)
            for place, counter in enumerate(self._counters):
                self._tally[counter] += parents.with_rows(place)
            self._out -= 1
            is_complete = self._next == len(self._list_ids) and not self._out
        if is_complete:
            self._on_complete(self._tally)
        return parents, rows if list_id in self._kept else []
