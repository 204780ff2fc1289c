"""What is fetched once and shared by all streams."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest

from source_listrak.account import COUNTERS, UNKNOWN, Account, MessageTable, Once
from source_listrak.slicing import Window


def day(number: int) -> datetime:
    return datetime(2025, 1, number)


WINDOWS = [Window(day(1), day(2)), Window(day(2), day(3))]


def record(ident: int, **values: Any) -> dict[str, Any]:
    return {"MsgID": ident, "SendDate": "2025-01-01T12:00:00.000000Z", **values}


def account(
    messages: Any = lambda *_: [], lists: Any = list, delivery: Any = lambda *_: []
) -> Account:
    made = Account(lists, messages, delivery)
    made.windows = WINDOWS
    return made


# Once


def test_whoever_asks_first_computes_and_all_get_the_same_value() -> None:
    began, go_on = threading.Semaphore(0), threading.Event()
    calls: list[int] = []

    def compute(key: int) -> object:
        calls.append(key)
        began.release()
        assert go_on.wait(10)
        return object()

    once = Once(compute)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(once.get, 1) for _ in range(8)]
        assert began.acquire(timeout=10)
        go_on.set()
        values = [future.result(10) for future in asked]
    assert calls == [1]
    assert len(set(map(id, values))) == 1


def test_different_keys_do_not_wait_for_each_other() -> None:
    meeting = threading.Barrier(2, timeout=10)
    once = Once(lambda _: meeting.wait())
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(once.get, ["a", "b"])) == [0, 1]


def test_an_error_is_everybodys_and_is_not_tried_again() -> None:
    calls = []

    def compute(key: int) -> None:
        calls.append(key)
        raise ValueError("once")

    once = Once(compute)
    for _ in range(3):
        with pytest.raises(ValueError, match="once"):
            once.get(1)
    assert calls == [1]


# The table of messages


def test_messages_come_ascending_by_id_with_their_counters() -> None:
    table = MessageTable.of([record(7, OpenCount=3), record(2, ClickCount=0)])
    second, seventh = list(table)
    assert (second.ident, seventh.ident, len(table)) == (2, 7, 2)
    assert seventh.sent == datetime(2025, 1, 1, 12, tzinfo=timezone.utc)
    assert (seventh.count("OpenCount"), second.count("ClickCount")) == (3, 0)


def test_a_counter_that_was_not_told_is_unknown_and_not_zero() -> None:
    (message,) = MessageTable.of([record(1)])
    assert {message.count(counter) for counter in COUNTERS} == {UNKNOWN}
    assert MessageTable.of([record(1)]).total("OpenCount") == 0


def test_of_a_message_told_twice_one_remains() -> None:
    assert len(MessageTable.of([record(1, OpenCount=1), record(1, OpenCount=2)])) == 1


def test_a_record_without_an_id_has_no_activity() -> None:
    assert list(MessageTable.of([{"Subject": "x"}])) == []


def test_microseconds_survive() -> None:
    (message,) = MessageTable.of([record(1) | {"SendDate": "2025-01-01T12:00:00.123457Z"}])
    assert message.sent.microsecond == 123457


def test_an_empty_table_has_nothing() -> None:
    table = MessageTable([])
    assert (len(table), list(table), table.total("OpenCount")) == (0, [], 0)


# The account


def test_each_window_of_a_list_is_asked_once_however_many_streams_need_it() -> None:
    asked = []

    def fetch(list_id: int, window: Window) -> list[dict[str, Any]]:
        asked.append((list_id, window))
        return [record(10 * list_id + window.start.day)]

    shared = account(fetch)
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(shared.messages, [1, 2] * 4))
    assert sorted(asked, key=lambda key: (key[0], key[1].start)) == [
        (list_id, window) for list_id in (1, 2) for window in WINDOWS
    ]
    assert {tuple(message.ident for message in table) for table in tables} == {(11, 12), (21, 22)}


@pytest.mark.parametrize("first", ["messages", "records"])
def test_records_that_are_kept_are_there_whoever_fetched_them_and_then_let_go(first: str) -> None:
    asked = []
    shared = account(lambda *key: [asked.append(key) or record(1)])
    shared.keeps = lambda _list_id, window: window == WINDOWS[0]
    if first == "messages":
        shared.messages(1)
    assert shared.take_records(1, WINDOWS[0]) == [record(1)]
    assert shared.take_records(1, WINDOWS[0]) == []
    assert len(shared.messages(1)) == 1
    assert len(asked) == 2


def test_records_that_nobody_takes_are_not_kept() -> None:
    shared = account(lambda *_: [record(1)])
    assert shared.take_records(1, WINDOWS[0]) == []
    assert [message.ident for message in shared.messages(1)] == [1]


def test_without_windows_a_list_has_no_messages() -> None:
    shared = account(lambda *_: pytest.fail("nothing is to be asked"))
    shared.windows = []
    assert len(shared.messages(1)) == 0
    assert shared.bounces(1) == {}


def test_bounces_come_from_all_windows() -> None:
    delivery = {
        WINDOWS[0]: [{"MsgID": 1, "BounceCount": 4}, {"BounceCount": 9}],
        WINDOWS[1]: [{"MsgID": 2, "BounceCount": 0}, {"MsgID": 3}],
    }
    assert account(delivery=lambda _, window: delivery[window]).bounces(1) == {1: 4, 2: 0}


def test_only_the_selected_lists_are_replicated_ascending() -> None:
    shared = account(lists=lambda: [{"ListID": 3}, {"ListID": 1}, {"ListID": 2}, {"Name": "x"}])
    assert shared.list_ids() == [1, 2, 3]
    shared.selected = frozenset({3, 1, 8})
    assert shared.list_ids() == [1, 3]
