"""The account moves while it is read, and between syncs: what arrives, when, and at what price."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.connection import Connection
from drivers.inprocess import DirectService
from drivers.messages import multiset
from drivers.setups import (
    ADDRESS_CHANGES,
    CLICKS,
    CONTACTS,
    DAY,
    EVENTS,
    NOON,
    REMOVALS,
    START,
    WEEK,
    make_account,
    text,
)
from simulator import AccountConfig, Move, SimulatorConfig, Truth
from simulator.movement import come_back, leave

SINCE = "2023-01-01T00:00:00Z"

ORDERS_AND_WORKERS = [
    pytest.param(
        order, workers, marks=() if (order, workers) == ("newest", 10) else pytest.mark.slow
    )
    for order in ("oldest", "newest", "address", "id")
    for workers in (1, 10)
]


def service(account: AccountConfig, **settings: Any) -> DirectService:
    return DirectService(SimulatorConfig(account=account, **{"page_size": 50} | settings))


def unread(records: Any, connection: Connection, table: str) -> list[str]:
    """Return which records were not committed."""
    have = multiset(connection.committed(table))
    return [row for row in multiset(records) if row not in have]


# Contacts


def list_of_contacts(contacts: int, **settings: Any) -> tuple[DirectService, int]:
    """Return a service with one list, and that list."""
    account = make_account(
        lists=1, messages_per_list=0, contacts_per_list=contacts, leaver_every=0, now=NOON
    )
    simulated = service(account, **settings)
    return simulated, simulated.account.lists()[0].list_id


@pytest.mark.parametrize(("order", "workers"), ORDERS_AND_WORKERS)
def test_none_of_30000_contacts_is_lost_while_40_leave(order: str, workers: int) -> None:
    simulated, list_id = list_of_contacts(30_000, page_size=1000, row_order=order)
    # Two with each page, as the first pass reads them.
    simulated.config.moves = [
        Move(after=5, times=20, operations=[CONTACTS], list_id=list_id, leave=2)
    ]
    connection = Connection(
        simulated, ["subscribed_contacts"], start_date=SINCE, num_workers=workers
    )
    outcome = connection.sync(NOON)
    stayed = list(Truth(simulated.account).contacts_throughout(NOON, outcome.ended))
    assert len(stayed) == 30_000 - 40
    assert not unread(stayed, connection, "subscribed_contacts")
    assert not any("passes" in one for one in outcome.warnings)
    assert len(outcome.arguments(CONTACTS)) > 60, "one pass is not enough"


def test_a_list_is_read_three_times_at_most() -> None:
    simulated, list_id = list_of_contacts(600)
    simulated.config.moves = [
        Move(after=5, times=99, operations=[CONTACTS], list_id=list_id, leave=1)
    ]
    connection = Connection(simulated, ["subscribed_contacts"], start_date=SINCE, num_workers=1)
    outcome = connection.sync(NOON)
    pages = 600 // 50
    assert 3 * (pages - 2) <= len(outcome.arguments(CONTACTS)) <= 3 * (pages + 1) + 2
    (warning,) = (one for one in outcome.warnings if "passes" in one)
    assert f"list {list_id}" in warning
    assert "within a week" in warning
    # The week's full read finds whom the border of a page hid.
    simulated.config.moves = []
    connection.sync(NOON + WEEK)
    assert not unread(
        Truth(simulated.account).records("subscribed_contacts"), connection, "subscribed_contacts"
    )


def test_a_contact_that_moves_to_the_only_page_is_read() -> None:
    simulated, list_id = list_of_contacts(51)
    simulated.config.moves = [Move(after=1, operations=[CONTACTS], list_id=list_id, leave=1)]
    connection = Connection(simulated, ["subscribed_contacts"], start_date=SINCE, num_workers=1)
    outcome = connection.sync(NOON)
    assert [one["Page"] for one in outcome.arguments(CONTACTS)] == [1, 2, 1]
    stayed = Truth(simulated.account).contacts_throughout(NOON, outcome.ended)
    assert not unread(stayed, connection, "subscribed_contacts")


def test_the_proof_that_none_moved_costs_four_requests() -> None:
    """A list of one page needs no proof."""
    simulated, _ = list_of_contacts(120)
    connection = Connection(simulated, ["subscribed_contacts"], start_date=SINCE)
    outcome = connection.sync(NOON)
    assert len(outcome.arguments(REMOVALS)) == len(outcome.arguments(ADDRESS_CHANGES)) == 2
    pages = Counter(one["Page"] for one in outcome.arguments(CONTACTS))
    assert pages == {1: 2, 2: 2, 3: 1, 4: 1}
    small, _ = list_of_contacts(20)
    outcome = Connection(small, ["subscribed_contacts"], start_date=SINCE).sync(NOON)
    assert not outcome.arguments(REMOVALS)


@pytest.mark.parametrize("changes_per_hour", [3, 0])
def test_a_corrected_address_costs_a_further_pass(changes_per_hour: int) -> None:
    """Where rows are sorted by address, it moves the contacts between its two places."""
    simulated, _ = list_of_contacts(600, seconds_per_request=150)
    simulated.account.config.address_changes_per_list = changes_per_hour * 24 * 365
    connection = Connection(simulated, ["subscribed_contacts"], start_date=SINCE, num_workers=1)
    outcome = connection.sync(NOON)
    pages = Counter(one["Page"] for one in outcome.arguments(CONTACTS))
    assert (pages[5] > 1) == bool(changes_per_hour)


def test_contacts_are_read_although_the_removals_are_refused() -> None:
    simulated, list_id = list_of_contacts(120, faults={"permission": {"operations": [REMOVALS]}})
    connection = Connection(simulated, ["subscribed_contacts"], start_date=SINCE)
    outcome = connection.sync(NOON)
    assert len(connection.committed("subscribed_contacts")) == 120
    assert any(f"changes of list {list_id}" in warning for warning in outcome.warnings)


def test_removals_that_cannot_be_read_are_requested_for_one_list_alone() -> None:
    account = make_account(lists=3, messages_per_list=0, contacts_per_list=120, now=NOON)
    simulated = service(account, faults={"permission": {"operations": [REMOVALS]}})
    connection = Connection(simulated, ["subscribed_contacts"], start_date=SINCE, num_workers=1)
    outcome = connection.sync(NOON)
    assert len(outcome.arguments(REMOVALS)) == 1
    assert not unread(
        Truth(simulated.account).records("subscribed_contacts"), connection, "subscribed_contacts"
    )


def test_contacts_that_return_arrive_within_a_week() -> None:
    account = make_account(
        lists=6, messages_per_list=0, contacts_per_list=60, leaver_every=0, now=NOON
    )
    simulated = service(account)
    lists = [one.list_id for one in simulated.account.lists()]
    connection = Connection(simulated, ["subscribed_contacts"], start_date=SINCE)

    def subscribed() -> Counter[str]:
        return multiset(Truth(simulated.account).records("subscribed_contacts"))

    connection.sync(NOON)
    everyone = subscribed()
    for list_id in lists:
        leave(simulated.account, list_id, 5)
    returning = everyone - subscribed()
    assert len(returning) == 30
    connection.sync(NOON + DAY)
    for list_id in lists:
        come_back(simulated.account, list_id, 5)
    arrived: Counter[str] = Counter()
    full_reads: Counter[int] = Counter()
    a_day: list[int] = []
    for day in range(2, 16):
        outcome = connection.sync(NOON + day * DAY)
        arrived += multiset(outcome.records("subscribed_contacts"))
        assert day < 8 or not returning - arrived
        in_full = [
            one["ListID"]
            for one in outcome.arguments(CONTACTS)
            if one["Page"] == 1 and one["StartDate"].startswith("2022-12-31")
        ]
        full_reads.update(set(in_full))
        a_day.append(len(set(in_full)))
    assert full_reads == Counter(dict.fromkeys(lists, 2))
    assert max(a_day) < len(lists)


# Events


@pytest.mark.parametrize(("order", "workers"), ORDERS_AND_WORKERS)
def test_none_of_6000_opens_is_lost_while_30_older_ones_are_recorded(
    order: str, workers: int
) -> None:
    account = make_account(
        lists=1,
        messages_per_list=1,
        contacts_per_list=0,
        conversations_per_list=0,
        giant_message_opens=6_030,
        recipients_per_message=20_000,
        now=NOON,
    )
    # A little latency has the workers read side by side.
    simulated = service(account, row_order=order, latency=0.002)
    (message,) = simulated.account.messages(simulated.account.lists()[0])
    simulated.config.moves = [
        Move(
            after=3,
            every=4,
            times=30,
            operations=["ReportRangeMessageContactOpen"],
            msg_id=message.msg_id,
            record=1,
        )
    ]
    connection = Connection(simulated, ["message_opens"], start_date=SINCE, num_workers=workers)
    outcome = connection.sync(NOON)
    assert len(list(Truth(simulated.account).records("message_opens"))) == 6_030
    before = list(Truth(simulated.account, now=outcome.began).records("message_opens"))
    assert len(before) == 6_000
    assert not unread(before, connection, "message_opens")


@pytest.mark.parametrize("lookback", [7, 1])
def test_events_that_are_recorded_late_arrive_within_a_week_more(lookback: int) -> None:
    """Of what had been recorded a week before a sync, nothing may be missing after it."""
    account = make_account(
        messages_per_list=24,
        start=NOON - 25 * DAY,
        now=NOON - 5 * DAY,
        engagement_days=10,
        late_by=6.5 * 86_400,
        contacts_per_list=0,
    )
    connection = Connection(service(account), EVENTS, start_date=SINCE, lookback_days=lookback)
    lost: Counter[str] = Counter()
    for day in range(16):
        now = NOON + day * DAY
        connection.sync(now)
        lost.update(connection.missing(START, now + DAY, now=now - WEEK))
    assert bool(lost) == (lookback < 7), "with one day of lookback, late events must be missed"


def test_a_month_is_revisited_once_a_week() -> None:
    """Its messages are read with their counters and their activity."""
    account = make_account(
        lists=3,
        messages_per_list=24,
        contacts_per_list=0,
        engagement_days=300,
        recipients_per_message=60,
        now=NOON,
    )
    simulated = service(account)
    connection = Connection(simulated, ["messages", *EVENTS], start_date=SINCE, lookback_days=1)
    connection.sync(NOON)
    emitted: dict[int, datetime] = dict.fromkeys(
        (row["MsgID"] for row in connection.committed("messages")), NOON
    )
    visits: Counter[int] = Counter()
    for day in range(1, 15):
        now = NOON + day * DAY
        outcome = connection.sync(now)
        rows = {row["MsgID"]: row for row in outcome.records("messages")}
        for row in Truth(simulated.account, START, now).records("messages"):
            if row["MsgID"] in rows:
                assert rows[row["MsgID"]] == row, "counters are those of this sync"
                emitted[row["MsgID"]] = now
                visits[row["MsgID"]] += row["SendDate"] < text(NOON - 32 * DAY)
        assert min(emitted.values()) >= now - WEEK, "no counter is older than a week"
        assert not connection.missing(START, now - WEEK).keys() & set(EVENTS)
        requested = {one["MsgID"] for one in outcome.arguments(CLICKS)}
        assert len(requested) < len(emitted) / 2
    assert set(visits.values()) <= {0, 2}
    assert sum(visits.values()) > 60


@pytest.mark.parametrize("days", [12, pytest.param(180, marks=pytest.mark.slow)])
def test_one_message_that_fails_for_half_a_year_holds_nothing_else_up(days: int) -> None:
    account = make_account(
        lists=1,
        messages_per_list=15,
        start=NOON - 30 * DAY,
        now=NOON,
        contacts_per_list=0,
        engagement_days=40,
        click_rate=0.6,
    )
    simulated = service(account)
    victim = next(
        message
        for message in simulated.account.messages(simulated.account.lists()[0])
        if message.counts[0] > 5
    )
    simulated.config.faults = {
        "other_fault": {"message_ids": [victim.msg_id], "operations": [CLICKS]}
    }
    connection = Connection(simulated, ["message_clicks"], start_date=SINCE)
    begun = NOON - 20 * DAY
    for day in range(days):
        now = begun + day * DAY
        outcome = connection.sync(now, fails=True)
        if day <= 30:
            assert outcome.statuses == {"message_clicks": "INCOMPLETE"}
            assert f"failing since {begun:%Y-%m-%d}" in outcome.error_of("message_clicks")
        else:  # a warning from now on
            assert outcome.statuses == {"message_clicks": "COMPLETE"}
        state = connection.state("message_clicks")
        assert state["synced_to"] == f"{now:%Y-%m-%dT%H:%M:%SZ}"
        assert [owed[0][1] for owed in state["owed"]] == [victim.msg_id]
        if day % 45 == 10:
            # Old messages are read once a week.
            clicks = Truth(simulated.account, START, now - WEEK).records("message_clicks")
            others = (row for row in clicks if row["MsgID"] != victim.msg_id)
            assert not unread(others, connection, "message_clicks")
    simulated.config.faults = {}
    connection.sync(begun + days * DAY + WEEK)
    assert connection.state("message_clicks")["owed"] == []
    clicks = Truth(simulated.account).records("message_clicks")
    theirs = [row for row in clicks if row["MsgID"] == victim.msg_id]
    assert theirs
    assert not unread(theirs, connection, "message_clicks")


def test_the_activity_of_messages_without_a_send_date_arrives() -> None:
    account = make_account(
        messages_per_list=20,
        contacts_per_list=0,
        engagement_days=200,
        messages_without_send_date=0.5,
        now=NOON,
    )
    simulated = service(account)
    connection = Connection(
        simulated, ["messages", "message_sends", *EVENTS], start_date=SINCE, lookback_days=1
    )
    connection.sync(NOON)
    assert sum("SendDate" not in row for row in connection.committed("messages")) > 5
    assert not connection.missing(START, NOON)
    for day in range(1, 15):
        connection.sync(NOON + day * DAY)
        missing = connection.missing(START, NOON + (day - 7) * DAY, now=NOON + (day - 7) * DAY)
        missing.pop("messages", None)  # their counters are of another day
        assert not missing


def test_no_click_is_lost_when_a_message_leaves_a_moving_start_date() -> None:
    account = make_account(
        lists=1,
        messages_per_list=60,
        contacts_per_list=0,
        conversations_per_list=0,
        uniform=True,
        recipients_per_message=500,
        click_rate=1.0,
        engagement_days=400,
        start=NOON - 400 * DAY,
        now=NOON,
    )
    simulated = service(account, page_size=2_500)
    connection = Connection(simulated, ["message_clicks"], start_date=None)
    for day in range(60):
        connection.sync(NOON + day * DAY)
    sent = {
        row["MsgID"]: datetime.fromisoformat(row["SendDate"].replace("Z", "+00:00"))
        for row in Truth(simulated.account).records("messages")
    }
    clicks = [
        row
        for row in Truth(simulated.account, until=NOON + 52 * DAY).records("message_clicks")
        if sent[row["MsgID"]] >= NOON - 365 * DAY
        and "ClickDate" in row
        and row["ClickDate"] < text(sent[row["MsgID"]] + 365 * DAY)
    ]
    in_their_last_week = [
        row
        for row in clicks
        if max(text(sent[row["MsgID"]] + 358 * DAY), text(NOON)) < row["ClickDate"]
    ]
    assert len(in_their_last_week) > 3, "without such clicks this proves nothing"
    assert not unread(clicks, connection, "message_clicks")


# Clocks and zones


@pytest.mark.parametrize(
    ("zone", "warns"),
    [
        ("UTC", True),
        ("America/Los_Angeles", True),
        pytest.param("Europe/Berlin", True, marks=pytest.mark.slow),
        pytest.param("Pacific/Honolulu", True, marks=pytest.mark.slow),
        pytest.param("America/New_York", False, marks=pytest.mark.slow),
    ],
)
def test_a_wrong_zone_loses_nothing_and_causes_a_warning(zone: str, warns: bool) -> None:
    june = datetime(2023, 6, 1, tzinfo=timezone.utc)
    account = make_account(
        lists=1,
        messages_per_list=100,
        contacts_per_list=200,
        leaver_every=0,
        removal_rate=0,
        engagement_days=3,
        start=june,
        now=june + 20 * DAY,
        conversations_per_list=0,
    )
    simulated = service(account)
    tables = ["subscribed_contacts", "message_sends", *EVENTS]
    connection = Connection(
        simulated, tables, start_date="2023-05-31", time_zone=zone, lookback_days=1
    )
    warnings = []
    for hours in range(0, 72, 7):
        outcome = connection.sync(june + 15 * DAY + timedelta(hours=hours))
        found = [one for one in outcome.warnings if "time zone" in one]
        assert len(found) <= 1
        warnings += found
    assert bool(warnings) == warns
    for table in tables:
        truth = map(seen_in(zone), Truth(simulated.account).records(table))
        assert not unread(truth, connection, table), table


def seen_in(zone: str) -> Any:
    """Return a function that gives a record as a wrong zone shows it."""
    right, wrong = ZoneInfo("America/New_York"), ZoneInfo(zone)

    def shifted(record: dict[str, Any]) -> dict[str, Any]:
        found = dict(record)
        for name, value in record.items():
            if name.endswith("Date"):
                instant = datetime.fromisoformat(value.replace("Z", "+00:00"))
                wall = instant.astimezone(right).replace(tzinfo=wrong)
                found[name] = text(wall.astimezone(timezone.utc))
        return found

    return shifted


def test_what_happens_during_a_long_sync_is_no_sign_of_a_wrong_zone() -> None:
    account = make_account(
        messages_per_list=400, engagement_days=3, start=NOON - 20 * DAY, now=NOON
    )
    simulated = service(account, seconds_per_request=60)
    outcome = Connection(simulated, ["messages", *EVENTS], start_date=SINCE).sync(NOON)
    assert outcome.ended > NOON + timedelta(hours=3)
    late = [
        row
        for row in outcome.records("message_opens")
        if row.get("OpenDate", "") > text(NOON + DAY / 12)
    ]
    assert late, "without an event long after the start this proves nothing"
    assert not any("time zone" in one for one in outcome.warnings)
