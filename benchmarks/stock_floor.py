"""The stock floor: made-up records, by nothing but what the CDK offers a source.

`entrypoint.launch`, a concurrent source with its own `queue.Queue`, its stream and its cursor for
full refreshes; only the partitions are written here, since something has to hold the records.

Run: python -m benchmarks.stock_floor <records> <records of a partition> read --config ...
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from airbyte_cdk.entrypoint import launch
from airbyte_cdk.models import ConnectorSpecification
from airbyte_cdk.sources.concurrent_source.concurrent_source import ConcurrentSource
from airbyte_cdk.sources.concurrent_source.concurrent_source_adapter import ConcurrentSourceAdapter
from airbyte_cdk.sources.message import InMemoryMessageRepository
from airbyte_cdk.sources.streams import Stream
from airbyte_cdk.sources.streams.concurrent.abstract_stream_facade import AbstractStreamFacade
from airbyte_cdk.sources.streams.concurrent.cursor import FinalStateCursor
from airbyte_cdk.sources.streams.concurrent.default_stream import DefaultStream
from airbyte_cdk.sources.streams.concurrent.partitions.partition import Partition
from airbyte_cdk.sources.streams.concurrent.partitions.partition_generator import (
    PartitionGenerator,
)
from airbyte_cdk.sources.types import Record
from airbyte_cdk.sources.utils.slice_logger import DebugSliceLogger

NAME = "message_opens"
WORKERS = 10
_LOGGER = logging.getLogger("airbyte")


class CannedPartition(Partition):
    """The records of one message."""

    def __init__(self, first: int, rows: int) -> None:
        self._first, self._rows = first, rows

    def read(self) -> Iterable[Record]:
        """Yield records like the simulator's."""
        for number in range(self._rows):
            row = {
                "ContactID": f"contact-{number:012d}",
                "EmailAddress": f"recipient{number}@example.com",
                "OpenDate": "2023-07-04T15:16:17.123000Z",
                "MsgID": 4711,
            }
            yield Record(data=row, stream_name=NAME)

    def to_slice(self) -> Mapping[str, Any]:
        """Return the identity of the partition."""
        return {"first": self._first}

    def stream_name(self) -> str:
        """Return the table's name."""
        return NAME

    def __hash__(self) -> int:
        return hash((NAME, self._first))


class CannedPartitions(PartitionGenerator):
    """A partition for each message."""

    def __init__(self, total: int, of_partition: int) -> None:
        self._total, self._of_partition = total, of_partition

    def generate(self) -> Iterable[Partition]:
        """Yield the partitions."""
        for first in range(0, self._total, self._of_partition):
            yield CannedPartition(first, min(self._of_partition, self._total - first))


class CannedStream(Stream, AbstractStreamFacade[DefaultStream]):
    """A stream as the adapter takes it."""

    name = NAME
    primary_key = None

    def __init__(self, underlying: DefaultStream) -> None:
        self._underlying = underlying

    def get_underlying_stream(self) -> DefaultStream:
        """Return the stream that is read."""
        return self._underlying

    def read_records(self, *_: Any, **__: Any) -> Iterable[Mapping[str, Any]]:
        """Return nothing: the underlying stream is read."""
        return []


class StockSource(ConcurrentSourceAdapter):
    """A concurrent source with one stream."""

    def __init__(self, total: int, of_partition: int) -> None:
        self._repository = InMemoryMessageRepository()
        source = ConcurrentSource.create(WORKERS, 1, _LOGGER, DebugSliceLogger(), self._repository)
        super().__init__(source)
        self._partitions = CannedPartitions(total, of_partition)

    @property
    def message_repository(self) -> InMemoryMessageRepository:
        """Where the cursor puts its state."""
        return self._repository

    def spec(self, logger: logging.Logger) -> ConnectorSpecification:
        """Accept any configuration."""
        return ConnectorSpecification(connectionSpecification={})

    def check_connection(
        self, logger: logging.Logger, config: Mapping[str, Any]
    ) -> tuple[bool, Any]:
        """Succeed: there is nothing to connect to."""
        return True, None

    def streams(self, config: Mapping[str, Any]) -> list[Stream]:
        """Return the one stream."""
        underlying = DefaultStream(
            partition_generator=self._partitions,
            name=NAME,
            json_schema={},
            primary_key=[],
            cursor_field=None,
            logger=_LOGGER,
            cursor=FinalStateCursor(NAME, None, self._repository),
        )
        return [CannedStream(underlying)]


if __name__ == "__main__":
    total, of_partition = int(sys.argv.pop(1)), int(sys.argv.pop(1))
    launch(StockSource(total, of_partition), sys.argv[1:])
