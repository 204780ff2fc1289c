"""Which slices a table is read in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from source_listrak.config import ListrakConfig
from source_listrak.soap.client import Request
from source_listrak.soap.dates import DateReader
from source_listrak.soap.faults import (
    INTERRUPTED,
    OTHER_FAULT,
    DescribedFault,
    ListrakError,
    SyncStopped,
)
from source_listrak.soap.rows import Page
from source_listrak.soap.wire import Response
from source_listrak.streams import CLASSES
from source_listrak.streams.base import ListrakStream
from source_listrak.streams.http import Context, SoapStream
from source_listrak.sync.plan import StreamPlan, make_plan
from source_listrak.sync.progress import StreamCounts, ZoneWatch
from source_listrak.sync.reports import UNKNOWN, ParentRow
from source_listrak.sync.slices import FailedSlice, Slice
from source_listrak.sync.state import Deferred, Key, StreamState
from source_listrak.sync.windows import CYCLE, Window, to_micros
from source_listrak.tables import TABLES
from unit_tests.clock import DAY, HOUR, NOW

SECOND = timedelta(seconds=1)
LISTS = (1, 2)


def config(**values: Any) -> ListrakConfig:
    options = {"username": "me", "password": "x", "start_date": "2024-01-01T00:00:00Z"}
    return ListrakConfig.parse({**options, "time_zone": "UTC", **values})


class Report:
    """A shared report that was fetched, or could not be."""

    def __init__(
        self,
        parents: Mapping[int, list[ParentRow]],
        rows: Mapping[int, list[tuple[Window | None, list[dict[str, Any]]]]] | None = None,
        error: DescribedFault | None = None,
    ) -> None:
        self._parents = parents
        self._rows = rows or {}
        self._error = error
        self.is_released = False

    def parent_rows(self, list_id: int) -> Iterator[ParentRow]:
        if self._error:
            raise self._error
        yield from self._parents.get(list_id, [])

    def take_rows(self, list_id: int) -> Iterator[tuple[Window | None, list[dict[str, Any]]]]:
        yield from self._rows.get(list_id, [])

    def release(self) -> None:
        self.is_released = True


class Client:
    """Answers every request with the same rows, and keeps the requests."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.requests: list[Request] = []
        self._rows = rows

    def send(self, request: Request, parse: Callable[[Response], Page], counter: Any) -> Page:
        self.requests.append(request)
        return Page(list(self._rows), bool(self._rows), 0, {})


def parent(ident: int, sent: int, **counts: int) -> ParentRow:
    return ParentRow(ident, sent, counts)


def message(ident: int, opens: int = 1, *, sent: datetime = NOW - 9 * DAY) -> ParentRow:
    """Return a message, of whose counters only that of opens matters."""
    others = dict.fromkeys(("ReadCount", "ClickCount", "RemoveCount", "DeliverCount"), 5)
    return parent(ident, to_micros(sent), OpenCount=opens, **others)


def completed(
    *owed: Deferred, at: datetime = NOW - DAY, newest: datetime | None = None
) -> StreamState:
    plan, _ = make_plan(None, config(), at, incremental=True)
    return plan.state(LISTS, owed, None, newest)


def stream(
    name: str,
    reports: Mapping[str, Report] | None = None,
    state: StreamState | None = None,
    plan: StreamPlan | None = None,
    client: Client | None = None,
    lists: Iterable[dict[str, Any]] = tuple({"ListID": one} for one in LISTS),
    **values: Any,
) -> ListrakStream:
    options = config(**values)
    made, _ = make_plan(state, options, NOW, incremental=True)
    dates = DateReader(options.zone)
    context = Context(
        options,
        client or Client(),  # type: ignore[arg-type]
        lambda name: SoapStream(TABLES[name], options, dates),
        dates,
        ZoneWatch(options.zone, lambda: NOW),
        logging.getLogger("test_streams"),
        lambda: NOW,
        StreamCounts("shared"),
    )
    table = TABLES[name]
    return CLASSES[table.sliced_by](
        table,
        context,
        plan or made,
        StreamCounts(name),
        list(lists),
        reports or {},  # type: ignore[arg-type]
    )


def test_a_message_that_arrives_twice_counts_as_one() -> None:
    """The last row is the newest one."""
    rows: list[dict[str, Any]] = [{"MsgID": 8}, {"MsgID": 8, "X": 1}, {"MsgID": 7}]
    context = stream("messages", client=Client(*rows)).context
    january = Window(datetime(2026, 1, 1), datetime(2026, 2, 1))
    fetched = context.fetch_report(TABLES["messages"], 1, january)
    assert [(row["MsgID"], row.get("X")) for row in fetched] == [(8, 1), (7, None)]


