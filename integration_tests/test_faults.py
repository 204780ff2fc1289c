"""Every way in which the service can fail, with the requests counted at the service."""

from __future__ import annotations

import itertools
import json
import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airbyte_cdk.models import (
    Status,
)
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from drivers.inprocess import POLICY, SETTINGS, check_here, read_here
from drivers.launch import settings_from
from drivers.messages import Records, Result, difference, differences, multiset
from drivers.process import QUICK, TIGHT, check, read
from drivers.setups import (
    CLICKS,
    LOGIN,
    MESSAGES,
    NOW,
    OPENS,
    SENDS,
    START_DATE,
    TABLES,
    catalog,
    make_account,
    make_simulator,
    requests,
)
from integration_tests import fuzz, test_leaving, test_secrets, test_wire
from simulator import FAULTS as SIMULATED
from simulator import RequestRecord, Simulator
from source_listrak import Settings, SourceListrak
from source_listrak.soap import faults
from source_listrak.soap.client import CHECK_POLICY, FAILURES_IN_A_ROW
from source_listrak.soap.faults import FAULTS, Action, AttemptFailed, ListrakError
from source_listrak.soap.throttle import Clock, Waitable
from source_listrak.soap.wire import Response
from source_listrak.sync.ledger import REFUSALS_LIMIT
from source_listrak.sync.reader import FAILED_PAGES_LIMIT
from source_listrak.tables import TABLES as DECLARED

BY_NAME = {fault.name: fault for fault in FAULTS}
MESSAGE_TABLES = tuple(table for table in TABLES if table.startswith("message_"))
BY_MESSAGE = tuple(
    table for table in MESSAGE_TABLES if table not in ("message_deliveries", "message_analytics")
)
"""The tables that are requested message by message."""

# What the service does -> the fault that the connector takes it for.
SEEN_AS = {
    "invalid_logon": "invalid_logon",
    "attempts_exceeded": "attempts_exceeded",
    "prohibited_ip": "prohibited_address",
    "token_in_result": "invalid_logon",
    "token_in_header": "invalid_logon",
    "token_beside_result": "attempts_exceeded",
    "token_in_other_element": "invalid_logon",
    "other_fault": "other_fault",
    "fault_in_response": "other_fault",
    "ws_exception": "in_band_exception",
    "ws_exception_404": "in_band_exception",
    "ws_exception_no_text": "in_band_exception",
    "ws_exception_renamed": "in_band_exception",
    "text_in_result": "in_band_exception",
    "server_error": "server_error",
    "unavailable": "unavailable",
    "html_unavailable": "unavailable",
    "too_many_requests": "rate_limited",
    "timeout": "timeout",
    "reset": "connection",
    "reset_mid_body": "connection",
    "truncated": "connection",
    "truncated_xml": "malformed",
    "not_xml": "malformed",
    "empty_body": "malformed",
    "wrong_response": "malformed",
    "other_rows": "malformed",
    "renamed_rows": "malformed",
    "deep_nesting": "malformed",
    "html_page": "html_page",
    "xhtml_page": "html_page",
    "redirect": "redirect",
    "doctype": "refused_xml",
    "billion_laughs": "refused_xml",
    "external_entity": "refused_xml",
    "huge_body": "too_large",
}
PERMISSIONS = (
    "permission",
    "permission_401",
    "permission_403",
    "permission_denied",
    "permission_database",
    "ws_exception_permission",
)
BY_THE_LOGIN = SEEN_AS | dict.fromkeys(PERMISSIONS, "login_refused") | {
    "service_gone": "service_gone",
    "report_gone": "service_gone",
}  # fmt: skip
BY_A_REPORT = SEEN_AS | dict.fromkeys(PERMISSIONS, "permission") | {"service_gone": "service_gone"}
HARMLESS = (
    "illegal_characters",
    "illegal_references",
    "wrong_encoding",
    "latin1_encoding",
    "missing_declaration",
)
PASSING = tuple(name for name, fault in SEEN_AS.items() if BY_NAME[fault].action is Action.RETRY)
ON_THEIR_OWN = {
    "message_404",
    "reports_gone",
    "xinclude",
    "repeated_page",
    "endless_empty_pages",
    "no_result",  # for the login, it means that the user cannot see any list
}
"""Faults with tests of their own, below."""


def everywhere(fault: str, **fields: Any) -> dict[str, Any]:
    """Return the settings of one fault."""
    return {fault: {"everywhere": True, **fields}}


def truth_of(sim: Simulator) -> dict[str, Records]:
    """Return what a faultless sync reads."""
    return sim.truth(since=START_DATE)


def busy_message(sim: Simulator) -> int:
    """Return a message with rows in all tables that are requested message by message."""
    truth = truth_of(sim)
    found = [{int(row["MsgID"]) for row in truth[table]} for table in BY_MESSAGE]
    return min(set.intersection(*found))


def without(rows: Records, messages: Iterable[int]) -> Records:
    """Return the rows of other messages."""
    left_out = set(messages)
    return [row for row in rows if row["MsgID"] not in left_out]


def of_messages(rows: Records, messages: Iterable[int]) -> Records:
    """Return the rows of some messages."""
    chosen = set(messages)
    return [row for row in rows if row["MsgID"] in chosen]


