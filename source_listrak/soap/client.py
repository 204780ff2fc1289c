"""Requests: credentials, what a response means, retries, and when to stop."""

import logging
import math
import random
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Protocol

from source_listrak.soap import faults
from source_listrak.soap.envelope import PASSWORD_PLACEHOLDER, USERNAME_PLACEHOLDER, escaped
from source_listrak.soap.faults import Action, AttemptFailed, DescribedFault, Fault, ListrakError
from source_listrak.soap.redaction import mask, spellings
from source_listrak.soap.rows import Page
from source_listrak.soap.throttle import StopSwitch, Throttle
from source_listrak.soap.wire import Response, Transport

LONGEST_RETRY_AFTER = 300.0
REPORTED_WAIT = 5.0
"""Seconds; longer waits for a 429 or 503 are reported to the caller."""
FAILURES_IN_A_ROW = 5
"""Requests that failed permanently with no success in between: the service may be down."""
STRAY_SPACE = "The password begins or ends with a space, which may be a mistake."

# What stops the sync when it answers the login, and fails one report otherwise.
_FOR_THE_LOGIN = {faults.PERMISSION: faults.LOGIN_REFUSED, faults.REPORT_GONE: faults.SERVICE_GONE}


class RequestCounter(Protocol):
    """Counts the requests of a stream."""

    def requested(self, *, is_retry: bool) -> None:
        """Count one request on the wire."""

    def waiting(self) -> None:
        """Note a long wait that the service demands (429, 503), before it begins."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a request is retried: exponential backoff with jitter.

    :param attempts: minimum attempts
    :param seconds: minimum seconds since the first; both must pass before giving up
    :param longest: seconds since the first after which it is given up, however few attempts there
        were: each can be silent for as long as `Limits.response_seconds`
    :param deadline: seconds since the client was made after which nothing is retried
    :param pause: seconds that all requests pause after a 429 or 503 without Retry-After
    """

    attempts: int = 6
    seconds: float = 120.0
    longest: float = 1800.0
    first_wait: float = 1.0
    longest_wait: float = 64.0
    deadline: float = math.inf
    pause: float = 1.0

    def next_wait(self, failures: Sequence[DescribedFault], elapsed: float) -> float | None:
        """Return the seconds until the next attempt at a request; None: give up.

        :param failures: those of all attempts so far
        :param elapsed: seconds since the first attempt began
        """
        actions = [one.fault.action for one in failures]
        is_over = len(failures) >= self.attempts and elapsed >= self.seconds
        if actions[-1] is Action.SKIP:
            is_over = actions.count(Action.SKIP) > 1
        if is_over or elapsed >= self.longest or actions[-1] not in (Action.RETRY, Action.SKIP):
            return None
        backoff = min(self.longest_wait, self.first_wait * 2.0 ** (len(failures) - 1))
        return max(backoff * random.uniform(1.0, 1.25), failures[-1].retry_after)


