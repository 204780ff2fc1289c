"""How the CDK's concurrent source reads a table: generator, partition and cursor."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from airbyte_cdk.models import SyncMode
from airbyte_cdk.sources.message import MessageRepository
from airbyte_cdk.sources.streams.concurrent.cursor import Cursor
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.streams.concurrent.partitions.partition_generator import (
    PartitionGenerator,
)
from airbyte_cdk.sources.types import Record
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak.errors import unexpected
from source_listrak.soap.faults import Action, ListrakError
from source_listrak.soap.throttle import CircuitBreaker
from source_listrak.sync.output import as_batches, state_message
from source_listrak.sync.plan import StreamPlan
from source_listrak.sync.progress import StreamCounts
from source_listrak.sync.reader import (
    PageSource,
    Part,
    Rows,
    Slice,
    SliceRead,
    part_pages,
)
from source_listrak.sync.state import OWED_LIMIT, Checkpoint, Key, Owed
from source_listrak.tables import Table

STATE_INTERVAL = 10.0
"""Seconds between two states of a stream while it runs."""

REFUSALS_LIMIT = 5
"""Reports of a table that are refused, with none that is not, after which the table ends."""


@dataclass(frozen=True, slots=True)
class FailedList:
    """A list whose slices are unknown, since what it is sliced by could not be read."""

    list_id: int
    read_to: datetime | None
    error: ListrakError


class SlicedStream(PageSource, Protocol):
    """What a stream gives to the engine."""

    table: Table
    counts: StreamCounts

    @property
    def plan(self) -> StreamPlan:
        """The window of this stream."""
        ...

    def list_ids(self) -> list[int]:
        """Return the lists of this sync, ascending; (0,) for the whole account."""
        ...

    def stream_slices(self, *, sync_mode: SyncMode) -> Iterable[Slice | FailedList]:
        """Yield what this sync reads: what is owed first, then ascending by key."""
        ...

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the rows of a slice that is not paged."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """What the streams of one sync share.

    :param workers: slices of one stream that are out at once, at most
    :param messages: the queue of records, states and traces
    :param repository: messages of the thread that writes
    """

    workers: int
    breaker: CircuitBreaker
    messages: queue.Queue[Any]
    repository: MessageRepository
    logger: logging.Logger
    state_interval: float = STATE_INTERVAL


class SliceLimit:
    """Limits how many slices (and parts of them) are out at once.

    As many as there are workers: that keeps the workers busy and the state small.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._out = 0
        self._is_stopped = False
        self._is_abandoned = False
        self._changed = threading.Condition()

    def acquire(self) -> None:
        """Wait until one more slice may be out, or the sync is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._out < self._limit or self._is_stopped)
            self._out += 1

    def try_acquire(self) -> bool:
        """Return whether one more part may be out, without waiting."""
        with self._changed:
            is_free = self._out < self._limit and not self._is_stopped
            if is_free:
                self._out += 1
            return is_free

    def release(self) -> None:
        """Note that a slice, or a part of one, has ended."""
        with self._changed:
            self._out -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Release all that wait for a turn, to find that the sync is stopped."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def wait_for_all(self) -> None:
        """Wait until no slice is out; each one ends, since every wait of a request has a limit."""
        with self._changed:
            self._changed.wait_for(lambda: self._out == 0 or self._is_abandoned)

    def abandon(self) -> None:
        """Release everyone: no one reads the output, or starts slices, any more."""
        with self._changed:
            self._is_stopped = self._is_abandoned = True
            self._changed.notify_all()


class SlicePartition(Partition):
    """One slice, or a part of a long one, being read by one worker."""

    def __init__(self, stream: SlicedStream, slice_read: SliceRead, part: Part) -> None:
        self._stream = stream
        self.slice_read = slice_read
        self.part = part

    def read(self) -> Iterable[Record]:
        """Yield batches of records; the slice keeps its error for the cursor.

        Not raised: the CDK would emit an error for each slice that failed, where the user needs
        one for each stream.
        """
        name, lists = self._stream.table.name, self.slice_read.slice.only_lists
        try:
            for rows in self._rows():
                # Never an empty record: the CDK takes a falsy queue item for the end of the sync.
                records = [
                    row for row in rows if row and (lists is None or row.get("ListID") in lists)
                ]
                self._stream.counts.add(records=len(records))
                batches = list(as_batches(name, records))
                # Rows take five times the memory of their text, and the queue may be full.
                rows.clear()
                records.clear()
                yield from batches
        except Exception as error:
            self.slice_read.error = self.slice_read.error or error

    def _rows(self) -> Iterator[Rows]:
        if self._stream.table.paged:
            yield from self.slice_read.read(self.part)
        else:
            yield from self._stream.read_whole(self.slice_read.slice)
            self.part.completes = True

    def to_slice(self) -> Mapping[str, Any]:
        """Return what names the slice in the CDK's debug log."""
        return {"slice": self.slice_read.slice.label}

    def stream_name(self) -> str:
        """Return the table's name."""
        return self._stream.table.name

    def __hash__(self) -> int:
        return hash((self.stream_name(), self.slice_read.slice.key, self.part.first))