def requested(sim: Simulator, operation: str, *messages: int) -> list[RequestRecord]:
    """Return the requests of an operation for some messages, for all without any."""
    return [
        request
        for request in sim.requests
        if request.operation == operation
        and (not messages or request.arguments.get("MsgID") in messages)
    ]


def operation_of(table: str) -> str:
    return DECLARED[table].operation


def assert_resumes(
    sim: Simulator,
    first: Result,
    tables: Iterable[str] = TABLES,
    *,
    settings: Settings = SETTINGS,
) -> Result:
    """Have the service recover and the next sync bring the rest; return that sync."""
    truth = truth_of(sim)
    sim.config.faults = {}
    sim.reset_counts()
    second = read_here(sim, tables, state=first.state, settings=settings)
    assert second.code == 0
    assert set(second.statuses.values()) == {"COMPLETE"}
    for table in tables:
        both = first.records(table) + second.records(table)
        # A slice that failed on its second page is read again from its first.
        assert set(multiset(both)) == set(multiset(truth[table])), table
    return second


# The table of faults


def test_every_fault_that_the_simulator_knows_is_tested_here() -> None:
    assert set(SIMULATED) == {*BY_THE_LOGIN, *BY_A_REPORT, *HARMLESS, *ON_THEIR_OWN}


def test_every_fault_that_the_connector_knows_is_reached_by_a_test() -> None:
    on_their_own = {
        "report_gone": test_reports_that_are_gone_are_skipped_alone,
        "outage": test_after_an_outage_the_sync_resumes,
        "repeated_page": test_a_page_that_repeats_without_end_is_an_error,
        "interrupted": test_leaving.test_after_a_signal_the_last_state_is_written,
        "proxy_login": test_secrets.test_a_proxy_that_refuses_its_password_is_named,
        "proxy_refused": test_wire.test_the_status_of_a_proxy_says_why_it_refuses,
        "private_address": test_secrets.test_in_the_cloud_a_private_endpoint_is_refused,
        "tls": test_secrets.test_no_password_is_sent_to_an_unknown_authority,
    }
    assert {*on_their_own, *BY_THE_LOGIN.values(), *BY_A_REPORT.values()} == set(BY_NAME)


@pytest.mark.parametrize("simulated", sorted(BY_THE_LOGIN))
def test_check_and_read_name_the_fault_of_the_login(
    simulated: str,
) -> None:
    fault = BY_NAME[BY_THE_LOGIN[simulated]]
    expected = POLICY.attempts if fault.action is Action.RETRY else 1
    with make_simulator(faults=everywhere(simulated)) as sim:
        succeeded, message = check_here(sim)
        assert not succeeded
        assert message.startswith(fault.message)
        assert requests(sim) == expected
        sim.reset_counts()
        result = read_here(sim, num_workers=40)
        assert requests(sim) == expected
        assert sim.counts["canary"] == 0
    assert result.code == 1
    (error,) = result.errors
    assert error["message"].startswith(fault.message)
    assert error["failure_type"] == fault.failure_type.value
    assert result.statuses == {}
    assert not result.of("STATE")
    assert not result.of("RECORD")


@pytest.mark.parametrize("simulated", sorted(BY_A_REPORT))
def test_when_every_report_fails_no_table_is_complete(
    simulated: str,
) -> None:
    fault = BY_NAME[BY_A_REPORT[simulated]]
    account = make_account(lists=20, messages_per_list=1)
    with make_simulator(account, faults=everywhere(simulated, after=1)) as sim:
        result = read_here(sim, num_workers=8)
        sent = requests(sim)
        assert sim.counts["canary"] == 0
    assert result.code == 1
    assert set(result.statuses) == set(TABLES)
    # The lists arrived with the login.
    complete = {table for table, status in result.statuses.items() if status == "COMPLETE"}
    assert complete <= {"lists"}
    failed = sorted(set(TABLES) - complete)
    assert sorted(error["stream"] for error in result.errors) == failed, "one error for each"
    for error in result.errors:
        is_outage = error["message"].startswith(faults.OUTAGE.message)
        if is_outage and fault.action is Action.RETRY:
            assert f"last fault: {fault.name}" in error["message"]
        else:
            assert error["message"].startswith(fault.message)
        assert error["failure_type"] == fault.failure_type.value
    for table in set(failed) - {"lists"}:
        assert not result.records(table)
        state = result.stream_state(table)
        assert "synced_to" not in state or state["owed"], "all of it will be requested again"
    if fault is faults.SERVICE_GONE:
        assert sent <= 1 + 2 * 3 * (FAILURES_IN_A_ROW + 8) + 1
    elif fault.action is Action.STOP:
        assert sent <= 1 + 8, "no more than were in flight"
    elif fault.action is Action.RETRY:
        # Several tables fail with each list, and further ones are in flight.
        assert sent <= 1 + POLICY.attempts * 3 * (FAILURES_IN_A_ROW + 8) + 1
    else:
        assert sent <= 1 + 20 * len(TABLES), "no retries"


