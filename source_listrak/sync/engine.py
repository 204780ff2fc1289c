"""How the CDK's concurrent source reads a stream: by partitions that a cursor hands out."""

import logging
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import airbyte_cdk as cdk
from airbyte_cdk import AirbyteTracedException, models
from airbyte_cdk.sources.streams.concurrent.default_stream import DefaultStream
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.streams.concurrent.partitions.partition_generator import PartitionGenerator
from airbyte_cdk.sources.utils.slice_logger import DebugSliceLogger

from source_listrak.errors import as_traced
from source_listrak.soap.faults import Action, SyncStopped
from source_listrak.soap.throttle import StopSwitch
from source_listrak.sync import output
from source_listrak.sync.ledger import Ledger
from source_listrak.sync.plan import StreamPlan
from source_listrak.sync.progress import StreamCounts
from source_listrak.sync.reader import PageSource, Part, SliceRead, part_pages
from source_listrak.sync.slices import FailedSlice, Slice
from source_listrak.sync.state import DEFERRED_LIMIT
from source_listrak.tables import schema


class SyncFailed(AirbyteTracedException):
    """Streams failed; the error of each was emitted."""


class SlicedStream(PageSource, Protocol):
    """What the engine needs of a stream."""

    plan: StreamPlan
    counts: StreamCounts

    @property
    def primary_key(self) -> list[str]:
        """The columns of the key."""

    @property
    def newest(self) -> datetime | None:
        """The date of the newest row seen in this sync."""

    def settle_failures(self) -> None:
        """Let the login decide whether the service is down, if the last requests failed."""

    def list_ids(self) -> list[int]:
        """Return the lists of this sync, ascending; (0,) for the whole account."""

    def stream_slices(self) -> Iterable[Slice | FailedSlice]:
        """Yield what this sync reads: what is deferred first, then ascending by key."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Reads the streams of one sync by the CDK's concurrent source.

    :param workers: maximum slices of one stream in progress
    :param state_interval: seconds between two states of a running stream
    :param messages: the queue of records, states and traces
    :param repository: messages of the thread that writes
    """

    workers: int
    breaker: StopSwitch
    logger: logging.Logger
    state_interval: float
    messages: queue.Queue[Any] = field(default_factory=partial(queue.Queue, output.QUEUE_ITEMS))
    repository: cdk.InMemoryMessageRepository = field(default_factory=cdk.InMemoryMessageRepository)

    def emit_rate_limited(self, stream: str) -> None:
        """Emit the status of a stream that waits for a rate limit."""
        self.messages.put(output.rate_limited(stream))

    def read(self, streams: Sequence[SlicedStream]) -> Iterator[models.AirbyteMessage]:
        """Yield the messages of all streams, with records in batches.

        :raises SyncFailed: some streams ended incomplete
        """
        # The CDK logs less than the summary, counts a batch as one record, and logs errors twice.
        logger = self.logger.getChild("concurrent")
        logger.setLevel(logging.CRITICAL)
        # Partition generators occupy pool threads while they wait, so they are added to the
        # workers; the client limits the requests in flight.
        source = cdk.ConcurrentSource.create(
            num_workers=self.workers + len(streams),
            initial_number_of_partitions_to_generate=len(streams),
            logger=logger,
            slice_logger=DebugSliceLogger(),
            message_repository=self.repository,
            queue=self.messages,
        )
        cursors = [SliceCursor(stream, self) for stream in streams]
        underlying: Any = [cursor.as_stream() for cursor in cursors]
        incomplete: list[str] = []
        try:
            for message in source.read(underlying):
                status = message.trace.stream_status if message.trace else None
                if status is not None and status.status == models.AirbyteStreamStatus.INCOMPLETE:
                    incomplete.append(status.stream_descriptor.name)
                yield message
        except AirbyteTracedException as error:
            if not incomplete:
                raise
            stopped, transient = self.breaker.error, models.FailureType.transient_error
            raise SyncFailed(
                message=f"These streams did not sync completely: {', '.join(incomplete)}. See the "
                "error reported for each stream.",
                internal_message=error.internal_message,
                failure_type=stopped.failure_type if stopped else transient,
            ) from None
        finally:
            # However the sync ended, no worker may send another request, and no thread may wait
            # for a reader that is gone.
            output.release(self.messages)
            self.breaker.interrupt()
            for cursor in cursors:
                cursor.slots.release(sys.maxsize)


