"""Requests over a transport and a clock of the test's own: what is retried, stopped and said."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

import pytest

from source_listrak.soap import faults
from source_listrak.soap.client import (
    CHECK_POLICY,
    LONGEST_RETRY_AFTER,
    READ_POLICY,
    STRAY_SPACE,
    Request,
    RetryPolicy,
    SoapClient,
)
from source_listrak.soap.envelope import PASSWORD_PLACEHOLDER, USERNAME_PLACEHOLDER
from source_listrak.soap.faults import (
    Action,
    AttemptFailed,
    DescribedFault,
    Fault,
    ListrakError,
    SyncStopped,
)
from source_listrak.soap.rows import Page
from source_listrak.soap.throttle import StopSwitch
from source_listrak.soap.wire import Limits, Response
from unit_tests.soap.pages import LISTS, OPENS, exception, fault, open_row, page
from unit_tests.soap.test_throttle import FakeClock

PASSWORD = "p&ss<w>\"o'rd%"
ENVELOPE = b"<Envelope>" + USERNAME_PLACEHOLDER + b"|" + PASSWORD_PLACEHOLDER + b"</Envelope>"
URL = "https://webservices.example/"
XML = "text/xml; charset=utf-8"
HTML = "text/html"
PLAIN = "text/plain"
OK = Response(200, page(OPENS, open_row()), XML)
LOGIN_OK = Response(200, page(LISTS), XML)
# As IIS writes it.
GONE = Response(
    404,
    b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" '
    b'"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd"><html xmlns="http://www.w3.org/1999/'
    b'xhtml"><head><title>404 - File or directory not found.</title></head></html>',
    HTML,
)
DOCTYPE = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY e "x">]><r>&e;</r>'
READER = OPENS.reader()
LOGIN_READER = LISTS.reader()


@dataclass
class Counter:
    retries: list[bool] = field(default_factory=list)
    waits: int = 0

    def requested(self, *, is_retry: bool) -> None:
        self.retries.append(is_retry)

    def waiting(self) -> None:
        self.waits += 1


@dataclass
class FakeTransport:
    """Answers each request by a function of its body."""

    answer: Callable[[bytes], Response | Exception]
    clock: FakeClock
    takes: float = 0.0
    sent: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        assert url == URL
        self.sent.append(body)
        self.headers.append(headers)
        self.seconds.append(seconds)
        self.clock.now += self.takes
        response = self.answer(body)
        if isinstance(response, Exception):
            raise response
        return response


class Service:
    """A client, and the service that it talks to."""

    def __init__(
        self,
        *answers: Response | Exception,
        policy: RetryPolicy = READ_POLICY,
        login: Response | Exception = LOGIN_OK,
        password: str = PASSWORD,
    ) -> None:
        """Answer in turn, the last answer for ever."""
        self.clock = FakeClock()
        self.counter = Counter()
        self.logins = 0
        self.breaker = StopSwitch(self.clock)
        self._answers = list(answers)
        self._login = login
        self.transport = FakeTransport(self._answer, self.clock)
        self.client = SoapClient(
            "demo",
            password,
            workers=2,
            max_requests_per_second=None,
            breaker=self.breaker,
            policy=policy,
            transport=self.transport,
            logger=logging.getLogger("service"),
            login=Request(URL, {}, b"<Login>", "the login"),
            read_login=lambda r: LOGIN_READER.read(r.body, r.content_type),
        )

    def _answer(self, body: bytes) -> Response | Exception:
        if body.startswith(b"<Login>"):
            self.logins += 1
            return self._login
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def send(self, subject: Any = ("message", 7)) -> Page:
        request = Request(URL, {"SOAPAction": "x"}, ENVELOPE, "Opens of message 7", subject)
        return self.client.send(
            request, lambda r: READER.read(r.body, r.content_type), self.counter
        )

    def error(self, subject: Any = ("message", 7)) -> DescribedFault:
        with pytest.raises((ListrakError, SyncStopped)) as raised:
            self.send(subject)
        return raised.value

    @property
    def requests(self) -> int:
        return len(self.counter.retries)


# Retries


def test_a_failing_request_is_tried_6_times_over_2_minutes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(Response(500, b"Internal Server Error", PLAIN))
    began = service.clock.now
    with caplog.at_level(logging.INFO):
        error = service.error()
    assert error.fault is faults.SERVER_ERROR
    assert service.requests >= 6
    assert 120 <= service.clock.now - began <= 300
    assert service.counter.retries == [False] + [True] * (service.requests - 1)
    assert f"; {service.requests} attempts)" in str(error)
    assert len(caplog.records) == service.requests - 1, "each attempt but the last is logged"
    assert all(
        record.getMessage().startswith("Opens of message 7: HTTP 500 (server_error): attempt ")
        for record in caplog.records
    )


def test_6_attempts_are_made_however_long_each_takes() -> None:
    service = Service(AttemptFailed(faults.TIMEOUT))
    service.transport.takes = 120.0
    assert service.error().fault is faults.TIMEOUT
    assert service.requests == 6


def test_a_service_that_hangs_is_given_up_after_half_an_hour() -> None:
    """Six attempts of the longest response would take an hour for each request."""
    service = Service(AttemptFailed(faults.TIMEOUT))
    service.transport.takes = Limits().response_seconds
    began = service.clock.now
    assert service.error().fault is faults.TIMEOUT
    assert service.requests == 3
    assert 1800 <= service.clock.now - began < 1800 + 60


def test_a_check_gives_up_within_its_deadline() -> None:
    service = Service(Response(503, b"", retry_after=8.0), policy=CHECK_POLICY)
    service.clock.now += 10
    began = service.clock.now
    assert service.error().fault is faults.UNAVAILABLE
    assert service.clock.now - began < 10
    assert service.requests == 2
    assert service.transport.seconds == [10, 2]


@pytest.mark.parametrize(
    ("retry_after", "wait"), [(40.0, 40.0), (1e9, LONGEST_RETRY_AFTER)], ids=["named", "endless"]
)
def test_the_next_attempt_waits_as_long_as_the_service_demands(
    retry_after: float, wait: float
) -> None:
    service = Service(Response(429, b"", retry_after=retry_after), OK)
    began = service.clock.now
    assert service.send().present
    assert service.clock.now - began == wait


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        (Response(429, b"", retry_after=40.0), 1),
        (Response(503, b"", retry_after=5.5), 1),
        (Response(503, b"", retry_after=4.0), 0),
        (Response(500, b"", PLAIN, retry_after=40.0), 0),
    ],
)
def test_a_long_wait_for_429_or_503_is_reported_once_before_it_begins(
    answer: Response, waits: int
) -> None:
    service = Service(answer, OK)
    service.send()
    assert service.counter.waits == waits


def failures(*found: Fault) -> list[DescribedFault]:
    return [DescribedFault(fault) for fault in found]


def test_waits_grow_jitter_upwards_and_are_bounded() -> None:
    for attempt in range(1, 40):
        plain = min(64.0, 2.0 ** (attempt - 1))
        failed = failures(*[faults.TIMEOUT] * attempt)
        waits = [READ_POLICY.next_wait(failed, 0.0) or 0.0 for _ in range(20)]
        assert all(plain <= wait <= plain * 1.25 for wait in waits)
        assert len(set(waits)) > 1


@pytest.mark.parametrize(
    ("found", "elapsed", "is_retried"),
    [
        ([faults.TIMEOUT] * 6, 119.0, True),
        ([faults.TIMEOUT] * 5, 1000.0, True),
        ([faults.TIMEOUT] * 2, 1799.0, True),
        ([faults.TIMEOUT] * 2, 1800.0, False),
        ([faults.TIMEOUT] * 6, 120.0, False),
        ([faults.REPORT_GONE], 1000.0, True),
        ([faults.TIMEOUT, faults.REPORT_GONE], 0.0, True),
        ([faults.REPORT_GONE, faults.TIMEOUT, faults.REPORT_GONE], 0.0, False),
        ([faults.PERMISSION], 0.0, False),
        ([faults.TOO_LARGE], 0.0, False),
    ],
)
def test_a_request_is_retried_by_its_failures_and_their_duration(
    found: list[Fault], elapsed: float, is_retried: bool
) -> None:
    assert (READ_POLICY.next_wait(failures(*found), elapsed) is not None) == is_retried


# What a response means


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Response(500, fault("[InvalidLogonAttempt]")), faults.INVALID_LOGON),
        (Response(200, fault("[InvalidLogonAttempt]")), faults.INVALID_LOGON),
        (Response(404, fault("[InvalidLogonAttempt]")), faults.INVALID_LOGON),
        (
            Response(200, page(OPENS, beside=exception("[InvalidLogonAttempt]"))),
            faults.INVALID_LOGON,
        ),
        (Response(200, page(OPENS, "[LoginAttemptsExceeded]")), faults.ATTEMPTS_EXCEEDED),
        (
            Response(200, page(OPENS, beside="<x>[ProhibitedIPAddress]</x>", result="")),
            faults.PROHIBITED_ADDRESS,
        ),
        (Response(200, b"Error: [InvalidLogonAttempt]", PLAIN), faults.INVALID_LOGON),
        (Response(503, b"<html>[LoginAttemptsExceeded]", HTML), faults.ATTEMPTS_EXCEEDED),
        (Response(404, b"<html>[LoginAttemptsExceeded]", HTML), faults.ATTEMPTS_EXCEEDED),
        (Response(200, page(OPENS, beside=exception("no permission"))), faults.PERMISSION),
        (Response(200, page(OPENS, beside=exception("Timeout"))), faults.IN_BAND),
        (Response(200, page(OPENS, "Server error")), faults.IN_BAND),
        (Response(200, page(OPENS, "<Renamed/>")), faults.MALFORMED),
        (Response(500, fault("boom")), faults.OTHER_FAULT),
        (Response(500, fault("The server returned an error: (404)")), faults.OTHER_FAULT),
        (Response(200, page(OPENS, beside=exception("(404) Not Found"))), faults.IN_BAND),
        (Response(404, fault("(404) Not Found")), faults.OTHER_FAULT),
        (Response(503, fault("boom")), faults.UNAVAILABLE),
        (Response(429, fault("boom")), faults.RATE_LIMITED),
        (Response(503, fault("no permission")), faults.PERMISSION),
        (Response(401, b"Unauthorized", PLAIN), faults.PERMISSION),
        (Response(403, b"<html></html>", HTML), faults.HTML_PAGE),
        (Response(407, b"", PLAIN), faults.PROXY_LOGIN),
        (Response(302, b""), faults.REDIRECT),
        (Response(500, page(OPENS, open_row())), faults.SERVER_ERROR),
        (Response(404, page(OPENS, open_row())), faults.SERVER_ERROR),
        (GONE, faults.REPORT_GONE),
        (Response(404, b"not here", PLAIN), faults.REPORT_GONE),
        (Response(404, b""), faults.REPORT_GONE),
        (Response(200, b""), faults.MALFORMED),
        (Response(200, b"<a/>"), faults.MALFORMED),
        (Response(200, page(OPENS)[:-9]), faults.MALFORMED),
        (Response(200, b"<!DOCTYPE html><html></html>", HTML), faults.HTML_PAGE),
        (Response(200, DOCTYPE), faults.REFUSED_XML),
        (Response(500, DOCTYPE), faults.REFUSED_XML),
        (Response(200, b"<a/>" * 2**22), faults.TOO_LARGE),
        (AttemptFailed(faults.TLS), faults.TLS),
    ],
)
def test_the_body_of_a_response_counts_before_its_status(
    answer: Response | Exception, expected: Fault
) -> None:
    service = Service(answer)
    assert service.error().fault is expected
    attempts = {Action.RETRY: range(6, 20), Action.SKIP: range(2, 3)}
    assert service.requests in attempts.get(expected.action, range(1, 2))
    assert (service.breaker.error is not None) == (expected.action is Action.STOP)


def test_rows_with_a_token_that_are_cut_short_are_no_token() -> None:
    cut = page(OPENS, open_row(contact="[InvalidLogonAttempt]"))[:-40]
    service = Service(Response(200, cut), OK)
    assert service.send().present


def test_the_credentials_are_escaped_and_on_the_wire_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service(Response(500, b"", PLAIN), OK)
    with caplog.at_level(logging.DEBUG):
        service.send()
    sent = b"<Envelope>demo|" + escape(PASSWORD).encode() + b"</Envelope>"
    assert service.transport.sent == [sent, sent]
    assert service.transport.headers == [{"SOAPAction": "x"}] * 2
    assert PASSWORD_PLACEHOLDER in ENVELOPE
    assert "Envelope" not in caplog.text


def test_the_service_s_text_is_shown_without_password_and_addresses() -> None:
    text = f"Bad contact jane@example.com, password {PASSWORD}"
    error = Service(Response(500, fault(text))).error()
    assert str(error).count("Opens of message 7: HTTP 500 **** Bad contact **** password ****") == 1


@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        (OK, f"HTTP 200, {len(OK.body):,} bytes, 1 rows, 3.00 s"),
        (Response(500, fault("jane@example.com")), ", 0 rows, 3.00 s"),
        (AttemptFailed(faults.TIMEOUT), "no response, 0 rows, 3.00 s"),
    ],
)
def test_each_request_is_one_line_at_the_level_debug(
    answer: Response | Exception, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With operation, subject, page, status, bytes, rows and seconds, and no personal data."""
    service = Service(answer, OK)
    service.transport.takes = 3.0
    with caplog.at_level(logging.DEBUG):
        service.send()
    lines = [one.getMessage() for one in caplog.records if one.levelno == logging.DEBUG]
    assert len(lines) == service.requests
    assert all(line.startswith("Opens of message 7: ") for line in lines)
    assert lines[0].endswith(logged)
    assert "@" not in caplog.text
    assert PASSWORD not in caplog.text


