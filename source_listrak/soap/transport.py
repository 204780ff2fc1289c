"""Requests on the wire: credentials, connection pool, timeouts, retries."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, quote_plus, unquote, urlsplit
from xml.sax.saxutils import escape

import certifi
import urllib3
from requests.utils import get_environ_proxies, select_proxy

from source_listrak.soap import faults
from source_listrak.soap.envelope import (
    PASSWORD_PLACEHOLDER,
    USERNAME_PLACEHOLDER,
    soap_action,
)
from source_listrak.soap.faults import Action, Fault, ListrakError
from source_listrak.soap.pace import CircuitBreaker, Pace

if TYPE_CHECKING:
    from source_listrak.soap.response import Page

CONNECT_TIMEOUT = 15.0
READ_TIMEOUT = 120.0
"""Seconds between two pieces of an answer; reports over large lists are slow to begin."""
ANSWER_TIMEOUT = 600.0
"""Seconds for a whole answer, however steadily it drips."""
MAX_BODY_BYTES = 128 * 2**20
"""The largest answer seen as sane: `messages` is not paged, at about 1 KB a row 100,000 of them."""
LONGEST_RETRY_AFTER = 300.0
PAUSE_OF_ALL = 1.0
"""Seconds that all requests pause after a 429 or 503 without Retry-After."""
_PIECE = 2**18
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

    Nothing here keeps or logs a request's or an answer's body. TLS certificates are always
    verified; redirects are not followed, since they would carry the credentials elsewhere; a
    proxy of the environment is used.
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
        self._urlopen, self._target = _pool(endpoint, workers)
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
                    status, headers, body = self._send(operation, envelope, first)
                    failure = None
                except _NoAnswer as error:
                    failure = _Failure(error.fault, error.detail)
                page = None
                is_small = failure is None and (status != 200 or len(body) <= _SMALL_BODY)
                if is_small:
                    page, failure = self._judge(status, headers, body, read, about_message)
                if failure is not None and failure.fault.action is Action.STOP:
                    # Before the slot is free: whoever waits for it must not ask, too.
                    self._breaker.trip(ListrakError(failure.fault, failure.told(name)))
            if failure is None and page is None:
                # The rows of a large page are read while the next request is on its way.
                page, failure = self._judge(status, headers, body, read, about_message)
            if page is not None:
                del body
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

    def _send(
        self, operation: str, envelope: bytes, first: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        for placeholder, value in self._credentials:
            envelope = envelope.replace(placeholder, value)
        began = time.monotonic()
        connect, read, whole = CONNECT_TIMEOUT, READ_TIMEOUT, ANSWER_TIMEOUT
        if self._policy.deadline is not None:
            whole = max(1.0, self._policy.deadline - (began - first))
            connect, read = min(connect, whole), min(read, whole)
        try:
            response = self._urlopen(
                "POST",
                self._target,
                body=envelope,
                headers={
                    "Content-Type": "text/xml; charset=utf-8",
                    "SOAPAction": soap_action(operation),
                    "Accept-Encoding": "gzip, deflate",
                    "User-Agent": "source-listrak",
                },
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=connect, read=read),
            )
            try:
                pieces, size = [], 0
                while True:
                    left = whole - (time.monotonic() - began)
                    if left < read:
                        _limit_wait(response, max(left, 0.1))
                    piece = response.read1(_PIECE)
                    if not piece:
                        break
                    pieces.append(piece)
                    size += len(piece)
                    if size > MAX_BODY_BYTES:
                        raise _NoAnswer(faults.TOO_LARGE, f"more than {MAX_BODY_BYTES} bytes")
                    if time.monotonic() - began > whole:
                        raise _NoAnswer(faults.TIMEOUT, f"no whole answer in {whole:.0f} s")
            except BaseException:
                response.close()
                raise
            response.release_conn()
            return response.status, response.headers, b"".join(pieces)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # Not chained: the text of such an error can hold a proxy's password.
            raise _no_answer(error) from None

    def _judge(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        read: Read,
        about_message: bool,
    ) -> tuple[Page | None, _Failure | None]:
        # lxml is imported with the first answer, so that `spec` and `discover` stay quick.
        from source_listrak.soap import response as responses

        content_type = headers.get("Content-Type")
        detail = ""
        try:
            page = read(body, content_type)
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
            text = responses.text_of(body, content_type)
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
            fault, faults.redact(detail, self._secrets), _retry_after(headers.get("Retry-After"))
        )


@dataclass(frozen=True, slots=True)
class _Failure:
    fault: Fault
    detail: str = ""
    retry_after: float = 0.0

    def told(self, name: str) -> str:
        """Return what the person reads in brackets: the request and what came."""
        return f"{name}: {self.detail}" if self.detail else name


class _NoAnswer(Exception):
    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(fault.name)
        self.fault = fault
        self.detail = detail


def _no_answer(error: Exception) -> _NoAnswer:
    """Tell a network error by its kind alone."""
    cause: BaseException | None = error
    kinds: list[BaseException] = []
    while cause is not None and len(kinds) < 8:
        kinds.append(cause)
        inner = cause.args[-1] if cause.args and isinstance(cause.args[-1], Exception) else None
        reason = getattr(cause, "original_error", None) or getattr(cause, "reason", None)
        cause = inner or (reason if isinstance(reason, Exception) else None) or cause.__cause__
    if any(isinstance(kind, ssl.SSLCertVerificationError) for kind in kinds):
        return _NoAnswer(faults.TLS, "")
    if any("Tunnel connection failed: 407" in str(kind) for kind in kinds):
        return _NoAnswer(faults.PROXY_LOGIN, "")
    timeouts = (urllib3.exceptions.TimeoutError, TimeoutError)
    fault = faults.CONNECTION
    if isinstance(error, timeouts) and not isinstance(error, urllib3.exceptions.NewConnectionError):
        fault = faults.TIMEOUT
    return _NoAnswer(fault, type(kinds[-1]).__name__)


def _limit_wait(response: urllib3.BaseHTTPResponse, seconds: float) -> None:
    """Bound the wait for the next piece of an answer, for the time of its whole is nearly over."""
    connection = getattr(response, "connection", None)
    connected = getattr(connection, "sock", None)
    if connected is not None:
        connected.settimeout(seconds)


def _retry_after(value: str | None) -> float:
    """Return the seconds of a Retry-After header (seconds or an HTTP date), bounded."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return 0.0
        if at.tzinfo is None:
            at = at.replace(tzinfo=timezone.utc)
        seconds = (at - datetime.now(timezone.utc)).total_seconds()
    if not seconds > 0:  # also a NaN
        return 0.0
    return min(seconds, LONGEST_RETRY_AFTER)


