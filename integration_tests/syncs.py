"""A connection that syncs again and again, in the process of the test."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteStateMessageSerializer,
    ConfiguredAirbyteCatalogSerializer,
)
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests.harness import NINE, catalog, make_config, multiset
from integration_tests.inprocess import Destination, DirectService, as_json
from simulator import RequestRecord, Truth
from source_listrak import SourceListrak

Message = dict[str, Any]
Records = list[dict[str, Any]]

DAY = timedelta(days=1)
EVENTS = ("message_bounces", "message_clicks", "message_opens", "message_reads", "message_unsubs")


@dataclass
class Outcome:
    """What one sync wrote and requested.

    :ivar began: the first instant that the account showed
    :ivar ended: the last one
    :ivar error: what ended the sync, None where it succeeded
    :ivar warnings: the log's warnings
    :ivar is_cut: whether the reader stopped reading before the end
    """

    began: datetime
    ended: datetime
    messages: list[Message] = field(default_factory=list)
    requests: list[RequestRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: AirbyteTracedException | None = None
    is_cut: bool = False

    def records(self, table: str) -> Records:
        """Return the records of a table, committed or not."""
        return [
            one["record"]["data"]
            for one in self.messages
            if one["type"] == "RECORD" and one["record"]["stream"] == table
        ]

    def states(self, table: str) -> list[dict[str, Any]]:
        """Return the states of a stream, in their order."""
        streams = [one["state"]["stream"] for one in self.messages if one["type"] == "STATE"]
        return [one["stream_state"] for one in streams if one["stream_descriptor"]["name"] == table]

    @property
    def statuses(self) -> dict[str, str]:
        """The last status of each stream."""
        traces = [one["trace"] for one in self.messages if one["type"] == "TRACE"]
        found = [one["stream_status"] for one in traces if one["type"] == "STREAM_STATUS"]
        return {one["stream_descriptor"]["name"]: one["status"] for one in found}

    @property
    def errors(self) -> dict[str, str]:
        """The error of each stream."""
        traces = [one["trace"] for one in self.messages if one["type"] == "TRACE"]
        found = [one["error"] for one in traces if one["type"] == "ERROR"]
        return {
            one["stream_descriptor"]["name"]: one["message"]
            for one in found
            if one.get("stream_descriptor")
        }

    def arguments(self, operation: str) -> list[dict[str, Any]]:
        """Return the arguments of the requests for an operation."""
        return [one.arguments for one in self.requests if one.operation == operation]


class Connection:
    """One connection between a simulated account and a destination.

    :param tables: the streams that are selected
    :param options: of the configuration
    """

    def __init__(
        self, service: DirectService, tables: Iterable[str] = NINE, **options: Any
    ) -> None:
        self.service = service
        self.tables = tuple(tables)
        self.options = options
        self.destination = Destination()

    def state(self, table: str) -> dict[str, Any]:
        """Return the committed state of a stream."""
        return self.destination.stream_state(table)

    def committed(self, table: str) -> Records:
        """Return the committed records of a table."""
        return self.destination.committed.get(table, [])

    def sync(
        self,
        now: datetime,
        *,
        cut: int | None = None,
        fails: bool = False,
        mode: str = "incremental",
        tables: Iterable[str] | None = None,
        **options: Any,
    ) -> Outcome:
        """Sync at an instant, and commit what states cover.

        :param cut: stop reading after this number of messages
        :param fails: whether the sync may fail
        :param tables: instead of all
        :param options: of the configuration, for this sync and those that follow
        """
        self.options |= options
        service = self.service
        service.reset_counts()
        settings = service.at(now)
        outcome = Outcome(now, now)
        logger = logging.Logger("airbyte.syncs", logging.WARNING)
        logger.addHandler(_ListHandler(outcome.warnings))
        output = SourceListrak(settings).read(
            logger,
            make_config(service, **self.options),
            ConfiguredAirbyteCatalogSerializer.load(
                catalog(self.tables if tables is None else tables, mode)
            ),
            [AirbyteStateMessageSerializer.load(one) for one in self.destination.state],
        )
        try:
            for message in output:
                parsed = _parsed(message)
                outcome.messages.append(parsed)
                self.destination.take(parsed)
                if len(outcome.messages) == cut:
                    output.close()  # type: ignore[attr-defined]  # a generator
                    outcome.is_cut = True
                    break
        except AirbyteTracedException as error:
            outcome.error = error
        self.destination.end()
        outcome.ended = datetime.fromtimestamp(service.account.now / 1e6, timezone.utc)
        outcome.requests = service.requests
        if outcome.error is not None and not fails:
            raise outcome.error
        return outcome

    def missing(
        self, since: datetime, until: datetime, *, now: datetime | None = None
    ) -> dict[str, int]:
        """Count the rows that were to be seen and were not committed, by table.

        :param since: the start date
        :param until: rows dated before this instant, and those of messages sent before it
        :param now: the instant at which the account is seen; by default, as it is now
        """
        truth = Truth(self.service.account, since, until, now=now)
        found = {}
        for table in self.tables:
            have = multiset(self.committed(table))
            lost = sum(row not in have for row in multiset(truth.records(table)))
            if lost:
                found[table] = lost
        return found


class _ListHandler(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())


def _parsed(message: AirbyteMessage) -> Message:
    if message.record is not None:  # without a round through JSON: most messages are records
        record = {"stream": message.record.stream, "data": message.record.data}
        return {"type": "RECORD", "record": record}
    return as_json(message)


def text(instant: datetime) -> str:
    """Return an instant in the form of the connector's dates."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
