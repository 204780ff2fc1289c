"""Requests: credentials, what a response means, retries, and when to stop."""

from __future__ import annotations

import logging
import random
import re
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, Protocol
from xml.sax.saxutils import escape

from source_listrak.soap import faults
from source_listrak.soap.envelope import PASSWORD_PLACEHOLDER, USERNAME_PLACEHOLDER
from source_listrak.soap.faults import Action, Fault, ListrakError
from source_listrak.soap.rows import FaultResponse, InBandError, Page
from source_listrak.soap.throttle import CircuitBreaker, FailureStreak, Throttle
from source_listrak.soap.wire import Limits, Response, Transport, TransportError
from source_listrak.soap.xml import (
    HtmlPage,
    MalformedResponse,
    OversizedResponse,
    RefusedResponse,
    readable_text,
)

LONGEST_RETRY_AFTER = 300.0
REPORTED_WAIT = 5.0
"""Seconds; longer waits for a 429 or 503 are reported to the caller."""

_RESULT = re.compile(r"<(?:[\w.-]+:)?\w*Result\b")
# What stops the sync when it answers the login, and fails one report otherwise.
_FOR_THE_LOGIN = {
    faults.PERMISSION: faults.LOGIN_REFUSED,
    faults.REPORT_GONE: faults.SERVICE_GONE,
}


class RequestCounter(Protocol):
    """Counts the requests of a stream."""

    def requested(self, *, is_retry: bool) -> None:
        """Count one request on the wire."""

    def waiting(self, seconds: float) -> None:
        """Note a long wait that the service demands (429, 503), before it begins."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a request is retried: exponential backoff with jitter.

    :param attempts: at least this many attempts, and
    :param seconds: at least this many seconds since the first one, before it is given up
    :param deadline: seconds since the client was made after which it is given up, or None
    :param pause: seconds that all requests pause after a 429 or 503 that names none
    """

    attempts: int = 6
    seconds: float = 120.0
    first_wait: float = 1.0
    longest_wait: float = 64.0
    deadline: float | None = None
    pause: float = 1.0

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after the given attempt (1-based), jittered upwards."""
        wait = min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1))
        return wait * random.uniform(1.0, 1.25)

    def gives_up(self, attempt: int, elapsed: float, wait: float) -> bool:
        """Return whether a request is given up that failed `attempt` times in `elapsed` seconds."""
        if self.deadline is not None:
            return elapsed + wait >= self.deadline
        return attempt >= self.attempts and elapsed >= self.seconds


READ_POLICY = RetryPolicy()
CHECK_POLICY = RetryPolicy(deadline=20.0)
"""A check has 30 seconds in all, including the start of the process on a slow machine."""
_ONE_ATTEMPT = RetryPolicy(attempts=1, seconds=0.0)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    :param body: the envelope, with placeholders for the credentials
    :param label: for messages ("ReportX of message 7, page 2"), without personal data
    :param subject: the message, conversation, list or account it is about, such as
        `("message", 7)`; None for the login alone
    """

    operation: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    label: str
    subject: Hashable | None = None


Parse = Callable[[Response], Page]
"""Makes a page of a response; raises `ResponseError`."""


@dataclass(frozen=True, slots=True)
class _Failure:
    fault: Fault
    detail: str
    retry_after: float = 0.0


