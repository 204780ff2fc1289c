"""`source-listrak probe`: names the right reading of every unknown, or says that it cannot tell."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import yaml
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from drivers.inprocess import DirectService
from drivers.process import run
from drivers.setups import HOUR, NOON, ROOT, make_account, make_config, make_simulator
from simulator import FAULTS, AccountConfig, SimulatorConfig, Truth
from source_listrak.commands import probe
from source_listrak.commands.probe import REQUEST_LIMIT, Probe
from source_listrak.config import ListrakConfig
from source_listrak.tables import TABLES

NOW = NOON + 3 * HOUR
CANNOT_TELL = "cannot tell"
LOGIN = TABLES["lists"].operation
REPORTS = [table.operation for table in TABLES.values() if table.operation != LOGIN]
READINGS = {
    "OpenCount counts": "contacts (likely)",
    "ClickCount counts": "events (likely)",
    "Mail of conversations in messages": "no (likely)",
    "Characters that XML forbids": "0 seen",
}
"""What is true of the busy account unless a test changes it."""


def busy(account: dict[str, Any] | None = None, **settings: Any) -> DirectService:
    """Return an account with opens at every minute of the day."""
    values: dict[str, Any] = {
        "lists": 2,
        "messages_per_list": 350,
        "recipients_per_message": 4_000,
        "contacts_per_list": 3_000,
        "now": NOW,
    }
    account_config = AccountConfig(**values | (account or {}))
    return DirectService(SimulatorConfig(account=account_config, **{"page_size": 1000} | settings))


def small(**settings: Any) -> DirectService:
    account = make_account(now=NOW)
    values = {"page_size": 10, "retry_after": None, "huge_body_mb": 1}
    return DirectService(SimulatorConfig(account=account, **values | settings))


def conclude(service: DirectService, **config: Any) -> dict[str, str]:
    """Return the conclusions of a probe, once the requests at the server are known to be few."""
    parsed = ListrakConfig.parse(make_config(service, **{"start_date": None} | config))
    found = dict(Probe(parsed, service.at(NOW)).conclusions())
    assert sum(service.endpoint.counts.values()) <= REQUEST_LIMIT
    return found


@pytest.mark.parametrize(
    ("account", "settings", "readings"),
    [
        ({}, {}, {}),
        ({"date_offsets": True}, {"row_order": "newest", "end_inclusive": True}, {}),
        ({"string_date_style": "mixed"}, {"end_style": "nil"}, {}),
        ({}, {"page_size": 2500, "end_style": "empty"}, {}),
        (
            {"counters": "zero"},
            {},
            {
                "OpenCount counts": "nothing: it is zero where there are rows (certain)",
                "ClickCount counts": "nothing: it is zero where there are rows (certain)",
            },
        ),
        (
            {"counters": "low"},
            {},
            {
                "OpenCount counts": "neither contacts nor events (likely)",
                "ClickCount counts": "neither contacts nor events (likely)",
            },
        ),
        (
            {"counters": "high"},
            {},
            {
                "OpenCount counts": "cannot tell: there are fewer rows than it says",
                "ClickCount counts": "cannot tell: there are fewer rows than it says",
            },
        ),
        (
            {"conversation_mail_in_messages": True},
            {},
            {"Mail of conversations in messages": "yes (certain)"},
        ),
    ],
    ids=str,
)
def test_the_right_reading_is_named(
    account: dict[str, Any], settings: dict[str, Any], readings: dict[str, str]
) -> None:
    found = conclude(busy(account, **settings))
    assert found["Failing operations"].startswith("none; ")
    for name, reading in (READINGS | readings).items():
        assert found[name] == reading or (
            name not in readings and found[name].startswith(CANNOT_TELL)
        ), name


def suggested(service: DirectService) -> str:
    """Return the line of options of a probe's output."""
    return probe.run(ListrakConfig.parse(make_config(service)), service.at(NOW)).splitlines()[0]


def test_options_are_suggested_only_by_what_is_known() -> None:
    zeros = busy({"counters": "zero"})
    assert suggested(zeros) == "Options to set: skip_inactive_messages: false"
    assert suggested(busy()) == "Options to set: none"
    assert suggested(busy({"messages_per_list": 0})) == "Options to set: none"


def test_every_operation_is_requested() -> None:
    found = conclude(busy())
    assert found["Failing operations"] == f"none; {len(TABLES)} work, 0 were not requested"


@pytest.mark.parametrize("operation", REPORTS)
def test_an_operation_that_is_refused_is_named(operation: str) -> None:
    found = conclude(small(faults={"permission": {"operations": [operation]}}))
    assert found["Failing operations"].startswith(f"{operation} (permission); ")


