"""The parts together, with a service in this process."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteStateMessage,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteCatalogSerializer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.soap.wire import Response
from source_listrak.source import Settings, SourceListrak
from source_listrak.sync.output import state_message
from source_listrak.sync.state import Key, Running, StreamState
from source_listrak.tables import TABLES
from unit_tests.soap.pages import soap

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
NAMESPACE = "http://webservices.listrak.com/v31/"


class Service:
    """Answers as Listrak with some lists of one message each, and counts the requests."""

    def __init__(self, lists: Iterable[int]) -> None:
        self.lists = list(lists)
        self.requests: Counter[tuple[str, str]] = Counter()

    def settings(self) -> Settings:
        return Settings(now=lambda: NOW, state_interval=0, transport=lambda limits: self)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        operation = headers["SOAPAction"].strip('"').rpartition("/")[2]
        found = re.search(r"(?:ListID|MsgID|<int)>(\d+)<", body.decode())
        ident = found[1] if found else ""
        found = re.search(r"Page>(\d+)<", body.decode())
        self.requests[operation, ident] += 1
        rows = self.rows(operation, ident, int(found[1]) if found else 1)
        content = (
            f'<{operation}Response xmlns="{NAMESPACE}"><{operation}Result>{rows}'
            f"</{operation}Result></{operation}Response>"
        )
        return Response(200, soap(content), "text/xml")

    def rows(self, operation: str, ident: str, number: int) -> str:
        """Return a page of rows; `ident` is that of the list or message."""
        if operation == "GetContactListCollection":
            return "".join(
                f"<WSContactList><ListID>{one}</ListID></WSContactList>" for one in self.lists
            )
        date = "2026-02-20T00:00:00"
        row, columns = {
            "ReportListMessageActivity": (
                "WSMessageActivity",
                f"<ListID>{ident}</ListID><SendDate>{date}</SendDate><OpenCount>1</OpenCount>",
            ),
            "ReportListMessageDelivery": (
                "WSMessageDelivery",
                f"<ListID>{ident}</ListID><SendDate>{date}</SendDate><BounceCount>1</BounceCount>",
            ),
            "GetMessageAnalyticsInformation": ("WSMessageAnalyticsInformation", ""),
            "ReportRangeMessageContactOpen": (
                "WSContactOpen",
                f"<EmailAddress>a</EmailAddress><OpenDate>{date}</OpenDate>",
            ),
            "ReportRangeMessageContactBounces": (
                "WSContactBounce",
                f"<EmailAddress>a</EmailAddress><BounceDate>{date}</BounceDate>",
            ),
        }[operation]
        key = "" if operation.startswith("ReportRange") else f"<MsgID>{ident}</MsgID>"
        return f"<{row}>{key}{columns}</{row}>" if number == 1 else ""


def catalog(*names: str) -> ConfiguredAirbyteCatalog:
    modes = ["full_refresh", "incremental"]
    streams = [
        {
            "stream": {"name": name, "json_schema": {}, "supported_sync_modes": modes},
            "sync_mode": "incremental" if TABLES[name].cursor else "full_refresh",
            "destination_sync_mode": "append",
        }
        for name in names
    ]
    return ConfiguredAirbyteCatalogSerializer.load({"streams": streams})


def cut_after(stream: str, to: Key, lists: Iterable[int]) -> AirbyteStateMessage:
    """Return the state of a first sync that was cut."""
    begun = NOW - timedelta(hours=1)
    state = StreamState(
        since=datetime(2024, 1, 1, 5, tzinfo=timezone.utc),
        test_messages=True,
        time_zone="America/New_York",
        running=Running(
            end=begun,
            full_refresh=False,
            since=datetime(2024, 1, 1, 5, tzinfo=timezone.utc),
            lists=tuple(lists),
            to=to,
        ),
    )
    message = state_message(stream, state.as_json()).state
    assert message is not None
    return message


def read(
    service: Service,
    names: Iterable[str],
    state: list[AirbyteStateMessage] | None = None,
    **config: Any,
) -> list[AirbyteMessage]:
    """Return the messages of a sync, which must end."""
    options = {"username": "me", "password": "x", "start_date": "2024-01-01", **config}
    source = SourceListrak(service.settings())
    logger = logging.getLogger("test_source")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: [*source.read(logger, options, catalog(*names), state)])
        try:
            return found.result(30)
        except TimeoutError:
            source.interrupt()
            raise


def idents(messages: Iterable[AirbyteMessage], stream: str, column: str = "MsgID") -> list[int]:
    records = (message.record for message in messages if message.record is not None)
    return sorted(record.data[column] for record in records if record.stream == stream)


@pytest.mark.parametrize("workers", [1, 2, 10])
def test_a_table_that_is_far_ahead_of_the_messages_does_not_stop_the_sync(workers: int) -> None:
    lists = range(1, 61)
    service = Service(lists)
    messages = read(
        service,
        ["messages", "message_analytics"],
        [cut_after("messages", (1,), lists), cut_after("message_analytics", (40,), lists)],
        num_workers=workers,
    )
    assert idents(messages, "messages") == list(range(2, 61))
    assert idents(messages, "message_analytics") == list(range(41, 61))
    # Three windows of a year each, since two streams share each list's messages.
    assert {
        ident: count
        for (operation, ident), count in service.requests.items()
        if operation == "ReportListMessageActivity"
    } == {str(list_id): 3 for list_id in range(2, 61)}


STREAMS = ("messages", "message_deliveries", "message_analytics", "message_opens")


@settings(max_examples=30)
@given(
    st.dictionaries(st.sampled_from([*STREAMS, "message_bounces"]), st.integers(0, 20), min_size=1),
    st.integers(1, 4),
)
def test_wherever_streams_were_cut_the_next_sync_reads_the_rest_of_each(
    cuts: dict[str, int], workers: int
) -> None:
    lists = range(1, 21)
    state = [
        # A table of messages was cut behind the message of a list, others behind a list.
        cut_after(name, (to, to) if TABLES[name].sliced_by == "message" else (to,), lists)
        for name, to in cuts.items()
        if to
    ]
    messages = read(Service(lists), cuts, state, num_workers=workers)
    for name, to in cuts.items():
        assert idents(messages, name) == list(range(to + 1, 21)), name


class Endless(Service):
    """Repeats the last page of the removals for ever."""

    def rows(self, operation: str, ident: str, number: int) -> str:
        if operation == "ReportRangeListContactRemoval":
            row = "<ContactID>1</ContactID><RemovalDate>2026-02-20T00:00:00</RemovalDate>"
            return f"<WSContactRemovalInfo>{row}</WSContactRemovalInfo>"
        if operation == "ReportRangeSubscribedContacts":
            row = f"<ContactID>{number}</ContactID><AdditionDate>2026-02-20T00:00:00</AdditionDate>"
            row = f"<WSContactSubscriptionInfo>{row}</WSContactSubscriptionInfo>"
            return row if number < 4 else ""
        return super().rows(operation, ident, number)


def test_removals_whose_paging_does_not_end_do_not_keep_the_sync() -> None:
    service = Endless([1])
    messages = read(service, ["subscribed_contacts"])
    assert idents(messages, "subscribed_contacts", "ListID") == [1, 1, 1]
    assert service.requests["ReportRangeListContactRemoval", "1"] == 4
