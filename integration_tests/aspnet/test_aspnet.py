"""The connector against a service whose wire protocol is ASP.NET's own."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers import process
from drivers.messages import Records, Result, differences, multiset
from drivers.process import QUICK
from drivers.setups import (
    DAY,
    LOGIN,
    NOW,
    TABLES,
    Served,
    catalog,
    make_account,
    make_config,
    make_simulator,
    text,
)
from integration_tests.aspnet.conftest import Report
from integration_tests.aspnet.service import START_DATE, AspNet, Layout, serve
from simulator import Account, Simulator, Truth
from source_listrak.soap.faults import FAULTS
from source_listrak.tables import TABLES as DECLARED

pytestmark = pytest.mark.aspnet

COMMAND = str(Path(sys.executable).with_name("source-listrak"))
FAULT_BY_NAME = {fault.name: fault for fault in FAULTS}
# How the login fails -> the fault that the connector sees in it.
LOGIN_FAULTS = {
    "[LoginAttemptsExceeded] Too many logon attempts.": "attempts_exceeded",
    "[ProhibitedIPAddress] Access is not permitted.": "prohibited_address",
    "no permission": "login_refused",
    "404": "service_gone",
}
# The tables of which one report fails, how, and the fault that the connector sees in it.
REPORT_FAULTS = {
    "message_opens": ("unhandled exception", "other_fault"),
    "message_reads": ("no permission", "permission"),
    "message_sends": ("WSException", "in_band_exception"),
    "message_clicks": ("404", "report_gone"),
    "message_links": ("error page", "html_page"),
    "message_open_locations": ("500", "server_error"),
    "message_read_locations": ("503", "unavailable"),
    "message_click_locations": ("429", "rate_limited"),
    "message_unsubs": ("redirect", "redirect"),
}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    """Serve an account without long reports, whose pages are requested as workers become idle."""
    account = make_account(
        lists=3, messages_per_list=16, recipients_per_message=150, contacts_per_list=600
    )
    with make_simulator(account, page_size=250) as sim:
        yield sim


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    """Return the simulator, at NOW and without requests."""
    running.set_now(NOW)
    running.reset_counts()
    return running


@pytest.fixture(scope="module")
def service(running: Simulator) -> Iterator[AspNet]:
    """Serve with ASP.NET under the simulator's settings."""
    with serve(running.config) as one:
        yield one


def check(service: Served, **changes: Any) -> str:
    """Run the installed command, and return the message of the failure; empty for a success.

    :param changes: of the configuration
    """
    with process.start([COMMAND, "check"], config=make_config(service, **changes)) as command:
        stdout, stderr = command.communicate(timeout=60)
    result = process.result_of(command.returncode, stdout, stderr)
    return str(result.connection.get("message", ""))


def read(service: Served, **inputs: Any) -> Result:
    """Read all tables.

    Retries are quick, but a response may take as long as it does for users.
    """
    config = make_config(service, start_date=START_DATE)
    return process.run("read", config=config, catalog=catalog(), retries=QUICK, **inputs)


def as_read(truth: dict[str, Records]) -> dict[str, Records]:
    """Return records as they arrive from ASP.NET.

    It writes a carriage return as it is, and to every reader of XML that is a line feed.
    """
    changed = json.dumps(truth).replace(r"\r\n", r"\n").replace(r"\r", r"\n")
    records: dict[str, Records] = json.loads(changed)
    return records


def canonical(operation: str, arguments: dict[str, Any]) -> str:
    return json.dumps([operation, arguments], sort_keys=True)


def compare_requests(service: AspNet, simulator: Simulator, report: Report) -> None:
    """Compare what ASP.NET read with what the simulator read in the same sync."""
    read = service.requests()
    credentials = [service.config.user_name, service.config.password]
    report.arguments += sum(len(one["user"]) + len(one["arguments"]) for one in read)
    for one in read:
        assert one["user"] == credentials
        assert one["arguments"].pop("WSException", None) is None
    sent = Counter(canonical(one.operation, one.arguments) for one in simulator.requests)
    assert Counter(canonical(one["operation"], one["arguments"]) for one in read) == sent


def test_the_check_succeeds(service: AspNet, simulator: Simulator) -> None:
    service.publish(simulator.truth())
    assert check(service) == ""
    assert service.requests()[0]["operation"] == LOGIN


