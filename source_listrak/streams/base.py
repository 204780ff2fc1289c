"""A table with its plan: what a sync reads of it, slice by slice."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from source_listrak.soap import faults, rows
from source_listrak.streams.http import Context, SoapStream
from source_listrak.sync.plan import StreamPlan
from source_listrak.sync.progress import StreamCounts
from source_listrak.sync.reader import Rows
from source_listrak.sync.reports import SharedReport
from source_listrak.sync.slices import FailedSlice, Slice
from source_listrak.sync.state import Key
from source_listrak.sync.windows import MARGIN, Window
from source_listrak.tables import Table


class ListrakStream(SoapStream):
    """A table as one sync reads it; `stream_slices` is the slicer of what the table is sliced by.

    :param plan: the window of this stream
    :param counts: of this stream
    :param lists: the rows of the lists to replicate, as returned by the login
    :param reports: the reports that other tables are sliced by, by table
    """

    def __init__(
        self,
        table: Table,
        context: Context,
        plan: StreamPlan,
        counts: StreamCounts,
        lists: Sequence[rows.Row],
        reports: Mapping[str, SharedReport],
    ) -> None:
        super().__init__(table, context.config, context.dates)
        self.context = context
        self.plan = plan
        self.counts = counts
        self.lists = lists
        self.reports = reports

    def stream_slices(self, **_: Any) -> Iterable[Slice | FailedSlice]:  # type: ignore[override]
        """Yield what this sync reads: what is deferred first, then ascending by key."""
        plan, lists = self.plan, self.list_ids()
        try:
            for key, one in sorted(plan.deferred.items()):
                if len(key) > 1 and key[0] in lists and not plan.is_postponed(key):
                    yield self.make_slice(key, one.start, one.read_to, one.expected_rows)
            for list_id in plan.lists_to_read(lists):
                try:
                    yield from self.slices_of(list_id)
                except faults.ListrakError as error:
                    yield FailedSlice(self.list_slice(list_id), error)
        finally:
            # Rows fetched for this table must not wait for a slice any longer.
            if self.name in self.reports:
                self.reports[self.name].release()

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the slices of a list, by default the list itself.

        :raises ListrakError: they could not be determined
        """
        yield self.list_slice(list_id)

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the rows of a slice that is not paged."""
        yield self.fetch_page(slice_).rows

    def recent_changes(self, slice_: Slice) -> int | None:
        """Return None: rows of this table never disappear during a read."""
        return None

    def list_ids(self) -> list[int]:
        """Return the lists of this sync, ascending."""
        return self.plan.list_ids(row["ListID"] for row in self.lists)

    @property
    def newest(self) -> datetime | None:
        """The date of the newest row; of the newest message where rows have no date.

        A row that arrives hours after the window's end was as much newer then.
        """
        watch = self.context.watch
        if self.table.cursor in (None, self.table.id_column):
            return watch.latest.get("messages")
        age = watch.ages.get(self.name)
        return None if age is None else self.plan.end - max(age, timedelta())

    def list_slice(self, list_id: int) -> Slice:
        """Return the slice of a list, read from where its tiers begin."""
        return self.make_slice((list_id,), self.plan.start(list_id), self.plan.read_to(list_id))

    def make_slice(
        self, key: Key, start: datetime, read_to: datetime | None, expected_rows: int = 0
    ) -> Slice:
        """Return the slice of a list, message or conversation.

        :param key: (list,), (list, message) or (list, conversation)
        :param start: the instant from which it is read
        :param read_to: how far it was read before; None: never
        :param expected_rows: rows that it has at least
        """
        parent = {self.table.id_column: key[-1]}
        subject = ("list" if len(key) == 1 else self.table.sliced_by, key[-1])
        added = parent if self.table.id_column in self.table.added else {}
        arguments = parent | self.span(start)
        return Slice(key, subject, arguments, added, start, read_to, expected_rows)

    def span(self, start: datetime) -> dict[str, Any]:
        """Return the arguments for rows dated from an instant to the window's end."""
        if not self.table.ranged:
            return {}
        window = Window.of(start, self.plan.end, self.config.zone)
        return {"StartDate": window.start, "EndDate": window.end + MARGIN}

    def fetch_page(
        self, slice_: Slice, number: int | None = None, *, retries: bool = True
    ) -> rows.Page:
        """Return one page of a slice; see `Context.fetch`."""
        return self.context.fetch(self, slice_, self.counts, number, retries=retries)

    def settle_failures(self) -> None:
        """Let the login decide whether the service is down, if the last requests failed.

        :raises SyncStopped: the service is down
        """
        self.context.client.settle_failures(self.counts)
