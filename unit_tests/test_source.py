"""The parts together, with a service in this process."""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from threading import Event
from typing import Any

import pytest
from airbyte_cdk.models import (
    AirbyteConnectionStatus,
    AirbyteMessage,
    AirbyteStateMessage,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteCatalogSerializer,
    FailureType,
    Status,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.config import ListrakConfig
from source_listrak.soap.client import READ_POLICY
from source_listrak.soap.faults import PERMISSION
from source_listrak.soap.throttle import Clock
from source_listrak.soap.wire import Response
from source_listrak.source import Settings, SourceListrak
from source_listrak.sync.engine import SyncFailed
from source_listrak.sync.output import state_message
from source_listrak.sync.state import Key, Running, StreamState
from source_listrak.tables import TABLES
from unit_tests.clock import NOW
from unit_tests.soap.pages import soap
from unit_tests.soap.test_throttle import FakeClock

NAMESPACE = "http://webservices.listrak.com/v31/"


class Service:
    """Answers as Listrak with some lists of one message each, and counts the requests."""

    def __init__(self, lists: Iterable[int]) -> None:
        self.lists = list(lists)
        self.requests: Counter[tuple[str, str]] = Counter()

    def settings(self) -> Settings:
        return Settings(
            now=lambda: NOW,
            clock=FakeClock(),
            state_interval=0,
            check_patience=0.01,
            transport=lambda limits: self,
        )

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        operation = headers["SOAPAction"].strip('"').rpartition("/")[2]
        found = re.search(r"(?:ListID|MsgID|<int)>(\d+)<", body.decode())
        ident = found[1] if found else ""
        found = re.search(r"Page>(\d+)<", body.decode())
        self.requests[operation, ident] += 1
        if answer := self.failure(operation, ident):
            return answer
        rows = self.rows(operation, ident, int(found[1]) if found else 1)
        content = (
            f'<{operation}Response xmlns="{NAMESPACE}"><{operation}Result>{rows}'
            f"</{operation}Result></{operation}Response>"
        )
        return Response(200, soap(content), "text/xml")

    def failure(self, operation: str, ident: str) -> Response | None:
        """Return what arrives instead of rows; None: rows arrive."""

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
def test_a_table_far_ahead_of_the_messages_stops_no_sync(workers: int) -> None:
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
def test_the_next_sync_reads_the_rest_of_each_cut_stream(
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
        if operation == "ReportRangeListContactHygiene":
            return ""
        return super().rows(operation, ident, number)


def test_removals_whose_paging_does_not_end_do_not_keep_the_sync() -> None:
    service = Endless([1])
    messages = read(service, ["subscribed_contacts"])
    assert idents(messages, "subscribed_contacts", "ListID") == [1, 1, 1]
    assert service.requests["ReportRangeListContactRemoval", "1"] == 4


# A service that is gone

GONE, REFUSED = Response(404, b""), Response(403, b"", "text/plain")
LOGIN = "GetContactListCollection"


class GoneAfterTheLogin(Service):
    def failure(self, operation: str, ident: str) -> Response | None:
        return GONE if self.requests.total() > 1 else None


@pytest.mark.parametrize("lists", [1, 3, 9])
@pytest.mark.parametrize(
    "names", [["campaigns"], ["campaigns", "profile_headers", "list_removals", "message_opens"]]
)
def test_a_sync_without_any_rows_of_a_service_that_is_gone_fails(
    names: list[str], lists: int
) -> None:
    service = GoneAfterTheLogin(range(1, lists + 1))
    with pytest.raises(SyncFailed) as raised:
        read(service, names)
    assert all(name in (raised.value.message or "") for name in names)
    assert raised.value.failure_type is FailureType.config_error
    assert service.requests[LOGIN, ""] == 2


class WithoutCampaigns(Service):
    def failure(self, operation: str, ident: str) -> Response | None:
        return GONE if operation == "GetCampaignCollection" else None


def test_reports_that_are_gone_are_skipped_when_the_login_works() -> None:
    service = WithoutCampaigns([1, 2, 3])
    read(service, ["campaigns"])
    assert service.requests[LOGIN, ""] == 2


# Lists that do not answer


class Unavailable(Service):
    """Some lists cannot be read; a list that fails by an event only answers when it is set."""

    def __init__(self, lists: Iterable[int], failing: Mapping[int, Response | Event]) -> None:
        super().__init__(lists)
        self._failing = {str(list_id): failure for list_id, failure in failing.items()}

    def failure(self, operation: str, ident: str) -> Response | None:
        failure = self._failing.get(ident)
        if isinstance(failure, Event):
            assert failure.wait(30)
            return None
        return failure


def check(service: Service, **config: Any) -> AirbyteConnectionStatus:
    options = {"username": "me", "password": "x", **config}
    return SourceListrak(service.settings()).check(logging.getLogger("test_source"), options)


@pytest.mark.parametrize("failure", [GONE, REFUSED], ids=["gone", "refused"])
def test_a_check_succeeds_by_any_list_that_can_be_read(failure: Response) -> None:
    service = Unavailable([1, 2, 3], {1: failure, 2: failure})
    assert check(service).status is Status.SUCCEEDED


def test_a_check_does_not_wait_for_a_slow_list() -> None:
    answers = Event()
    service = Unavailable([1, 2], {1: answers})
    assert check(service).status is Status.SUCCEEDED
    assert service.requests["ReportListMessageActivity", "1"] == 1
    answers.set()


def test_the_deadline_of_a_check_begins_before_the_login() -> None:
    class Slow(Service):
        """The login takes 18 seconds, and each list is refused after three."""

        clock = FakeClock()

        def settings(self) -> Settings:
            return replace(super().settings(), clock=self.clock, check_patience=10)

        def failure(self, operation: str, ident: str) -> Response | None:
            self.clock.now += 3 if ident else 18
            return REFUSED if ident else None

    service = Slow([1, 2, 3, 4])
    assert check(service).status is Status.FAILED
    assert service.requests.total() == 2, "20 seconds have passed"


def test_a_check_that_succeeds_at_once_costs_two_requests() -> None:
    service = Service([1, 2, 3])
    assert check(service).status is Status.SUCCEEDED
    assert service.requests.total() == 2


def test_a_check_that_succeeds_logs_the_number_of_lists(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert check(Service([1, 2, 3])).status is Status.SUCCEEDED
    assert "The check found 3 lists to replicate." in caplog.messages


def test_the_log_names_the_last_sync_or_the_start_date(caplog: pytest.LogCaptureFixture) -> None:
    """The start date holds as long as one stream was never read."""
    caplog.set_level(logging.INFO)
    messages = read(Service([1]), ["messages"])
    states = [message.state for message in messages if message.state is not None]
    read(Service([1]), ["lists", "messages"], states[-1:])  # lists have no last sync
    read(Service([1]), ["messages", "message_opens"], states[-1:])
    found = [line.split(", with")[0] for line in caplog.messages if line.startswith("Reading")]
    start = "Reading 1 lists since 2024-01-01 05:00 UTC (start_date)"
    last = f"Reading 1 lists since {NOW:%Y-%m-%d %H:%M} UTC (the last sync)"
    assert found == [start, last, start]


def test_one_line_names_the_streams_that_resume_a_window(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    names = ["messages", "message_opens"]
    read(Service([1, 2]), names, [cut_after(name, (1,), [1, 2]) for name in names])
    (line,) = [line for line in caplog.messages if "Resuming" in line]
    assert line.startswith("messages, message_opens: Resuming the window")


def test_a_check_fails_when_all_lists_are_refused() -> None:
    service = Unavailable([1, 2], {1: REFUSED, 2: REFUSED})
    status = check(service)
    assert status.status is Status.FAILED
    assert (status.message or "").startswith(PERMISSION.message)


@pytest.mark.parametrize("gone", [1, 2])
def test_a_check_names_a_refusal_rather_than_a_list_that_is_gone(gone: int) -> None:
    """The user can resolve the refusal."""
    service = Unavailable([1, 2, 3], dict.fromkeys([1, 2, 3], REFUSED) | {gone: GONE})
    assert (check(service).message or "").startswith(PERMISSION.message)


class Ticking(Clock):
    """A clock that shows a second more each time."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def monotonic(self) -> float:
        return next(self._seconds)


def test_a_check_tries_no_further_list_after_its_deadline() -> None:
    lists = range(1, 101)
    service = Unavailable(lists, dict.fromkeys(lists, REFUSED))
    source = SourceListrak(replace(service.settings(), clock=Ticking()))
    status = source.check(logging.getLogger("test_source"), {"username": "me", "password": "x"})
    assert status.status is Status.FAILED
    assert service.requests.total() < 25


def test_the_request_layer_of_a_table_is_made_once() -> None:
    """A reader of all columns and an instance of the CDK's class for each report add up."""
    config = ListrakConfig.parse({"username": "me", "password": "x"})
    source = SourceListrak(Service([1]).settings())
    context, _ = source.connect(config, READ_POLICY, logging.getLogger("test_source"))
    assert context.stream_of("messages") is context.stream_of("messages")


def test_a_configured_list_that_is_not_visible_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages = read(Service([1, 2]), ["messages"], list_ids=[2, 8, 9])
    assert idents(messages, "messages") == [2]
    (line,) = [line for line in caplog.messages if "list_ids" in line]
    assert "cannot see: 8, 9." in line
    assert check(Service([1, 2]), list_ids=[2, 9]).status is Status.SUCCEEDED
    assert check(Service([1, 2]), list_ids=[8, 9]).status is Status.FAILED


def test_a_list_that_arrives_twice_counts_as_one() -> None:
    messages = read(Service([1, 2, 1]), ["lists", "messages"])
    assert idents(messages, "lists", "ListID") == [1, 2]
    assert idents(messages, "messages") == [1, 2]


class WrongValues(Service):
    def rows(self, operation: str, ident: str, number: int) -> str:
        rows = super().rows(operation, ident, number)
        return rows.replace("</WSContactList>", "<EnableRSS>maybe</EnableRSS></WSContactList>")


def test_nulled_values_of_lists_are_named() -> None:
    """A list's record names each value of the login that became null."""
    (record,) = [one.record for one in read(WrongValues([1]), ["lists"]) if one.record]
    assert record.meta is not None
    assert [change.field for change in record.meta.changes or []] == ["EnableRSS"]


# Responses that lack something


class Incomplete(Service):
    """Has no analytics of odd messages, and no address of the contacts who opened them."""

    def rows(self, operation: str, ident: str, number: int) -> str:
        rows = super().rows(operation, ident, number)
        if ident and int(ident) % 2:
            if operation == "GetMessageAnalyticsInformation":
                return ""
            rows = rows.replace("<EmailAddress>a</EmailAddress>", "")
        return rows


@pytest.mark.parametrize(
    ("name", "warning", "summary"),
    [
        ("message_analytics", "only some of the messages", "3 messages missing from responses"),
        (
            "message_opens",
            "a destination may merge or repeat them",
            "3 rows without a column of their key",
        ),
    ],
)
def test_what_a_response_lacks_is_counted_and_reported_once(
    name: str, warning: str, summary: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        read(Incomplete(range(1, 6)), [name])
    assert len([line for line in caplog.messages if warning in line]) == 1
    (line,) = [line for line in caplog.messages if line.startswith(f"Summary of {name}:")]
    assert summary in line
