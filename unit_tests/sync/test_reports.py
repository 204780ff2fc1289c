"""Reports that are fetched once and shared by all streams."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_listrak.soap.faults import OTHER_FAULT, ListrakError
from source_listrak.sync.reports import UNKNOWN, SharedReport
from source_listrak.sync.windows import Window, to_micros

NOON = datetime(2025, 1, 1, 12, tzinfo=timezone.utc)
FIRST, SECOND = (Window(datetime(2025, 1, day), datetime(2025, 1, day + 1)) for day in (1, 2))


class Row(dict[str, Any]):
    """A row that shows when it is let go."""


def row(ident: int, **values: Any) -> Row:
    return Row(MsgID=ident, SendDate="2025-01-01T12:00:00.000000Z", **values)


class Inline(Executor):
    """Runs everything at once, on the thread that submits it."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def one_row(list_id: int, window: Window | None) -> list[dict[str, Any]]:
    return [row(10 * list_id + (window.start.day if window else 0))]


class Fixture:
    """A report of some lists, and what was fetched of it, in order."""

    def __init__(
        self,
        lists: Sequence[int] = range(1, 11),
        *,
        fetch: Callable[[int, Window | None], list[dict[str, Any]]] = one_row,
        windows: Callable[[int], Sequence[Window | None]] = lambda list_id: [FIRST, SECOND],
        kept: Collection[int] = (),
        ahead: int = 2,
        executor: Executor | None = None,
        columns: Sequence[str] = ("MsgID", "SendDate", "OpenCount", "ClickCount"),
        **values: Any,
    ) -> None:
        self.fetched: queue.Queue[tuple[int, Window | None]] = queue.Queue()
        self._fetch = fetch
        self.report = SharedReport(
            self.fetch,
            windows,
            lists,
            set(kept),
            ahead=ahead,
            executor=executor or Inline(),
            columns=columns,
            **values,
        )

    def fetch(self, list_id: int, window: Window | None) -> list[dict[str, Any]]:
        self.fetched.put((list_id, window))
        return self._fetch(list_id, window)

    def fetched_lists(self) -> list[int]:
        """Return the lists fetched since the last call; any thread has done what it can."""
        list(self.report.parent_rows(1))  # takes the lock
        return [self.fetched.get_nowait()[0] for _ in range(self.fetched.qsize())][::2]

    def idents(self, list_id: int) -> list[int]:
        return [parent.id for parent in self.report.parent_rows(list_id)]


# Parents


def parent_rows(*rows: Mapping[str, Any], **values: Any) -> list[list[int]]:
    found = [dict(one) for one in rows]
    shared = Fixture([1], fetch=lambda *_: found, windows=lambda list_id: [None], **values)
    return [[one.id, one.sent, *one.counts.values()] for one in shared.report.parent_rows(1)]


def test_parents_are_ascending_by_id_with_their_dates_and_counters() -> None:
    found = parent_rows(row(7, OpenCount=3, ClickCount=1), row(2, OpenCount=0, ClickCount=5))
    noon = to_micros(NOON)
    assert found == [[2, noon, 0, 5], [7, noon, 3, 1]]


def test_a_counter_or_date_that_is_absent_is_unknown_and_not_zero() -> None:
    assert parent_rows({"MsgID": 1}) == [[1, UNKNOWN, UNKNOWN, UNKNOWN]]
    assert parent_rows(row(1), columns=("MsgID", "")) == [[1, UNKNOWN]]


def test_of_several_rows_of_one_id_the_last_counts() -> None:
    (found,) = parent_rows(row(1, OpenCount=1), row(1, OpenCount=2))
    assert found[2] == 2


def test_a_row_without_an_id_is_no_parent() -> None:
    assert parent_rows({"Subject": "x"}) == []


