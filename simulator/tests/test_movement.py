"""An account that changes while it is read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from simulator import (
    Account,
    AccountConfig,
    Move,
    SimulatorConfig,
    Truth,
)
from simulator.movement import (
    Movement,
    come_back,
    leave,
    record,
    withhold,
)
from simulator.tests.client import (
    CONTACTS,
    DATED_EVENTS,
    LISTS,
    OPENS,
    SMALL,
    WIDE,
    Client,
    assert_equal,
    bag,
    biggest_message,
    endpoint,
    opens_of,
)


@pytest.mark.parametrize("order", ["oldest", "newest", "address", "id"])
def test_contacts_that_leave_hide_others_from_a_naive_reader(
    order: str,
) -> None:
    """Contacts leave while their pages are read."""
    account = AccountConfig(
        lists=1,
        messages_per_list=0,
        contacts_per_list=3_000,
        leaver_every=0,
        conversations_per_list=0,
    )
    target = endpoint(account, page_size=100, row_order=order)
    list_id = target.account.lists()[0].list_id
    moves = [Move(after=1, every=1, times=20, leave=2, list_id=list_id, operations=[CONTACTS])]
    target.config.moves = moves
    before = target.account.moment
    read = bag([{"ListID": list_id} | r for r in Client(target).records(
        "subscribed_contacts", ListID=list_id, **WIDE)])  # fmt: skip
    truth = Truth(target.account)
    throughout = bag(list(truth.contacts_throughout(before, target.account.moment)))
    assert throughout.total() == 3_000 - 40
    assert 0 < (throughout - read).total() < 40
    assert len(list(truth.records("list_removals"))) == 40


@pytest.mark.parametrize("order", ["oldest", "newest", "address", "id"])
def test_inserted_rows_repeat_others_but_lose_none(
    order: str,
) -> None:
    """Rows are inserted while their pages are read."""
    account = replace(SMALL, giant_message_opens=600)
    target = endpoint(account, page_size=20, row_order=order)
    message = next(target.account.messages(target.account.lists()[0]))
    target.config.moves = [Move(after=2, times=15, record=2, msg_id=message.msg_id)]
    arguments = {"MsgID": message.msg_id, **WIDE}
    assert len(Client(target).rows(OPENS, **arguments, Page=1) or []) == 20
    first = bag(opens_of(target.account, message.msg_id))
    assert first.total() == 570
    read = bag([{"MsgID": message.msg_id} | r
                for r in Client(target).records("message_opens", **arguments)])  # fmt: skip
    last = bag(opens_of(target.account, message.msg_id))
    assert last.total() == 600
    assert not first.keys() - read.keys(), "what was there when the reading began was read"
    assert not read.keys() - last.keys()
    dates = [json.loads(one).get("OpenDate", "") for one in last - first]
    assert min(dates)[:13] == f"{min(r.get('OpenDate', '~') for r in map(json.loads, last))[:13]}"


def test_withheld_rows_are_in_no_counter_until_they_are_recorded() -> None:
    target = endpoint()
    account, message = target.account, biggest_message(target.account)
    for table, column in (("message_opens", "OpenCount"), ("message_clicks", "ClickCount")):
        withhold(account, message["MsgID"], table, 3)
        less = next(m for m in Truth(account).records("messages") if m["MsgID"] == message["MsgID"])
        assert less[column] <= message[column]
        assert_equal(Client(target).everything(), Truth(account).tables())
        record(account, message["MsgID"], table, 3)
        assert biggest_message(account)[column] == message[column]
        assert_equal(Client(target).everything(), Truth(account).tables())


def test_the_clock_moves_with_each_request() -> None:
    target = endpoint(replace(SMALL, late_by=86_400), seconds_per_request=3600, page_size=10)
    began = SMALL.now
    read = Client(target).everything()
    assert target.account.moment == began + timedelta(hours=sum(target.counts.values()))
    first, last = Truth(target.account, now=began), Truth(target.account)
    for table in DATED_EVENTS:
        have = bag(read[table]).keys()
        assert (
            bag(list(first.records(table))).keys() <= have <= bag(list(last.records(table))).keys()
        )
    assert len(read["message_sends"]) >= len(list(first.records("message_sends")))


def test_the_clock_moves_with_real_time() -> None:
    account = Account(SMALL)
    movement = Movement(account, SimulatorConfig(account=SMALL, clock_rate=86_400))
    start = account.now
    for arrival in (100.0, 100.5, 102.0):
        movement.before_request(LISTS, arrival)
    assert account.now - start == 2 * 86_400 * 1_000_000


def test_moves_count_only_the_operations_that_they_name() -> None:
    target = endpoint()
    list_id = target.account.lists()[0].list_id
    target.config.moves = [
        Move(after=1, times=1, leave=4, list_id=list_id, operations=[CONTACTS]),
        Move(after=3, pass_seconds=60),
    ]
    client, total = Client(target), len(list(Truth(target.account).records("subscribed_contacts")))

    def read() -> int:
        return len(client.records("subscribed_contacts", ListID=list_id, **WIDE))

    client.rows(LISTS)
    client.rows(LISTS)
    full = client.rows(CONTACTS, ListID=list_id, **WIDE, Page=1) or []
    assert read() == len(full) - 4
    assert len(list(Truth(target.account).records("subscribed_contacts"))) == total - 4
    assert target.account.now == Account(SMALL).now + 60_000_001


def test_with_a_lag_contacts_leave_and_return_later() -> None:
    account = Account(replace(SMALL, lag_hours=5))
    list_id = account.lists()[0].list_id

    def subscribed() -> int:
        return len(list(Truth(account, list_ids=[list_id]).records("subscribed_contacts")))

    def pass_hours(hours: float) -> None:
        account.set_now(account.moment + timedelta(hours=hours))

    before = subscribed()
    numbers = leave(account, list_id, 4)
    assert sorted(come_back(account, list_id, 1)) == numbers[:1]
    assert subscribed() == before
    pass_hours(4.9)
    assert subscribed() == before
    pass_hours(0.2)
    assert subscribed() == before - 3
