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
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from simulator import AccountConfig, Simulator, SimulatorConfig
from source_listrak import tables as declared

ROOT = Path(__file__).resolve().parent.parent
TABLES = tuple(declared.TABLES)
NINE = (
    "lists",
    "messages",
    "subscribed_contacts",
    "message_sends",
    "message_bounces",
    "message_opens",
    "message_reads",
    "message_clicks",
    "message_unsubs",
)
"""The tables of Stitch's Listrak integration."""

START_DATE = "2023-01-01"
NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
"""What the clocks of the account and of the connector show, unless a test moves them."""

QUICK = {"attempts": 6, "seconds": 0.2, "first_wait": 0.01, "longest_wait": 0.2, "pause": 0.02}
"""Retries as the connector makes them, a hundred times faster."""

TIGHT = {"connect_seconds": 2.0, "response_seconds": 0.6, "body_bytes": 2**20}
"""Limits that a small account reaches in a short time."""

Message = dict[str, Any]
Records = list[dict[str, Any]]


class Served(Protocol):
    """A simulated service, wherever it runs."""

    config: SimulatorConfig

    @property
    def url(self) -> str:
        """Its endpoint."""


def make_account(**changes: Any) -> AccountConfig:
    """Return an account with two lists, eight messages and a few rows of everything."""
    values: dict[str, Any] = {
        "lists": 2,
        "messages_per_list": 4,
        "recipients_per_message": 30,
        "contacts_per_list": 40,
    }
    return AccountConfig(**values | changes)


def make_simulator(account: AccountConfig | None = None, **settings: Any) -> Simulator:
    """Return a service, not yet started, with several pages of most things.

    :param account: by default the small one
    """
    values: dict[str, Any] = {"page_size": 10, "retry_after": None, "huge_body_mb": 2}
    return Simulator(SimulatorConfig(account=account or make_account(), **values | settings))


def make_config(service: Served, **changes: Any) -> dict[str, Any]:
    """Return a configuration that reads an account from its start on.

    :param changes: further options; None leaves one out
    """
    values = {
        "username": service.config.user_name,
        "password": service.config.password,
        "endpoint": service.url,
        "start_date": START_DATE,
        "num_workers": 4,
    } | changes
    return {name: value for name, value in values.items() if value is not None}


@dataclass
class Result:
    """What one run of the connector wrote."""

    code: int
    messages: list[Message]
    stderr: str
    stdout: str = field(repr=False, default="")

    def of(self, kind: str) -> list[Message]:
        """Return the messages of a type."""
        return [message for message in self.messages if message["type"] == kind]

    def records(self, table: str) -> Records:
        """Return the records of a table."""
        return [m["record"]["data"] for m in self.of("RECORD") if m["record"]["stream"] == table]

    @property
    def logs(self) -> list[str]:
        """The texts of the log."""
        return [message["log"]["message"] for message in self.of("LOG")]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors, each with its `stream` or None."""
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
        """What `check` found."""
        (message,) = self.of("CONNECTION_STATUS")
        status: dict[str, Any] = message["connectionStatus"]
        return status

    @property
    def state(self) -> list[Message]:
        """The last state of each stream, as the platform passes it to the next run."""
        last = {}
        for message in self.of("STATE"):
            last[message["state"]["stream"]["stream_descriptor"]["name"]] = message["state"]
        return list(last.values())

    def stream_state(self, table: str) -> dict[str, Any]:
        """Return the last state of a stream."""
        for state in self.state:
            if state["stream"]["stream_descriptor"]["name"] == table:
                return dict(state["stream"]["stream_state"])
        raise KeyError(table)


def _stream(error: Mapping[str, Any]) -> str | None:
    descriptor = error.get("stream_descriptor")
    return descriptor["name"] if descriptor else None


def catalog(tables: Iterable[str] = TABLES, mode: str = "incremental") -> dict[str, Any]:
    """Return a configured catalog; tables without a cursor are always full refresh."""
    return {
        "streams": [
            {
                "stream": {
                    "name": name,
                    "json_schema": {},
                    "supported_sync_modes": ["full_refresh", "incremental"],
                },
                "sync_mode": mode if name in TABLES and has_state(name) else "full_refresh",
                "destination_sync_mode": "append",
            }
            for name in tables
        ]
    }


def has_state(table: str) -> bool:
    """Return whether a table can be read incrementally."""
    return declared.TABLES[table].cursor is not None


def command(
    *,
    now: datetime | None = None,
    state_interval: float | None = None,
    retries: Mapping[str, float] | None = None,
    limits: Mapping[str, float] | None = None,
) -> list[str]:
    """Return the command line that starts the connector; see `launch` for the settings."""
    settings = {
        "now": now and now.isoformat(),
        "state_interval": state_interval,
        "retries": retries,
        "limits": limits,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    return [sys.executable, "-m", "integration_tests.launch", json.dumps(given)]


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
    """Run one command of the connector to its end.

    :param options: further arguments of the command line
    :param settings: see `command`
    """
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
    return Result(done.returncode, as_messages(stdout), done.stderr.decode(), stdout)


def as_messages(output: str) -> list[Message]:
    """Return the messages among the lines of an output."""
    return [json.loads(line) for line in output.split("\n") if line.startswith("{")]


def check(
    service: Served, *, options: Sequence[str] = (), environment: Any = None, **changes: Any
) -> Result:
    """Run `check` with quick retries.

    :param changes: of the configuration
    """
    return run(
        "check",
        config=make_config(service, **changes),
        options=options,
        environment=environment,
        now=NOW,
        retries=QUICK,
        limits=TIGHT,
        timeout=60,
    )


def read(
    service: Served,
    tables: Iterable[str] = TABLES,
    *,
    state: Any = None,
    mode: str = "incremental",
    now: datetime = NOW,
    options: Sequence[str] = (),
    environment: Any = None,
    limits: Mapping[str, float] | None = TIGHT,
    **changes: Any,
) -> Result:
    """Run `read` with quick retries.

    :param changes: of the configuration
    """
    return run(
        "read",
        config=make_config(service, **changes),
        catalog=catalog(tables, mode),
        state=state,
        options=options,
        environment=environment,
        now=now,
        retries=QUICK,
        limits=limits,
        timeout=120,
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


def differences(
    result: Result, truth: Mapping[str, Records], tables: Iterable[str] = TABLES
) -> dict[str, str]:
    """Return the tables whose records are not the truth, and how they differ."""
    found = {table: difference(result.records(table), truth[table]) for table in tables}
    return {table: how for table, how in found.items() if how}


def requests(simulator: Simulator) -> int:
    """Return how many SOAP requests arrived."""
    return sum(count for name, count in simulator.counts.items() if name != "canary")
