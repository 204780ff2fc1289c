"""HTTP over real sockets: compression, damage, limits, and how errors are named."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Callable, Iterator

import certifi
import pytest

from source_listrak.soap import faults
from source_listrak.soap.faults import Action, AttemptFailed, Fault
from source_listrak.soap.wire import CurlTransport, Limits, Response, _authorities

BODY = b"<a>" + b"some text " * 1000 + b"</a>"
HEADERS = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"x"'}


class Server:
    """Answers the connections it accepts with given bytes, then closes each."""

    def __init__(self, answer: bytes) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as file:
                head = b"".join(iter(file.readline, b"\r\n"))
                if not head:
                    return
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + b"\r\n" + file.read(length))
                connection.sendall(self._answer)

    def close(self) -> None:
        with socket.create_connection(self._socket.getsockname()) as last:
            last.sendall(b"\r\n")
        self._thread.join(timeout=10)
        self._socket.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], Server]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers: list[Server] = []

    def start(answer: bytes) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def _answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {length or len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def _post(url: str, limits: Limits | None = None) -> Response:
    return CurlTransport(limits or Limits()).post(url, HEADERS, b"<request/>", 10)


def _error(url: str, limits: Limits | None = None) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as raised:
        _post(url, limits)
    return raised.value


def test_a_request_has_its_headers_and_body_and_a_response_its_parts(
    serve: Callable[[bytes], Server],
) -> None:
    answer = _answer(
        b"no", "Content-Type: text/plain", "Retry-After: 7", status="503 Service Unavailable"
    )
    server = serve(answer)
    assert _post(server.url) == Response(503, b"no", "text/plain", 7.0)
    (request,) = server.requests
    assert request.endswith(b"\r\n\r\n<request/>")
    lines = request.split(b"\r\n")
    assert b"Content-Type: text/xml; charset=utf-8" in lines
    assert b'SOAPAction: "x"' in lines
    assert b"Accept-Encoding: gzip" in lines
    assert b"Expect" not in request


def test_a_transport_is_used_for_many_requests_to_any_path(
    serve: Callable[[bytes], Server],
) -> None:
    server = serve(_answer(BODY))
    transport = CurlTransport(Limits())
    for path in ("", "a", "b"):
        assert transport.post(server.url + path, HEADERS, b"<request/>", 10).body == BODY
    assert [request.split(b" ")[1] for request in server.requests] == [b"/", b"/a", b"/b"]


COMPRESSED = {
    "one member": gzip.compress(BODY, mtime=0),
    "several members": gzip.compress(BODY[:5000], mtime=0) + gzip.compress(BODY[5000:], mtime=0),
    "an empty member": gzip.compress(b"", mtime=0) + gzip.compress(BODY, mtime=0),
    "zeros behind it": gzip.compress(BODY, mtime=0) + b"\0" * 100,
    "none": BODY,
}


@pytest.mark.parametrize("compressed", COMPRESSED.values(), ids=COMPRESSED)
@pytest.mark.parametrize("header", ["Content-Encoding: gzip", "X: y"])
def test_a_body_is_decompressed_however_gzip_was_applied(
    serve: Callable[[bytes], Server], compressed: bytes, header: str
) -> None:
    assert _post(serve(_answer(compressed, header)).url).body == BODY


@pytest.mark.parametrize(
    "compressed",
    [
        gzip.compress(BODY, mtime=0)[:-20],
        gzip.compress(BODY, mtime=0)[:5],
        gzip.compress(BODY, mtime=0)[:-8] + b"\0" * 8,
        gzip.compress(BODY, mtime=0)[:20] + b"\xff" * 30 + gzip.compress(BODY, mtime=0)[50:],
        gzip.compress(BODY, mtime=0) + b"garbage",
    ],
    ids=["cut short", "cut in its header", "a wrong checksum", "damaged", "bytes behind it"],
)
def test_damaged_compression_is_a_connection_error_that_is_retried(
    serve: Callable[[bytes], Server], compressed: bytes
) -> None:
    error = _error(serve(_answer(compressed, "Content-Encoding: gzip")).url)
    assert error.fault is faults.CONNECTION
    assert error.detail in ("incomplete gzip data", "damaged gzip data")


def test_compression_that_was_not_offered_is_not_xml(
    serve: Callable[[bytes], Server],
) -> None:
    deflated = zlib.compress(BODY)
    assert _post(serve(_answer(deflated, "Content-Encoding: br")).url).body == deflated


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 20_001,
        gzip.compress(b"x" * 10_000_000, mtime=0),
        gzip.compress(b"x" * 12_000, mtime=0) * 2,
    ],
)
def test_a_body_over_the_limit_is_refused(serve: Callable[[bytes], Server], body: bytes) -> None:
    server = serve(_answer(body))
    assert _error(server.url, Limits(body_bytes=20_000)).fault is faults.TOO_LARGE


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (_answer(BODY, length=len(BODY) + 1), "the response was cut short"),
        (b"", "the connection was closed without a response"),
        (b"hello\r\n", "the response is not HTTP"),
    ],
)
def test_a_broken_response_is_named_in_plain_english(
    serve: Callable[[bytes], Server], answer: bytes, detail: str
) -> None:
    error = _error(serve(answer).url)
    assert (error.fault, error.detail) == (faults.CONNECTION, detail)


def test_a_refused_connection_is_named_in_plain_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
    error = _error(url)
    assert (error.fault, error.detail) == (faults.CONNECTION, "the connection was refused")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.1.2.3", "[::1]", "169.254.1.1"])
def test_in_the_cloud_no_private_address_is_connected_to(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYMENT_MODE", "CLOUD")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        error = _error(f"https://{host}:{server.getsockname()[1]}/")
        assert error.fault is faults.PRIVATE_ADDRESS
        with pytest.raises(BlockingIOError):
            server.accept()


def test_in_the_cloud_a_host_without_an_address_is_named_as_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEPLOYMENT_MODE", "cloud")
    monkeypatch.setenv("NO_PROXY", "*")
    error = _error("https://no-such-host.invalid/")
    assert (error.fault, error.detail) == (faults.CONNECTION, "the host's name was not found")


VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (certifi.where(), None)),
        (dict.fromkeys(VARIABLES, ""), (certifi.where(), None)),
        ({"SSL_CERT_FILE": "f"}, ("f", None)),
        ({"SSL_CERT_DIR": "d"}, (None, "d")),
        ({"SSL_CERT_FILE": "f", "SSL_CERT_DIR": "d"}, ("f", "d")),
        ({"CURL_CA_BUNDLE": "c", "SSL_CERT_FILE": "f", "SSL_CERT_DIR": "d"}, ("c", None)),
        ({"REQUESTS_CA_BUNDLE": "r", "CURL_CA_BUNDLE": "c"}, ("r", None)),
        ({"REQUESTS_CA_BUNDLE": "/"}, (None, "/")),
    ],
)
def test_the_environment_names_the_authorities(
    given: dict[str, str], expected: tuple[str | None, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert _authorities() == expected


def test_a_report_may_be_silent_for_as_long_as_a_response_may_take() -> None:
    """A report that needs 146 s to begin was cut off at 120 s on each attempt."""
    assert Limits().response_seconds >= 600
    assert "silence_seconds" not in Limits.__slots__


@pytest.mark.parametrize("url", [" http://127.0.0.1:9/", "http://127.0.0.1:9/\n", "http://"])
def test_an_endpoint_that_is_not_a_url_stops_at_once(url: str) -> None:
    error = _error(url)
    fault: Fault = error.fault
    assert (fault, error.detail) == (faults.SERVICE_GONE, "the endpoint is not a URL")
    assert fault.action is Action.STOP


def test_a_response_that_is_silent_for_too_long_is_a_timeout(
    serve: Callable[[bytes], Server],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(AttemptFailed) as raised:
            CurlTransport(Limits()).post(url, HEADERS, b"<request/>", 0.2)
    assert raised.value.fault is faults.TIMEOUT
