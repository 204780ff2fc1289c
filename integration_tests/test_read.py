"""Check, discover and read of the whole account, counted at the server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from drivers.inprocess import DirectService, read_here
from drivers.messages import Result, difference, differences
from drivers.process import check, read, run
from drivers.setups import (
    ADDRESS_CHANGES,
    CONVERSATION_DELIVERIES,
    CONVERSATIONS,
    DELIVERIES,
    LOGIN,
    MESSAGES,
    NINE,
    NOW,
    REMOVALS,
    START_DATE,
    TABLES,
    has_state,
    make_account,
    make_config,
    make_simulator,
)
from simulator import Simulator, SimulatorConfig, Truth
from source_listrak import tables as declared
from source_listrak.soap.wire import Limits, Response

START = datetime(2022, 1, 1, tzinfo=timezone.utc)


def assert_equals_truth(result: Result, sim: Simulator, **bounds: Any) -> None:
    assert result.code == 0, result.errors
    truth = sim.truth(START_DATE, **bounds)
    if "list_ids" in bounds:
        for table in ("lists", "abuse_complaints"):
            truth[table] = [one for one in truth[table] if one["ListID"] in bounds["list_ids"]]
    assert differences(result, truth) == {}
    counted: Counter[str] = Counter()
    for message in result.of("STATE"):
        state = message["state"]
        name = state["stream"]["stream_descriptor"]["name"]
        counted[name] += state["sourceStats"]["recordCount"]
    assert counted == Counter({table: len(records) for table, records in truth.items()})
    assert not [line for line in result.logs if line.startswith("Read ")], "a batch is no record"
    assert result.statuses == dict.fromkeys(TABLES, "COMPLETE")


@pytest.mark.parametrize(
    ("page_size", "end_style"), [(7, "nil"), (1000, "empty"), (2500, "missing")]
)
def test_all_tables_equal_the_truth_at_any_page_size(page_size: int, end_style: str) -> None:
    with make_simulator(page_size=page_size, end_style=end_style) as sim:
        assert_equals_truth(read(sim), sim)


@pytest.mark.parametrize(
    "settings",
    [
        {"empty_pages": 2},
        {"short_pages": True},
        {"end_inclusive": True},
        {"wrapped_domains": True},
        {"gzip": True},
        {"row_order": "newest"},
        {"row_order": "address"},
        {"row_order": "id"},
    ],
    ids=lambda settings: "-".join(map(str, *settings.items())),
)
def test_all_tables_equal_the_truth_however_the_service_pages(settings: dict[str, Any]) -> None:
    with make_simulator(**settings) as sim:
        assert_equals_truth(read(sim), sim)


@pytest.mark.parametrize(
    "data",
    [
        {"string_date_style": "mixed"},
        {"string_date_style": "garbage"},
        {"date_offsets": True},
        {"date_digits": 7},
        {"conversation_mail_in_messages": True},
        {"messages_without_send_date": 0.5},
        {"recipients_without_address": 0.5},
    ],
    ids=lambda data: "-".join(map(str, *data.items())),
)
def test_all_tables_equal_the_truth_however_the_data_looks(data: dict[str, Any]) -> None:
    with make_simulator(make_account(**data)) as sim:
        assert_equals_truth(read(sim), sim)


def test_a_page_that_is_exactly_full_is_not_the_end() -> None:
    account = make_account(uniform=True, recipients_per_message=50, open_rate=1.0)
    with make_simulator(account, page_size=25) as sim:
        assert_equals_truth(read(sim), sim)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_alone_equals_the_truth_and_requests_no_other_table(table: str) -> None:
    service = DirectService(SimulatorConfig(account=make_account(), page_size=10))
    records = read_here(service, [table], settings=service.at(NOW)).records(table)
    assert records, "a table without rows proves nothing"
    assert not difference(records, Truth(service.account, START_DATE).records(table))
    described = declared.TABLES[table]
    expected = {LOGIN, described.operation}
    if described.sliced_by in ("message", "batch"):
        expected |= {MESSAGES} | ({DELIVERIES} if counted_elsewhere(table, "messages") else set())
    if described.sliced_by == "conversation":
        has_other = counted_elsewhere(table, "conversations")
        expected |= {CONVERSATIONS} | ({CONVERSATION_DELIVERIES} if has_other else set())
    if table == "subscribed_contacts":
        expected |= {REMOVALS, ADDRESS_CHANGES}  # prove that no contact moved meanwhile
    assert {request.operation for request in service.requests} == expected


def counted_elsewhere(table: str, report: str) -> bool:
    """Return whether the report that has the ids lacks the counter of the rows."""
    counter = declared.TABLES[table].counter
    return bool(counter) and counter not in declared.schema(report)["properties"]


def test_the_first_nine_tables_cost_no_request_for_the_others() -> None:
    with make_simulator() as sim:
        result = read(sim, NINE)
        assert differences(result, sim.truth(START_DATE), NINE) == {}
        operations = {declared.TABLES[table].operation for table in NINE}
        assert set(sim.counts) == operations | {DELIVERIES, REMOVALS, ADDRESS_CHANGES}


def test_each_report_of_a_list_and_window_is_requested_once_and_shared() -> None:
    account = make_account(lists=4, start=START)
    with make_simulator(account) as sim:
        result = read(sim, start_date="2022-01-01")
        assert differences(result, sim.truth("2022-01-01")) == {}
        shared = (LOGIN, MESSAGES, DELIVERIES, CONVERSATIONS, CONVERSATION_DELIVERIES)
        requested = Counter(
            (request.operation, *sorted((k, str(v)) for k, v in request.arguments.items()))
            for request in sim.requests
            if request.operation in shared
        )
        assert set(requested.values()) == {1}
        assert sim.counts[LOGIN] == 1
        # Two years are two windows of at most 53 weeks.
        assert sim.counts[MESSAGES] == sim.counts[DELIVERIES] == 4 * 2
        assert sim.counts[CONVERSATIONS] == sim.counts[CONVERSATION_DELIVERIES] == 4


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_requests_are_in_flight_than_workers(workers: int) -> None:
    with make_simulator(latency=0.01) as sim:
        assert_equals_truth(read(sim, num_workers=workers), sim)
        assert sim.peak_in_flight == workers


class MeetingService(DirectService):
    """Answers requests for messages only once a number of them are in flight."""

    def __init__(self, config: SimulatorConfig, number: int) -> None:
        super().__init__(config)
        self._all_are_here = threading.Barrier(number, timeout=20)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        if MESSAGES in headers["SOAPAction"]:
            self._all_are_here.wait()
        return super().post(url, headers, body, seconds)


@pytest.mark.parametrize("tables", [["messages"], ["message_opens"], ["messages", "message_opens"]])
def test_the_messages_of_many_lists_are_requested_by_all_workers(tables: list[str]) -> None:
    lists, workers = 24, 8
    account = make_account(lists=lists, messages_per_list=1, open_rate=0)
    service = MeetingService(SimulatorConfig(account=account), workers)
    result = read_here(service, tables, settings=service.at(NOW), num_workers=workers)
    assert service.count(MESSAGES) == lists
    assert len(result.records("messages")) == (lists if "messages" in tables else 0)


def test_one_message_with_very_many_opens_is_read_by_all_workers() -> None:
    account = make_account(giant_message_opens=3000)
    with make_simulator(account, page_size=20, latency=0.02) as sim:
        result = read(sim, ["message_opens"], num_workers=10)
        (_, requests), *_ = Counter(
            request.arguments["MsgID"]
            for request in sim.requests
            if request.operation == "ReportRangeMessageContactOpen"
        ).most_common(1)
        assert requests >= 150
        assert sim.peak_in_flight == 10
        assert differences(result, sim.truth(START_DATE), ["message_opens"]) == {}


def test_the_last_state_of_a_stream_is_before_its_complete() -> None:
    with make_simulator() as sim:
        result = read(sim)
    last: dict[str, str] = {}
    for message in result.messages:
        if message["type"] == "STATE":
            last[message["state"]["stream"]["stream_descriptor"]["name"]] = "STATE"
        elif message["type"] == "RECORD":
            last[message["record"]["stream"]] = "RECORD"
        elif message["type"] == "TRACE" and message["trace"]["type"] == "STREAM_STATUS":
            status = message["trace"]["stream_status"]
            if status["status"] == "COMPLETE":
                assert last[status["stream_descriptor"]["name"]] == "STATE"
    assert set(last) == set(TABLES)


def test_only_the_configured_lists_are_read() -> None:
    with make_simulator(make_account(lists=3)) as sim:
        chosen = sorted(row["ListID"] for row in sim.truth(tables=["lists"])["lists"])[1:2]
        assert_equals_truth(read(sim, list_ids=chosen), sim, list_ids=chosen)


def test_complaints_of_other_lists_are_left_out_however_long_the_report_is() -> None:
    account = make_account(lists=8, complaints=300)
    service = DirectService(SimulatorConfig(account=account, page_size=1))
    chosen = [service.account.lists()[0].list_id]
    result = read_here(service, ["abuse_complaints"], settings=service.at(NOW), list_ids=chosen)
    records = result.records("abuse_complaints")
    every = Truth(service.account, START_DATE).records("abuse_complaints")
    assert not difference(records, [one for one in every if one["ListID"] in chosen])
    assert 10 < len(records) < 100


def test_lists_that_the_user_does_not_see_are_named() -> None:
    with make_simulator() as sim:
        status = check(sim, list_ids=[999_999_999]).connection
        assert status["status"] == "FAILED"
        assert "list_ids" in status["message"]
        assert "999999999" in status["message"]
        result = read(sim, list_ids=[999_999_999])
        assert result.code != 0
        assert "999999999" in result.errors[0]["message"]
        assert sim.counts == {LOGIN: 2}


def test_a_user_without_lists_gets_an_error_and_no_empty_sync() -> None:
    with make_simulator(make_account(lists=0), end_style="empty") as sim:
        status = check(sim).connection
        assert status["status"] == "FAILED"
        assert "cannot see any list" in status["message"]
        result = read(sim)
        assert result.code != 0
        assert not result.of("RECORD")
        assert not result.of("STATE")
        assert "cannot see any list" in result.errors[0]["message"]
        assert result.errors[0]["failure_type"] == "config_error"


def test_without_test_messages_they_are_not_read() -> None:
    with make_simulator(make_account(messages_per_list=40)) as sim:
        result = read(sim, include_test_messages=False)
        assert_equals_truth(result, sim, include_test_messages=False)
        everything = sim.truth(START_DATE, tables=["messages"])
        assert len(result.records("messages")) < len(everything["messages"])


@pytest.mark.parametrize(
    "empty",
    [
        {"messages_per_list": 0},
        {"messages_per_list": (0, 3), "contacts_per_list": 0},
        {"recipients_per_message": 0},
        {"conversations_per_list": 0, "campaigns_per_list": 0, "complaints": 0},
    ],
    ids=lambda values: "-".join(values),
)
def test_an_account_with_nothing_in_places_is_a_success(empty: dict[str, Any]) -> None:
    with make_simulator(make_account(**empty)) as sim:
        assert check(sim).connection["status"] == "SUCCEEDED"
        assert_equals_truth(read(sim), sim)


def test_check_makes_two_requests_and_discover_none() -> None:
    with make_simulator() as sim:
        assert check(sim).connection["status"] == "SUCCEEDED"
        assert sim.counts == {LOGIN: 1, MESSAGES: 1}
        start, end = (
            datetime.fromisoformat(sim.requests[-1].arguments[name])
            for name in ("StartDate", "EndDate")
        )
        assert end - start == timedelta(days=1)
        (message,) = run("discover", config=make_config(sim)).of("CATALOG")
        streams = message["catalog"]["streams"]
        assert [stream["name"] for stream in streams] == list(TABLES)
        incremental = [
            stream["name"] for stream in streams if "incremental" in stream["supported_sync_modes"]
        ]
        assert incremental == [table for table in TABLES if has_state(table)]
        assert sim.counts == {LOGIN: 1, MESSAGES: 1}


@pytest.mark.parametrize(
    ("tables", "name"), [(["lists", "nonsense"], "nonsense"), (["lists", "lists"], "lists")]
)
def test_an_unknown_or_repeated_stream_is_refused_before_any_request(
    tables: list[str], name: str
) -> None:
    with make_simulator() as sim:
        result = read(sim, tables)
        assert result.code != 0
        (error,) = result.errors
        assert error["failure_type"] == "config_error"
        assert name in error["message"]
        assert not sim.counts


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"num_workers": 99}, "num_workers"),
        ({"password": ""}, "password"),
        ({"start_date": "soon"}, "start_date"),
        ({"start_date": "2999-01-01"}, "start_date"),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_option_is_named_before_any_request(values: dict[str, Any], field: str) -> None:
    with make_simulator() as sim:
        status = check(sim, **values).connection
        assert status["status"] == "FAILED"
        assert f"'{field}'" in status["message"]
        result = read(sim, **values)
        assert result.code != 0
        assert f"'{field}'" in result.errors[0]["message"]
        assert result.errors[0]["failure_type"] == "config_error"
        assert not sim.counts


def test_the_rate_limit_holds_with_forty_workers() -> None:
    account = make_account(lists=1, messages_per_list=40, uniform=True, recipients_per_message=20)
    with make_simulator(account) as sim:
        result = read(sim, ["message_opens"], num_workers=40, max_requests_per_second=40)
        assert result.code == 0
        arrivals = [request.at for request in sim.requests][1:]
        rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        assert rate <= 40 * 1.1
        assert len(arrivals) > 40


def test_a_text_of_many_megabytes_is_read() -> None:
    assert Limits().body_bytes > 100 * 2**20
    long = "x" * (11 * 2**20)
    account = make_account(lists=1, messages_per_list=1, wrong_values={"messages.Subject": long})
    with make_simulator(account) as sim:
        result = read(sim, ["messages"], limits=None)
    assert result.code == 0, result.errors
    assert result.records("messages")[0]["Subject"] == long


def test_a_default_sync_reads_one_year() -> None:
    with make_simulator(make_account(lists=1, start=START)) as sim:
        result = read(sim, start_date=None)
        assert result.code == 0
        assert sim.counts[MESSAGES] == 1
        truth = sim.truth(NOW - timedelta(days=365))
        assert differences(result, truth) == {}