def test_no_rows_are_no_parents() -> None:
    assert parent_rows() == []


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))
def test_microseconds_of_dates_survive(date: datetime) -> None:
    (found,) = parent_rows({"MsgID": 1, "SendDate": date.strftime("%Y-%m-%dT%H:%M:%S.%fZ")})
    assert found[1] == to_micros(date.replace(tzinfo=timezone.utc))


# Shared reports


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_each_list_and_window_is_fetched_once(
    pool: ThreadPoolExecutor,
) -> None:
    with ThreadPoolExecutor(3) as executor:
        shared = Fixture(range(1, 4), executor=executor)
        found = list(pool.map(shared.idents, [3, 1, 2, 1] * 20))
    assert found == [[31, 32], [11, 12], [21, 22], [11, 12]] * 20
    fetched = [shared.fetched.get_nowait() for _ in range(shared.fetched.qsize())]
    assert sorted(fetched) == [(one, span) for one in (1, 2, 3) for span in (FIRST, SECOND)]


def test_lists_are_fetched_in_order_as_far_ahead_as_there_are_workers() -> None:
    shared = Fixture(ahead=3)
    assert shared.fetched_lists() == [1, 2, 3]
    shared.idents(4)
    assert shared.fetched_lists() == [4, 5, 6]
    shared.idents(2)
    assert shared.fetched_lists() == []
    shared.idents(10)
    assert shared.fetched_lists() == [7, 8, 9, 10]


def test_a_parent_in_two_windows_counts_as_the_later_one_says() -> None:
    def fetch(list_id: int, window: Window | None) -> list[dict[str, Any]]:
        return [row(5, OpenCount=2), row(3)] if window == SECOND else [row(5, OpenCount=1), row(4)]

    found = list(Fixture(fetch=fetch).report.parent_rows(1))
    assert [(parent.id, parent.counts["OpenCount"]) for parent in found] == [
        (3, UNKNOWN),
        (4, UNKNOWN),
        (5, 2),
    ]


def test_a_list_without_windows_has_nothing_and_costs_nothing() -> None:
    shared = Fixture(windows=lambda list_id: [], kept=[1])
    assert shared.idents(1) == []
    assert list(shared.report.take_rows(1)) == []
    assert shared.fetched.empty()


def test_a_report_without_dates_has_one_window() -> None:
    shared = Fixture(windows=lambda list_id: [None], kept=[1])
    assert list(shared.report.take_rows(1)) == [(None, [row(10)])]


def test_rows_that_are_kept_are_released_when_taken() -> None:
    made: list[weakref.ref[Row]] = []

    def fetch(list_id: int, window: Window | None) -> list[dict[str, Any]]:
        rows = [row(list_id)]
        made.extend(map(weakref.ref, rows))
        return [*rows]

    shared = Fixture(fetch=fetch, windows=lambda list_id: [FIRST], kept=[1], ahead=2)
    assert shared.idents(1) == [1]
    kept, other = made
    assert kept() is not None
    assert other() is None  # no one will take the rows of list 2
    assert list(shared.report.take_rows(1)) == [(FIRST, [row(1)])]
    assert kept() is None
    assert shared.idents(1) == [1]


def test_the_rows_of_at_most_so_many_lists_wait_to_be_taken(pool: ThreadPoolExecutor) -> None:
    shared = Fixture(kept=range(1, 11), ahead=2)
    last = pool.submit(shared.idents, 10)
    assert [shared.fetched.get(timeout=10)[0] for _ in range(4)] == [1, 1, 2, 2]
    for list_id in range(1, 9):
        assert shared.fetched_lists() == []
        assert [len(rows) for _, rows in shared.report.take_rows(list_id)] == [1, 1]
        assert shared.fetched_lists() == [list_id + 2]
    assert last.result(10) == [101, 102]


def test_lists_whose_rows_no_one_takes_do_not_wait() -> None:
    shared = Fixture(kept=[1, 9], ahead=1)
    assert shared.idents(8) == [81, 82]
    list(shared.report.take_rows(1))
    assert shared.idents(9) == [91, 92]