# What stops the sync


@pytest.mark.parametrize("password", [" secret", "secret ", "se cret"])
def test_a_refused_login_mentions_a_space_around_the_password(password: str) -> None:
    service = Service(Response(500, fault("[InvalidLogonAttempt]")), password=password)
    error = service.error(subject=None)
    assert error.message is not None
    assert error.message.endswith(STRAY_SPACE) == (password != "se cret")
    assert "cret" not in error.message


def test_after_a_refused_login_no_request_is_sent() -> None:
    service = Service(Response(500, fault("[InvalidLogonAttempt]")), OK)
    for _ in range(3):
        assert service.error().fault is faults.INVALID_LOGON
    assert service.requests == 1


def test_a_refused_login_stops_requests_that_wait_for_a_slot() -> None:
    """Or they would send the wrong password again, which locks the account."""
    service = Service(Response(500, fault("[InvalidLogonAttempt]")))
    both_sent, released = threading.Barrier(3), threading.Event()
    answer = service.transport.answer

    def held(body: bytes) -> Response | Exception:
        both_sent.wait(timeout=10)
        released.wait(timeout=10)
        return answer(body)

    service.transport.answer = held
    threads = [threading.Thread(target=service.error, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    both_sent.wait(timeout=10)
    released.set()
    for thread in threads:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert service.requests == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (GONE, faults.SERVICE_GONE),
        (Response(404, b""), faults.SERVICE_GONE),
        (Response(403, b"", PLAIN), faults.LOGIN_REFUSED),
        (Response(500, fault("Access denied.")), faults.LOGIN_REFUSED),
    ],
)
def test_a_404_page_or_a_refusal_for_the_login_stops_the_sync_at_once(
    answer: Response, expected: Fault
) -> None:
    service = Service(answer)
    assert service.error(subject=None).fault is expected
    assert service.breaker.error is not None
    assert service.requests == 1


