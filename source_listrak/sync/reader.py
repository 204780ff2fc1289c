"""Reads one slice page by page, by one worker or by several, while the account moves.

Pages are offsets into a live query. A row that is inserted pushes those behind it to later places,
so in page order it only repeats rows. A removed row pulls later rows forward, so one is lost at a
page boundary; only contacts leave, see `SliceRead`.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

import orjson

from source_listrak.soap.faults import REPEATED_PAGE, SERVER_ERROR, Action, ListrakError
from source_listrak.soap.rows import Page
from source_listrak.sync.slices import Slice
from source_listrak.tables import Table

Rows = list[dict[str, Any]]

EMPTY_PAGES_LIMIT = 3
"""Empty pages in a row that are skipped where pages with rows may follow them."""

FAILED_PAGES_LIMIT = 3
"""Failed pages in a row that are skipped; with more, every page seems to fail. Only the first of
them is retried, because the retries of each take minutes."""

REPEATED_ROWS_LIMIT = 3
"""Repeated rows that are a loop; with pages of one row, equal rows can be two clicks in the same
second."""

BLANK_PAGES_LIMIT = 100
"""Pages in a row that are a loop although they are indistinguishable, since no row has a column:
recipients can be without an address, but not as many."""

PAGES_BEFORE_DIVISION = 8
"""Pages with rows after which a slice is long, so that idle workers share the rest of it. A slice
that ends before costs no request more than its pages; a longer one costs one more for each part."""

PASSES_LIMIT = 3
"""A row slips through a pass when it crosses the border of a page. To be lost it has to do so in
each pass, so every pass divides what may be missing by about the page size over the removals."""


class PageSource(Protocol):
    """What a table gives to the reader of its slices."""

    table: Table

    def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
        """Return one page of a slice, 1-based. :raises ListrakError: it could not be fetched"""

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the rows of a slice that is not paged."""

    def recent_changes(self, slice_: Slice) -> int | None:
        """Return a number that any further change of the order of rows changes; None: unknown."""


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


@dataclass(eq=False, slots=True)
class Part:
    """Consecutive pages of a slice, read by one worker.

    :ivar next: the part behind; None while the end is open
    :ivar is_requested: whether its first page was requested
    :ivar finished_slice: whether the whole slice was read when this part was
    :ivar first_keys: the keys of the rows of its first page, or why that may never be known
    """

    first: int = 1
    next: Part | None = None
    is_requested: bool = False
    finished_slice: bool = False
    first_keys: Future[frozenset[int]] = field(default_factory=Future)


@dataclass(slots=True)
class _Pass:
    """What was seen in one pass over the pages of a slice.

    :param number: 1-based
    :param changes: those known when it began; None where rows stay, or it cannot be known
    :param keys_before: the keys of the rows by page, in the pass before
    :ivar parts: those that are being read
    :ivar pages: hashes of all pages
    """

    number: int = 1
    changes: int | None = None
    keys_before: Mapping[int, array[int]] = field(default_factory=dict)
    keys: dict[int, array[int]] = field(default_factory=dict)
    parts: int = 1
    pages: set[int] = field(default_factory=set)
    repeated_rows: int = 0
    blank_pages: int = 0


