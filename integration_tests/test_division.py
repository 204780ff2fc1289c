"""What proves long while it is read is read by all workers; counted at the service, in process."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from integration_tests import inprocess
from integration_tests.harness import catalog, difference, multiset
from integration_tests.inprocess import Destination, DirectService, as_json, read
from integration_tests.simulator import AccountConfig, SimulatorConfig, Truth
from source_listrak.cursor import Progress, covers
from source_listrak.slicing import PAGES_OF_A_BLOCK, pages_of_a_part
from source_listrak.soap import faults as decided
from source_listrak.soap.wire import Answer
from source_listrak.source import SourceListrak
from source_listrak.streams import base, concurrent, messages

START = datetime(2022, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
WORKERS = 6
CONTACTS, CONTACTS_OPERATION = "subscribed_contacts", "ReportRangeSubscribedContacts"
OPENS, OPENS_OPERATION = "message_opens", "ReportRangeMessageContactOpen"
SENDS, SENDS_OPERATION = "message_sends", "ReportMessageContactSent"


@dataclass
class BusyService(DirectService):
    """Takes its time, and can tell untrue things.

    :param latency: seconds of each answer
    :param counters: what the service says of every message, by the name of the counter
    :param last_page: the page that is answered for each one after it, too
    """

    latency: float = 0.0
    counters: dict[str, int] | None = None
    last_page: int | None = None
    in_flight: int = 0
    peak: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counting = threading.Lock()

    def send(self, operation: str, body: bytes) -> Answer:
        with self._counting:
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
        try:
            if self.last_page is not None:
                body = re.sub(rb"(Page>)(\d+)<", self._no_further, body)
            time.sleep(self.latency)
            answer = super().send(operation, body)
        finally:
            with self._counting:
                self.in_flight -= 1
        for name, value in (self.counters or {}).items():
            tag = name.encode()
            told = re.sub(rb"<%b>\d+<" % tag, b"<%b>%d<" % (tag, value), answer.body)
            answer = replace(answer, body=told)
        return answer

    def _no_further(self, page: re.Match[bytes]) -> bytes:
        assert self.last_page is not None
        return page[1] + b"%d<" % min(int(page[2]), self.last_page)

    def asked(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.requests)

    def truth(self, table: str) -> list[dict[str, Any]]:
        return list(Truth(self.account, START, NOW).records(table))

    def configuration(self, **values: Any) -> dict[str, Any]:
        return {
            "username": "demo",
            "password": self.config.password,
            "start_date": "2022-01-01T00:00:00Z",
            "num_workers": WORKERS,
            **values,
        }


def service(page_size: int, latency: float = 0.0, **account: Any) -> BusyService:
    settings = {"lists": 1, "messages_per_list": 0, "start": START, "now": NOW, **account}
    return BusyService(
        SimulatorConfig(account=AccountConfig(**settings), page_size=page_size), latency=latency
    )


def giant_message(page_size: int, opens: int = 1200) -> BusyService:
    return service(
        page_size, 0.002, messages_per_list=3, giant_message_opens=opens, recipients_per_message=9
    )


def sync(
    running: BusyService,
    table: str,
    destination: Destination | None = None,
    now: datetime = NOW,
    **values: Any,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str | None]:
    """Return the records, all messages, and the error in which the stream ended."""
    written = []
    with running.at(now):
        output = read(
            running.configuration(**values),
            catalog([table]),
            destination.state if destination else [],
        )
        try:
            for message in output:
                written.append(as_json(message))
                if destination is not None:
                    destination.take(written[-1])
        except AirbyteTracedException:
            pass
    records = [one["record"]["data"] for one in written if one["type"] == "RECORD"]
    errors = [
        one["trace"]["error"]["message"]
        for one in written
        if one["type"] == "TRACE" and one["trace"]["type"] == "ERROR"
    ]
    assert len(errors) <= 1
    return records, written, errors[0] if errors else None


@pytest.mark.parametrize(("page_size", "contacts"), [(1, 160), (2, 320), (7, 1000), (100, 15_000)])
def test_a_giant_list_of_contacts_is_read_by_all_workers(page_size: int, contacts: int) -> None:
    running = service(page_size, 0.005, contacts_per_list=contacts)
    truth = running.truth(CONTACTS)
    records, _, error = sync(running, CONTACTS)
    assert error is None
    assert not difference(records, truth)
    pages = -(-len(truth) // page_size)
    assert pages > 100
    assert pages + 1 <= running.asked(CONTACTS_OPERATION) <= pages + 2
    assert running.peak >= WORKERS - 1
    assert max(Counter(running.requests).values()) == 1


@pytest.mark.parametrize("pages", range(PAGES_OF_A_BLOCK + 3))
def test_a_short_list_costs_its_pages_and_the_end(pages: int) -> None:
    running = service(1, contacts_per_list=240 if pages else 0)
    rows = len(running.truth(CONTACTS))
    running.config.page_size = -(-rows // pages) if pages else 1
    records, _, error = sync(running, CONTACTS)
    assert error is None
    assert not difference(records, running.truth(CONTACTS))
    behind_the_end = 1 if pages <= PAGES_OF_A_BLOCK else 2
    assert running.asked(CONTACTS_OPERATION) <= pages + behind_the_end
    assert running.asked(CONTACTS_OPERATION) >= pages + 1


def test_a_single_worker_asks_for_no_page_too_many() -> None:
    running = service(2, contacts_per_list=100)
    pages = -(-len(running.truth(CONTACTS)) // 2)
    records, _, _ = sync(running, CONTACTS, num_workers=1)
    assert not difference(records, running.truth(CONTACTS))
    assert running.asked(CONTACTS_OPERATION) == pages + 1


def test_while_other_lists_wait_none_is_divided() -> None:
    lists, workers = 12, 3
    running = service(5, 0.002, lists=lists, contacts_per_list=100)
    in_lists = Counter(row["ListID"] for row in running.truth(CONTACTS))
    records, _, _ = sync(running, CONTACTS, num_workers=workers)
    assert not difference(records, running.truth(CONTACTS))
    pages = sum(-(-rows // 5) for rows in in_lists.values())
    # Only when no list waits any more is a worker idle, for which the last ones are divided.
    assert running.asked(CONTACTS_OPERATION) <= pages + lists + 2 * workers


@pytest.mark.parametrize("recipients", range(160, 220, 4))
@pytest.mark.parametrize("end_style", ["empty", "nil"])
def test_recipients_with_empty_pages_in_the_middle_are_read_whole(
    recipients: int, end_style: str
) -> None:
    running = service(
        2, messages_per_list=1, uniform=True, recipients_per_message=recipients, test_messages=False
    )
    running.config.empty_pages = 2
    running.config.end_style = end_style
    records, _, error = sync(running, SENDS)
    assert error is None
    assert not difference(records, running.truth(SENDS))
    pages = -(-len(records) // 2) + 2
    assert pages > 50
    assert running.asked(SENDS_OPERATION) <= pages + 2


@pytest.mark.parametrize("counter", [1, 300, 500])
@pytest.mark.parametrize("page_size", [1, 7])
def test_a_message_whose_counter_is_far_too_low_is_read_by_all_workers(
    counter: int, page_size: int
) -> None:
    running = giant_message(page_size, opens=150 * page_size)
    running.counters = {"OpenCount": counter}
    truth = running.truth(OPENS)
    records, _, error = sync(running, OPENS)
    assert error is None
    assert not difference(records, truth)
    of_messages = Counter(row["MsgID"] for row in truth)
    pages = sum(-(-rows // page_size) for rows in of_messages.values())
    sent = len(running.truth("messages"))
    # Where the counter is too high, for small messages, blocks meet the end at once, too.
    blocks = -(-counter // (PAGES_OF_A_BLOCK * page_size)) * sent
    assert running.asked(OPENS_OPERATION) <= pages + 2 * sent + blocks
    assert running.peak >= WORKERS - 1


def test_a_message_whose_counter_is_right_costs_its_pages_and_the_end() -> None:
    running = giant_message(10, opens=10 * 2 * PAGES_OF_A_BLOCK)
    truth = running.truth(OPENS)
    rows = Counter(row["MsgID"] for row in truth)
    records, _, _ = sync(running, OPENS)
    assert not difference(records, truth)
    assert running.asked(OPENS_OPERATION) == sum(-(-count // 10) + 1 for count in rows.values())


def test_given_a_page_fails_in_the_middle_then_the_list_is_left_to_the_next_attempt() -> None:
    running = service(5, 0.002, lists=3, contacts_per_list=[20, 600, 20])
    giant = running.account.lists()[1].list_id
    truth = running.truth(CONTACTS)
    lists = {row["ListID"] for row in truth}
    running.config.faults = {"server_error": {"list_ids": [giant], "pages": [60]}}
    destination = Destination()
    _, output, error = sync(running, CONTACTS, destination)
    assert error is not None
    assert "slices failed in all" not in error
    statuses = [
        one["trace"]["stream_status"]["status"]
        for one in output
        if one["type"] == "TRACE" and one["trace"]["type"] == "STREAM_STATUS"
    ]
    assert statuses[-1] == "INCOMPLETE"
    done = [(tuple(a), tuple(b)) for a, b in destination.stream_state(CONTACTS)["done"]]
    covered = {ident: any(covers(one, ((ident,), (ident,))) for one in done) for ident in lists}
    assert covered == {ident: ident != giant for ident in lists}
    destination.end()

    running.config.faults = {}
    running.requests.clear()
    _, _, error = sync(running, CONTACTS, destination)
    assert error is None
    assert not set(multiset(truth)) - set(multiset(destination.committed[CONTACTS]))
    asked = {
        dict(arguments)["ListID"]
        for operation, arguments in running.requests
        if operation == CONTACTS_OPERATION
    }
    assert asked == {giant}
    assert "done" not in destination.stream_state(CONTACTS)


def test_given_a_part_failed_then_the_others_of_its_list_stop() -> None:
    running = service(5, 0.004, contacts_per_list=4000)
    running.config.faults = {"server_error": {"operations": [CONTACTS_OPERATION], "pages": [30]}}
    _, _, error = sync(running, CONTACTS)
    assert error is not None
    assert running.asked(CONTACTS_OPERATION) < 30 * WORKERS + WORKERS


@pytest.mark.parametrize("page_size", [1, 2, 7])
@pytest.mark.parametrize("last_page", [8, 9, 10, 23, 24, 25, 60])
def test_given_the_last_page_comes_again_and_again_then_it_is_named_and_not_looped(
    page_size: int, last_page: int
) -> None:
    running = service(page_size, contacts_per_list=100 * page_size)
    running.last_page = last_page
    _, _, error = sync(running, CONTACTS)
    assert error is not None
    assert error.startswith(decided.REPEATED_PAGE.message)
    assert "slices failed in all" not in error
    # Each worker needs three rows that come again in order to be sure.
    assert running.asked(CONTACTS_OPERATION) <= last_page + WORKERS * (3 // page_size + 1)


def test_a_message_with_parts_that_answered_404_is_read_whole_by_a_later_sync(
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = giant_message(7)
    running.counters = {"OpenCount": 1}
    truth = running.truth(OPENS)
    (giant, rows), *_ = Counter(row["MsgID"] for row in truth).most_common(1)
    assert rows > 50 * 7
    running.config.faults = {"message_404": {"message_ids": [giant], "pages": [14, 40]}}
    destination = Destination()
    values: dict[str, Any] = {"recheck_after_days": 3650}
    with caplog.at_level(logging.INFO, "airbyte.inprocess"):
        _, _, error = sync(running, OPENS, destination, **values)
    assert error is None
    assert len([one for one in caplog.messages if "404" in one]) == 1
    (summary,) = (one for one in caplog.messages if one.startswith(f"Summary of {OPENS}"))
    assert "3 of 3 slices done" in summary
    assert "1 skipped" in summary
    list_id = running.account.lists()[0].list_id
    assert destination.stream_state(OPENS)["skipped"] == [[list_id, giant]]
    assert "done" not in destination.stream_state(OPENS)

    running.config.faults = {}
    _, _, error = sync(running, OPENS, destination, now=NOW + timedelta(hours=1), **values)
    assert error is None
    assert running.peak >= WORKERS - 1
    assert "skipped" not in destination.stream_state(OPENS)
    assert not set(multiset(truth)) - set(multiset(destination.committed[OPENS]))


@pytest.mark.parametrize("fault", ["message_404", "ws_exception"])
def test_a_message_that_the_counters_call_huge_is_asked_once_when_it_cannot_be_had(
    fault: str,
) -> None:
    running = giant_message(100)
    running.counters = {"OpenCount": 20_000}
    huge = running.truth("messages")[0]["MsgID"]
    running.config.faults = {fault: {"message_ids": [huge], "everywhere": True}}
    _, _, error = sync(running, OPENS)
    assert (error is None) == (fault == "message_404")
    asked = [arguments for name, arguments in running.requests if name == OPENS_OPERATION]
    assert sum(("MsgID", huge) in arguments for arguments in asked) == 1


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


def lists_of_all_sizes() -> BusyService:
    return service(5, 0.001, lists=5, contacts_per_list=[30, 700, 10, 500, 20])


def test_no_state_counts_a_list_before_all_its_rows() -> None:
    running = lists_of_all_sizes()
    total = Counter(row["ListID"] for row in running.truth(CONTACTS))
    _, output, _ = sync(running, CONTACTS)
    seen: Counter[int] = Counter()
    counted = set()
    for message in output:
        if message["type"] == "RECORD":
            seen[message["record"]["data"]["ListID"]] += 1
        elif message["type"] == "STATE":
            state = message["state"]["stream"]["stream_state"]
            intervals = [(tuple(first), tuple(last)) for first, last in state.get("done", [])]
            for list_id, rows in total.items():
                if any(covers(one, ((list_id,), (list_id,))) for one in intervals):
                    counted.add(list_id)
                    assert seen[list_id] == rows
    assert len(counted) >= 4


@pytest.mark.parametrize("cut", [100, 400, 700, 900, 1000])
def test_cut_anywhere_the_next_attempt_brings_the_rest(cut: int) -> None:
    running = lists_of_all_sizes()
    truth = running.truth(CONTACTS)
    destination = Destination()
    with running.at(NOW):
        output = read(running.configuration(), catalog([CONTACTS]), [])
        for number, message in enumerate(output, 1):
            destination.take(as_json(message))
            if number == cut:
                output.close()  # type: ignore[attr-defined]
                break
        else:
            pytest.fail("there is too little to cut")
    destination.end()
    _, _, error = sync(running, CONTACTS, destination)
    assert error is None
    assert not set(multiset(truth)) - set(multiset(destination.committed[CONTACTS]))
    assert not waiting()


def test_told_to_leave_while_a_list_is_divided_it_ends_without_counting_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = service(5, 0.002, contacts_per_list=2000)
    destination = Destination()
    sources: list[SourceListrak] = []

    def source() -> SourceListrak:
        sources.append(SourceListrak())
        return sources[-1]

    monkeypatch.setattr(inprocess, "SourceListrak", source)
    is_told = False
    with running.at(NOW), pytest.raises(AirbyteTracedException):
        for message in read(running.configuration(), catalog([CONTACTS]), []):
            destination.take(as_json(message))
            if running.peak == WORKERS and not is_told:
                is_told = True
                sources[0].interrupt()
    assert destination.stream_state(CONTACTS)["done"] == []
    assert running.asked(CONTACTS_OPERATION) < 300
    destination.end()
    _, _, error = sync(running, CONTACTS, destination)
    assert error is None
    assert not set(multiset(running.truth(CONTACTS))) - set(
        multiset(destination.committed[CONTACTS])
    )


def test_given_a_slice_is_left_open_for_whatever_reason_then_the_stream_is_not_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Progress, "done", lambda *_: False)
    running = service(5, contacts_per_list=10)
    destination = Destination()
    _, _, error = sync(running, CONTACTS, destination)
    assert error is not None
    assert "defect of the connector" in error
    assert "synced_to" not in destination.stream_state(CONTACTS)


def test_the_parts_of_a_slice_are_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[base.Slice] = []
    close = concurrent.StateCursor.close_partition

    def note(cursor: concurrent.StateCursor, partition: Any) -> None:
        closed.append(partition.piece)
        close(cursor, partition)

    monkeypatch.setattr(concurrent.StateCursor, "close_partition", note)
    # The first page was read before, to learn how many there may be.
    monkeypatch.setattr(messages, "ROWS_TO_LEARN_THE_PAGE_SIZE_FOR", 10)
    running = giant_message(7, opens=100 * 7)
    running.counters = {"OpenCount": 11}
    records, _, _ = sync(running, OPENS)
    assert not difference(records, running.truth(OPENS))
    (giant, _), *_ = Counter(row["MsgID"] for row in records).most_common(1)
    parts = sorted(
        (one for one in closed if one.added["MsgID"] == giant), key=lambda one: one.first_page
    )
    assert len(parts) > WORKERS
    assert {one.key for one in parts} == {parts[0].key}
    assert [one.first_page for one in parts] == [
        1,
        *(one.last_page + 1 for one in parts[:-1] if one.last_page is not None),
    ]
    assert parts[-1].last_page is None
    # How many rows the whole has says nothing of the rest.
    assert [one.expected_rows for one in parts] == [11, *[-1] * (len(parts) - 1)]
    assert [one.first_rows is None for one in parts] == [False, *[True] * (len(parts) - 1)]


def test_parts_are_as_long_as_the_workers_need(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [pages_of_a_part(workers) for workers in (1, 2, 10, 40)] == [8, 8, 15, 60]
    # However parts are cut, no row is missing or comes twice.
    for pages in range(1, 12):
        monkeypatch.setattr(base, "pages_of_a_part", lambda _, pages=pages: pages)
        running = service(3, contacts_per_list=200)
        records, _, _ = sync(running, CONTACTS)
        assert not difference(records, running.truth(CONTACTS))
