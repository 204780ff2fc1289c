"""What is done, as intervals, and the state that is made of it."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_listrak.cursor import (
    MAX_SKIPPED,
    FutureStateVersion,
    Interval,
    Progress,
    StreamState,
    covers,
    merge,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
KEYS = st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)


@given(st.lists(st.integers(1, 5), max_size=40), st.randoms(), st.integers(1, 12))
def test_done_slices_are_never_more_intervals_than_slices_out_and_one(
    lists: list[int], random: Any, most_out: int
) -> None:
    keys = [(ident, number) for number, ident in enumerate(sorted(lists))]
    progress = Progress()
    out: list[tuple[int, tuple[int, int]]] = []
    done: set[tuple[int, int]] = set()
    for key in keys:
        if len(out) == most_out:
            number, finished = out.pop(random.randrange(len(out)))
            progress.done(number, (finished, finished))
            done.add(finished)
        out.append((progress.begin(), key))
        intervals = progress.intervals(1000)
        assert len(intervals) <= most_out + 1
        covered = {other for other in keys if any(covers(i, (other, other)) for i in intervals)}
        assert covered == done


@given(st.lists(st.booleans(), max_size=60), st.lists(st.booleans(), max_size=60))
def test_a_resumed_attempt_keeps_what_the_one_before_has_done(
    first: list[bool], second: list[bool]
) -> None:
    keys: list[Interval] = [((1, ident), (1, ident)) for ident in range(60)]
    attempt = Progress()
    for key, is_done in zip(keys, first, strict=False):
        number = attempt.begin()
        if is_done:
            attempt.done(number, key)
    before = attempt.intervals(1000)
    resumed = Progress(before)
    done = {index for index, is_done in enumerate(first) if is_done}
    for index, (key, is_done) in enumerate(zip(keys, second, strict=False)):
        number = resumed.begin()
        assert resumed.is_already_done(key) == (index in done)
        if index in done or is_done:
            resumed.done(number, key)
    now_done = done | {index for index, is_done in enumerate(second) if is_done}
    after = resumed.intervals(1000)
    assert {i for i, key in enumerate(keys) if any(covers(a, key) for a in after)} == now_done


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.randoms())
def test_a_divided_slice_is_done_with_the_last_of_its_parts(rests: list[int], random: Any) -> None:
    progress = Progress()
    assert progress.is_all_done
    parts = []
    for ident, more in enumerate(rests):
        number = progress.begin()
        for _ in range(more):
            progress.divide(number)
        parts += [(number, ident)] * (more + 1)
    random.shuffle(parts)
    left = {ident: more + 1 for ident, more in enumerate(rests)}
    for number, ident in parts:
        assert not progress.is_all_done
        left[ident] -= 1
        assert progress.done(number, ((ident,), (ident,))) == (not left[ident])
        intervals = progress.intervals(1000)
        done = {key for key in left if any(covers(i, ((key,), (key,))) for i in intervals)}
        assert done == {key for key, more in left.items() if not more}
    assert progress.is_all_done


def test_a_slice_is_only_covered_when_all_of_it_is() -> None:
    whole: Interval = ((1, 7), (1, 7))
    first_block: Interval = ((1, 7, 0), (1, 7, 0))
    last_block: Interval = ((1, 7, 1), (1, 7))
    assert covers(whole, first_block)
    assert not covers(first_block, whole)
    assert not covers(last_block, whole)
    assert covers(((1, 5), (1, 7)), whole)
    assert not covers(((1, 5), (1, 7, 0)), whole)


@given(st.lists(st.tuples(KEYS, KEYS).map(lambda pair: (min(pair), max(pair))), max_size=12), KEYS)
def test_merging_intervals_covers_no_more_and_no_less(intervals: list[Interval], key: Any) -> None:
    point = (key, key)
    merged = merge(intervals)
    if any(covers(interval, point) for interval in intervals):
        assert any(covers(interval, point) for interval in merged)
    full = (*key, *(0,) * (4 - len(key)))
    if any(covers(interval, (full, full)) for interval in merged):
        assert any(covers(interval, (full, full)) for interval in intervals)


def full_state() -> StreamState:
    return StreamState(
        synced_to=NOW - timedelta(days=1),
        since=NOW - timedelta(days=100),
        lists=frozenset({3, 1}),
        test_messages=True,
        recheck=(30, 7),
        skipped=((1, 5),),
        window_end=NOW,
        window_lists=frozenset({1, 2, 3}),
        window_since=NOW - timedelta(days=100),
        done=(((1,), (1, 9, 2)), ((3, 4), (3, 8))),
    )


def test_a_state_survives_json() -> None:
    state = full_state()
    parsed, problems = StreamState.parse(json.loads(json.dumps(state.as_json())), NOW)
    assert parsed == state
    assert problems == []


def test_a_state_of_a_later_version_is_refused() -> None:
    with pytest.raises(FutureStateVersion):
        StreamState.parse({"version": 2, "synced_to": "2026-01-01T00:00:00Z"}, NOW)


@pytest.mark.parametrize(
    "state",
    [
        {"bookmarks": {"messages": "2024-01-01"}},
        {"SendDate": "2024-01-01T00:00:00Z"},
        {"version": "1"},
        {"version": None, "synced_to": "2024-01-01T00:00:00Z"},
        {"version": 1, "synced_to": None},
        {"version": 1, "synced_to": "garbage", "since": "2024-01-01T00:00:00Z", "lists": []},
        {"version": 1, "synced_to": "2024-13-01T00:00:00Z", "since": "", "lists": []},
        {"version": 1, "synced_to": 17, "since": 3, "lists": "x"},
    ],
)
def test_a_foreign_or_broken_state_reads_since_the_start_and_says_so(state: dict[str, Any]) -> None:
    parsed, problems = StreamState.parse(state, NOW)
    assert parsed.synced_to is None
    assert problems


def test_a_cursor_in_the_future_is_taken_for_now() -> None:
    state = full_state().as_json() | {"synced_to": "2999-01-01T00:00:00Z"}
    parsed, problems = StreamState.parse(state, NOW)
    assert parsed.synced_to == NOW
    assert problems


@pytest.mark.parametrize(
    "broken",
    [
        {"window_end": None},
        {"window_end": "2999-01-01T00:00:00Z"},
        {"window_end": "2020-01-01T00:00:00Z"},
        {"window_since": 1},
        {"window_lists": ["1"]},
        {"done": None},
        {"done": [[1, 2]]},
        {"done": [[[2], [1]]]},
        {"done": [[[1.5], [2]]]},
    ],
)
def test_a_broken_running_window_starts_anew(broken: dict[str, Any]) -> None:
    parsed, problems = StreamState.parse(full_state().as_json() | broken, NOW)
    assert parsed.window_end is None
    assert parsed.synced_to == full_state().synced_to
    assert problems


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=5),
    st.lists(st.lists(st.integers() | st.text(max_size=2), max_size=3) | st.integers(), max_size=3),
    st.sampled_from(["2024-01-01T00:00:00Z", "2999-01-01T00:00:00Z"]),
)


@given(
    st.dictionaries(st.sampled_from([*full_state().as_json(), "other"]), JSON, max_size=5).filter(
        lambda state: not isinstance(state.get("version"), int) or state["version"] <= 1
    )
)
def test_any_json_is_understood_or_told(state: dict[str, Any]) -> None:
    parsed, problems = StreamState.parse({**full_state().as_json(), **state}, NOW)
    assert isinstance(parsed, StreamState)
    assert parsed.synced_to is None or parsed.synced_to <= NOW
    assert isinstance(problems, list)


def test_the_state_of_a_large_account_is_small() -> None:
    state = StreamState(
        synced_to=NOW,
        since=NOW,
        lists=frozenset(range(100_000, 100_100)),
        recheck=(30, 7),
        window_end=NOW,
        window_lists=frozenset(range(100_000, 100_100)),
        window_since=NOW,
        done=tuple(
            ((100_000 + n, 123_456_789, 12), (100_000 + n, 987_654_321, 99)) for n in range(41)
        ),
    )
    assert len(json.dumps(state.as_json())) < 4096


def test_only_so_many_skipped_messages_are_taken_over() -> None:
    skipped = [[1, ident] for ident in range(MAX_SKIPPED + 5)]
    parsed, _ = StreamState.parse(full_state().as_json() | {"skipped": skipped}, NOW)
    assert parsed.skipped == tuple((1, ident) for ident in range(5, MAX_SKIPPED + 5))