@pytest.mark.parametrize("simulated", [*PASSING, *HARMLESS, "all at once"])
def test_faults_now_and_then_change_no_table(
    simulated: str,
) -> None:
    # All at once they replace most responses; each request has more attempts than faults.
    chosen = (*PASSING, *HARMLESS) if simulated == "all at once" else [simulated]
    injected = {name: {"rate": 0.05, "times": 5, "everywhere": True} for name in chosen}
    with make_simulator(faults=injected) as sim:
        result = read_here(sim)
        assert sum(sim.fault_counts.values()) > 0
        assert differences(result, truth_of(sim)) == {}
    assert result.code == 0
    assert not result.errors
    assert set(result.statuses.values()) == {"COMPLETE"}


# The login


@pytest.mark.parametrize("verb", ["check", "read"])
def test_a_wrong_password_costs_one_request_and_one_sentence(verb: str) -> None:
    with make_simulator() as sim:
        run = check if verb == "check" else read
        result = run(sim, password="wrong", num_workers=40)
        assert requests(sim) == 1
    if verb == "check":
        assert result.connection["status"] == "FAILED"
        assert result.connection["message"] == faults.INVALID_LOGON.message
        assert result.code == 0, "the check itself worked"
    else:
        (error,) = result.errors
        assert error["message"] == faults.INVALID_LOGON.message
        assert error["failure_type"] == "config_error"
        assert result.code == 1


def test_a_lock_and_a_prohibited_address_are_told_apart() -> None:
    """One request is enough, and is not repeated."""
    for settings, fault in (
        ({"lockout_after": 0}, faults.ATTEMPTS_EXCEEDED),
        ({"prohibited": True}, faults.PROHIBITED_ADDRESS),
    ):
        with make_simulator(**settings) as sim:
            assert check_here(sim) == (False, fault.message)
            assert requests(sim) == 1
            (error,) = read_here(sim, num_workers=40).errors
            assert error["message"] == fault.message
            assert requests(sim) == 2


def test_a_changed_password_stops_all_new_requests() -> None:
    """When the password changes during a sync, only requests in flight still arrive."""
    workers = 4
    # Each failed request counts towards the lock of the account, so without the stop the service
    # would say next that the account is locked.
    with make_simulator(password_change_after=12, latency=0.03, lockout_after=1000) as sim:
        result = read_here(sim, num_workers=workers)
        assert 13 <= requests(sim) <= 12 + workers
        assert result.code == 1
        running = {table for table, status in result.statuses.items() if status == "INCOMPLETE"}
        assert len(running) >= 6
        assert sorted(error["stream"] for error in result.errors) == sorted(running)
        for error in result.errors:
            assert error["message"] == faults.INVALID_LOGON.message
            assert error["failure_type"] == "config_error"
        sim.config.password_change_after = None
        sim.unlock()
        assert_resumes(sim, result)


@pytest.mark.parametrize("end_style", ["missing", "nil", "empty"])
def test_check_and_read_fail_without_a_list(
    end_style: str,
) -> None:
    with make_simulator(end_style=end_style) as sim:
        sim.hide_lists([one.list_id for one in sim.account.lists()])
        succeeded, message = check_here(sim)
        assert not succeeded
        assert "cannot see any list" in message
        result = read_here(sim)
        assert requests(sim) == 2, "one login each"
    (error,) = result.errors
    assert "cannot see any list" in error["message"]
    assert error["failure_type"] == "config_error"
    assert result.code == 1
    assert not result.of("RECORD")


# check


def test_a_check_requests_the_login_and_a_report_of_one_day() -> None:
    with make_simulator() as sim:
        result = check(sim)
        assert result.connection["status"] == "SUCCEEDED"
        login, report = sim.requests
    assert login.operation == LOGIN
    assert report.operation == MESSAGES
    start, end = (datetime.fromisoformat(report.arguments[n]) for n in ("StartDate", "EndDate"))
    assert end - start == timedelta(days=1)


def test_a_check_without_analytics_access_tries_each_list_once() -> None:
    """Where every list's report is refused, the check fails after one request for each."""
    with make_simulator(faults={"permission": {"operations": [MESSAGES]}}) as sim:
        succeeded, message = check_here(sim)
        assert requests(sim) == 1 + len(truth_of(sim)["lists"])
    assert not succeeded
    assert message.startswith(faults.PERMISSION.message)


class JumpingClock(Clock):
    """A clock on which every wait is over at once."""

    def __init__(self) -> None:
        self._jumped = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._jumped

    def wait(self, waitable: Waitable, seconds: float) -> None:
        self.jump(seconds)

    def jump(self, seconds: float) -> None:
        self._jumped += seconds


class Unreachable:
    """A service whose responses take as long as they may, then fail or are errors."""

    def __init__(self, clock: JumpingClock, error: AttemptFailed | None) -> None:
        self._clock = clock
        self._error = error
        self.requests = 0

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        self.requests += 1
        if self._error is None:
            return Response(500, b"")
        self._clock.jump(seconds)
        raise self._error


@pytest.mark.parametrize("error", [AttemptFailed(faults.TIMEOUT), None], ids=["silent", "broken"])
def test_a_check_of_a_failing_service_takes_20_seconds(
    error: AttemptFailed | None,
) -> None:
    clock = JumpingClock()
    service = Unreachable(clock, error)
    settings = Settings(now=lambda: NOW, clock=clock, transport=lambda *_: service)
    config = {"username": "demo", "password": "secret"}
    began = clock.monotonic()
    result = SourceListrak(settings).check(logging.Logger("airbyte", logging.CRITICAL), config)
    expected = faults.TIMEOUT if error else faults.SERVER_ERROR
    assert result.status is Status.FAILED
    assert (result.message or "").startswith(expected.message)
    assert CHECK_POLICY.deadline == 20
    assert clock.monotonic() - began <= 20 + 1, "and the time that the computer itself takes"
    assert service.requests >= (1 if error else 4)


