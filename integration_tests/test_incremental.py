"""A sync finds what is new at the price of what is new, and its state says what was read."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from integration_tests.harness import (
    TABLES,
    Result,
    catalog,
    difference,
    multiset,
    run,
)
from integration_tests.inprocess import Destination, DirectService, as_json, read
from integration_tests.simulator import AccountConfig, Simulator, SimulatorConfig, Truth

START = datetime(2021, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
DAY = timedelta(days=1)
EVENTS = (
    "message_bounces",
    "message_clicks",
    "message_opens",
    "message_reads",
    "message_unsubs",
)


def account(**values: Any) -> AccountConfig:
    settings: dict[str, Any] = {
        "lists": 3,
        "messages_per_list": 60,
        "recipients_per_message": 20,
        "contacts_per_list": 30,
        "start": START,
        "now": NOW,
        "test_messages": False,
    }
    return AccountConfig(**(settings | values))


def config(simulator: Any = None, **values: Any) -> dict[str, Any]:
    return {
        "username": "demo",
        "password": SimulatorConfig().password,
        "start_date": "2021-01-01T00:00:00Z",
        "num_workers": 4,
        **({"endpoint": simulator.url} if simulator else {}),
        **values,
    }


# The real process


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(SimulatorConfig(account=account(), page_size=50)) as running:
        yield running


@pytest.fixture(scope="module")
def first(simulator: Simulator) -> tuple[Result, Counter[str]]:
    result = run("read", config=config(simulator), catalog=catalog(), now=NOW)
    assert result.code == 0, result.stdout[-2000:]
    return result, Counter(simulator.counts)


def sync(
    simulator: Simulator, state: Any, now: datetime, **values: Any
) -> tuple[Result, Counter[str]]:
    simulator.set_now(now)
    simulator.reset_counts()
    result = run(
        "read", config=config(simulator, **values), catalog=catalog(), state=state, now=now
    )
    assert result.code == 0, result.stdout[-2000:]
    return result, Counter(simulator.counts)


def test_a_first_sync_reads_the_whole_truth_and_leaves_one_instant(
    simulator: Simulator, first: tuple[Result, Counter[str]]
) -> None:
    simulator.set_now(NOW)
    truth = simulator.truth(since=START, until=NOW)
    for table in TABLES:
        assert not difference(first[0].records(table), truth[table]), table
        state = first[0].stream_state(table)
        assert state["version"] == 1
        assert state["synced_to"] == "2024-01-01T12:00:00Z"
        assert "done" not in state


def test_a_second_sync_with_nothing_new_costs_lists_windows_recent_messages_and_one_cohort(
    simulator: Simulator, first: tuple[Result, Counter[str]]
) -> None:
    later = NOW + timedelta(seconds=1)
    result, counts = sync(simulator, first[0].state, later)
    lists, windows = 3, 4  # 2021 to 2024, in windows of 365 days
    recent = [
        message
        for one in simulator.account.lists()
        for message in simulator.account.messages(one)
        if message.sent >= (NOW - 30 * DAY).timestamp() * 1e6
    ]
    messages = 3 * 60
    cohort = 10  # of one second in seven days: none, most likely
    assert counts["GetContactListCollection"] == 1
    assert counts["ReportListMessageActivity"] <= lists * windows
    assert counts["ReportListMessageDelivery"] <= lists * windows
    assert counts["ReportRangeSubscribedContacts"] <= 2 * lists
    for operation in ("Click", "Open", "Read", "Removal", "Bounces"):
        asked = counts[f"ReportRangeMessageContact{operation}"]
        assert asked <= 2 * len(recent) + cohort < messages / 2, operation
    assert counts["ReportMessageContactSent"] <= 2 * len(recent)
    assert counts.total() < first[1].total() / 3
    # What it reads again is the overlap, no row of it new.
    for table in EVENTS:
        assert not multiset(result.records(table)) - multiset(first[0].records(table)), table


def test_after_a_day_what_is_new_is_found_and_messages_are_refreshed(
    simulator: Simulator, first: tuple[Result, Counter[str]]
) -> None:
    later = NOW + DAY
    result, _ = sync(simulator, first[0].state, later)
    have = {table: multiset(first[0].records(table) + result.records(table)) for table in TABLES}
    truth = simulator.truth(since=START, until=later)
    due_late = {
        row["MsgID"] for row in truth["messages"] if row["SendDate"] < _text(NOW - 30 * DAY)
    }
    for table in TABLES:
        missing = [
            row
            for row in (multiset(truth[table]) - have[table])
            if table not in EVENTS or json.loads(row)["MsgID"] not in due_late
        ]
        if table == "messages":  # counters of older ones are not refreshed
            missing = [
                row for row in missing if json.loads(row)["SendDate"] >= _text(NOW - 30 * DAY)
            ]
        assert not missing, table
    assert len(result.records("messages")) < 60
    # And after a week without a sync, nothing at all is missing.
    week = later + 7 * DAY
    last, _ = sync(simulator, result.state, week)
    truth = simulator.truth(since=START, until=week)
    for table in EVENTS:
        everything = have[table] + multiset(last.records(table))
        assert not multiset(truth[table]) - everything, table


def test_states_come_at_most_at_their_interval_and_always_at_the_end(
    simulator: Simulator, first: tuple[Result, Counter[str]]
) -> None:
    # Ten seconds are longer than this sync: one state for each stream, behind all of its records.
    last_record = {}
    states: Counter[str] = Counter()
    for place, message in enumerate(first[0].messages):
        if message["type"] == "RECORD":
            last_record[message["record"]["stream"]] = place
        elif message["type"] == "STATE":
            name = message["state"]["stream"]["stream_descriptor"]["name"]
            states[name] += 1
            assert place > last_record[name]
    assert states == Counter(dict.fromkeys(TABLES, 1))


def test_a_state_in_the_future_reads_only_the_overlap_and_comes_back_to_now(
    simulator: Simulator, first: tuple[Result, Counter[str]]
) -> None:
    state = json.loads(json.dumps(first[0].state))
    for one in state:
        one["stream"]["stream_state"]["synced_to"] = "2999-01-01T00:00:00Z"
    result, _ = sync(simulator, state, NOW)
    assert all("future" in log for log in result.logs if "taken for now" in log)
    assert any("taken for now" in log for log in result.logs)
    assert len(result.records("message_opens")) < len(first[0].records("message_opens")) / 3
    assert result.stream_state("message_opens")["synced_to"] == "2024-01-01T12:00:00Z"


def test_a_state_of_a_later_version_is_refused_before_anything_is_read(
    simulator: Simulator, first: tuple[Result, Counter[str]]
) -> None:
    state = json.loads(json.dumps(first[0].state))
    state[3]["stream"]["stream_state"]["version"] = 2
    simulator.reset_counts()
    result = run("read", config=config(simulator), catalog=catalog(), state=state, now=NOW)
    assert result.code == 1
    assert "later version" in result.errors[0]["message"]
    assert result.errors[0]["failure_type"] == "config_error"
    assert not simulator.counts


# In this process, with the service behind a function call


def service(*, page_size: int = 10, faults: Any = None, **values: Any) -> DirectService:
    return DirectService(
        SimulatorConfig(account=account(**values), page_size=page_size, faults=faults or {})
    )


def take(
    simulated: DirectService,
    destination: Destination,
    now: datetime,
    *,
    cut: int | None = None,
    tables: Any = TABLES,
    mode: str = "incremental",
    fails: bool = False,
    **values: Any,
) -> list[dict[str, Any]]:
    """Sync, cut after so many messages; return the output."""
    output = []
    simulated.requests.clear()
    with simulated.at(now):
        messages = read(config(**values), catalog(tables, mode), destination.state)
        try:
            for message in messages:
                output.append(as_json(message))
                destination.take(output[-1])
                if len(output) == cut:
                    messages.close()
                    break
        except Exception:
            if not fails:
                raise
    destination.end()
    return output


def records(output: list[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    return [
        one["record"]["data"]
        for one in output
        if one["type"] == "RECORD" and one["record"]["stream"] == table
    ]


def missing(
    simulated: DirectService, destination: Destination, until: datetime, **values: Any
) -> dict[str, int]:
    """Count what the truth has and the destination has not, by table."""
    truth = Truth(simulated.account, START, until, **values)
    found = {}
    for table in TABLES:
        have = set(multiset(destination.committed.get(table, [])))
        lost = [row for row in multiset(truth.records(table)) if row not in have]
        if lost:
            found[table] = len(lost)
    return found


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


EVERYTHING = {"refresh_days": 365, "recheck_every_days": 1}
"""Settings by which no row is left to a later sync, so that all can be compared."""


def test_what_becomes_visible_late_is_found_within_the_lookback() -> None:
    simulated = service(late_by=2 * 86_400, start=NOW - 40 * DAY)
    destination = Destination()
    late = 0
    for hours in (0, 12, 30, 80, 81, 200):
        now = NOW + timedelta(hours=hours)
        take(simulated, destination, now, lookback_days=2, **EVERYTHING)
        assert not missing(simulated, destination, now)
        late += sum(
            event["OpenDate"] < _text(now - DAY)
            for event in destination.committed["message_opens"][-50:]
            if "OpenDate" in event
        )
    assert late, "without a late event this proves nothing"


def test_without_a_lookback_what_becomes_visible_late_is_missed() -> None:
    # Shows that the test above can fail.
    simulated = service(late_by=2 * 86_400, start=NOW - 40 * DAY)
    destination = Destination()
    for hours in (0, 30, 60, 90):
        take(simulated, destination, NOW + timedelta(hours=hours), lookback_days=0, **EVERYTHING)
    assert missing(simulated, destination, NOW + timedelta(hours=90))


CHANGES = {
    "the hour that comes twice": datetime(2023, 11, 5, 6, tzinfo=timezone.utc),
    "the hour that is missing": datetime(2023, 3, 12, 7, tzinfo=timezone.utc),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("cut", [None, 150], ids=["whole", "cut"])
@pytest.mark.parametrize("lookback", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_syncs_around_and_inside_a_change_of_the_clock_lose_nothing(
    change: datetime, cut: int | None, lookback: int
) -> None:
    simulated = service(
        lists=2,
        start=change - 3 * DAY,
        now=change + 2 * DAY,
        messages_per_list=20,
        engagement_days=2,
        uniform=True,
        recipients_per_message=8,
    )
    destination = Destination()
    settings = {"lookback_days": lookback, **EVERYTHING}
    for minutes in (-61, -1, 0, 30, 59, 60, 119, 190):
        now = change + timedelta(minutes=minutes)
        if cut:
            take(simulated, destination, now - timedelta(minutes=1), cut=cut, **settings)
            take(simulated, destination, now, **settings)
        take(simulated, destination, now, **settings)
        assert not missing(simulated, destination, now), minutes


def test_a_full_refresh_resumes_its_unfinished_window_and_reads_anew_after_a_complete_one() -> None:
    simulated = service()
    destination = Destination()
    tables = ("message_opens",)
    whole = take(simulated, Destination(), NOW, tables=tables, mode="full_refresh")
    first = take(simulated, destination, NOW, cut=400, tables=tables, mode="full_refresh")
    asked_first = set(simulated.requests)
    state = destination.stream_state("message_opens")
    assert state["done"]
    second = take(simulated, destination, NOW + DAY, tables=tables, mode="full_refresh")
    again = {
        arguments
        for operation, arguments in asked_first & set(simulated.requests)
        if operation == "ReportRangeMessageContactOpen"
    }
    assert len(again) <= 30  # the slices in flight, and those behind the last state
    assert 0 < len(records(second, "message_opens")) < len(records(whole, "message_opens"))
    assert len(records(first, "message_opens")) > 0
    truth = Truth(simulated.account, START, NOW)
    assert not difference_as_sets(destination.committed["message_opens"], truth)
    third = take(simulated, destination, NOW, tables=tables, mode="full_refresh")
    assert not difference(records(third, "message_opens"), records(whole, "message_opens"))


def difference_as_sets(have: list[dict[str, Any]], truth: Truth) -> set[str]:
    return set(multiset(truth.records("message_opens"))) - set(multiset(have))


def test_lists_that_appear_are_read_since_the_start_and_lists_that_vanish_do_no_harm() -> None:
    simulated = service()
    ids = [one.list_id for one in simulated.account.lists()]
    destination = Destination()
    simulated.account.hide_lists([ids[1]])
    take(simulated, destination, NOW, **EVERYTHING)
    simulated.account.hide_lists([ids[0]])
    take(simulated, destination, NOW + DAY, **EVERYTHING)
    assert not missing(simulated, destination, NOW + DAY)
    simulated.account.hide_lists([])
    take(simulated, destination, NOW + 2 * DAY, **EVERYTHING)
    assert not missing(simulated, destination, NOW + 2 * DAY)
    assert set(destination.stream_state("messages")["lists"]) == set(ids)


def test_skipping_inactive_messages_changes_the_cost_and_not_the_data() -> None:
    simulated = service(removal_rate=0.002)
    with_rules, without = Destination(), Destination()
    for now in (NOW, NOW + DAY, NOW + 9 * DAY):
        take(simulated, with_rules, now)
        cheap = len(simulated.requests)
        take(simulated, without, now, skip_inactive_messages=False)
        assert cheap < len(simulated.requests) * 0.9
    for table in ("lists", "subscribed_contacts", "message_sends", *EVENTS):
        have, want = (set(multiset(side.committed[table])) for side in (with_rules, without))
        assert have == want, table


@pytest.mark.parametrize("skip", [True, False])
def test_a_second_sync_asks_again_for_the_recipients_of_messages_that_may_still_be_going_out(
    skip: bool,
) -> None:
    simulated = service(start=NOW - 30 * DAY)
    destination = Destination()
    tables = ("message_sends",)
    take(simulated, destination, NOW, tables=tables, skip_inactive_messages=skip)
    take(simulated, destination, NOW + DAY, tables=tables, skip_inactive_messages=skip)
    asked = {
        dict(arguments)["MsgID"]
        for operation, arguments in simulated.requests
        if operation == "ReportMessageContactSent"
    }
    sent = {
        message.msg_id: message.sent
        for one in simulated.account.lists()
        for message in simulated.account.messages(one)
    }
    settled = (NOW - 3 * DAY).timestamp() * 1e6
    assert asked == {ident for ident, when in sent.items() if when >= settled}


def test_a_message_that_was_skipped_is_read_since_the_start_once_it_can_be_reported_on() -> None:
    for table in ("message_sends", "message_opens"):
        simulated = service()
        (victim, *_) = (
            message
            for one in simulated.account.lists()
            for message in simulated.account.messages(one)
            if message.counts[1] > 2 and message.sent < (NOW - 300 * DAY).timestamp() * 1e6
        )
        simulated.config.faults = {"message_404": {"message_ids": [victim.msg_id]}}
        destination = Destination()
        take(simulated, destination, NOW, tables=(table,))
        skipped = [[victim.contact_list.list_id, victim.msg_id]]
        assert destination.stream_state(table)["skipped"] == skipped
        assert not [row for row in destination.committed[table] if row["MsgID"] == victim.msg_id]
        take(simulated, destination, NOW + DAY, tables=(table,))
        assert destination.stream_state(table)["skipped"] == skipped
        simulated.config.faults = {}
        take(simulated, destination, NOW + 30 * DAY, tables=(table,))
        assert "skipped" not in destination.stream_state(table)
        truth = Truth(simulated.account, START, NOW + 30 * DAY)
        assert not difference(
            [row for row in destination.committed[table] if row["MsgID"] == victim.msg_id],
            [row for row in truth.records(table) if row["MsgID"] == victim.msg_id],
        )


def test_a_list_whose_messages_cannot_be_had_keeps_the_window_open() -> None:
    simulated = service()
    bad = sorted(one.list_id for one in simulated.account.lists())[1]
    destination = Destination()
    simulated.config.faults = {"server_error": {"list_ids": [bad]}}
    take(simulated, destination, NOW, fails=True, **EVERYTHING)
    state = destination.stream_state("message_opens")
    assert state["window_end"] and "synced_to" not in state
    simulated.config.faults = {}
    take(simulated, destination, NOW + DAY, **EVERYTHING)
    simulated.account.set_now(NOW)
    lost = missing(simulated, destination, NOW)
    lost.pop("messages", None)  # counters of the second day
    lost.pop("subscribed_contacts", None)  # who left on the second day
    assert not lost


def test_a_reader_that_stops_leaves_no_thread_waiting() -> None:
    before = set(threading.enumerate())
    take(service(), Destination(), NOW, cut=50)
    for thread in set(threading.enumerate()) - before:
        if "prefetch" not in thread.name and "workerpool" not in thread.name:
            thread.join(10)
            assert not thread.is_alive(), thread.name


def test_the_largest_state_of_a_large_account_stays_under_four_kilobytes() -> None:
    simulated = service(lists=100, messages_per_list=4, contacts_per_list=1, page_size=3)
    destination = Destination()
    output = take(simulated, destination, NOW, num_workers=40)
    sizes = [len(json.dumps(one["state"])) for one in output if one["type"] == "STATE"]
    assert len(sizes) > 500
    assert max(sizes) < 4096
