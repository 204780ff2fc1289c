"""Pages of a slice, by one worker or several, while rows arrive and depart."""

from __future__ import annotations

import queue
import random
import threading
import weakref
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.soap.faults import (
    OTHER_FAULT,
    PERMISSION,
    REPEATED_PAGE,
    REPORT_GONE,
    SERVER_ERROR,
    TOO_LARGE,
    Fault,
    ListrakError,
)
from source_listrak.soap.rows import Page
from source_listrak.sync.reader import (
    EMPTY_PAGES_LIMIT,
    PAGES_BEFORE_DIVISION,
    PASSES_LIMIT,
    Part,
    Rows,
    SliceRead,
    part_pages,
)
from source_listrak.sync.slices import Slice
from source_listrak.tables import TABLES, Table

SLICE = Slice((1, 7), ("message", 7), added={"MsgID": 7})
PART_PAGES = 8
STAYS, DEPARTS = TABLES["message_opens"], TABLES["subscribed_contacts"]
TOLERANT = TABLES["message_sends"]
Divide = Callable[[SliceRead, Part], bool]


def page_of(rows: Rows, *, present: bool = True) -> Page:
    return Page(rows, present, 0, {})


class Report:
    """A live report: pages are offsets into its rows, which move before each response."""

    table = STAYS

    def __init__(
        self, rows: int, page_size: int = 3, move: Callable[[Report], None] = lambda report: None
    ) -> None:
        self.idents = list(range(rows))
        self.page_size = page_size
        self.departed: list[int] = []
        self.requested: list[int] = []
        self.retried: list[int] = []
        self.proofs = 0
        self.lock = threading.Lock()
        self._created = rows
        self._move = move

    def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
        with self.lock:
            self.requested.append(number)
            self.retried += [number] * retries
            self._move(self)
            first = (number - 1) * self.page_size
            idents = self.idents[first : first + self.page_size]
            return page_of([{"MsgID": 7, "ident": ident} for ident in idents])

    def recent_changes(self, slice_: Slice) -> int | None:
        with self.lock:
            self.proofs += 1
            self._move(self)
            return sum(hash(str(ident)) for ident in self.departed)

    def insert(self, place: int, count: int = 1) -> None:
        self.idents[place:place] = range(self._created, self._created + count)
        self._created += count

    def depart(self, place: int) -> None:
        self.departed.append(self.idents.pop(place))


class Crew:
    """Workers that take turns, a page at a time, in an order drawn by a seed."""

    def __init__(self, source: Any, table: Table, seed: int = 0, idle: float = 1) -> None:
        self._random = random.Random(seed)
        self._idle = idle
        self.warnings: list[str] = []
        self.found: Rows = []
        self.parts = 0
        source.table = table
        self.slice_read = SliceRead(source, SLICE, PART_PAGES, self._divide, self.warnings.append)
        self._active: list[tuple[Part, Iterator[Rows]]] = []

    def _divide(self, slice_read: SliceRead, part: Part) -> bool:
        is_idle = self._random.random() < self._idle
        if is_idle:
            self._start(part)
        return is_idle

    def _start(self, part: Part) -> None:
        self.parts += 1
        self._active.append((part, self.slice_read.read(part)))

    def read(self) -> Rows:
        """Return all rows; the slice is complete with the very last of them."""
        self._start(Part())
        while self._active:
            place = self._random.randrange(len(self._active))
            part, pages = self._active[place]
            try:
                self.found += next(pages)
            except StopIteration:
                del self._active[place]
                assert part.finished_slice == (not self._active)
        return self.found


def idents(rows: Rows) -> list[int]:
    return [row["ident"] for row in rows]


def alone(source: Any, table: Table = STAYS) -> Crew:
    return Crew(source, table, idle=0)


# One worker


