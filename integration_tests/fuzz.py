"""Mutates responses and shows that each of them leads to rows or to a named error.

`python -m integration_tests.fuzz --count 100000` prints a figure and exits with 0, or shows the
first response that broke a promise and exits with 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from xml.sax.saxutils import escape

from simulator import FAULTS, AccountConfig, Endpoint, SimulatorConfig
from simulator import TABLES as SIMULATED
from simulator.faults import Scene, spoil
from simulator.service import Request as SimulatedRequest
from source_listrak.config import ListrakConfig
from source_listrak.soap import faults
from source_listrak.soap.client import Request, RetryPolicy, SoapClient
from source_listrak.soap.dates import DateReader
from source_listrak.soap.faults import ListrakError, SyncStopped
from source_listrak.soap.throttle import StopSwitch
from source_listrak.soap.wire import Response
from source_listrak.streams.http import SoapStream
from source_listrak.sync.progress import StreamCounts
from source_listrak.tables import TABLES, Table, schema

PASSWORD = "Tr0ub4dor&<3>\"'"
SECRETS = (
    PASSWORD,
    "Tr0ub4dor&amp;&lt;3&gt;\"'",
    "Tr0ub4dor&amp;&lt;3&gt;&quot;&#39;",
    "Tr0ub4dor&amp;&lt;3&gt;&quot;&apos;",
    "Tr0ub4dor%26%3C3%3E%22%27",
    "Tr0ub4dor&<3>\\\"'",
)
SLOWEST = 5.0
"""Seconds that one response may take."""
_NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
_NAME = "zuquixo"
"""In every generated address, and in no word of the service."""
_SPACE = (b"\xef\xbb\xbf", b"\n", b" ", b"\r\n\t", b"\xef\xbb\xbf\n")
_STATUSES = (200, 200, 200, 200, 200, 500, 500, 503, 429, 403, 302, 404)
_TYPES = (
    "text/xml; charset=utf-8", "text/xml", "text/html", "text/xml; charset=iso-8859-1",
    "text/xml; charset=utf-16", "application/octet-stream", "text/xml; charset=nonsense", None,
)  # fmt: skip
_EXCEPTION = b"<WSException><Description>%b</Description></WSException>"
_SPOKEN = tuple(escape(secret).encode() for secret in SECRETS)
_TOKENS = (
    b"<", b">", b"</", b"/>", b"&", b"&#", b"&#x0;", b"&#xD800;", b"&#99999999999;", b"&amp;",
    b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?", b"?>", b'<?xml version="1.0"?>',
    b'<!DOCTYPE a [<!ENTITY b "c">]>', b"<!DOCTYPE html>", b"&b;", b"<html>", b"\0", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\x1f", b"\xed\xa0\x80", b"\xc3", b' xsi:nil="true"', b' xmlns=""',
    b"soap:", b"Fault", b"<WSException>", *(_EXCEPTION % secret for secret in _SPOKEN), *_SPOKEN,
    b"[InvalidLogonAttempt]", b"404", b"permission", PASSWORD.encode(), b'encoding="utf-16"',
    b"\xed\xa0\xbd\xed\xb8\x80", b"&#xD83D;&#xDE00;", b"&#xDE00;", b"\xf0\x9f\x98", b"&#13;",
    b'encoding="utf-7"', b"0001-01-01T00:00:00", b"NaN", b"1e999", b"-1", b"9" * 30, b"true",
    b"2024-02-30T25:61:61", b"<a>" * 300, b"x" * 5000,
)  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A correct or faulty response of the simulator, and the table whose stream reads it."""

    body: bytes
    table: str


