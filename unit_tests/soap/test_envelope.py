"""Request envelopes are what zeep itself would have sent."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import zeep
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from source_listrak.soap import envelope
from source_listrak.soap.envelope import (
    NAMESPACE,
    PASSWORD_PLACEHOLDER,
    USERNAME_PLACEHOLDER,
    build,
    escaped,
    soap_action,
)
from source_listrak.tables import TABLES

WSDL = Path(envelope.__file__).with_name("IntegrationService.wsdl")
CLIENT = zeep.Client(str(WSDL))
(BINDING,) = CLIENT.wsdl.bindings.values()
OPERATIONS = {
    table.operation: [name for name, _ in BINDING.get(table.operation).input.body.type.elements]
    for table in TABLES.values()
}
INTS = st.integers(min_value=-(2**31), max_value=2**31 - 1)
DATES = st.datetimes(min_value=datetime(1000, 1, 1)).map(lambda date: date.replace(microsecond=0))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ListID": INTS,
    "MsgID": INTS,
    "ConversationID": INTS,
    "MsgIDs": st.lists(INTS, max_size=4),
    "Page": INTS,
    "StartDate": DATES,
    "EndDate": DATES,
    "IncludeTestMessages": st.booleans(),
    "IncludeTerminated": st.booleans(),
    "WSException": st.none(),
}


def _canonical(xml: bytes) -> str:
    return etree.canonicalize(xml.decode(), rewrite_prefixes=True)


def _for_zeep(value: Any) -> Any:
    if value is None:
        return zeep.xsd.Nil
    return {"int": value} if isinstance(value, list) else value


def _from_zeep(operation: str, arguments: dict[str, Any]) -> bytes:
    message = CLIENT.create_message(
        CLIENT.service,
        operation,
        _soapheaders={"WSUser": {"UserName": "the user", "Password": "the password"}},
        **{name: _for_zeep(value) for name, value in arguments.items()},
    )
    return etree.tostring(message)


def _with_credentials(xml: bytes) -> bytes:
    xml = xml.replace(USERNAME_PLACEHOLDER, b"the user")
    return xml.replace(PASSWORD_PLACEHOLDER, b"the password")


@pytest.mark.parametrize("operation", OPERATIONS)
@given(data=st.data())
def test_an_envelope_is_the_message_that_zeep_makes(operation: str, data: st.DataObject) -> None:
    arguments = {name: data.draw(VALUES[name], label=name) for name in OPERATIONS[operation]}
    built = build(operation, arguments)
    assert _canonical(_with_credentials(built)) == _canonical(_from_zeep(operation, arguments))


def test_arguments_of_any_value_stay_in_their_places() -> None:
    for first in range(2_147_480_000, 2_147_480_003):
        built = build("ReportMessageContactSent", {"MsgID": first + 1, "Page": first})
        root = etree.fromstring(built)
        assert root.findtext(f".//{{{NAMESPACE}}}MsgID") == str(first + 1)
        assert root.findtext(f".//{{{NAMESPACE}}}Page") == str(first)


def test_an_envelope_has_one_place_for_each_credential() -> None:
    built = build("GetContactListCollection", {})
    assert built.startswith(b'<?xml version="1.0" encoding="utf-8"?>')
    assert built.count(USERNAME_PLACEHOLDER) == built.count(PASSWORD_PLACEHOLDER) == 1


def test_dates_are_wall_clock_time_in_whole_seconds() -> None:
    date = datetime(2024, 1, 2, 3, 4, 5, 678901)
    arguments: dict[str, Any] = {"ListID": 1, "StartDate": date, "EndDate": date, "Page": 1}
    assert b">2024-01-02T03:04:05<" in build("ReportRangeSubscribedContacts", arguments)


def test_an_aware_date_is_refused() -> None:
    date = datetime(2024, 1, 2, tzinfo=timezone.utc)
    with pytest.raises(ValueError, match="StartDate"):
        build(
            "ReportRangeSubscribedContacts",
            {"ListID": 1, "StartDate": date, "EndDate": date, "Page": 1},
        )


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("DropEverything", {}),
        ("GetContactListCollection", {"ListID": 1}),
        ("ReportMessageContactSent", {"MsgID": 1}),
    ],
)
def test_wrong_arguments_are_refused(operation: str, arguments: dict[str, int]) -> None:
    with pytest.raises((KeyError, ValueError), match=operation):
        build(operation, arguments)


def test_an_exception_argument_left_out_is_sent_as_nil() -> None:
    built = build("ReportMessageContactSent", {"MsgID": 1, "Page": 2})
    explicit = build("ReportMessageContactSent", {"MsgID": 1, "Page": 2, "WSException": None})
    assert b'nil="true"' in built
    assert _canonical(built) == _canonical(explicit)


def test_threads_can_build_at_the_same_time() -> None:

    def of_page(page: int) -> bytes:
        return build("ReportMessageContactSent", {"MsgID": 7, "Page": page})

    with ThreadPoolExecutor(8) as pool:
        for page, built in enumerate(pool.map(of_page, range(200))):
            assert f"Page>{page}<".encode() in built


def test_2500_message_ids_are_sent_in_one_request() -> None:
    ids = list(range(2500))
    built = build("GetMessageAnalyticsInformation", {"MsgIDs": ids})
    (sent,) = etree.fromstring(built).iter(f"{{{NAMESPACE}}}MsgIDs")
    assert [(child.tag, child.text) for child in sent] == [
        (f"{{{NAMESPACE}}}int", str(number)) for number in ids
    ]


def test_every_action_is_the_one_of_the_wsdl() -> None:
    wsdl, soap = "{http://schemas.xmlsoap.org/wsdl/}", "{http://schemas.xmlsoap.org/wsdl/soap/}"
    bound = etree.parse(str(WSDL)).findall(f"{wsdl}binding/{wsdl}operation")
    names = [operation.get("name") or "" for operation in bound]
    actions = [
        action.get("soapAction")
        for operation in bound
        for action in operation.findall(f"{soap}operation")
    ]
    assert actions == [soap_action(name)[1:-1] for name in names]
    assert set(OPERATIONS) <= set(names)
    assert soap_action("X")[0] == soap_action("X")[-1] == '"'


def test_the_wsdl_points_to_the_live_service_over_soap_1_1_alone() -> None:
    text = WSDL.read_text()
    assert text.count('location="https://webservices.listrak.com/v31/IntegrationService.asmx"') == 1
    assert "import" not in text
    assert "soap12" not in text


def test_zeep_is_imported_with_the_first_envelope_only() -> None:
    script = (
        "import sys; from source_listrak.soap.envelope import build;"
        "assert 'zeep' not in sys.modules; build('GetContactListCollection', {});"
        "assert 'zeep' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_the_wsdl_loads_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    build("GetContactListCollection", {})


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb\n", "\r", " a\tb ", "<&>\"'", "ö\U0001f600"])
def test_a_credential_arrives_as_it_was_given(text: str) -> None:
    """XML parsers make a line feed of a carriage return that is not written as a reference."""
    assert etree.fromstring(b"<Password>%b</Password>" % escaped(text)).text == text