@dataclass(frozen=True, slots=True)
class _Failure:
    label: str
    read_to: datetime | None
    error: AirbyteTracedException

    @property
    def is_gone(self) -> bool:
        return isinstance(self.error, ListrakError) and self.error.fault.action is Action.GONE


class StateCursor(Cursor):
    """Counts finished slices and emits states, each after the records that it counts."""

    def __init__(self, stream: SlicedStream, engine: Engine) -> None:
        self._stream = stream
        self._plan = stream.plan
        self._engine = engine
        self._lists = frozenset(stream.list_ids())
        self._checkpoint = Checkpoint(stream.plan.running.to, stream.plan.running.open)
        self._owed = dict(stream.plan.owed)
        self._failures: dict[Key, _Failure] = {}
        self._refusal: AirbyteTracedException | None = None
        self._refused = self._new_failures = 0
        self._is_complete = False
        self._lock = threading.Lock()
        self._emitting = threading.Lock()
        self._emitted_at = time.monotonic()
        self.limit = SliceLimit(engine.workers)
        engine.breaker.on_trip(self.limit.stop)

    @property
    def state(self) -> MutableMapping[str, Any]:
        """The state as of now."""
        # First what is owed, then what is done: a slice that ends between the two is in both.
        with self._lock:
            owed = [self._owed[key] for key in sorted(self._owed)]
            is_complete = self._is_complete
        done = None if is_complete else self._checkpoint.snapshot()
        return self._plan.state(self._lists, owed, done).as_json()

    @property
    def is_refused(self) -> bool:
        """Whether the service refuses this table as a whole."""
        return self._refusal is not None

    def begin(self, slice_: Slice) -> bool:
        """Note that a slice is going to be read; return False when it is done already."""
        if slice_.key in self._plan.owed and len(slice_.key) > 1:
            return True  # owed slices are not part of the window
        if self._plan.running.is_done(slice_.key):
            return False
        self._checkpoint.begin(slice_.key)
        return True

    def observe(self, record: Record) -> None:
        """Do nothing: slices are counted, not records."""

    def close_partition(self, partition: Partition) -> None:
        """Count a slice, whose records are all on the queue, or note why it failed."""
        assert isinstance(partition, SlicePartition)
        slice_read = partition.slice_read
        try:
            if slice_read.error is not None:
                self._fail(slice_read.slice, slice_read.error)
            elif partition.part.completes:
                self._finish_slice(slice_read)
        finally:
            self.limit.release()

    def _finish_slice(self, slice_read: SliceRead) -> None:
        slice_ = slice_read.slice
        self._checkpoint.finish(slice_.key)
        with self._lock:
            self._owed.pop(slice_.key, None)
        self._stream.counts.add(done=1)
        minimum = slice_.minimum or 0
        is_short = slice_.read_to is None and slice_read.rows < minimum
        if is_short and self._stream.counts.add(short_slices=1):
            self._engine.logger.warning(
                f"{self._stream.table.name}: {slice_.label} has {slice_read.rows:,} rows, fewer "
                f"than the {minimum:,} contacts or clicks that Listrak counts. Further cases are "
                "counted in the summary."
            )
        self.emit_state(after=self._engine.state_interval)

    def _fail(self, slice_: Slice, error: Exception) -> None:
        if not isinstance(error, AirbyteTracedException):
            error = unexpected(self._stream.table.name, error)
        self.fail(slice_.key, _Failure(slice_.label, slice_.read_to, error))

    def fail_list(self, failed: FailedList) -> None:
        """Note that no slice of a list can be made."""
        key = (failed.list_id,)
        self._checkpoint.begin(key)
        self.fail(key, _Failure(f"list {failed.list_id}", failed.read_to, failed.error))

    def fail(self, key: Key, failure: _Failure) -> None:
        """Note that a slice failed permanently: the stream continues, and the slice is owed."""
        error, name = failure.error, self._stream.table.name
        with self._lock:
            if key in self._failures:
                return
            self._failures[key] = failure
            is_refused = isinstance(error, ListrakError) and error.fault.action is Action.REFUSED
            is_first = len(self._failures) == 1
            if key not in self._plan.owed:  # that comes first, and may be refused on every sync
                self._new_failures += 1
                self._refused += is_refused
            all_refused = self._refused == self._new_failures and not self._stream.counts["done"]
            if is_refused and all_refused and self._refused >= REFUSALS_LIMIT:
                self._refusal = error
                self.limit.stop()
        if failure.is_gone:
            self._stream.counts.add(gone=1)
            return
        self._stream.counts.add(failed=1)
        if self._engine.breaker.error is None:
            self._engine.logger.warning(
                f"{name}: {failure.label} failed permanently: {error.message}"
                + (" The stream continues and will be marked incomplete." if is_first else "")
            )

    def finish(self, error: AirbyteTracedException | None) -> None:
        """Close the window, owing what failed.

        :param error: why slices were not even generated
        :raises AirbyteTracedException: the one error of the stream
        """
        stopped = self._engine.breaker.error
        if stopped is not None:
            raise ListrakError(stopped.fault, stopped.detail)
        if self._refusal is not None or error is not None:
            raise self._refusal or error or AssertionError
        owed = self._owed_now()
        name = self._stream.table.name
        if len(owed) > OWED_LIMIT:
            raise AirbyteTracedException(
                message=f"{len(owed):,} reports of {name} could not be read, more than can be "
                "remembered. Try again later; the next sync reads them again.",
                internal_message="too many slices are owed",
                failure_type=next(iter(self._failures.values())).error.failure_type,
            )
        with self._lock:
            self._owed = {one.key: one for one in owed}
            self._is_complete = True
        gone = sum(one.gone for one in owed)
        if gone:
            self._engine.logger.warning(
                f"{name}: Listrak has no report for {gone:,} of the messages, conversations or "
                "lists (404). They were skipped; the next sync will try again."
            )
        self._raise_failure()

    def _raise_failure(self) -> None:
        failed = {key: one for key, one in self._failures.items() if not one.is_gone}
        if not failed:
            return
        oldest = min(self._owed[key].noticed for key in failed)
        first = next(iter(failed.values()))
        raise AirbyteTracedException(
            message=f"{first.error.message} ({len(failed):,} failed, beginning with "
            f"{first.label}; owed since {oldest:%Y-%m-%d %H:%M} UTC. Each sync requests them "
            "again.)",
            internal_message=first.error.internal_message,
            failure_type=first.error.failure_type,
        )

    def _owed_now(self) -> list[Owed]:
        """Return what is owed when the window closes."""
        kept = {
            key: one
            for key, one in self._owed.items()
            if key[0] in self._lists and (len(key) > 1 or self._plan.is_postponed(key))
        }
        for key, failure in self._failures.items():
            before = self._plan.owed.get(key)
            kept[key] = Owed(
                key,
                failure.read_to,
                before.noticed if before else self._plan.end,
                failure.is_gone,
            )
        return [kept[key] for key in sorted(kept)]

    def emit_state(self, *, after: float = 0.0) -> None:
        """Put the state on the queue, behind the records that it counts.

        :param after: seconds that must have passed since the last one
        """
        # One at a time: an older state must not overtake a newer one.
        if not self._emitting.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._emitted_at < after:
                return
            self._emitted_at = time.monotonic()
            self._engine.messages.put(state_message(self._stream.table.name, self.state))
        finally:
            self._emitting.release()

    def ensure_at_least_one_state_emitted(self) -> None:
        """Emit the last state; the CDK calls this on its main thread, also after failures."""
        self._stream.counts.ended()
        self._engine.repository.emit_message(state_message(self._stream.table.name, self.state))

    def should_be_synced(self, record: Record) -> bool:
        """Emit every record."""
        return True


