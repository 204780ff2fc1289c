"""Every way the service can fail, seen from outside the real process, with requests counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from integration_tests import fuzz, harness
from integration_tests.conditions import (
    BUSY_MESSAGE,
    NOW,
    SINCE,
    Ahead,
    check,
    config,
    differences,
    read,
    requests,
    selected,
    simulator,
)  # fmt: skip
from integration_tests.harness import TABLES, Result
from integration_tests.simulator import FAULTS as SIMULATED
from integration_tests.simulator import Simulator
from source_listrak.soap import faults as decided
from source_listrak.soap.faults import FAULTS, Action

BY_NAME = {fault.name: fault for fault in FAULTS}

# What the service does -> the fault that the connector sees in it.
ENDING = {
    "invalid_logon": "invalid_logon",
    "attempts_exceeded": "attempts_exceeded",
    "prohibited_ip": "prohibited_address",
    "permission": "permission",
    "doctype": "refused_xml",
    "billion_laughs": "refused_xml",
    "external_entity": "refused_xml",
    "huge_body": "too_large",
}
PASSING = {
    "other_fault": "other_fault",
    "ws_exception": "in_band_exception",
    "server_error": "server_error",
    "unavailable": "unavailable",
    "too_many_requests": "rate_limited",
    "timeout": "timeout",
    "reset": "connection",
    "reset_mid_body": "connection",
    "truncated": "connection",
    "truncated_xml": "malformed",
    "not_xml": "malformed",
    "html_page": "html_page",
    "html_unavailable": "unavailable",
    "xhtml_page": "html_page",
    "empty_body": "malformed",
    "wrong_response": "malformed",
    "deep_nesting": "malformed",
    "redirect": "redirect",
}
HARMLESS = (
    "illegal_characters",
    "illegal_references",
    "wrong_encoding",
    "latin1_encoding",
    "missing_declaration",
)
# Told apart by tests of their own.
PARTICULAR = {
    "message_404",
    "ws_exception_404",
    "xinclude",
    "repeated_page",
    "endless_empty_pages",
}
ALWAYS = ENDING | PASSING
AT_5_PERCENT = (*PASSING, *HARMLESS)
# One of each kind; the others differ in what comes, not in what is done, and take their time.
QUICKLY = {
    "invalid_logon",
    "permission",
    "doctype",
    "huge_body",
    "server_error",
    "timeout",
    "truncated",
    "truncated_xml",
    "html_page",
    "all at once",
}


def each(faults: Iterable[str]) -> list[Any]:
    """Return the faults as cases of a test, most of them slow."""
    return [
        pytest.param(fault, marks=() if fault in QUICKLY else pytest.mark.slow)
        for fault in sorted(faults)
    ]


def test_every_fault_that_the_simulator_knows_is_tested_here() -> None:
    assert set(SIMULATED) == {*ENDING, *PASSING, *HARMLESS, *PARTICULAR}


@dataclass(frozen=True)
class Outcome:
    result: Result
    requests: int
    differences: dict[str, str]
    canary: int


def observed(sim: Simulator, result: Result) -> Outcome:
    return Outcome(result, requests(sim), differences(sim, result), sim.counts["canary"])


def spec(fault: str, **fields: Any) -> dict[str, Any]:
    return {fault: {"everywhere": True, **fields}}


def run_check(fault: str) -> Outcome:
    with simulator(spec(fault)) as sim:
        result = check(sim)
        return Outcome(result, requests(sim), {}, sim.counts["canary"])


def run_read(fault: str) -> Outcome:
    with simulator(spec(fault, after=1)) as sim:
        return observed(sim, read(sim))


def run_mixed(fault: str) -> Outcome:
    chosen = AT_5_PERCENT if fault == "all at once" else [fault]
    # All at once spoil three answers of five; as often as a request is asked again, it is met.
    with simulator(
        {name: {"rate": 0.05, "times": 5, "everywhere": True} for name in chosen}
    ) as sim:
        return observed(sim, read(sim))


@pytest.fixture(scope="module")
def checks(request: pytest.FixtureRequest) -> Iterator[Ahead[str, Outcome]]:
    ahead = Ahead(selected(request.session.items, "checked", __name__), run_check)
    yield ahead
    ahead.close()


@pytest.fixture(scope="module")
def reads(request: pytest.FixtureRequest) -> Iterator[Ahead[str, Outcome]]:
    ahead = Ahead(selected(request.session.items, "struck", __name__), run_read)
    yield ahead
    ahead.close()


@pytest.fixture(scope="module")
def mixed(request: pytest.FixtureRequest) -> Iterator[Ahead[str, Outcome]]:
    ahead = Ahead(selected(request.session.items, "sometimes", __name__), run_mixed)
    yield ahead
    ahead.close()


@pytest.mark.parametrize("checked", each(ALWAYS))
def test_given_nothing_else_comes_when_checked_then_the_person_reads_the_fault(
    checked: str, checks: Ahead[str, Outcome]
) -> None:
    outcome = checks[checked]
    fault = BY_NAME[ALWAYS[checked]]
    assert outcome.result.connection["status"] == "FAILED"
    assert outcome.result.connection["message"].startswith(fault.message)
    if fault.action is Action.RETRY:
        assert outcome.requests > 1
    else:
        assert outcome.requests == 1
    assert outcome.canary == 0


@pytest.mark.parametrize("struck", each(ALWAYS))
def test_given_nothing_else_comes_after_the_login_when_read_then_nothing_is_called_complete_falsely(
    struck: str, reads: Ahead[str, Outcome]
) -> None:
    outcome = reads[struck]
    result, fault = outcome.result, BY_NAME[ALWAYS[struck]]
    assert result.code == 1
    assert set(result.statuses) == set(TABLES)
    # The lists came with the login.
    complete = {table for table, status in result.statuses.items() if status == "COMPLETE"}
    assert complete <= {"lists"}
    failed = sorted(set(TABLES) - complete)
    assert sorted(error["stream"] for error in result.errors) == failed, "one trace for each"
    for error in result.errors:
        named = error["message"].startswith(fault.message)
        if fault.action is Action.RETRY:
            by_outage = error["message"].startswith(decided.OUTAGE.message)
            named = named or (by_outage and f"last fault: {fault.name}" in error["message"])
        assert named, error["message"]
        assert error["failure_type"] == fault.failure_type.value
    for table in failed:
        state = result.stream_state(table)
        assert "synced_to" not in state, "nothing was finished"
        assert not state.get("done")
        assert not result.records(table)
    assert outcome.canary == 0
    if fault.action is Action.STOP:
        assert outcome.requests <= 1 + 4, "no more than were in flight"
    else:
        assert outcome.requests < 120, "an outage is not asked slice by slice"


@pytest.mark.parametrize("sometimes", each([*AT_5_PERCENT, "all at once"]))
def test_given_it_comes_now_and_then_when_read_then_nine_tables_equal_the_truth(
    sometimes: str, mixed: Ahead[str, Outcome]
) -> None:
    outcome = mixed[sometimes]
    assert outcome.differences == {}
    assert outcome.result.code == 0
    assert not outcome.result.errors
    assert set(outcome.result.statuses.values()) == {"COMPLETE"}


@pytest.mark.parametrize("fault", ["invalid_logon", "server_error"])
def test_given_the_login_itself_fails_when_read_then_one_trace_tells_why(fault: str) -> None:
    with simulator(spec(fault)) as sim:
        result = read(sim)
    assert result.code == 1
    (error,) = result.errors
    assert error["message"].startswith(BY_NAME[fault].message)
    assert error["failure_type"] == BY_NAME[fault].failure_type.value
    assert result.statuses == {}
    assert not result.of("STATE")
    assert not result.of("RECORD")


@pytest.mark.parametrize("verb", ["check", "read"])
def test_given_a_wrong_password_then_it_is_sent_once(verb: str) -> None:
    with simulator() as sim:
        run = check if verb == "check" else read
        result = run(sim, password="wrong", num_workers=40)
        assert requests(sim) == 1
    if verb == "check":
        assert result.connection["message"].startswith(decided.INVALID_LOGON.message)
    else:
        (error,) = result.errors
        assert error["message"].startswith(decided.INVALID_LOGON.message)
        assert error["failure_type"] == "config_error"
        assert result.code == 1


def test_given_a_locked_account_and_a_refused_address_then_each_is_asked_once_and_told_apart() -> (
    None
):
    for settings, fault in (
        ({"lockout_after": 0}, decided.ATTEMPTS_EXCEEDED),
        ({"prohibited": True}, decided.PROHIBITED_ADDRESS),
    ):
        with simulator(**settings) as sim:
            assert check(sim).connection["message"].startswith(fault.message)
            assert requests(sim) == 1
            (error,) = read(sim, num_workers=40).errors
            assert error["message"].startswith(fault.message)
            assert requests(sim) == 2


def test_given_the_password_changes_in_mid_sync_then_no_more_is_asked_than_was_in_flight() -> None:
    workers = 4
    # Each request that fails counts towards the lock of the account, so the service says first
    # that the login is wrong, and then that the account is locked.
    with simulator(password_change_after=12, latency=0.03, lockout_after=1000) as sim:
        result = read(sim, num_workers=workers)
        assert 13 <= requests(sim) <= 12 + workers
    assert result.code == 1
    running = {table for table, status in result.statuses.items() if status == "INCOMPLETE"}
    assert len(running) >= 6
    assert sorted(error["stream"] for error in result.errors) == sorted(running)
    for error in result.errors:
        assert error["message"].startswith(decided.INVALID_LOGON.message)
        assert error["failure_type"] == "config_error"
    with simulator() as sim:
        truth = sim.truth(since=SINCE)
        for table, status in result.statuses.items():
            if status == "COMPLETE":
                assert not harness.difference(result.records(table), truth[table])
        rest = read(sim, state=result.state)
        assert rest.code == 0
        for table in set(TABLES) - {"lists"}:
            both = result.records(table) + rest.records(table)
            assert set(harness.multiset(both)) == set(harness.multiset(truth[table]))


# A message that cannot be reported on


@pytest.mark.parametrize("fault", ["message_404", "ws_exception_404"])
def test_given_a_message_answers_404_then_it_alone_is_skipped_and_asked_again_by_the_next_sync(
    fault: str,
) -> None:
    tables = [table for table in TABLES if table.startswith("message_")]
    with simulator({fault: {"message_ids": [BUSY_MESSAGE], "everywhere": True}}) as sim:
        truth = sim.truth(since=SINCE)
        first = read(sim, tables=tables)
        assert first.code == 0
        assert set(first.statuses.values()) == {"COMPLETE"}
        assert not first.errors
        asked = [r for r in sim.requests if r.arguments.get("MsgID") == BUSY_MESSAGE]
        assert len(asked) == len(tables), "not retried"
        for table in tables:
            rest = [row for row in truth[table] if row["MsgID"] != BUSY_MESSAGE]
            assert not harness.difference(first.records(table), rest)
            warnings = [
                line
                for line in first.logs
                if line.startswith(f"{table}: {decided.MESSAGE_UNAVAILABLE.message}")
            ]
            assert len(warnings) == 1
            assert f"message {BUSY_MESSAGE}" in warnings[0]
            (summary,) = [line for line in first.logs if line.startswith(f"Summary of {table}:")]
            assert "1 skipped" in summary
            assert str(BUSY_MESSAGE) in str(first.stream_state(table)["skipped"])

        # It works again: the next sync asks for all of it, and then lets it be.
        sim.config.faults = {}
        sim.reset_counts()
        later = NOW + timedelta(days=3)
        second = read(sim, tables=tables, state=first.state, now=later)
        assert second.code == 0
        for request in sim.requests:
            if request.arguments.get("MsgID") == BUSY_MESSAGE and "StartDate" in request.arguments:
                assert str(request.arguments["StartDate"]).startswith(SINCE)
        for table in tables:
            rows = [row for row in truth[table] if row["MsgID"] == BUSY_MESSAGE]
            again = [row for row in second.records(table) if row["MsgID"] == BUSY_MESSAGE]
            assert not harness.difference(again, rows)
            assert not second.stream_state(table).get("skipped")


def test_given_a_message_keeps_answering_404_then_it_stays_remembered() -> None:
    with simulator({"message_404": {"message_ids": [BUSY_MESSAGE]}}) as sim:
        first = read(sim, tables=["message_opens"])
        second = read(sim, tables=["message_opens"], state=first.state)
    assert second.code == 0
    assert str(BUSY_MESSAGE) in str(second.stream_state("message_opens")["skipped"])


# A slice that fails for good


@pytest.mark.parametrize("fault", ["other_fault", "ws_exception", "doctype"])
def test_given_one_message_fails_for_good_then_the_rest_is_read_and_the_next_run_reads_only_it(
    fault: str,
) -> None:
    operation = "ReportRangeMessageContactOpen"
    with simulator(
        {fault: {"message_ids": [BUSY_MESSAGE], "operations": [operation], "everywhere": True}}
    ) as sim:
        truth = sim.truth(since=SINCE)
        first = read(sim)
        assert first.code == 1
        assert {t for t, status in first.statuses.items() if status != "COMPLETE"} == {
            "message_opens"
        }
        (error,) = first.errors
        assert error["stream"] == "message_opens"
        expected = BY_NAME[ALWAYS[fault]]
        assert error["message"].startswith(expected.message)
        assert f"message {BUSY_MESSAGE}" in error["message"]
        assert error["failure_type"] == expected.failure_type.value
        rest = [row for row in truth["message_opens"] if row["MsgID"] != BUSY_MESSAGE]
        assert not harness.difference(first.records("message_opens"), rest)
        assert differences(sim, first, set(TABLES) - {"message_opens"}) == {}

        sim.config.faults = {}
        sim.reset_counts()
        second = read(sim, tables=["message_opens"], state=first.state)
        assert second.code == 0
        missing = [row for row in truth["message_opens"] if row["MsgID"] == BUSY_MESSAGE]
        assert not harness.difference(second.records("message_opens"), missing)
        asked = {r.arguments["MsgID"] for r in sim.requests if r.operation == operation}
        assert asked == {BUSY_MESSAGE}, "only what is missing"


def test_given_two_slices_fail_in_two_streams_then_each_trace_counts_its_own() -> None:
    # The messages of a list are fetched once, so their error is one object for seven streams.
    with simulator(
        {"other_fault": {"operations": ["ReportListMessageActivity"], "everywhere": True}}
    ) as sim:
        result = read(sim)
    assert result.code == 1
    streams = {"messages"} | {table for table in TABLES if table.startswith("message_")}
    assert {error["stream"] for error in result.errors} == streams
    for error in result.errors:
        assert error["message"].count("slices failed in all") == 1, error["message"]
        assert "(2 slices failed in all)" in error["message"]


def test_given_an_exception_in_band_in_mid_pages_then_it_is_no_end_of_rows() -> None:
    with simulator(
        {"ws_exception": {"operations": ["ReportMessageContactSent"], "pages": [2]}}
    ) as sim:
        result = read(sim, tables=["message_sends"])
    assert result.code == 1
    (error,) = result.errors
    assert error["message"].startswith(decided.IN_BAND.message)
    assert "Timeout expired while the report was being generated." in error["message"]
    assert result.statuses == {"message_sends": "INCOMPLETE"}


# Endless things, outages, patience


def test_given_a_page_comes_again_and_again_then_it_is_named_and_not_looped() -> None:
    operation = "ReportRangeMessageContactOpen"
    with simulator({"repeated_page": {"operations": [operation]}}, page_size=5) as sim:
        result = read(sim, tables=["message_opens"])
        assert sim.counts[operation] < 40
    assert result.code == 1
    (error,) = result.errors
    assert error["message"].startswith(decided.REPEATED_PAGE.message)
    assert error["failure_type"] == "system_error"


def test_given_recipients_end_in_empty_pages_for_ever_then_they_end() -> None:
    with simulator({"endless_empty_pages": 1.0}) as sim:
        result = read(sim, tables=["message_sends"], skip_inactive_messages=False)
        assert sim.counts["ReportMessageContactSent"] < 60
    assert result.code == 0


def test_given_the_service_breaks_down_in_mid_sync_then_the_end_comes_soon() -> None:
    with simulator(spec("server_error", after=20)) as sim:
        began = time.monotonic()
        result = read(sim)
        assert requests(sim) < 20 + 100
        assert time.monotonic() - began < 30
        assert result.code == 1
        assert any(e["message"].startswith(decided.OUTAGE.message) for e in result.errors)
        truth = sim.truth(since=SINCE)
        sim.config.faults = {}
        rest = read(sim, state=result.state)
        assert rest.code == 0
        for table in set(TABLES) - {"lists"}:
            both = result.records(table) + rest.records(table)
            # A slice that failed on its second page is read again from its first.
            assert set(harness.multiset(both)) == set(harness.multiset(truth[table]))


def test_given_retry_after_when_too_many_requests_came_then_nothing_is_sent_before() -> None:
    with simulator({"too_many_requests": {"times": 1}}, retry_after=1) as sim:
        result = check(sim)
        assert result.connection["status"] == "SUCCEEDED"
        first, second = list(sim.requests)
        assert second.at - first.at >= 1


# What must not be read wrongly


@pytest.mark.parametrize("fault", ["illegal_characters", "illegal_references"])
def test_given_forbidden_characters_then_they_are_removed_counted_and_told_once_a_stream(
    fault: str,
) -> None:
    with simulator(spec(fault)) as sim:
        result = read(sim)
        assert result.code == 0
        assert differences(sim, result) == {}
    told = [line.split(":")[0] for line in result.logs if "that XML 1.0 forbids" in line]
    assert sorted(told) == sorted(set(told))
    assert {"messages", "subscribed_contacts", "message_opens"} <= set(told)
    assert any("removed" in line for line in result.logs if line.startswith("Summary of"))


@pytest.mark.parametrize("fault", ["wrong_encoding", "latin1_encoding", "missing_declaration"])
def test_given_a_strange_encoding_then_no_character_is_garbled(fault: str) -> None:
    with simulator(spec(fault)) as sim:
        result = read(sim)
        assert result.code == 0
        assert differences(sim, result) == {}


def test_given_an_inclusion_then_nothing_is_fetched_or_read_from_this_machine() -> None:
    with simulator(spec("xinclude", after=1)) as sim:
        result = read(sim)
        assert sim.counts["canary"] == 0
    everything = result.stdout + result.stderr
    assert "root:" not in everything
    assert "canary" not in everything
    assert result.code == 1


def test_given_the_configuration_is_wrong_then_the_field_is_named_before_any_request() -> None:
    with simulator() as sim:
        wrong = config(sim, num_workers=0)
        checked = harness.run("check", config=wrong)
        done = harness.run("read", config=wrong, catalog=harness.catalog())
        assert requests(sim) == 0
    assert checked.connection["status"] == "FAILED"
    assert "'num_workers'" in checked.connection["message"]
    (error,) = done.errors
    assert "'num_workers'" in error["message"]
    assert error["failure_type"] == "config_error"
    assert done.code == 1


def test_given_responses_mutated_at_random_then_rows_or_a_named_error_come() -> None:
    outcomes = fuzz.run(1500, seed=20240101)
    assert sum(outcomes.values()) == 1500
    assert {"rows", "malformed", "invalid_logon", "refused_xml"} <= set(outcomes)
