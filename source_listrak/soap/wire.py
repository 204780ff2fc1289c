"""HTTP on the wire, by libcurl: kept-alive connections, proxy, TLS, and limits of time and size.

libcurl rather than a client in Python, because a table of small pages costs what its requests
cost: a request takes 60 us of CPU where urllib3 takes 220 and requests 1,000, and between sending
and receiving it leaves the interpreter to the other workers instead of asking for it a dozen times.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import certifi
import pycurl
from requests.utils import get_environ_proxies, select_proxy

from source_listrak.soap import faults
from source_listrak.soap.faults import Fault

CONNECT_TIMEOUT = 15.0
READ_TIMEOUT = 120
"""Whole seconds without an answer, or between two pieces of one; reports over large lists are slow
to begin."""
MAX_BODY_BYTES = 128 * 2**20
"""The largest answer seen as sane, decompressed: `messages` is not paged, at about 1 KB a row
100,000 of them."""
_PIECE = 2**18
_PROXY_LOGIN_REQUIRED = 407
# Of the older and newer names of one error, the first of the alphabet is kept.
_NAMES = {
    getattr(pycurl, name): name.removeprefix("E_")
    for name in sorted(dir(pycurl), reverse=True)
    if name.startswith("E_")
}
_FAULTS = {
    pycurl.E_OPERATION_TIMEDOUT: faults.TIMEOUT,
    pycurl.E_PEER_FAILED_VERIFICATION: faults.TLS,
    pycurl.E_SSL_CACERT_BADFILE: faults.TLS,
    pycurl.E_FILESIZE_EXCEEDED: faults.TOO_LARGE,
    pycurl.E_WRITE_ERROR: faults.TOO_LARGE,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered.

    :ivar content_type: the header, None without one
    :ivar retry_after: seconds of the header, given in seconds or as a date; 0 without one
    """

    status: int
    body: bytes
    content_type: str | None = None
    retry_after: float = 0.0


class NoAnswer(Exception):
    """There is no answer, or no whole one.

    :ivar detail: the name of libcurl's error; its text is not kept, which can hold a proxy's
        password
    """

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(fault.name)
        self.fault = fault
        self.detail = detail


class Wire:
    """Posts to one URL; safe to share between threads.

    As many connections are kept alive as there were requests at once. TLS certificates are always
    verified; redirects are not followed, since they would carry the credentials elsewhere; proxy
    and authorities are looked up once in the environment, by the rules of requests. Nothing is
    logged.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        authorities = (
            os.environ.get("REQUESTS_CA_BUNDLE")
            or os.environ.get("CURL_CA_BUNDLE")
            or certifi.where()
        )
        self._options: list[tuple[int, int | str]] = [
            (pycurl.URL, endpoint),
            (pycurl.CAPATH if os.path.isdir(authorities) else pycurl.CAINFO, authorities),
            *_proxy_options(endpoint, authorities),
            (pycurl.POST, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.ACCEPT_ENCODING, "gzip, deflate"),
            (pycurl.USERAGENT, "source-listrak"),
            (pycurl.MAXCONNECTS, 1),
            (pycurl.BUFFERSIZE, _PIECE),
            (pycurl.NOSIGNAL, 1),  # a timeout by signal would be a matter of the main thread
            (pycurl.CONNECTTIMEOUT_MS, int(1000 * CONNECT_TIMEOUT)),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.LOW_SPEED_TIME, READ_TIMEOUT),
        ]
        # The one that was used last comes first: its connection is the least likely to be closed.
        self._idle: list[_Connection] = []

    def post(self, action: str, body: bytes, seconds: float) -> Answer:
        """Send one request and return its answer, whatever its status.

        A kept-alive connection that turns out to be closed before anything was answered is
        replaced by a new one, once; nothing else is sent again.

        :param action: the SOAPAction header
        :param seconds: the limit for the whole answer, however steadily it drips
        :raises NoAnswer: there is none
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _Connection(self._options)
        answer = connection.post(action, body, seconds)
        # After an error it is dropped, and with it its connection.
        self._idle.append(connection)
        return answer


class _Connection:
    def __init__(self, options: list[tuple[int, int | str]]) -> None:
        self._curl = pycurl.Curl()
        for option, value in options:
            self._curl.setopt(option, value)
        self._action = ""

    def post(self, action: str, body: bytes, seconds: float) -> Answer:
        curl = self._curl
        if action != self._action:
            self._action = action
            curl.setopt(
                pycurl.HTTPHEADER,
                # Without the last one, large requests would wait for a permission to go on.
                ["Content-Type: text/xml; charset=utf-8", f"SOAPAction: {action}", "Expect:"],
            )
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(1000 * seconds)))
        pieces: list[bytes] = []
        curl.setopt(pycurl.WRITEFUNCTION, _bounded(pieces))
        # Python sees to signals between two steps of its main thread. Where that one waits for an
        # answer, as for the login, libcurl gives it a step each second.
        is_main = threading.current_thread() is threading.main_thread()
        curl.setopt(pycurl.NOPROGRESS, not is_main)
        if is_main:
            curl.setopt(pycurl.XFERINFOFUNCTION, _go_on)
        try:
            curl.perform()
        except pycurl.error as error:
            code = int(error.args[0])
            tunnel = curl.getinfo(pycurl.HTTP_CONNECTCODE)
            curl.close()
            raise _no_answer(code, tunnel) from None
        content_type = curl.getinfo_raw(pycurl.CONTENT_TYPE)
        return Answer(
            curl.getinfo(pycurl.RESPONSE_CODE),
            b"".join(pieces),
            content_type.decode("latin-1") if content_type else None,
            float(curl.getinfo(pycurl.RETRY_AFTER)),
        )


def _go_on(*_: int) -> None:
    """Let a transfer go on."""


def _bounded(pieces: list[bytes]) -> Callable[[bytes], int | None]:
    """Return what collects the pieces of a body and refuses to go on at the limit."""
    left = MAX_BODY_BYTES

    def write(piece: bytes) -> int | None:
        nonlocal left
        left -= len(piece)
        if left < 0:
            return 0
        pieces.append(piece)
        return None

    return write


def _no_answer(code: int, tunnel: int) -> NoAnswer:
    """Tell an error by its kind alone.

    :param code: libcurl's number of the error
    :param tunnel: the status with which a proxy answered CONNECT, or 0
    """
    if tunnel == _PROXY_LOGIN_REQUIRED:
        return NoAnswer(faults.PROXY_LOGIN)
    return NoAnswer(_FAULTS.get(code, faults.CONNECTION), _NAMES.get(code, str(code)))


def _proxy_options(endpoint: str, authorities: str) -> list[tuple[int, int | str]]:
    proxy = select_proxy(endpoint, get_environ_proxies(endpoint, no_proxy=None))
    if not proxy:
        # Empty rather than left out, or libcurl would look for one itself.
        return [(pycurl.PROXY, "")]
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    parts = urlsplit(proxy)
    options: list[tuple[int, int | str]] = [
        (pycurl.PROXY, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"),
        (pycurl.NOPROXY, ""),
        (
            pycurl.PROXY_CAPATH if os.path.isdir(authorities) else pycurl.PROXY_CAINFO,
            authorities,
        ),
    ]
    if parts.username:
        options += [
            (pycurl.PROXYUSERNAME, unquote(parts.username)),
            (pycurl.PROXYPASSWORD, unquote(parts.password or "")),
        ]
    return options
