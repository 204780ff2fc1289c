"""A slice that proves long while it is read is shared by all workers; counted at the service."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from drivers import setups
from drivers.connection import Connection, Outcome
from drivers.inprocess import DirectService, stream
from drivers.messages import Records, difference, multiset
from drivers.setups import NOW, START_DATE, catalog, make_account, make_config
from simulator import SimulatorConfig, Truth
from source_listrak import SourceListrak
from source_listrak.soap import faults
from source_listrak.soap.wire import Response
from source_listrak.sync.reader import PAGES_BEFORE_DIVISION, part_pages
from source_listrak.sync.state import StreamState

WORKERS = 6
CONTACTS, CONTACTS_OPERATION = "subscribed_contacts", setups.CONTACTS
OPENS, OPENS_OPERATION = "message_opens", setups.OPENS
SENDS, SENDS_OPERATION = "message_sends", setups.SENDS


class EndlessService(DirectService):
    """Returns the last page for each one after it, too."""

    def __init__(self, config: SimulatorConfig, last_page: int) -> None:
        super().__init__(config)
        self._last_page = last_page

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        return super().post(url, headers, re.sub(rb"(Page>)(\d+)<", self._replace, body), seconds)

    def _replace(self, page: re.Match[bytes]) -> bytes:
        return page[1] + b"%d<" % min(int(page[2]), self._last_page)


def configured(page_size: int, latency: float = 0.0, **account: Any) -> SimulatorConfig:
    values = {"lists": 1, "messages_per_list": 0, "leaver_every": 0} | account
    return SimulatorConfig(account=make_account(**values), page_size=page_size, latency=latency)


def giant_list(contacts: int, page_size: int, latency: float = 0.0) -> DirectService:
    """Return an account with one list of very many contacts, none of whom leaves."""
    return DirectService(configured(page_size, latency, contacts_per_list=contacts))


def giant_message(opens: int, page_size: int, latency: float = 0.002) -> DirectService:
    """Return an account with three messages, one of which has very many opens."""
    account = {"messages_per_list": 3, "recipients_per_message": 9, "giant_message_opens": opens}
    return DirectService(configured(page_size, latency, **account))


def one_message(recipients: int, page_size: int) -> DirectService:
    """Return an account with one message that every recipient opens."""
    account = {
        "messages_per_list": 1,
        "recipients_per_message": recipients,
        "uniform": True,
        "test_messages": False,
        "bounce_rate": 0,
        "open_rate": 1.0,
    }
    return DirectService(configured(page_size, **account))


def connect(service: DirectService, table: str, **options: Any) -> Connection:
    return Connection(service, [table], **{"num_workers": WORKERS} | options)


def truth(service: DirectService, table: str) -> Records:
    return list(Truth(service.account, START_DATE).records(table))


def pages_of(rows: int, page_size: int) -> int:
    return -(-rows // page_size)


def giant_of(records: Records) -> tuple[int, int]:
    """Return the message with the most rows, and their number."""
    ((msg_id, rows),) = Counter(row["MsgID"] for row in records).most_common(1)
    return msg_id, rows


def arguments_of(outcome: Outcome, operation: str) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(one.values()) for one in outcome.arguments(operation))


@pytest.mark.parametrize(("page_size", "opens"), [(1, 160), (2, 320), (7, 1000), (100, 15_000)])
def test_a_giant_message_is_read_by_all_workers(page_size: int, opens: int) -> None:
    service = giant_message(opens, page_size, latency=0.005)
    rows = truth(service, OPENS)
    outcome = connect(service, OPENS).sync(NOW)
    assert not difference(outcome.records(OPENS), rows)
    giant, length = giant_of(rows)
    pages = pages_of(length, page_size)
    assert pages > 100
    requested = [one for one in outcome.arguments(OPENS_OPERATION) if one["MsgID"] == giant]
    assert {one["Page"] for one in requested} >= set(range(1, pages + 2))
    # Each part, which is at least as long as `part_pages`, costs one page more for its overlap.
    assert len(requested) <= pages + 1 + pages / part_pages(WORKERS) + 2
    assert service.peak_in_flight == WORKERS
    assert max(arguments_of(outcome, OPENS_OPERATION).values()) <= 2


@pytest.mark.parametrize("page_size", [1, 7])
def test_a_giant_list_of_contacts_is_read_by_all_workers(page_size: int) -> None:
    service = giant_list(150 * page_size, page_size, latency=0.005)
    outcome = connect(service, CONTACTS).sync(NOW)
    assert not difference(outcome.records(CONTACTS), truth(service, CONTACTS))
    assert service.peak_in_flight == WORKERS


@pytest.mark.parametrize("pages", range(1, PAGES_BEFORE_DIVISION + 4))
def test_a_short_message_costs_its_pages_and_the_end(pages: int) -> None:
    service = one_message(120, page_size=1)
    rows = len(truth(service, OPENS))
    service.config.page_size = pages_of(rows, pages)
    outcome = connect(service, OPENS).sync(NOW)
    assert not difference(outcome.records(OPENS), truth(service, OPENS))
    exact = pages_of(rows, service.config.page_size) + 1
    behind_the_end = 0 if pages <= PAGES_BEFORE_DIVISION else 1
    assert exact <= len(outcome.arguments(OPENS_OPERATION)) <= exact + behind_the_end


def test_recipients_without_an_address_are_read_once_by_all_workers() -> None:
    account = {"messages_per_list": 1, "recipients_per_message": 160, "uniform": True}
    service = DirectService(configured(1, recipients_without_address=0.5, **account))
    outcome = connect(service, SENDS).sync(NOW)
    assert not difference(outcome.records(SENDS), truth(service, SENDS))


def test_a_single_worker_requests_no_page_too_many() -> None:
    service = one_message(200, page_size=2)
    rows = len(truth(service, OPENS))
    outcome = connect(service, OPENS, num_workers=1).sync(NOW)
    assert not difference(outcome.records(OPENS), truth(service, OPENS))
    assert len(outcome.arguments(OPENS_OPERATION)) == pages_of(rows, 2) + 1


def test_while_other_messages_wait_none_is_divided() -> None:
    messages, workers, page_size = 12, 3, 2
    account = {"messages_per_list": messages, "recipients_per_message": 60, "uniform": True}
    service = DirectService(configured(page_size, 0.002, open_rate=1.0, **account))
    rows = Counter(row["MsgID"] for row in truth(service, OPENS))
    outcome = connect(service, OPENS, num_workers=workers).sync(NOW)
    assert not difference(outcome.records(OPENS), truth(service, OPENS))
    pages = sum(pages_of(count, page_size) for count in rows.values())
    assert pages > 15 * messages
    # Only when no message waits any more is a worker idle, with which the last ones are shared.
    requests = len(outcome.arguments(OPENS_OPERATION))
    assert requests <= pages + len(rows) + 4 * workers


@pytest.mark.parametrize("recipients", range(160, 220, 4))
@pytest.mark.parametrize("end_style", ["empty", "nil"])
def test_recipients_with_empty_pages_in_the_middle_are_read_whole(
    recipients: int, end_style: str
) -> None:
    service = one_message(recipients, page_size=2)
    service.config.empty_pages = 2
    service.config.end_style = end_style
    outcome = connect(service, SENDS).sync(NOW)
    assert not difference(outcome.records(SENDS), truth(service, SENDS))
    assert len(outcome.records(SENDS)) > 100


@pytest.mark.parametrize("counters", ["low", "high"])
@pytest.mark.parametrize("page_size", [1, 7])
def test_a_wrong_counter_keeps_no_worker_from_a_giant_message(
    counters: str, page_size: int
) -> None:
    account = {"messages_per_list": 3, "giant_message_opens": 150 * page_size}
    service = DirectService(configured(page_size, 0.002, counters=counters, **account))
    outcome = connect(service, OPENS).sync(NOW)
    assert not difference(outcome.records(OPENS), truth(service, OPENS))
    assert service.peak_in_flight == WORKERS


def test_a_page_that_fails_is_read_by_the_next_sync() -> None:
    service = giant_message(600, page_size=5)
    rows = truth(service, OPENS)
    giant, _ = giant_of(rows)
    list_id = service.account.lists()[0].list_id
    service.config.faults = {"server_error": {"message_ids": [giant], "pages": [60]}}
    connection = connect(service, OPENS)
    outcome = connection.sync(NOW, fails=True)
    assert outcome.statuses[OPENS] == "INCOMPLETE"
    assert f"message {giant}" in outcome.error_of(OPENS)
    (owed,) = connection.state(OPENS)["owed"]
    assert owed[0] == [list_id, giant]

    service.config.faults = {}
    outcome = connection.sync(NOW)
    assert not set(multiset(rows)) - set(multiset(connection.committed(OPENS)))
    first, *_ = outcome.arguments(OPENS_OPERATION)
    assert first["MsgID"] == giant
    assert first["StartDate"].startswith(START_DATE)
    assert not connection.state(OPENS)["owed"]


@pytest.mark.parametrize("pages", [[1], [30], [8, 31, 60]])
def test_damaged_pages_hide_no_other_page(pages: list[int]) -> None:
    """Every row of every other page is emitted, and the slice is read again by the next sync."""
    service = giant_message(600, page_size=5)
    rows = truth(service, OPENS)
    giant, _ = giant_of(rows)
    service.config.faults = {"server_error": {"message_ids": [giant], "pages": pages}}
    connection = connect(service, OPENS)
    outcome = connection.sync(NOW, fails=True)
    assert outcome.statuses[OPENS] == "INCOMPLETE"
    missing = multiset(rows) - multiset(outcome.records(OPENS))
    assert missing.total() <= 5 * len(pages)
    assert len(connection.state(OPENS)["owed"]) == 1

    service.config.faults = {}
    connection.sync(NOW)
    assert not set(multiset(rows)) - set(multiset(connection.committed(OPENS)))


@pytest.mark.parametrize("page_size", [1, 2, 7])
@pytest.mark.parametrize("last_page", [8, 9, 10, 23, 24, 25, 60])
def test_a_last_page_that_repeats_is_an_error(page_size: int, last_page: int) -> None:
    """A service that returns its last page again and again causes no loop."""
    config = configured(page_size, contacts_per_list=100 * page_size)
    outcome = connect(EndlessService(config, last_page), CONTACTS).sync(NOW, fails=True)
    assert outcome.error_of(CONTACTS).startswith(faults.REPEATED_PAGE.message)
    # Each worker needs three rows that come again in order to be sure.
    requests = len(outcome.arguments(CONTACTS_OPERATION))
    assert requests <= 2 + last_page + WORKERS * (3 // page_size + 2)


@pytest.mark.parametrize("wrap_pages", [3, 9, 30])
def test_pages_that_begin_again_are_an_error(
    wrap_pages: int,
) -> None:
    """A service whose first page follows its last one causes no loop."""
    service = giant_list(1000, page_size=10)
    service.config.wrap_pages = wrap_pages
    outcome = connect(service, CONTACTS).sync(NOW, fails=True)
    assert outcome.error_of(CONTACTS).startswith(faults.REPEATED_PAGE.message)
    assert len(outcome.arguments(CONTACTS_OPERATION)) <= 2 + 2 * wrap_pages + 2 * WORKERS


def test_a_message_with_lost_pages_is_read_whole_by_a_later_sync() -> None:
    """Its report is not gone: other pages of it are read."""
    service = giant_message(1200, page_size=7)
    rows = truth(service, OPENS)
    giant, length = giant_of(rows)
    assert length > 50 * 7
    service.config.faults = {"report_gone": {"message_ids": [giant], "pages": [14, 40]}}
    connection = connect(service, OPENS)
    outcome = connection.sync(NOW, fails=True)
    assert outcome.statuses[OPENS] == "INCOMPLETE"
    (error,) = outcome.errors
    assert f"message {giant}" in error["message"]
    list_id = service.account.lists()[0].list_id
    assert [one[0] for one in connection.state(OPENS)["owed"]] == [[list_id, giant]]

    service.config.faults = {}
    connection.sync(NOW + timedelta(hours=1))
    assert service.peak_in_flight == WORKERS
    assert not connection.state(OPENS)["owed"]
    assert not set(multiset(rows)) - set(multiset(connection.committed(OPENS)))


def waiting() -> list[str]:
    """Return where threads of the connector still wait, a little after the end."""
    patience = time.monotonic() + 2
    while True:
        frames = sys._current_frames()
        places = [
            frames[one.ident].f_code.co_name
            for one in threading.enumerate()
            if one.name.startswith("workerpool") and one.ident in frames
        ]
        busy = [place for place in places if place != "_worker"]  # which waits for work
        if not busy or time.monotonic() > patience:
            return busy
        time.sleep(0.01)


def lists_of_all_sizes() -> DirectService:
    account = {"lists": 5, "contacts_per_list": [30, 700, 10, 500, 20]}
    return DirectService(configured(5, 0.001, **account))


def test_no_state_counts_a_list_before_all_its_rows() -> None:
    service = lists_of_all_sizes()
    total = Counter(row["ListID"] for row in truth(service, CONTACTS))
    outcome = connect(service, CONTACTS).sync(NOW)
    seen: Counter[int] = Counter()
    counted = set()
    for message in outcome.messages:
        if message["type"] == "RECORD":
            seen[message["record"]["data"]["ListID"]] += 1
        elif message["type"] == "STATE":
            state = StreamState.model_validate(message["state"]["stream"]["stream_state"])
            for list_id, rows in total.items():
                if state.running is not None and state.running.is_done((list_id,)):
                    counted.add(list_id)
                    assert seen[list_id] == rows
    assert len(counted) >= 4


@pytest.mark.parametrize("cut", [100, 400, 700, 900, 1000])
def test_cut_anywhere_the_next_attempt_reads_the_rest(cut: int) -> None:
    service = lists_of_all_sizes()
    connection = connect(service, CONTACTS)
    assert connection.sync(NOW, cut=cut).is_cut
    connection.sync(NOW)
    rows = truth(service, CONTACTS)
    assert not set(multiset(rows)) - set(multiset(connection.committed(CONTACTS)))
    assert not waiting()


def test_an_interrupted_list_in_parts_is_not_counted() -> None:
    service = giant_list(2000, page_size=5, latency=0.002)
    connection = connect(service, CONTACTS)
    source = SourceListrak(service.at(NOW))
    is_interrupted = False
    output = stream(source, make_config(service, num_workers=WORKERS), catalog([CONTACTS]))
    with pytest.raises(AirbyteTracedException):
        for message in output:
            connection.destination.take(message)
            if service.peak_in_flight == WORKERS and not is_interrupted:
                is_interrupted = True
                source.interrupt()
    connection.destination.end()
    assert is_interrupted
    state = StreamState.model_validate(connection.state(CONTACTS))
    assert state.synced_to is None
    assert state.running is not None
    assert not state.running.is_done((service.account.lists()[0].list_id,))
    assert service.count(CONTACTS_OPERATION) < 300
    connection.sync(NOW)
    rows = truth(service, CONTACTS)
    assert not set(multiset(rows)) - set(multiset(connection.committed(CONTACTS)))


def test_parts_are_as_long_as_the_workers_need() -> None:
    assert [part_pages(workers) for workers in (1, 2, 10, 40)] == [8, 8, 15, 60]