def seeds() -> list[Seed]:
    """Return responses of every operation: correct ones, and each fault of the simulator."""
    account = AccountConfig(
        lists=1, messages_per_list=2, recipients_per_message=12, contacts_per_list=6
    )
    endpoint = Endpoint(SimulatorConfig(account=account, page_size=8))
    one = next(iter(endpoint.account.lists()))
    message = next(iter(endpoint.account.messages(one)))
    values = {
        "ListID": one.list_id,
        "MsgID": message.msg_id,
        "MsgIDs": (message.msg_id,),
        "ConversationID": endpoint.account.conversations(one)[0].conversation_id,
        "StartDate": "2000-01-01T00:00:00",
        "EndDate": "2100-01-01T00:00:00",
        "IncludeTestMessages": True,
        "IncludeTerminated": True,
        "Page": 1,
    }
    found = []
    for name, table in SIMULATED.items():
        arguments = {parameter: values[parameter] for parameter in table.request}
        request = SimulatedRequest(table.operation, arguments, key=(table.operation,))
        scene = Scene(request, endpoint.service, endpoint.config, endpoint.origin)
        correct = Seed(scene.answer(), name)
        for fault in FAULTS:
            needs_pages = fault in ("repeated_page", "endless_empty_pages")
            if fault in ("deep_nesting", "huge_body") or (needs_pages and "Page" not in arguments):
                continue
            found += [correct, Seed(spoil(fault, scene).body, name)]
    return found


def spoken(rng: random.Random) -> bytes:
    """Return an exception in band whose text contains an address, in an encoding made up here."""
    signs = ("@", " @ ", " at ", "(at)", "=", "/at/", rng.choice(_each_way("@")))
    at, dot = rng.choice(signs), rng.choice((".", " . ", " dot ", "[dot]", "\u3002"))
    address = f"{_NAME}.{_NAME}{at}{_NAME}{dot}example"
    if rng.random() < 0.3:
        address = address.replace("o", rng.choice(_each_way("o")))
    if rng.random() < 0.2:
        address = address.upper()
    opening, closing = rng.choice(
        ("  ", "<>", '""', "''", "()", "[]", "{}", "=&", ":,", "\u201c\u201d")
    )
    text = f"failed for {rng.choice(('', 'email', 'mailto:'))}{opening}{address}{closing} now"
    return _EXCEPTION % escape(text).encode()


def _each_way(character: str) -> list[str]:
    """Return a character in the notations of many languages."""
    code = ord(character)
    numbers = (f"{code:x}", f"{code:X}", f"{code:02x}", f"{code:04x}", f"{code:08X}", f"{code}")
    marks = (
        "%",
        "%25",
        "%u",
        "=",
        "\\x",
        "\\u",
        "\\U",
        "&#x",
        "&#",
        "&amp;#x",
        "0x",
        "U+",
        "\\",
        "#",
    )
    return [f"{mark}{number}{end}" for mark in marks for number in numbers for end in ("", ";")]


