"""Reads one slice page by page, by one worker or by several, while the account moves.

Pages are offsets into a live query. A row that is inserted pushes those behind it to later places,
so in page order it only repeats rows. A row that departs pulls those behind it forward, so one is
lost at the border of a page; only contacts depart, see `SliceRead`.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, Protocol

import orjson

from source_listrak.soap.faults import REPEATED_PAGE, ListrakError
from source_listrak.soap.rows import Page
from source_listrak.sync.state import Key

Rows = list[dict[str, Any]]

EMPTY_PAGES_LIMIT = 3
"""Empty pages in a row that are the end where pages with rows may follow an empty one."""

REPEATED_ROWS_LIMIT = 3
"""Repeated rows that are a loop; with pages of one row, equal rows can be two clicks in the same
second."""

BLANK_PAGES_LIMIT = 100
"""Pages in a row that are a loop although they cannot be told apart, since no row has a column:
recipients can be without an address, but not as many."""

PAGES_BEFORE_DIVISION = 8
"""Pages with rows after which a slice is long, so that idle workers share the rest of it. A slice
that ends before costs no request more than its pages; a longer one costs one more for each part."""

PASSES_LIMIT = 3
"""A row slips through a pass when it crosses the border of a page. To be lost it has to do so in
each pass, so every pass divides what may be missing by about the page size over the departures."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One unit of concurrency and of checkpointing.

    :param key: its place in the order of generation
    :param subject: the list, message or conversation that it is about; None: the login
    :param arguments: of the request, but the page
    :param added: columns that the rows do not carry themselves
    :param read_to: until when it was read before; None: never
    :param minimum: rows that a read of all of it cannot be below, by its counter
    :param only_lists: rows of other lists are not emitted; None: all are
    """

    key: Key
    subject: tuple[str, int] | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    added: Mapping[str, Any] = field(default_factory=dict)
    read_to: datetime | None = None
    minimum: int = 0
    only_lists: Collection[int] | None = None

    @property
    def label(self) -> str:
        """Its name in log lines, without personal data."""
        return label(*(self.subject or ("account", 0)))


def label(kind: str, ident: int) -> str:
    """Return the name of a list, message, conversation or the account in log lines."""
    return "the account" if kind == "account" else f"{kind} {ident}"


class PageSource(Protocol):
    """What a table gives to the reader of its slices."""

    def fetch_page(self, slice_: Slice, number: int) -> Page:
        """Return one page of a slice, 1-based. :raises ListrakError: it could not be fetched"""
        ...

    def departures(self, slice_: Slice) -> frozenset[bytes] | None:
        """Return what identifies all recent departures; None where they cannot be known."""
        ...


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How slices of one table are read.

    :param part_pages: pages of a part that a worker keeps of a long slice
    :param departs: whether rows vanish while pages are read
    :param tolerates_empty_pages: whether pages with rows may follow an empty one
    """

    part_pages: int
    departs: bool = False
    tolerates_empty_pages: bool = False


