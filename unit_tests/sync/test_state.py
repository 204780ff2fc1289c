"""What a stream has done, and its state as Airbyte keeps it."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.sync.state import (
    OWED_LIMIT,
    Checkpoint,
    Key,
    Owed,
    Running,
    StreamState,
    load,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def running(to: Key | None, open_keys: tuple[Key, ...], lists: tuple[int, ...] = ()) -> Running:
    return Running(end=NOW, full_refresh=False, since=NOW, lists=lists, to=to, open=open_keys)


def full_state() -> StreamState:
    return StreamState(
        since=NOW - timedelta(days=100),
        test_messages=True,
        time_zone="Europe/Berlin",
        synced_to=NOW - timedelta(days=1),
        lists=(1, 3),
        running=running((3, 8), ((1, 9), (3,)), (1, 2, 3)),
        owed=(Owed((1, 2), None, NOW, True), Owed((3,), NOW, NOW, False)),
    )


def as_airbyte_returns_it(state: StreamState) -> Any:
    return json.loads(json.dumps(state.as_json()))


# What is done


class Attempts:
    """The attempts of one window: slices begin in order, end in any, and any attempt is cut."""

    def __init__(self, keys: list[Key], seed: int) -> None:
        self.keys = keys
        self.random = random.Random(seed)
        self.read: set[Key] = set()

    def run(self, before: Running | None, workers: int, failures: float) -> Running:
        """Run an attempt until it is cut; check each state that it could leave behind."""
        checkpoint = Checkpoint(before.to, before.open) if before else Checkpoint()
        out: list[Key] = []
        cut = self.random.randint(0, 2 * len(self.keys))
        pending = [key for key in self.keys if before is None or not before.is_done(key)]
        state = running(*checkpoint.snapshot())
        for _ in range(cut):
            if pending and len(out) < workers and self.random.random() < 0.6:
                key = pending.pop(0)
                checkpoint.begin(key)
                if len(key) > 1:
                    out.append(key)
            elif out:
                key = out.pop(self.random.randrange(len(out)))
                if self.random.random() >= failures:
                    self.read.add(key)
                    checkpoint.finish(key)
            state = running(*checkpoint.snapshot())
            self.check(state)
        return state

    def check(self, state: Running) -> None:
        for key in self.keys:
            assert not state.is_done(key) or key in self.read
        for list_id in {key[0] for key in self.keys}:
            if state.is_list_done(list_id):
                assert self.read >= {key for key in self.keys if key[0] == list_id}


@settings(max_examples=1000)
@given(
    st.sets(st.tuples(st.integers(1, 5), st.integers(1, 9)), min_size=1),
    st.sets(st.integers(1, 5).map(lambda list_id: (list_id,)), max_size=2),
    st.integers(1, 4),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.3]),
)
def test_a_slice_that_was_not_read_is_never_done_whatever_was_cut(
    slices: set[Key], failed_lists: set[Key], workers: int, seed: int, failures: float
) -> None:
    # A list whose slices are unknown begins and never finishes; what it has is read later.
    keys = sorted(failed_lists | {key for key in slices if key[:1] not in failed_lists})
    attempts = Attempts(keys, seed)
    state: Running | None = None
    for _ in range(4):
        state = attempts.run(state, workers, failures)
        if failed_lists:
            keys = sorted(slices)  # the next attempt can make the slices of all lists
            attempts.keys = keys


@given(st.lists(st.booleans(), max_size=60), st.lists(st.booleans(), max_size=60))
def test_what_an_attempt_read_stays_done_in_the_next_ones(
    first: list[bool], second: list[bool]
) -> None:
    keys: list[Key] = [(1, ident) for ident in range(60)]
    done: set[Key] = set()
    state: Running | None = None
    for outcomes in (first, second):
        checkpoint = Checkpoint(state.to, state.open) if state else Checkpoint()
        for key, is_read in zip(keys, outcomes, strict=False):
            if state is not None and state.is_done(key):
                continue
            checkpoint.begin(key)
            if is_read:
                checkpoint.finish(key)
                done.add(key)
        state = running(*checkpoint.snapshot())
        assert {key for key in keys if state.is_done(key)} == done


def test_no_more_slices_are_open_than_were_out() -> None:
    checkpoint = Checkpoint()
    keys: list[Key] = [(list_id, ident) for list_id in range(9) for ident in range(99)]
    for begun, finished in zip(keys, [None] * 10 + keys, strict=False):
        checkpoint.begin(begun)
        if finished:
            checkpoint.finish(finished)
        to, open_keys = checkpoint.snapshot()
        assert to == begun
        assert len(open_keys) <= 10


@pytest.mark.parametrize("more", [0, 1, 500])
def test_beyond_the_limit_of_open_slices_the_rest_is_read_again(more: int) -> None:
    checkpoint = Checkpoint()
    keys: list[Key] = [(1, ident) for ident in range(2 * (OWED_LIMIT + more))]
    for key in keys:
        checkpoint.begin(key)
    for key in keys[::2]:
        checkpoint.finish(key)
    state = running(*checkpoint.snapshot())
    assert len(state.open) == OWED_LIMIT
    done = [key for key in (*keys[:100], *keys[-1100:]) if state.is_done(key)]
    assert set(done) <= set(keys[::2])
    assert (keys[-2] in done) == (more == 0)
    assert keys[0] in done


def test_a_list_is_done_with_its_last_slice() -> None:
    assert running((2, 1), ()).is_list_done(1)
    assert not running((1, 9), ()).is_list_done(1)
    assert not running((2, 1), ((1, 5),)).is_list_done(1)
    assert not running((2, 1), ((1,),)).is_list_done(1)
    assert not running(None, ()).is_list_done(1)


def test_a_list_that_is_one_slice_is_done_with_it() -> None:
    assert running((1,), ()).is_list_done(1)
    assert not running((1,), ((1,),)).is_list_done(1)


def test_an_open_list_keeps_its_slices_open() -> None:
    state = running((2, 8), ((1,),))
    assert not state.is_done((1, 3))
    assert state.is_done((2, 3))


# As JSON


def test_a_state_survives_json() -> None:
    assert load(as_airbyte_returns_it(full_state()), "lists") == (full_state(), "")


def test_an_owed_slice_that_was_never_read_survives_json() -> None:
    owed = as_airbyte_returns_it(full_state())["owed"]
    assert owed[0] == [[1, 2], None, "2026-03-01T12:00:00Z", True]


def floats(value: Any) -> Any:
    """Return a value as JavaScript and some databases give it back: all numbers are floats."""
    if isinstance(value, dict):
        return {name: floats(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [floats(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_a_state_whose_integers_became_floats_is_the_same() -> None:
    assert load(floats(as_airbyte_returns_it(full_state())), "lists") == (full_state(), "")


def test_nulls_are_as_if_they_were_left_out() -> None:
    state = full_state().model_copy(update={"running": None, "synced_to": None})
    nulls = {"running": None, "synced_to": None}
    assert load(as_airbyte_returns_it(state) | nulls, "lists") == (state, "")


def test_an_instant_with_an_offset_is_kept() -> None:
    state = as_airbyte_returns_it(full_state()) | {"synced_to": "2026-02-28T14:00:00+02:00"}
    loaded, _ = load(state, "lists")
    assert loaded is not None
    assert loaded.as_json()["synced_to"] == "2026-02-28T12:00:00Z"


def test_the_state_of_a_large_account_is_small() -> None:
    state = full_state().model_copy(
        update={
            "lists": tuple(range(100_000, 100_100)),
            "owed": (),
            "running": running(
                (100_041, 987_654_321),
                tuple((100_000 + n, 123_456_789) for n in range(41)),
                tuple(range(100_000, 100_100)),
            ),
        }
    )
    assert len(json.dumps(state.as_json())) < 4096


@pytest.mark.parametrize("state", [{}, {"__ab_no_cursor_state_message": True}])
def test_no_state_is_nothing_to_remark_on(state: dict[str, Any]) -> None:
    assert load(state, "lists") == (None, "")


@pytest.mark.parametrize("version", [3, 2.5, 10**20])
def test_a_state_of_a_later_version_is_refused(version: Any) -> None:
    with pytest.raises(AirbyteTracedException, match="lists was written by a later version"):
        load(as_airbyte_returns_it(full_state()) | {"version": version}, "lists")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"version": 1, "synced_to": "2026-01-01T00:00:00Z"}, "earlier version"),
        ({"bookmarks": {"messages": {"SendDate": "2025-01-01"}}}, "not written by this"),
        ({"SendDate": "2025-01-01T00:00:00Z"}, "not written by this"),
        ({"version": "2"}, "not written by this"),
        ({"version": None, "synced_to": "2025-01-01T00:00:00Z"}, "not written by this"),
        ({"version": 2}, "damaged"),
    ],
)
def test_a_state_that_is_not_understood_says_so(state: dict[str, Any], reason: str) -> None:
    loaded, remark = load(state, "lists")
    assert loaded is None
    assert reason in remark
    assert "from the start date" in remark


@pytest.mark.parametrize(
    "damage",
    [
        {"since": None},
        {"since": "soon"},
        {"synced_to": "2024-13-01T00:00:00Z"},
        {"synced_to": "2024-01-01T00:00:00"},
        {"lists": "all"},
        {"lists": [1.5]},
        {"owed": 5},
        {"owed": [[[1, 5]]]},
        {"owed": [[[], None, "2024-01-01T00:00:00Z", False]]},
        {"owed": [[[1, 5], "soon", "2024-01-01T00:00:00Z", False]]},
        {"owed": [[[1, 5], None, "2024-01-01T00:00:00", False]]},
        {"running": 5},
        {"running": {}},
        {"running": {**full_state().as_json()["running"], "to": "x"}},
        {"running": {**full_state().as_json()["running"], "open": [1, 2]}},
        {"running": {**full_state().as_json()["running"], "open": [[]]}},
        {"running": {**full_state().as_json()["running"], "end": "2024-01-01T00:00:00"}},
    ],
)
def test_a_damaged_state_never_skips_data(damage: dict[str, Any]) -> None:
    loaded, remark = load(as_airbyte_returns_it(full_state()) | damage, "lists")
    assert loaded is None
    assert "damaged" in remark


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.lists(st.integers() | st.text(max_size=2), max_size=3) | st.integers(), max_size=3),
    st.sampled_from(["2024-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]),
)


@given(st.dictionaries(st.sampled_from([*full_state().as_json(), "other"]), JSON, max_size=5))
def test_any_json_is_understood_or_remarked_on(changes: dict[str, Any]) -> None:
    version = changes.get("version")
    if isinstance(version, (int, float)) and version > 2:
        del changes["version"]
    loaded, remark = load({**full_state().as_json(), **changes}, "lists")
    assert (loaded is None) == bool(remark)
