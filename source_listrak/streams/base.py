"""The HttpStream whose request layer is SOAP; what differs by parent is in the other modules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from airbyte_cdk.sources.streams.http import HttpStream

from source_listrak.config import ListrakConfig
from source_listrak.soap import envelope, faults, rows, wire
from source_listrak.soap.client import Request, SoapClient
from source_listrak.soap.dates import DateReader
from source_listrak.sync.plan import StreamPlan
from source_listrak.sync.progress import StreamCounts, ZoneWatch
from source_listrak.sync.reader import Rows
from source_listrak.sync.reports import SharedReport
from source_listrak.sync.slices import FailedSlice, Slice
from source_listrak.sync.state import Key
from source_listrak.sync.windows import MARGIN, wall_end, wall_start
from source_listrak.tables import Table, schema


@dataclass(frozen=True, slots=True)
class Context:
    """What the streams of one run share.

    :param now: returns the present instant in UTC
    :param counts: of the requests of one stream, or of those that streams share
    :param lists: the rows of the lists to replicate, as the login brought them
    :param reports: the reports that other tables are sliced by, by table
    """

    client: SoapClient
    dates: DateReader
    watch: ZoneWatch
    logger: logging.Logger
    now: Callable[[], datetime]
    counts: StreamCounts
    lists: Sequence[Mapping[str, Any]] = ()
    reports: Mapping[str, SharedReport] = field(default_factory=dict)


class ListrakStream(HttpStream):
    """A table read through SOAP.

    The SOAP envelope takes the place of the request body, `parse_response` reads the rows of a
    response, and `stream_slices` is the slicer of the table's parent. Requests go through the
    client of the whole sync, which holds the credentials, the rate and the retries.

    :param plan: None where slices are not needed, as for `discover` or the login
    """

    def __init__(
        self, table: Table, config: ListrakConfig, context: Context, plan: StreamPlan | None = None
    ) -> None:
        self.table = table
        self.config = config
        self.context = context
        self.counts = context.counts
        self._plan = plan
        keys = [column for column in table.key if column not in table.added]
        self._reader = rows.RowReader(
            table.operation, table.row, schema(table.name), context.dates, table.dates, keys
        )
        super().__init__()

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def primary_key(self) -> list[str]:
        """The key, with the date of an event where repeated events are kept."""
        repeats = self.table.repeats if self.config.keep_repeated_events else ()
        return [*self.table.key, *repeats]

    @property
    def cursor_field(self) -> str | list[str]:
        """The column that incremental syncs go by; none for a table that is read in full."""
        return self.table.cursor or []

    def get_json_schema(self) -> Mapping[str, Any]:  # type: ignore[override]  # theirs is cached
        """Return the table's JSON schema, which also drives the reading of its rows."""
        return schema(self.table.name)

    @property
    def url_base(self) -> str:
        """The one URL of the service."""
        return self.config.endpoint

    def path(self, **_: Any) -> str:
        """Return nothing: the operation is named in the header and in the envelope."""
        return ""

    def next_page_token(self, response: Any) -> Mapping[str, Any] | None:
        """Return nothing: a response does not name the next page; the reader counts pages."""
        return None

    def request_headers(self, *_: Any, **__: Any) -> Mapping[str, str]:
        """Return the headers of a SOAP 1.1 request."""
        return {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": envelope.soap_action(self.table.operation),
        }

    def request_body_data(  # type: ignore[override]  # bytes, so that no one encodes again
        self,
        stream_slice: Mapping[str, Any] | None = None,
        next_page_token: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> bytes:
        """Return the SOAP envelope; the credentials are added on the wire only."""
        constants = dict(self.table.constants)
        arguments = {**constants, **(stream_slice or {}), **(next_page_token or {})}
        return envelope.build(self.table.operation, arguments)

    def parse_response(self, response: wire.Response, **_: Any) -> rows.Page:  # type: ignore[override]
        """Return the rows of a response.

        :raises AttemptFailed: it holds something else
        """
        return self._reader.read(response.body, response.content_type)

    def stream_slices(self, **_: Any) -> Iterable[Slice | FailedSlice]:  # type: ignore[override]
        """Yield what this sync reads: what is deferred first, then ascending by key."""
        plan, lists = self.plan, self.list_ids()
        try:
            for key in sorted(plan.deferred):
                if len(key) > 1 and key[0] in lists and not plan.is_postponed(key):
                    one = plan.deferred[key]
                    yield self.make_slice(key, one.start, one.read_to, one.expected_rows)
            for list_id in plan.lists_to_read(lists):
                try:
                    yield from self.slices_of(list_id)
                except faults.ListrakError as error:
                    if error.fault.action is faults.Action.STOP:
                        raise
                    yield FailedSlice(self.list_slice(list_id), error)
        finally:
            # No rows that were fetched for this table may wait for a slice any more.
            if self.name in self.context.reports:
                self.context.reports[self.name].release()

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the slices of a list, by default the list itself.

        :raises ListrakError: they could not be found out
        """
        yield self.list_slice(list_id)

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the rows of a slice that is not paged."""
        yield self.fetch_page(slice_).rows

    def recent_removals(self, slice_: Slice) -> frozenset[bytes] | None:
        """Return nothing: rows of this table stay."""
        return None

    @property
    def plan(self) -> StreamPlan:
        """The window of this stream."""
        assert self._plan is not None, "no slices without a plan"
        return self._plan

    def list_ids(self) -> list[int]:
        """Return the lists of this sync, ascending."""
        return self.plan.list_ids(row["ListID"] for row in self.context.lists)

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
        return Slice(
            key=key,
            subject=("list" if len(key) == 1 else self.table.sliced_by, key[-1]),
            arguments=parent | self.span(start),
            added=parent if self.table.id_column in self.table.added else {},
            start=start,
            read_to=read_to,
            expected_rows=expected_rows,
        )

    def span(self, start: datetime) -> dict[str, Any]:
        """Return the arguments for rows dated from an instant to the window's end."""
        if not self.table.ranged:
            return {}
        zone = self.config.zone
        return {
            "StartDate": wall_start(start, zone),
            "EndDate": wall_end(self.plan.end, zone) + MARGIN,
        }

    def fetch_page(
        self, slice_: Slice, number: int | None = None, *, retries: bool = True
    ) -> rows.Page:
        """Return one page of a slice.

        :param number: 1-based; None: the slice is not paged
        :param retries: whether the request is retried
        :raises ListrakError: it could not be fetched
        """
        token = {"Page": number} if number else None
        where = f", page {number}" if number else ""
        request = Request(
            self.url_base + self.path(),
            self.request_headers(),
            self.request_body_data(slice_.arguments, token),
            label=f"{self.table.operation} of {slice_.label}{where}",
            subject=slice_.subject,
            retries=retries,
        )
        page = self.context.client.send(request, self.parse_response, self.counts)
        self._warn_of_changes(page)
        for row in page.rows:
            row.update(slice_.added)
        if self.table.cursor not in (None, self.table.id_column):
            self.context.watch.see(self.name, page.rows, self.table.cursor)
        return page

    def _warn_of_changes(self, page: rows.Page) -> None:
        """Count what the rows lost on their way, and log the first case."""
        counts, warn = self.counts, self.context.logger.warning
        removed, wrong = page.invalid_characters, page.wrong_values
        counts.add(invalid_characters=removed, wrong_values=sum(wrong.values()))
        if removed and counts.is_first(self.name):
            warn(
                f"{self.name}: removed or replaced {removed:,} characters of a response that XML "
                "1.0 does not allow or that could not be decoded. Later ones are only counted in "
                "the summary."
            )
        columns = [column for column in wrong if counts.is_first(f"{self.name}.{column}")]
        if columns:
            warn(
                f"{self.name}: {', '.join(columns)} contained values of the wrong type, which were "
                "set to null. Later ones are only counted in the summary."
            )
