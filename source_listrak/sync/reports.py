"""Reports that other tables are sliced by, each fetched once per sync and shared by all streams.

They are fetched as concurrently as everything else, in the order of the lists, as far ahead as
there are workers.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from source_listrak.config import ListrakConfig
from source_listrak.soap.faults import ListrakError
from source_listrak.sync.plan import StreamPlan
from source_listrak.sync.windows import Window, to_micros
from source_listrak.sync.windows import merge as merge_windows
from source_listrak.tables import TABLES, Table

Row = dict[str, Any]

UNKNOWN = -1
"""A counter that the response left out, or a date that a message does not have."""


class ParentRow(NamedTuple):
    """What other tables need of a row of a report.

    :param id: of the message or conversation
    :param sent: microseconds since 1970; `UNKNOWN` without a date
    :param counts: the counters by name; `UNKNOWN` where the response left one out
    """

    id: int
    sent: int
    counts: Mapping[str, int]


class _Fetched(NamedTuple):
    """The report of a list in a window.

    :param numbers: of each row its ID, date and counters, flattened, ascending by ID: 8 bytes each,
        because an account can have very many. Of several rows with the same ID, the last counts.
    :param rows: as long as they wait for the table's own stream
    """

    window: Window | None
    numbers: array[int]
    rows: list[Row]


@dataclass(eq=False)
class SharedReport:
    """One report per list and window, as rows for its own table and as parents for others.

    Rows of a list are taken once, by the stream of the report's own table. They are released then,
    so the caller owns them.

    :param fetch: requests the report of a list in a window
    :param windows: the windows of a list that this sync needs; None: the whole report
    :param list_ids: all lists of this sync, ascending
    :param kept: the lists whose rows a selected table will take; only those are kept, until then
    :param columns: the names of the ID, of the date (empty: there is none), and of the counters
    :param ahead: lists that are fetched ahead, and lists whose rows may wait to be taken
    """

    fetch: Callable[[int, Window | None], list[Row]]
    windows: Callable[[int], Sequence[Window | None]]
    list_ids: Sequence[int]
    kept: set[int]
    columns: Sequence[str]
    ahead: int
    executor: Executor
    _futures: dict[int, list[Future[_Fetched]]] = field(default_factory=dict, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _goal: int = field(default=0, init=False)
    """How many lists are needed now, or soon."""
    _waiting: int = field(default=0, init=False)
    """Lists whose rows are fetched, or being fetched, and not taken yet."""
    _is_released: bool = field(default=False, init=False)

    def parent_rows(self, list_id: int) -> Iterator[ParentRow]:
        """Yield what other tables need of a list's rows, ascending by ID.

        :raises ListrakError: the report could not be fetched
        """
        by_id, width = itemgetter(0), len(self.columns)
        packed = [future.result().numbers for future in self._of_list(list_id)]
        found = [zip(*[iter(numbers)] * width, strict=True) for numbers in packed]
        for _, same in groupby(merge(*found, key=by_id), by_id):
            # Of a message that is in two windows, the later one counts.
            ident, sent, *counts = [*same][-1]
            yield ParentRow(ident, sent, dict(zip(self.columns[2:], counts, strict=True)))

    def take_rows(self, list_id: int) -> Iterator[tuple[Window | None, list[Row]]]:
        """Yield a list's windows and their rows, which are released once taken.

        :raises ListrakError: at the end: the report could not be fetched in one of the windows
        """
        failed = list[ListrakError]()
        try:
            for future in self._of_list(list_id):
                try:
                    window, _, rows = future.result()
                except ListrakError as error:
                    failed.append(error)
                    continue
                yield window, list(rows)
                rows.clear()
            if failed:
                raise failed[0]
        finally:
            with self._changed:
                self.kept.discard(list_id)
                self._waiting -= 1
                self._advance()

    def release(self) -> None:
        """Wake all waiting threads: no rows will be taken any longer."""
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
            self._futures[list_id] = [
                self.executor.submit(self._read, list_id, window)
                for window in self.windows(list_id)
            ]
        self._changed.notify_all()

    def _read(self, list_id: int, window: Window | None) -> _Fetched:
        rows = self.fetch(list_id, window)
        numbers = _packed(rows, *self.columns)
        return _Fetched(window, numbers, rows if list_id in self.kept else [])


def make_reports(
    config: ListrakConfig,
    plans: Mapping[str, StreamPlan],
    list_ids: Sequence[int],
    fetch_report: Callable[[Table, int, Window | None], list[Row]],
) -> dict[str, SharedReport]:
    """Return the shared reports that the selected tables need, by table.

    :param plans: of the selected tables, by name
    :param list_ids: all lists of this sync, ascending
    :param fetch_report: requests the report of a list in a window
    """
    # Never shut down, since the threads of a stopped sync may still submit; each request then
    # ends at once.
    executor = ThreadPoolExecutor(config.num_workers, thread_name_prefix="parents")
    readers: defaultdict[str, list[Table]] = defaultdict(list)
    for table in map(TABLES.__getitem__, plans):
        if table.report:
            readers[table.report].append(table)
        if table.counted_by and config.skip_inactive_messages:
            readers[table.counted_by].append(table)
    reports = {}
    for name, tables in readers.items():
        table, plan = TABLES[name], plans.get(name)
        counters = sorted(set[str]().union(*(one.counters for one in tables)))
        reports[name] = SharedReport(
            partial(fetch_report, table),
            partial(_windows, table, [(one, plans[one.name]) for one in tables]),
            list_ids,
            kept=set(plan.lists_to_read(plan.list_ids(list_ids))) if plan else set(),
            columns=(table.key[-1], table.cursor or "", *counters),
            ahead=config.num_workers,
            executor=executor,
        )
    return reports


def _windows(
    report: Table, readers: Iterable[tuple[Table, StreamPlan]], list_id: int
) -> Sequence[Window | None]:
    """Return the windows of a list in which a report is needed; None: the whole report."""
    needed = [
        cohort.span
        for table, plan in readers
        for one in plan.lists_to_read(plan.list_ids([list_id]))
        for cohort in plan.due_cohorts(one, table)
    ]
    if report.ranged:
        return merge_windows(needed)
    return [None] if needed else []


def micros_of(date: str | None) -> int:
    """Return microseconds since 1970 of a date in the connector's form, `UNKNOWN` without one."""
    return to_micros(datetime.fromisoformat(date.replace("Z", "+00:00"))) if date else UNKNOWN


def _packed(rows: Sequence[Row], id_column: str, date_column: str, *counters: str) -> array[int]:
    latest = {row[id_column]: row for row in rows if id_column in row}
    packed = array("q")
    for ident in sorted(latest):
        date, *counts = map(latest[ident].get, (date_column, *counters))
        known = (UNKNOWN if count is None else count for count in counts)
        packed.extend((ident, micros_of(date), *known))
    return packed
