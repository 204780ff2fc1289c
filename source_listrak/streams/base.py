"""The one HttpStream subclass: a table is a declaration on top of it."""

from __future__ import annotations

import functools
import json
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar

from airbyte_cdk.models import SyncMode
from airbyte_cdk.sources.streams.concurrent.abstract_stream_facade import AbstractStreamFacade
from airbyte_cdk.sources.streams.concurrent.cursor import CursorField
from airbyte_cdk.sources.streams.concurrent.default_stream import DefaultStream
from airbyte_cdk.sources.streams.http import HttpStream

from source_listrak.config import ListrakConfig
from source_listrak.cursor import Interval
from source_listrak.plan import StreamPlan
from source_listrak.progress import StreamProgress
from source_listrak.slicing import PAGES_OF_A_BLOCK, Window, pages_of_a_part
from source_listrak.soap.envelope import soap_action
from source_listrak.soap.faults import REPEATED_PAGE, ListrakError
from source_listrak.streams.concurrent import SliceGenerator, StateCursor

if TYPE_CHECKING:
    from source_listrak.soap.response import Page
    from source_listrak.sync import Sync

PATIENCE_WITH_EMPTY_PAGES = 3
"""So many empty pages in a row are the end where empty pages stand between full ones."""

REPEATED_ROWS_MEAN_A_LOOP = 3
"""So many rows repeated in the same order from page to page are a loop; with pages of one row, two
equal rows in a row can be two clicks in the same second."""


Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Slice:
    """One unit of concurrency and of checkpointing, or a part of one that proved long.

    :param key: its place in the order of generation, first and last key
    :param label: its name in log lines; no personal data
    :param arguments: of the request, but the page
    :param added: columns that the rows do not carry themselves
    :param window: the span of `messages` that it reads
    :param message: (list, message) that is remembered when it cannot be reported on
    :param expected_rows: how many rows there are when all are read, by the counters, or -1
    :param estimate: how many rows of this window to expect, or None
    :param first_rows: the page to begin with, or its error, where it was asked for already
    :param first_page: the page to begin with
    :param last_page: the page to end with, or None for all
    :param error: why what stands here could not even be sliced
    :param is_rest: whether this is the rest of a slice that proved long
    :param divide: leaves the pages after the one given to an idle worker; False when there is none
    """

    key: Interval
    label: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    added: Mapping[str, Any] = field(default_factory=dict)
    window: Window | None = None
    message: tuple[int, int] | None = None
    expected_rows: int = -1
    estimate: int | None = None
    first_rows: Page | ListrakError | None = None
    first_page: int = 1
    last_page: int | None = None
    error: ListrakError | None = None
    is_rest: bool = False
    divide: Callable[[int], bool] | None = None


