"""Requests: credentials, what a response means, retries, and when to stop."""

from __future__ import annotations

import logging
import math
import random
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import NoReturn, Protocol

from source_listrak.soap import faults
from source_listrak.soap.envelope import PASSWORD_PLACEHOLDER, USERNAME_PLACEHOLDER, escaped
from source_listrak.soap.faults import Action, AttemptFailed, Fault, ListrakError
from source_listrak.soap.redaction import mask, spellings
from source_listrak.soap.rows import Page
from source_listrak.soap.throttle import StopSwitch, Throttle
from source_listrak.soap.wire import Response, Transport

LONGEST_RETRY_AFTER = 300.0
REPORTED_WAIT = 5.0
"""Seconds; longer waits for a 429 or 503 are reported to the caller."""
FAILURES_IN_A_ROW = 5
"""Different subjects that failed in a row, without a success between: the service may be down."""

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
    :param deadline: seconds since the client was made after which it is given up
    :param pause: seconds that all requests pause after a 429 or 503 that names none
    """

    attempts: int = 6
    seconds: float = 120.0
    first_wait: float = 1.0
    longest_wait: float = 64.0
    deadline: float = math.inf
    pause: float = 1.0

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after the given attempt (1-based), jittered upwards."""
        wait = min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1))
        return wait * random.uniform(1.0, 1.25)

    def gives_up(self, attempt: int, elapsed: float) -> bool:
        """Return whether a request is given up that failed `attempt` times in `elapsed` seconds."""
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

    url: str
    headers: Mapping[str, str]
    body: bytes
    label: str
    subject: Hashable | None = None
    retries: bool = True


Parse = Callable[[Response], Page]
"""Makes a page of a response; raises `AttemptFailed`."""


@dataclass(eq=False, repr=False)
class SoapClient:
    """Sends requests and returns pages of rows, or raises one classified `ListrakError`.

    Keeps and logs neither the body of a request nor that of a response. Safe to share between
    threads.

    :param login: sends the login's request with the client it is given; decides, when several
        reports failed in a row, whether the service is down
    """

    username: str
    password: str
    _: KW_ONLY
    workers: int
    max_requests_per_second: float | None
    breaker: StopSwitch
    policy: RetryPolicy
    transport: Transport
    logger: logging.Logger
    login: Callable[[SoapClient], object]

    def __post_init__(self) -> None:
        self._credentials = {
            USERNAME_PLACEHOLDER: escaped(self.username),
            PASSWORD_PLACEHOLDER: escaped(self.password),
        }
        self._secrets = spellings(self.password)
        self._now = self.breaker.clock.monotonic
        self._ends = self._now() + self.policy.deadline
        self._throttle = Throttle(self.workers, self.max_requests_per_second, self.breaker)
        self._failed_in_a_row: set[Hashable] = set()
        self._deciding = threading.Lock()
        self._parsing = threading.Lock()

    def send(self, request: Request, parse: Parse, counter: RequestCounter) -> Page:
        """Send a request, with retries, and return the page it brings.

        :raises ListrakError: the request failed permanently, or the sync is stopped
        """
        started = self._now()
        attempt = times_gone = 0
        while True:
            attempt += 1
            with self._throttle.slot() as began:
                counter.requested(is_retry=attempt > 1)
                outcome = self._attempt(request, parse)
                if isinstance(outcome, ListrakError) and outcome.fault.action is Action.STOP:
                    # Before the slot is free, or the next in line would send the same login.
                    self.breaker.trip(outcome)
            self.breaker.check()
            if isinstance(outcome, Page):
                self._failed_in_a_row.clear()
                self._throttle.speed_up()
                return outcome
            fault = outcome.fault
            if fault.slows_down:
                self._throttle.slow_down(began, outcome.retry_after or self.policy.pause)
            wait = max(self.policy.wait(attempt), outcome.retry_after)
            if fault.action is Action.SKIP:
                times_gone += 1
                wait, is_final = self.policy.wait(1), times_gone > 1
            else:
                is_final = (
                    fault.action is not Action.RETRY
                    or not request.retries
                    or self._now() + wait >= self._ends
                    or self.policy.gives_up(attempt, self._now() - started)
                )
            if is_final:
                self._give_up(request, outcome, attempt)
            if fault.slows_down and wait > REPORTED_WAIT:
                counter.waiting(wait)
            self.logger.warning(
                f"{outcome.detail}: {fault.name}, attempt {attempt} failed; next in {wait:.1f} s"
            )
            self.breaker.wait(wait)

    def _attempt(self, request: Request, parse: Parse) -> Page | ListrakError:
        envelope = request.body
        for placeholder, value in self._credentials.items():
            envelope = envelope.replace(placeholder, value)
        seconds = max(1.0, self._ends - self._now())
        retry_after = 0.0
        try:
            response = self.transport.post(request.url, request.headers, envelope, seconds)
            retry_after = min(response.retry_after, LONGEST_RETRY_AFTER)
            # Threads that parse at once take turns at Python's lock at twice the CPU time, and
            # each holds a tree.
            with self._parsing:
                return _read(response, parse)
        except AttemptFailed as error:
            fault, detail = error.fault, error.detail
        if request.subject is None:
            fault = _FOR_THE_LOGIN.get(fault, fault)
        redacted = "" if fault.hide_detail else mask(detail, self._secrets)
        described = f"{request.label}: {redacted}" if redacted else request.label
        return ListrakError(fault, described, retry_after)

    def _give_up(self, request: Request, error: ListrakError, attempts: int) -> NoReturn:
        fault = error.fault
        if fault.action in (Action.RETRY, Action.SKIP) and request.subject is not None:
            with self._deciding:
                self._failed_in_a_row.add(request.subject)
                if len(self._failed_in_a_row) >= FAILURES_IN_A_ROW:
                    self._failed_in_a_row.clear()
                    self._stop_unless_login_works(fault)
        if fault.action is Action.RETRY:
            raise ListrakError(fault, f"{error.detail}; {attempts} attempts")
        raise error

    def _stop_unless_login_works(self, fault: Fault) -> None:
        """Find out whether the service is down, or only has no answer to several reports.

        :param fault: the last of their faults
        """
        with self._throttle.slot():
            try:
                # With a throttle of its own, since this slot is its turn in this one.
                self.login(replace(self, policy=_ONE_ATTEMPT))
            except ListrakError:
                reason = faults.SERVICE_GONE if fault.action is Action.SKIP else faults.OUTAGE
                self.breaker.trip(ListrakError(reason, f"last fault: {fault.name}"))
        self.breaker.check()


def _read(response: Response, parse: Parse) -> Page:
    """Return the page; the body counts before the status.

    :raises AttemptFailed: there is none
    """
    status, detail = response.status, ""
    try:
        page = parse(response)
        fault = faults.classify_status(status, None)
        if fault is None:
            return page
    except AttemptFailed as error:
        fault = faults.classify_status(status, error.fault) or error.fault
        # What is wrong with a body that is not SOAP does not matter where its status says more.
        if fault is error.fault or error.fault is not faults.MALFORMED:
            detail = error.detail
    raise AttemptFailed(fault, detail if status == 200 else f"HTTP {status} {detail}".strip())
