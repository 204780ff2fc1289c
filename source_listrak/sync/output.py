"""How records and states of the workers are emitted, in the order in which they were queued.

Record by record, the CDK takes 11 us of CPU from a worker to the output. So each worker serializes
the records of a page itself, and the CDK passes the batch on as if it were one record.
"""

import queue
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from airbyte_cdk import models
from airbyte_cdk.sources.connector_state_manager import ConnectorStateManager
from airbyte_cdk.sources.types import Record
from airbyte_cdk.utils.stream_status_utils import as_airbyte_message

from source_listrak.soap.rows import DamagedRow

BATCH_RECORDS = 1000
"""Records of one batch, at most."""

QUEUE_ITEMS = 40
"""Batches and other messages that wait for the output, at most: about 10 MB of batches. There is
one queue for all, since on two, a state could overtake the records that it counts."""

_KEY = "batch"
_LINE_END = orjson.Fragment(b"\n")


class RecordBatch:
    """Some records of one stream, serialized.

    :ivar lines: a line for each record message, UTF-8
    :ivar count: the number of records
    """

    def __init__(self, stream: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.stream = stream
        self.count = len(rows)
        head = b'{"type":"RECORD","record":{"stream":%b,"data":' % orjson.dumps(stream)
        tail = b',"emitted_at":%d}}\n' % (time.time_ns() // 1_000_000)
        # One call for all rows costs a tenth of a call for each. JSON has no raw line end within
        # its texts, so the separators are unambiguous.
        separated = [
            item
            for row in rows
            for item in (_with_changes(row) if type(row) is DamagedRow else row, _LINE_END)
        ]
        lines = orjson.dumps(separated[:-1])[1:-1]
        self.lines = head + lines.replace(b",\n,", tail + head) + tail

    def messages(self) -> Iterator[models.AirbyteMessage]:
        """Yield the records as single messages."""
        for line in self.lines.splitlines():
            yield models.AirbyteMessageSerializer.load(orjson.loads(line))


def _with_changes(row: DamagedRow) -> orjson.Fragment:
    """Return a row, followed by the record's `meta`, which names the values set to null."""
    change = {"change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"}
    meta = {"changes": [{"field": field, **change} for field in row.nulled]}
    return orjson.Fragment(orjson.dumps(row) + b',"meta":' + orjson.dumps(meta))


def as_batches(stream: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Record]:
    """Yield records of the CDK, each of which carries a batch."""
    for first in range(0, len(rows), BATCH_RECORDS):
        batch = RecordBatch(stream, rows[first : first + BATCH_RECORDS])
        yield Record({_KEY: batch}, stream_name=stream)


def batch_of(message: models.AirbyteMessage) -> RecordBatch | None:
    """Return the batch that a message carries, None for any other message."""
    batch = message.record.data.get(_KEY) if message.record else None
    return batch if isinstance(batch, RecordBatch) else None


def release(full: queue.Queue[Any]) -> None:
    """Release the workers that wait for room: no one reads the queue any more."""
    with full.not_full:
        full.maxsize = sys.maxsize
        full.not_full.notify_all()


def rate_limited(stream: str) -> models.AirbyteMessage:
    """Return the status of a stream that waits for a rate limit of the service."""
    reason = models.AirbyteStreamStatusReasonType.RATE_LIMITED
    return as_airbyte_message(
        models.StreamDescriptor(name=stream),
        models.AirbyteStreamStatus.RUNNING,
        [models.AirbyteStreamStatusReason(type=reason)],
    )


def state_message(stream: str, state: Mapping[str, Any]) -> models.AirbyteMessage:
    """Return the state of a stream."""
    manager = ConnectorStateManager()
    manager.update_state_for_stream(stream, None, state)
    return manager.create_state_message(stream, None)
