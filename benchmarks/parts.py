"""Parts alone: the XML reader against lxml, the envelopes, the start-up and its imports."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from zoneinfo import ZoneInfo

from lxml import etree

from benchmarks.accounts import PASSWORD, USER, account, process
from benchmarks.imports import imported
from benchmarks.measure import Candidate, interleaved, medians
from benchmarks.report import Section, Size
from integration_tests.simulator import Account, AccountConfig, Simulator, SimulatorConfig
from integration_tests.simulator.service import OPERATIONS, Request, Service
from source_listrak.soap.dates import DateReader
from source_listrak.soap.envelope import EnvelopeBuilder
from source_listrak.soap.response import ResponseReader
from source_listrak.streams import STREAMS

LEAST_SECONDS = 0.15
"""A part is called again and again for so long, so that the clock's grain does not show."""
CONTENT_TYPE = "text/xml; charset=utf-8"
PACKAGES_SHOWN = 14
MODULES_SHOWN = 6


def run(size: Size) -> list[Section]:
    """Measure each part in this process, and the start-up in processes of its own."""
    return [_reader(size), _envelopes(size), *_start_up(size)]


def _turns(size: Size, parts: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the CPU seconds of one call of each part, round by round in turn."""
    found = defaultdict(list)
    for call in parts.values():
        call()
    for _ in range(size.rounds):
        for name, call in parts.items():
            count, began = 0, time.process_time()
            while time.process_time() - began < LEAST_SECONDS * min(1.0, size.scale):
                call()
                count += 1
            found[name].append((time.process_time() - began) / max(1, count))
    return found


def _reader(size: Size) -> Section:
    """Compare reading a page into records with lxml's mere parsing of the same bytes."""
    rows: list[list[object]] = []
    every = {}
    pages = _pages(
        account(
            lists=100,
            messages_per_list=1000,
            recipients_per_message=2000,
            contacts_per_list=2000,
            uniform=True,
            test_messages=False,
            open_rate=0.9,
            read_rate=0.9,
            click_rate=0.9,
            removal_rate=0.5,
            bounce_rate=0.6,
        )
    )
    dates = DateReader(ZoneInfo("America/New_York"))
    for stream in STREAMS:
        body = pages[stream.operation]
        read = ResponseReader(
            stream.operation, stream.row, stream.schema(), dates, stream.date_text_fields
        ).read
        count = len(read(body, CONTENT_TYPE).rows)
        turns = _turns(
            size,
            {
                "lxml": partial(etree.fromstring, body),
                "reader": partial(read, body, CONTENT_TYPE),
            },
        )
        parse, records = (statistics.median(turns[name]) / count for name in ("lxml", "reader"))
        rows.append([stream.name, count, 1e6 * parse, 1e6 * records, records / parse])
        every[stream.name] = turns
    return Section(
        "The XML reader alone, CPU time",
        ["table", "rows of the page", "lxml's parse, us/row", "reader, us/row", "times lxml"],
        rows,
        every,
    )


def _pages(of: AccountConfig) -> dict[str, bytes]:
    """Return the service's first page of each operation, asked without a socket."""
    simulated = Account(of)
    service = Service(simulated, SimulatorConfig(account=of))
    first_list = simulated.lists()[0]
    arguments = {
        "ListID": first_list.list_id,
        "MsgID": next(simulated.messages(first_list)).msg_id,
        "StartDate": "2000-01-01T00:00:00",
        "EndDate": "2100-01-01T00:00:00",
        "IncludeTestMessages": True,
        "Page": 1,
    }
    return {
        name: service.answer(
            Request(name, {key: arguments[key] for key in operation.parameters}, key=(name,))
        )
        for name, operation in OPERATIONS.items()
    }


def _envelopes(size: Size) -> Section:
    """Measure the making of one request."""
    builder = EnvelopeBuilder()
    arguments: dict[str, int | bool | datetime | None] = {
        "MsgID": 4711,
        "StartDate": datetime(2024, 1, 1),
        "EndDate": datetime(2024, 2, 1),
        "Page": 3,
    }
    operation = "ReportRangeMessageContactOpen"
    turns = _turns(size, {operation: partial(builder.build, operation, arguments)})
    return Section(
        "Envelope building alone, CPU time",
        ["operation", "us/envelope"],
        [[operation, 1e6 * statistics.median(turns[operation])]],
        turns,
    )


@dataclass(frozen=True)
class _Command:
    """A command, as a process, of the connector or of Python alone."""

    arguments: list[str]
    with_config: bool = False


COMMANDS = {
    "python -c pass": _Command(["-c", "pass"]),
    "python -c 'import airbyte_cdk.entrypoint'": _Command(["-c", "import airbyte_cdk.entrypoint"]),
    "spec": _Command(["main.py", "spec"]),
    "discover": _Command(["main.py", "discover"], with_config=True),
    "check": _Command(["main.py", "check"], with_config=True),
}


def _start_up(size: Size) -> list[Section]:
    """Measure the commands that read nothing, and what their imports cost."""
    with Simulator(SimulatorConfig(account=account())) as sim:
        config = {"username": USER, "password": PASSWORD, "endpoint": sim.url}
        candidates: dict[str, Candidate] = {}
        for name, command in COMMANDS.items():
            files = {"config": config} if command.with_config else {}
            candidates[name] = process([sys.executable, *command.arguments], files)
        rounds = interleaved(size.rounds, candidates)
        packages, modules = imported(["main.py", "check"], {"config": config}, size.rounds)
    commands = Section(
        "Start-up",
        ["", "s", "CPU s", "peak MB"],
        [[name, run.wall, run.cpu, run.peak_mb] for name, run in medians(rounds).items()],
        rounds,
    )
    return [
        commands,
        Section(
            "Start-up: what `check` imports",
            ["package", "by itself, s", "% of all", "with all that it imports first, s", "modules"],
            packages[:PACKAGES_SHOWN],
            packages,
        ),
        Section(
            "Start-up: the modules that cost most by themselves",
            ["module", "by itself, s", "% of all"],
            modules[:MODULES_SHOWN],
            modules[:100],
        ),
    ]