# Reports that are gone


def gone_for(messages: Iterable[int]) -> dict[str, Any]:
    return {"report_gone": {"message_ids": sorted(messages)}}


def test_reports_that_are_gone_are_skipped_alone() -> None:
    with make_simulator() as sim:
        truth = truth_of(sim)
        busy = busy_message(sim)
        others = {row["MsgID"] for row in truth["message_opens"]} - {busy}
        gone = sorted({busy, *sorted(others)[:2]})
        sim.config.faults = gone_for(gone)
        first = read(sim, BY_MESSAGE)
        assert first.code == 0
        assert not first.errors
        assert set(first.statuses.values()) == {"COMPLETE"}
        for table in BY_MESSAGE:
            rest = without(truth[table], gone)
            assert not difference(first.records(table), rest), table
            attempts = {m: len(requested(sim, operation_of(table), m)) for m in gone}
            assert set(attempts.values()) <= {0, 2}, "one retry"
            assert attempts[busy]
            owed = first.stream_state(table)["owed"]
            assert [key[1] for key, *_ in map(as_owed, owed)] == [m for m in gone if attempts[m]]
            number = sum(map(bool, attempts.values()))
            (warning,) = (w for w in first.warnings if w.startswith(f"{table}: Listrak returned"))
            assert f"404 for the reports of {number} messages" in warning
            (summary,) = (line for line in first.logs if line.startswith(f"Summary of {table}:"))
            assert f"{number} gone" in summary

        # They answer again: the next sync brings everything since the start date.
        sim.config.faults = {}
        sim.reset_counts()
        later = replace(SETTINGS, now=lambda: NOW + timedelta(days=3))
        second = read_here(sim, BY_MESSAGE, state=first.state, settings=later)
        assert second.code == 0
        for request in sim.requests:
            if request.arguments.get("MsgID") in gone and "StartDate" in request.arguments:
                assert request.arguments["StartDate"].startswith(START_DATE)
        for table in BY_MESSAGE:
            again = of_messages(second.records(table), gone)
            assert not difference(again, of_messages(truth[table], gone)), table
            assert not second.stream_state(table)["owed"]


def as_owed(item: Any) -> tuple[Any, ...]:
    """Return what a state holds about one slice that is owed."""
    return tuple(item.values()) if isinstance(item, dict) else tuple(item)


def test_a_report_that_stays_gone_is_requested_ever_less() -> None:
    """It is requested daily, and after 30 days weekly."""
    with make_simulator() as sim:
        gone = busy_message(sim)
        sim.config.faults = gone_for([gone])
        state: Any = None
        days = {}

        def on(day: int) -> Settings:
            return replace(SETTINGS, now=lambda: NOW + timedelta(days=day))

        for day in (0, 1, 2, 29, *range(31, 52)):
            sim.set_now(NOW + timedelta(days=day))
            sim.reset_counts()
            result = read_here(sim, ["message_opens"], state=state, settings=on(day))
            assert result.code == 0
            state = result.state
            (owed,) = result.stream_state("message_opens")["owed"]
            assert as_owed(owed)[0][1] == gone
            days[day] = len(requested(sim, OPENS, gone))
        assert [days[day] for day in (0, 1, 2, 29)] == [2, 2, 2, 2]
        late = [day for day in range(31, 52) if days[day]]
        assert len(late) == 3
        assert {after - before for before, after in itertools.pairwise(late)} == {7}

        # It answers on a day on which it is requested, and nothing of it is missing.
        sim.config.faults = {}
        last = late[-1] + 7
        sim.set_now(NOW + timedelta(days=last))
        result = read_here(sim, ["message_opens"], state=state, settings=on(last))
        rows = of_messages(sim.truth(since=START_DATE)["message_opens"], [gone])
        assert not difference(of_messages(result.records("message_opens"), [gone]), rows)
        assert not result.stream_state("message_opens")["owed"]


def test_a_login_decides_after_five_gone_reports() -> None:
    """When five different reports are gone in a row and the login works, the sync continues."""
    account = make_account(lists=1, messages_per_list=8)
    with make_simulator(account, faults={"report_gone": {"operations": [OPENS]}}) as sim:
        result = read_here(sim, ["message_opens"], num_workers=1, skip_inactive_messages=False)
        attempts = [request.operation for request in sim.requests]
        number = len({r.arguments["MsgID"] for r in requested(sim, OPENS)})
        assert number >= 8
        assert sim.counts[OPENS] == 2 * number
    assert result.code == 0
    assert result.statuses == {"message_opens": "COMPLETE"}
    assert len(result.stream_state("message_opens")["owed"]) == number
    logins = [place for place, operation in enumerate(attempts) if operation == LOGIN]
    # One after each five, and one for the rest at the end.
    assert len(logins) == 1 + math.ceil(number / FAILURES_IN_A_ROW)
    assert attempts[logins[1] - 2 * FAILURES_IN_A_ROW : logins[1]] == [OPENS] * 10


