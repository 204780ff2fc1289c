"""Neither the password nor the content of a row is printed, and neither is sent elsewhere."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit
from xml.sax.saxutils import escape

import pytest

from drivers.messages import Result
from drivers.process import check, read, run
from drivers.setups import START_DATE, catalog, make_config, make_simulator, requests
from simulator import FAULTS, Simulator, SimulatorConfig
from source_listrak.soap import faults

PASSWORD = "S3cr&t<\"'> @ö\\%/pass"
SPELLINGS = (
    PASSWORD,
    escape(PASSWORD),
    escape(PASSWORD, {'"': "&quot;", "'": "&apos;"}),
    escape(PASSWORD, {'"': "&quot;", "'": "&#39;"}),
    escape(PASSWORD, {'"': "&quot;", "'": "&#x27;"}),
    escape(PASSWORD, {'"': "&#34;", "'": "&#39;"}),
    escape(PASSWORD, {'"': "&quot;", "'": "&#39;"}).replace("ö", "&#246;"),
    json.dumps(PASSWORD)[1:-1],
    json.dumps(PASSWORD, ensure_ascii=False)[1:-1],
    json.dumps(escape(PASSWORD))[1:-1],
    quote(PASSWORD),
    quote(PASSWORD, safe=""),
    quote_plus(PASSWORD),
    quote(PASSWORD, safe="").replace("%C3%B6", "%c3%b6"),
    base64.b64encode(PASSWORD.encode()).decode(),
)
ADDRESSES = (
    "jane.roe%2540customer.example",
    "jane.roe&commat;customer.example",
    "jane.roe\uff20customer.example",
    "{'email':'jane.roe\\x40customer.example'}",
    "RCPT TO:<jane.roe=40customer.example>",
    "bounces+jane.roe=customer.example",
    "jane.roe%u0040customer.example",
    "'jane roe'@customer.example",
    'Mailbox "jane roe" <jane.roe@customer.example>',
    "jane dot roe at customer.example",
    "jane.roe@customer.example",
    "jane.roe%40customer.example",
    "GET /contacts?email=jane.roe%40customer.example&list=7",
    "jane.roe&#64;customer.example",
    "jane.roe&#x40;customer.example",
    "jane.roe\\u0040customer.example",
    '"jane roe"@customer.example',
    "&quot;jane roe&quot;@customer.example",
    '\\"jane roe\\"@customer.example',
    "jane.roe@[10.0.0.1]",
    "jane.roe @ customer.example",
    "o'jane-roe@customer.example",
    "jane,roe@customer.example",
    "<jane.roe@customer.example>",
)
PRIVATE_PARTS = ("jane", "roe", "customer.example")


def printed(result: Result) -> str:
    """Return all that was written but records, which are what was requested."""
    lines = [line for line in result.stdout.split("\n") if not line.startswith('{"type":"RECORD"')]
    return "\n".join([*lines, result.stderr])


def content(sim: Simulator) -> set[str]:
    """Return texts of rows that could not be in a log line by accident."""
    found = set()
    for table, rows in sim.truth(since=START_DATE).items():
        for row in rows:
            for name, value in row.items():
                if isinstance(value, str) and len(value) > 7 and name != "AdditionMethod":
                    found.add(value)
                    found.add(escape(value))
        assert rows, table
    return {text for text in found if not text.startswith("20")}


def leaks(sim: Simulator, result: Result) -> list[str]:
    """Return what was printed of the password and of rows."""
    text = printed(result)
    # As it was written, and as a reader of the JSON sees it.
    plain = text.replace('\\"', '"').replace("\\\\", "\\")
    words = (*SPELLINGS, *content(sim))
    return [word for word in words if word in text or word in plain]


QUICKLY = {"none", "invalid_logon", "other_fault", "truncated_xml", "text_in_result"}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=() if fault in QUICKLY else pytest.mark.slow)
        for fault in ("none", *sorted(FAULTS))
    ],
)
def test_no_fault_prints_a_secret_or_a_row(
    fault: str,
) -> None:
    """At the lowest log level, too."""
    injected = {} if fault == "none" else {fault: {"rate": 0.6, "everywhere": True, "after": 2}}
    with make_simulator(faults=injected, password=PASSWORD) as sim:
        result = read(sim, options=["--debug"], environment={"LOG_LEVEL": "debug"})
        assert leaks(sim, result) == []
    assert len(printed(result)) > 1000, "it did log"


class Service(BaseHTTPRequestHandler):
    """Answers every request with what its server makes of it, as an error."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.received.append(body)  # type: ignore[attr-defined]
        response = self.server.respond(body)  # type: ignore[attr-defined]
        self.send_response(500)
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Listener(socketserver.ThreadingTCPServer):
    """A server that keeps what it received."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        respond: Callable[[str], bytes] = lambda _: b"",
        handler: type[BaseHTTPRequestHandler] = Service,
    ) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.respond = respond
        self.received: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def listening(listener: Listener) -> Iterator[Listener]:
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


@dataclass
class Elsewhere:
    """A service that is no simulator."""

    url: str
    config: SimulatorConfig = field(default_factory=lambda: SimulatorConfig(password=PASSWORD))


def fault_with(text: str) -> bytes:
    """Return a SOAP fault with a text."""
    return (
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
        f"<soap:Fault><faultstring>{escape(text)}</faultstring></soap:Fault></soap:Body>"
        "</soap:Envelope>"
    ).encode()


def test_a_fault_that_repeats_the_request_shows_no_password() -> None:
    with listening(
        Listener(lambda request: fault_with(f"{request[-250:]} {PASSWORD}"))
    ) as listener:
        url = f"http://127.0.0.1:{listener.port}/"
        result = check(Elsewhere(url), options=["--debug"])
    assert escape(PASSWORD) in listener.received[0], "it was sent"
    assert "****" in result.connection["message"]
    assert not [spelling for spelling in SPELLINGS if spelling in printed(result)]


@pytest.mark.parametrize("texts", [SPELLINGS[:-1], ADDRESSES], ids=["passwords", "addresses"])
def test_no_spelling_of_a_secret_is_printed(
    texts: tuple[str, ...],
) -> None:
    texts_in_turn = itertools.cycle(texts)
    with listening(
        Listener(lambda _: fault_with(f"before {next(texts_in_turn)} behind"))
    ) as listener:
        url = f"http://127.0.0.1:{listener.port}/"
        result = run(
            "read",
            config=make_config(Elsewhere(url)),
            catalog=catalog(["lists"]),
            options=["--debug"],
            retries={"attempts": len(texts) + 1, "seconds": 0.0, "longest_wait": 0.01},
        )
        assert len(listener.received) >= len(texts)
    text = printed(result)
    assert text.count("before") >= len(texts), "the rest of each text was printed"
    plain = text.replace('\\"', '"').replace("\\\\", "\\")
    private = (*SPELLINGS, *PRIVATE_PARTS)
    assert not [part for part in private if part in text or part in plain]


def test_a_fault_of_one_long_word_delays_nothing() -> None:
    # A search for addresses from each character of it on would take a minute and a half.
    with listening(Listener(lambda _: fault_with("x" * 250_000))) as listener:
        began = time.monotonic()
        result = check(Elsewhere(f"http://127.0.0.1:{listener.port}/"))
        assert time.monotonic() - began < 30
        assert len(listener.received) > 1
    assert result.connection["message"].startswith(faults.OTHER_FAULT.message)
    assert len(result.connection["message"]) < 1000


def test_a_redirect_is_not_followed() -> None:
    with listening(Listener()) as elsewhere:
        where = f"http://127.0.0.1:{elsewhere.port}/"
        with make_simulator(faults={"redirect": 1.0}, redirect_to=where) as sim:
            result = check(sim)
    assert result.connection["message"].startswith(faults.REDIRECT.message)
    assert not elsewhere.received


# A proxy of the environment


class Proxy(BaseHTTPRequestHandler):
    """Forwards requests whose URL is absolute."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.received.append(self.headers.get("Proxy-Authorization", ""))  # type: ignore[attr-defined]
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        connection = http.client.HTTPConnection(target.hostname or "", target.port)
        connection.request("POST", target.path, body, dict(self.headers))
        response = connection.getresponse()
        data = response.read()
        connection.close()
        self.send_response(response.status)
        self.send_header("Content-Type", response.headers["Content-Type"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class RefusingProxy(Proxy):
    """Wants another password."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()


def environment(proxy: Listener, **more: str) -> dict[str, str]:
    url = f"http://who:proxy%40pass@127.0.0.1:{proxy.port}"
    return {"http_proxy": url, "HTTP_PROXY": url, "no_proxy": "", "NO_PROXY": ""} | more


def test_a_proxy_is_used_and_its_password_not_printed() -> None:
    """The proxy is named by the environment."""
    with make_simulator() as sim, listening(Listener(handler=Proxy)) as proxy:
        result = check(sim, environment=environment(proxy), options=["--debug"])
        assert result.connection["status"] == "SUCCEEDED"
        assert set(proxy.received) == {"Basic " + base64.b64encode(b"who:proxy@pass").decode()}
        assert len(proxy.received) == requests(sim)
        assert "proxy@pass" not in printed(result)
        assert "proxy%40pass" not in printed(result)


def test_requests_to_a_host_of_no_proxy_go_there_directly() -> None:
    with make_simulator() as sim, listening(Listener(handler=Proxy)) as proxy:
        without = environment(proxy, no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
        result = check(sim, environment=without)
        assert result.connection["status"] == "SUCCEEDED"
        assert proxy.received == []
        assert requests(sim) == 2


def test_a_proxy_that_refuses_its_password_is_named() -> None:
    with make_simulator() as sim, listening(Listener(handler=RefusingProxy)) as proxy:
        result = check(sim, environment=environment(proxy))
        assert requests(sim) == 0
    assert result.connection["message"].startswith(faults.PROXY_LOGIN.message)


def test_in_the_cloud_a_private_endpoint_is_refused() -> None:
    with make_simulator() as sim:
        result = check(sim, environment={"DEPLOYMENT_MODE": "cloud"})
        assert requests(sim) == 0
    assert result.connection["status"] == "FAILED"
    assert result.connection["message"].startswith(faults.PRIVATE_ADDRESS.message)


# TLS

AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Secure(Listener):
    """A service whose certificate no authority of this machine signed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.certificate = certificate
        self.connections = 0

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections += 1
        return self.context.wrap_socket(connection, server_side=True), address


@pytest.mark.parametrize("variable", ["", *AUTHORITIES])
def test_no_password_is_sent_to_an_unknown_authority(variable: str, tmp_path: Path) -> None:
    try:
        secure = Secure(tmp_path)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    where = secure.certificate
    if variable == "SSL_CERT_DIR":
        where = tmp_path / "authorities"
        where.mkdir()
        (where / "own.pem").write_bytes(secure.certificate.read_bytes())
        subprocess.run(["openssl", "rehash", str(where)], check=True)
    trusted = {name: str(where) if name == variable else "" for name in AUTHORITIES}
    with listening(secure):
        service = Elsewhere(f"https://127.0.0.1:{secure.port}/")
        result = check(service, environment=trusted)
    if variable:
        assert result.connection["message"].startswith(faults.SERVER_ERROR.message)
        assert escape(PASSWORD) in secure.received[0]
    else:
        assert result.connection["message"].startswith(faults.TLS.message)
        assert not secure.received
        assert secure.connections == 1, "no retry"
