"""HTTP by libcurl: kept-alive connections, proxy, TLS, and limits of time and size.

libcurl instead of a client in Python, because reading small pages costs what its requests cost: a
request takes 60 us of CPU where urllib3 takes 220 and requests 1,000, and libcurl releases the
interpreter to the other workers between sending and receiving.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

import certifi
import pycurl
from requests.utils import get_environ_proxies, select_proxy

from source_listrak.soap import faults
from source_listrak.soap.faults import Fault

_BUFFER_BYTES = 2**18
_GZIP_START = b"\x1f\x8b"
_GZIP_CHUNK = 2**14
_GZIP = 16 + zlib.MAX_WBITS
_PROXY_LOGIN_REQUIRED = 407

# libcurl's own names are no help: several errors share a number with errors of other parts of it.
_ERRORS: dict[int, tuple[Fault, str]] = {
    pycurl.E_UNSUPPORTED_PROTOCOL: (faults.CONNECTION, "the response is not HTTP"),
    pycurl.E_URL_MALFORMAT: (faults.SERVICE_GONE, "the endpoint is not a URL"),
    pycurl.E_COULDNT_RESOLVE_PROXY: (faults.CONNECTION, "the proxy's name was not found"),
    pycurl.E_COULDNT_RESOLVE_HOST: (faults.CONNECTION, "the host's name was not found"),
    pycurl.E_COULDNT_CONNECT: (faults.CONNECTION, "the connection was refused"),
    pycurl.E_PARTIAL_FILE: (faults.CONNECTION, "the response was cut short"),
    pycurl.E_WRITE_ERROR: (faults.TOO_LARGE, ""),
    pycurl.E_OPERATION_TIMEDOUT: (faults.TIMEOUT, ""),
    pycurl.E_SSL_CONNECT_ERROR: (faults.CONNECTION, "the TLS handshake failed"),
    pycurl.E_PEER_FAILED_VERIFICATION: (faults.TLS, ""),
    pycurl.E_SSL_CACERT_BADFILE: (faults.TLS, "the file of authorities cannot be read"),
    pycurl.E_GOT_NOTHING: (faults.CONNECTION, "the connection was closed without a response"),
    pycurl.E_SEND_ERROR: (faults.CONNECTION, "the connection was reset"),
    pycurl.E_RECV_ERROR: (faults.CONNECTION, "the connection was reset"),
}


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the service, whatever its status.

    :ivar body: decompressed
    :ivar content_type: the header, None without one
    :ivar retry_after: seconds of the header, given in seconds or as a date; 0 without one
    """

    status: int
    body: bytes
    content_type: str | None = None
    retry_after: float = 0.0


class TransportError(Exception):
    """There is no response, or no complete one.

    :ivar detail: what happened; never libcurl's own text, which can hold a proxy's password
    """

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(fault.name)
        self.fault = fault
        self.detail = detail


class Transport(Protocol):
    """Sends requests. Tests pass one of their own."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """Send one request and return its response, whatever its status.

        :param seconds: the limit for the whole response, however steadily it arrives
        :raises TransportError: there is no complete response
        """


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one request.

    :param silence_seconds: without a byte; reports over large lists are slow to begin
    :param response_seconds: for the whole response, however steadily it arrives
    :param body_bytes: of a response, compressed and decompressed: `messages` is not paged, and
        100,000 rows of it have about 100 MB
    """

    connect_seconds: float = 15.0
    silence_seconds: int = 120
    response_seconds: float = 600.0
    body_bytes: int = 128 * 2**20