class SoapClient:
    """Sends requests and returns pages of rows, or raises one classified `ListrakError`.

    Keeps and logs neither the body of a request nor that of a response. Safe to share between
    threads.

    :param limits: those of the transport; the time of a whole response is taken from them
    :param login: sends the login's request with the client it is given; decides, when several
        reports failed in a row, whether the service is down
    """

    def __init__(
        self,
        username: str,
        password: str,
        *,
        workers: int,
        max_requests_per_second: float | None,
        breaker: CircuitBreaker,
        policy: RetryPolicy,
        transport: Transport,
        logger: logging.Logger,
        limits: Limits | None = None,
        login: Callable[[SoapClient], object] | None = None,
    ) -> None:
        self._credentials = {
            USERNAME_PLACEHOLDER: escape(username).encode(),
            PASSWORD_PLACEHOLDER: escape(password).encode(),
        }
        self._secrets = faults.secret_spellings(password)
        self._breaker = breaker
        self._clock = breaker.clock
        self._began = self._clock.monotonic()
        self._throttle = Throttle(workers, max_requests_per_second, breaker)
        self._streak = FailureStreak()
        self._policy = policy
        self._transport = transport
        self._logger = logger
        self._limits = limits or Limits()
        self._login_lock = threading.Lock()
        self._parsing = threading.Lock()
        self._login = login and partial(
            login,
            SoapClient(
                username,
                password,
                workers=1,
                max_requests_per_second=None,
                breaker=breaker,
                policy=_ONE_ATTEMPT,
                transport=transport,
                logger=logger,
                limits=limits,
            ),
        )

    def send(self, request: Request, parse: Parse, counter: RequestCounter) -> Page:
        """Send a request, with retries, and return the page it brings.

        :raises ListrakError: the request failed permanently, or the sync is stopped
        """
        has_deadline = self._policy.deadline is not None
        started = self._began if has_deadline else self._clock.monotonic()
        attempt = times_gone = 0
        while True:
            attempt += 1
            with self._throttle.slot() as began:
                counter.requested(is_retry=attempt > 1)
                outcome = self._attempt(request, parse, started)
                if isinstance(outcome, _Failure) and outcome.fault.action is Action.STOP:
                    # Before the slot is free, or the next in line would send the same login.
                    self._breaker.trip(ListrakError(outcome.fault, outcome.detail))
            self._breaker.check()
            if isinstance(outcome, Page):
                self._streak.succeeded()
                self._throttle.speed_up()
                return outcome
            fault = outcome.fault
            if fault.slows_down:
                self._throttle.slow_down(began, outcome.retry_after or self._policy.pause)
            wait = max(self._policy.wait(attempt), outcome.retry_after)
            if fault.action is Action.GONE:
                times_gone += 1
                wait, is_final = self._policy.wait(1), times_gone > 1
            else:
                elapsed = self._clock.monotonic() - started
                is_final = fault.action is not Action.RETRY or self._policy.gives_up(
                    attempt, elapsed, wait
                )
            if is_final:
                self._give_up(request, outcome, attempt)
            if fault.slows_down and wait > REPORTED_WAIT:
                counter.waiting(wait)
            self._logger.warning(
                f"{outcome.detail}: {fault.name}, attempt {attempt} failed; next in {wait:.1f} s"
            )
            self._breaker.wait(wait)

    def _attempt(self, request: Request, parse: Parse, started: float) -> Page | _Failure:
        envelope = request.body
        for placeholder, value in self._credentials.items():
            envelope = envelope.replace(placeholder, value)
        seconds = self._limits.response_seconds
        if self._policy.deadline is not None:
            left = self._policy.deadline - (self._clock.monotonic() - started)
            seconds = min(seconds, max(1.0, left))
        retry_after = 0.0
        try:
            response = self._transport.post(request.url, request.headers, envelope, seconds)
        except TransportError as error:
            fault, detail = error.fault, error.detail
        else:
            # Threads that parse at once take turns at Python's lock at twice the CPU time, and
            # each holds a tree.
            with self._parsing:
                result = _read(response, parse)
            if isinstance(result, Page):
                return result
            fault, detail = result
            retry_after = min(response.retry_after, LONGEST_RETRY_AFTER)
            if response.status != 200:
                detail = f"HTTP {response.status} {detail}".strip()
        if request.subject is None:
            fault = _FOR_THE_LOGIN.get(fault, fault)
        redacted = "" if fault.hide_detail else faults.redact(detail, self._secrets)
        described = f"{request.label}: {redacted}" if redacted else request.label
        return _Failure(fault, described, retry_after)

    def _give_up(self, request: Request, failure: _Failure, attempts: int) -> NoReturn:
        fault, detail = failure.fault, failure.detail
        if fault.action is Action.RETRY:
            detail = f"{detail}; {attempts} attempts"
        may_be_down = fault.action in (Action.RETRY, Action.GONE) and request.subject is not None
        if may_be_down and self._streak.failed(request.subject):
            self._stop_unless_login_works(fault)
        raise ListrakError(fault, detail)

    def _stop_unless_login_works(self, fault: Fault) -> None:
        """Find out whether the service is down, or only has no answer to several reports.

        :param fault: the fault that completed the streak
        """
        reason = faults.SERVICE_GONE if fault.action is Action.GONE else faults.OUTAGE
        with self._login_lock, self._throttle.slot():
            try:
                if self._login is None:
                    raise ListrakError(reason)
                self._login()
                self._streak.succeeded()
            except ListrakError:
                self._breaker.trip(ListrakError(reason, f"last fault: {fault.name}"))
        self._breaker.check()


def _read(response: Response, parse: Parse) -> Page | tuple[Fault, str]:
    """Return the page, or the fault and the text that describes it; the body counts first."""
    by_status = faults.classify_status(response.status, is_html=False)
    detail = ""
    try:
        page = parse(response)
        if by_status is None:
            return page
        # Only a body that is not SOAP means that a report is gone.
        fault = faults.SERVER_ERROR if by_status is faults.REPORT_GONE else by_status
    except FaultResponse as error:
        fault, detail = faults.classify_text(error.text, faults.OTHER_FAULT), error.text
    except InBandError as error:
        fault, detail = faults.classify_text(error.text, faults.IN_BAND), error.text
    except (RefusedResponse, OversizedResponse) as error:
        is_refused = isinstance(error, RefusedResponse)
        fault, detail = faults.REFUSED_XML if is_refused else faults.TOO_LARGE, str(error)
    except MalformedResponse as error:
        # Rows are customers' text, which may look like a token.
        text = _RESULT.split(readable_text(response.body, response.content_type), maxsplit=1)[0]
        is_html = isinstance(error, HtmlPage)
        by_status = faults.classify_status(response.status, is_html=is_html)
        fault = faults.find_token(text) or by_status or faults.MALFORMED
        detail = str(error) if fault is faults.MALFORMED else ""
    if response.status in (429, 503) and fault.action is Action.RETRY:
        fault = by_status or fault
    return fault, detail
