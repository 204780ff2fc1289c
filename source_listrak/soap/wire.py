"""HTTP by libcurl: kept-alive connections, proxy, TLS, and limits of time and size.

libcurl instead of a client in Python, because reading small pages costs what its requests cost: a
request takes 60 us of CPU where urllib3 takes 220 and requests 1,000, and libcurl releases the
interpreter to the other workers between sending and receiving.
"""

import errno
import gzip
import ipaddress
import os
import socket
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol
from urllib.parse import urlsplit

import certifi
import pycurl
from airbyte_cdk.utils import is_cloud_environment

from source_listrak.soap import faults
from source_listrak.soap.faults import AttemptFailed, Fault

_BUFFER_BYTES = 2**18
_PROXY_FAULTS = {403: faults.PROXY_REFUSED, 405: faults.PROXY_REFUSED, 407: faults.PROXY_LOGIN}

# libcurl's own names are no help: several errors share a number with errors of other parts of it.
# Its own texts can hold a proxy's password.
_EXHAUSTED = "too few file descriptors or too little memory"
_ERRORS: dict[int, tuple[Fault, str]] = {
    pycurl.E_UNSUPPORTED_PROTOCOL: (faults.CONNECTION, "the response is not HTTP"),
    pycurl.E_URL_MALFORMAT: (faults.SERVICE_GONE, "the endpoint is not a URL"),
    pycurl.E_COULDNT_RESOLVE_PROXY: (faults.CONNECTION, "the proxy's name was not found"),
    pycurl.E_COULDNT_RESOLVE_HOST: (faults.CONNECTION, "the host's name was not found"),
    pycurl.E_COULDNT_CONNECT: (faults.CONNECTION, "the connection was refused"),
    pycurl.E_PARTIAL_FILE: (faults.CONNECTION, "the response was cut short"),
    pycurl.E_OUT_OF_MEMORY: (faults.CONNECTION, _EXHAUSTED),
    pycurl.E_OPERATION_TIMEDOUT: (faults.TIMEOUT, ""),
    pycurl.E_SSL_CONNECT_ERROR: (faults.CONNECTION, "the TLS handshake failed"),
    pycurl.E_PEER_FAILED_VERIFICATION: (faults.TLS, ""),
    pycurl.E_SSL_CACERT_BADFILE: (faults.TLS, "the authorities' file cannot be read"),
    pycurl.E_GOT_NOTHING: (faults.CONNECTION, "the connection was closed without a response"),
    pycurl.E_SEND_ERROR: (faults.CONNECTION, "the connection was reset"),
    pycurl.E_RECV_ERROR: (faults.CONNECTION, "the connection was reset"),
    pycurl.E_FILESIZE_EXCEEDED: (faults.TOO_LARGE, ""),
}


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the service, with any status.

    :ivar body: decompressed
    :ivar content_type: the header, None without one
    :ivar retry_after: seconds of the header, given in seconds or as a date; 0 without one
    """

    status: int
    body: bytes
    content_type: str | None = None
    retry_after: float = 0.0


class Transport(Protocol):
    """Sends requests. Tests pass one of their own."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """Send one request and return its response, with any status.

        :param seconds: a limit for the whole response, however steadily it arrives; its own counts
            where that is less
        :raises AttemptFailed: there is no complete response
        """


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one request.

    :param response_seconds: for the whole response, however steadily it arrives; reports over
        large lists can take minutes to begin
    :param body_bytes: of a response, compressed and decompressed: `messages` is not paged, and
        100,000 rows of it have about 100 MB
    """

    connect_seconds: float = 15.0
    response_seconds: float = 600.0
    body_bytes: int = 128 * 2**20


