"""What the streams of one running sync share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from source_listrak.account import Account, Record
from source_listrak.config import ListrakConfig
from source_listrak.handover import HandoverQueue
from source_listrak.progress import StreamProgress
from source_listrak.slicing import Window
from source_listrak.soap.dates import DateReader
from source_listrak.soap.envelope import EnvelopeBuilder
from source_listrak.soap.faults import Action, ListrakError
from source_listrak.soap.pace import CircuitBreaker
from source_listrak.soap.response import ResponseReader
from source_listrak.soap.transport import Counters, RetryPolicy, SoapClient

if TYPE_CHECKING:
    from airbyte_cdk.sources.message import MessageRepository

    from source_listrak.streams.base import ListrakStream

_INTEGER = {"type": ["null", "integer"]}
_DELIVERY = {"properties": {"MsgID": _INTEGER, "BounceCount": _INTEGER}}


class Sync:
    """The client, the account and the queue of one run.

    :param streams: the declarations of all tables by name
    :param pages: whether records are handed over by pages
    """

    def __init__(
        self,
        config: ListrakConfig,
        streams: Mapping[str, type[ListrakStream]],
        policy: RetryPolicy,
        queue: HandoverQueue,
        repository: MessageRepository,
        logger: logging.Logger,
        *,
        pages: bool = False,
    ) -> None:
        self.config = config
        self.zone = config.zone
        self.queue = queue
        self.repository = repository
        self.pages = pages
        self.logger = logger
        self.breaker = CircuitBreaker()
        self.envelopes = EnvelopeBuilder()
        self.client = SoapClient(
            config.endpoint,
            config.username,
            config.password,
            workers=config.num_workers,
            max_requests_per_second=config.max_requests_per_second,
            breaker=self.breaker,
            policy=policy,
            logger=logger,
        )
        self.parents = StreamProgress()
        """Counts the requests for lists, messages and delivery reports, which all streams share."""
        self.reads_bounces = False
        self.account = Account(self._fetch_lists, self._fetch_messages, self._fetch_delivery)
        self._dates = DateReader(self.zone)
        self._readers: dict[str, ResponseReader] = {}
        self._declarations = streams
        self._told_removed: set[str] = set()

    def date_of(self, wall: datetime) -> str:
        """Return a wall-clock time as the date that a response's row of that time gets."""
        date = self._dates.date_time(wall.isoformat())
        assert date is not None
        return date

    def reader(self, stream: ListrakStream | type[ListrakStream]) -> ResponseReader:
        """Return the reader of a table's responses."""
        reader = self._readers.get(stream.name)
        if reader is None:
            reader = self._readers[stream.name] = ResponseReader(
                stream.operation,
                stream.row,
                stream.schema(),
                self._dates,
                stream.date_text_fields,
            )
        return reader

    def removed(self, stream: str, characters: int, progress: StreamProgress) -> None:
        """Count characters that were removed since XML forbids them; tell so once per stream."""
        progress.add(removed_characters=characters)
        if stream not in self._told_removed:
            self._told_removed.add(stream)
            self.logger.warning(
                f"{stream}: removed {characters} characters that XML 1.0 forbids from an answer; "
                "the rows are kept, and more of it is counted in the summary."
            )

    def bounces(self, list_id: int) -> dict[int, int]:
        """Return BounceCount by message; empty when the delivery report cannot be had.

        The report only saves requests: without it, every message is asked.
        """
        try:
            return self.account.bounces(list_id)
        except ListrakError as error:
            if error.fault.action is Action.STOP:
                raise
            self.logger.warning(
                f"No delivery report of list {list_id}, so each of its messages is asked: {error}"
            )
            return {}

    def _fetch_lists(self) -> list[Record]:
        return self._fetch(self._declarations["lists"], {}, "", self.parents)

    def _fetch_messages(self, list_id: int, window: Window) -> list[Record]:
        declaration = self._declarations["messages"]
        records = self._fetch(
            declaration, self._of_window(list_id, window), f"list {list_id}", self.parents
        )
        # A window ends where the next one begins: should the service count the end in, the
        # message sent at that very moment would come twice.
        end = self.date_of(window.end)
        is_last = window == self.account.windows[-1]
        kept = [record for record in records if is_last or record.get("SendDate") != end]
        for record in kept:
            record["ListID"] = list_id
        return kept

    def _fetch_delivery(self, list_id: int, window: Window) -> list[Record]:
        operation = "ReportListMessageDelivery"
        reader = ResponseReader(operation, "WSMessageDelivery", _DELIVERY, self._dates)
        return self.client.call(
            operation,
            self.envelopes.build(operation, self._of_window(list_id, window)),
            reader.read,
            self.parents,
            what=f"list {list_id}",
        ).rows

    def _of_window(self, list_id: int, window: Window) -> dict[str, Any]:
        return {
            "ListID": list_id,
            "StartDate": window.start,
            "EndDate": window.end,
            "IncludeTestMessages": self.config.include_test_messages,
            "WSException": None,
        }

    def _fetch(
        self,
        declaration: type[ListrakStream],
        arguments: Mapping[str, Any],
        what: str,
        counters: Counters,
    ) -> list[Record]:
        page = self.client.call(
            declaration.operation,
            self.envelopes.build(declaration.operation, arguments),
            self.reader(declaration).read,
            counters,
            what=what,
        )
        if page.removed_characters:
            self.removed(declaration.name, page.removed_characters, self.parents)
        return page.rows
