"""What a stream has read is what its state says, whatever failed."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from airbyte_cdk.models import FailureType, Type
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak.config import ListrakConfig
from source_listrak.soap.faults import (
    INTERRUPTED,
    OTHER_FAULT,
    PERMISSION,
    REPORT_GONE,
    Fault,
    ListrakError,
    SyncStopped,
)
from source_listrak.soap.rows import Page
from source_listrak.soap.throttle import StopSwitch
from source_listrak.sync.engine import (
    Engine,
    SliceCursor,
    SlicePartition,
    SliceSlots,
)
from source_listrak.sync.ledger import REFUSALS_LIMIT
from source_listrak.sync.plan import make_plan
from source_listrak.sync.progress import StreamCounts
from source_listrak.sync.reader import Rows
from source_listrak.sync.slices import FailedSlice, Slice
from source_listrak.sync.state import DEFERRED_LIMIT, Deferred, Key, StreamState, load
from source_listrak.tables import TABLES
from unit_tests.clock import DAY, NOW

CONFIG = ListrakConfig.parse({"username": "me", "password": "x", "start_date": "2024-01-01"})
LISTS = (1, 2)
KEYS: tuple[Key, ...] = ((1, 7), (1, 9), (2, 3), (2, 8))


class FakeStream:
    """A table of messages with one row each; some messages or lists fail."""

    table = TABLES["message_opens"]

    def __init__(
        self,
        keys: Iterable[Key] = KEYS,
        *,
        state: StreamState | None = None,
        now: datetime = NOW,
        failing: dict[Key, Exception] | None = None,
        expected_rows: int = 0,
    ) -> None:
        self.plan, _ = make_plan(state, CONFIG, now, incremental=True)
        self.counts = StreamCounts("message_opens")
        self.requested: list[Key] = []
        self.settled = 0
        self._keys = keys
        self._failing = failing or {}
        self._expected_rows = expected_rows

    newest = NOW

    def list_ids(self) -> list[int]:
        return self.plan.list_ids(LISTS)

    def stream_slices(self) -> Iterator[Slice | FailedSlice]:
        for key in self._keys:
            if len(key) == 1:
                yield FailedSlice(Slice(key, ("list", key[0])), ListrakError(OTHER_FAULT))
            else:
                read_to = self.plan.read_to(key[0])
                subject, rows = ("message", key[1]), self._expected_rows
                yield Slice(key, subject, read_to=read_to, expected_rows=rows)

    def fetch_page(self, slice_: Slice, number: int, *, retries: bool = True) -> Page:
        if number == 1:
            self.requested.append(slice_.key)
            if slice_.key in self._failing:
                raise self._failing[slice_.key]
        rows = [{"MsgID": slice_.key[1], "EmailAddress": "a"}] if number == 1 else []
        return Page(rows, bool(rows), 0, {})

    def settle_failures(self) -> None:
        self.settled += 1

    def recent_changes(self, slice_: Slice) -> int | None:
        return None

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        raise NotImplementedError


class Sync:
    """One sync of one stream, read by one worker on this thread."""

    def __init__(self, stream: FakeStream) -> None:
        self.stream = stream
        self.messages: queue.Queue[Any] = queue.Queue()
        self.breaker = StopSwitch()
        self.error: AirbyteTracedException | None = None
        logger = logging.getLogger("test_engine")
        engine = Engine(1, self.breaker, logger, 0.0, self.messages)
        self.repository = engine.repository
        self.cursor = SliceCursor(stream, engine)

    def run(self, cut_after: int | None = None) -> Sync:
        """Read everything; or, after some slices, stop as a signal does."""
        try:
            for number, partition in enumerate(self.cursor.generate()):
                if number == cut_after:
                    self.breaker.interrupt()
                    self.cursor.slots.release()
                    continue
                assert isinstance(partition, SlicePartition)
                for record in partition.read():
                    self.messages.put(record)
                self.cursor.close_partition(partition)
        except AirbyteTracedException as error:
            self.error = error
        return self

    @property
    def state(self) -> StreamState:
        """The state as the next sync reads it."""
        state, _ = load(self.cursor.state, "message_opens")
        assert state is not None
        return state

    def emitted(self) -> list[Any]:
        return [self.messages.get_nowait() for _ in range(self.messages.qsize())]


def sync(*keys: Key, **values: Any) -> Sync:
    return Sync(FakeStream(keys or KEYS, **values)).run()


def fails(*keys: Key, fault: Fault = OTHER_FAULT) -> dict[Key, Exception]:
    return {key: ListrakError(fault) for key in keys}


# The window


def test_a_sync_that_reads_everything_closes_its_window() -> None:
    done = sync()
    assert done.error is None
    assert (done.state.synced_to, done.state.lists, done.state.owed) == (NOW, LISTS, ())
    assert done.state.running is None
    assert (done.stream.counts["known"], done.stream.counts["done"]) == (4, 4)


def test_each_state_comes_after_the_records_that_it_counts() -> None:
    seen: set[int] = set()
    states = 0
    for message in sync().emitted():
        if getattr(message, "type", None) is Type.STATE:
            state, _ = load(vars(message.state.stream.stream_state), "message_opens")
            assert state is not None
            assert state.running is not None
            assert {key[1] for key in KEYS if state.running.is_done(key)} == seen
            states += 1
        else:
            seen.update(row["MsgID"] for row in _rows(message))
    assert states == len(KEYS)


def _rows(record: Any) -> Iterator[Any]:
    (batch,) = record.data.values()
    for message in batch.messages():
        yield message.record.data


def test_a_cut_sync_resumes_with_what_is_missing() -> None:
    first = Sync(FakeStream()).run(cut_after=2)
    assert isinstance(first.error, SyncStopped)
    assert first.state.synced_to is None
    second = sync(state=first.state, now=NOW + DAY)
    assert second.stream.requested == [(2, 3), (2, 8)]
    assert second.state.synced_to == NOW


def test_the_last_state_is_that_of_the_end_also_after_failures() -> None:
    done = sync(failing=fails((1, 9)))
    done.cursor.ensure_at_least_one_state_emitted()
    (message,) = done.repository.consume_queue()
    assert message.state is not None
    assert message.state.stream is not None
    assert load(vars(message.state.stream.stream_state), "message_opens")[0] == done.state


# What is deferred


def test_a_slice_that_failed_is_named_in_the_one_error_of_the_stream() -> None:
    done = sync(failing=fails((1, 9)))
    assert done.stream.requested == list(KEYS)
    assert done.state.synced_to == NOW
    assert done.error is not None
    assert "(1 failed, the first being message 9; failing since 2026-03-01 12:00 UTC" in str(
        done.error.message
    )


def test_reports_that_are_gone_are_a_warning() -> None:
    done = sync(failing=fails((1, 9), fault=REPORT_GONE))
    assert done.error is None
    assert [one.gone for one in done.state.owed] == [True]
    assert (done.stream.counts["gone"], done.stream.counts["failed"]) == (1, 0)


def test_a_report_that_failed_in_every_sync_for_thirty_days_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state, outcomes = None, []
    for day in range(40):
        caplog.clear()
        done = sync(state=state, now=NOW + day * DAY, failing=fails((1, 9)))
        state = done.state
        outcomes.append((done.error is None, "of 1 messages, conversations" in caplog.text))
    assert outcomes == [(False, False)] * 31 + [(True, True)] * 9


def test_a_list_whose_slices_are_unknown_fails_the_stream() -> None:
    done = sync((1, 7), (2,))
    assert "the first being list 2" in str(done.error and done.error.message)
    assert [one.key for one in done.state.owed] == [(2,)]


def test_more_than_a_state_can_hold_is_an_error() -> None:
    long_ago = NOW - 400 * DAY
    owed = tuple(Deferred((1, ident), None, long_ago, True) for ident in range(DEFERRED_LIMIT))
    state = sync().state.model_copy(update={"owed": owed})
    done = sync((2, 1), (2, 2), state=state, failing=fails((2, 2)))
    assert "10,001" in str(done.error and done.error.message)
    assert done.state.running is not None


def test_an_error_of_our_own_is_a_failed_slice_without_values_of_rows() -> None:
    done = sync(failing={(1, 9): KeyError("jane@example.com")})
    assert done.error is not None
    assert "jane" not in str(done.error.message)
    assert [owed.key for owed in done.state.owed] == [(1, 9)]


def test_after_failures_the_login_decides_whether_the_service_is_down() -> None:
    assert sync().stream.settled == 0
    assert sync(failing=fails((1, 9), fault=REPORT_GONE)).stream.settled == 1


# What is refused


def test_a_list_whose_reports_are_refused_is_deferred_with_one_error() -> None:
    keys: list[Key] = [(1, ident) for ident in range(REFUSALS_LIMIT + 5)]
    done = sync(*keys, (2, 3), failing=fails(*keys, fault=PERMISSION))
    assert done.stream.requested == [*keys[:REFUSALS_LIMIT], (2, 3)]
    assert done.error is not None
    assert done.error.failure_type is FailureType.config_error
    assert [one.key for one in done.state.owed] == [(1,)]
    assert done.state.synced_to == NOW
    assert not done.breaker.error


def test_single_refused_reports_are_owed() -> None:
    keys: list[Key] = [(1, ident) for ident in range(REFUSALS_LIMIT + 5)]
    done = sync(*keys, failing=fails(*keys[1:], fault=PERMISSION))
    assert done.stream.requested == keys
    assert done.state.synced_to == NOW
    assert [owed.key for owed in done.state.owed] == keys[1:]


# What a stop leaves


def test_a_sync_that_was_stopped_counts_nothing_that_it_did_not_read() -> None:
    stopped = Sync(FakeStream()).run(cut_after=1)
    assert isinstance(stopped.error, SyncStopped)
    assert stopped.error.fault is INTERRUPTED
    assert stopped.state.running is not None
    assert [key for key in KEYS if stopped.state.running.is_done(key)] == [(1, 7)]
    assert stopped.stream.requested == [(1, 7)]


def test_a_stop_emits_the_state_although_a_slice_is_still_being_read() -> None:
    stopped = Sync(FakeStream())
    next(iter(stopped.cursor.generate()))
    stopped.breaker.interrupt()
    (message,) = stopped.emitted()
    state, _ = load(vars(message.state.stream.stream_state), "message_opens")
    assert state is not None
    assert state.running is not None
    assert (state.running.to, state.running.open) == ((1, 7), ((1, 7),))


# Counts


def test_fewer_rows_than_the_counter_says_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = sync(expected_rows=2)
    assert done.stream.counts["short_slices"] == 4
    (line,) = [line for line in caplog.messages if "counter says" in line]
    assert "message 7 has 1 rows, but Listrak's counter says at least 2" in line


def test_enough_rows_are_not_remarked_on(caplog: pytest.LogCaptureFixture) -> None:
    sync(expected_rows=1)
    assert not [line for line in caplog.messages if "counter says" in line]


def test_what_was_read_before_has_no_minimum() -> None:
    done = sync(state=sync().state, now=NOW + DAY, expected_rows=99)
    assert done.stream.counts["short_slices"] == 0


# The limit


def test_slices_wait_for_their_turn() -> None:
    limit = SliceSlots(2)
    limit.acquire()
    assert limit.acquire(wait=False)
    assert not limit.acquire(wait=False)
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(limit.acquire)
        limit.release()
        assert third.result(10)
        assert not limit.acquire(wait=False)
        everyone = pool.submit(limit.wait_for_all)
        limit.release()
        assert not everyone.done()
        limit.release()
        everyone.result(10)


def test_enough_slots_release_all_threads_that_wait() -> None:
    limit = SliceSlots(1)
    limit.acquire()
    with ThreadPoolExecutor(2) as pool:
        turn, everyone = pool.submit(limit.acquire), pool.submit(limit.wait_for_all)
        assert not everyone.done()
        limit.release(99)
        turn.result(10)
        everyone.result(10)
