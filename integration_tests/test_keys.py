"""What append + deduped keeps of repeated events, with and without `keep_repeated_events`."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from drivers.connection import Connection
from drivers.inprocess import DirectService
from drivers.messages import multiset
from drivers.setups import DAY, EVENTS, NOON, make_account, make_config
from simulator import SimulatorConfig, Truth
from source_listrak import SourceListrak

REPEATED = ("message_opens", "message_reads", "message_clicks")


def connect(**options: Any) -> Connection:
    account = make_account(
        recipients_per_message=60, open_rate=0.9, read_rate=0.9, click_rate=0.9, now=NOON
    )
    return Connection(DirectService(SimulatorConfig(account=account)), EVENTS, **options)


def keys(connection: Connection) -> dict[str, list[list[str]]]:
    """Return the primary keys that the catalog declares."""
    config = make_config(connection.service, **connection.options)
    catalog = SourceListrak().discover(logging.getLogger("airbyte.keys"), config)
    return {one.name: one.source_defined_primary_key or [] for one in catalog.streams}


def deduped(connection: Connection, table: str) -> list[dict[str, Any]]:
    """Return what a destination keeps of the committed records: the last one of each key."""
    key = [column for (column,) in keys(connection)[table]]
    return list(
        {tuple(row.get(c) for c in key): row for row in connection.committed(table)}.values()
    )


@pytest.mark.parametrize("keep", [False, True])
def test_append_deduped_keeps_every_event_if_repeated_ones_are_kept(keep: bool) -> None:
    connection = connect(keep_repeated_events=keep)
    for day in (0, 1, 9):
        connection.sync(NOON + day * DAY)
    for table in EVENTS:
        truth = multiset(Truth(connection.service.account).records(table))
        kept = multiset(deduped(connection, table))
        assert not kept - truth
        if keep or table not in REPEATED:
            assert kept == truth, table
        else:
            # Every third event here is of the contact of the one before.
            assert kept.total() < 0.75 * truth.total(), table