PLAUSIBLE = {"endless_empty_pages": {"OpenCount counts", "ClickCount counts"}}
"""Faults that no client can tell from right answers, and what they pretend."""
UNUSUAL = {"end_inclusive": True, "row_order": "newest", "end_style": "nil"}


@cache
def right_readings() -> dict[str, str]:
    return conclude(small(**UNUSUAL))


@pytest.mark.parametrize("rate", [1.0, 0.3])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_wrong_answers_never_lead_to_a_wrong_reading(fault: str, rate: float) -> None:
    right = right_readings()
    found = conclude(small(**UNUSUAL, faults={fault: {"rate": rate, "operations": REPORTS}}))
    harmless = {"Requests", "Characters that XML forbids", "Failing operations"}
    harmless |= PLAUSIBLE.get(fault, set())
    for name in found.keys() - harmless:
        assert found[name] == right[name] or found[name].startswith(CANNOT_TELL), name


def private(service: DirectService) -> set[str]:
    """Return the ids, names and subjects of an account."""
    columns = ("ListID", "ListName", "MsgID", "Subject", "ConversationID", "ConversationName")
    truth = Truth(service.account, "2023-01-01")
    rows = [row for table in ("lists", "messages", "conversations") for row in truth.records(table)]
    found = {str(row.get(column) or "") for row in rows for column in columns}
    return {one for one in found if len(one) > 2}


@pytest.mark.parametrize(
    "faults", [{}, {"text_in_result": 0.5}, {"permission": 0.5}, {"report_gone": 0.5}], ids=str
)
def test_no_data_of_the_account_is_printed(
    faults: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    specs = {name: {"rate": rate, "operations": REPORTS} for name, rate in faults.items()}
    service = small(faults=specs)
    output = probe.run(ListrakConfig.parse(make_config(service)), service.at(NOW))
    output += "".join(capsys.readouterr())
    assert "@" not in output
    words = set(re.findall(r"\w+", output))
    assert not {one for one in private(service) if one in words or (" " in one and one in output)}


@pytest.mark.parametrize("account", [{"messages_per_list": 0}, {"contacts_per_list": 0}], ids=str)
def test_an_account_without_messages_or_contacts_gets_an_answer(account: dict[str, Any]) -> None:
    found = conclude(busy(account))
    assert found["Failing operations"].startswith("none; ")


@pytest.mark.parametrize(
    ("changes", "sentence", "requests"),
    [
        ({"password": "wrong"}, "refused the user name or password", 1),
        ({"list_ids": [1]}, "contains lists that the user cannot see", 1),
        ({"start_date": "soon"}, "start_date", 0),
        ({"start_date": "2030-01-01"}, "in the future", 0),
    ],
    ids=str,
)
def test_a_probe_that_cannot_begin_costs_at_most_one_request(
    changes: dict[str, Any], sentence: str, requests: int
) -> None:
    service = small()
    with pytest.raises(AirbyteTracedException, match=sentence):
        conclude(service, **changes)
    assert sum(service.endpoint.counts.values()) == requests


def test_a_user_without_lists_learns_where_to_assign_them() -> None:
    service = DirectService(SimulatorConfig(account=make_account(lists=0), end_style="empty"))
    with pytest.raises(AirbyteTracedException, match="cannot see any list"):
        conclude(service)


def test_the_command_explains_a_wrong_password_in_one_sentence() -> None:
    with make_simulator() as simulator:
        result = run("probe", config=make_config(simulator, password="wrong"), now=NOW)
    assert result.code == 1
    assert result.stderr.startswith("Listrak refused the user name or password.")
    assert len(result.stderr.splitlines()) == 1
    assert not result.stdout


def test_the_command_prints_options_and_a_block_to_paste() -> None:
    with make_simulator() as simulator:
        result = run("probe", config=make_config(simulator), now=NOW)
    assert result.code == 0, result.stderr
    before, block, after = result.stdout.split("```")
    assert before.startswith("Options to set: ")
    assert block.strip().startswith("source-listrak ")
    assert "\nMail of conversations in messages: " in block
    assert not after.strip()


def test_the_help_names_the_limit_of_requests() -> None:
    result = run("probe", options=["--help"])
    assert f"at most {REQUEST_LIMIT} requests" in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", ["problem", "probe"])
def test_the_issue_forms_ask_for_the_block(name: str) -> None:
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text())
    (field,) = (one for one in form["body"] if one.get("id") == "probe")
    assert "source-listrak probe" in field["attributes"]["label"]
    assert f"at most {REQUEST_LIMIT} requests" in field["attributes"]["description"]
    assert field["attributes"]["render"] == "text"