class SliceGenerator(PartitionGenerator):
    """Hands out the slices of a table in order, each when its turn has come."""

    def __init__(self, stream: SlicedStream, cursor: StateCursor, engine: Engine) -> None:
        self._stream = stream
        self._cursor = cursor
        self._engine = engine
        self._part_pages = part_pages(engine.workers)

    def generate(self) -> Iterable[Partition]:
        """Yield a partition for each slice that is not done yet.

        :raises AirbyteTracedException: at the end, when a slice failed: one for each stream
        """
        stream, cursor = self._stream, self._cursor
        stream.counts.began()
        failed: AirbyteTracedException | None = None
        try:
            yield from self._partitions()
        except AirbyteTracedException as error:
            failed = error
        except Exception as error:
            failed = unexpected(stream.table.name, error)
        cursor.limit.wait_for_all()
        cursor.finish(failed)

    def _partitions(self) -> Iterator[Partition]:
        stream, cursor, breaker = self._stream, self._cursor, self._engine.breaker
        for slice_ in stream.stream_slices(sync_mode=SyncMode.incremental):
            if isinstance(slice_, FailedList):
                cursor.fail_list(slice_)
                if cursor.is_refused:
                    return
                continue
            if not cursor.begin(slice_):
                continue
            stream.counts.add(known=1)
            cursor.limit.acquire()
            if breaker.error is not None or cursor.is_refused:
                cursor.limit.release()
                return
            read = SliceRead(
                stream, slice_, self._part_pages, self._divide, self._engine.logger.warning
            )
            yield SlicePartition(stream, read, Part())

    def _divide(self, slice_read: SliceRead, rest: Part) -> bool:
        """Leave the rest of a long slice to an idle worker.

        It goes straight to the queue, not through the generator, which may be waiting for the
        messages of the next list. Its turn is taken before the turn of the part before it ends, so
        a wait for all slices includes the rest.
        """
        if not self._cursor.limit.try_acquire():
            return False
        self._engine.messages.put(SlicePartition(self._stream, slice_read, rest))
        return True
