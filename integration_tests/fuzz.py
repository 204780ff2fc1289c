"""Mutates responses and shows that whatever comes leads to rows or to a named error.

`python -m integration_tests.fuzz --count 100000` prints a figure and ends with 0, or shows the
first response that broke a promise and ends with 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from integration_tests.simulator import FAULTS, AccountConfig, Simulator, SimulatorConfig
from integration_tests.simulator.faults import Scene, spoil
from integration_tests.simulator.service import Request
from source_listrak.soap import faults
from source_listrak.soap.dates import DateReader
from source_listrak.soap.faults import ListrakError
from source_listrak.soap.pace import CircuitBreaker
from source_listrak.soap.response import Page, ResponseError, ResponseReader
from source_listrak.soap.transport import READ_POLICY, SoapClient
from source_listrak.soap.wire import Answer
from source_listrak.streams import STREAMS

PASSWORD = "Tr0ub4dor&<3>\"'"
SECRETS = (PASSWORD, "Tr0ub4dor&amp;&lt;3&gt;", "Tr0ub4dor")
SLOWEST = 5.0
"""Seconds that one response may take."""
_ADDRESS = re.compile(r"[\w.+'&-]+@[\w.-]+\.\w+")
_STATUSES = (200, 200, 200, 200, 200, 500, 500, 503, 429, 403, 302, 404)
_TYPES = (
    "text/xml; charset=utf-8", "text/xml", "text/html", "text/xml; charset=iso-8859-1",
    "text/xml; charset=utf-16", "application/octet-stream", "text/xml; charset=nonsense", None,
)  # fmt: skip
_TOKENS = (
    b"<", b">", b"</", b"/>", b"&", b"&#", b"&#x0;", b"&#xD800;", b"&#99999999999;", b"&amp;",
    b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?", b"?>", b'<?xml version="1.0"?>',
    b'<!DOCTYPE a [<!ENTITY b "c">]>', b"<!DOCTYPE html>", b"&b;", b"<html>", b"\0", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\x1f", b"\xed\xa0\x80", b"\xc3", b' xsi:nil="true"', b' xmlns=""', b"soap:",
    b"Fault", b"<WSException>", b"<WSException><Description>" + PASSWORD.encode()
    + b"</Description></WSException>", b"[InvalidLogonAttempt]", b"404", b"permission",
    PASSWORD.encode(), b"somebody@example.com", b'encoding="utf-16"', b'encoding="utf-7"',
    b"0001-01-01T00:00:00", b"NaN", b"1e999", b"-1", b"9" * 30, b"true", b"2024-02-30T25:61:61",
    b"<a>" * 300, b"x" * 5000,
)  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A right or faulty answer of the simulator, and what would read it."""

    body: bytes
    table: int


def seeds() -> list[Seed]:
    """Return answers of every operation: right ones, and each fault of the simulator's."""
    account = AccountConfig(
        lists=1, messages_per_list=2, recipients_per_message=12, contacts_per_list=6
    )
    found = []
    with Simulator(SimulatorConfig(account=account, page_size=8)) as sim:
        one = next(iter(sim.account.lists()))
        message = next(iter(sim.account.messages(one)))
        span = {"StartDate": "2000-01-01", "EndDate": "2100-01-01"}
        for number, stream in enumerate(STREAMS):
            arguments: dict[str, object] = {}
            if stream.name == "messages":
                arguments = {"ListID": one.list_id, **span, "IncludeTestMessages": True}
            elif stream.name == "subscribed_contacts":
                arguments = {"ListID": one.list_id, **span, "Page": 1}
            elif stream.name == "message_sends":
                arguments = {"MsgID": message.msg_id, "Page": 1}
            elif stream.name.startswith("message_"):
                arguments = {"MsgID": message.msg_id, **span, "Page": 1}
            request = Request(stream.operation, arguments)
            request.key = (request.operation, *arguments.values())
            scene = Scene(request, sim._service, sim.config, sim.origin)
            bodies = [scene.answer()]
            for name in FAULTS:
                if name not in ("deep_nesting", "huge_body") and (
                    "Page" in arguments or name not in ("repeated_page", "endless_empty_pages")
                ):
                    bodies.append(spoil(name, scene).body)  # noqa: PERF401
            found += [Seed(body, number) for body in bodies]
            found += [Seed(bodies[0], number)] * len(bodies)
    return found


