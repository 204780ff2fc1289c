"""Tables sliced by message or by conversation."""

from collections.abc import Iterable, Mapping

from source_listrak.soap.faults import ListrakError
from source_listrak.streams.base import ListrakStream
from source_listrak.sync.reports import UNKNOWN
from source_listrak.sync.slices import Slice
from source_listrak.sync.windows import cohort_of


class MessageStream(ListrakStream):
    """Rows of one message or conversation, which a report of its list contains.

    Conversations have no date, so all are cohorts on every sync, which suits automated mail, sent
    continuously.
    """

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield a slice per message that can have rows in this sync's window."""
        table = self.table
        find = cohort_of(self.plan.due_cohorts(list_id, table), self.config.zone)
        separate = self._separate_counts(list_id)
        for row in self.reports[table.report].parent_rows(list_id):
            cohort, key = find(row.sent), (list_id, row.id)
            if cohort is None or key in self.plan.deferred:
                continue  # what is deferred came first, or is not due
            counts = row.counts
            if table.counted_by:
                counts = {table.counter: separate.get(row.id, UNKNOWN)}
            if counts.get(table.counter) == 0 and self.config.skip_inactive_messages:
                continue
            expected_rows = counts.get(table.expected_rows, UNKNOWN)
            yield self.make_slice(key, cohort.start, self.plan.read_to(list_id), expected_rows)

    def _separate_counts(self, list_id: int) -> Mapping[int, int]:
        """Return the counter by ID, where a report of its own has it; empty if it cannot be read.

        That report only saves requests: without it, every message is requested.
        """
        report = self.reports.get(self.table.counted_by)
        if report is None or not self.config.skip_inactive_messages:
            return {}
        try:
            return {row.id: row.counts[self.table.counter] for row in report.parent_rows(list_id)}
        except ListrakError as error:
            self.context.logger.warning(
                f"{self.name}: the delivery report of list {list_id} could not be read, so every "
                f"message in that list is requested: {error.message}"
            )
            return {}