def _pool(endpoint: str, workers: int) -> tuple[Callable[..., urllib3.BaseHTTPResponse], str]:
    """Return what sends over one keep-alive pool with a connection for each worker, and the target.

    urllib3 itself rather than requests: that costs 1.0 to 1.6 ms of CPU a request, half of it in
    looking the environment up each time. Here proxy and certificates are looked up once, by the
    rules of requests.
    """
    authorities = (
        os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    )
    is_folder = os.path.isdir(authorities)
    context = ssl.create_default_context(
        cafile=None if is_folder else authorities, capath=authorities if is_folder else None
    )
    proxy = select_proxy(endpoint, get_environ_proxies(endpoint, no_proxy=None))
    if not proxy:
        # The pool itself, since its manager would look up pool and URL again for each request.
        manager = urllib3.PoolManager(num_pools=1, maxsize=workers, ssl_context=context)
        pool = manager.connection_from_url(endpoint)
        return pool.urlopen, urllib3.util.parse_url(endpoint).request_uri
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    parts = urlsplit(proxy)
    proxy_headers = None
    if parts.username:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        proxy_headers = urllib3.make_headers(proxy_basic_auth=credentials)
    proxied = urllib3.ProxyManager(
        proxy, num_pools=1, maxsize=workers, proxy_headers=proxy_headers, ssl_context=context
    )
    return proxied.urlopen, endpoint
