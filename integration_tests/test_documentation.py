"""The commands and queries of the guide work as they are written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from drivers.setups import make_config
from simulator import SimulatorProcess
from source_listrak.tables import TABLES

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "listrak.md").read_text(encoding="utf-8")
(COMMANDS,) = re.findall(r"```bash\n(source-listrak check.*?)```", GUIDE, re.DOTALL)
QUERIES = re.findall(r"   (SELECT m\.MsgID.*?);", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the commands in a folder that has only a configuration."""
    folder = tmp_path_factory.mktemp("commands")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    first, _, second = COMMANDS.rpartition("source-listrak read")
    with SimulatorProcess() as service:
        (folder / "config.json").write_text(json.dumps(make_config(service)), encoding="utf-8")
        for commands in (first, f"cp messages.jsonl first.jsonl\nsource-listrak read{second}"):
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", commands],
                cwd=folder,
                env=os.environ | {"PATH": path},
                check=True,
                capture_output=True,
            )
    return folder


def records(folder: Path, name: str, stream: str) -> list[dict[str, object]]:
    with (folder / name).open(encoding="utf-8") as file:
        messages = [json.loads(line) for line in file]
    found = [one["record"] for one in messages if one["type"] == "RECORD"]
    return [one["data"] for one in found if one["stream"] == stream]


def test_the_commands_make_a_catalog_and_a_state_of_all_streams(folder: Path) -> None:
    catalog = json.loads((folder / "configured_catalog.json").read_text(encoding="utf-8"))
    modes = {one["stream"]["name"]: one["sync_mode"] for one in catalog["streams"]}
    assert modes == {
        name: "incremental" if table.cursor else "full_refresh" for name, table in TABLES.items()
    }
    states = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    assert [one["stream"]["stream_descriptor"]["name"] for one in states] == sorted(TABLES)


def test_the_second_sync_of_the_commands_is_incremental(folder: Path) -> None:
    first = records(folder, "first.jsonl", "subscribed_contacts")
    second = records(folder, "messages.jsonl", "subscribed_contacts")
    assert len(second) < len(first)


@pytest.fixture
def database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as database:
        for stream in ("messages", "message_opens", "message_sends"):
            file = folder / f"{stream}.json"
            file.write_text(json.dumps(records(folder, "first.jsonl", stream)), encoding="utf-8")
            database.execute(f"CREATE TABLE {stream} AS FROM '{file}'")
        yield database


@pytest.mark.parametrize(
    ("query", "loss"),
    list(
        zip(
            QUERIES,
            (
                """DELETE FROM message_opens WHERE MsgID =
               (SELECT MsgID FROM messages ORDER BY OpenCount DESC LIMIT 1)""",
                """DELETE FROM message_sends WHERE MsgID =
               (SELECT MsgID FROM messages ORDER BY DeliverCount DESC LIMIT 1)""",
            ),
            strict=True,
        )
    ),
    ids=("opens", "sends"),
)
def test_the_queries_find_what_is_missing_and_nothing_else(
    database: duckdb.DuckDBPyConnection, query: str, loss: str
) -> None:
    assert database.execute(query).fetchall() == []
    database.execute(loss)
    assert len(database.execute(query).fetchall()) == 1