class ListrakStream(HttpStream, AbstractStreamFacade[DefaultStream]):
    """A table: which operation brings its rows, in which slices, and how they are told apart.

    An HttpStream whose request layer is swapped: `request_body_data` is a SOAP envelope,
    `parse_response` reads SOAP, and the session is the one of the whole sync.
    """

    name: ClassVar[str]
    operation: ClassVar[str]
    row: ClassVar[str]
    """The element of a row in the operation's result."""
    primary_key: ClassVar[list[str]]
    cursor_field: ClassVar[str | list[str]] = []
    date_text_fields: ClassVar[tuple[str, ...]] = ()
    """String columns that hold dates."""
    about_message: ClassVar[bool] = False
    """Whether a fault that mentions 404 is about the slice's message alone."""
    reads_messages: ClassVar[bool] = False
    """Whether the slices are made from the account's messages."""
    tolerates_empty_pages: ClassVar[bool] = False
    """Whether empty pages have been seen in the middle of the rows."""

    def __init__(self, config: ListrakConfig, sync: Sync | None = None) -> None:
        # Not HttpStream.__init__: it would build a session, a retry loop and a limiter of its own
        # for each table, where all share one.
        self.config = config
        self._sync = sync
        self._plan: StreamPlan | None = None
        self.progress = StreamProgress()
        self.largest_page = 0
        """The most rows that a page of this table has had so far."""

    @property
    def sync(self) -> Sync:
        """What the streams of a running sync share."""
        assert self._sync is not None, "only a sync reads"
        return self._sync

    @property
    def plan(self) -> StreamPlan:
        """What this sync has to read of this table."""
        assert self._plan is not None, "planned before anything is read"
        return self._plan

    @plan.setter
    def plan(self, plan: StreamPlan) -> None:
        self._plan = plan

    @classmethod
    @functools.cache
    def schema(cls) -> Mapping[str, Any]:
        """Return the table's JSON schema, which drives the reading of its rows, too."""
        path = resources.files("source_listrak").joinpath(f"schemas/{cls.name}.json")
        schema: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return schema

    def get_json_schema(self) -> Mapping[str, Any]:  # type: ignore[override]  # theirs is cached
        """Return the table's JSON schema."""
        return self.schema()

    def list_ids(self) -> list[int]:
        """Return the lists that this sync reads for this table, ascending."""
        return self.plan.lists(self.sync.account.list_ids())

    def messages_since(self, plan: StreamPlan, list_ids: list[int]) -> datetime:
        """Return the oldest send date of the messages that this table needs."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Tell the account what this table needs of it, once its windows are known."""

    @abstractmethod
    def slices(self) -> Iterator[Slice]:
        """Yield what this sync has to read, ascending by key."""

    @property
    def url_base(self) -> str:
        """The one URL of the service."""
        return self.config.endpoint

    @property
    def http_method(self) -> str:
        """SOAP is always posted."""
        return "POST"

    def path(self, **_: Any) -> str:
        """Return nothing: the operation stands in the envelope."""
        return ""

    def request_headers(self, *_: Any, **__: Any) -> Mapping[str, Any]:
        """Return the header that names the operation."""
        return {"SOAPAction": soap_action(self.operation)}

    def request_body_data(
        self,
        stream_state: Mapping[str, Any] | None = None,
        stream_slice: Mapping[str, Any] | None = None,
        next_page_token: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the SOAP envelope; the credentials are put in on the wire only."""
        arguments = {**(stream_slice or {}), **(next_page_token or {})}
        return self.sync.envelopes.build(self.operation, arguments).decode()

    def next_page_token(self, response: Any) -> Mapping[str, Any] | None:
        """Return nothing: an answer does not tell of a next page, `read_pages` counts."""
        return None

    def parse_response(self, response: Any, **_: Any) -> Iterable[Mapping[str, Any]]:
        """Return the rows of an answer."""
        page = self.sync.reader(self).read(response.content, response.headers.get("Content-Type"))
        return page.rows

    def read_pages(self, piece: Slice) -> Iterator[Rows]:
        """Yield the rows of a slice, page by page, until a page has none.

        A short page is not the end: nobody knows the page size. Of recipients, pages without rows
        stand in the middle, where a missing result is the end. What proves long is left to another
        worker from some page on, see `pages_of_a_part`.

        :raises ListrakError: a request failed for good, or a page came again and again
        """
        previous: Rows = []
        repeated = rows = full = empty = 0
        number, last = piece.first_page, piece.last_page
        while last is None or number <= last:
            if number == piece.first_page and piece.first_rows is not None:
                if isinstance(piece.first_rows, ListrakError):
                    raise piece.first_rows
                page = piece.first_rows
            else:
                page = self.fetch_page(piece, number)
            if not page.rows:
                empty += 1
                if (
                    not self.tolerates_empty_pages
                    or not page.present
                    or empty >= PATIENCE_WITH_EMPTY_PAGES
                ):
                    return
            else:
                empty = 0
                for row in page.rows:
                    row.update(piece.added)
                if page.rows == previous:
                    repeated += len(page.rows)
                    if repeated >= REPEATED_ROWS_MEAN_A_LOOP:
                        raise ListrakError(REPEATED_PAGE, f"{piece.label}, page {number}")
                else:
                    repeated = 0
                previous = page.rows
                rows += len(page.rows)
                full += 1
                if last is None and piece.divide is not None and self._is_long(piece, full, rows):
                    kept = number + pages_of_a_part(self.config.num_workers) - 1
                    if piece.divide(kept):
                        last = kept
                yield page.rows
                if self.tolerates_empty_pages and rows == piece.expected_rows:
                    return
            number += 1

    def _is_long(self, piece: Slice, full: int, rows: int) -> bool:
        """Tell whether what was read of an open-ended slice promises enough for another worker.

        A slice costs no request more for it than its pages and the end, unless it has more pages
        than a block; a longer one costs one more, behind its end.

        :param full: how many pages had rows
        :param rows: how many rows they had together
        """
        if piece.is_rest:
            # Also where a service repeats its last page for ever: a part finds out by its next
            # pages, and with it the whole slice fails.
            return True
        if 0 <= piece.expected_rows - rows <= PAGES_OF_A_BLOCK * self.largest_page:
            return False
        return full > PAGES_OF_A_BLOCK

    def fetch_page(self, piece: Slice, number: int) -> Page:
        """Return one page of a slice.

        :raises ListrakError: the request failed for good
        """
        envelope = self.sync.envelopes.build(self.operation, {**piece.arguments, "Page": number})
        page = self.sync.client.call(
            self.operation,
            envelope,
            self.sync.reader(self).read,
            self.progress,
            what=f"{piece.label}, page {number}",
            about_message=self.about_message,
        )
        if page.removed_characters:
            self.sync.removed(self.name, page.removed_characters, self.progress)
        if len(page.rows) > self.largest_page:
            self.largest_page = len(page.rows)
        return page

    def read_records(
        self,
        sync_mode: SyncMode,
        cursor_field: list[str] | None = None,
        stream_slice: Any = None,
        stream_state: Mapping[str, Any] | None = None,
    ) -> Iterable[Mapping[str, Any]]:
        """Return the records of one slice."""
        for rows in self.read_pages(stream_slice):
            yield from rows

    def get_underlying_stream(self) -> DefaultStream:
        """Return the table as the CDK's concurrent source reads it."""
        cursor = StateCursor(self)
        return DefaultStream(
            partition_generator=SliceGenerator(self, cursor),
            name=self.name,
            json_schema=self.get_json_schema(),
            primary_key=self.primary_key,
            cursor_field=CursorField(self.cursor_field) if self.cursor_field else None,  # type: ignore[arg-type]
            logger=logging.getLogger(f"airbyte.streams.{self.name}"),
            cursor=cursor,
        )
