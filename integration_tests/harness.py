"""Runs the real connector process and reads what it writes, as a platform would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from source_listrak.streams import STREAMS

ROOT = Path(__file__).resolve().parent.parent
TABLES = tuple(stream.name for stream in STREAMS)
Message = dict[str, Any]

# Time and patience of the process under test are set from outside its code: options for them
# would have to be kept from users.
_LAUNCH = """
import dataclasses, datetime, json, sys
from source_listrak import source
from source_listrak.soap import transport, wire
from source_listrak.streams import concurrent
settings = json.loads(sys.argv.pop(1))
if settings["now"]:
    source._now = lambda: datetime.datetime.fromisoformat(settings["now"])
if settings["patience"]:
    transport.READ_POLICY = transport.RetryPolicy(**settings["patience"])
    transport.CHECK_POLICY = dataclasses.replace(transport.READ_POLICY, deadline=2.0)
for name, value in settings["transport"].items():
    setattr(wire if hasattr(wire, name) else transport, name, value)
if settings["state_interval"] is not None:
    concurrent.STATE_INTERVAL = settings["state_interval"]
from source_listrak.run import run
run()
"""

QUICK = {"attempts": 6, "seconds": 0.2, "first_wait": 0.01, "longest_wait": 0.2}
"""Retries as the connector makes them, a hundred times faster."""


@dataclass
class Result:
    """What one run of the connector wrote."""

    code: int
    messages: list[Message]
    stderr: str
    stdout: str = field(repr=False, default="")

    def of(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == kind]

    def records(self, table: str) -> list[dict[str, Any]]:
        return [m["record"]["data"] for m in self.of("RECORD") if m["record"]["stream"] == table]

    @property
    def logs(self) -> list[str]:
        return [message["log"]["message"] for message in self.of("LOG")]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [
            m["trace"]["error"] | {"stream": _stream(m["trace"]["error"])}
            for m in self.of("TRACE")
            if m["trace"]["type"] == "ERROR"
        ]

    @property
    def statuses(self) -> dict[str, str]:
        """The last status of each stream."""
        found = {}
        for message in self.of("TRACE"):
            if message["trace"]["type"] == "STREAM_STATUS":
                status = message["trace"]["stream_status"]
                found[status["stream_descriptor"]["name"]] = status["status"]
        return found

    @property
    def connection(self) -> dict[str, Any]:
        (message,) = self.of("CONNECTION_STATUS")
        status: dict[str, Any] = message["connectionStatus"]
        return status

    @property
    def state(self) -> list[Message]:
        """The last state of each stream, as the platform would hand it to the next run."""
        last = {}
        for message in self.of("STATE"):
            last[message["state"]["stream"]["stream_descriptor"]["name"]] = message["state"]
        return list(last.values())

    def stream_state(self, table: str) -> dict[str, Any]:
        for state in self.state:
            if state["stream"]["stream_descriptor"]["name"] == table:
                return dict(state["stream"]["stream_state"])
        raise KeyError(table)


def _stream(error: Mapping[str, Any]) -> str | None:
    descriptor = error.get("stream_descriptor")
    return descriptor["name"] if descriptor else None


def catalog(tables: Iterable[str] = TABLES, mode: str = "incremental") -> dict[str, Any]:
    """Return a configured catalog of `tables`; `lists` is always full refresh."""
    known = {stream.name: stream for stream in STREAMS}
    return {
        "streams": [
            {
                "stream": {
                    "name": table,
                    "json_schema": {},
                    "supported_sync_modes": ["full_refresh", "incremental"],
                },
                "sync_mode": mode
                if table in known and known[table].cursor_field
                else "full_refresh",
                "destination_sync_mode": "append",
            }
            for table in tables
        ]
    }


def command(
    *,
    now: datetime | None = None,
    patience: Mapping[str, float] | None = None,
    state_interval: float | None = None,
    transport: Mapping[str, float] | None = None,
) -> list[str]:
    """Return the command line that starts the connector.

    :param transport: constants of the transport to set, by name
    """
    settings = {
        "now": now.isoformat() if now else None,
        "patience": patience,
        "state_interval": state_interval,
        "transport": dict(transport or {}),
    }
    return [sys.executable, "-c", _LAUNCH, json.dumps(settings)]


def files(folder: Path, **contents: Any) -> list[str]:
    """Write config, catalog and state, and return the arguments that name them."""
    args = []
    for name, content in contents.items():
        if content is not None:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content), encoding="utf-8")
            args += [f"--{name}", str(path)]
    return args


def run(
    verb: str,
    *,
    config: Any = None,
    catalog: Any = None,
    state: Any = None,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout: float = 300,
    **settings: Any,
) -> Result:
    """Run one command of the connector to its end."""
    with tempfile.TemporaryDirectory() as folder:
        args = files(Path(folder), config=config, catalog=catalog, state=state)
        done = subprocess.run(
            [*command(**settings), verb, *args, *options],
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            timeout=timeout,
            check=False,
        )
    stdout = done.stdout.decode()
    return Result(
        done.returncode,
        [json.loads(line) for line in stdout.split("\n") if line.startswith("{")],
        done.stderr.decode(),
        stdout,
    )


def multiset(records: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return records in a form in which two collections can be compared, whatever their order."""
    return Counter(json.dumps(record, sort_keys=True, ensure_ascii=True) for record in records)


def difference(read: Iterable[Mapping[str, Any]], truth: Iterable[Mapping[str, Any]]) -> str:
    """Return how two collections of records differ; empty when they do not."""
    have, want = multiset(read), multiset(truth)
    missing, extra = want - have, have - want
    if not missing and not extra:
        return ""
    return (
        f"{missing.total()} missing, {extra.total()} too many; "
        f"first missing {next(iter(missing), None)}; first too many {next(iter(extra), None)}"
    )