def test_release_lets_all_continue_that_wait_for_room(pool: ThreadPoolExecutor) -> None:
    shared = Fixture(kept=range(1, 11), ahead=1)
    waiting = [pool.submit(shared.idents, list_id) for list_id in (10, 5)]
    assert shared.fetched.get(timeout=10)[0] == 1
    shared.report.release()
    assert [future.result(10)[0] for future in waiting] == [101, 51]


def test_an_error_reaches_all_readers_and_is_requested_once(
    pool: ThreadPoolExecutor,
) -> None:
    def fetch(list_id: int, window: Window | None) -> list[dict[str, Any]]:
        if (list_id, window) == (2, SECOND):
            raise ListrakError(OTHER_FAULT)
        return one_row(list_id, window)

    shared = Fixture(range(1, 4), fetch=fetch, kept=[1, 2, 3], ahead=3)
    for future in [pool.submit(shared.idents, 2) for _ in range(8)]:
        with pytest.raises(ListrakError):
            future.result(10)
    assert shared.idents(3) == [31, 32]
    assert shared.fetched.qsize() == 6


@pytest.mark.parametrize("failing", [FIRST, SECOND])
def test_a_window_that_fails_hides_no_row_of_another(failing: Window) -> None:
    def fetch(list_id: int, window: Window | None) -> list[dict[str, Any]]:
        if window == failing:
            raise ListrakError(OTHER_FAULT)
        return one_row(list_id, window)

    taken = Fixture(fetch=fetch, kept=[1]).report.take_rows(1)
    window, rows = next(taken)
    assert (window, len(rows)) == (SECOND if failing == FIRST else FIRST, 1)
    with pytest.raises(ListrakError):
        next(taken)


def test_a_list_that_failed_makes_room_when_it_is_taken() -> None:
    def fetch(list_id: int, window: Window | None) -> list[dict[str, Any]]:
        if list_id == 1:
            raise ListrakError(OTHER_FAULT)
        return one_row(list_id, window)

    shared = Fixture(fetch=fetch, kept=[1, 2], ahead=1)
    with pytest.raises(ListrakError):
        list(shared.report.take_rows(1))
    assert [len(rows) for _, rows in shared.report.take_rows(2)] == [1, 1]


@given(
    st.integers(1, 4),
    st.sets(st.integers(1, 30)),
    st.sets(st.integers(1, 30)),
    st.integers(1, 3),
)
def test_no_one_waits_forever_and_few_rows_wait(
    ahead: int, kept: set[int], failing: set[int], children: int
) -> None:
    lock, waiting, most = threading.Lock(), set(), 0

    def fetch(list_id: int, window: Window | None) -> list[dict[str, Any]]:
        nonlocal most
        if list_id in failing:
            raise ListrakError(OTHER_FAULT)
        with lock:
            if list_id in kept:
                waiting.add(list_id)
                most = max(most, len(waiting))
        return one_row(list_id, window)

    with ThreadPoolExecutor(3) as executor, ThreadPoolExecutor(children + 1) as pool:
        shared = Fixture(range(1, 31), fetch=fetch, kept=kept, ahead=ahead, executor=executor)

        def child() -> int:
            return sum(_is_ok(lambda one=one: shared.idents(one)) for one in range(1, 31))

        def take() -> int:
            taken = 0
            for list_id in sorted(kept):
                taken += _is_ok(lambda one=list_id: list(shared.report.take_rows(one)))
                with lock:
                    waiting.discard(list_id)
            return taken

        readers = [pool.submit(child) for _ in range(children)]
        taker = pool.submit(take)
        assert {reader.result(30) for reader in readers} == {30 - len(failing)}
        assert taker.result(30) == len(kept - failing)
    # One more may be fetched before this test notes that the one before was taken.
    assert most <= ahead + 1


def _is_ok(function: Callable[[], Any]) -> bool:
    try:
        function()
    except ListrakError:
        return False
    return True
