"""Neither the password nor a row's content is printed, and neither goes anywhere else."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

import pytest

from integration_tests.conditions import SINCE, Ahead, check, read, requests, selected, simulator
from integration_tests.harness import Result
from integration_tests.simulator import FAULTS, Simulator
from source_listrak.soap import faults as decided

PASSWORD = "S3cr&t<\"'> @ö\\%/pass"
SPELLINGS = (
    PASSWORD,
    escape(PASSWORD),
    escape(PASSWORD, {'"': "&quot;", "'": "&apos;"}),
    escape(PASSWORD, {'"': "&#34;", "'": "&#39;"}),
    json.dumps(PASSWORD)[1:-1],
    json.dumps(PASSWORD, ensure_ascii=False)[1:-1],
    json.dumps(escape(PASSWORD))[1:-1],
    quote(PASSWORD),
    quote(PASSWORD, safe=""),
    base64.b64encode(PASSWORD.encode()).decode(),
)


def printed(result: Result) -> str:
    """Return all that was written but records, which are what is asked for."""
    lines = [line for line in result.stdout.split("\n") if not line.startswith('{"type":"RECORD"')]
    return "\n".join([*lines, result.stderr])


def content(sim: Simulator) -> set[str]:
    """Return texts of rows that could not stand in a log line by accident."""
    found = set()
    for table, rows in sim.truth(since=SINCE).items():
        for row in rows:
            for name, value in row.items():
                if isinstance(value, str) and len(value) > 7 and name != "AdditionMethod":
                    found.add(value)
                    found.add(escape(value))
        assert rows, table
    return {text for text in found if not text.startswith("20")}


def leaks(sim: Simulator, result: Result) -> list[str]:
    text = printed(result)
    # As it was written, and as a reader of the JSON sees it.
    plain = text.replace('\\"', '"').replace("\\\\", "\\")
    words = (*SPELLINGS, *content(sim))
    return [word for word in words if word in text or word in plain]


def run_logged(case: tuple[str, str]) -> tuple[list[str], Result]:
    fault, way = case
    faults = {} if fault == "none" else {fault: {"rate": 0.6, "everywhere": True, "after": 2}}
    with simulator(faults, password=PASSWORD) as sim:
        result = read(
            sim,
            options=["--debug"] if way == "--debug" else [],
            environment={"LOG_LEVEL": "debug"} if way == "LOG_LEVEL" else None,
        )
        return leaks(sim, result), result


QUICKLY = {
    ("invalid_logon", "--debug"),
    ("other_fault", "--debug"),
    ("ws_exception", "LOG_LEVEL"),
    ("truncated_xml", "--debug"),
    ("illegal_characters", "LOG_LEVEL"),
    ("xinclude", "--debug"),
    ("none", "--debug"),
    ("none", "LOG_LEVEL"),
}
CASES = [
    pytest.param((fault, way), marks=() if (fault, way) in QUICKLY else pytest.mark.slow)
    for fault in ("none", *sorted(FAULTS))
    for way in ("--debug", "LOG_LEVEL")
]


@pytest.fixture(scope="module")
def logged(
    request: pytest.FixtureRequest,
) -> Iterator[Ahead[tuple[str, str], tuple[list[str], Result]]]:
    ahead = Ahead(selected(request.session.items, "case", __name__), run_logged)
    yield ahead
    ahead.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case))
def test_given_any_fault_at_the_lowest_log_level_then_no_secret_and_no_row_is_printed(
    case: tuple[str, str], logged: Any
) -> None:
    found, result = logged[case]
    assert found == []
    assert len(printed(result)) > 1000, "it did log"


class Answer(BaseHTTPRequestHandler):
    """A service that answers a fault which says all it heard, as careless services do."""

    protocol_version = "HTTP/1.1"
    text = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.heard.append(body)  # type: ignore[attr-defined]
        said = self.server.say(body)  # type: ignore[attr-defined]
        self.send_response(500)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, say: Any, handler: type[BaseHTTPRequestHandler] = Answer) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.say = say
        self.heard: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


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


class Target:
    """What `check` needs to know of a service that is no simulator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.config = type("Login", (), {"user_name": "demo", "password": PASSWORD})()