@pytest.mark.parametrize("rows", [0, 1, 3, 7, 60])
def test_pages_are_read_in_order_up_to_the_first_without_rows(rows: int) -> None:
    report = Report(rows)
    crew = alone(report)
    assert idents(crew.read()) == list(range(rows))
    assert report.requested == list(range(1, -(-rows // 3) + 2))
    assert crew.slice_read.rows == rows


def test_where_rows_stay_no_departures_are_requested() -> None:
    report = Report(60)
    alone(report).read()
    assert report.proofs == 0


class Pages:
    """Fixed pages by number; others are absent."""

    table = STAYS

    def __init__(self, pages: dict[int, Page]) -> None:
        self.pages = pages
        self.requested: list[int] = []

    def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
        self.requested.append(number)
        return self.pages.get(number, page_of([], present=False))

    def recent_changes(self, slice_: Slice) -> int | None:
        return None


@pytest.mark.parametrize("empty", range(5))
def test_a_few_empty_pages_are_tolerated_where_the_table_says_so(empty: int) -> None:
    pages = {1: page_of([{"ident": 1}])} | {2 + number: page_of([]) for number in range(empty)}
    source = Pages(pages | {2 + empty: page_of([{"ident": 2}])})
    expected = [1, 2] if empty <= EMPTY_PAGES_LIMIT else [1]
    assert idents(alone(source, TOLERANT).read()) == expected
    assert idents(alone(source).read()) == ([1, 2] if empty == 0 else [1])


def test_an_absent_result_is_the_end_of_all_pages() -> None:
    source = Pages({1: page_of([{"ident": 1}]), 3: page_of([{"ident": 2}])})
    assert idents(alone(source, TOLERANT).read()) == [1]
    assert source.requested == [1, 2]


@pytest.mark.parametrize("table", [STAYS, DEPARTS])
@pytest.mark.parametrize("rows", [2, 60])
def test_rows_are_let_go_when_the_caller_clears_their_page(table: Table, rows: int) -> None:
    class Row(dict[str, Any]):
        """A row that shows when it is let go."""

    made: list[weakref.ref[Row]] = []

    class Watched(Report):
        def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
            page = super().fetch_page(slice_, number, retries=retries)
            watched = [Row(row) for row in page.rows]
            made.extend(map(weakref.ref, watched))
            return page_of([*watched])

    source = Watched(rows)
    source.table = table
    for page in SliceRead(source, SLICE, PART_PAGES, lambda *_: False, pytest.fail).read(Part()):
        page.clear()
        assert not [row for one in made if (row := one()) is not None]
    assert len(made) >= rows


# Pages that fail permanently


class Damaged(Report):
    """A report of which some pages always fail; rows stay where they are."""

    def __init__(self, rows: int, failing: Container[int], fault: Fault = OTHER_FAULT) -> None:
        super().__init__(rows)
        self.failing, self.fault = failing, fault

    def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
        page = super().fetch_page(slice_, number, retries=retries)
        if number in self.failing:
            raise ListrakError(self.fault, f"page {number}")
        return page


@pytest.mark.parametrize("table", [STAYS, DEPARTS, TOLERANT])
@pytest.mark.parametrize("fault", [OTHER_FAULT, TOO_LARGE])
@given(
    failing=st.sets(st.integers(1, 80).filter(lambda number: number % 4), min_size=1),
    shift=st.integers(0, 3),
    rows=st.integers(0, 240),
    idle=st.sampled_from([0, 0.5, 1]),
    seed=st.integers(0, 99),
)
def test_all_other_pages_are_read_and_the_slice_fails(
    table: Table, fault: Fault, failing: set[int], shift: int, rows: int, idle: float, seed: int
) -> None:
    failing = {number + shift for number in failing}  # at most three in a row
    report = Damaged(rows, failing, fault)
    crew = Crew(report, table, seed, idle)
    last = rows // 3 + 1  # the first page without rows
    if any(number <= last for number in failing):
        with pytest.raises(ListrakError) as caught:
            crew.read()
        assert caught.value.fault is fault
    else:
        with suppress(ListrakError):  # what is requested after the last row may fail, too
            crew.read()
    expected = [row for row in range(rows) if row // 3 + 1 not in failing]
    assert sorted({*idents(crew.found)}) == expected
    assert all(report.requested.count(number) <= 1 for number in failing)


def test_a_report_of_which_every_page_fails_costs_three_requests_more() -> None:
    report = Damaged(600, range(1, 1000))
    with pytest.raises(ListrakError):
        alone(report).read()
    assert (report.requested, report.retried) == ([1, 2, 3, 4], [1])


@pytest.mark.parametrize(("fault", "page"), [(REPORT_GONE, 1), (PERMISSION, 1), (PERMISSION, 3)])
def test_a_fault_about_the_whole_report_ends_its_slice(fault: Fault, page: int) -> None:
    report = Damaged(60, {page}, fault)
    with pytest.raises(ListrakError) as caught:
        alone(report).read()
    assert caught.value.fault is fault
    assert report.requested == [*range(1, page + 1)]


@pytest.mark.parametrize("table", [STAYS, DEPARTS])
@pytest.mark.parametrize("page", [2, 3, 20])
def test_a_page_that_is_gone_behind_others_is_a_failure_of_this_page(
    table: Table, page: int
) -> None:
    crew = alone(Damaged(60, {page}, REPORT_GONE), table)
    with pytest.raises(ListrakError) as caught:
        crew.read()
    assert caught.value.fault is SERVER_ERROR
    assert {*idents(crew.found)} == {row for row in range(60) if row // 3 + 1 != page}


# Loops


class Loop(Report):
    """A service that starts again, or stays at its last page, behind the last page."""

    def __init__(self, rows: int, page_size: int, *, starts_again: bool) -> None:
        super().__init__(rows, page_size)
        self._pages = -(-rows // page_size)
        self._starts_again = starts_again

    def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
        again = (number - 1) % self._pages + 1
        return super().fetch_page(slice_, again if self._starts_again else min(number, self._pages))


@pytest.mark.parametrize("starts_again", [True, False])
@pytest.mark.parametrize(("rows", "page_size"), [(1, 1), (3, 1), (60, 3), (59, 3)])
def test_pages_that_do_not_end_are_an_error(rows: int, page_size: int, starts_again: bool) -> None:
    report = Loop(rows, page_size, starts_again=starts_again)
    with pytest.raises(ListrakError) as caught:
        Crew(report, STAYS).read()
    assert caught.value.fault is REPEATED_PAGE
    assert len(report.requested) < 3 * rows + 5


def test_two_equal_events_on_pages_of_one_row_are_no_loop() -> None:
    source = Pages({number: page_of([{"ident": 1}]) for number in (1, 2, 3)})
    assert idents(alone(source).read()) == [1, 1, 1]


def test_recipients_without_an_address_are_no_loop() -> None:
    source = Pages({number: page_of([{"MsgID": 7}] * 3) for number in range(1, 40)})
    assert len(Crew(source, TOLERANT).read()) >= 39 * 3


# Several workers


def test_a_short_slice_is_not_divided() -> None:
    crew = Crew(Report(3 * PAGES_BEFORE_DIVISION), STAYS)
    crew.read()
    assert crew.parts == 1


@pytest.mark.parametrize("workers", [1, 2, 10, 40])
def test_a_part_keeps_more_workers_busy_than_there_are(workers: int) -> None:
    assert part_pages(workers) >= max(workers, PAGES_BEFORE_DIVISION)


@given(st.integers(0, 2**32), st.integers(0, 400), st.sampled_from([0.0, 0.3, 1.0]))
def test_parts_read_every_row_at_the_price_of_two_requests_each(
    seed: int, rows: int, idle: float
) -> None:
    report = Report(rows)
    crew = Crew(report, STAYS, seed, idle)
    assert set(idents(crew.read())) == set(range(rows))
    assert len(report.requested) <= -(-rows // 3) + 2 * crew.parts
    assert crew.slice_read.rows == rows


def test_a_part_that_fails_fails_the_slice_and_all_its_parts_stop() -> None:
    class Failing(Report):
        def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
            if number == 30:
                raise ListrakError(OTHER_FAULT)
            return super().fetch_page(slice_, number, retries=retries)

    report = Failing(3000)
    crew = Crew(report, STAYS)
    with pytest.raises(ListrakError):
        crew.read()
    assert isinstance(crew.slice_read.error, ListrakError)
    before = len(report.requested)
    with pytest.raises(ListrakError):
        list(crew.slice_read.read(Part(50)))
    assert len(report.requested) == before


# Rows that arrive


def arrivals(seed: int, pace: float, most: int) -> Callable[[Report], None]:
    """Return a move that inserts rows at any place, some hundred in the end."""
    drawn = random.Random(seed)

    def move(report: Report) -> None:
        if drawn.random() < pace and len(report.idents) < 500:
            report.insert(drawn.randint(0, len(report.idents)), drawn.randint(1, most))

    return move


@settings(max_examples=500)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(0, 200),
    page_size=st.integers(2, 6),
    pace=st.sampled_from([0.02, 0.1, 0.3]),
    most=st.integers(1, 20),
    idle=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_rows_that_arrive_while_parts_are_read_never_hide_others(
    seed: int, rows: int, page_size: int, pace: float, most: int, idle: float
) -> None:
    report = Report(rows, page_size, arrivals(seed, pace, most))
    try:
        found = Crew(report, STAYS, seed, idle).read()
    except ListrakError as error:
        # As many rows as pages hold arrived at once, so a page came again: an error, no loss.
        assert error.fault is REPEATED_PAGE
        return
    assert set(idents(found)) >= set(range(rows))
    assert set(idents(found)) <= set(report.idents)


def read_around_an_arrival(report: Report, arrived: int) -> Rows:
    """Return the rows of two parts; others arrive when the second was read, the first not yet."""
    parts: list[Part] = []

    def divide(slice_read: SliceRead, part: Part) -> bool:
        parts.append(part)
        return len(parts) == 1

    report.table = TOLERANT
    slice_read = SliceRead(report, SLICE, PART_PAGES, divide, pytest.fail)
    first = slice_read.read(Part())
    found = [row for _ in range(9) for row in next(first)]
    for rows in slice_read.read(parts[0]):
        found += rows
    report.insert(27, arrived)
    for rows in first:
        found += rows
    return found


@pytest.mark.parametrize("arrived", [1, 4, 10, 50])
def test_a_part_continues_until_it_meets_what_the_next_one_began_with(arrived: int) -> None:
    report = Report(150)
    assert {*idents(read_around_an_arrival(report, arrived))} == {*report.idents}


def test_a_part_continues_where_the_next_one_began_behind_the_end() -> None:
    report = Report(30)
    assert {*idents(read_around_an_arrival(report, 40))} == {*report.idents}


def test_recipients_without_an_address_identify_no_part() -> None:
    class Nameless(Report):
        """Every third recipient has no address."""

        def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
            page = super().fetch_page(slice_, number, retries=retries)
            return page_of([row if row["ident"] % 3 else {"MsgID": 7} for row in page.rows])

    found = read_around_an_arrival(Nameless(150), 10)
    read = {row["ident"] for row in found if "ident" in row}
    assert read >= {ident for ident in range(150) if ident % 3}


@pytest.mark.parametrize("fails", [False, True])
def test_a_part_waits_for_the_first_page_of_the_next_one(fails: bool) -> None:
    requested, respond = threading.Event(), threading.Event()

    class Late(Report):
        """Page 17 is read by the service at once, and responded when page 16 was requested."""

        def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
            page = super().fetch_page(slice_, number, retries=retries)
            if number == 17 and not requested.is_set():
                requested.set()
                assert respond.wait(10)
                if fails:
                    raise ListrakError(OTHER_FAULT)
            if number == 16:
                assert requested.wait(10)
                respond.set()
            return page

    rest: queue.Queue[Part] = queue.Queue()

    def divide(slice_read: SliceRead, part: Part) -> bool:
        rest.put(part)
        return part.first == 17

    slice_read = SliceRead(Late(90), SLICE, PART_PAGES, divide, pytest.fail)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: [*slice_read.read(Part())])
        second = pool.submit(lambda: [*slice_read.read(rest.get(timeout=10))])
        if fails:
            # The part that ends last fails the slice.
            assert any([first.exception(10), second.exception(10)])
            return
        found = first.result(10) + second.result(10)
    assert {ident for rows in found for ident in idents(rows)} == set(range(90))


class Threads:
    """Workers on threads of their own, as many as like to read a part."""

    WORKERS = 8

    def __init__(self, source: Any) -> None:
        self._work: queue.Queue[Part | None] = queue.Queue()
        self._found: queue.Queue[Rows] = queue.Queue()
        self.slice_read = SliceRead(source, SLICE, PART_PAGES, self._divide, pytest.fail)

    def _divide(self, slice_read: SliceRead, part: Part) -> bool:
        self._work.put(part)
        return True

    def _run(self) -> None:
        while part := self._work.get(timeout=10):
            try:
                for rows in self.slice_read.read(part):
                    self._found.put(rows)
            except ListrakError:
                part.finished_slice = True  # there is no more to read
            if part.finished_slice:
                for _ in range(self.WORKERS):
                    self._work.put(None)

    def read(self) -> Rows:
        self._work.put(Part())
        with ThreadPoolExecutor(self.WORKERS) as pool:
            for future in [pool.submit(self._run) for _ in range(self.WORKERS)]:
                future.result(30)
        return [row for _ in range(self._found.qsize()) for row in self._found.get()]


@pytest.mark.parametrize("seed", range(20))
def test_threads_lose_no_row_while_others_arrive(seed: int) -> None:
    threads = Threads(Report(400, 5, arrivals(seed, 0.1, 4)))
    found = threads.read()
    if threads.slice_read.error is None:
        assert set(idents(found)) >= set(range(400))
    else:  # a page came again, see above
        assert isinstance(threads.slice_read.error, ListrakError)
        assert threads.slice_read.error.fault is REPEATED_PAGE


# Rows that depart


def departures(seed: int, pace: float, most: int, insert: bool = True) -> Callable[[Report], None]:
    """Return a move that lets at most so many rows depart, and inserts others."""
    drawn = random.Random(seed)

    def move(report: Report) -> None:
        if report.idents and len(report.departed) < most and drawn.random() < pace:
            report.depart(drawn.randrange(len(report.idents)))
        if insert and drawn.random() < pace:
            report.insert(drawn.randint(0, len(report.idents)))

    return move


@settings(max_examples=500)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(30, 200),
    page_size=st.integers(3, 7),
    pace=st.sampled_from([0.01, 0.05, 0.3]),
    most=st.integers(0, 10),
    idle=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_who_stays_is_read_unless_a_warning_says_otherwise(
    seed: int, rows: int, page_size: int, pace: float, most: int, idle: float
) -> None:
    report = Report(rows, page_size, departures(seed, pace, most))
    crew = Crew(report, DEPARTS, seed, idle)
    try:
        found = crew.read()
    except ListrakError as error:
        assert error.fault is REPEATED_PAGE
        return
    stayed = set(range(rows)) & set(report.idents)
    assert set(idents(found)) >= stayed or crew.warnings
    assert len(crew.warnings) <= 1
    assert report.proofs <= PASSES_LIMIT + 1


def test_a_pass_without_departures_is_the_last_one() -> None:
    report = Report(60)
    crew = alone(report, DEPARTS)
    assert idents(crew.read()) == list(range(60))
    # To know that there is more than one page, the first two are requested beforehand.
    assert report.requested == [1, 2, *range(1, 22)]
    assert report.proofs == 2


def test_a_contact_pulled_across_a_border_is_read_by_the_next_pass() -> None:
    def move(report: Report) -> None:
        if len(report.requested) == 10 and not report.departed:
            report.depart(0)

    report = Report(60, move=move)
    crew = alone(report, DEPARTS)
    assert set(idents(crew.read())) == set(range(60))
    assert crew.slice_read.rows == 59
    assert report.proofs == 3
    assert not crew.warnings


def test_departures_in_every_pass_end_with_a_warning() -> None:
    report = Report(200, move=lambda report: report.depart(len(report.idents) - 1))
    crew = alone(report, DEPARTS)
    crew.read()
    assert report.proofs == PASSES_LIMIT + 1
    (warning,) = crew.warnings
    assert "message 7" in warning


@pytest.mark.parametrize("unknown", [1, 2])
def test_unknown_departures_cost_no_pass(unknown: int) -> None:
    class Unknown(Report):
        def recent_changes(self, slice_: Slice) -> int | None:
            known = super().recent_changes(slice_)
            return None if self.proofs >= unknown else known

    report = Unknown(60)
    assert idents(alone(report, DEPARTS).read()) == list(range(60))
    assert report.proofs == unknown


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_contacts_of_one_page_need_no_proof(rows: int) -> None:
    report = Report(rows)
    assert set(idents(alone(report, DEPARTS).read())) == set(range(rows))
    assert report.proofs == 0
    assert len(report.requested) <= 3


def test_contacts_that_a_departure_pulled_onto_the_only_page_are_read() -> None:
    def move(report: Report) -> None:
        if report.requested == [1, 2]:
            report.depart(1)

    report = Report(4, move=move)
    assert set(idents(alone(report, DEPARTS).read())) == set(range(4))
