"""What a stream has to read, from its configuration and its state."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_listrak.config import DEFAULT_HISTORY, ListrakConfig
from source_listrak.sync import windows
from source_listrak.sync.plan import GONE_FOR_LONG, StreamPlan, make_plan
from source_listrak.sync.state import Deferred, Key, StreamState, load
from source_listrak.sync.windows import CYCLE, OVERLAP, cohort_of, next_due, to_micros
from source_listrak.tables import TABLES
from unit_tests.clock import DAY, HOUR, NOW

START = datetime(2024, 1, 1, tzinfo=timezone.utc)
EARLIER = "2023-01-01T00:00:00Z"
OPENS = TABLES["message_opens"]


def config(**values: Any) -> ListrakConfig:
    return ListrakConfig.parse(
        {"username": "me", "password": "x", "start_date": "2024-01-01T00:00:00Z", **values}
    )


def plan(
    state: StreamState | None = None,
    *,
    now: datetime = NOW,
    incremental: bool = True,
    **values: Any,
) -> StreamPlan:
    return make_plan(state, config(**values), now, incremental=incremental)[0]


def remarks(state: StreamState, **values: Any) -> str:
    return " ".join(make_plan(state, config(**values), NOW, incremental=True)[1])


def stored(state: StreamState) -> StreamState:
    """Return a state as the next sync reads it."""
    loaded, _ = load(json.loads(json.dumps(state.as_json())), "lists")
    assert loaded is not None
    return loaded


def completed(
    before: StreamState | None = None,
    *,
    at: datetime = NOW - DAY,
    lists: Iterable[int] = (1, 2),
    owed: Iterable[Deferred] = (),
    newest: datetime | None = None,
    **values: Any,
) -> StreamState:
    """Return the state after a complete sync at an instant."""
    return stored(plan(before, now=at, **values).state(lists, owed, None, newest))


def cut(
    before: StreamState | None = None,
    *,
    at: datetime = NOW - HOUR,
    lists: Iterable[int] = (1, 2),
    owed: Iterable[Deferred] = (),
    **values: Any,
) -> StreamState:
    """Return the state of a sync that was cut after (2, 7), with (1, 5) still open."""
    begun = plan(before, now=at, **values)
    return stored(begun.state(lists, owed, ((2, 7), ((1, 5),))))


def starts(made: StreamPlan, list_id: int = 1) -> datetime:
    """Return from when a list is read."""
    return made.start(list_id)


def is_restarted(made: StreamPlan, since: datetime = START) -> bool:
    return (starts(made), made.end, made.running.is_done((1, 1)), made.deferred) == (
        since,
        NOW,
        False,
        {},
    )


# First sync, next sync


def test_a_first_sync_reads_everything_since_the_start_date() -> None:
    first = plan()
    assert (first.running.since, first.end, first.read_to(1)) == (START, NOW, None)
    assert starts(first) == START
    assert first.list_ids([9, 3]) == [3, 9]


def quiet(list_id: int = 1) -> datetime:
    """Return an instant after which neither the day nor the week of a list is due in an hour."""
    for hour in range(48):
        instant = NOW - DAY + hour * HOUR
        if not any(next_due((list_id,), instant, instant + HOUR, one) for one in (DAY, CYCLE)):
            return instant
    raise AssertionError("every hour is due")


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        (timedelta(), timedelta()),
        (3 * HOUR, 3 * HOUR),  # the reports lag
        (-3 * HOUR, timedelta()),  # a date in the future counts as the sync's end
        (9 * DAY, DAY),  # nothing happens
        (None, DAY),  # version 0.2.0 did not note it
    ],
)
def test_the_next_sync_reads_since_an_hour_before_the_newest_row(
    newest: timedelta | None, expected: timedelta
) -> None:
    at = quiet()
    state = completed(at=at, newest=None if newest is None else at - newest)
    second = plan(state, now=at + HOUR)
    assert second.read_to(1) == at
    assert starts(second) == at - expected - OVERLAP


@pytest.mark.parametrize("table", ["message_sends", "message_links"])
def test_the_newest_message_is_not_read_by_every_sync(table: str) -> None:
    """Where nothing recent is read again, only messages sent after the newest one are new."""
    sent = NOW - 5 * HOUR - timedelta(minutes=30)
    made = plan(completed(at=NOW - HOUR, newest=sent))
    find = cohort_of(made.due_cohorts(1, TABLES[table]), made.zone)
    assert find(to_micros(sent)) is None
    assert find(to_micros(sent + timedelta(seconds=1))) is not None


def test_an_older_row_does_not_move_the_start_back() -> None:
    at = quiet()
    state = completed(completed(at=at - DAY, newest=at - DAY), at=at, newest=at - 9 * DAY)
    assert state.newest == at - DAY


def test_a_cut_attempt_keeps_the_newest_row_of_the_last_window() -> None:
    assert cut(completed(newest=NOW - 2 * DAY)).newest == NOW - 2 * DAY


def test_a_daily_and_a_weekly_visit_read_deeper() -> None:
    state = completed(at=NOW - DAY, newest=NOW - DAY)
    due = next_due((1,), NOW - DAY, NOW, DAY)
    assert due is not None
    assert plan(state).start(1, weekly=False) == due - 2 * DAY
    state = completed(at=NOW - CYCLE, newest=NOW - CYCLE)
    due = next_due((1,), NOW - CYCLE, NOW)
    assert due is not None
    assert starts(plan(state, lookback_days=2)) == due - CYCLE - 2 * DAY


def test_no_tier_reaches_before_the_start_date() -> None:
    at = START + DAY
    assert starts(plan(completed(at=at), now=at + CYCLE, lookback_days=30)) == START


def test_a_second_sync_in_the_same_second_keeps_the_end() -> None:
    assert completed(completed(at=NOW), at=NOW).synced_to == NOW


def test_a_new_list_is_read_since_the_start_date() -> None:
    second = plan(completed(lists=[1]))
    assert second.list_ids([1, 2]) == [1, 2]
    assert starts(second, 2) == START < starts(second, 1)


def test_a_list_that_returns_is_read_in_full() -> None:
    without = completed(completed(lists=[1, 2]), lists=[1])
    assert starts(plan(without), 2) == START


# Full refresh


def test_a_full_refresh_ignores_what_a_complete_sync_left() -> None:
    owed = Deferred((1, 5), NOW - DAY, NOW - DAY, False)
    assert is_restarted(plan(completed(owed=[owed]), incremental=False))


def test_a_full_refresh_resumes_its_own_window() -> None:
    again = plan(cut(incremental=False), incremental=False)
    assert again.end == NOW - HOUR
    assert again.running.is_done((1, 4))
    assert not again.running.is_done((1, 5))


@pytest.mark.parametrize("before", [None, completed()])
def test_a_full_refresh_resumes_no_window_of_an_incremental_sync(before: Any) -> None:
    assert is_restarted(plan(cut(before), incremental=False))


def test_an_incremental_sync_resumes_no_window_of_a_full_refresh() -> None:
    assert is_restarted(plan(cut(completed(), incremental=False)))


def test_an_incremental_sync_continues_from_a_full_refresh() -> None:
    assert plan(completed(incremental=False)).read_to(1) == NOW - DAY


# Resuming


def test_a_cut_sync_keeps_its_window_and_what_is_done() -> None:
    resumed = plan(cut(completed()))
    assert (resumed.end, resumed.read_to(1)) == (NOW - HOUR, NOW - DAY)
    assert [key for key in ((1, 4), (1, 5), (2, 7), (2, 8)) if resumed.running.is_done(key)] == [
        (1, 4),
        (2, 7),
    ]
    assert "Resuming" in remarks(cut(completed()))


def test_a_resumed_sync_leaves_a_list_that_appeared_to_the_next_one() -> None:
    resumed = plan(cut(completed()))
    lists = resumed.list_ids([1, 2, 3])
    assert lists == [1, 2]
    then = stored(resumed.state(lists, (), None))
    assert starts(plan(then, now=NOW + DAY), 3) == START


def test_a_list_that_vanished_during_a_window_is_not_covered() -> None:
    resumed = plan(cut(completed()))
    then = stored(resumed.state(resumed.list_ids([2]), (), None))
    assert starts(plan(then, now=NOW + DAY), 1) == START


def test_lists_that_an_attempt_finished_are_not_pending() -> None:
    state = plan(now=NOW - HOUR).state([1, 2, 3], (), ((2, 7), ()))
    assert plan(stored(state)).lists_to_read([1, 2, 3]) == [2, 3]
    assert plan(cut(lists=[1, 2, 3])).lists_to_read([1, 2, 3]) == [1, 2, 3]  # (1, 5) is open


def test_a_resumed_window_keeps_the_start_date_it_began_with() -> None:
    assert plan(cut(), start_date="2025-01-01T00:00:00Z").running.since == START


def test_without_a_start_date_a_resumed_window_begins_where_it_began() -> None:
    state = cut(at=NOW - HOUR, start_date=None)
    resumed = plan(state, start_date=None)
    assert resumed.running.since == NOW - HOUR - DEFAULT_HISTORY
    assert resumed.running.is_done((1, 1))


def test_a_window_that_ends_in_the_future_begins_again() -> None:
    assert plan(cut(completed(), at=NOW + DAY)).end == NOW


def test_a_state_in_the_future_continues_from_the_newest_row() -> None:
    ahead, real = NOW + 60 * DAY, NOW - 20 * DAY
    state = completed(at=ahead, newest=real)
    made = plan(state, lookback_days=9)
    assert made.read_to(1) == real - 9 * DAY
    assert "future" in remarks(state)
    assert stored(made.state([1, 2], (), None)).synced_to == NOW


def test_a_state_in_the_future_without_a_row_reads_everything() -> None:
    state = completed(at=NOW + 900 * DAY)
    assert is_restarted(plan(state))
    assert "future" in remarks(state)


def test_what_was_deferred_while_the_clock_was_ahead_is_read_since_the_newest_row() -> None:
    ahead, real = NOW + 20 * DAY, NOW - 2 * DAY
    owed = [
        Deferred((1, 5), ahead, ahead, False, ahead - DAY),
        Deferred((1, 7), None, ahead, False, START),
        Deferred((2,), ahead, ahead, False, ahead - DAY),
    ]
    made = plan(completed(at=ahead, owed=owed, newest=real))
    assert made.deferred[1, 5].start == real - CYCLE
    assert made.deferred[1, 7].start == START
    assert made.read_to(2) == real - CYCLE
    assert made.start(2) <= real - CYCLE


# A configuration that changes


def test_a_start_date_moved_back_reads_everything_again() -> None:
    assert starts(plan(completed(), start_date=EARLIER)) == START - 365 * DAY
    assert "moved back" in remarks(completed(), start_date=EARLIER)


@pytest.mark.parametrize("before", [None, completed()])
def test_a_start_date_moved_back_begins_a_cut_window_again(before: Any) -> None:
    assert is_restarted(plan(cut(before), start_date=EARLIER), START - 365 * DAY)
    assert "moved back" in remarks(cut(before), start_date=EARLIER)


def test_a_start_date_moved_forward_and_back_again_loses_nothing() -> None:
    state = completed(completed(), start_date="2025-01-01T00:00:00Z")
    assert starts(plan(state)) == START


def test_a_start_date_that_was_left_empty_loses_nothing() -> None:
    state = completed(completed(), start_date=None)
    assert starts(plan(state)) == START


def test_a_list_that_appears_is_read_from_the_default_start_date() -> None:
    """So one start date holds for all lists, and an explicit one is compared with it."""
    state = completed(at=NOW - 60 * DAY, lists=[1], start_date=None)
    made = plan(state, now=NOW - DAY, start_date=None)
    assert made.start(2) == made.before.since == made.due_cohorts(2, OPENS)[0].start
    assert made.before.since < NOW - DAY - DEFAULT_HISTORY
    state = stored(made.state([1, 2], (), None))
    explicit = NOW - DAY - DEFAULT_HISTORY - 10 * DAY
    assert explicit > state.since
    assert plan(state, start_date=f"{explicit:%Y-%m-%dT%H:%M:%SZ}").read_to(2) == NOW - DAY
    explicit = state.since - DAY
    assert plan(state, start_date=f"{explicit:%Y-%m-%dT%H:%M:%SZ}").read_to(2) is None


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        ("US/Eastern", "America/New_York", True),
        ("Etc/UTC", "UTC", True),
        ("Europe/Berlin", "Europe/Paris", True),
        ("America/New_York", "America/Chicago", False),
        ("America/New_York", "America/Panama", False),  # without daylight saving time
        ("Europe/London", "UTC", False),
        ("Nowhere/Town", "UTC", False),
    ],
)
def test_two_names_of_one_zone_are_no_change(before: str, after: str, is_same: bool) -> None:
    state = completed(time_zone="UTC").model_copy(update={"time_zone": before})
    made = plan(state, time_zone=after)
    assert (made.read_to(1) is not None) == is_same
    assert made.before.time_zone == after


def test_newly_included_test_messages_are_read_from_the_start() -> None:
    state = completed(include_test_messages=False)
    assert is_restarted(plan(state))
    assert plan(state, include_test_messages=False).read_to(1) == NOW - DAY
    assert "Test messages" in remarks(state)


def test_test_messages_left_out_cost_nothing() -> None:
    assert plan(completed(), include_test_messages=False).read_to(1) == NOW - DAY


@pytest.mark.parametrize("state", [completed(), cut(), cut(completed())])
def test_another_time_zone_reads_everything_again(state: Any) -> None:
    assert is_restarted(plan(state, time_zone="UTC"))
    assert "time zone" in remarks(state, time_zone="UTC")


# A default start date moves with the clock


def test_a_default_start_date_that_moves_is_no_change() -> None:
    state = completed(at=NOW - HOUR, newest=NOW - 3 * HOUR, start_date=None)
    assert plan(state, start_date=None).read_to(1) == NOW - HOUR
    # Not even when the clock was put back a little.
    back = plan(state, now=NOW - 2 * HOUR, start_date=None)
    assert back.read_to(1) == NOW - 3 * HOUR - CYCLE


@given(
    st.integers(0, 2**31),
    st.lists(st.integers(3600, 10 * 86_400), min_size=20, max_size=60),
    st.floats(-1, 1),
)
def test_a_message_that_leaves_a_default_start_date_is_read_until_then(
    list_id: int, gaps: list[int], part: float
) -> None:
    # It leaves between two of the syncs, or was sent between two of them.
    leaves = NOW + abs(part) * timedelta(seconds=sum(gaps)) + (part < 0) * DEFAULT_HISTORY
    leaves = leaves.replace(microsecond=0)
    sent = leaves - DEFAULT_HISTORY
    state, now = completed(at=NOW, lists=[list_id], start_date=None), NOW
    read_to = max(NOW, sent)
    wall = sent.astimezone(ZoneInfo("America/New_York"))
    for gap in gaps:
        due = next_due((list_id, wall.year, wall.month), now, now + timedelta(seconds=gap))
        now += timedelta(seconds=gap)
        made = plan(state, now=now, start_date=None)
        find = cohort_of(made.due_cohorts(list_id, OPENS), made.zone)
        cohort = find(to_micros(sent))
        if cohort is not None and due is not None and sent < now:
            # The hour is the one that a clock can be put back by.
            assert cohort.start <= max(read_to - made.lookback, sent + HOUR)
            read_to = now
        state = stored(made.state([list_id], (), None))
    # Also what happened just before and was recorded late.
    assert read_to >= min(leaves + made.lookback, now - CYCLE)


# What is deferred


@pytest.mark.parametrize("read_to", [None, NOW - 50 * DAY])
def test_what_version_0_2_0_deferred_is_read_since_the_start_date(read_to: Any) -> None:
    made = plan(completed(owed=[Deferred((1, 5), read_to, NOW - DAY, False)]))
    assert made.deferred[1, 5].start == START


def test_a_deferred_slice_keeps_its_start_when_the_start_date_moves() -> None:
    start = NOW - DAY - DEFAULT_HISTORY
    old, new = (Deferred((1, ident), None, NOW - DAY, False) for ident in (5, 7))
    state = completed(owed=[old, new._replace(start=start)], start_date=None)
    made = plan(state, now=NOW + 40 * DAY, start_date=None)
    assert [made.deferred[1, ident].start for ident in (5, 7)] == [start, start]


@pytest.mark.parametrize("read_to", [None, NOW - 50 * DAY])
def test_a_deferred_list_is_read_since_it_was_read(read_to: Any) -> None:
    made = plan(completed(owed=[Deferred((2,), read_to, NOW - DAY, False)]))
    assert made.read_to(2) == read_to
    assert made.read_to(1) == NOW - DAY
    cohorts = made.due_cohorts(2, OPENS)
    assert all(read_to is None or cohort.start <= read_to for cohort in cohorts)
    # Longer than a cycle ago: every message of the list is due.
    assert (
        sum((cohort.span.end - cohort.span.start for cohort in cohorts), timedelta()) > NOW - START
    )


def test_a_deferred_list_keeps_its_start_when_the_start_date_moves() -> None:
    start = NOW - DAY - DEFAULT_HISTORY
    owed = Deferred((2,), None, NOW - DAY, False, start)
    made = plan(completed(owed=[owed], start_date=None), now=NOW + 40 * DAY, start_date=None)
    assert starts(made, 2) == start
    (cohort,) = made.due_cohorts(2, OPENS)
    assert (cohort.start, cohort.span.start) == (start, windows.wall_start(start, made.zone))


def test_a_deferred_list_keeps_its_old_messages() -> None:
    """Messages that fall behind a moving start date while their list is deferred are read."""
    owed = Deferred((2,), NOW - DAY, NOW - DAY, False, NOW - 2 * DAY)
    state = completed(start_date=None)
    for day in range(5, 60, 5):
        made = plan(state, now=NOW + day * DAY, start_date=None)
        state = stored(made.state([1, 2], [owed], None))
    first = made.due_cohorts(2, OPENS)[0]
    leaves = windows.wall_start(NOW - DAY - DEFAULT_HISTORY, made.zone)
    assert first.span.start <= leaves


def test_what_a_cut_window_defers_is_not_forgotten() -> None:
    owed = Deferred((1, 5), None, NOW - DAY, False, START)
    assert plan(cut(completed(owed=[owed]), owed=[owed])).deferred == {(1, 5): owed}


@pytest.mark.parametrize("key", [(1, 5), (1,)])
def test_what_has_been_gone_for_long_is_requested_once_in_a_cycle(key: Key) -> None:
    noticed = NOW - GONE_FOR_LONG - DAY
    state = completed(owed=[Deferred(key, None, noticed, True)])
    requested = []
    for day in range(14):
        made = plan(state, now=NOW + day * DAY)
        requested.append(not made.is_postponed(key))
        assert (made.lists_to_read([1, 2]) == [1, 2]) == (requested[-1] or len(key) > 1)
        state = stored(made.state([1, 2], made.deferred.values(), None))
    assert sum(requested[:7]) == sum(requested[7:]) == 1


@pytest.mark.parametrize(
    ("noticed", "gone"), [(NOW - GONE_FOR_LONG, True), (NOW - 300 * DAY, False)]
)
def test_other_deferred_slices_are_requested_in_every_sync(noticed: datetime, gone: bool) -> None:
    made = plan(completed(at=NOW - HOUR, owed=[Deferred((1, 5), None, noticed, gone)]))
    assert not made.is_postponed((1, 5))


def test_a_postponed_slice_is_postponed_in_every_attempt_of_a_window() -> None:
    owed = [Deferred((1, ident), None, NOW - GONE_FOR_LONG - 9 * DAY, True) for ident in range(50)]
    first = plan(completed(owed=owed))
    resumed = plan(stored(first.state([1], owed, (None, ()))), now=NOW + 3 * DAY)
    keys = [one.key for one in owed]
    assert resumed.end == first.end
    assert [*map(resumed.is_postponed, keys)] == [*map(first.is_postponed, keys)]
    assert 0 < sum(map(first.is_postponed, keys)) < 50
