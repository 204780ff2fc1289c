"""The simulated account of the acceptance tests, and the files that describe it.

`acceptance-test-config.yml` names a configuration whose endpoint is a fixed port of this machine.

    python -m integration_tests.acceptance serve            serves the account there until stopped
    python -m integration_tests.acceptance write            writes the files from the account again
    python -m integration_tests.acceptance run COMMAND ...  serves it while a command runs

`run` starts the command in a directory of the connector's name, by which Airbyte's tools find the
connector: here, or where the checkout is called otherwise, in a copy.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from drivers.setups import ROOT, START_DATE, TABLES, catalog, has_state, make_config
from simulator import AccountConfig, SimulatorConfig, SimulatorProcess
from simulator.endpoint import PATH
from simulator.process import to_arguments
from source_listrak import tables
from source_listrak.config import ListrakConfig
from source_listrak.streams.account import ACCOUNT
from source_listrak.sync.state import StreamState
from source_listrak.tables import Table

FOLDER = ROOT / "integration_tests"
NAME = "source-listrak"
PORT = 18731
SYNCED_TO = datetime(2023, 7, 1, tzinfo=timezone.utc)
FUTURE = datetime(2999, 1, 1, tzinfo=timezone.utc)
NEVER_LOCKS = 1_000_000


def simulated() -> SimulatorConfig:
    """Return a small account with rows in each table, at the port that the files name."""
    account = AccountConfig(
        lists=3,
        messages_per_list=(6, 4, 0),
        recipients_per_message=14,
        contacts_per_list=(24, 9, 0),
        removal_rate=0.08,
        bounce_rate=0.1,
        campaigns_per_list=2,
        address_changes_per_list=4,
        imports_per_list=12,
        conversations_per_list=1,
        sends_per_conversation=60,
        complaints=4,
    )
    return SimulatorConfig(account=account, port=PORT, page_size=5, lockout_after=NEVER_LOCKS)


def sample_config() -> dict[str, Any]:
    """Return the configuration that reads the account."""
    config = simulated()
    return make_config(
        SimulatorProcess(config),
        endpoint=f"http://{config.host}:{PORT}{PATH}",
        time_zone=config.account.time_zone,
    )


def state(synced_to: datetime, list_ids: list[int]) -> list[dict[str, Any]]:
    """Return a state in which every stream is synced up to an instant."""
    config = ListrakConfig.parse(sample_config())

    def synced(table: Table) -> StreamState:
        return StreamState(
            since=config.since(SYNCED_TO),
            test_messages=config.include_test_messages,
            time_zone=config.time_zone,
            synced_to=synced_to,
            lists=(ACCOUNT, *list_ids) if table.sliced_by == "account" else tuple(list_ids),
        )

    return [
        {
            "type": "STREAM",
            "stream": {
                "stream_descriptor": {"name": table.name},
                "stream_state": synced(table).as_json(),
            },
        }
        for table in tables.TABLES.values()
        if has_state(table.name)
    ]


def contents() -> dict[str, str]:
    """Return the text of each file that the acceptance tests read, by its name."""
    # Not started: what the account holds is computed without a request.
    truth = SimulatorProcess(simulated()).truth(since=START_DATE)
    list_ids = sorted(record["ListID"] for record in truth["lists"])
    wrong = sample_config() | {"password": "not the password"}
    records = [
        json.dumps({"stream": table, "data": record, "emitted_at": 0}, ensure_ascii=True)
        for table in TABLES
        for record in truth[table]
    ]
    return {
        "sample_config.json": _text(sample_config()),
        "invalid_config.json": _text(wrong),
        "configured_catalog.json": '{"streams": ' + _lines(catalog()["streams"]) + "}\n",
        "sample_state.json": _lines(state(SYNCED_TO, list_ids)) + "\n",
        "abnormal_state.json": _lines(state(FUTURE, list_ids)) + "\n",
        "expected_records.jsonl": "\n".join(records) + "\n",
    }


def write() -> None:
    """Write the files."""
    for name, text in contents().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


@contextmanager
def serving() -> Iterator[SimulatorProcess]:
    """Serve the account, once no other process on this machine does: it is one port."""
    with (Path(tempfile.gettempdir()) / f"{NAME}-{PORT}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with SimulatorProcess(simulated()) as simulator:
            yield simulator


def run(command: list[str]) -> int:
    """Run a command in a directory of the connector's name while the account is served."""
    with serving(), _directory() as directory:
        return subprocess.run(command, cwd=directory, check=False).returncode


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    match arguments:
        case ["serve"]:
            command = [sys.executable, "-m", "simulator"]
            command += to_arguments(simulated())
            return subprocess.run(command, cwd=ROOT, check=False).returncode
        case ["write"]:
            write()
            return 0
        case ["run", *command] if command:
            return run(command)
    print(__doc__, file=sys.stderr)
    return 2


@contextmanager
def _directory() -> Iterator[Path]:
    if ROOT.name == NAME:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / NAME
        skipped = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
        shutil.copytree(ROOT, copy, ignore=skipped)
        yield copy


def _lines(items: list[Any]) -> str:
    """Return a JSON array, an item a line."""
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=True) for item in items) + "\n]"


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