def test_a_service_that_is_gone_fails_the_sync() -> None:
    """When five reports and the login are gone, the sync fails and defers nothing."""
    account = make_account(lists=1, messages_per_list=8)
    with make_simulator(account) as sim:
        # After the login, the messages and the opens of the first message.
        sim.config.faults = {"service_gone": {"after": 3}}
        result = read_here(
            sim, ["message_opens"], num_workers=1, skip_inactive_messages=False, page_size=100
        )
        assert requests(sim) == 3 + 2 * FAILURES_IN_A_ROW + 1
        assert result.code == 1
        (error,) = result.errors
        assert error["message"].startswith(faults.SERVICE_GONE.message)
        assert "endpoint" in error["message"]
        assert error["failure_type"] == "config_error"
        state = result.stream_state("message_opens")
        assert "synced_to" not in state
        assert not state["owed"]
        assert_resumes(sim, result, ["message_opens"])


@pytest.mark.parametrize("verb", ["check", "read"])
def test_an_endpoint_without_a_service_is_named(
    verb: str,
) -> None:
    with make_simulator() as sim:
        run = check if verb == "check" else read
        result = run(sim, endpoint=sim.url.replace("v31", "v30"))
        assert requests(sim) == 0, "none reached the service"
    if verb == "check":
        message = result.connection["message"]
    else:
        (error,) = result.errors
        message = error["message"]
        assert error["failure_type"] == "config_error"
        assert result.code == 1
    assert message.startswith(faults.SERVICE_GONE.message)


def test_404_in_the_text_of_a_fault_is_a_failure() -> None:
    """It is retried and deferred, as any other fault is."""
    with make_simulator() as sim:
        message = busy_message(sim)
        sim.config.faults = {"message_404": {"message_ids": [message], "operations": [OPENS]}}
        result = read_here(sim, ["message_opens"])
        # Each of the pages after one that failed is requested once.
        assert len(requested(sim, OPENS, message)) == POLICY.attempts + FAILED_PAGES_LIMIT
        assert result.code == 1
        (error,) = result.errors
        assert error["message"].startswith(faults.OTHER_FAULT.message)
        assert "(404)" in error["message"]
        assert_resumes(sim, result, ["message_opens"])


def test_all_reports_gone_are_all_deferred() -> None:
    """While the login works, a sync without any report ends with all of them deferred."""
    with make_simulator(faults={"reports_gone": 1.0}) as sim:
        result = read_here(sim)
        assert result.code == 0
        for table in set(TABLES) - {"lists"}:
            assert not result.records(table)
            assert result.stream_state(table)["owed"], table
        second = assert_resumes(sim, result)
    for table in TABLES:
        assert not second.stream_state(table)["owed"], table


# Permission


@pytest.mark.parametrize("simulated", PERMISSIONS)
def test_a_report_that_is_refused_is_deferred_alone(simulated: str) -> None:
    with make_simulator() as sim:
        message = busy_message(sim)
        sim.config.faults = everywhere(simulated, message_ids=[message], operations=[CLICKS])
        truth = truth_of(sim)
        first = read_here(sim)
        assert len(requested(sim, CLICKS, message)) == 1, "not retried"
        assert sim.counts[LOGIN] == 1
        assert first.code == 1
        incomplete = {t for t, status in first.statuses.items() if status != "COMPLETE"}
        assert incomplete == {"message_clicks"}
        (error,) = first.errors
        assert error["stream"] == "message_clicks"
        assert error["message"].startswith(faults.PERMISSION.message)
        assert f"message {message}" in error["message"]
        assert error["failure_type"] == "config_error"
        assert differences(first, truth, set(TABLES) - {"message_clicks"}) == {}
        rest = without(truth["message_clicks"], [message])
        assert not difference(first.records("message_clicks"), rest)
        second = assert_resumes(sim, first, ["message_clicks"])
        missing = of_messages(truth["message_clicks"], [message])
        again = of_messages(second.records("message_clicks"), [message])
        assert not difference(again, missing)


def test_a_refused_list_leaves_the_others() -> None:
    """After five refused reports of a list, the other lists are still read."""
    with make_simulator(make_account(messages_per_list=20)) as sim:
        busy = min(sim.account.lists(), key=lambda one: one.list_id)
        messages = [one.msg_id for one in sim.account.messages(busy)]
        sim.config.faults = {"permission": {"operations": [CLICKS], "message_ids": messages}}
        result = read_here(sim, num_workers=1, skip_inactive_messages=False)
        refused = {one for one in messages if requested(sim, CLICKS, one)}
        assert REFUSALS_LIMIT <= len(refused) <= REFUSALS_LIMIT + 1, "one can be on its way"
        assert result.code == 1
        incomplete = {t for t, status in result.statuses.items() if status != "COMPLETE"}
        assert incomplete == {"message_clicks"}
        truth = truth_of(sim)
        assert differences(result, truth, set(TABLES) - {"message_clicks"}) == {}
        rest = without(truth["message_clicks"], messages)
        assert not difference(result.records("message_clicks"), rest)
        (error,) = result.errors
        assert error["message"].startswith(faults.PERMISSION.message)
        assert error["failure_type"] == "config_error"
        state = result.stream_state("message_clicks")
        assert state["synced_to"]
        assert [one[0] for one in state["owed"]] == [[busy.list_id]]
        assert_resumes(sim, result, ["message_clicks"])


