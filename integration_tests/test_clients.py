"""Clients of others read through the connector: PyAirbyte and airbyte-serverless."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from drivers.messages import Records, difference
from drivers.process import command
from drivers.setups import ROOT, START_DATE, TABLES, make_account, make_config
from simulator import SimulatorConfig, SimulatorProcess
from source_listrak import tables

pytestmark = pytest.mark.clients

Key = tuple[Any, ...]
KEYS = {table.name: table.key for table in tables.TABLES.values()}
WEEKLY = {table.name for table in tables.TABLES.values() if table.monthly and not table.recent}
"""Counters without dates: those of messages older than three days are read weekly."""
FIRST = datetime(2023, 6, 1, tzinfo=timezone.utc)
SCRIPTS = ROOT / "integration_tests" / "clients"


@pytest.fixture(scope="module")
def environments() -> Path:
    """The folder of the clients' environments."""
    found = os.environ.get("CLIENTS")
    if not found:
        pytest.skip("there are no environments of the clients: make clients")
    return Path(found).absolute()


@pytest.fixture
def simulator() -> Iterator[SimulatorProcess]:
    account = make_account(messages_per_list=20, recipients_per_message=60, now=FIRST)
    with SimulatorProcess(SimulatorConfig(account=account)) as simulator:
        yield simulator


class Client:
    """A client with one folder, and the connector as an executable whose clock can be set."""

    name: str

    def __init__(self, environments: Path, simulator: SimulatorProcess, folder: Path) -> None:
        self.python = environments / self.name / "bin" / "python"
        self.folder = folder
        self.executable = folder / "source-listrak"
        self.config = folder / "config.json"
        self.config.write_text(json.dumps(make_config(simulator)), encoding="utf-8")

    def sync(self, now: datetime, *options: str) -> None:
        """Read all streams, as at a moment."""
        line = shlex.join(command(now=now))
        self.executable.write_text(f'#!/bin/sh\ncd {ROOT} && exec {line} "$@"\n', encoding="utf-8")
        self.executable.chmod(0o755)
        done = subprocess.run(
            [
                self.python,
                SCRIPTS / f"{self.name}_sync.py",
                str(self.executable),
                str(self.config),
                ".",
                *options,
            ],
            cwd=self.folder,
            env={**os.environ, "AIRBYTE_OFFLINE_MODE": "1", "DO_NOT_TRACK": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]


class PyAirbyte(Client):
    """Writes into a cache, a DuckDB file."""

    name = "pyairbyte"

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.folder / "cache.duckdb"), read_only=True) as database:
            return database.execute(sql).fetchall()

    def rows(self, table: str) -> int:
        ((rows,),) = self.query(f"SELECT COUNT(*) FROM listrak.{table}")  # noqa: S608
        return int(rows)

    def keys(self, table: str) -> Counter[Key]:
        """Return how often each key is there."""
        columns = ", ".join(KEYS[table])
        found = self.query(f"SELECT {columns}, COUNT(*) FROM listrak.{table} GROUP BY ALL")  # noqa: S608
        return Counter({tuple(map(_as_text, row[:-1])): row[-1] for row in found})


