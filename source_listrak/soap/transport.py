"""Requests: credentials, what an answer means, retries."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from source_listrak.soap import faults
from source_listrak.soap.envelope import (
    PASSWORD_PLACEHOLDER,
    USERNAME_PLACEHOLDER,
    soap_action,
)
from source_listrak.soap.faults import Action, Fault, ListrakError
from source_listrak.soap.pace import CircuitBreaker, Pace
from source_listrak.soap.wire import Answer, NoAnswer, Wire

if TYPE_CHECKING:
    from source_listrak.soap.response import Page

ANSWER_TIMEOUT = 600.0
"""Seconds for a whole answer, however steadily it drips."""
LONGEST_RETRY_AFTER = 300.0
PAUSE_OF_ALL = 1.0
"""Seconds that all requests pause after a 429 or 503 without Retry-After."""
_SMALL_BODY = 4096
"""Bytes; every fault is smaller, and every page with rows worth reading side by side is not."""
# What stands before the rows; the rows are customers' text, and no word of the service.
_RESULT = re.compile(r"<(?:[\w.-]+:)?\w*Result\b")

Read = Callable[[bytes, "str | None"], "Page"]


class Counters(Protocol):
    """Who counts the requests of a stream."""

    def requested(self, *, again: bool) -> None:
        """Note one request on the wire."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a request is tried: jittered exponential backoff.

    :param attempts: at least so many attempts, and
    :param seconds: at least so many seconds since the first one, before it is given up
    :param deadline: seconds after which it is given up whatever happened, or None
    """

    attempts: int = 6
    seconds: float = 120.0
    first_wait: float = 1.0
    longest_wait: float = 64.0
    deadline: float | None = None

    def wait(self, attempt: int) -> float:
        """Return the seconds to wait after the given attempt (1-based), jittered upwards."""
        wait = min(self.longest_wait, self.first_wait * 2.0 ** (attempt - 1))
        return wait * random.uniform(1.0, 1.25)

    def gives_up(self, attempt: int, elapsed: float, wait: float) -> bool:
        """Tell whether a request that failed `attempt` times in `elapsed` seconds is given up."""
        if self.deadline is not None:
            return elapsed + wait >= self.deadline
        return attempt >= self.attempts and elapsed >= self.seconds


READ_POLICY = RetryPolicy()
CHECK_POLICY = RetryPolicy(deadline=20.0)
"""A check has 30 seconds in all, the start of the process on a slow machine included."""


def secret_forms(password: str) -> tuple[str, ...]:
    """Return the password in every spelling in which it could be printed, longest first."""
    # As fault texts fold space, and as forms spell it.
    folded = " ".join(password.split())
    forms = {
        password,
        folded,
        escape(folded),
        quote_plus(password),
        escape(password),
        escape(password, {'"': "&quot;", "'": "&apos;"}),
        escape(password, {'"': "&#34;", "'": "&#39;"}),
        json.dumps(password)[1:-1],
        json.dumps(password, ensure_ascii=False)[1:-1],
        repr(password)[1:-1],
        quote(password, safe=""),
        quote(password),
    }
    lower = {re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in forms}
    return tuple(sorted(filter(None, forms | lower), key=lambda form: (-len(form), form)))


class SoapClient:
    """Sends SOAP requests and returns pages of rows, or raises one decided `ListrakError`.

    Nothing here keeps or logs a request's or an answer's body.
    """

    def __init__(
        self,
        endpoint: str,
        username: str,
        password: str,
        *,
        workers: int,
        max_requests_per_second: float | None,
        breaker: CircuitBreaker,
        policy: RetryPolicy,
        logger: logging.Logger,
    ) -> None:
        self._credentials = (
            (USERNAME_PLACEHOLDER, escape(username).encode()),
            (PASSWORD_PLACEHOLDER, escape(password).encode()),
        )
        self._secrets = secret_forms(password)
        self._breaker = breaker
        self._pace = Pace(workers, max_requests_per_second, breaker)
        self._policy = policy
        self._logger = logger
        self._wire = Wire(endpoint)
        self._began = time.monotonic()

    def call(
        self,
        operation: str,
        envelope: bytes,
        read: Read,
        counters: Counters,
        *,
        what: str = "",
        about_message: bool = False,
    ) -> Page:
        """Send one request, again as long as the policy has it, and return the page it brought.

        :param envelope: with placeholders for the credentials (`EnvelopeBuilder.build`)
        :param read: makes a page of an answer's body and content type (`ResponseReader.read`)
        :param what: the slice, for log lines ("message 7, page 2"); holds no personal data
        :param about_message: whether a fault that mentions 404 skips a message
        :raises ListrakError: the request failed for good, or the sync is stopped
        """
        name = f"{operation} of {what}" if what else operation
        first = self._began if self._policy.deadline is not None else time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            with self._pace.slot() as began:
                counters.requested(again=attempt > 1)
                try:
                    answer = self._send(operation, envelope, first)
                    failure = None
                except NoAnswer as error:
                    failure = _Failure(error.fault, error.detail)
                page = None
                if failure is None and (answer.status != 200 or len(answer.body) <= _SMALL_BODY):
                    page, failure = self._judge(answer, read, about_message)
                if failure is not None and failure.fault.action is Action.STOP:
                    # Before the slot is free: whoever waits for it must not ask, too.
                    self._breaker.trip(ListrakError(failure.fault, failure.told(name)))
            if failure is None and page is None:
                # The rows of a large page are read while the next request is on its way.
                page, failure = self._judge(answer, read, about_message)
            if page is not None:
                del answer
                self._breaker.succeeded()
                self._pace.speed_up()
                return page
            assert failure is not None
            fault = failure.fault
            detail = failure.told(name)
            if fault.action is not Action.RETRY:
                decided = ListrakError(fault, detail)
                if fault.action is Action.STOP:
                    self._breaker.trip(decided)
                    self._breaker.check()
                elif fault.action is Action.SKIP:
                    self._breaker.succeeded()
                raise decided
            wait = max(self._policy.wait(attempt), failure.retry_after)
            if fault.slows_down:
                self._pace.slow_down(began, failure.retry_after or PAUSE_OF_ALL)
            elapsed = time.monotonic() - first
            if self._policy.gives_up(attempt, elapsed, wait):
                self._breaker.failed(fault)
                raise ListrakError(fault, f"{detail}; {attempt} attempts")
            self._logger.warning(
                f"{detail}: {fault.name}, attempt {attempt} failed, next in {wait:.1f} s"
            )
            self._breaker.wait(wait)

    def _send(self, operation: str, envelope: bytes, first: float) -> Answer:
        for placeholder, value in self._credentials:
            envelope = envelope.replace(placeholder, value)
        seconds = ANSWER_TIMEOUT
        if self._policy.deadline is not None:
            left = self._policy.deadline - (time.monotonic() - first)
            seconds = min(seconds, max(1.0, left))
        return self._wire.post(soap_action(operation), envelope, seconds)

    def _judge(
        self, answer: Answer, read: Read, about_message: bool
    ) -> tuple[Page | None, _Failure | None]:
        # lxml is imported with the first answer, so that `spec` and `discover` stay quick.
        from source_listrak.soap import response as responses

        status, detail = answer.status, ""
        try:
            page = read(answer.body, answer.content_type)
            if status == 200:
                return page, None
            fault = faults.judge_status(status, is_html=False) or faults.SERVER_ERROR
        except responses.FaultResponse as error:
            fault = faults.judge_text(error.text, faults.OTHER_FAULT, about_message=about_message)
            detail = error.text
        except responses.InBandError as error:
            fault = faults.judge_text(error.text, faults.IN_BAND, about_message=about_message)
            detail = error.text
        except responses.RefusedResponse as error:
            fault, detail = faults.REFUSED_XML, str(error)
        except responses.MalformedResponse as error:
            is_html = isinstance(error, responses.HtmlPage)
            text = responses.text_of(answer.body, answer.content_type)
            by_text = faults.judge_token(_RESULT.split(text, maxsplit=1)[0])
            by_status = faults.judge_status(status, is_html=is_html)
            fault = by_text or by_status or (faults.HTML_PAGE if is_html else faults.MALFORMED)
            if fault is faults.MALFORMED:
                detail = str(error)
        if status != 200:
            detail = f"HTTP {status} {detail}".strip()
        if fault.action is Action.RETRY and status in (429, 503):
            fault = faults.judge_status(status, is_html=False) or fault
        return None, _Failure(
            fault,
            faults.redact(detail, self._secrets),
            min(answer.retry_after, LONGEST_RETRY_AFTER),
        )


@dataclass(frozen=True, slots=True)
class _Failure:
    fault: Fault
    detail: str = ""
    retry_after: float = 0.0

    def told(self, name: str) -> str:
        """Return what the person reads in brackets: the request and what came."""
        return f"{name}: {self.detail}" if self.detail else name
