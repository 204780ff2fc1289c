"""One request on the wire, against servers that break the rules of HTTP on purpose."""

from __future__ import annotations

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

from source_listrak.soap import faults, wire
from source_listrak.soap.faults import Fault
from source_listrak.soap.wire import Answer, NoAnswer, Wire

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
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    request += piece
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


def post(sender: Wire, seconds: float = 20.0) -> Answer:
    return sender.post('"action"', b"<body/>", seconds)


def failed(sender: Wire, seconds: float = 20.0) -> NoAnswer:
    with pytest.raises(NoAnswer) as raised:
        post(sender, seconds)
    return raised.value


def test_requests_one_after_another_share_a_connection() -> None:
    with served(FINE) as server:
        sender = Wire(server.url)
        answers = [post(sender) for _ in range(5)]
        assert answers == [Answer(200, b"ok", "text/xml", 0.0)] * 5
        assert server.connections == 1
        head = server.requests[-1].lower()
        assert b'soapaction: "action"' in head
        assert b"content-type: text/xml; charset=utf-8" in head
        assert b"expect:" not in head


def test_given_a_kept_alive_connection_was_closed_then_a_new_one_takes_its_place() -> None:
    def once(connection: socket.socket, _: int) -> None:
        connection.sendall(FINE)
        connection.close()

    with served(once) as server:
        sender = Wire(server.url)
        assert [post(sender).status for _ in range(3)] == [200] * 3
        assert (server.connections, len(server.requests)) == (3, 3)


@pytest.mark.parametrize(
    ("answer", "fault", "detail"),
    [
        (b"", faults.CONNECTION, "GOT_NOTHING"),
        (b"HTTP/1.1 2", faults.CONNECTION, ""),
        (HEAD + b"Content-Length: 99\r\n\r\nshort", faults.CONNECTION, "PARTIAL_FILE"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", faults.CONNECTION, ""),
        (b"no HTTP at all\r\n\r\n", faults.CONNECTION, ""),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", faults.CONNECTION, ""),
    ],
    ids=["nothing", "status", "body", "chunk", "no HTTP", "no gzip"],
)
def test_given_an_answer_is_cut_short_then_it_is_none_and_is_not_asked_for_again(
    answer: bytes, fault: Fault, detail: str
) -> None:
    def cut(connection: socket.socket, _: int) -> None:
        connection.sendall(answer)
        connection.close()

    with served(cut) as server:
        error = failed(Wire(server.url))
        assert error.fault is fault
        assert error.detail.isidentifier()
        assert detail in error.detail
        assert len(server.requests) == 1


def test_given_nobody_listens_then_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = failed(Wire(f"http://127.0.0.1:{port}/"))
    assert (error.fault, error.detail) == (faults.CONNECTION, "COULDNT_CONNECT")


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-Drip: ", HEAD + b"\r\n"])
def test_given_an_answer_that_drips_then_its_whole_has_a_limit(head: bytes) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket, _: int) -> None:
        connection.sendall(head)
        while not stop.wait(0.02):
            connection.sendall(b"x")

    with served(drip) as server:
        began = time.monotonic()
        assert failed(Wire(server.url), seconds=0.5).fault is faults.TIMEOUT
        assert time.monotonic() - began < 15
        stop.set()


def test_given_silence_then_its_limit_comes_before_that_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "READ_TIMEOUT", 1)
    with served(b"") as server:
        began = time.monotonic()
        assert failed(Wire(server.url), seconds=600.0).fault is faults.TIMEOUT
        assert time.monotonic() - began < 60


def test_given_a_body_over_the_limit_then_it_is_refused_while_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 2**20)
    sent = 0

    def endless(connection: socket.socket, _: int) -> None:
        nonlocal sent
        connection.sendall(HEAD + b"\r\n")
        while True:
            connection.sendall(b"x" * 2**16)
            sent += 2**16

    with served(endless) as server:
        assert failed(Wire(server.url)).fault is faults.TOO_LARGE
    assert sent < 50 * 2**20


def test_given_a_small_body_that_unpacks_to_a_huge_one_then_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 2**20)
    packed = gzip.compress(b"x" * 2**24)
    assert len(packed) < 2**15
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with served(head + packed) as server:
        assert failed(Wire(server.url)).fault is faults.TOO_LARGE


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
def test_given_a_retry_after_then_its_seconds_or_its_distance_count(
    value: str, low: float, high: float
) -> None:
    if value == "in a minute":
        at = datetime.now(timezone.utc) + timedelta(seconds=60)
        value = email.utils.format_datetime(at, usegmt=True)
    head = f"HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    with served(head.encode()) as server:
        answer = post(Wire(server.url))
    assert answer.status == 503
    assert low <= answer.retry_after <= high


@pytest.mark.parametrize(("status", "fault"), [(407, faults.PROXY_LOGIN), (502, faults.CONNECTION)])
def test_given_a_proxy_refuses_the_tunnel_then_its_status_tells_why(
    status: int, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    with served(refusal) as proxy:
        url = proxy.url.replace("http://", "http://who:pass@")
        monkeypatch.setenv("https_proxy", url)
        monkeypatch.setenv("HTTPS_PROXY", url)
        error = failed(Wire("https://webservices.example/"))
        assert error.fault is fault
        assert proxy.requests[0].startswith(b"CONNECT webservices.example:443")
    assert "pass" not in repr(error)
