"""How the CDK's concurrent source reads a table: generator, partition and cursor."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

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
class FailedSlice:
    """A slice that could not be read; that of a list stands for all slices of the list."""

    slice: Slice
    error: AirbyteTracedException

    def calls_for(self, action: Action) -> bool:
        """Return whether it failed for a fault with this action."""
        return isinstance(self.error, ListrakError) and self.error.fault.action is action


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

    def stream_slices(self) -> Iterable[Slice | FailedSlice]:
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
        self._changed = threading.Condition()

    @property
    def is_stopped(self) -> bool:
        """Whether no more turns are given."""
        return self._is_stopped

    def acquire(self, *, wait: bool = True) -> bool:
        """Return whether one more slice may be out, after waiting for a turn or for a stop."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._out < self._limit or self._is_stopped)
            is_free = self._out < self._limit and not self._is_stopped
            self._out += is_free
            return is_free

    def release(self) -> None:
        """Note that a slice, or a part of one, has ended."""
        with self._changed:
            self._out -= 1
            self._changed.notify_all()

    def stop(self, *, abandon: bool = False) -> None:
        """Give no more turns, since the sync is stopped.

        :param abandon: nor wait for any slice, since no one reads the output any more
        """
        with self._changed:
            self._is_stopped = True
            self._out = 0 if abandon else self._out
            self._changed.notify_all()

    def wait_for_all(self) -> None:
        """Wait until no slice is out; each one ends, since every wait of a request has a limit."""
        with self._changed:
            self._changed.wait_for(lambda: self._out <= 0)


@dataclass(eq=False)
class SlicePartition(Partition):
    """One slice, or a part of a long one, being read by one worker."""

    stream: SlicedStream
    slice_read: SliceRead
    part: Part

    def read(self) -> Iterable[Record]:
        """Yield batches of records; the slice keeps its error for the cursor.

        Not raised: the CDK would emit an error for each slice that failed, where the user needs
        one for each stream.
        """
        name, lists = self.stream.table.name, self.slice_read.slice.only_lists
        try:
            for rows in self._rows():
                # Never an empty record: the CDK takes a falsy queue item for the end of the sync.
                records = [
                    row for row in rows if row and (lists is None or row.get("ListID") in lists)
                ]
                self.stream.counts.add(records=len(records))
                batches = list(as_batches(name, records))
                # Rows take five times the memory of their text, and the queue may be full.
                rows.clear()
                records.clear()
                yield from batches
        except Exception as error:
            self.slice_read.error = self.slice_read.error or error

    def _rows(self) -> Iterator[Rows]:
        if self.stream.table.paged:
            yield from self.slice_read.read(self.part)
        else:
            yield from self.stream.read_whole(self.slice_read.slice)
            self.part.completes = True

    def to_slice(self) -> Mapping[str, Any]:
        """Return what names the slice in the CDK's debug log."""
        return {"slice": self.slice_read.slice.label}

    def stream_name(self) -> str:
        """Return the table's name."""
        return self.stream.table.name

    def __hash__(self) -> int:
        return hash((self.stream_name(), self.slice_read.slice.key, self.part.first))


