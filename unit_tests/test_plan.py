"""What a stream has to read, from its configuration and its state."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from source_listrak.config import ListrakConfig
from source_listrak.cursor import MAX_SKIPPED, FutureStateVersion, Interval
from source_listrak.plan import StreamPlan, make_plan
from source_listrak.slicing import Recheck

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
DONE: tuple[Interval, ...] = (((1,), (2, 7)),)
OLD = NOW - 100 * DAY


def config(**values: Any) -> ListrakConfig:
    return ListrakConfig.parse(
        {"username": "me", "password": "x", "start_date": "2024-01-01T00:00:00Z", **values}
    )


def plan(
    state: dict[str, Any] | None = None,
    *,
    now: datetime = NOW,
    incremental: bool = True,
    **values: Any,
) -> StreamPlan:
    return make_plan(state or {}, config(**values), now, incremental=incremental)[0]


def remarks(state: dict[str, Any], **values: Any) -> str:
    return " ".join(make_plan(state, config(**values), NOW, incremental=True)[1])


def completed(at: datetime = NOW - DAY, lists: tuple[int, ...] = (1, 2), **values: Any) -> Any:
    """Return the state after a complete first sync at an instant."""
    state = plan(now=at, **values).complete(lists, ()).as_json()
    return json.loads(json.dumps(state))


def unfinished(
    state: dict[str, Any] | None = None,
    at: datetime = NOW - timedelta(hours=1),
    lists: tuple[int, ...] = (1, 2),
    skipped: tuple[tuple[int, int], ...] = (),
    **values: Any,
) -> Any:
    """Return the state of a sync that was cut."""
    running = plan(state, now=at, **values).running(lists, DONE, skipped)
    return json.loads(json.dumps(running.as_json()))


# First sync, next sync


def test_a_first_sync_reads_everything_since_the_start_date() -> None:
    first = plan()
    assert (first.since, first.window_end, first.synced_to) == (START, NOW, None)
    assert first.list_start(1) == START
    assert first.message_start(1, 5, OLD) == START
    assert first.lists([9, 3]) == [3, 9]


def test_the_next_sync_reads_since_the_last_one_and_the_lookback() -> None:
    second = plan(completed(), lookback_days=2)
    assert second.synced_to == NOW - DAY
    assert second.list_start(1) == NOW - 3 * DAY
    assert second.message_start(1, 5, NOW - 5 * DAY) == NOW - 3 * DAY


def test_the_lookback_never_reaches_before_the_start_date() -> None:
    second = plan(completed(at=START + DAY), lookback_days=30)
    assert second.list_start(1) == START
    assert second.message_start(1, 5, START) == START


def test_a_second_sync_in_the_same_second_has_an_empty_window_and_keeps_its_end() -> None:
    second = plan(completed(at=NOW), lookback_days=0)
    assert second.list_start(1) == second.window_end == NOW
    assert plan(second.complete([1, 2], ()).as_json()).synced_to == NOW


def test_a_list_that_is_new_is_read_since_the_start_and_so_are_its_messages() -> None:
    second = plan(completed(lists=(1,)))
    assert second.lists([1, 2]) == [1, 2]
    assert second.list_start(2) == START
    assert second.message_start(2, 5, OLD) == START
    assert second.list_start(1) > START


def test_a_list_that_vanished_is_left_out_and_read_anew_should_it_return() -> None:
    second = plan(completed(lists=(1, 2)))
    assert second.lists([1]) == [1]
    without = second.complete(second.lists([1]), ()).as_json()
    assert plan(without, now=NOW + DAY).list_start(2) == START


# Full refresh


def test_a_full_refresh_ignores_what_a_complete_sync_left() -> None:
    again = plan(completed(), incremental=False)
    assert (again.synced_to, again.done, again.list_start(1)) == (None, (), START)
    assert again.skipped == ()


def test_a_full_refresh_resumes_its_own_unfinished_window() -> None:
    state = unfinished(incremental=False, skipped=((1, 5),))
    again = plan(state, incremental=False)
    assert (again.window_end, again.done) == (NOW - timedelta(hours=1), DONE)
    assert again.skipped == ((1, 5),)


def test_a_full_refresh_does_not_resume_the_window_of_an_incremental_sync() -> None:
    again = plan(unfinished(completed()), incremental=False)
    assert (again.window_end, again.done, again.list_start(1)) == (NOW, (), START)


# Resuming


def test_a_cut_sync_keeps_its_window_and_what_is_done() -> None:
    resumed = plan(unfinished(completed()))
    assert resumed.window_end == NOW - timedelta(hours=1)
    assert resumed.synced_to == NOW - DAY
    assert resumed.done == DONE
    assert "Resuming" in remarks(unfinished(completed()))


def test_a_resumed_sync_leaves_a_list_that_appeared_since_to_the_next_one() -> None:
    resumed = plan(unfinished(completed(lists=(1, 2)), lists=(1, 2)))
    assert resumed.lists([1, 2, 3]) == [1, 2]
    then = plan(resumed.complete(resumed.lists([1, 2, 3]), ()).as_json(), now=NOW + DAY)
    assert then.list_start(3) == START


def test_a_cut_sync_of_some_lists_does_not_cover_those_configured_since() -> None:
    resumed = plan(unfinished(lists=(1,), list_ids=[1]))
    assert resumed.lists([1, 2]) == [1]


def test_a_resumed_window_keeps_the_start_it_began_with() -> None:
    resumed = plan(unfinished(), start_date="2025-01-01T00:00:00Z")
    assert resumed.since == START


def test_without_a_start_date_a_resumed_window_still_begins_where_it_began() -> None:
    begun = NOW - timedelta(hours=1)
    resumed = plan(unfinished(at=begun, start_date=None), start_date=None)
    assert resumed.since == begun - timedelta(days=365)


# A configuration that changes


def test_a_start_date_moved_back_reads_everything_anew() -> None:
    earlier = {"start_date": "2023-01-01T00:00:00Z"}
    moved = plan(completed(), **earlier)
    assert moved.list_start(1) == moved.since == START - 365 * DAY
    assert "moved back" in remarks(completed(), **earlier)


@pytest.mark.parametrize("before", [None, completed()])
def test_a_start_date_moved_back_makes_a_cut_window_start_anew(before: Any) -> None:
    moved = plan(unfinished(before), start_date="2023-01-01T00:00:00Z")
    assert (moved.done, moved.window_end) == ((), NOW)
    assert moved.list_start(1) == START - 365 * DAY


def test_a_start_date_moved_forward_and_back_again_loses_nothing() -> None:
    forward = plan(completed(), start_date="2025-01-01T00:00:00Z")
    state = forward.complete([1, 2], ()).as_json()
    assert plan(state, now=NOW + DAY).list_start(1) == START


def test_test_messages_included_anew_are_read_since_the_start() -> None:
    state = completed(include_test_messages=False)
    assert plan(state).list_start(1) == START
    assert plan(state, include_test_messages=False).list_start(1) > START
    assert "Test messages" in remarks(state)


def test_test_messages_left_out_cost_nothing() -> None:
    assert plan(completed(), include_test_messages=False).list_start(1) > START


@pytest.mark.parametrize("state", [completed(), unfinished(), unfinished(completed())])
def test_another_time_zone_reads_anew_since_every_date_was_wrong(state: Any) -> None:
    anew = plan(state, time_zone="UTC")
    assert (anew.list_start(1), anew.done, anew.window_end) == (START, (), NOW)
    assert "time zone" in remarks(state, time_zone="UTC")


# Old messages


def test_an_old_message_is_asked_when_it_is_due_a_whole_cycle_back() -> None:
    state = completed(at=NOW - DAY)
    second = plan(state, lookback_days=1)
    starts = {ident: second.message_start(1, ident, OLD) for ident in range(700)}
    due = [start for start in starts.values() if start is not None]
    assert 70 <= len(due) <= 130  # one in seven
    assert all(NOW - 9 * DAY < start <= NOW - 7 * DAY for start in due)


def test_a_recent_message_is_asked_by_every_sync() -> None:
    second = plan(completed())
    assert all(second.message_start(1, ident, NOW - 20 * DAY) for ident in range(50))


@pytest.mark.parametrize("values", [{"recheck_every_days": 1}, {"skip_inactive_messages": False}])
def test_without_a_cycle_every_message_is_asked_by_every_sync(values: Any) -> None:
    second = plan(completed(**values), **values)
    assert {second.message_start(1, ident, OLD) for ident in range(50)} == {NOW - 2 * DAY}


@pytest.mark.parametrize(
    "changed",
    [
        {"recheck_every_days": 30},
        {"recheck_every_days": 1},
        {"recheck_after_days": 60},
        {"skip_inactive_messages": False},
    ],
)
def test_a_changed_cycle_asks_every_old_message_a_former_cycle_back(changed: Any) -> None:
    second = plan(completed(), **changed)
    assert {second.message_start(1, ident, OLD) for ident in range(50)} == {NOW - 9 * DAY}
    assert second.message_start(1, 5, NOW - 5 * DAY) == NOW - 2 * DAY


def test_a_cycle_introduced_later_begins_without_a_catch_up() -> None:
    second = plan(completed(skip_inactive_messages=False))
    assert any(second.message_start(1, ident, OLD) is None for ident in range(50))


@pytest.mark.parametrize("values", [{"recheck_every_days": 30}, {"skip_inactive_messages": False}])
def test_a_cut_window_is_finished_by_the_cycle_it_began_with(values: Any) -> None:
    # What the first attempt did between its first and last key left out who was not due; asking by
    # another cycle, the second one would take them for done, and the third would not look back.
    state = unfinished(completed())
    resumed = plan(state, **values)
    assert resumed.recheck == Recheck(30 * DAY, 7 * DAY)
    then = plan(resumed.complete([1, 2], ()).as_json(), now=NOW + DAY, **values)
    assert {then.message_start(1, ident, OLD) for ident in range(50)} == {
        resumed.window_end - 8 * DAY
    }


# Skipped messages


def test_a_skipped_message_is_asked_since_the_start_even_when_it_is_not_due() -> None:
    state = plan(now=NOW - DAY).complete([1, 2], [(1, 5)]).as_json()
    assert plan(state).message_start(1, 5, OLD) == START


def test_only_the_newest_skipped_messages_are_remembered() -> None:
    state = plan(now=NOW - DAY).complete([1], [(1, n) for n in range(MAX_SKIPPED + 3)]).as_json()
    assert plan(state).skipped == tuple((1, n) for n in range(3, MAX_SKIPPED + 3))


# Foreign, broken and future states


@pytest.mark.parametrize(
    "state",
    [
        {"bookmarks": {"messages": {"SendDate": "2025-01-01"}}},
        {"SendDate": "2025-01-01T00:00:00Z"},
        {"version": "1", "synced_to": "2025-01-01T00:00:00Z"},
        completed() | {"synced_to": None},
        completed() | {"synced_to": "soon"},
        completed() | {"lists": "all"},
        completed() | {"recheck": [0, 0]},
        completed() | {"recheck": [30, 10**9]},
        completed() | {"recheck": "7"},
        completed() | {"skipped": 5},
    ],
)
def test_a_state_that_cannot_be_understood_reads_since_the_start_and_says_so(state: Any) -> None:
    anew = plan(state)
    assert (anew.list_start(1), anew.message_start(1, 5, OLD)) == (START, START)
    assert "since the start date" in remarks(state) or "anew" in remarks(state)


def test_what_was_done_since_an_instant_that_cannot_be_read_does_not_count() -> None:
    broken = unfinished(completed(), lists=(1, 2, 3)) | {"synced_to": "soon"}
    assert plan(broken).done == ()


@pytest.mark.parametrize("broken", [{"done": 5}, {"window_end": "x"}, {"window_recheck": [7]}])
def test_a_running_window_that_cannot_be_read_starts_anew_behind_the_last_sync(broken: Any) -> None:
    state = unfinished(completed()) | broken
    anew = plan(state)
    assert (anew.done, anew.window_end, anew.synced_to) == ((), NOW, NOW - DAY)
    assert "starts anew" in remarks(state)


def test_an_instant_in_the_future_is_taken_for_now() -> None:
    state = completed() | {"synced_to": "2999-01-01T00:00:00Z"}
    later = plan(state)
    assert later.list_start(1) == NOW - DAY  # the lookback
    assert "future" in remarks(state)
    assert later.complete([1], ()).synced_to == NOW


def test_a_running_window_that_ends_in_the_future_starts_anew() -> None:
    state = unfinished(completed()) | {"window_end": "2999-01-01T00:00:00Z"}
    assert plan(state).window_end == NOW


def test_a_state_of_a_later_version_is_refused() -> None:
    with pytest.raises(FutureStateVersion):
        plan(completed() | {"version": 2})


@pytest.mark.parametrize("state", [{}, {"__ab_no_cursor_state_message": True}])
def test_no_state_is_a_first_sync_without_a_remark(state: Any) -> None:
    assert plan(state).synced_to is None
    assert remarks(state) == ""
