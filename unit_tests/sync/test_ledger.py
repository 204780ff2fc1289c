"""What of a window is done, failed and deferred, whatever happened to its slices."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.config import ListrakConfig
from source_listrak.soap.faults import OTHER_FAULT, PERMISSION, REPORT_GONE, Fault, ListrakError
from source_listrak.sync.ledger import REFUSALS_LIMIT, Ledger
from source_listrak.sync.plan import GONE_FOR_LONG, make_plan
from source_listrak.sync.slices import FailedSlice, Slice
from source_listrak.sync.state import DEFERRED_LIMIT, Deferred, Key, Running, StreamState
from unit_tests.clock import DAY, NOW

CONFIG = ListrakConfig.parse({"username": "me", "password": "x", "start_date": "2024-01-01"})
LISTS = (1, 2)
KEYS: tuple[Key, ...] = ((1, 7), (1, 9), (2, 3), (2, 8))


def ledger_of(state: StreamState | None = None, now: datetime = NOW) -> Ledger:
    plan, _ = make_plan(state, CONFIG, now, incremental=True)
    return Ledger(plan, LISTS)


def running(ledger: Ledger) -> Running:
    found = ledger.state().running
    assert found is not None
    return found


def cut(window: Running | None) -> StreamState | None:
    """Return the state of a first sync that was cut in this window."""
    nothing, _ = make_plan(None, CONFIG, NOW, incremental=True)
    return window and nothing.before.model_copy(update={"running": window})


def failed(key: Key, fault: Fault = OTHER_FAULT, read_to: datetime | None = None) -> FailedSlice:
    return FailedSlice(Slice(key, ("list", 1), read_to=read_to), ListrakError(fault))


def closed(
    *failing: FailedSlice, state: StreamState | None = None, now: datetime = NOW
) -> StreamState:
    """Return the state after a sync in which some slices fail and the other `KEYS` are read."""
    ledger = ledger_of(state, now)
    failures = {one.slice.key: one for one in failing}
    for key in sorted({*KEYS, *failures}):
        if ledger.begin(key):
            if key in failures:
                ledger.fail(failures[key])
            else:
                ledger.finish(key)
    ledger.close(None)
    return ledger.state()


# What is done, while the window is read


class Attempts:
    """The attempts of one window: slices begin in order, end in any, and any attempt is cut."""

    def __init__(self, keys: list[Key], seed: int) -> None:
        self.keys = keys
        self.random = random.Random(seed)
        self.read: set[Key] = set()

    def run(self, before: Running | None, workers: int, failures: float) -> Running:
        """Run an attempt until it is cut; check each state that it could leave behind."""
        ledger = ledger_of(cut(before))
        out: list[Key] = []
        length = self.random.randint(0, 2 * len(self.keys))
        pending = [key for key in self.keys if before is None or not before.is_done(key)]
        state = running(ledger)
        for _ in range(length):
            if pending and len(out) < workers and self.random.random() < 0.6:
                key = pending.pop(0)
                ledger.begin(key)
                if len(key) > 1:
                    out.append(key)
            elif out:
                key = out.pop(self.random.randrange(len(out)))
                if self.random.random() >= failures:
                    self.read.add(key)
                    ledger.finish(key)
            state = running(ledger)
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
        ledger = ledger_of(cut(state))
        for key, is_read in zip(keys, outcomes, strict=False):
            if state is not None and state.is_done(key):
                continue
            ledger.begin(key)
            if is_read:
                ledger.finish(key)
                done.add(key)
        state = running(ledger)
        assert {key for key in keys if state.is_done(key)} == done


def test_no_more_slices_are_open_than_were_out() -> None:
    ledger = ledger_of()
    keys: list[Key] = [(list_id, ident) for list_id in range(9) for ident in range(99)]
    for begun, finished in zip(keys, [None] * 10 + keys, strict=False):
        ledger.begin(begun)
        if finished:
            ledger.finish(finished)
        state = running(ledger)
        assert state.to == begun
        assert len(state.open) <= 10


@pytest.mark.parametrize("more", [0, 1, 500])
def test_beyond_the_limit_of_open_slices_the_rest_is_read_again(more: int) -> None:
    ledger = ledger_of()
    keys: list[Key] = [(1, ident) for ident in range(2 * (DEFERRED_LIMIT + more))]
    for key in keys:
        ledger.begin(key)
    for key in keys[::2]:
        ledger.finish(key)
    state = running(ledger)
    assert len(state.open) == DEFERRED_LIMIT
    done = [key for key in (*keys[:100], *keys[-1100:]) if state.is_done(key)]
    assert set(done) <= set(keys[::2])
    assert (keys[-2] in done) == (more == 0)
    assert keys[0] in done


# What is deferred, when the window is closed


def test_a_window_in_which_everything_was_read_is_complete() -> None:
    state = closed()
    assert (state.synced_to, state.lists, state.owed, state.running) == (NOW, LISTS, (), None)


def test_a_slice_that_failed_is_deferred_and_the_window_is_complete() -> None:
    state = closed(failed((1, 9)))
    assert (state.synced_to, state.running) == (NOW, None)
    assert state.owed == (Deferred((1, 9), None, NOW, False),)


def test_a_deferred_slice_keeps_what_was_read_of_it() -> None:
    first = closed(failed((1, 9)))
    again = [failed((1, 9)), failed((2, 3), read_to=NOW)]
    second = closed(*again, state=first, now=NOW + DAY)
    assert second.owed == (
        Deferred((1, 9), None, NOW, False),
        Deferred((2, 3), NOW, NOW + DAY, False),
    )
    assert closed(state=second, now=NOW + 2 * DAY).owed == ()


def test_a_deferred_slice_is_begun_again_although_the_window_passed_it() -> None:
    ledger = ledger_of(closed(failed((1, 9))), NOW + DAY)
    ledger.begin((2, 3))
    ledger.finish((2, 3))
    assert ledger.begin((1, 9))
    assert (running(ledger).to, running(ledger).open) == ((2, 3), ())


def test_a_report_that_is_gone_is_deferred_as_such() -> None:
    assert closed(failed((1, 9), REPORT_GONE)).owed == (Deferred((1, 9), None, NOW, True),)


def test_a_list_whose_slices_are_unknown_is_deferred_as_a_whole() -> None:
    first = closed(failed((2,)))
    assert first.owed == (Deferred((2,), None, NOW, False),)
    assert closed(state=first, now=NOW + DAY).owed == ()


def test_a_failure_in_a_window_that_is_cut_stays_open() -> None:
    ledger = ledger_of()
    assert ledger.begin((1, 7))
    assert ledger.fail(failed((1, 7)))
    assert not ledger.fail(failed((1, 7))), "once"
    assert not running(ledger).is_done((1, 7))
    assert ledger.state().owed == ()


def test_a_deferred_slice_of_a_list_that_vanished_is_dropped_with_it() -> None:
    state = closed().model_copy(update={"owed": (Deferred((3, 5), None, NOW, True),)})
    assert closed(state=state, now=NOW + DAY).owed == ()


def test_more_than_a_state_can_hold_keeps_the_window_open() -> None:
    long_ago = NOW - 400 * DAY
    deferred = [
        Deferred((1, ident), None, long_ago, True) for ident in range(100, DEFERRED_LIMIT + 100)
    ]
    state = closed().model_copy(update={"owed": tuple(deferred)})
    after = closed(failed((2, 9)), state=state)
    assert len(after.owed) == DEFERRED_LIMIT
    assert after.running is not None
    assert [after.running.is_done(key) for key in ((2, 8), (2, 9))] == [True, False]


# What has failed for long


def test_a_slice_that_failed_in_every_sync_for_thirty_days_is_lasting() -> None:
    state, days = closed(failed((1, 9))), 0
    while not state.owed[0].gone:
        days += 1
        state = closed(failed((1, 9)), state=state, now=NOW + days * DAY)
    assert days == GONE_FOR_LONG.days + 1
    assert closed(failed((1, 7)), state=state, now=NOW + 60 * DAY).owed[0].gone is False


def test_a_slice_that_failed_twice_in_sixty_days_is_not_gone() -> None:
    state = closed(failed((1, 9)), state=closed(failed((1, 9))), now=NOW + 60 * DAY)
    assert [one.gone for one in state.owed] == [False]


# What is refused


def begun(ledger: Ledger, keys: Iterable[Key]) -> list[Key]:
    return [key for key in keys if ledger.begin(key)]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([PERMISSION] * REFUSALS_LIMIT, False),
        ([PERMISSION] * (REFUSALS_LIMIT - 1), True),
        ([PERMISSION] * (REFUSALS_LIMIT - 1) + [OTHER_FAULT], True),
        ([OTHER_FAULT] + [PERMISSION] * REFUSALS_LIMIT, True),
    ],
)
def test_a_list_whose_first_slices_are_all_refused_is_left(
    faults: list[Fault], expected: bool
) -> None:
    ledger = ledger_of()
    for ident, fault in enumerate(faults):
        ledger.begin((1, ident))
        ledger.fail(failed((1, ident), fault))
    assert ledger.begin((1, 99)) == expected
    assert ledger.begin((2, 3)), "the other list"


def test_a_list_of_which_a_slice_was_read_is_not_left() -> None:
    ledger = ledger_of()
    ledger.finish((1, 99))
    for ident in range(REFUSALS_LIMIT):
        ledger.fail(failed((1, ident), PERMISSION))
    assert ledger.begin((1, 100))


def test_a_list_that_was_left_is_deferred_as_a_whole() -> None:
    keys = [(1, ident) for ident in range(20)]
    before, state = closed(), closed()
    for day in range(1, 4):
        ledger = ledger_of(state, NOW + day * DAY)
        for key in begun(ledger, keys[:REFUSALS_LIMIT]):
            ledger.fail(failed(key, PERMISSION))
        assert not begun(ledger, keys[REFUSALS_LIMIT:])
        assert not any(map(running(ledger).is_done, keys))
        ledger.close(None)
        state = ledger.state()
        (one,) = state.owed
        assert (one.key, one.read_to, one.noticed) == ((1,), before.synced_to, NOW + DAY)
    assert state.synced_to == NOW + 3 * DAY
    assert begun(ledger_of(state, NOW + 4 * DAY), keys) == keys


def test_deferred_slices_do_not_show_that_a_list_is_refused() -> None:
    keys = [(1, ident) for ident in range(REFUSALS_LIMIT)]
    owed = tuple(Deferred(key, None, NOW, False) for key in keys)
    ledger = ledger_of(closed().model_copy(update={"owed": owed}), NOW + DAY)
    for key in keys:
        ledger.fail(failed(key, PERMISSION))
    assert ledger.begin((1, 99))