# Slices that fail permanently


@pytest.mark.parametrize("simulated", ["other_fault", "ws_exception", "doctype"])
def test_a_message_that_fails_is_deferred_and_the_rest_is_read(
    simulated: str,
) -> None:
    with make_simulator() as sim:
        message = busy_message(sim)
        sim.config.faults = everywhere(simulated, message_ids=[message], operations=[OPENS])
        truth = truth_of(sim)
        first = read(sim)
        assert first.code == 1
        incomplete = {t for t, status in first.statuses.items() if status != "COMPLETE"}
        assert incomplete == {"message_opens"}
        (error,) = first.errors
        assert error["stream"] == "message_opens"
        expected = BY_NAME[SEEN_AS[simulated]]
        assert error["message"].startswith(expected.message)
        assert f"message {message}" in error["message"]
        assert "failing since 2024-01-01 00:00 UTC" in error["message"]
        assert error["failure_type"] == expected.failure_type.value
        rest = without(truth["message_opens"], [message])
        assert not difference(first.records("message_opens"), rest)
        assert differences(first, truth, set(TABLES) - {"message_opens"}) == {}
        assert first.stream_state("message_opens")["synced_to"] == "2024-01-01T00:00:00Z"

        # The window closed: newer rows are read although the message keeps failing.
        sim.set_now(NOW + timedelta(days=60))
        later = replace(SETTINGS, now=lambda: NOW + timedelta(days=60))
        second = read_here(sim, ["message_opens"], state=first.state, settings=later)
        assert second.code == 1
        (error,) = second.errors
        assert "failing since 2024-01-01 00:00 UTC" in error["message"]
        rows = truth_of(sim)["message_opens"]
        new = multiset(row for row in rows if row.get("OpenDate", "") >= "2024-01-01T05")
        assert new
        assert set(new) <= set(multiset(second.records("message_opens")))

        sim.config.faults = {}
        third = read_here(sim, ["message_opens"], state=second.state, settings=later)
        rows = of_messages(sim.truth(since=START_DATE)["message_opens"], [message])
        assert not difference(of_messages(third.records("message_opens"), [message]), rows)
        assert not third.stream_state("message_opens")["owed"]


def test_the_error_of_each_table_counts_its_own_lists() -> None:
    # The messages of a list are fetched once, so their error is one object for many streams.
    with make_simulator(faults=everywhere("other_fault", operations=[MESSAGES])) as sim:
        result = read_here(sim)
        assert sim.counts[MESSAGES] == 2 * POLICY.attempts
    assert result.code == 1
    assert {error["stream"] for error in result.errors} == {
        "messages",
        "message_analytics",
        *BY_MESSAGE,
    }
    for error in result.errors:
        assert error["message"].count("(2 failed, the first being list") == 1, error["message"]


def test_an_exception_on_the_second_page_is_not_the_end() -> None:
    """An exception in band is an error, although the page has no rows."""
    with make_simulator(faults={"ws_exception": {"operations": [SENDS], "pages": [2]}}) as sim:
        result = read_here(sim, ["message_sends"], num_workers=1)
    assert result.code == 1
    (error,) = result.errors
    assert error["message"].startswith(faults.IN_BAND.message)
    assert "Timeout expired while the report was being generated." in error["message"]
    assert result.statuses == {"message_sends": "INCOMPLETE"}


def test_a_message_that_fails_in_its_tables_harms_no_other_table() -> None:
    account = make_account(lists=1, messages_per_list=1, conversations_per_list=0)
    with make_simulator(account) as sim:
        (message,) = {row["MsgID"] for row in truth_of(sim)["messages"]}
        sim.config.faults = everywhere("other_fault", message_ids=[message])
        result = read_here(sim, num_workers=1, skip_inactive_messages=False)
        # The login decides, since an account can have a single message or list.
        assert 1 < sim.counts[LOGIN] <= 1 + len(BY_MESSAGE)
        truth = truth_of(sim)
    assert result.code == 1
    incomplete = {t for t, status in result.statuses.items() if status != "COMPLETE"}
    assert incomplete == set(BY_MESSAGE)
    assert differences(result, truth, set(TABLES) - incomplete) == {}
    for error in result.errors:
        assert error["message"].startswith(faults.OTHER_FAULT.message)


# Outages


def test_while_the_login_works_failed_messages_stop_no_sync() -> None:
    account = make_account(lists=1, messages_per_list=8)
    with make_simulator(account, faults=everywhere("other_fault", operations=[OPENS])) as sim:
        result = read_here(sim, ["message_opens"], num_workers=1, skip_inactive_messages=False)
        number = len({r.arguments["MsgID"] for r in requested(sim, OPENS)})
        # Of each message, a page with retries and the pages after it without any.
        failures = number * (1 + FAILED_PAGES_LIMIT)
        assert sim.counts[LOGIN] == 1 + math.ceil(failures / FAILURES_IN_A_ROW)
        assert sim.counts[OPENS] == number * (POLICY.attempts + FAILED_PAGES_LIMIT)
    assert result.code == 1
    (error,) = result.errors
    assert f"({number} failed, the first being" in error["message"]


