"""How the CDK's concurrent source meets a table: generator, partition and cursor."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from airbyte_cdk.models import (
    AirbyteEstimateTraceMessage,
    AirbyteMessage,
    AirbyteStateBlob,
    AirbyteStateMessage,
    AirbyteStateType,
    AirbyteStreamState,
    AirbyteTraceMessage,
    EstimateType,
    StreamDescriptor,
    TraceType,
    Type,
)
from airbyte_cdk.sources.streams.concurrent.cursor import Cursor
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.streams.concurrent.partitions.partition_generator import (
    PartitionGenerator,
)
from airbyte_cdk.sources.types import Record
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak.account import UNKNOWN
from source_listrak.cursor import MAX_SKIPPED, Interval, Progress
from source_listrak.pages import as_records
from source_listrak.soap.faults import Action, ListrakError, unexpected

if TYPE_CHECKING:
    from source_listrak.streams.base import ListrakStream, Slice

STATE_INTERVAL = 10.0
"""Seconds between two states of a stream while it runs."""


class Outstanding:
    """Counts the slices (and parts of them) that are out; makes the next slice wait for its turn.

    As many as there are workers: that keeps the workers busy and the state small.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._out = 0
        self._is_stopped = False
        self._is_abandoned = False
        self._changed = threading.Condition()

    def take(self) -> None:
        """Wait until one more slice may be out (or the sync is stopped)."""
        with self._changed:
            self._changed.wait_for(lambda: self._out < self._most or self._is_stopped)
            self._out += 1

    def take_if_free(self) -> bool:
        """Take a turn for the rest of a slice, if nothing else has taken it: never wait."""
        with self._changed:
            is_free = self._out < self._most and not self._is_stopped
            self._out += is_free
            return is_free

    def give_back(self) -> None:
        """Note that a slice (or a part of one) is finished, one way or the other."""
        with self._changed:
            self._out -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Let whoever waits for a turn go on, to find that the sync is stopped."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def wait_for_all(self) -> None:
        """Wait until no slice is out; each one ends, since every wait of a request has a limit."""
        with self._changed:
            self._changed.wait_for(lambda: self._out == 0 or self._is_abandoned)

    def abandon(self) -> None:
        """Let everybody go on: nobody reads the output any more, nor starts slices handed out."""
        with self._changed:
            self._is_stopped = self._is_abandoned = True
            self._changed.notify_all()


class SlicePartition(Partition):
    """One slice, or a part of one that proved long, being read by one worker."""

    def __init__(
        self, stream: ListrakStream, cursor: StateCursor, piece: Slice, number: int
    ) -> None:
        self._stream = stream
        self._cursor = cursor
        self.piece = piece
        self.number = number
        self.error: AirbyteTracedException | None = None

    def read(self) -> Iterable[Record]:
        """Yield records or pages; an error is kept for the cursor, which does not count the slice.

        Not raised: the CDK would print one trace for each slice that failed, where the person
        needs one for each stream.
        """
        name = self._stream.name
        if self._stream.sync.pages:
            handed_over = partial(as_records, name)
        else:
            handed_over = partial(map, partial(Record, stream_name=name))
        progress = self._stream.progress
        piece = self.piece
        if piece.last_page is None:
            piece = replace(piece, divide=self._divide)
        try:
            self._cursor.check(self.number)
            for rows in self._stream.read_pages(piece):
                # Never an empty record: the CDK takes a falsy queue item for the end of the sync.
                rows = [row for row in rows if row] if not all(rows) else rows
                progress.add(records=len(rows))
                yield from handed_over(rows)
                self._cursor.check(self.number)
        except AirbyteTracedException as error:
            self.error = error
        except Exception as error:
            self.error = unexpected(name, error)

    def _divide(self, last_page: int) -> bool:
        """Leave the pages after `last_page` to an idle worker; False when there is none.

        The rest goes straight to the queue, not through the generator: that may be waiting for the
        messages of the next list. Its turn is taken before this part's is given back, so whoever
        waits for all slices waits for the rest, too.
        """
        if not self._cursor.divide(self.number):
            return False
        rest = replace(
            self.piece,
            first_page=last_page + 1,
            first_rows=None,
            expected_rows=UNKNOWN,
            is_rest=True,
        )
        self.piece = replace(self.piece, last_page=last_page)
        self._stream.sync.queue.put(SlicePartition(self._stream, self._cursor, rest, self.number))
        return True

    def to_slice(self) -> Mapping[str, Any]:
        """Return what names the slice in the CDK's debug log."""
        return {"slice": self.piece.label}

    def stream_name(self) -> str:
        """Return the table's name."""
        return self._stream.name

    def __hash__(self) -> int:
        return hash((self._stream.name, self.number))


