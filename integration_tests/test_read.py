"""Check, discover and read of the whole account, by the real process, counted at the server."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from integration_tests.harness import TABLES, Result, catalog, difference, run
from integration_tests.simulator import AccountConfig, Simulator, SimulatorConfig
from source_listrak.soap import wire

START = datetime(2022, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)


def account(**values: Any) -> AccountConfig:
    return AccountConfig(
        **{
            "lists": 2,
            "messages_per_list": 12,
            "recipients_per_message": 40,
            "contacts_per_list": 50,
            "start": START,
            "now": NOW,
            **values,
        }
    )


def config(sim: Simulator, **values: Any) -> dict[str, Any]:
    return {
        "username": sim.config.user_name,
        "password": sim.config.password,
        "endpoint": sim.url,
        "start_date": "2022-01-01T00:00:00Z",
        **values,
    }


def read(sim: Simulator, tables: Any = TABLES, **values: Any) -> Result:
    return run("read", config=config(sim, **values), catalog=catalog(tables), now=NOW)


def assert_equals_truth(result: Result, sim: Simulator, **bounds: Any) -> None:
    assert result.code == 0, result.errors
    truth = sim.truth(START, NOW, **bounds)
    for table in TABLES:
        assert not difference(result.records(table), truth[table]), table
        counted = [
            one["state"]["sourceStats"]["recordCount"]
            for one in result.of("STATE")
            if one["state"]["stream"]["stream_descriptor"]["name"] == table
        ]
        assert sum(counted) == len(truth[table]), table
    assert not [line for line in result.logs if line.startswith("Read ")], "a page is no record"
    assert result.statuses == dict.fromkeys(TABLES, "COMPLETE")


@pytest.mark.parametrize(
    ("page_size", "end_style"), [(7, "nil"), (1000, "empty"), (2500, "missing")]
)
def test_nine_tables_equal_the_truth_at_any_page_size(page_size: int, end_style: str) -> None:
    settings = SimulatorConfig(account=account(), page_size=page_size, end_style=end_style)
    with Simulator(settings) as sim:
        assert_equals_truth(read(sim), sim)


@pytest.mark.parametrize(
    "settings",
    [
        {"empty_pages": 2, "page_size": 10},
        {"short_pages": True, "page_size": 10},
        {"end_inclusive": True},
        {"wrapped_domains": True},
        {"gzip": True},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_nine_tables_equal_the_truth_whatever_the_service_does_in_between(
    settings: dict[str, Any],
) -> None:
    with Simulator(SimulatorConfig(account=account(), **settings)) as sim:
        assert_equals_truth(read(sim), sim)


@pytest.mark.parametrize("style", ["mixed", "garbage"])
def test_dates_in_strings_come_out_in_one_form_or_untouched(style: str) -> None:
    with Simulator(SimulatorConfig(account=account(string_date_style=style))) as sim:
        assert_equals_truth(read(sim), sim)


def test_dates_with_an_offset_are_honoured() -> None:
    with Simulator(SimulatorConfig(account=account(date_offsets=True))) as sim:
        assert_equals_truth(read(sim), sim)


def test_a_page_that_is_exactly_full_is_not_the_end() -> None:
    settings = account(uniform=True, recipients_per_message=50, open_rate=1.0)
    with Simulator(SimulatorConfig(account=settings, page_size=25)) as sim:
        assert_equals_truth(read(sim), sim)


def test_lists_and_windows_of_messages_are_asked_once_and_shared() -> None:
    with Simulator(SimulatorConfig(account=account(lists=4))) as sim:
        assert_equals_truth(read(sim), sim)
        windows = Counter(
            (request.operation, *sorted((k, str(v)) for k, v in request.arguments.items()))
            for request in sim.requests
            if request.operation in ("ReportListMessageActivity", "ReportListMessageDelivery")
        )
        assert set(windows.values()) == {1}
        assert sim.counts["GetContactListCollection"] == 1
        # Two years are two windows of 365 days.
        assert sim.counts["ReportListMessageActivity"] == 4 * 2
        assert sim.counts["ReportListMessageDelivery"] == 4 * 2


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_requests_are_in_flight_than_workers(workers: int) -> None:
    with Simulator(SimulatorConfig(account=account(), latency=0.01)) as sim:
        assert_equals_truth(read(sim, num_workers=workers), sim)
        assert sim.peak_in_flight == workers


def test_one_message_with_very_many_opens_is_read_by_all_workers() -> None:
    settings = account(giant_message_opens=3000)
    with Simulator(SimulatorConfig(account=settings, page_size=20, latency=0.02)) as sim:
        result = read(sim, ["message_opens"])
        giant = Counter(
            request.arguments["MsgID"]
            for request in sim.requests
            if request.operation == "ReportRangeMessageContactOpen"
        ).most_common(1)[0]
        assert giant[1] >= 150
        assert sim.peak_in_flight == 10
        assert not difference(
            result.records("message_opens"), sim.truth(START, NOW)["message_opens"]
        )


def test_the_last_state_of_a_stream_stands_before_its_complete() -> None:
    with Simulator(SimulatorConfig(account=account())) as sim:
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


def test_estimates_agree_with_what_came() -> None:
    with Simulator(SimulatorConfig(account=account())) as sim:
        result = read(sim)
    estimates = {
        message["trace"]["estimate"]["name"]: message["trace"]["estimate"]["row_estimate"]
        for message in result.of("TRACE")
        if message["trace"]["type"] == "ESTIMATE"
    }
    for table in set(TABLES) - {"messages", "subscribed_contacts"}:
        # The delivery report says zero for a message that is still going out.
        assert estimates[table] == pytest.approx(len(result.records(table)), rel=0.02), table


def test_only_the_configured_lists_are_read() -> None:
    with Simulator(SimulatorConfig(account=account(lists=3))) as sim:
        chosen = sorted(row["ListID"] for row in sim.truth()["lists"])[1:2]
        assert_equals_truth(read(sim, list_ids=chosen), sim, list_ids=chosen)


def test_lists_that_the_user_does_not_see_are_named() -> None:
    with Simulator(SimulatorConfig(account=account())) as sim:
        values = config(sim, list_ids=[999_999_999])
        status = run("check", config=values).connection
        assert status["status"] == "FAILED"
        assert "list_ids" in status["message"]
        assert "999999999" in status["message"]
        result = run("read", config=values, catalog=catalog(), now=NOW)
        assert result.code != 0
        assert "999999999" in result.errors[0]["message"]
        assert sim.counts == {"GetContactListCollection": 2}


def test_without_test_messages_they_are_not_read() -> None:
    with Simulator(SimulatorConfig(account=account(messages_per_list=40))) as sim:
        result = read(sim, include_test_messages=False)
        assert_equals_truth(result, sim, include_test_messages=False)
        assert len(result.records("messages")) < len(sim.truth(START, NOW)["messages"])


@pytest.mark.parametrize(
    "empty",
    [
        {"lists": 0},
        {"messages_per_list": 0},
        {"messages_per_list": (0, 3), "contacts_per_list": 0},
        {"recipients_per_message": 0},
    ],
    ids=lambda values: "-".join(values),
)
def test_an_account_with_nothing_in_places_is_a_success(empty: dict[str, Any]) -> None:
    with Simulator(SimulatorConfig(account=account(**empty))) as sim:
        assert run("check", config=config(sim)).connection["status"] == "SUCCEEDED"
        assert_equals_truth(read(sim), sim)


def test_check_makes_one_request_and_discover_none() -> None:
    with Simulator(SimulatorConfig(account=account())) as sim:
        assert run("check", config=config(sim)).connection["status"] == "SUCCEEDED"
        assert sim.counts == {"GetContactListCollection": 1}
        (message,) = run("discover", config=config(sim)).of("CATALOG")
        assert [stream["name"] for stream in message["catalog"]["streams"]] == list(TABLES)
        assert sim.counts == {"GetContactListCollection": 1}


def test_a_catalog_with_an_unknown_stream_is_refused_before_any_request() -> None:
    with Simulator(SimulatorConfig(account=account())) as sim:
        result = read(sim, ["lists", "nonsense"])
        assert result.code != 0
        (error,) = result.errors
        assert error["failure_type"] == "config_error"
        assert "nonsense" in error["message"]
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
    with Simulator(SimulatorConfig(account=account())) as sim:
        status = run("check", config=config(sim, **values)).connection
        assert status["status"] == "FAILED"
        assert f"'{field}'" in status["message"]
        result = read(sim, **values)
        assert result.code != 0
        assert f"'{field}'" in result.errors[0]["message"]
        assert result.errors[0]["failure_type"] == "config_error"
        assert not sim.counts


def test_the_pace_is_kept_under_forty_workers() -> None:
    settings = account(lists=1, messages_per_list=40, uniform=True, recipients_per_message=20)
    with Simulator(SimulatorConfig(account=settings)) as sim:
        result = read(sim, ["message_opens"], num_workers=40, max_requests_per_second=40)
        assert result.code == 0
        arrivals = [request.at for request in sim.requests][1:]
        rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
        assert rate <= 40 * 1.1
        assert len(arrivals) > 40


def test_a_text_of_many_megabytes_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wire.MAX_BODY_BYTES > 100 * 2**20
    long = "x" * (11 * 2**20)
    with Simulator(SimulatorConfig(account=account(lists=1, messages_per_list=1))) as sim:
        original = sim._service.answer
        monkeypatch.setattr(
            sim._service,
            "answer",
            lambda *args, **kwargs: original(*args, **kwargs).replace(
                b"</Subject>", long.encode() + b"</Subject>"
            ),
        )
        result = read(sim, ["messages"])
    assert result.code == 0
    assert result.records("messages")[0]["Subject"].endswith(long)


def test_a_default_sync_reads_one_year() -> None:
    with Simulator(SimulatorConfig(account=account(lists=1))) as sim:
        values = config(sim)
        del values["start_date"]
        result = run("read", config=values, catalog=catalog(), now=NOW)
        assert result.code == 0
        assert sim.counts["ReportListMessageActivity"] == 1
        truth = sim.truth(NOW - timedelta(days=365), NOW)
        assert not difference(result.records("messages"), truth["messages"])
