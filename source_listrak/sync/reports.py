"""Reports that other tables are sliced by, each fetched once per sync and shared by all streams.

They are fetched as concurrently as everything else, in the order of the lists, as far ahead as
there are workers.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import datetime
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from source_listrak.sync.windows import Window, to_micros

Row = dict[str, Any]

UNKNOWN = -1
"""A counter that the response left out, or a date that a message does not have."""


class _Fetched(NamedTuple):
    """The report of a list in a window.

    :param parents: the numbers of each row, one after the other, ascending by id: 8 bytes each,
        since an account can have very many. Of several rows of one id, the last counts.
    :param rows: as long as they wait for the table's own stream
    """

    window: Window | None
    parents: array[int]
    rows: list[Row]


@dataclass(eq=False)
class SharedReport:
    """One report per list and window, as rows for its own table and as parents for others.

    :param fetch: requests the report of a list in a window
    :param windows: the windows of a list that this sync needs; None: the whole report
    :param list_ids: all lists of this sync, ascending
    :param kept: the lists whose rows a selected table will take; only those are kept, until then
    :param columns: those of the id, of the date (empty: there is none), and of counters
    :param ahead: lists that are fetched ahead, and lists whose rows may wait to be taken
    :param on_complete: called when the last list is fetched, with the number of parents ("all") and
        of those for which each counter is not zero
    """

    fetch: Callable[[int, Window | None], list[Row]]
    windows: Callable[[int], Sequence[Window | None]]
    list_ids: Sequence[int]
    kept: set[int]
    columns: Sequence[str]
    ahead: int
    executor: Executor
    on_complete: Callable[[Mapping[str, int]], None] = lambda tally: None
    _tally: Counter[str] = field(default_factory=Counter, init=False)
    _futures: dict[int, list[Future[_Fetched]]] = field(default_factory=dict, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _goal: int = field(default=0, init=False)
    """How many lists are needed now, or soon."""
    _out: int = field(default=0, init=False)
    """Requests that have not succeeded yet."""
    _waiting: int = field(default=0, init=False)
    """Lists whose rows are fetched, or being fetched, and not taken yet."""
    _is_released: bool = field(default=False, init=False)

    def parent_rows(self, list_id: int) -> Iterator[Sequence[int]]:
        """Yield (id, date, counters...) of a list's rows, ascending by id.

        Dates are in microseconds since 1970.

        :raises ListrakError: the report could not be fetched
        """
        by_id, width = itemgetter(0), len(self.columns)
        packed = [future.result().parents for future in self._of_list(list_id)]
        found = [zip(*[iter(numbers)] * width, strict=True) for numbers in packed]
        for _, same in groupby(merge(*found, key=by_id), by_id):
            # Of a message that is in two windows, the later one counts.
            yield [*same][-1]

    def take_rows(self, list_id: int) -> Iterator[tuple[Window | None, list[Row]]]:
        """Yield a list's windows and their rows, which are let go when they are taken.

        :raises ListrakError: the report could not be fetched
        """
        try:
            for future in self._of_list(list_id):
                window, _, rows = future.result()
                yield window, list(rows)
                rows.clear()
        finally:
            with self._changed:
                self.kept.discard(list_id)
                self._waiting -= 1
                self._advance()

    def release(self) -> None:
        """Let all that wait go on: no rows will be taken any more."""
        with self._changed:
            self._is_released = True
            self._advance()

    def _of_list(self, list_id: int) -> list[Future[_Fetched]]:
        with self._changed:
            self._goal = max(self._goal, bisect_left(self.list_ids, list_id) + self.ahead)
            self._advance()
            self._changed.wait_for(lambda: list_id in self._futures)
            return self._futures[list_id]

    def _advance(self) -> None:
        """Start fetching the next lists, as far as room for their rows allows."""
        for list_id in self.list_ids[len(self._futures) : self._goal]:
            if list_id in self.kept:
                if self._waiting >= self.ahead and not self._is_released:
                    break
                self._waiting += 1
            windows = self.windows(list_id)
            self._out += len(windows)
            self._futures[list_id] = [
                self.executor.submit(self._read, list_id, window) for window in windows
            ]
        self._changed.notify_all()

    def _read(self, list_id: int, window: Window | None) -> _Fetched:
        rows, width = self.fetch(list_id, window), len(self.columns)
        parents = _packed(rows, *self.columns)
        with self._changed:
            self._tally["all"] += len(parents) // width
            for place, counter in enumerate(self.columns[2:], 2):
                self._tally[counter] += sum(map(bool, parents[place::width]))
            self._out -= 1
            is_complete = len(self._futures) == len(self.list_ids) and not self._out
        if is_complete:
            self.on_complete(self._tally)
        return _Fetched(window, parents, rows if list_id in self.kept else [])


def micros_of(date: str | None) -> int:
    """Return microseconds since 1970 of a date in the connector's form, `UNKNOWN` without one."""
    return to_micros(datetime.fromisoformat(date.replace("Z", "+00:00"))) if date else UNKNOWN


def _packed(rows: Sequence[Row], id_column: str, date_column: str, *counters: str) -> array[int]:
    latest = {row[id_column]: row for row in rows if id_column in row}
    packed = array("q")
    for ident in sorted(latest):
        date, *counted = map(latest[ident].get, (date_column, *counters))
        packed.extend(
            (ident, micros_of(date), *(UNKNOWN if one is None else one for one in counted))
        )
    return packed