def _as_text(value: Any) -> Any:
    """Return a timestamp of the cache in the form of the connector."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else value


class AirbyteServerless(Client):
    """Appends to files."""

    name = "airbyte_serverless"

    def records(self, table: str) -> Records:
        lines = (self.folder / f"_airbyte_raw_{table}.jsonl").read_text(encoding="utf-8")
        return [json.loads(json.loads(line)["_airbyte_data"]) for line in lines.splitlines()]


@pytest.fixture
def pyairbyte(environments: Path, simulator: SimulatorProcess, tmp_path: Path) -> PyAirbyte:
    return PyAirbyte(environments, simulator, tmp_path)


def keys_of(records: dict[str, Records], table: str) -> Counter[Key]:
    return Counter(tuple(row.get(column) for column in KEYS[table]) for row in records[table])


def assert_holds(
    pyairbyte: PyAirbyte, *truths: dict[str, Records], without: Collection[str] = ()
) -> None:
    """Every key that was there at a sync and no other; repeated only what the account repeats.

    A recipient can open twice, and PyAirbyte removes no duplicates among the rows of one sync.
    To SQL, a key with an address that Listrak left out equals no other. A contact that left its
    list stays; `list_removals` says so.
    """
    for table in set(TABLES) - set(without):
        now, found = keys_of(truths[-1], table), pyairbyte.keys(table)
        assert now, table
        ever = set().union(*(keys_of(truth, table) for truth in truths))
        assert found.keys() == ever, table
        repeated = [key for key, rows in found.items() if rows > 1 and None not in key]
        assert all(now[key] > 1 for key in repeated), table


def test_a_cache_holds_the_account_as_time_passes(
    pyairbyte: PyAirbyte, simulator: SimulatorProcess
) -> None:
    """One full sync and three incremental ones, whose states PyAirbyte keeps."""
    sizes, truths, requests = [], [], []
    for days in (0, 40, 41, 48):
        now = FIRST + timedelta(days=days)
        simulator.set_now(now)
        simulator.reset_counts()
        pyairbyte.sync(now)
        truths.append(simulator.truth(since=START_DATE, until=now))
        assert_holds(pyairbyte, *truths, without=WEEKLY if days == 41 else ())
        sizes.append(len(pyairbyte.keys("message_opens")))
        requests.append(simulator.counts["ReportRangeMessageContactOpen"])
    assert sizes == sorted(set(sizes)), "something new must have happened"
    # After a day, only recent messages and those of a few months are due.
    assert requests[2] < requests[1] / 2, "all was read again"


def test_a_full_refresh_leaves_a_filled_cache_the_same(
    pyairbyte: PyAirbyte, simulator: SimulatorProcess
) -> None:
    pyairbyte.sync(FIRST)
    truth = simulator.truth(since=START_DATE, until=FIRST)
    for table in TABLES:
        assert pyairbyte.rows(table) == len(truth[table]), table
    pyairbyte.sync(FIRST, "--full-refresh")
    assert_holds(pyairbyte, truth)


@pytest.mark.parametrize("keep", [False, True])
def test_a_cache_keeps_repeated_opens_where_configured(
    pyairbyte: PyAirbyte, simulator: SimulatorProcess, keep: bool
) -> None:
    """A contact's further opens are kept with `keep_repeated_events` only."""
    config = make_config(simulator, keep_repeated_events=keep)
    pyairbyte.config.write_text(json.dumps(config), encoding="utf-8")
    until = FIRST + timedelta(days=20)
    for now in (FIRST, until):
        simulator.set_now(now)
        pyairbyte.sync(now)
    opens = simulator.truth(since=START_DATE, until=until)["message_opens"]
    events = sum("EmailAddress" in row for row in opens)
    ((kept,),) = pyairbyte.query(
        "SELECT COUNT(*) FROM listrak.message_opens WHERE EmailAddress IS NOT NULL"
    )
    assert kept == events if keep else kept < events


def test_the_files_of_airbyte_serverless_hold_the_account(
    environments: Path, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    """After a first and an incremental sync."""
    client = AirbyteServerless(environments, simulator, tmp_path)
    client.sync(FIRST)
    first = simulator.truth(since=START_DATE, until=FIRST)
    for table in TABLES:
        assert not difference(client.records(table), first[table]), table
    later = FIRST + timedelta(days=40)
    simulator.set_now(later)
    client.sync(later)
    second = simulator.truth(since=START_DATE, until=later)
    for table in TABLES:
        found = keys_of({table: client.records(table)}, table)
        assert found.keys() == (keys_of(first, table) | keys_of(second, table)).keys(), table
    opens = len(client.records("message_opens"))
    assert opens < len(first["message_opens"]) + len(second["message_opens"]), "all read again"