READ_POLICY = RetryPolicy()
CHECK_POLICY = RetryPolicy(deadline=20.0)
"""A check has 30 seconds in all, including the start of the process on a slow machine."""


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
    """Sends requests and returns pages of rows, or raises one classified error.

    Keeps and logs neither the body of a request nor that of a response. Safe to share between
    threads.

    :param login: the request that proves the login. When several others failed in a row, it is
        sent to decide whether the service is down
    :param read_login: reads the response to it
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
    login: Request
    read_login: Parse

    def __post_init__(self) -> None:
        self._username, self._password = escaped(self.username), escaped(self.password)
        self._secrets = spellings(self.password)
        self._now = self.breaker.clock.monotonic
        self._ends = self._now() + self.policy.deadline
        self._throttle = Throttle(self.workers, self.max_requests_per_second, self.breaker)
        self._failed_in_a_row: list[Fault] = []
        self._deciding = threading.Lock()

    def send(self, request: Request, parse: Parse, counter: RequestCounter) -> Page:
        """Send a request, with retries, and return the resulting page.

        :raises ListrakError: the request failed permanently
        :raises SyncStopped: the sync is stopped
        """
        started, failures = self._now(), list[DescribedFault]()
        while True:
            outcome = self._attempt(request, parse, counter, is_retry=bool(failures))
            if isinstance(outcome, Page):
                return outcome
            failures.append(outcome)
            wait = self.policy.next_wait(failures, self._now() - started)
            if wait is None or not request.retries or self._now() + wait >= self._ends:
                if outcome.fault.action in (Action.RETRY, Action.SKIP):
                    self._failed_in_a_row.append(outcome.fault)
                    self.settle_failures(counter, at_least=FAILURES_IN_A_ROW)
                tried = f"; {len(failures)} attempts" if len(failures) > 1 else ""
                raise ListrakError(outcome.fault, outcome.detail + tried)
            if outcome.fault.slows_down and wait > REPORTED_WAIT:
                counter.waiting()
            failed = f"{outcome.detail} ({outcome.fault.name}): attempt {len(failures)} failed"
            self.logger.warning(f"{failed}; next in {wait:.1f} s")
            self.breaker.wait(wait)

    def _attempt(
        self, request: Request, parse: Parse, counter: RequestCounter, *, is_retry: bool = False
    ) -> Page | DescribedFault:
        """Send a request once, when its turn has come.

        :raises SyncStopped: the sync is stopped, perhaps because of this attempt
        """
        with self._throttle.slot() as began:
            counter.requested(is_retry=is_retry)
            outcome = self._exchange(request, parse)
            if isinstance(outcome, DescribedFault) and outcome.fault.action is Action.STOP:
                # Before the slot is released, or the next in line would send the same login.
                self.breaker.trip(outcome)
        self.breaker.check()
        if isinstance(outcome, Page):
            self._failed_in_a_row.clear()
            self._throttle.speed_up()
        elif outcome.fault.slows_down:
            self._throttle.slow_down(began, outcome.retry_after or self.policy.pause)
        return outcome

    def _exchange(self, request: Request, parse: Parse) -> Page | DescribedFault:
        envelope = request.body.replace(USERNAME_PLACEHOLDER, self._username)
        envelope = envelope.replace(PASSWORD_PLACEHOLDER, self._password)
        began, received, rows, retry_after = self._now(), "no response", 0, 0.0
        seconds = max(1.0, self._ends - began)
        try:
            response = self.transport.post(request.url, request.headers, envelope, seconds)
            received = f"HTTP {response.status}, {len(response.body):,} bytes"
            retry_after = min(response.retry_after, LONGEST_RETRY_AFTER)
            page = _read(response, parse)
            rows = len(page.rows)
            return page
        except AttemptFailed as error:
            fault, detail = error.fault, error.detail
        finally:
            took = self._now() - began
            self.logger.debug("%s: %s, %d rows, %.2f s", request.label, received, rows, took)
        if request.subject is None:
            fault = _FOR_THE_LOGIN.get(fault, fault)
        if fault is faults.INVALID_LOGON and self.password != self.password.strip():
            fault = replace(fault, message=f"{fault.message} {STRAY_SPACE}")
        described = f"{request.label}: {mask(detail, self._secrets)}" if detail else request.label
        return DescribedFault(fault, described, retry_after)

    def settle_failures(self, counter: RequestCounter, at_least: int = 1) -> None:
        """Let the login decide whether the service is down, or only the last requests fail.

        :param at_least: failures in a row, without which nothing is decided
        :raises SyncStopped: the service is down
        """
        with self._deciding:
            if len(self._failed_in_a_row) < at_least:
                return
            last = self._failed_in_a_row[-1]
            outcome = self._attempt(self.login, self.read_login, counter)
            if isinstance(outcome, DescribedFault):
                reason = faults.SERVICE_GONE if last.action is Action.SKIP else faults.OUTAGE
                self.breaker.trip(DescribedFault(reason, f"last fault: {last.name}"))
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