class CurlTransport:
    """Posts over kept-alive connections. Safe to share between threads.

    TLS certificates are always verified. Redirects are not followed, since they would carry the
    credentials elsewhere. Proxy and authorities are looked up once in the environment, by the
    rules of requests. Nothing is logged.

    :param endpoint: the URL whose host decides whether a proxy is used
    """

    def __init__(self, endpoint: str, limits: Limits | None = None) -> None:
        self._limits = limits = limits or Limits()
        authorities = (
            os.environ.get("REQUESTS_CA_BUNDLE")
            or os.environ.get("CURL_CA_BUNDLE")
            or certifi.where()
        )
        self._options: list[tuple[int, int | str]] = [
            (pycurl.CAPATH if os.path.isdir(authorities) else pycurl.CAINFO, authorities),
            *_proxy_options(endpoint, authorities),
            (pycurl.POST, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.USERAGENT, "source-listrak"),
            (pycurl.MAXCONNECTS, 1),
            (pycurl.BUFFERSIZE, _BUFFER_BYTES),
            (pycurl.NOSIGNAL, 1),  # a timeout by signal would need the main thread
            (pycurl.CONNECTTIMEOUT_MS, int(1000 * limits.connect_seconds)),
            (pycurl.LOW_SPEED_LIMIT, 1),
            (pycurl.LOW_SPEED_TIME, limits.silence_seconds),
        ]
        # The one that was used last is first: its connection is the least likely to be closed.
        self._idle: list[pycurl.Curl] = []

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """Send one request and return its response, whatever its status.

        libcurl replaces a kept-alive connection that turns out to be closed before anything
        arrived by a new one, once; nothing else is sent again.
        """
        try:
            curl = self._idle.pop()
        except IndexError:
            curl = pycurl.Curl()
            for option, value in self._options:
                curl.setopt(option, value)
        chunks: list[bytes] = []
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, _header_lines(headers))
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(1000 * seconds)))
        curl.setopt(pycurl.WRITEFUNCTION, _bounded(chunks, self._limits.body_bytes))
        # Python handles signals between two steps of its main thread. When that thread waits for
        # a response, as for the login, libcurl gives it a step each second.
        is_main = threading.current_thread() is threading.main_thread()
        curl.setopt(pycurl.NOPROGRESS, not is_main)
        if is_main:
            curl.setopt(pycurl.XFERINFOFUNCTION, _continue)
        try:
            curl.perform()
        except pycurl.error as error:
            tunnel_status = curl.getinfo(pycurl.HTTP_CONNECTCODE)
            curl.close()  # after an error, its connection is not used again
            if tunnel_status == _PROXY_LOGIN_REQUIRED:
                raise TransportError(faults.PROXY_LOGIN) from None
            code = int(error.args[0])
            unknown = (faults.CONNECTION, f"libcurl error {code}")
            raise TransportError(*_ERRORS.get(code, unknown)) from None
        content_type = curl.getinfo_raw(pycurl.CONTENT_TYPE)
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        retry_after = float(curl.getinfo(pycurl.RETRY_AFTER))
        received = b"".join(chunks)
        chunks.clear()  # an idle connection keeps the function that collects them
        self._idle.append(curl)
        return Response(
            status,
            _decompressed(received, self._limits.body_bytes),
            content_type.decode("latin-1") if content_type else None,
            retry_after,
        )


def _header_lines(headers: Mapping[str, str]) -> list[str]:
    # Without the last one, large requests would wait for a permission to continue.
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return [*lines, "Accept-Encoding: gzip", "Expect:"]


def _continue(*_: int) -> None:
    """Let a transfer continue."""


def _bounded(chunks: list[bytes], limit: int) -> Callable[[bytes], int | None]:
    """Return a function that collects the chunks of a body and stops at the limit."""
    left = limit

    def write(chunk: bytes) -> int | None:
        nonlocal left
        left -= len(chunk)
        if left < 0:
            return 0
        chunks.append(chunk)
        return None

    return write


def _decompressed(data: bytes, limit: int) -> bytes:
    """Return a body without its compression, recognised by its first bytes.

    libcurl's own decompression takes several members, or bytes behind the last one, for an error.

    :raises TransportError: it is damaged, incomplete or too large
    """
    chunks: list[bytes] = []
    size = position = 0
    while data.startswith(_GZIP_START, position):
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            chunk = data[position : position + _GZIP_CHUNK]
            try:
                chunks.append(member.decompress(chunk))
            except zlib.error:
                raise TransportError(faults.CONNECTION, "damaged gzip data") from None
            if not chunk:
                raise TransportError(faults.CONNECTION, "incomplete gzip data")
            size += len(chunks[-1])
            if size > limit:
                raise TransportError(faults.TOO_LARGE)
            position += len(chunk) - len(member.unused_data)
    return b"".join(chunks) if position else data


def _proxy_options(endpoint: str, authorities: str) -> list[tuple[int, int | str]]:
    proxy = select_proxy(endpoint, get_environ_proxies(endpoint, no_proxy=None))
    if not proxy:
        # Empty instead of left out, or libcurl would look for one itself.
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
