"""A sync finds what is new at the price of what is new, and its state says what was read."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import Any

import pytest

from drivers.connection import Connection
from drivers.inprocess import DirectService
from drivers.messages import difference, multiset
from drivers.setups import (
    CONTACTS,
    DAY,
    DELIVERIES,
    EVENTS,
    HOUR,
    MESSAGES,
    NINE,
    NOON,
    OPENS,
    make_account,
    text,
)
from simulator import AccountConfig, SimulatorConfig, Truth

START = datetime(2021, 1, 1, tzinfo=timezone.utc)
SINCE = "2021-01-01T00:00:00Z"
ACTIVITY = tuple(
    f"ReportRangeMessageContact{name}" for name in ("Click", "Open", "Read", "Removal", "Bounces")
)


def three_years(**changes: Any) -> AccountConfig:
    values: dict[str, Any] = {
        "lists": 4,
        "messages_per_list": 72,
        "recipients_per_message": 10,
        "contacts_per_list": 30,
        "leaver_every": 0,
        "removal_rate": 0.02,
        "conversations_per_list": 0,
        "start": START,
        "now": NOON,
    }
    return make_account(**values | changes)


def three_weeks(**changes: Any) -> AccountConfig:
    """Return an account all of whose messages are recent, so that no row is left for later."""
    values = {"lists": 3, "messages_per_list": 10, "start": NOON - 20 * DAY}
    return three_years(**values | changes)


def connect(
    account: AccountConfig, tables: Any = NINE, *, faults: Any = None, **options: Any
) -> Connection:
    service = DirectService(SimulatorConfig(account=account, page_size=20, faults=faults or {}))
    return Connection(service, tables, **{"start_date": SINCE} | options)


def recent_messages(connection: Connection, now: datetime) -> set[int]:
    rows = Truth(connection.service.account, now - 30 * DAY).records("messages")
    return {row["MsgID"] for row in rows}


# What a sync costs


def test_an_hour_later_a_sync_requests_what_is_recent_or_due() -> None:
    connection = connect(three_years(lists=8))
    first = connection.sync(NOON)
    later = NOON + HOUR
    outcome = connection.sync(later)
    counts = Counter(one.operation for one in outcome.requests)
    due = 3  # of 8 lists and 35 months in an hour: 1.7 on average
    full_reads = 1
    assert counts["GetContactListCollection"] == 1
    assert 8 <= counts[MESSAGES] <= 8 + due
    assert 8 <= counts[DELIVERIES] <= 8 + due
    assert counts[CONTACTS] <= 2 * 8 + 3 * full_reads
    recent = recent_messages(connection, NOON)
    for operation in ACTIVITY:
        requested = {one["MsgID"] for one in outcome.arguments(operation)}
        assert len(requested - recent) <= 3 * due, operation
        assert len(outcome.arguments(operation)) <= 2 * len(requested)
    assert len(outcome.requests) < len(first.requests) / 5
    # What it reads again is what an hour ago was read already.
    for table in EVENTS:
        assert not multiset(outcome.records(table)) - multiset(first.records(table)), table


def test_each_month_is_requested_once_a_week() -> None:
    connection = connect(three_years(lists=2, messages_per_list=36), ["messages"])
    connection.sync(NOON)
    ids = {row["MsgID"] for row in connection.committed("messages")}
    old = ids - recent_messages(connection, NOON)
    windows: Counter[str] = Counter()
    emitted: Counter[int] = Counter()
    for hours in range(4, 7 * 24 + 1, 4):
        outcome = connection.sync(NOON + hours * HOUR)
        requested = outcome.arguments(MESSAGES)
        windows.update(
            "recent" if text(NOON - 40 * DAY) < one["StartDate"] else "old" for one in requested
        )
        emitted.update({row["MsgID"] for row in outcome.records("messages")} & old)
    months = 36
    assert windows["recent"] <= 2 * 7 * 6
    # Due months that touch are one request.
    assert windows["old"] <= 2 * months
    assert emitted == Counter(dict.fromkeys(old, 1))


def test_years_of_messages_are_requested_a_year_at_a_time() -> None:
    outcome = connect(three_years(lists=2), ["messages"]).sync(NOON)
    requested = outcome.arguments(MESSAGES)
    assert len(requested) == 2 * 3
    assert (
        difference(
            outcome.records("messages"),
            Truth(connect(three_years(lists=2)).service.account).records("messages"),
        )
        == ""
    )


@pytest.mark.parametrize("skip", [True, False])
def test_recipients_are_read_again_at_four_ages_of_their_message(skip: bool) -> None:
    connection = connect(
        three_years(start=NOON - 40 * DAY), ["message_sends"], skip_inactive_messages=skip
    )
    connection.sync(NOON)
    outcome = connection.sync(NOON + DAY)
    requested = {one["MsgID"] for one in outcome.arguments("ReportMessageContactSent")}
    sent = Truth(connection.service.account).records("messages")
    expected = set()
    for row in sent:
        for age in (0 * HOUR, HOUR, DAY, 3 * DAY, 7 * DAY):
            if text(NOON - age) < row["SendDate"] <= text(NOON + DAY - age):
                expected.add(row["MsgID"])
    assert requested == expected


def test_skipping_inactive_messages_changes_the_cost_and_not_the_data() -> None:
    account = three_weeks(removal_rate=0.002)
    careful, quick = connect(account, skip_inactive_messages=False), connect(account)
    for now in (NOON, NOON + DAY, NOON + 9 * DAY):
        wanted = careful.sync(now)
        outcome = quick.sync(now)
        assert len(outcome.requests) < len(wanted.requests) * 0.9
    for table in NINE:
        assert set(multiset(quick.committed(table))) == set(multiset(careful.committed(table))), (
            table
        )


# What a sync finds


def test_syncs_read_the_whole_truth_and_leave_one_instant() -> None:
    connection = connect(three_years())
    first = connection.sync(NOON)
    for table in NINE:
        assert not difference(
            first.records(table), Truth(connection.service.account).records(table)
        )
        if table == "lists":
            continue
        state = connection.state(table)
        assert state["version"] == 2
        assert state["synced_to"] == "2024-01-01T12:00:00Z"
        assert state["owed"] == []
        assert "running" not in state
    connection.sync(NOON + DAY)
    connection.sync(NOON + 9 * DAY)
    assert not connection.missing(START, NOON + 9 * DAY)


def test_a_state_in_the_future_counts_as_now() -> None:
    connection = connect(three_years(), ["message_opens"])
    first = connection.sync(NOON)
    connection.state("message_opens")["synced_to"] = "2999-01-01T00:00:00Z"
    outcome = connection.sync(NOON)
    assert len(outcome.records("message_opens")) < len(first.records("message_opens")) / 3
    assert connection.state("message_opens")["synced_to"] == "2024-01-01T12:00:00Z"


def test_a_clock_that_was_ahead_loses_nothing() -> None:
    connection = connect(three_weeks(engagement_days=60), ["messages", "message_opens"])
    connection.sync(NOON)
    for table in ("messages", "message_opens"):
        connection.state(table)["synced_to"] = text(NOON + 60 * DAY)
    for days in (20, 21, 28):
        connection.sync(NOON + days * DAY)
    assert not connection.missing(START, NOON + 28 * DAY - 7 * DAY)


def test_a_clock_that_was_weeks_ahead_loses_no_recipient() -> None:
    """The next sync takes place only after the time that the clock showed: nothing looks wrong."""
    connection = connect(three_weeks(engagement_days=60), ["message_sends"])
    connection.sync(NOON)
    connection.state("message_sends")["synced_to"] = text(NOON + 20 * DAY)
    connection.sync(NOON + 20 * DAY + HOUR)
    assert not connection.missing(START, NOON + 20 * DAY)


@pytest.mark.parametrize("operation", [OPENS, MESSAGES])
def test_what_failed_keeps_its_start_when_the_default_start_moves(
    operation: str,
) -> None:
    tables = ["messages", "message_opens"]
    connection = connect(three_years(), tables, start_date=None)
    service = connection.service
    owner = sorted(one.list_id for one in service.account.lists())[0]
    sent = Truth(service.account, NOON - 365 * DAY, list_ids=[owner]).records("messages")
    oldest = sorted((row for row in sent if row.get("OpenCount")), key=itemgetter("SendDate"))
    messages = [row["MsgID"] for row in oldest[:3]]
    where = {"message_ids": messages} if operation == OPENS else {"list_ids": [owner]}
    service.config.faults = {"other_fault": {"operations": [operation], **where}}
    connection.sync(NOON, fails=True)
    service.config.faults = {}
    connection.sync(NOON + 60 * DAY)
    assert all(connection.state(table)["owed"] == [] for table in tables)
    for table in tables:
        truth = Truth(service.account, NOON - 365 * DAY + HOUR, NOON).records(table)
        have = {(row["MsgID"], row.get("OpenDate")) for row in connection.committed(table)}
        missing = [row for row in truth if (row["MsgID"], row.get("OpenDate")) not in have]
        assert not [row for row in missing if row["MsgID"] in messages], table


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lag_hours": 3}, ["3 hours west of America/New_York"]),
        ({"time_zone": "America/Los_Angeles"}, ["3 hours west of America/New_York"]),
        ({"time_zone": "UTC"}, ["in the future of the configured time zone"]),
        ({}, []),
    ],
)
def test_a_lag_or_a_wrong_zone_is_a_warning_and_costs_no_freshness(
    settings: dict[str, Any], expected: list[str]
) -> None:
    account = three_weeks(contacts_per_list=3000, **settings)
    connection = connect(account, ["subscribed_contacts"], start_date="2023-12-01")
    connection.service.config.page_size = 2500
    connection.sync(NOON)
    for hour in (1, 2):
        outcome = connection.sync(NOON + hour * HOUR)
        assert [one for one in outcome.warnings for text in expected if text in one] or not expected
        assert len(outcome.warnings) == len(expected)
        have = {row.get("EmailAddress") for row in connection.committed("subscribed_contacts")}
        truth = Truth(connection.service.account).records("subscribed_contacts")
        assert {row.get("EmailAddress") for row in truth} == have


CHANGES = {
    "the hour that comes twice": datetime(2023, 11, 5, 6, tzinfo=timezone.utc),
    "the hour that is missing": datetime(2023, 3, 12, 7, tzinfo=timezone.utc),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize(
    "cut", [pytest.param(None, marks=pytest.mark.slow), 150], ids=["whole", "cut"]
)
def test_syncs_around_and_inside_a_change_of_the_clock_lose_nothing(
    change: datetime, cut: int | None
) -> None:
    account = three_years(
        lists=2,
        start=change - 3 * DAY,
        now=change + 2 * DAY,
        messages_per_list=20,
        engagement_days=2,
        uniform=True,
    )
    connection = connect(account, lookback_days=1)
    for minutes in (-61, -1, 0, 30, 59, 60, 119, 190):
        now = change + timedelta(minutes=minutes)
        if cut:
            connection.sync(now - timedelta(minutes=1), cut=cut)
            connection.sync(now)
        connection.sync(now)
        assert not connection.missing(START, now), minutes


# Windows that were cut


@pytest.mark.parametrize("workers", [1, 4])
def test_a_sync_that_was_cut_resumes_and_keeps_the_end_of_its_window(workers: int) -> None:
    connection = connect(three_years(), ["message_opens"], num_workers=workers)
    for hour in range(5):
        connection.sync(NOON + hour * HOUR, cut=150)
        assert connection.state("message_opens")["running"]["end"] == "2024-01-01T12:00:00Z"
    connection.sync(NOON + 6 * HOUR)
    assert connection.state("message_opens")["synced_to"] == "2024-01-01T12:00:00Z"
    assert not connection.missing(START, NOON)


@pytest.mark.parametrize("workers", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_wherever_a_sync_is_cut_the_next_one_finishes_it(workers: int) -> None:
    account = three_weeks(messages_per_list=2, recipients_per_message=4, contacts_per_list=4)
    tables = ("messages", "subscribed_contacts", "message_sends")
    whole = connect(account, tables, num_workers=workers).sync(NOON)
    for cut in range(1, len(whole.messages)):
        connection = connect(account, tables, num_workers=workers)
        connection.sync(NOON, cut=cut)
        connection.sync(NOON + HOUR)
        assert not connection.missing(START, NOON), cut


# Lists that appear and vanish; what is owed


def test_lists_that_appear_and_vanish_lose_nothing() -> None:
    connection = connect(three_weeks())
    account = connection.service.account
    ids = [one.list_id for one in account.lists()]
    for day, hidden in enumerate(([ids[1]], [ids[0]], [])):
        account.hide_lists(hidden)
        connection.sync(NOON + day * DAY)
        assert not connection.missing(START, NOON + day * DAY)
    assert set(connection.state("messages")["lists"]) == set(ids)


@pytest.mark.parametrize("table", ["message_sends", "message_opens"])
def test_gone_reports_cost_one_retry_and_return_whole(
    table: str,
) -> None:
    """When they answer again, they are read since the start date."""
    connection = connect(three_years(), [table])
    account = connection.service.account
    gone = {
        row["MsgID"]
        for row in Truth(account, until=NOON - 300 * DAY).records("messages")
        if row.get("OpenCount", 0) > 2
    }
    gone = set(sorted(gone)[:3])
    connection.service.config.faults = {"report_gone": {"message_ids": sorted(gone)}}
    for day in range(2):
        outcome = connection.sync(NOON + day * DAY)
        requested = Counter(one.arguments.get("MsgID") for one in outcome.requests)
        assert all(requested[message] == 2 for message in gone)
        assert outcome.statuses == {table: "COMPLETE"}
        (warning,) = (one for one in outcome.warnings if "returned 404 for the reports" in one)
        assert " 3 messages" in warning
        assert {owed[0][1] for owed in connection.state(table)["owed"]} == gone
    connection.service.config.faults = {}
    connection.sync(NOON + 30 * DAY)
    assert connection.state(table)["owed"] == []
    theirs = [row for row in Truth(account).records(table) if row["MsgID"] in gone]
    have = multiset(connection.committed(table))
    assert theirs
    assert not [row for row in multiset(theirs) if row not in have]


def test_a_list_whose_messages_fail_is_deferred_alone() -> None:
    connection = connect(three_weeks())
    bad = sorted(one.list_id for one in connection.service.account.lists())[1]
    connection.service.config.faults = {
        "server_error": {"list_ids": [bad], "operations": [MESSAGES]}
    }
    for day in range(3):
        outcome = connection.sync(NOON + day * DAY, fails=True)
        assert outcome.error is not None
        assert outcome.statuses["message_opens"] == "INCOMPLETE"
        assert outcome.statuses["subscribed_contacts"] == "COMPLETE"
        assert [owed[0] for owed in connection.state("message_opens")["owed"]] == [[bad]]
        others = {row["MsgID"] for row in outcome.records("messages")}
        assert others
    connection.service.config.faults = {}
    connection.sync(NOON + 3 * DAY)
    assert not connection.missing(START, NOON + 3 * DAY)


# Threads and sizes


def test_a_reader_that_stops_leaves_no_thread_waiting() -> None:
    before = set(threading.enumerate())
    connect(three_weeks()).sync(NOON, cut=50)
    deadline = time.monotonic() + 10
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline:
        gc.collect()  # the CDK's pool ends its idle threads when it is collected
        left.pop().join(0.05)
    assert not left


def test_the_state_of_a_large_account_stays_under_four_kilobytes() -> None:
    account = three_years(lists=100, messages_per_list=4, contacts_per_list=1)
    outcome = connect(account, num_workers=40).sync(NOON)
    sizes = [len(json.dumps(one["state"])) for one in outcome.messages if one["type"] == "STATE"]
    assert len(sizes) > 500
    assert max(sizes) < 4096
