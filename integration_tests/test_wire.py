"""One request on the wire, against servers that break the rules of HTTP on purpose.

How single broken responses are named is tested in unit_tests/soap/test_wire.py.
"""

from __future__ import annotations

import base64
import email.utils
import gzip
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone

import pytest

from source_listrak.soap import faults
from source_listrak.soap.faults import Action, AttemptFailed, Fault
from source_listrak.soap.wire import CurlTransport, Limits, Response

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"
FINE = HEAD + b"Content-Length: 2\r\n\r\nok"
Speak = Callable[[socket.socket, int], None]


class Server:
    """Reads requests and has a function answer each, by its number on the connection."""

    def __init__(self, speak: Speak) -> None:
        self._speak = speak
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/service"
        self.connections = 0
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            for number in itertools.count(1):
                request = b""
                while not request.endswith((b"<body/>", b"\r\n\r\n")):
                    received = connection.recv(65536)
                    if not received:
                        return
                    request += received
                    if request.startswith(b"POST") and not request.endswith(b"<body/>"):
                        continue
                self.requests.append(request)
                self._speak(connection, number)

    def close(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()


@contextmanager
def served(speak: Speak | bytes) -> Iterator[Server]:
    answer = speak
    server = Server((lambda one, _: one.sendall(answer)) if isinstance(answer, bytes) else answer)
    try:
        yield server
    finally:
        server.close()


def transport(**limits: float) -> CurlTransport:
    return CurlTransport(Limits(**limits))  # type: ignore[arg-type]  # some are ints


def post(sender: CurlTransport, url: str, seconds: float = 20.0) -> Response:
    headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"action"'}
    return sender.post(url, headers, b"<body/>", seconds)


def failed(sender: CurlTransport, url: str, seconds: float = 20.0) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as raised:
        post(sender, url, seconds)
    return raised.value


def test_requests_one_after_another_share_a_connection() -> None:
    with served(FINE) as server:
        sender = transport()
        responses = [post(sender, server.url) for _ in range(5)]
        assert responses == [Response(200, b"ok", "text/xml", 0.0)] * 5
        assert server.connections == 1
        head = server.requests[-1].lower()
        assert b'soapaction: "action"' in head
        assert b"content-type: text/xml; charset=utf-8" in head
        assert b"expect:" not in head


def test_a_new_connection_replaces_one_that_was_closed() -> None:
    def once(connection: socket.socket, _: int) -> None:
        connection.sendall(FINE)
        connection.close()

    with served(once) as server:
        sender = transport()
        assert [post(sender, server.url).status for _ in range(3)] == [200] * 3
        assert (server.connections, len(server.requests)) == (3, 3)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 2",
        HEAD + b"Content-Length: 99\r\n\r\nshort",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
    ids=["nothing", "status", "body", "chunk"],
)
def test_a_response_that_is_cut_short_is_an_error(
    response: bytes,
) -> None:
    def cut(connection: socket.socket, _: int) -> None:
        connection.sendall(response)
        connection.close()

    with served(cut) as server:
        assert failed(transport(), server.url).fault is faults.CONNECTION
        assert len(server.requests) == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-Drip: ", HEAD + b"\r\n"])
def test_a_response_that_drips_has_a_limit(head: bytes) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket, _: int) -> None:
        connection.sendall(head)
        while not stop.wait(0.02):
            connection.sendall(b"x")

    with served(drip) as server:
        began = time.monotonic()
        assert failed(transport(), server.url, seconds=0.5).fault is faults.TIMEOUT
        assert time.monotonic() - began < 15
        stop.set()


def test_silence_has_the_limit_of_the_whole_response() -> None:
    with served(b"") as server:
        began = time.monotonic()
        sender = transport(response_seconds=1)
        assert failed(sender, server.url, seconds=600.0).fault is faults.TIMEOUT
        assert time.monotonic() - began < 60


def test_a_body_over_the_limit_is_refused_while_it_arrives() -> None:
    sent = 0

    def endless(connection: socket.socket, _: int) -> None:
        nonlocal sent
        connection.sendall(HEAD + b"\r\n")
        while True:
            connection.sendall(b"x" * 2**16)
            sent += 2**16

    with served(endless) as server:
        sender = transport(body_bytes=2**20)
        assert failed(sender, server.url).fault is faults.TOO_LARGE
    assert sent < 50 * 2**20


def test_a_body_that_unpacks_to_a_huge_one_is_refused() -> None:
    packed = gzip.compress(b"x" * 2**24)
    assert len(packed) < 2**15
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with served(head + packed) as server:
        sender = transport(body_bytes=2**20)
        assert failed(sender, server.url).fault is faults.TOO_LARGE


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        ("1.5", 0, 2),
        ("-3", 0, 0),
        ("nan", 0, 0),
        ("soon", 0, 0),
        ("Fri, 31 Feb 2099 99:00:00 GMT", 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("in a minute", 50, 60),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, low: float, high: float) -> None:
    if value == "in a minute":
        at = datetime.now(timezone.utc) + timedelta(seconds=60)
        value = email.utils.format_datetime(at, usegmt=True)
    head = f"HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    with served(head.encode()) as server:
        response = post(transport(), server.url)
    assert response.status == 503
    assert low <= response.retry_after <= high


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (403, faults.PROXY_REFUSED),
        (405, faults.PROXY_REFUSED),
        (407, faults.PROXY_LOGIN),
        (502, faults.CONNECTION),
        (503, faults.CONNECTION),
    ],
)
def test_the_status_of_a_proxy_says_why_it_refuses(
    variable: str, status: int, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    refusal = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    with served(refusal) as proxy:
        monkeypatch.setenv(variable, proxy.url.replace("http://", "http://who:p%40ss@"))
        target = "https://webservices.example/"
        error = failed(transport(), target)
        assert error.fault is fault
        assert error.detail == f"HTTP {status} from the proxy"
        assert (fault.action is Action.STOP) == (status in (403, 405, 407))
        lines = proxy.requests[0].split(b"\r\n")
        assert lines[0].startswith(b"CONNECT webservices.example:443")
        assert b"Proxy-Authorization: Basic " + base64.b64encode(b"who:p@ss") in lines
        assert not any(line.lower().startswith(b"soapaction") for line in lines)
    assert "p@ss" not in repr(error)
    assert "p%40ss" not in repr(error)
