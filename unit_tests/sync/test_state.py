"""The state of a stream, as Airbyte stores it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airbyte_cdk.utils.traced_exception import AirbyteTracedException
from hypothesis import given
from hypothesis import strategies as st

from source_listrak.sync.state import (
    NO_START,
    Deferred,
    Key,
    Running,
    StreamState,
    load,
)
from unit_tests.clock import NOW

START = datetime(2025, 1, 1, tzinfo=timezone.utc)


def running(to: Key | None, open_keys: tuple[Key, ...], lists: tuple[int, ...] = ()) -> Running:
    return Running(end=NOW, full_refresh=False, since=NOW, lists=lists, to=to, open=open_keys)


def full_state() -> StreamState:
    return StreamState(
        since=NOW - timedelta(days=100),
        test_messages=True,
        time_zone="Europe/Berlin",
        synced_to=NOW - timedelta(days=1),
        newest=NOW - timedelta(days=2),
        lists=(1, 3),
        running=running((3, 8), ((1, 9), (3,)), (1, 2, 3)),
        owed=(Deferred((1, 2), None, NOW, True, START, 9), Deferred((3,), NOW, NOW, False, START)),
    )


def as_airbyte_returns_it(state: StreamState) -> Any:
    return json.loads(json.dumps(state.as_json()))


# What is done


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
    noticed = "2026-03-01T12:00:00Z"
    assert owed[0] == [[1, 2], None, noticed, True, "2025-01-01T00:00:00Z", 9]


def test_a_slice_that_version_0_2_0_deferred_has_no_start() -> None:
    state = as_airbyte_returns_it(full_state())
    state["owed"] = [one[:4] for one in state["owed"]]
    loaded, _ = load(state, "lists")
    assert loaded is not None
    assert {one.start for one in loaded.owed} == {NO_START}


def test_an_instant_in_the_first_year_survives_json() -> None:
    state = full_state().model_copy(update={"newest": datetime(1, 1, 1, tzinfo=timezone.utc)})
    assert load(as_airbyte_returns_it(state), "lists") == (state, "")


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