def mutated(body: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a response with some of it changed."""
    if rng.random() < 0.1:
        body = rng.choice(_SPACE) + body
    if rng.random() < 0.1:
        body = body.replace(b"</soap:Body>", spoken(rng) + b"</soap:Body>")
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))):
        size = len(body)
        at = rng.randrange(size + 1)
        end = min(size, at + int(rng.expovariate(1 / 30)) + 1)
        kind = rng.randrange(8)
        if kind == 0 and size:  # a bit
            at %= size
            body = body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]
        elif kind == 1:  # cut short
            body = body[:at]
        elif kind == 2:  # cut out
            body = body[:at] + body[end:]
        elif kind == 3:  # repeated
            body = body[:end] + body[at:]
        elif kind == 4:  # a part of another
            start = rng.randrange(len(other) + 1)
            body = body[:at] + other[start : start + rng.randrange(1, 400)] + body[end:]
        elif kind == 5:  # random bytes
            body = body[:at] + rng.randbytes(rng.randrange(1, 9)) + body[end:]
        elif kind == 6:  # something that has a meaning in XML or here
            body = body[:at] + rng.choice(_TOKENS) + body[rng.choice((at, end)) :]
        else:  # a tag or text in place of another
            tags = list(re.finditer(rb"<[^<>]*>|[^<>]+", body[:20_000]))
            if len(tags) > 1:
                old, new = rng.sample(tags, 2)
                body = body[: old.start()] + new[0] + body[old.end() :]
    return body


class Broken(Exception):
    """A promise that was not kept."""


def _promise(kept: bool, what: str) -> None:
    if not kept:
        raise Broken(what)


def _promise_private(text: str, what: str) -> None:
    leaked = any(secret in text for secret in SECRETS)
    _promise(not leaked, f"{what} contains the password: {text}")
    _promise(_NAME not in text.lower(), f"{what} contains an address: {text}")


class _OneResponse:
    """A transport that returns the same response to every request."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        return self._response


class _Lines(logging.Handler):
    """Keeps the lines of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Checker:
    """Reads responses as a sync does, and checks what each of them leads to."""

    def __init__(self) -> None:
        self._log = _Lines()
        self._logger = logging.Logger("fuzz")
        self._logger.addHandler(self._log)
        self._config = ListrakConfig(username="demo", password=PASSWORD)
        dates = DateReader(self._config.zone)
        self._streams = {
            name: SoapStream(table, self._config, dates) for name, table in TABLES.items()
        }
        self._columns = {name: set(schema(name)["properties"]) for name in TABLES}
        self.outcomes: Counter[str] = Counter()

    def check(self, table: str, response: Response) -> None:
        """Raise unless a page or a named error results, soon and without anything private."""
        began = time.perf_counter()
        self._log.lines.clear()
        stream = self._streams[table]
        client = self._client(_OneResponse(response))
        try:
            page = client.send(_request(stream), stream.parse_response, StreamCounts(table))
        except (ListrakError, SyncStopped) as error:
            self.outcomes[error.fault.name] += 1
            _promise(error.fault in faults.FAULTS, "a fault that is not in the table")
            # The text of a fault is the service's own, which may quote the request or a customer.
            _promise_private(str(error), "the error")
            _promise_private(str(error.as_airbyte_message()), "the trace")
        else:
            self.outcomes["rows"] += 1
            _promise(response.status == 200, "rows with a status other than 200")
            for row in page.rows:
                _promise(set(row) <= self._columns[table], "a row with an unknown column")
                _promise(None not in row.values(), "a row with a null")
        for line in self._log.lines:
            _promise_private(line, "the log")
        _promise(time.perf_counter() - began < SLOWEST, "it took too long")

    def _client(self, transport: _OneResponse) -> SoapClient:
        return SoapClient(
            self._config.username,
            self._config.password,
            workers=1,
            max_requests_per_second=None,
            breaker=StopSwitch(),
            policy=RetryPolicy(attempts=2, seconds=0.0, first_wait=0.0, pause=0.0),
            transport=transport,
            logger=self._logger,
            login=_request(self._streams["lists"]),
            read_login=self._streams["lists"].parse_response,
        )


def _request(stream: SoapStream) -> Request:
    table: Table = stream.table
    return Request(
        url=stream.url_base,
        headers=stream.request_headers(),
        body=b"",
        label=f"{table.operation} of {table.sliced_by} 7",
        subject=None if table.sliced_by == "login" else (table.sliced_by, 7),
    )


def responses(count: int, seed: int) -> Iterator[tuple[str, Response]]:
    """Yield mutated responses, each with the table whose stream reads it."""
    rng = random.Random(seed)
    originals = seeds()
    for _ in range(count):
        original = rng.choice(originals)
        body = mutated(original.body, rng.choice(originals).body, rng)
        content_type = _TYPES[0] if rng.random() < 0.7 else rng.choice(_TYPES)
        yield original.table, Response(rng.choice(_STATUSES), body, content_type)


def run(count: int, seed: int = 1) -> Counter[str]:
    """Check mutated responses; return the number of each outcome.

    :raises Broken: one broke a promise
    """
    checker = Checker()
    for number, (table, response) in enumerate(responses(count, seed)):
        try:
            checker.check(table, response)
        except Exception as error:
            raise Broken(
                f"response {number} of seed {seed} ({table}, HTTP {response.status}, "
                f"{response.content_type}): {type(error).__name__}: {error}\n"
                f"{response.body[:2000]!r}"
            ) from error
    return checker.outcomes


def main() -> int:
    """Check responses by the command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m integration_tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    try:
        outcomes = run(given.count, given.seed)
    except Broken as error:
        print(error, file=sys.stderr)
        return 1
    seconds = time.perf_counter() - began
    print(f"{given.count:,} mutated responses, no promise broken, {seconds:.0f} s "
          f"({given.count / seconds:,.0f} a second)")  # fmt: skip
    for name, number in outcomes.most_common():
        print(f"{number:>9,}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