def test_after_an_outage_the_sync_resumes() -> None:
    with make_simulator(faults=everywhere("server_error", after=20)) as sim:
        result = read(sim)
        assert requests(sim) <= 20 + (QUICK["attempts"] + 1) * (FAILURES_IN_A_ROW + 4) + 1 + 40
        assert result.code == 1
        assert any(e["message"].startswith(faults.OUTAGE.message) for e in result.errors)
        assert {e["failure_type"] for e in result.errors} == {"transient_error"}
        assert_resumes(sim, result)


def test_nothing_is_sent_before_retry_after() -> None:
    with make_simulator(
        faults={"too_many_requests": {"operations": [LOGIN], "times": 1}}, retry_after=1
    ) as sim:
        settings = settings_from({"now": NOW.isoformat(), "retries": QUICK, "limits": TIGHT})
        assert check_here(sim, settings=settings)[0]
        first, second, *_ = sim.requests
        assert second.at - first.at >= 1


@pytest.mark.parametrize("fault", ["too_many_requests", "unavailable"])
@pytest.mark.parametrize(("retry_after", "reported"), [(4, 0), (6, 1)])
def test_a_long_wait_is_reported_once_as_rate_limited(
    fault: str, retry_after: int, reported: int
) -> None:
    """Waits of more than five seconds are reported, once for each stream."""
    operation = DECLARED["campaigns"].operation
    limited = {fault: {"operations": [operation], "times": 1}}
    with make_simulator(faults=limited, retry_after=retry_after) as sim:
        clock = JumpingClock()
        began = clock.monotonic()
        result = read_here(sim, ["campaigns"], settings=replace(SETTINGS, clock=clock))
        assert clock.monotonic() - began >= retry_after
        assert sim.counts[operation] == 4, "both lists waited"
    assert result.code == 0
    found = [
        (status["stream_descriptor"]["name"], status["status"], reason["type"])
        for trace in result.of("TRACE")
        if (status := trace["trace"].get("stream_status"))
        for reason in status.get("reasons") or []
    ]
    assert found == [("campaigns", "RUNNING", "RATE_LIMITED")] * reported


# Values and characters


@pytest.mark.parametrize("fault", ["illegal_characters", "illegal_references"])
def test_forbidden_characters_are_reported_once_for_each_stream(
    fault: str,
) -> None:
    with make_simulator(faults=everywhere(fault)) as sim:
        result = read_here(sim)
        assert result.code == 0
        assert differences(result, truth_of(sim)) == {}
    warned = [line.split(":")[0] for line in result.logs if "XML forbids" in line]
    assert sorted(warned) == sorted(set(warned))
    assert {"subscribed_contacts", "message_opens"} <= set(warned)
    assert any("invalid characters" in line for line in result.logs if "Summary of" in line)


@pytest.mark.parametrize("fault", ["wrong_encoding", "latin1_encoding", "missing_declaration"])
def test_every_character_of_an_unusual_encoding_arrives(fault: str) -> None:
    with make_simulator(faults=everywhere(fault)) as sim:
        result = read_here(sim)
        assert result.code == 0
        assert differences(result, truth_of(sim)) == {}


def test_values_of_a_wrong_type_are_null_and_reported_once() -> None:
    wrong = {
        "messages.OrderTotal": "1,234.50",
        "messages.OpenCount": "many",
        "subscribed_contacts.AdditionDate": "yesterday",
        "lists.EnableRSS": "maybe",
    }
    account = make_account(wrong_values=wrong, wrong_every=3)
    with make_simulator(account) as sim:
        result = read_here(sim)
        assert result.code == 0
        assert differences(result, truth_of(sim)) == {}
        rows = result.records("messages")
        assert 0 < sum("OrderTotal" not in row for row in rows) < len(rows)
        for record in (message["record"] for message in result.of("RECORD")):
            changes = (record.get("meta") or {}).get("changes", [])
            assert {one["reason"] for one in changes} <= {"SOURCE_SERIALIZATION_ERROR"}
            nulled = {f"{record['stream']}.{one['field']}" for one in changes}
            assert nulled == {
                column
                for column in wrong
                if column.startswith(f"{record['stream']}.")
                and column.partition(".")[2] not in record["data"]
            }
    warned = [line for line in result.logs if "of the wrong type, which" in line]
    assert any("OrderTotal" in line for line in warned)
    assert any("AdditionDate" in line for line in warned)
    starts = [line.split(":")[0] for line in warned]
    assert sorted(starts) == sorted(set(starts))
    (summary,) = (line for line in result.logs if line.startswith("Summary of subscribed_contacts"))
    assert "values of the wrong type" in summary


def test_a_key_of_a_wrong_type_fails_its_table_alone() -> None:
    account = make_account(wrong_values={"campaigns.CampaignID": "none"}, wrong_every=2)
    with make_simulator(account) as sim:
        result = read_here(sim)
        assert differences(result, truth_of(sim), set(TABLES) - {"campaigns"}) == {}
    assert result.code == 1
    (error,) = result.errors
    assert error["stream"] == "campaigns"
    assert error["message"].startswith(faults.MALFORMED.message)