class StateCursor(Cursor):
    """Counts finished slices and emits states, each after the records that it counts."""

    def __init__(self, stream: ListrakStream) -> None:
        self._stream = stream
        self._plan = stream.plan
        self._lists = stream.list_ids()
        self._progress = Progress(self._plan.done)
        self._most_intervals = stream.config.num_workers + 1
        self._skipped = list(self._plan.skipped)
        self._skipped_now: set[tuple[int, int]] = set()
        self._read_now: dict[tuple[int, int], set[tuple[int, int | None]]] = {
            message: set() for message in self._skipped
        }
        """Of the messages skipped before: the spans of pages read by now."""
        self._lock = threading.Lock()
        self._emitting = threading.Lock()
        self._emitted_at = time.monotonic()
        self._error: AirbyteTracedException | None = None
        self._failures = 0
        self._failed: dict[int, AirbyteTracedException] = {}
        """By the number of a slice: why it failed."""
        self._is_complete = False
        self.outstanding = Outstanding(stream.config.num_workers)
        stream.sync.breaker.on_trip(self.outstanding.stop)

    @property
    def state(self) -> MutableMapping[str, Any]:
        """The state as of now."""
        # First what is done, then what of it was skipped: no message falls between the two.
        done = self._progress.intervals(self._most_intervals)
        with self._lock:
            skipped = list(self._skipped)
            if self._is_complete:
                skipped = [message for message in skipped if not self._is_recovered(message)]
                return self._plan.complete(self._lists, skipped).as_json()
        return self._plan.running(self._lists, done, skipped).as_json()

    def begin(self, key: Interval) -> int | None:
        """Return the number of the next slice; None when an earlier attempt has done it."""
        number = self._progress.begin()
        if self._progress.is_already_done(key):
            self._progress.done(number, key)
            return None
        return number

    def divide(self, number: int) -> bool:
        """Take a turn for one more part of a slice; False when none is free."""
        if not self.outstanding.take_if_free():
            return False
        self._progress.divide(number)
        return True

    def check(self, number: int) -> None:
        """Raise the error of a slice when another part of it failed: it has to be read anew."""
        error = self._failed.get(number)
        if error is not None:
            raise error

    def observe(self, record: Record) -> None:
        """Do nothing: slices are counted, not records."""

    def close_partition(self, partition: Partition) -> None:
        """Count a slice, whose records are all on the queue, or note why it failed.

        A slice that was divided is counted with the last of its parts to be closed, when the
        records of each are on the queue; one part that failed leaves all of it open.
        """
        assert isinstance(partition, SlicePartition)
        error, piece = partition.error, partition.piece
        try:
            if isinstance(error, ListrakError) and error.fault.action is Action.SKIP:
                self._skip(piece, error)
            elif error is not None:
                self.fail(error, piece.label, partition.number)
                return
            elif piece.message is not None:
                self._read_of_skipped(piece)
            if self._progress.done(partition.number, piece.key):
                self._stream.progress.add(done=1)
                self.emit_state(after=STATE_INTERVAL)
        finally:
            self.outstanding.give_back()

    def fail(self, error: AirbyteTracedException, label: str, number: int | None = None) -> None:
        """Note that a slice failed for good: the stream reads on and ends incomplete.

        :param number: of the slice, which counts once, however many of its parts fail
        """
        with self._lock:
            if number is not None:
                if number in self._failed:
                    return
                self._failed[number] = error
            first = self._error is None
            self._error = self._error or error
            self._failures += 1
        self._stream.progress.add(failed=1)
        if self._stream.sync.breaker.error is None:
            self._stream.sync.logger.warning(
                f"{self._stream.name}: {label} failed for good: {error.message}"
                + (" The stream reads on, and ends incomplete." if first else "")
            )

    def finish(self) -> None:
        """Raise the one error of the stream, or count the whole window as done."""
        with self._lock:
            if self._error is None and not self._progress.is_all_done:
                # No slice is left open without an error, but when nobody reads the output any
                # more; should one be, the window must not count as done.
                self._error = self._stream.sync.breaker.error or unexpected(
                    self._stream.name, RuntimeError("a slice was left open")
                )
            if self._error is None:
                self._is_complete = True
                return
            error, failures = self._error, self._failures
        stopped = self._stream.sync.breaker.error
        if stopped is not None:
            raise ListrakError(stopped.fault, stopped.detail) from None
        if failures > 1:
            # A new one: what failed for several streams is the same error in each.
            raise AirbyteTracedException(
                message=f"{error.message} ({failures} slices failed in all)",
                internal_message=error.internal_message,
                failure_type=error.failure_type,
            )
        raise error

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
            message = AirbyteMessage(
                type=Type.STATE,
                state=AirbyteStateMessage(
                    type=AirbyteStateType.STREAM,
                    stream=AirbyteStreamState(
                        stream_descriptor=StreamDescriptor(name=self._stream.name),
                        stream_state=AirbyteStateBlob(self.state),
                    ),
                ),
            )
            self._stream.sync.repository.emit_message(message)
        finally:
            self._emitting.release()

    def ensure_at_least_one_state_emitted(self) -> None:
        """Emit the last state; the CDK calls this after failures, too, so it only says what is."""
        self._stream.progress.ended()
        self.emit_state()

    def should_be_synced(self, record: Record) -> bool:
        """Emit every record."""
        return True

    def _skip(self, piece: Slice, error: ListrakError) -> None:
        assert piece.message is not None
        with self._lock:
            is_known = piece.message in self._skipped_now
            self._skipped_now.add(piece.message)
            if piece.message not in self._skipped:
                self._skipped.append(piece.message)
            dropped = self._skipped[:-MAX_SKIPPED]
            del self._skipped[:-MAX_SKIPPED]
        if not is_known:
            self._stream.progress.add(skipped=1)
            self._stream.sync.logger.warning(f"{self._stream.name}: {error.message}")
        for _, message in dropped:
            self._stream.sync.logger.warning(
                f"{self._stream.name}: more than {MAX_SKIPPED} messages were skipped, so message "
                f"{message} is forgotten: only a full refresh asks it again."
            )

    def _read_of_skipped(self, piece: Slice) -> None:
        """Note what was read of a message that was skipped before.

        It is only forgotten when the window is complete: until then, an attempt that has to read
        it again must read it since the start date again.
        """
        assert piece.message is not None
        with self._lock:
            if piece.message in self._read_now:
                self._read_now[piece.message].add((piece.first_page, piece.last_page))

    def _is_recovered(self, message: tuple[int, int]) -> bool:
        """Tell whether all pages of a message that was skipped before were read by this attempt."""
        if message in self._skipped_now:
            return False
        page = 1
        for first, last in sorted(self._read_now.get(message, ()), key=lambda pages: pages[0]):
            if first != page:
                return False
            if last is None:
                return True
            page = last + 1
        return False