@dataclass(eq=False)
class SliceRead:
    """One slice being read, shared by the workers that read parts of it.

    Where rows can leave, all changes of the days around now (removals and corrected addresses) are
    requested before and after the pages: equal answers prove that no row moved during the pass.
    Otherwise the slice is read again, in at most `PASSES_LIMIT` passes.

    A page that fails permanently is skipped; the slice then fails after its other pages were read.

    :param part_pages: pages of a part that a worker keeps of a long slice
    :param divide: offers a part to an idle worker; returns whether there is one
    :param warn: called with a sentence when not even the last pass could be proved
    :ivar rows: rows read so far in this pass, without those that parts read twice
    :ivar error: why the slice failed, in any of its parts
    """

    source: PageSource
    slice: Slice
    part_pages: int
    divide: Callable[[SliceRead, Part], bool]
    warn: Callable[[str], None]
    rows: int = field(default=0, init=False)
    error: Exception | None = field(default=None, init=False)
    _pass: _Pass = field(default_factory=_Pass, init=False)
    _failed_pages: dict[int, ListrakError] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def read(self, part: Part) -> Iterator[Rows]:
        """Yield the rows of a part, page by page; behind the last part, those of further passes.

        The caller may clear them, so that no one holds them while it waits.

        :raises ListrakError: a request failed permanently, here or in another part
        """
        try:
            if not self.source.table.paged:
                yield from self.source.read_whole(self.slice)
                part.finished_slice = True
                return
            if part.first == 1 and self.source.table.rows_can_leave:
                part.finished_slice = yield from self._read_one_page()
                if part.finished_slice:
                    return
                self._pass.changes = self.source.recent_changes(self.slice)
            yield from self._read_part(part)
            while self._is_last_part():
                for error in self._failed_pages.values():
                    raise error
                part.finished_slice = self._is_proved()
                if part.finished_slice:
                    return
                yield from self._read_part(Part())
        except Exception as error:
            self.error = self.error or error
            if not part.first_keys.done():
                part.first_keys.set_exception(error)
            raise

    def _read_one_page(self) -> Generator[Rows, None, bool]:
        """Yield the rows of a slice of one page; return whether it is one."""
        rows = self._rows(1)
        if (rows and self._rows(2)) or self._failed_pages:
            return False
        known = frozenset(_keys(rows))
        yield rows
        if known and self.slice.read_to is None:
            # What moved to the first page before the second one was requested. Other reads leave
            # it to the next full one.
            rows = self._rows(1)
            yield _drop(rows, _keys(rows), known)
        return not self._failed_pages

    def _read_part(self, part: Part) -> Iterator[Rows]:
        part.is_requested = True
        table, number, empty, failed = self.source.table, part.first, 0, 0
        limit = EMPTY_PAGES_LIMIT if table.tolerates_empty_pages else 0
        while part.next is None or number < part.next.first:
            page = self._fetch(number, retries=not failed)
            rows = page.rows if page else []
            if number == part.first > 1:
                # Where no row identifies the page, any of its rows will do.
                keys = _keys(filter(self._identifies_page, rows)) or _keys(rows)
                part.first_keys.set_result(frozenset(keys))
            if page is None:
                failed, number = failed + 1, number + 1
                if failed > FAILED_PAGES_LIMIT:
                    return
                continue
            failed, empty = 0, 0 if rows else empty + 1
            if empty > limit or not page.present:
                return
            if rows:
                self._note(rows, number)
                if part.next is None and (part.first > 1 or number > PAGES_BEFORE_DIVISION):
                    self._offer_rest(part, number + self.part_pages)
                if table.rows_can_leave:
                    self._drop_known(rows, number)
                yield rows
            number += 1
        yield from self._read_overlap(part.next)

    def _fetch(self, number: int, *, retries: bool = True) -> Page | None:
        """Return a page, None for one that failed permanently; that one is requested only once."""
        if self.error is not None:
            raise self.error
        if number in self._failed_pages:
            return None
        try:
            return self.source.fetch_page(self.slice, number, retries=retries)
        except ListrakError as error:
            if error.fault.action is Action.SKIP and number > 1:
                # The report is not gone: its pages before this one were found.
                error = ListrakError(SERVER_ERROR, error.detail)
            if error.fault.action not in (Action.RETRY, Action.FAIL):
                raise  # about the whole report
            self._failed_pages[number] = error
            return None

    def _rows(self, number: int) -> Rows:
        """Return the rows of a page, none for one that failed permanently."""
        page = self._fetch(number)
        return page.rows if page else []

    def _identifies_page(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row identifies a page; recipients without an address look alike."""
        return len(row) > len(self.slice.added)

    def _note(self, rows: Rows, number: int) -> None:
        """Count the rows of a page; a page that came before means that paging does not end."""
        identifies_page = any(map(self._identifies_page, rows))
        page = hash(orjson.dumps(rows))
        with self._lock:
            seen = self._pass
            self.rows += len(rows)
            if identifies_page and page in seen.pages:
                seen.repeated_rows += len(rows)
            seen.pages.add(page)
            seen.blank_pages = 0 if identifies_page else seen.blank_pages + 1
            if seen.repeated_rows >= REPEATED_ROWS_LIMIT or seen.blank_pages > BLANK_PAGES_LIMIT:
                raise ListrakError(REPEATED_PAGE, f"{self.slice.label}, page {number}")

    def _drop_known(self, rows: Rows, number: int) -> None:
        """Drop the rows that the pass before had on this page or around it.

        So a further pass repeats no row, unless removals moved it by more than a page. This takes
        8 bytes a row while the list is being read.
        """
        self._pass.keys[number] = keys = _keys(rows)
        before = self._pass.keys_before
        around = (before.get(page, ()) for page in range(number - 1, number + 3))
        _drop(rows, keys, set(chain.from_iterable(around)))

    def _offer_rest(self, part: Part, first: int) -> None:
        """Leave the pages from `first` on to an idle worker, if there is one."""
        rest = Part(first)
        with self._lock:  # the rest must not end before it is counted
            if self.divide(self, rest):
                part.next = rest
                self._pass.parts += 1

    def _read_overlap(self, behind: Part) -> Iterator[Rows]:
        """Yield the pages behind a part until one holds a row that the next part began with.

        Rows that were inserted after the next part had read its first page, and before this part
        read its last one, pushed others across the border between the two, unseen by either::

            this part            ... 14  15 │ 16 ◀─ pushed here after the next part had read 16
            the next part                   │ 16  17 ...

        Where the next part is requested only now, it sees what was pushed.
        """
        number, is_met = behind.first, not behind.is_requested
        while not is_met and (rows := self._rows(number)):
            keys = _keys(rows)
            is_met = len(_drop(rows, keys, behind.first_keys.result())) < len(keys)
            yield rows
            number += 1

    def _is_last_part(self) -> bool:
        with self._lock:
            self._pass.parts -= 1
            return self._pass.parts == 0

    def _is_proved(self) -> bool:
        """Return whether the slice counts as read; if not, begin the next pass."""
        ended = self._pass
        changes = None if ended.changes is None else self.source.recent_changes(self.slice)
        if changes in (None, ended.changes):
            return True
        if ended.number == PASSES_LIMIT:
            self.warn(
                f"{self.slice.label}: contacts left or changed during each of {PASSES_LIMIT} "
                "passes, so a few others may be missing until the list's next full read within a "
                "week."
            )
            return True
        self._pass = _Pass(ended.number + 1, changes, keys_before=ended.keys)
        self.rows = 0
        return False


def _keys(rows: Iterable[Mapping[str, Any]]) -> array[int]:
    return array("q", (hash(orjson.dumps(row)) for row in rows))


def _drop(rows: Rows, keys: Iterable[int], known: Collection[int]) -> Rows:
    """Drop the rows whose keys are known: in place, so that no second list keeps them."""
    rows[:] = [row for row, key in zip(rows, keys, strict=True) if key not in known]
    return rows