def test_a_list_with_the_number_of_the_account_is_no_second_account() -> None:
    plan, _ = make_plan(None, config(), NOW, incremental=True)
    made = stream("abuse_complaints", plan=plan, lists=[{"ListID": 0}, {"ListID": 1}])
    assert [one.key for one in slices(made)] == [(0,)]


def slices(made: ListrakStream) -> list[Slice]:
    found = list(made.stream_slices())
    assert not [one for one in found if isinstance(one, FailedSlice)]
    return [one for one in found if isinstance(one, Slice)]


def keys(made: ListrakStream) -> list[Key]:
    return [one.key for one in slices(made)]


TWO_LISTS = {1: [message(7), message(9)], 2: [message(3)]}


def test_messages_are_read_list_by_list_ascending() -> None:
    made = stream("message_opens", {"messages": Report(TWO_LISTS)})
    assert keys(made) == [(1, 7), (1, 9), (2, 3)]
    first = slices(made)[0]
    assert (first.subject, first.added, first.expected_rows) == (("message", 7), {"MsgID": 7}, 1)
    assert first.arguments == {
        "MsgID": 7,
        "StartDate": datetime(2024, 1, 1),
        "EndDate": datetime(2026, 3, 2, 12),
    }


def test_what_is_owed_comes_first_and_once_since_it_was_read() -> None:
    owed = [
        Deferred((1, 9), NOW - 30 * DAY, NOW - DAY, False, NOW - 37 * DAY),
        Deferred((2, 4), None, NOW - DAY, True, expected_rows=9),
    ]
    made = stream("message_opens", {"messages": Report(TWO_LISTS)}, completed(*owed))
    assert keys(made) == [(1, 9), (2, 4), (1, 7), (2, 3)]
    starts = [one.arguments["StartDate"] for one in slices(made)]
    assert starts[:2] == [datetime(2026, 1, 23, 12), datetime(2024, 1, 1)]
    assert [one.expected_rows for one in slices(made)][:2] == [0, 9]


def test_what_has_been_gone_for_long_waits_for_its_turn_in_the_cycle() -> None:
    owed = Deferred((1, 9), None, NOW - 300 * DAY, True)
    made = stream(
        "message_opens",
        {"messages": Report(TWO_LISTS)},
        completed(owed, at=NOW - timedelta(hours=1)),
    )
    assert (1, 9) not in keys(made)


@pytest.mark.parametrize(
    ("skip", "expected"), [(True, [(1, 8), (1, 9)]), (False, [(1, 7), (1, 8), (1, 9)])]
)
def test_messages_whose_counter_is_zero_are_skipped_if_configured(
    skip: bool, expected: list[Key]
) -> None:
    found = {1: [message(7, 0), message(8, UNKNOWN), message(9)]}
    made = stream("message_opens", {"messages": Report(found)}, skip_inactive_messages=skip)
    assert keys(made) == expected
    assert [one.expected_rows for one in slices(made)][-2:] == [UNKNOWN, 1]


def test_bounces_are_requested_by_the_counter_of_the_delivery_report() -> None:
    deliveries = {
        1: [parent(7, UNKNOWN, BounceCount=0), parent(9, UNKNOWN, BounceCount=4)],
        2: [],
    }
    reports = {"messages": Report(TWO_LISTS), "message_deliveries": Report(deliveries)}
    made = stream("message_bounces", reports)
    assert [(one.key, one.expected_rows) for one in slices(made)] == [
        ((1, 9), 4),
        ((2, 3), UNKNOWN),
    ]


def test_without_the_delivery_report_every_message_is_requested() -> None:
    reports = {
        "messages": Report(TWO_LISTS),
        "message_deliveries": Report({}, error=ListrakError(OTHER_FAULT)),
    }
    assert keys(stream("message_bounces", reports)) == [(1, 7), (1, 9), (2, 3)]
    assert keys(stream("message_bounces", {"messages": Report(TWO_LISTS)})) == [
        (1, 7),
        (1, 9),
        (2, 3),
    ]


@pytest.mark.parametrize("name", ["message_opens", "message_analytics"])
def test_lists_whose_messages_could_not_be_fetched_are_failed_lists(name: str) -> None:
    made = stream(name, {"messages": Report({}, error=ListrakError(OTHER_FAULT))}, completed())
    found = [one for one in made.stream_slices() if isinstance(one, FailedSlice)]
    assert [(one.slice.key, one.slice.read_to) for one in found] == [
        ((1,), NOW - DAY),
        ((2,), NOW - DAY),
    ]