class Estimate:
    """Tells the platform how many records to expect, as far as the counters have told by now.

    Counters count from the beginning of a message, so a stream that reads only what is new of one
    is not estimated.
    """

    def __init__(self, stream: ListrakStream) -> None:
        self._stream = stream
        self._rows = 0
        self._is_known = True
        self._emitted_at = time.monotonic()

    def add(self, rows: int | None) -> None:
        """Count a slice; None: nobody knows how many rows it has."""
        if rows is None:
            self._is_known = False
            return
        self._rows += rows
        if time.monotonic() - self._emitted_at >= STATE_INTERVAL:
            self.emit()

    def emit(self) -> None:
        """Put the estimate on the queue, if there is one."""
        self._emitted_at = time.monotonic()
        if self._is_known:
            self._stream.sync.queue.put(
                AirbyteMessage(
                    type=Type.TRACE,
                    trace=AirbyteTraceMessage(
                        type=TraceType.ESTIMATE,
                        emitted_at=time.time() * 1000,
                        estimate=AirbyteEstimateTraceMessage(
                            name=self._stream.name,
                            type=EstimateType.STREAM,
                            row_estimate=self._rows,
                        ),
                    ),
                )
            )


class SliceGenerator(PartitionGenerator):
    """Hands out the slices of a table in order, each when its turn has come."""

    def __init__(self, stream: ListrakStream, cursor: StateCursor) -> None:
        self._stream = stream
        self._cursor = cursor

    def generate(self) -> Iterable[Partition]:
        """Yield a partition for each slice that is not done yet.

        :raises AirbyteTracedException: at the end, when a slice failed: one for each stream
        """
        stream, cursor = self._stream, self._cursor
        breaker = stream.sync.breaker
        stream.progress.began()
        estimate = Estimate(stream)
        try:
            for piece in stream.slices():
                number = cursor.begin(piece.key)
                if number is None:
                    continue
                stream.progress.add(known=1)
                estimate.add(piece.estimate)
                if piece.error is not None:
                    cursor.fail(piece.error, piece.label)
                    continue
                cursor.outstanding.take()
                if breaker.error is not None:
                    cursor.outstanding.give_back()
                    break
                yield SlicePartition(stream, cursor, piece, number)
            breaker.check()
            estimate.emit()
        except ListrakError as error:
            cursor.fail(error, "the rest of the stream")
        except Exception as error:
            cursor.fail(unexpected(stream.name, error), "the rest of the stream")
        cursor.outstanding.wait_for_all()
        cursor.finish()
