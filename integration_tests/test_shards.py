"""A large account in parts: balanced, whole, and each a sync of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.inprocess import DirectService, read_here
from drivers.messages import Records, difference
from drivers.process import run
from drivers.setups import (
    NOW,
    START_DATE,
    TABLES,
    make_account,
    make_config,
    make_simulator,
)
from simulator import AccountConfig, Simulator, SimulatorConfig, Truth
from source_listrak.commands.shards import balance, estimate
from source_listrak.config import ListrakConfig


def account() -> AccountConfig:
    return make_account(lists=9, messages_per_list=[5, 30, 2, 8, 0], contacts_per_list=20)


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


def test_estimates_are_the_sums_of_the_counters() -> None:
    service = DirectService(SimulatorConfig(account=account()))
    rows = estimate(ListrakConfig.parse(make_config(service)), service.at(NOW))
    for one in service.account.lists():
        messages = list(
            Truth(service.account, START_DATE, list_ids=[one.list_id]).records("messages")
        )
        counters = ("OpenCount", "ReadCount", "ClickCount", "RemoveCount", "DeliverCount")
        counted = sum(message[name] for message in messages for name in counters)
        assert rows[one.list_id] == len(messages) + counted


def test_syncs_by_shards_give_together_what_one_sync_gives() -> None:
    service = DirectService(SimulatorConfig(account=account()))
    rows = estimate(ListrakConfig.parse(make_config(service)), service.at(NOW))
    together: dict[str, Records] = {table: [] for table in TABLES}
    for shard in balance(rows, 3):
        result = read_here(service, settings=service.at(NOW), list_ids=shard.list_ids)
        for table in TABLES:
            together[table] += result.records(table)
    truth = Truth(service.account, START_DATE)
    for table in TABLES:
        assert not difference(together[table], truth.records(table)), table


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with make_simulator(account()) as running:
        yield running


def test_the_command_prints_shards_as_json(simulator: Simulator) -> None:
    result = run("shards", config=make_config(simulator), options=["--count", "3"], now=NOW)
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
def test_what_is_wrong_is_described_in_a_sentence(
    simulator: Simulator, values: Any, options: list[str], sentence: str
) -> None:
    result = run("shards", config=make_config(simulator, **values), options=options, now=NOW)
    simulator.unlock()
    assert result.code != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr + result.stdout


def test_a_missing_configuration_file_is_described_in_a_sentence(tmp_path: Path) -> None:
    result = run("shards", options=["--count", "2", "--config", str(tmp_path / "none.json")])
    assert result.code == 1
    assert result.stderr.strip() == (
        f"Cannot read the configuration file {tmp_path / 'none.json'}: No such file or directory."
    )
