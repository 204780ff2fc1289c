"""Airbyte's standard suite on this connector, and what that suite leaves to the project."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from airbyte_cdk.test.standard_tests import SourceTestSuiteBase

from drivers.messages import Records, Result, differences
from drivers.process import run
from drivers.setups import ROOT, TABLES, has_state
from integration_tests import acceptance
from simulator import SimulatorProcess
from source_listrak import SourceListrak

# There is one port for all: on several workers, one of them takes these tests.
pytestmark = pytest.mark.xdist_group("acceptance")

AFTER_ALL = datetime(2024, 6, 1, tzinfo=timezone.utc)
"""Months after the last thing that happened in the account."""
FULL_REFRESH_ONLY = [table for table in TABLES if not has_state(table)]


@pytest.fixture(scope="module", autouse=True)
def simulator() -> Iterator[SimulatorProcess]:
    with acceptance.serving() as simulator:
        yield simulator


class TestStandard(SourceTestSuiteBase):
    connector = SourceListrak

    @classmethod
    def get_connector_root_dir(cls) -> Path:
        return ROOT


@pytest.fixture(scope="module")
def first_read(simulator: SimulatorProcess) -> Result:
    return read(None)


def read(state: Any, *, mode: str | None = None) -> Result:
    catalog = load("configured_catalog.json")
    if mode is not None:
        for item in catalog["streams"]:
            item["sync_mode"] = mode
    result = run(
        "read", config=load("sample_config.json"), catalog=catalog, state=state, now=AFTER_ALL
    )
    assert result.code == 0, result.stdout[-2000:]
    return result


def load(name: str) -> Any:
    return json.loads((acceptance.FOLDER / name).read_text(encoding="utf-8"))


def expected() -> dict[str, Records]:
    records: dict[str, Records] = {table: [] for table in TABLES}
    text = (acceptance.FOLDER / "expected_records.jsonl").read_text(encoding="utf-8")
    for line in text.splitlines():
        record = json.loads(line)
        records[record["stream"]].append(record["data"])
    return records


def test_the_generated_files_are_current() -> None:
    """The files of the acceptance tests are those that the simulated account generates."""
    contents = acceptance.contents()
    stale = [
        name
        for name, text in contents.items()
        if (acceptance.FOLDER / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, "run: python -m integration_tests.acceptance write"


def test_the_records_are_the_expected_ones(
    first_read: Result,
) -> None:
    records = expected()
    assert all(records.values()), "a table without rows proves nothing"
    assert differences(first_read, records) == {}


def test_two_full_reads_return_the_same(first_read: Result) -> None:
    again = read(None, mode="full_refresh")
    assert differences(again, {table: first_read.records(table) for table in TABLES}) == {}


def test_a_second_sync_returns_nothing_old(
    first_read: Result,
) -> None:
    again = read(first_read.state)
    assert [table for table in TABLES if again.records(table)] == FULL_REFRESH_ONLY
    assert first_read.records("message_opens")


def test_the_sample_state_spares_what_is_old() -> None:
    """From the sample state, all that is new is read, and not all that is old."""
    result = read(load("sample_state.json"))
    truth = expected()
    dates = {
        "message_opens": "OpenDate",
        "message_reads": "ReadDate",
        "message_clicks": "ClickDate",
        "list_removals": "RemovalDate",
        "conversation_opens": "OpenDate",
    }
    for table, column in dates.items():
        records = result.records(table)
        since = acceptance.SYNCED_TO.isoformat()
        new = [record for record in truth[table] if record[column] >= since]
        assert new and all(record in records for record in new), table
        assert len(records) < len(truth[table]), table


def test_after_a_state_of_the_future_everything_is_read() -> None:
    """It claims more than was read, and does not say what is true of it."""
    # The standard suite does not collect the section `incremental`.
    config = yaml.safe_load((ROOT / "acceptance-test-config.yml").read_text(encoding="utf-8"))
    (entry,) = config["acceptance_tests"]["incremental"]["tests"]
    path = ROOT / entry["future_state"]["future_state_path"]
    result = read(json.loads(path.read_text(encoding="utf-8")))
    assert [table for table in TABLES if result.records(table)] == [*TABLES]
    incremental = [table for table in TABLES if has_state(table)]
    (line,) = [line for line in result.logs if "is in the future" in line]
    assert line.startswith(f"{', '.join(incremental)}: ")
    for table in incremental:
        assert result.stream_state(table)["synced_to"] == AFTER_ALL.strftime("%Y-%m-%dT%H:%M:%SZ")