def test_a_refused_report_fails_alone_and_others_are_still_read() -> None:
    refused = Response(500, fault("The remote server returned an error: (403) Forbidden."))
    service = Service(*[refused] * 20, OK)
    for number in range(20):
        assert service.error(("message", number)).fault is faults.PERMISSION
    assert service.requests == 20
    assert service.send().present
    assert (service.breaker.error, service.logins) == (None, 0)


def test_a_gone_report_is_retried_once_after_a_short_wait() -> None:
    service = Service(GONE, OK)
    assert service.send().present
    assert service.clock.now <= 1000 + 1.25
    service = Service(GONE, GONE, OK)
    assert service.error().fault is faults.REPORT_GONE
    assert service.send(("message", 8)).present


def _ends_of(service: Service, subjects: range) -> list[str]:
    return [service.error(("message", number)).fault.name for number in subjects]


def test_five_gone_reports_in_a_row_are_gone_when_the_login_works() -> None:
    service = Service(GONE)
    assert _ends_of(service, range(4)) == ["report_gone"] * 4
    assert service.logins == 0
    assert _ends_of(service, range(4, 9)) == ["report_gone"] * 5
    assert service.logins == 1
    assert _ends_of(service, range(9, 10)) == ["report_gone"]
    assert service.logins == 2, "the next five are decided again"
    assert service.breaker.error is None


