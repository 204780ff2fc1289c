"""Parts alone: the XML reader against lxml, the envelopes, the start-up."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from lxml import etree

from benchmarks.measure import ROOT, measure
from integration_tests.simulator import AccountConfig, Simulator, SimulatorConfig, Truth
from source_listrak.soap.dates import DateReader
from source_listrak.soap.envelope import (
    PASSWORD_PLACEHOLDER,
    USERNAME_PLACEHOLDER,
    EnvelopeBuilder,
    soap_action,
)
from source_listrak.soap.response import ResponseReader
from source_listrak.streams import STREAMS

Section = tuple[str, list[str], list[list[object]]]


def best(call: Callable[[], object], rounds: int = 9, seconds: float = 0.15) -> float:
    """Return the CPU seconds of one call, the best of several rounds."""
    call()
    found = []
    for _ in range(rounds):
        count, began = 0, time.process_time()
        while time.process_time() - began < seconds:
            call()
            count += 1
        found.append((time.process_time() - began) / count)
    return min(found)


def reader() -> Section:
    """Compare reading a page into records with lxml's parsing of the same bytes."""
    account = AccountConfig(
        lists=3,
        messages_per_list=1000,
        recipients_per_message=2000,
        contacts_per_list=2000,
        uniform=True,
        open_rate=0.9,
        read_rate=0.9,
        click_rate=0.9,
        removal_rate=0.5,
        bounce_rate=0.6,
        now=datetime(2024, 1, 1, tzinfo=timezone.utc),
    )
    builder = EnvelopeBuilder()
    rows: list[list[object]] = []
    with Simulator(SimulatorConfig(account=account)) as sim:
        truth = Truth(sim.account, None, None)
        list_id = next(iter(truth.records("lists")))["ListID"]
        message_id = next(iter(truth.records("messages")))["MsgID"]
        all_arguments = {
            "ListID": list_id,
            "MsgID": message_id,
            "StartDate": datetime(2000, 1, 1),
            "EndDate": datetime(2100, 1, 1),
            "IncludeTestMessages": True,
            "Page": 1,
        }
        for stream in STREAMS:
            taken = {"WSException": None, **all_arguments}
            if stream.name == "lists":
                taken = {}
            elif stream.name == "messages":
                del taken["MsgID"], taken["Page"]
            elif stream.name == "message_sends":
                del taken["ListID"], taken["StartDate"], taken["EndDate"]
            elif stream.name == "subscribed_contacts":
                del taken["MsgID"], taken["WSException"]
            else:
                del taken["ListID"], taken["WSException"]
            if stream.name != "messages":
                taken.pop("IncludeTestMessages", None)
            body = _post(sim, stream.operation, builder.build(stream.operation, taken))
            dates = DateReader(ZoneInfo("America/New_York"))
            read = ResponseReader(
                stream.operation, stream.row, stream.schema(), dates, stream.date_text_fields
            ).read
            count = len(read(body, "text/xml; charset=utf-8").rows)
            parse = best(lambda body=body: etree.fromstring(body)) / count
            records = best(lambda read=read, body=body: read(body, "text/xml")) / count
            rows.append([stream.name, count, 1e6 * parse, 1e6 * records, records / parse])
    return (
        "The XML reader alone",
        ["table", "rows of the page", "lxml parse, us/row", "reader, us/row", "times lxml"],
        rows,
    )


def _post(sim: Simulator, operation: str, envelope: bytes) -> bytes:
    user, password = sim.config.user_name, sim.config.password
    escaped = password.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = envelope.replace(USERNAME_PLACEHOLDER, user.encode()).replace(
        PASSWORD_PLACEHOLDER, escaped.encode()
    )
    request = urllib.request.Request(
        sim.url,
        data=body,
        headers={"Content-Type": "text/xml; charset=utf-8", "SOAPAction": soap_action(operation)},
    )
    with urllib.request.urlopen(request) as response:
        content: bytes = response.read()
        return content


def envelopes() -> Section:
    """Measure one envelope."""
    builder = EnvelopeBuilder()
    arguments = {
        "MsgID": 4711,
        "StartDate": datetime(2024, 1, 1),
        "EndDate": datetime(2024, 2, 1),
        "Page": 3,
    }
    seconds = best(lambda: builder.build("ReportRangeMessageContactOpen", arguments))
    return "Envelope building alone", ["operation", "us"], [
        ["ReportRangeMessageContactOpen", 1e6 * seconds]
    ]  # fmt: skip


def startup() -> Section:
    """Measure spec, check and discover as processes, and what their imports cost most."""
    rows: list[list[object]] = []
    with Simulator() as sim, tempfile.TemporaryDirectory() as folder:
        config = {
            "username": sim.config.user_name,
            "password": sim.config.password,
            "endpoint": sim.url,
        }
        for verb in ("spec", "check", "discover"):
            files = {} if verb == "spec" else {"config": config}
            run = sorted(
                (measure([sys.executable, "main.py", verb], files)[0] for _ in range(5)),
                key=lambda figures: figures.cpu,
            )[2]
            rows.append([verb, run.wall, run.cpu, run.peak_mb, ""])
        trace = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import source_listrak.run"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        ).stderr
        Path(folder, "trace").write_text(trace, encoding="utf-8")
        imports = []
        for line in trace.splitlines():
            parts = line.removeprefix("import time:").split("|")
            if len(parts) == 3 and parts[1].strip().isdigit():
                imports.append((int(parts[1]), parts[2]))
        top = sorted(
            {(total, name.strip()) for total, name in imports if not name.startswith("       ")},
            reverse=True,
        )
        for total, name in top[:8]:
            rows.append([f"import {name}", total / 1e6, "", "", "cumulative"])
    return "Start-up", ["", "s", "CPU s", "peak MB", ""], rows