class StateCursor(Cursor):
    """Counts finished slices and emits states, each after the records that it counts."""

    def __init__(self, stream: SlicedStream, engine: Engine) -> None:
        self._stream = stream
        self._plan = stream.plan
        self._engine = engine
        self._lists = frozenset(stream.list_ids())
        self._checkpoint = Checkpoint(stream.plan.running.to, stream.plan.running.open)
        self._owed = dict(stream.plan.owed)
        self._failures: dict[Key, FailedSlice] = {}
        self._first_failures: list[FailedSlice] = []
        """Without those of slices that were owed, which may be refused on every sync."""
        self._refusal: AirbyteTracedException | None = None
        self._is_complete = False
        self._lock = threading.Lock()
        self._emitting = threading.Lock()
        self._emitted_at = time.monotonic()
        self.limit = SliceLimit(engine.workers)
        engine.breaker.on_trip(self.limit.stop)
        engine.breaker.on_trip(self.emit_state)

    @property
    def state(self) -> MutableMapping[str, Any]:
        """The state as of now."""
        # First what is owed, then what is done: a slice that ends between the two is in both.
        with self._lock:
            owed = [self._owed[key] for key in sorted(self._owed)]
            is_complete = self._is_complete
        done = None if is_complete else self._checkpoint.snapshot()
        return self._plan.state(self._lists, owed, done).as_json()

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
                self.fail(slice_read.slice, slice_read.error)
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
        is_short = slice_.read_to is None and slice_read.rows < slice_.minimum
        if is_short and self._stream.counts.add(short_slices=1):
            self._engine.logger.warning(
                f"{self._stream.table.name}: {slice_.label} has {slice_read.rows:,} rows, fewer "
                f"than the {slice_.minimum:,} contacts or clicks that Listrak counts. Further "
                "cases are counted in the summary."
            )
        self.emit_state(after=self._engine.state_interval)

    def fail(self, slice_: Slice, error: Exception) -> None:
        """Note that a slice failed permanently: the stream continues, and the slice is owed."""
        name, counts, key = self._stream.table.name, self._stream.counts, slice_.key
        if not isinstance(error, AirbyteTracedException):
            error = unexpected(name, error)
        failed = FailedSlice(slice_, error)
        with self._lock:
            if key in self._failures:
                return
            self._failures[key] = failed
            is_first = len(self._failures) == 1
            first = self._first_failures
            if key not in self._plan.owed and len(first) < REFUSALS_LIMIT:
                first.append(failed)
                all_refused = all(one.calls_for(Action.REFUSED) for one in first)
                if len(first) == REFUSALS_LIMIT and all_refused and not counts["done"]:
                    self._refusal = error
                    self.limit.stop()
        if failed.calls_for(Action.GONE):
            counts.add(gone=1)
            return
        counts.add(failed=1)
        if self._engine.breaker.error is None:
            self._engine.logger.warning(
                f"{name}: {slice_.label} failed permanently: {error.message}"
                + (" The stream continues and will be marked incomplete." if is_first else "")
            )

    def finish(self, error: AirbyteTracedException | None) -> None:
        """Close the window, owing what failed.

        :param error: why slices were not even generated
        :raises AirbyteTracedException: the one error of the stream
        """
        stopped = self._engine.breaker.error
        reason = ListrakError(stopped.fault, stopped.detail) if stopped else self._refusal or error
        if reason is not None:
            raise reason
        owed, name = self._owed_now(), self._stream.table.name
        failed = [one for one in self._failures.values() if not one.calls_for(Action.GONE)]
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
        if failed:
            oldest = min(self._owed[one.slice.key].noticed for one in failed)
            cause = failed[0].error
            raise AirbyteTracedException(
                message=f"{cause.message} ({len(failed):,} failed, beginning with "
                f"{failed[0].slice.label}; owed since {oldest:%Y-%m-%d %H:%M} UTC. Each sync "
                "requests them again.)",
                internal_message=cause.internal_message,
                failure_type=cause.failure_type,
            )

    def _owed_now(self) -> list[Owed]:
        """Return what is owed when the window closes."""
        plan = self._plan
        kept = {
            key: one
            for key, one in self._owed.items()
            if key[0] in self._lists and (len(key) > 1 or plan.is_postponed(key))
        }
        for key, failed in self._failures.items():
            noticed = plan.owed[key].noticed if key in plan.owed else plan.end
            kept[key] = Owed(key, failed.slice.read_to, noticed, failed.calls_for(Action.GONE))
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


@dataclass(eq=False)
class SliceGenerator(PartitionGenerator):
    """Hands out the slices of a table in order, each when its turn has come."""

    stream: SlicedStream
    cursor: StateCursor
    engine: Engine

    def generate(self) -> Iterable[Partition]:
        """Yield a partition for each slice that is not done yet.

        :raises AirbyteTracedException: at the end, when a slice failed: one for each stream
        """
        self.stream.counts.began()
        failed: AirbyteTracedException | None = None
        try:
            yield from self._partitions()
        except AirbyteTracedException as error:
            failed = error
        except Exception as error:
            failed = unexpected(self.stream.table.name, error)
        self.cursor.limit.wait_for_all()
        self.cursor.finish(failed)

    def _partitions(self) -> Iterator[Partition]:
        stream, cursor, warn = self.stream, self.cursor, self.engine.logger.warning
        pages = part_pages(self.engine.workers)
        for slice_ in stream.stream_slices():
            if isinstance(slice_, FailedSlice):
                cursor.begin(slice_.slice)
                cursor.fail(slice_.slice, slice_.error)
            elif cursor.begin(slice_):
                stream.counts.add(known=1)
                if cursor.limit.acquire():
                    read = SliceRead(stream, slice_, pages, self._divide, warn)
                    yield SlicePartition(stream, read, Part())
            if cursor.limit.is_stopped:
                return

    def _divide(self, slice_read: SliceRead, rest: Part) -> bool:
        """Leave the rest of a long slice to an idle worker.

        It goes straight to the queue, not through the generator, which may be waiting for the
        messages of the next list. Its turn is taken before the turn of the part before it ends, so
        a wait for all slices includes the rest.
        """
        if not self.cursor.limit.acquire(wait=False):
            return False
        self.engine.messages.put(SlicePartition(self.stream, slice_read, rest))
        return True