@pytest.mark.parametrize("login", [GONE, Response(500, b"", PLAIN)])
def test_five_gone_reports_and_a_failed_login_end_the_sync(
    login: Response,
) -> None:
    """Five reports that are gone and a login that fails mean that the service is gone."""
    service = Service(GONE, login=login)
    assert _ends_of(service, range(5)) == ["report_gone"] * 4 + ["service_gone"]
    assert service.logins == 1, "a single attempt"
    assert service.error(("message", 9)).fault is faults.SERVICE_GONE
    assert service.requests == 11, "with the login"


def test_five_failed_reports_and_a_failed_login_are_an_outage() -> None:
    service = Service(Response(500, b"", PLAIN), login=AttemptFailed(faults.TIMEOUT))
    assert _ends_of(service, range(5)) == ["server_error"] * 4 + ["outage"]
    assert service.breaker.error is not None
    assert service.breaker.error.detail == "last fault: server_error"
    assert service.logins == 1


def test_five_failed_reports_in_a_row_fail_alone_when_the_login_works() -> None:
    service = Service(Response(500, b"", PLAIN))
    assert _ends_of(service, range(9)) == ["server_error"] * 9
    assert (service.logins, service.breaker.error) == (1, None)


def test_a_login_that_is_refused_meanwhile_stops_the_sync() -> None:
    service = Service(GONE, login=Response(500, fault("[InvalidLogonAttempt]")))
    assert _ends_of(service, range(5)) == ["report_gone"] * 4 + ["invalid_logon"]


