"""Requests on the wire, without one: retries on a clock of the test's own, and what is judged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import pytest

from source_listrak.soap import faults, pace, transport
from source_listrak.soap.dates import DateReader
from source_listrak.soap.envelope import PASSWORD_PLACEHOLDER, USERNAME_PLACEHOLDER
from source_listrak.soap.faults import Fault, ListrakError
from source_listrak.soap.response import Page, ResponseReader
from source_listrak.soap.transport import (
    CHECK_POLICY,
    LONGEST_RETRY_AFTER,
    READ_POLICY,
    RetryPolicy,
    SoapClient,
    secret_forms,
)
from source_listrak.soap.wire import Answer, NoAnswer

OPERATION = "ReportRangeMessageContactOpen"
PASSWORD = "p&ss<w>\"o'rd%"
ENVELOPE = b"<Envelope>" + USERNAME_PLACEHOLDER + b"|" + PASSWORD_PLACEHOLDER + b"</Envelope>"
XML = "text/xml; charset=utf-8"
HTML = "text/html"
PLAIN = "text/plain"
READER = ResponseReader(
    OPERATION,
    "WSContactOpen",
    {"properties": {"EmailAddress": {"type": ["null", "string"]}}},
    DateReader(ZoneInfo("UTC")),
)


def page(rows: str = "", after: str = "") -> bytes:
    return (
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
        f'<{OPERATION}Response xmlns="http://webservices.listrak.com/v31/">'
        f"<{OPERATION}Result>{rows}</{OPERATION}Result>{after}"
        f"</{OPERATION}Response></soap:Body></soap:Envelope>"
    ).encode()


def row(address: str) -> str:
    return f"<WSContactOpen><EmailAddress>{escape(address)}</EmailAddress></WSContactOpen>"


def fault(text: str) -> bytes:
    return (
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
        f"<soap:Fault><faultcode>soap:Server</faultcode><faultstring>{escape(text)}</faultstring>"
        "</soap:Fault></soap:Body></soap:Envelope>"
    ).encode()


def exception(text: str) -> bytes:
    return (
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
        f'<{OPERATION}Response xmlns="http://webservices.listrak.com/v31/"><WSException>'
        f"<Description>{escape(text)}</Description></WSException></{OPERATION}Response>"
        "</soap:Body></soap:Envelope>"
    ).encode()


class Counts:
    def __init__(self) -> None:
        self.again: list[bool] = []

    def requested(self, *, again: bool) -> None:
        self.again.append(again)


class Wire:
    """A client whose requests are answered from a list, and whose waits only move a clock."""

    def __init__(self, policy: RetryPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 5000.0
        self.waits: list[float] = []
        self.sent: list[bytes] = []
        self.limits: list[float] = []
        self.counts = Counts()
        self.answers: Callable[[], Answer | Exception] = lambda: Answer(200, page(), XML)
        self.takes = 0.0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(transport.time, "monotonic", lambda: self.now)
        self.breaker = pace.CircuitBreaker()
        check = self.breaker.check

        def wait(seconds: float) -> None:
            self.waits.append(seconds)
            self.now += seconds
            check()

        self.breaker.wait = wait  # type: ignore[method-assign]
        self.client = SoapClient(
            "https://webservices.example/",
            "demo",
            PASSWORD,
            workers=2,
            max_requests_per_second=None,
            breaker=self.breaker,
            policy=policy,
            logger=logging.getLogger("wire"),
        )
        self.client._wire.post = self._answer  # type: ignore[method-assign]
        monkeypatch.setattr(self.client._pace, "slow_down", lambda *_: None)

    def _answer(self, action: str, body: bytes, seconds: float) -> Answer:
        assert action == f'"http://webservices.listrak.com/v31/{OPERATION}"'
        self.sent.append(body)
        self.limits.append(seconds)
        self.now += self.takes
        answer = self.answers()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def call(self, *, about_message: bool = True) -> Page:
        return self.client.call(
            OPERATION,
            ENVELOPE,
            READER.read,
            self.counts,
            what="message 7, page 1",
            about_message=about_message,
        )

    def error(self, **given: Any) -> ListrakError:
        with pytest.raises(ListrakError) as raised:
            self.call(**given)
        return raised.value


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(READ_POLICY, monkeypatch)


def test_given_a_hopeless_request_then_it_is_tried_6_times_over_2_minutes_at_least(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answers = lambda: Answer(500, b"Internal Server Error", PLAIN)
    began = wire.now
    with caplog.at_level(logging.DEBUG):
        error = wire.error()
    assert error.fault is faults.SERVER_ERROR
    assert len(wire.sent) >= 6
    assert 120 <= wire.now - began <= 300
    assert wire.counts.again == [False] + [True] * (len(wire.sent) - 1)
    assert f"; {len(wire.sent)} attempts)" in str(error)
    assert len(caplog.records) == len(wire.sent) - 1, "each attempt but the last is logged"
    assert all("message 7, page 1" in record.getMessage() for record in caplog.records)


def test_given_each_attempt_takes_long_then_6_are_made_nevertheless(wire: Wire) -> None:
    wire.takes = 120.0
    wire.answers = lambda: NoAnswer(faults.TIMEOUT)
    assert wire.error().fault is faults.TIMEOUT
    assert len(wire.sent) == 6


def test_given_a_check_then_it_gives_up_within_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire(CHECK_POLICY, monkeypatch)
    wire.answers = lambda: Answer(503, b"", retry_after=10.0)
    began = wire.now
    assert wire.error().fault is faults.UNAVAILABLE
    assert wire.now - began < 25
    assert len(wire.sent) == 2
    assert max(wire.limits) <= 20


def test_given_a_long_retry_after_then_its_wait_is_bounded(wire: Wire) -> None:
    answers = iter([Answer(429, b"", retry_after=1e9), Answer(200, page(), XML)])
    wire.answers = lambda: next(answers)
    assert wire.call().present
    assert wire.waits == [LONGEST_RETRY_AFTER]


def test_waits_grow_jitter_upwards_and_are_bounded() -> None:
    for attempt in range(1, 40):
        plain = min(64.0, 2.0 ** (attempt - 1))
        waits = {READ_POLICY.wait(attempt) for _ in range(20)}
        assert all(plain <= wait <= plain * 1.25 for wait in waits)
        assert len(waits) > 1


def test_given_a_retry_after_then_the_next_attempt_waits_so_long(wire: Wire) -> None:
    answers = iter([Answer(429, b"", retry_after=40.0), Answer(200, page(), XML)])
    wire.answers = lambda: next(answers)
    assert wire.call().present
    assert wire.waits == [40.0]


DOCTYPE = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY e "x">]><r>&e;</r>'


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(500, fault("[InvalidLogonAttempt]")), faults.INVALID_LOGON),
        (Answer(200, fault("[InvalidLogonAttempt]")), faults.INVALID_LOGON),
        (Answer(200, exception("[InvalidLogonAttempt]")), faults.INVALID_LOGON),
        (Answer(200, b"Error: [InvalidLogonAttempt]", PLAIN), faults.INVALID_LOGON),
        (Answer(503, b"<html>[LoginAttemptsExceeded]", HTML), faults.ATTEMPTS_EXCEEDED),
        (Answer(200, exception("no permission")), faults.PERMISSION),
        (Answer(500, fault("(404)")), faults.MESSAGE_UNAVAILABLE),
        (Answer(200, exception("(404)")), faults.MESSAGE_UNAVAILABLE),
        (Answer(200, exception("Timeout")), faults.IN_BAND),
        (Answer(500, fault("boom")), faults.OTHER_FAULT),
        (Answer(503, fault("boom")), faults.UNAVAILABLE),
        (Answer(429, fault("boom")), faults.RATE_LIMITED),
        (Answer(503, fault("no permission")), faults.PERMISSION),
        (Answer(401, b"Unauthorized", PLAIN), faults.PERMISSION),
        (Answer(403, b"<html></html>", HTML), faults.HTML_PAGE),
        (Answer(407, b"", PLAIN), faults.PROXY_LOGIN),
        (Answer(302, b""), faults.REDIRECT),
        (Answer(500, page(row("a@example.com"))), faults.SERVER_ERROR),
        (Answer(404, b"not here", PLAIN), faults.SERVER_ERROR),
        (Answer(200, b""), faults.MALFORMED),
        (Answer(200, b"<a/>"), faults.MALFORMED),
        (Answer(200, page()[:-9]), faults.MALFORMED),
        (Answer(200, b"<!DOCTYPE html><html></html>", HTML), faults.HTML_PAGE),
        (Answer(200, DOCTYPE), faults.REFUSED_XML),
        (Answer(500, DOCTYPE), faults.REFUSED_XML),
    ],
)
def test_given_an_answer_that_is_no_rows_then_the_body_speaks_before_the_status(
    answer: Answer, expected: Fault, wire: Wire
) -> None:
    wire.answers = lambda: answer
    error = wire.error()
    assert error.fault is expected
    assert (len(wire.sent) == 1) == (expected.action is not faults.Action.RETRY)


@pytest.mark.parametrize(
    "token", ["[InvalidLogonAttempt]", "(404)", "no permission", "WSException"]
)
def test_given_rows_that_hold_such_words_then_they_are_rows(token: str, wire: Wire) -> None:
    wire.answers = lambda: Answer(200, page(row(token) * 3))
    assert [found["EmailAddress"] for found in wire.call().rows] == [token] * 3


def test_given_rows_with_a_token_that_are_cut_short_then_no_token_is_seen(wire: Wire) -> None:
    answers = iter(
        [Answer(200, page(row("[InvalidLogonAttempt]"))[:-40]), Answer(200, page(), XML)]
    )
    wire.answers = lambda: next(answers)
    assert wire.call().present
    assert wire.breaker.error is None


def test_given_a_fault_about_no_message_then_404_is_no_reason_to_skip(wire: Wire) -> None:
    wire.answers = lambda: Answer(500, fault("(404)"))
    assert wire.error(about_message=False).fault is faults.OTHER_FAULT


def test_given_a_request_then_the_credentials_are_escaped_on_the_wire_only(wire: Wire) -> None:
    wire.call()
    assert wire.sent == [b"<Envelope>demo|" + escape(PASSWORD).encode() + b"</Envelope>"]
    assert PASSWORD_PLACEHOLDER in ENVELOPE


@pytest.mark.parametrize("password", [PASSWORD, "a  b\tc", "ö@é", "\\n\\u0041", "+ /?"])
def test_given_a_password_then_every_spelling_of_it_is_masked_in_a_fault(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spellings = (
        password,
        " ".join(password.split()),
        escape(password),
        escape(password, {'"': "&quot;", "'": "&apos;"}),
        json.dumps(password)[1:-1],
        quote(password, safe=""),
        quote(password, safe="").lower(),
    )
    forms = secret_forms(password)
    assert list(map(len, forms)) == sorted(map(len, forms), reverse=True)
    for spelling in spellings:
        told = faults.redact(f"The password [{spelling}] is wrong", forms)
        assert told == "The password [****] is wrong"


def test_given_a_config_error_then_no_request_follows_it(wire: Wire) -> None:
    wire.answers = lambda: Answer(500, fault("[InvalidLogonAttempt]"))
    assert wire.error().fault is faults.INVALID_LOGON
    assert wire.error().fault is faults.INVALID_LOGON
    assert len(wire.sent) == 1


def test_given_a_config_error_then_the_slot_is_free_only_after_everything_is_stopped(
    wire: Wire,
) -> None:
    """Else whoever waits for it would send the wrong password once more."""
    stopped_when_freed: list[bool] = []
    slot = wire.client._pace.slot

    class Watched:
        def __init__(self) -> None:
            self._slot = slot()

        def __enter__(self) -> float:
            return self._slot.__enter__()

        def __exit__(self, *details: Any) -> None:
            stopped_when_freed.append(wire.breaker.error is not None)
            self._slot.__exit__(*details)

    wire.client._pace.slot = Watched  # type: ignore[method-assign,assignment]
    wire.answers = lambda: Answer(500, fault("[InvalidLogonAttempt]"))
    wire.error()
    assert stopped_when_freed == [True]


@pytest.mark.parametrize("reference", ["&#2608512289;", "&#x110000;", "&#" + "9" * 5000 + ";"])
def test_given_a_reference_to_no_character_on_a_page_like_others_then_it_is_removed_and_counted(
    reference: str, wire: Wire
) -> None:
    rows = row("a@example.com") * 2
    wire.answers = lambda: Answer(200, page(rows))
    wire.call()
    wire.answers = lambda: Answer(200, page(rows.replace("a@", f"a{reference}@", 1)))
    found = wire.call()
    assert [one["EmailAddress"] for one in found.rows] == ["a@example.com"] * 2
    assert found.removed_characters == 1