class CurlTransport:
    """Posts over kept-alive connections. Safe to share between threads.

    TLS certificates are always verified. Redirects are not followed, since they would carry the
    credentials elsewhere. Nothing is logged.

    libcurl finds the proxy in the environment: HTTPS_PROXY or ALL_PROXY, in upper or lower case,
    with credentials in their URL, unless NO_PROXY names the host; for an endpoint without TLS,
    http_proxy in lower case. The environment also names the certificate authorities, see
    `_authorities`.

    In Airbyte Cloud (DEPLOYMENT_MODE=cloud), connectors must not reach private networks. The CDK
    only controls `requests`, so the same rule is applied here.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        file, directory = _authorities()
        self._options: list[tuple[int, object]] = [
            (pycurl.CAINFO, file),
            (pycurl.PROXY_CAINFO, file),
            (pycurl.CAPATH, directory),
            (pycurl.PROXY_CAPATH, directory),
            (pycurl.POST, 1),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.USERAGENT, "source-listrak"),
            (pycurl.MAXCONNECTS, 1),
            (pycurl.BUFFERSIZE, _BUFFER_BYTES),
            (pycurl.NOSIGNAL, 1),  # a timeout by signal would need the main thread
            (pycurl.CONNECTTIMEOUT_MS, int(1000 * limits.connect_seconds)),
            (pycurl.TCP_KEEPALIVE, 1),  # while a report is slow, for firewalls on the way
            (pycurl.MAXFILESIZE_LARGE, limits.body_bytes),
            (pycurl.XFERINFOFUNCTION, lambda *_: None),
        ]
        # The one that was used last is first: its connection is the least likely to be closed.
        self._idle: list[pycurl.Curl] = []

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """Send one request and return its response, with any status.

        libcurl replaces a kept-alive connection that turns out to be closed before anything
        arrived by a new one, once; nothing else is sent again.
        """
        try:
            curl = self._idle.pop()
        except IndexError:
            if is_cloud_environment() and _is_private(url):
                raise AttemptFailed(faults.PRIVATE_ADDRESS) from None
            curl = pycurl.Curl()
            for option, value in self._options:
                curl.setopt(option, value)
        received = BytesIO()
        lines = [f"{name}: {value}" for name, value in headers.items()]
        curl.setopt(pycurl.URL, url)
        # Without "Expect:", large requests would wait for a permission to continue.
        curl.setopt(pycurl.HTTPHEADER, [*lines, "Accept-Encoding: gzip", "Expect:"])
        curl.setopt(pycurl.POSTFIELDS, body)
        seconds = min(seconds, self._limits.response_seconds)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, int(1000 * seconds)))
        curl.setopt(pycurl.WRITEFUNCTION, received.write)
        # Python handles signals between two steps of its main thread. When that thread waits for
        # a response, as for the login, libcurl gives it a step each second.
        curl.setopt(pycurl.NOPROGRESS, threading.current_thread() is not threading.main_thread())
        try:
            curl.perform()
        except pycurl.error as error:
            failed = _failure(curl, error)
            curl.close()  # after an error, its connection is not used again
            raise failed from None
        content_type = curl.getinfo_raw(pycurl.CONTENT_TYPE) or b""
        status, retry_after = curl.getinfo(pycurl.RESPONSE_CODE), curl.getinfo(pycurl.RETRY_AFTER)
        data = _decompressed(received.getvalue(), self._limits.body_bytes)
        received.close()  # an idle connection keeps it
        self._idle.append(curl)
        return Response(status, data, content_type.decode("latin-1") or None, float(retry_after))


def _failure(curl: pycurl.Curl, error: pycurl.error) -> AttemptFailed:
    """Return what an error of libcurl means."""
    tunnel_status = curl.getinfo(pycurl.HTTP_CONNECTCODE)
    if tunnel_status >= 400:
        fault = _PROXY_FAULTS.get(tunnel_status, faults.CONNECTION)
        return AttemptFailed(fault, f"HTTP {tunnel_status} from the proxy")
    code, number = int(error.args[0]), curl.getinfo(pycurl.OS_ERRNO)
    fault, detail = _ERRORS.get(code, (faults.CONNECTION, f"libcurl error {code}"))
    if code == pycurl.E_COULDNT_CONNECT and number != errno.ECONNREFUSED:
        detail = os.strerror(number) if number else _EXHAUSTED
    return AttemptFailed(fault, detail)


def _authorities() -> tuple[str | None, str | None]:
    """Return the file and the directory of certificate authorities.

    The first that is set: REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE (each a file or a directory),
    SSL_CERT_FILE and SSL_CERT_DIR (both apply); or else certifi's file.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        return (None, bundle) if os.path.isdir(bundle) else (bundle, None)
    file, directory = (os.environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return (file, directory) if file or directory else (certifi.where(), None)


def _is_private(url: str) -> bool:
    """Return whether any address of a URL's host is in a private network; not for no address."""
    host = urlsplit(url)
    try:
        found = socket.getaddrinfo(host.hostname, host.port)
    except OSError:
        return False
    return any(not ipaddress.ip_address(address[0]).is_global for *_, address in found)


def _decompressed(data: bytes, limit: int) -> bytes:
    """Return a body without its compression, recognised by its first bytes.

    libcurl's own decompression takes several members for an error.

    :raises AttemptFailed: it is damaged, incomplete or too large
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    body = bytearray()
    try:
        file = gzip.GzipFile(fileobj=BytesIO(data))
        while chunk := file.read1(_BUFFER_BYTES):
            body += chunk
            if len(body) > limit:
                raise AttemptFailed(faults.TOO_LARGE)
    except (EOFError, OSError, zlib.error):
        raise AttemptFailed(faults.CONNECTION, "damaged gzip data") from None
    return bytes(body)