def test_an_inclusion_fetches_and_reads_nothing() -> None:
    with make_simulator(faults=everywhere("xinclude", after=1)) as sim:
        result = read(sim, ["lists", "messages", "subscribed_contacts", "message_opens"])
        assert sim.counts["canary"] == 0
    everything = result.stdout + result.stderr
    assert "root:" not in everything
    assert "canary" not in everything
    assert result.code == 1


# Pages without an end


def test_a_page_that_repeats_without_end_is_an_error() -> None:
    with make_simulator(faults={"repeated_page": {"operations": [OPENS]}}, page_size=5) as sim:
        result = read_here(sim, ["message_opens"])
        assert sim.counts[OPENS] < 40
    assert result.code == 1
    (error,) = result.errors
    assert error["message"].startswith(faults.REPEATED_PAGE.message)
    assert error["failure_type"] == "system_error"


@pytest.mark.parametrize("workers", [1, 4])
def test_pages_that_begin_again_are_an_error(workers: int) -> None:
    account = make_account(lists=1, contacts_per_list=200)
    with make_simulator(account, wrap_pages=3) as sim:
        result = read_here(sim, ["subscribed_contacts"], num_workers=workers)
        assert sim.counts["ReportRangeSubscribedContacts"] < 12
    assert result.code == 1
    (error,) = result.errors
    assert error["message"].startswith(faults.REPEATED_PAGE.message)


def test_empty_pages_of_recipients_without_end_are_the_end() -> None:
    with make_simulator(faults={"endless_empty_pages": 1.0}) as sim:
        result = read_here(sim, ["message_sends"], skip_inactive_messages=False)
        assert sim.counts[SENDS] < 80
    assert result.code == 0


def test_equal_pages_of_recipients_without_an_address_are_no_loop() -> None:
    account = make_account(recipients_per_message=60, recipients_without_address=1.0)
    with make_simulator(account) as sim:
        result = read_here(sim, ["message_sends"])
        assert sim.counts[SENDS] > 3 * 8
        assert differences(result, truth_of(sim), ["message_sends"]) == {}
    assert result.code == 0


# Configuration and input files


def test_a_wrong_field_is_named_before_any_request() -> None:
    with make_simulator() as sim:
        checked = check(sim, num_workers=0)
        done = read(sim, num_workers=0)
        assert requests(sim) == 0
    assert checked.connection["status"] == "FAILED"
    assert "'num_workers'" in checked.connection["message"]
    (error,) = done.errors
    assert "'num_workers'" in error["message"]
    assert error["failure_type"] == "config_error"
    assert done.code == 1


def test_a_stream_twice_in_the_catalog_is_a_config_error() -> None:
    with make_simulator() as sim:
        result = read(sim, ["lists", "messages", "lists"])
        assert requests(sim) == 0
    (error,) = result.errors
    assert "unknown or repeated: lists." in error["message"]
    assert error["failure_type"] == "config_error"
    assert result.code == 1


CATALOG = catalog(["lists"])
UNKNOWN_MODE = json.loads(json.dumps(CATALOG).replace('"append"', '"overwrite_dedup"'))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config", "[]", "The configuration is not a JSON object."),
        ("config", "{", "The configuration file is not valid JSON."),
        ("config", None, "Cannot read the configuration file .*: No such file or directory."),
        ("catalog", "{", "The catalog file is not valid JSON."),
        ("catalog", "{}", 'The catalog file does not contain a configured catalog: .*"streams"'),
        ("catalog", json.dumps(UNKNOWN_MODE), "a configured catalog: .*overwrite_dedup"),
        ("catalog", None, "Cannot read the catalog file .*: No such file or directory."),
        ("state", "]", "The state file is not valid JSON."),
        ("state", '{"lists": {}}', "The state file does not contain a list of Airbyte states."),
        ("state", "[7]", "The state file does not contain a list of Airbyte states."),
        ("state", None, "Cannot read the state file .*: No such file or directory."),
    ],
)
def test_a_broken_input_file_is_named(
    file: str, content: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    source = SourceListrak()
    load = {
        "config": source.read_config,
        "catalog": source.read_catalog,
        "state": source.read_state,
    }[file]
    with pytest.raises(AirbyteTracedException, match=said) as caught:
        load(str(path))
    assert caught.value.failure_type is not None
    assert caught.value.failure_type.value == "config_error"


@pytest.mark.parametrize("content", ["[]", "{}", "null"])
def test_an_empty_state_file_is_no_state(content: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(content, encoding="utf-8")
    assert SourceListrak.read_state(str(path)) == []


def test_a_broken_state_file_ends_the_read_before_any_request() -> None:
    with make_simulator() as sim:
        result = read(sim, ["lists"], state={"lists": {"synced_to": "2024"}})
        assert requests(sim) == 0
    (error,) = result.errors
    assert error["message"] == "The state file does not contain a list of Airbyte states."
    assert error["failure_type"] == "config_error"
    assert result.code == 1


# Mutated responses


def test_mutated_responses_lead_to_rows_or_a_named_error() -> None:
    outcomes = fuzz.run(1500, seed=20240101)
    assert sum(outcomes.values()) == 1500
    assert {"rows", "malformed", "invalid_logon", "refused_xml"} <= set(outcomes)


def test_a_fault_without_a_detail_is_one_sentence_of_the_table() -> None:
    for fault in FAULTS:
        assert ListrakError(fault).message == fault.message
        assert fault.message.endswith(".")