def test_failures_of_one_subject_count_like_those_of_many() -> None:
    """An account can have fewer lists than the failures that make an outage."""
    service = Service(Response(500, b"", PLAIN), login=AttemptFailed(faults.TIMEOUT))
    assert [service.error(("list", 1)).fault for _ in range(5)][3:] == [
        faults.SERVER_ERROR,
        faults.OUTAGE,
    ]


def test_failed_reports_are_no_outage_while_the_login_works() -> None:
    service = Service(Response(500, b"", PLAIN))
    for _ in range(20):
        assert service.error(("message", 7)).fault is faults.SERVER_ERROR
    assert (service.logins, service.breaker.error) == (4, None)


def test_fewer_failures_are_decided_when_nothing_is_left_to_request() -> None:
    service = Service(GONE, login=GONE)
    service.error()
    with pytest.raises(SyncStopped) as raised:
        service.client.settle_failures(service.counter)
    assert raised.value.fault is faults.SERVICE_GONE
    assert service.logins == 1


def test_without_failures_since_a_success_nothing_is_decided() -> None:
    service = Service(GONE, GONE, OK, login=GONE)
    service.error()
    service.send()
    service.client.settle_failures(service.counter)
    assert service.logins == 0


def test_a_success_between_failures_ends_the_streak() -> None:
    service = Service(*[GONE] * 8, OK, *[GONE] * 8, OK, login=GONE)
    for _ in range(2):
        assert _ends_of(service, range(4)) == ["report_gone"] * 4
        assert service.send().present
    assert service.logins == 0