def test_given_a_fault_that_echoes_the_request_then_password_and_address_are_masked() -> None:
    def echo(request: str) -> bytes:
        said = f"{escape(request)} {escape(PASSWORD)} failed for somebody@example.com"
        return (
            '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
            f"<soap:Fault><faultstring>{said[-200:]}"
            "</faultstring></soap:Fault></soap:Body></soap:Envelope>"
        ).encode()

    with listening(Listener(echo)) as listener:
        result = check(Target(f"http://127.0.0.1:{listener.port}/"), options=["--debug"])  # type: ignore[arg-type]
    assert escape(PASSWORD) in listener.heard[0], "it was sent"
    text = printed(result)
    assert "somebody" not in text
    assert "****" in result.connection["message"]
    assert not [spelling for spelling in SPELLINGS if spelling in text]


def test_given_a_redirect_then_it_is_not_followed() -> None:
    with listening(Listener(lambda _: b"")) as elsewhere:
        where = f"http://127.0.0.1:{elsewhere.port}/"
        with simulator({"redirect": 1.0}, redirect_to=where) as sim:
            result = check(sim)
    assert result.connection["message"].startswith(decided.REDIRECT.message)
    assert not elsewhere.heard


# A proxy of the environment


class Proxy(BaseHTTPRequestHandler):
    """Forwards what it is asked for with an absolute URL."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.heard.append(self.headers.get("Proxy-Authorization", ""))  # type: ignore[attr-defined]
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        connection = http.client.HTTPConnection(target.hostname or "", target.port)
        connection.request("POST", target.path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


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


def test_given_a_proxy_in_the_environment_then_it_is_used_and_its_password_is_not_printed() -> None:
    with simulator() as sim, listening(Listener(None, Proxy)) as proxy:
        result = check(sim, environment=environment(proxy), options=["--debug"])
        assert result.connection["status"] == "SUCCEEDED"
        assert proxy.heard == ["Basic " + base64.b64encode(b"who:proxy@pass").decode()]
        assert "proxy@pass" not in printed(result)
        assert "proxy%40pass" not in printed(result)


def test_given_the_host_is_among_those_without_proxy_then_it_is_asked_directly() -> None:
    with simulator() as sim, listening(Listener(None, Proxy)) as proxy:
        without = environment(proxy, no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
        result = check(sim, environment=without)
        assert result.connection["status"] == "SUCCEEDED"
        assert proxy.heard == []
        assert requests(sim) == 1


def test_given_the_proxy_refuses_its_password_then_the_person_reads_that_it_is_the_proxys() -> None:
    with simulator() as sim, listening(Listener(None, RefusingProxy)) as proxy:
        result = check(sim, environment=environment(proxy))
        assert requests(sim) == 0
    assert result.connection["message"].startswith(decided.PROXY_LOGIN.message)


# TLS


class Secure(Listener):
    """A service with a certificate that nobody vouches for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(lambda _: b"")
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


@pytest.mark.parametrize("bundle", ["", "own"])
def test_given_a_certificate_that_nobody_vouches_for_then_no_password_is_sent(
    bundle: str, tmp_path: Path
) -> None:
    try:
        secure = Secure(tmp_path)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    trusted = {"REQUESTS_CA_BUNDLE": str(secure.certificate)} if bundle else {}
    with listening(secure):
        result = check(
            Target(f"https://127.0.0.1:{secure.port}/"),  # type: ignore[arg-type]
            environment=trusted,
        )
    if bundle:
        # Vouched for by this machine's own authorities, it is heard.
        assert result.connection["message"].startswith(decided.SERVER_ERROR.message)
        assert escape(PASSWORD) in secure.heard[0]
    else:
        assert result.connection["message"].startswith(decided.TLS.message)
        assert not secure.heard
        assert secure.connections == 1, "asked once"
