"""Tables sliced by message or by conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

from source_listrak.soap.faults import Action, ListrakError
from source_listrak.streams.base import ListrakStream
from source_listrak.sync.reports import UNKNOWN
from source_listrak.sync.slices import Slice
from source_listrak.sync.windows import cohort_of
from source_listrak.tables import COUNTERS


class MessageStream(ListrakStream):
    """Rows of one message or conversation, which a report of its list contains.

    Another report of the list, that of deliveries, has further counters. Conversations have no
    date, so all are cohorts on every sync, as suits what sends all the time.
    """

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield a slice per message that can have rows in this sync's window."""
        find = cohort_of(self.plan.due_cohorts(list_id, self.table), self.config.zone)
        counter = self._counter(list_id, self.table.counter)
        same = self.table.expected_rows == self.table.counter
        expected_rows = counter if same else self._counter(list_id, self.table.expected_rows)
        for row in self.context.reports[f"{self.table.sliced_by}s"].parent_rows(list_id):
            cohort, key = find(row[1]), (list_id, row[0])
            if cohort is None or key in self.plan.deferred:
                continue  # what is deferred came first, or is not due
            if counter(row) == 0 and self.config.skip_inactive_messages:
                continue
            yield self.make_slice(key, cohort.start, self.plan.read_to(list_id), expected_rows(row))

    def _counter(self, list_id: int, name: str | None) -> Callable[[Sequence[int]], int]:
        """Return a function from a row of the report to a counter of it, UNKNOWN without one."""
        counters = COUNTERS[f"{self.table.sliced_by}s"]
        if name in counters:
            return itemgetter(2 + counters.index(name))
        counts = self._deliveries(list_id, name) if name else {}
        return lambda row: counts.get(row[0], UNKNOWN)

    def _deliveries(self, list_id: int, name: str) -> dict[int, int]:
        """Return a counter of the delivery report by parent; empty where it cannot be read.

        The report only saves requests: without it, every parent is requested.
        """
        table = f"{self.table.sliced_by}_deliveries"
        report = self.context.reports.get(table)
        if report is None:
            return {}
        place = 2 + COUNTERS[table].index(name)
        try:
            return {row[0]: row[place] for row in report.parent_rows(list_id)}
        except ListrakError as error:
            if error.fault.action is Action.STOP:
                raise
            self.context.logger.warning(
                f"{self.name}: the delivery report of list {list_id} could not be read, so "
                f"everything in that list is requested: {error.message}"
            )
            return {}