def mutated(body: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a response with some of it spoilt."""
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
        elif kind == 3:  # said again
            body = body[:end] + body[at:]
        elif kind == 4:  # a piece of another
            start = rng.randrange(len(other) + 1)
            body = body[:at] + other[start : start + rng.randrange(1, 400)] + body[end:]
        elif kind == 5:  # random bytes
            body = body[:at] + rng.randbytes(rng.randrange(1, 9)) + body[end:]
        elif kind == 6:  # what means something in XML or here
            body = body[:at] + rng.choice(_TOKENS) + body[rng.choice((at, end)) :]
        else:  # a tag or text for another
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


def _innocent(text: str, what: str) -> None:
    _promise(not any(secret in text for secret in SECRETS), f"{what} holds the password: {text}")
    _promise(not _ADDRESS.search(text), f"{what} holds an address: {text}")


class Judge:
    """Reads a response as a sync would, and looks at what comes of it."""

    def __init__(self) -> None:
        dates = DateReader(ZoneInfo("America/New_York"))
        self.readers = [
            ResponseReader(s.operation, s.row, s.schema(), dates, s.date_text_fields)
            for s in STREAMS
        ]
        self.columns = [set(s.schema()["properties"]) for s in STREAMS]
        self.client = SoapClient(
            "https://127.0.0.1:9/", "demo", PASSWORD, workers=1, max_requests_per_second=None,
            breaker=CircuitBreaker(), policy=READ_POLICY, logger=logging.getLogger("fuzz"),
        )  # fmt: skip
        self.outcomes: Counter[str] = Counter()

    def look(self, body: bytes, table: int, status: int, content_type: str | None) -> None:
        """Raise unless a page or a named error comes, soon and without what it must not tell."""
        read: Callable[[bytes, str | None], Page] = self.readers[table].read
        began = time.perf_counter()
        try:
            page = read(body, content_type)
        except ResponseError as error:
            _innocent(str(error), "the reader's message")
            _promise(error.__cause__ is None, "the reader's error is chained")
        else:
            for row in page.rows:
                _promise(set(row) <= self.columns[table], "a row has a column of its own")
                _promise(None not in row.values(), "a row holds a null")
        found, failure = self.client._judge(Answer(status, body, content_type), read, True)
        _promise((found is None) != (failure is None), "neither rows nor a fault, or both")
        if failure is None:
            self.outcomes["rows"] += 1
            _promise(status == 200, "rows with a status other than 200")
        else:
            self.outcomes[failure.fault.name] += 1
            _promise(failure.fault in faults.FAULTS, "a fault that is in no table")
            # A fault's text is the service's; what it quotes of us or of customers is masked.
            error = ListrakError(failure.fault, failure.told("ReportX of message 7, page 1"))
            _innocent(str(error), "what the person reads")
            _innocent(repr(error.as_airbyte_message()), "the trace")
        _promise(time.perf_counter() - began < SLOWEST, "it took too long")


def responses(count: int, seed: int) -> Iterator[tuple[bytes, int, int, str | None]]:
    """Yield so many responses: body, table, status and content type."""
    rng = random.Random(seed)
    originals = seeds()
    for _ in range(count):
        original = rng.choice(originals)
        body = mutated(original.body, rng.choice(originals).body, rng)
        content_type = _TYPES[0] if rng.random() < 0.7 else rng.choice(_TYPES)
        yield body, original.table, rng.choice(_STATUSES), content_type


def run(count: int, seed: int = 1) -> Counter[str]:
    """Look at so many mutated responses.

    :raises Broken: one broke a promise
    """
    judge = Judge()
    for number, (body, table, status, content_type) in enumerate(responses(count, seed)):
        try:
            judge.look(body, table, status, content_type)
        except Exception as error:  # noqa: PERF203 (one of many is what it looks for)
            raise Broken(
                f"response {number} of seed {seed} ({STREAMS[table].name}, HTTP {status}, "
                f"{content_type}): {type(error).__name__}: {error}\n{body[:2000]!r}"
            ) from error
    return judge.outcomes


def main() -> int:
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