def test_two_syncs_send_every_argument_and_read_every_record(
    service: AspNet, simulator: Simulator, report: Report
) -> None:
    service.publish(simulator.truth())
    first, intended = read(service, now=NOW), read(simulator, now=NOW)
    assert (first.code, intended.code) == (0, 0)
    compare_requests(service, simulator, report)
    truth = as_read(simulator.truth(since=START_DATE))
    assert all(truth.values()), "no table is without records"
    assert differences(first, truth) == {}
    report.records += sum(map(len, truth.values()))

    later = NOW + 2 * DAY
    simulator.set_now(later)
    simulator.reset_counts()
    service.publish(simulator.truth())
    second, intended = (read(one, now=later, state=first.state) for one in (service, simulator))
    assert (second.code, intended.code) == (0, 0)
    compare_requests(service, simulator, report)
    expected = as_read({table: shows_date(table, intended.records(table)) for table in TABLES})
    assert differences(second, expected) == {}
    truth = as_read(simulator.truth())
    for table, records in expected.items():
        assert multiset(records).keys() <= multiset(truth[table]).keys(), table
    assert max(row["OpenDate"] for row in expected["message_opens"]) > text(NOW)
    report.records += sum(map(len, expected.values()))


def shows_date(table: str, records: Records) -> Records:
    """Return the records that are in the range of a later sync by a date that they show."""
    is_ranged, cursor = DECLARED[table].ranged, DECLARED[table].cursor
    return [record for record in records if not is_ranged or cursor in record]


@pytest.mark.parametrize(
    "layout",
    [
        Layout(date_kind="Local", date_format="G", empty_results=True),
        Layout(date_kind="Utc", date_format="o"),
    ],
    ids=lambda layout: layout.date_kind,
)
def test_layouts_and_control_characters_change_no_record(
    layout: Layout, service: AspNet, simulator: Simulator, report: Report
) -> None:
    # The layout "G" has whole seconds.
    account = Account(make_account(date_digits=0, date_offsets=True))
    published = Truth(account).tables()
    for row in published["list_imports"]:
        row["FileName"] += "\x1f"
    service.publish(published, layout)
    result = read(service, now=NOW)
    assert result.code == 0
    assert any("that XML forbids" in line for line in result.warnings)
    expected = as_read(Truth(account, since=START_DATE).tables())
    assert differences(result, expected) == {}
    report.records += sum(map(len, expected.values()))


def test_the_check_names_the_fault_of_the_login(
    service: AspNet, simulator: Simulator, report: Report
) -> None:
    truth = simulator.truth()
    for how, name in LOGIN_FAULTS.items():
        service.publish(truth, faults={f"{LOGIN} account": how})
        assert check(service).startswith(FAULT_BY_NAME[name].message), how
        report.faults.add(name)
        assert len(service.requests()) == 1
    assert check(service, password="wrong") == FAULT_BY_NAME["invalid_logon"].message
    report.faults.add("invalid_logon")
    missing = service.url.replace("IntegrationService", "Missing")
    assert check(service, endpoint=missing).startswith(FAULT_BY_NAME["service_gone"].message)


def test_each_fault_is_named_and_the_rest_is_read(
    service: AspNet, simulator: Simulator, report: Report
) -> None:
    truth = simulator.truth(since=START_DATE)
    ids = [{row["MsgID"] for row in truth[table]} for table in REPORT_FAULTS]
    message = min(set.intersection(*ids))
    operations = {DECLARED[table].operation: how for table, (how, _) in REPORT_FAULTS.items()}
    service.publish(
        simulator.truth(), faults={f"{name} {message}": how for name, how in operations.items()}
    )
    result = read(service, now=NOW)

    assert result.code == 1
    errors = {error["stream"]: error["message"] for error in result.errors}
    first_pages = Counter(
        one["operation"]
        for one in service.requests()
        if (one["arguments"].get("MsgID"), one["arguments"].get("Page")) == (message, 1)
    )
    for table, (_, name) in REPORT_FAULTS.items():
        truth[table] = [row for row in truth[table] if row["MsgID"] != message]
        sent = first_pages[DECLARED[table].operation]
        if name == "report_gone":
            assert result.statuses[table] == "COMPLETE"
            assert any(line.startswith(f"{table}: ") and "404" in line for line in result.warnings)
            assert sent == 2
        else:
            assert errors.pop(table).startswith(FAULT_BY_NAME[name].message), table
            assert sent == 1 if name == "permission" else sent >= QUICK["attempts"]
        report.faults.add(name)
    assert errors == {}
    assert differences(result, as_read(truth)) == {}
    report.records += sum(map(len, truth.values()))


def test_when_asp_net_ends_the_web_server_answers(simulator: Simulator, report: Report) -> None:
    with serve(simulator.config) as service:
        service.mono.kill()
        service.mono.wait()
        page = process.check(service).connection["message"]
    nothing = process.check(service).connection["message"]
    assert page.startswith(FAULT_BY_NAME["html_page"].message)
    assert nothing.startswith(FAULT_BY_NAME["connection"].message)
    report.faults |= {"html_page", "connection"}