class SliceSlots:
    """Limits how many slices (and parts of them) are in progress.

    As many as there are workers: that keeps the workers busy and the state small.
    """

    def __init__(self, limit: int) -> None:
        self._free, self._limit = limit, limit
        self._changed = threading.Condition()

    def acquire(self, *, wait: bool = True) -> bool:
        """Take a slot, after waiting for a free one; return whether one was taken."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._free > 0)
            is_free = self._free > 0
            self._free -= is_free
            return is_free

    def release(self, slots: int = 1) -> None:
        """Note that a slice, or a part of one, has ended; more slots release all who wait."""
        with self._changed:
            self._free += slots
            self._changed.notify_all()

    def wait_for_all(self) -> None:
        """Wait until no slice is in progress; every wait of a request has a limit, so each ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= self._limit)


@dataclass(eq=False)
class SlicePartition(Partition):
    """One slice, or a part of a long one, being read by one worker."""

    stream: SlicedStream
    slice_read: SliceRead
    part: Part

    __hash__ = object.__hash__

    def read(self) -> Iterable[cdk.Record]:
        """Yield batches of records; the slice keeps its error for the cursor.

        Not raised: the CDK would emit an error for each slice that failed, where the user needs
        one for each stream.
        """
        lists = self.slice_read.slice.only_lists
        try:
            for rows in self.slice_read.read(self.part):
                # Never an empty record: the CDK takes a falsy queue item for the end of the sync.
                records = [
                    row for row in rows if row and (lists is None or row.get("ListID") in lists)
                ]
                self.stream.counts.add(records=len(records))
                batches = list(output.as_batches(self.stream_name(), records))
                # Rows take five times the memory of their text, and the queue may be full.
                rows.clear()
                records.clear()
                yield from batches
        except Exception as error:
            self.slice_read.error = self.slice_read.error or error

    def to_slice(self) -> Mapping[str, Any]:
        """Return what names the slice in the CDK's debug log."""
        return {"slice": self.slice_read.slice.label}

    def stream_name(self) -> str:
        """Return the table's name."""
        return self.stream.table.name