@pytest.mark.parametrize("name", ["message_opens", "message_analytics"])
def test_what_stops_the_sync_is_no_failed_list(name: str) -> None:
    made = stream(name, {"messages": Report({}, error=SyncStopped(INTERRUPTED))})
    with pytest.raises(SyncStopped):
        list(made.stream_slices())


def test_recipients_are_read_again_while_a_message_is_being_sent() -> None:
    ages = [0.5, 12, 24.5, 25.5, 47, 49, 71, 73, 95, 97, 167, 169, 191, 193]  # in hours
    found = [message(ident, sent=NOW - age * HOUR) for ident, age in enumerate(ages)]
    state = completed(newest=NOW - DAY)
    made = stream("message_sends", {"messages": Report({1: found})}, state, lookback_days=7)
    # New, or passing an hour, a day, three days and the lookback since the sync a day ago.
    expected = [0.5, 12, 24.5, 25.5, 47, 73, 95, 169, 191]
    assert [ages[ident] for _, ident in keys(made)] == expected


def test_a_message_whose_recipients_were_read_is_not_new_again() -> None:
    found = [message(1, sent=NOW - 11 * HOUR), message(2, sent=NOW - 10 * HOUR)]
    state = completed(at=NOW - 9 * HOUR, newest=NOW - 10 * HOUR - SECOND)
    made = stream("message_sends", {"messages": Report({1: found})}, state)
    assert keys(made) == [(1, 2)]


def test_conversations_are_read_on_every_sync_however_old() -> None:
    conversations = {1: [parent(5, UNKNOWN, OpenCount=1)]}
    made = stream("conversation_opens", {"conversations": Report(conversations)}, completed())
    (only,) = slices(made)
    assert (only.key, only.read_to) == ((1, 5), NOW - DAY)
    assert only.start == made.plan.start(1)


def test_contacts_are_read_in_full_once_in_a_cycle() -> None:
    full = 0
    for day in range(7):
        state = completed(at=NOW - CYCLE + day * DAY)
        plan, _ = make_plan(state, config(), NOW - CYCLE + (day + 1) * DAY, incremental=True)
        full += sum(one.read_to is None for one in slices(stream("subscribed_contacts", plan=plan)))
    assert full == len(LISTS)


def test_analytics_are_requested_for_so_many_messages_at_a_time() -> None:
    found = {1: [message(ident) for ident in range(1, 6001)]}
    client = Client()
    made = stream("message_analytics", {"messages": Report(found)}, client=client)
    first, second = slices(made)
    assert [len(rows) for rows in made.read_whole(first)] == [0, 0, 0]
    assert [request.body.count(b"<int>") for request in client.requests] == [2500, 2500, 1000]
    assert not list(made.read_whole(second))


def test_rows_of_messages_are_those_of_this_syncs_visits_each_once() -> None:
    read_to = NOW - DAY
    border = datetime(2026, 1, 29, 12)  # 30 days before

    def row(ident: int, sent: str | None) -> dict[str, Any]:
        return {"MsgID": ident} | ({"SendDate": sent} if sent else {})

    rows = [
        row(1, "2026-01-29T11:59:59.000000Z"),  # of a month that is not due
        row(2, "2026-01-29T12:00:00.000000Z"),
        row(3, "2026-02-28T00:00:00.000000Z"),
        row(4, None),
        row(5, "2026-03-02T12:00:00.000000Z"),  # at the very end, which the next window begins with
    ]
    report = Report({}, {1: [(Window(border, datetime(2026, 3, 2, 12)), rows)]})
    plan, _ = make_plan(
        completed(at=read_to), config(), read_to + timedelta(seconds=1), incremental=True
    )
    made = stream("messages", {"messages": report}, plan=plan)
    found = [one["MsgID"] for rows in made.read_whole(Slice((1,), ("list", 1))) for one in rows]
    assert found == [2, 3, 4]


def test_a_message_sent_where_two_windows_meet_is_emitted_once() -> None:
    middle = datetime(2025, 1, 1)
    row = {"MsgID": 7, "SendDate": "2025-01-01T00:00:00.000000Z"}
    windows = [Window(datetime(2024, 1, 1), middle), Window(middle, datetime(2026, 3, 2, 12))]
    report = Report({}, {1: [(window, [dict(row)]) for window in windows]})
    found = stream("messages", {"messages": report}).read_whole(Slice((1,), ("list", 1)))
    assert [[one["MsgID"] for one in rows] for rows in found] == [[], [7]]


def test_rows_that_no_one_will_take_are_released() -> None:
    report = Report({})
    made = stream("messages", {"messages": report})
    assert keys(made) == [(1,), (2,)]
    assert report.is_released
