"""The HttpStream whose request layer is SOAP, and what the requests of one run share."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from airbyte_cdk.sources.streams.http import HttpStream

from source_listrak.config import ListrakConfig
from source_listrak.soap import envelope, rows, wire
from source_listrak.soap.client import Request, SoapClient
from source_listrak.soap.dates import DateReader
from source_listrak.sync.progress import StreamCounts, ZoneWatch
from source_listrak.sync.slices import Slice
from source_listrak.sync.windows import Window
from source_listrak.tables import Table, schema

_REPAIRED = "characters that could not be decoded or that XML forbids were repaired"
_NO_KEY = "some rows lack a column of their key, so a destination may merge or repeat them"


class SoapStream(HttpStream):
    """The request layer of a table: it makes requests and reads responses, but sends nothing.

    The SOAP envelope takes the place of the request body, and `parse_response` reads the rows of
    a response. Requests are sent by the client of the whole sync, which holds the credentials, the
    rate and the retries.
    """

    def __init__(self, table: Table, config: ListrakConfig, dates: DateReader) -> None:
        self.table = table
        self.config = config
        keys = [column for column in table.key if column not in table.added]
        columns = schema(table.name)
        self._reader = rows.RowReader(table.operation, table.row, columns, dates, table.dates, keys)
        self.key, self.width = frozenset(self.primary_key), len(columns["properties"])
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
        """The cursor of incremental syncs; none for a table that is read in full."""
        return self.table.cursor or []

    @property
    def url_base(self) -> str:
        """The one URL of the service."""
        return self.config.endpoint

    def path(self, **_: Any) -> str:
        """Return nothing: the operation is named in the header and in the envelope."""
        return ""

    def next_page_token(self, response: Any) -> Mapping[str, Any] | None:
        """Return None: a response does not name the next page; the reader counts pages."""
        return None

    def request_headers(self, *_: Any, **__: Any) -> Mapping[str, str]:
        """Return the headers of a SOAP 1.1 request."""
        action = envelope.soap_action(self.table.operation)
        return {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": action}

    def request_body_data(  # type: ignore[override]  # bytes, so that they are not encoded again
        self, stream_slice: Any = None, next_page_token: Any = None, **_: Any
    ) -> bytes:
        """Return the SOAP envelope; the credentials are added on the wire only."""
        constants = dict(self.table.constants)
        if self.table.sliced_by == "report" and self.table.ranged:
            constants["IncludeTestMessages"] = self.config.include_test_messages
        arguments = {**constants, **(stream_slice or {}), **(next_page_token or {})}
        return envelope.build(self.table.operation, arguments)

    def make_request(
        self, slice_: Slice, number: int | None = None, *, retries: bool = True
    ) -> Request:
        """Return the request of one page of a slice.

        :param number: 1-based; None: the slice is not paged
        :param retries: whether the request is retried
        """
        token = {"Page": number} if number else None
        where = f", page {number}" if number else ""
        label = f"{self.table.operation} of {slice_.label}{where}"
        url, headers = self.url_base + self.path(), self.request_headers()
        body = self.request_body_data(slice_.arguments, token)
        return Request(url, headers, body, label, slice_.subject, retries)

    def parse_response(self, response: wire.Response, **_: Any) -> rows.Page:  # type: ignore[override]
        """Return the rows of a response.

        :raises AttemptFailed: the response contains something else
        """
        return self._reader.read(response.body, response.content_type)


@dataclass(frozen=True, slots=True)
class Context:
    """What the requests of one run share.

    :param stream_of: returns the request layer of a table, by name, each made once
    :param now: returns the present instant in UTC
    :param counts: of the requests that streams share
    """

    config: ListrakConfig
    client: SoapClient
    stream_of: Callable[[str], SoapStream]
    dates: DateReader
    watch: ZoneWatch
    logger: logging.Logger
    now: Callable[[], datetime]
    counts: StreamCounts

    def fetch_report(self, table: Table, list_id: int, window: Window | None) -> list[rows.Row]:
        """Return the report of a list in a window; None: all of it.

        Of several rows with the same ID, the last is returned. Raises what `fetch` raises.
        """
        parent = {"ListID": list_id}
        span = {"StartDate": window.start, "EndDate": window.end} if window else {}
        slice_ = Slice((list_id,), ("list", list_id), parent | span, parent)
        page = self.fetch(self.stream_of(table.name), slice_, self.counts)
        return list({row[table.key[-1]]: row for row in page.rows}.values())

    def fetch(
        self,
        stream: SoapStream,
        slice_: Slice,
        counts: StreamCounts,
        number: int | None = None,
        *,
        retries: bool = True,
    ) -> rows.Page:
        """Return one page of a slice; see `SoapStream.make_request`.

        :param counts: those of the stream that needs the page
        :raises ListrakError: the page could not be fetched
        :raises SyncStopped: the sync is stopped
        """
        request = stream.make_request(slice_, number, retries=retries)
        page = self.client.send(request, stream.parse_response, counts)
        for row in page.rows:
            row.update(slice_.added)
        table, key, wrong = stream.table, stream.key, page.wrong_values
        if table.cursor not in (None, table.id_column):
            self.watch.see(table.name, page.rows, table.cursor)
        # A row with all columns has its key.
        keyless = sum([not row.keys() >= key for row in page.rows if len(row) < stream.width])
        if keyless or wrong or page.invalid_characters:
            warn = partial(self.count_and_warn, stream.name, counts)
            warn("invalid_characters", page.invalid_characters, _REPAIRED)
            values = (
                f"{', '.join(wrong)} contained values of the wrong type, which were set to null"
            )
            warn("wrong_values", sum(wrong.values()), values)
            warn("keyless_rows", keyless, _NO_KEY)
        return page

    def count_and_warn(
        self, name: str, counts: StreamCounts, kind: str, number: int, text: str
    ) -> None:
        """Count what was lost of a table, and log the first case of each kind."""
        if number:
            counts.add(**{kind: number})
            if self.counts.add(**{f"{name}: {kind}": 1}):  # whichever stream needed the rows
                self.logger.warning(f"{name}: {text}. Later ones are only counted in the summary.")