class SliceCursor(cdk.Cursor, PartitionGenerator):
    """Hands out the slices of a stream in order, and emits its state and its one error.

    Each state that it emits comes after the records that it counts.
    """

    def __init__(self, stream: SlicedStream, engine: Engine) -> None:
        self._stream, self._engine = stream, engine
        self._ledger = Ledger(stream.plan, stream.list_ids())
        self._error: AirbyteTracedException | None = None
        """Why not all slices were handed out."""
        self._emitting = threading.Lock()
        self._emitted_at = time.monotonic()
        self.slots = SliceSlots(engine.workers)
        engine.breaker.on_trip(self.emit_state)

    @property
    def state(self) -> MutableMapping[str, Any]:
        """The state as of now."""
        return self._ledger.state().as_json()

    def as_stream(self) -> DefaultStream:
        """Return the stream as the CDK's concurrent source reads it."""
        table, logger = self._stream.table, self._engine.logger
        field = cdk.CursorField(table.cursor) if table.cursor else None
        json_schema, key = partial(schema, table.name), self._stream.primary_key
        return DefaultStream(self, table.name, json_schema, key, field, logger, self)

    def generate(self) -> Iterable[Partition]:
        """Yield a partition for each slice that is not done yet, as slots become free.

        :raises AirbyteTracedException: at the end, if a slice failed: one for each stream
        """
        self._stream.counts.is_running = True
        try:
            yield from self._partitions()
        except Exception as error:
            self._error = as_traced(self._stream.table.name, error)
        self.slots.wait_for_all()
        self._close_window()

    def _partitions(self) -> Iterator[Partition]:
        stream, pages = self._stream, part_pages(self._engine.workers)
        for slice_ in stream.stream_slices():
            if isinstance(slice_, FailedSlice):
                self._ledger.begin(slice_.slice.key)
                self._fail(slice_.slice, slice_.error)
            elif self._ledger.begin(slice_.key):
                stream.counts.add(known=1)
                self.slots.acquire()
                warn = self._engine.logger.warning
                read = SliceRead(stream, slice_, pages, self._divide, warn)
                yield SlicePartition(stream, read, Part())
            if self._engine.breaker.error is not None:
                return

    def _divide(self, slice_read: SliceRead, rest: Part) -> bool:
        """Leave the rest of a long slice to an idle worker.

        It goes straight to the queue, not through the generator, which may be waiting for the
        messages of the next list. Its slot is acquired before the preceding part releases its own,
        so `wait_for_all` includes it.
        """
        if not self.slots.acquire(wait=False):
            return False
        self._engine.messages.put(SlicePartition(self._stream, slice_read, rest))
        return True

    def observe(self, record: cdk.Record) -> None:
        """Do nothing: slices are counted, not records."""

    def should_be_synced(self, record: cdk.Record) -> bool:
        """Emit every record."""
        return True

    def close_partition(self, partition: Partition) -> None:
        """Count a slice, whose records are all on the queue, or note why it failed."""
        assert isinstance(partition, SlicePartition)
        slice_read = partition.slice_read
        try:
            if slice_read.error is not None:
                self._fail(slice_read.slice, slice_read.error)
            elif partition.part.finished_slice:
                self._finish(slice_read)
        finally:
            self.slots.release()

    def _finish(self, slice_read: SliceRead) -> None:
        slice_, counts = slice_read.slice, self._stream.counts
        self._ledger.finish(slice_.key)
        counts.add(done=1)
        is_short = slice_.read_to is None and slice_read.rows < slice_.expected_rows
        if is_short and counts.add(short_slices=1):
            self._engine.logger.warning(
                f"{self._stream.table.name}: {slice_.label} has {slice_read.rows:,} rows, but "
                f"Listrak's counter says at least {slice_.expected_rows:,}. Later cases are only "
                "counted in the summary."
            )
        self.emit_state(after=self._engine.state_interval)

    def _fail(self, slice_: Slice, error: Exception) -> None:
        """Note that a slice failed permanently; the stream continues."""
        name, counts = self._stream.table.name, self._stream.counts
        failed = FailedSlice(slice_, as_traced(name, error))
        if not self._ledger.fail(failed):
            return
        if failed.calls_for(Action.SKIP):
            counts.add(gone=1)
            return
        if self._engine.breaker.error is not None:
            return  # stopped, not failed
        counts.add(failed=1)
        self._engine.logger.warning(
            f"{name}: {slice_.label} could not be read: {failed.error.message}"
        )

    def _close_window(self) -> None:
        """Defer what failed.

        :raises AirbyteTracedException: the one error of the stream
        """
        name = self._stream.table.name
        if self._ledger.failures and self._engine.breaker.error is None:
            self._stream.settle_failures()
        if stopped := self._engine.breaker.error:
            raise SyncStopped(stopped.fault, stopped.detail)
        if self._error is not None:
            raise self._error
        deferred = self._ledger.close(self._stream.newest)
        failures = self._ledger.failures
        if len(deferred) > DEFERRED_LIMIT:
            raise AirbyteTracedException(
                message=f"{len(deferred):,} reports of {name} could not be read, more than the "
                "state can hold. Try again later; the next sync will read them again.",
                failure_type=next(iter(failures.values())).error.failure_type,
            )
        if gone := sum(one.gone for one in deferred.values()):
            self._engine.logger.warning(
                f"{name}: Listrak returned 404 for the reports of {gone:,} messages, conversations "
                "or lists, or they failed in every sync for 30 days. They were skipped; later "
                "syncs will try again."
            )
        # Slices that are deferred with their list are left out.
        found = [(deferred[key], one) for key, one in failures.items() if key in deferred]
        failed = [one for later, one in found if not later.gone]
        if failed:
            oldest = min(deferred[one.slice.key].noticed for one in failed)
            cause = failed[0].error
            raise AirbyteTracedException(
                message=f"{cause.message} ({len(failed):,} failed, the first being "
                f"{failed[0].slice.label}; failing since {oldest:%Y-%m-%d %H:%M} UTC. Every sync "
                "retries them.)",
                internal_message=cause.internal_message,
                failure_type=cause.failure_type,
            )

    def emit_state(self, *, after: float = 0.0) -> None:
        """Put the state on the queue, behind the records that it counts.

        :param after: seconds that must have passed since the last one
        """
        with self._emitting:  # an older state must not overtake a newer one
            if time.monotonic() - self._emitted_at >= after:
                self._emitted_at = time.monotonic()
                self._engine.messages.put(output.state_message(self._stream.table.name, self.state))

    def ensure_at_least_one_state_emitted(self) -> None:
        """Emit the last state; the CDK calls this on its main thread, also after failures."""
        self._stream.counts.is_running = False
        self._engine.repository.emit_message(
            output.state_message(self._stream.table.name, self.state)
        )
