"""A large account in parts: balanced, whole, and each a sync of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration_tests.harness import TABLES, catalog, difference, run
from integration_tests.inprocess import Destination, DirectService, as_json, read
from integration_tests.simulator import AccountConfig, Simulator, SimulatorConfig, Truth
from source_listrak.config import ListrakConfig
from source_listrak.shards import balance, estimate

START = datetime(2023, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
ACCOUNT: dict[str, Any] = {
    "lists": 9,
    "messages_per_list": [5, 30, 2, 8, 0],
    "recipients_per_message": 30,
    "contacts_per_list": 20,
    "start": START,
    "now": NOW,
}


def config(**values: Any) -> dict[str, Any]:
    return {
        "username": "demo",
        "password": SimulatorConfig().password,
        "start_date": "2023-01-01T00:00:00Z",
        **values,
    }


@given(
    st.dictionaries(st.integers(1, 10**6), st.integers(0, 10**6), max_size=40), st.integers(1, 9)
)
def test_shards_hold_every_list_once_and_are_balanced(rows: dict[int, int], count: int) -> None:
    shards = balance(rows, count)
    assert sorted(ident for shard in shards for ident in shard.list_ids) == sorted(rows)
    assert len(shards) == min(count, len(rows))
    assert all(shard.list_ids for shard in shards)
    assert all(shard.rows == sum(rows[ident] for ident in shard.list_ids) for shard in shards)
    if shards:
        # No list could be taken from the largest shard to make the whole thing more even.
        largest = max(shards, key=lambda shard: shard.rows)
        least = min(shard.rows for shard in shards)
        smallest_list = min(rows[ident] for ident in largest.list_ids)
        assert largest.rows - smallest_list <= least + len(rows)


def test_the_same_lists_are_always_divided_alike() -> None:
    rows = {5: 10, 3: 10, 9: 10, 1: 10}
    assert balance(rows, 2) == balance(dict(reversed(rows.items())), 2)


def test_estimates_are_what_the_counters_tell() -> None:
    service = DirectService(SimulatorConfig(account=AccountConfig(**ACCOUNT)))
    with service.at(NOW):
        rows = estimate(ListrakConfig.parse(config()), NOW)
    for one in service.account.lists():
        truth = Truth(service.account, START, NOW, list_ids=[one.list_id])
        bounced = sum(1 for _ in truth.records("message_bounces"))
        every = sum(
            sum(1 for _ in truth.records(table)) for table in TABLES if table.startswith("message")
        )
        # DeliverCount leaves bounces out, which are rows of two tables.
        assert abs(rows[one.list_id] - (every - 2 * bounced)) <= every * 0.1 + 5


def test_syncs_by_shards_give_together_what_one_sync_gives() -> None:
    service = DirectService(SimulatorConfig(account=AccountConfig(**ACCOUNT)))
    with service.at(NOW):
        rows = estimate(ListrakConfig.parse(config()), NOW)
    together: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
    for shard in balance(rows, 3):
        destination = Destination()
        with service.at(NOW):
            for message in read(config(list_ids=shard.list_ids), catalog(), []):
                destination.take(as_json(message))
        for table, records in destination.committed.items():
            together[table] += records
    truth = Truth(service.account, START, NOW)
    for table in TABLES:
        assert not difference(together[table], truth.records(table)), table


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(SimulatorConfig(account=AccountConfig(**ACCOUNT))) as running:
        yield running


def test_the_command_prints_shards_as_json(simulator: Simulator) -> None:
    result = run("shards", config=config(endpoint=simulator.url), options=["--count", "3"], now=NOW)
    assert result.code == 0, result.stderr
    shards = json.loads(result.stdout)["shards"]
    assert len(shards) == 3
    ids = [ident for shard in shards for ident in shard["list_ids"]]
    assert sorted(ids) == sorted(one.list_id for one in simulator.account.lists())
    assert simulator.counts.keys() == {"GetContactListCollection", "ReportListMessageActivity"}


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        ({"password": "wrong"}, ["--count", "2"], "password"),
        ({"start_date": "soon"}, ["--count", "2"], "start_date"),
        ({"list_ids": [1]}, ["--count", "2"], "list_ids"),
        ({}, ["--count", "0"], "at least 1"),
        ({}, [], "--count"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(
    simulator: Simulator, values: Any, options: list[str], sentence: str
) -> None:
    given_config = config(endpoint=simulator.url) | values
    result = run("shards", config=given_config, options=options, now=NOW)
    simulator.unlock()
    assert result.code != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_a_config_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    result = run("shards", options=["--count", "2", "--config", str(tmp_path / "none.json")])
    assert result.code == 1
    assert result.stderr.strip() == "The configuration cannot be read: No such file or directory."