def part_pages(workers: int) -> int:
    """Return how many pages a worker keeps of a slice that proves long while it is read.

    The length of a slice is unknown, so one worker at a time reads at its open end. Once a page
    there has rows and another worker is idle, it fixes its own end a part further on and leaves
    the rest to the idle one. With ten workers::

        page   1 ─────── 9 ───────── 23 24 ───────── 38 39 ────────▶ until a page has no rows
               └ alone   └ proves it     └ proves it     └ proves it

    The open end moves one part for each response that is awaited, and a part takes as many
    responses, so with fewer pages than workers some would always be idle; half as many more make
    up for late responses.
    """
    return max(PAGES_BEFORE_DIVISION, workers * 3 // 2)


class Part:
    """Consecutive pages of a slice, read by one worker.

    :ivar last: the last page, None while the end is open
    :ivar next: the part behind, once the end is fixed
    :ivar is_requested: whether its first page was requested
    :ivar completes: whether the whole slice was read when this part was
    """

    def __init__(self, first: int = 1) -> None:
        self.first = first
        self.last: int | None = None
        self.next: Part | None = None
        self.is_requested = False
        self.completes = False
        self._first_keys: frozenset[int] = frozenset()
        self._is_blank = False
        self._error: Exception | None = None
        self._is_known = threading.Event()

    def publish(self, rows: Rows, is_telling: Callable[[Mapping[str, Any]], bool]) -> None:
        """Make the rows of the first page known to the part before.

        :param is_telling: returns whether a row identifies a page
        """
        self._first_keys = _keys(filter(is_telling, rows))
        self._is_blank = bool(rows) and not self._first_keys
        self._is_known.set()

    def fail(self, error: Exception) -> None:
        """Make it known that the first page may never be."""
        self._error = error
        self._is_known.set()

    def missed(self, rows: Rows) -> Rows:
        """Return the rows that were not on the first page; wait for that page.

        :raises ListrakError: the part failed
        """
        self._is_known.wait()
        if self._error is not None:
            raise self._error
        # Where no row identifies the first page, there is nothing to look for.
        return [] if self._is_blank else _unknown(rows, self._first_keys)


class SliceRead:
    """One slice being read, shared by the workers that read parts of it.

    Where rows depart, all departures of the days around now are requested before and after the
    pages: equal answers prove that no row left during the pass. Otherwise the slice is read again,
    `PASSES_LIMIT` passes at most.

    :ivar rows: rows read so far in this pass, without those that parts read twice
    :ivar error: why the slice failed, in any of its parts
    :param divide: offers a part to an idle worker; returns whether there is one
    :param warn: called with a sentence when not even the last pass could be proved
    """

    def __init__(
        self,
        source: PageSource,
        slice_: Slice,
        settings: ReadSettings,
        divide: Callable[[SliceRead, Part], bool],
        warn: Callable[[str], None],
    ) -> None:
        self.slice = slice_
        self.rows = 0
        self.error: Exception | None = None
        self._source = source
        self._settings = settings
        self._divide = divide
        self._warn = warn
        self._lock = threading.Lock()
        self._parts = 1
        self._passes = 1
        self._departures: frozenset[bytes] | None = None
        self._pages: set[int] = set()
        self._repeated_rows = self._blank_pages = 0
        self._hashes: dict[int, array[int]] = {}
        self._hashes_before: dict[int, array[int]] = {}

    def read(self, part: Part) -> Iterator[Rows]:
        """Yield the rows of a part, page by page; behind the last part, those of further passes.

        :raises ListrakError: a request failed permanently, here or in another part
        """
        try:
            if part.first == 1 and self._settings.departs:
                first = self._source.fetch_page(self.slice, 1).rows
                if not first or not self._source.fetch_page(self.slice, 2).rows:
                    known = _keys(first)
                    yield first
                    if known and self.slice.read_to is None:
                        # What moved to the first page before the second one was requested. Other
                        # reads leave it to the next full one.
                        yield _unknown(self._source.fetch_page(self.slice, 1).rows, known)
                    part.completes = True
                    return
                self._departures = self._source.departures(self.slice)
            yield from self._read_part(part)
            while self._is_last_part():
                if self._is_proved():
                    part.completes = True
                    return
                yield from self._read_part(Part())
        except Exception as error:
            self.error = self.error or error
            part.fail(error)
            raise

    def _read_part(self, part: Part) -> Iterator[Rows]:
        number, empty = part.first, 0
        while part.last is None or number <= part.last:
            if self.error is not None:
                raise self.error
            part.is_requested = True
            page = self._source.fetch_page(self.slice, number)
            if number == part.first > 1:
                part.publish(page.rows, self._is_telling)
            if page.rows:
                empty = 0
                self._note(page.rows, number)
                is_long = part.first > 1 or number > PAGES_BEFORE_DIVISION
                if part.last is None and is_long:
                    self._offer_rest(part, number + self._settings.part_pages)
                yield self._unread(page.rows, number) if self._settings.departs else page.rows
            else:
                empty += 1
                may_go_on = self._settings.tolerates_empty_pages and page.present
                if not may_go_on or empty >= EMPTY_PAGES_LIMIT:
                    return
            number += 1
        yield from self._read_overlap(part)

    def _is_telling(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row identifies a page; recipients without an address look alike."""
        return len(row) > len(self.slice.added)

    def _note(self, rows: Rows, number: int) -> None:
        """Count the rows of a page; a page that came before means that paging does not end."""
        is_telling = any(map(self._is_telling, rows))
        page = hash(orjson.dumps(rows))
        with self._lock:
            self.rows += len(rows)
            if is_telling and page in self._pages:
                self._repeated_rows += len(rows)
            self._pages.add(page)
            self._blank_pages = 0 if is_telling else self._blank_pages + 1
            is_loop = (
                self._repeated_rows >= REPEATED_ROWS_LIMIT or self._blank_pages > BLANK_PAGES_LIMIT
            )
        if is_loop:
            raise ListrakError(REPEATED_PAGE, f"{self.slice.label}, page {number}")

    def _unread(self, rows: Rows, number: int) -> Rows:
        """Return the rows that the pass before did not have on this page or around it.

        So a further pass repeats no row, unless departures moved it by more than a page; 8 bytes
        a row, kept while its list is read, are what that takes.
        """
        hashes = array("q", (hash(orjson.dumps(row)) for row in rows))
        self._hashes[number] = hashes
        around = (self._hashes_before.get(page, ()) for page in range(number - 1, number + 3))
        known = set(chain.from_iterable(around))
        return [row for row, key in zip(rows, hashes, strict=True) if key not in known]

    def _offer_rest(self, part: Part, first: int) -> None:
        """Leave the pages from `first` on to an idle worker, if there is one."""
        rest = Part(first)
        with self._lock:
            self._parts += 1
        if self._divide(self, rest):
            part.last, part.next = first - 1, rest
        else:
            with self._lock:
                self._parts -= 1

    def _read_overlap(self, part: Part) -> Iterator[Rows]:
        """Yield the pages behind a part until one holds a row that the next part began with.

        Rows that were inserted after the next part had read its first page, and before this part
        read its last one, pushed others across the border between the two, unseen by either::

            this part            ... 14  15 │ 16 ◀─ pushed here after the next part had read 16
            the next part                   │ 16  17 ...

        Where the next part is requested only now, it sees what was pushed.
        """
        if part.last is None or part.next is None or not part.next.is_requested:
            return
        number = part.last + 1
        while True:
            if self.error is not None:
                raise self.error
            rows = self._source.fetch_page(self.slice, number).rows
            if not rows:
                return
            missed = part.next.missed(rows)
            is_met = len(missed) < len(rows)
            yield missed
            if is_met:
                return
            number += 1

    def _is_last_part(self) -> bool:
        with self._lock:
            self._parts -= 1
            return self._parts == 0

    def _is_proved(self) -> bool:
        """Return whether the slice counts as read; if not, prepare the next pass."""
        if self._departures is None:
            return True
        departures = self._source.departures(self.slice)
        if departures in (None, self._departures):
            return True
        if self._passes == PASSES_LIMIT:
            self._warn(
                f"{self.slice.label}: contacts left during each of {PASSES_LIMIT} passes, so very "
                "few others may be missing until the list's next full read, within a week."
            )
            return True
        self._departures = departures
        self._passes += 1
        self._parts = 1
        self.rows = self._repeated_rows = 0
        self._pages.clear()
        self._hashes_before, self._hashes = self._hashes, {}
        return False


def _keys(rows: Iterable[Mapping[str, Any]]) -> frozenset[int]:
    return frozenset(hash(orjson.dumps(row)) for row in rows)


def _unknown(rows: Rows, known: frozenset[int]) -> Rows:
    return [row for row in rows if hash(orjson.dumps(row)) not in known]
