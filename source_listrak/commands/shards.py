"""Divide the lists of an account into balanced shards, one for each Airbyte connection, by the
counters of its messages. Prints JSON: for each shard its list_ids, to be copied into the
connection's configuration, and about how many rows it has.
"""

import bisect
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from source_listrak.config import ListrakConfig
from source_listrak.source import Settings, SourceListrak
from source_listrak.sync.windows import Window, merge
from source_listrak.tables import TABLES


@dataclass
class Shard:
    """Some lists, ascending, and about how many rows they have."""

    list_ids: list[int] = field(default_factory=list)
    rows: int = 0


def balance(rows: Mapping[int, int], count: int) -> list[Shard]:
    """Divide lists into at most `count` shards: the largest list first, to the smallest shard.

    No shard is empty, and none is more than a third larger than necessary (Graham's bound of this
    rule). A list is never divided, so one that outweighs all others is a shard of its own. Of
    shards with equal rows, the one with fewer lists is smaller, since empty lists cost requests.

    :param rows: estimated rows of each list
    """
    shards = [Shard() for _ in range(min(count, len(rows)))]
    for list_id, size in sorted(rows.items(), key=lambda item: (-item[1], item[0])):
        smallest = min(shards, key=lambda shard: (shard.rows, len(shard.list_ids)))
        bisect.insort(smallest.list_ids, list_id)
        smallest.rows += size
    return sorted(shards, key=lambda shard: shard.list_ids)


def estimate(config: ListrakConfig, settings: Settings) -> dict[int, int]:
    """Return about how many rows each list has, by the counters of its messages.

    One request for each list and window of messages. Contacts have no counter and are left out.

    :raises AirbyteTracedException: the login failed, or a list could not be read
    """
    now, logger = settings.now(), logging.getLogger("airbyte")
    spans = merge([Window.of(config.since(now), now, config.zone)])
    context, lists = SourceListrak(settings).connect(config, settings.read_policy, logger)
    messages = TABLES["messages"]
    tables = [table for table in TABLES.values() if table.report == messages.name]
    counters = set[str]().union(*(table.counters for table in tables))
    found = {}
    for list_id in sorted(row["ListID"] for row in lists):
        rows = [row for span in spans for row in context.fetch_report(messages, list_id, span)]
        counted = (row.get(name, 0) for row in rows for name in counters)
        found[list_id] = len(rows) + sum(counted)
    return found


def run(config: ListrakConfig, settings: Settings, count: int) -> str:
    """Return what the command prints: JSON.

    :param count: how many shards, at most
    :raises AirbyteTracedException: the account cannot be read
    """
    shards = balance(estimate(config, settings), count)
    rows = [{"list_ids": shard.list_ids, "estimated_rows": shard.rows} for shard in shards]
    return json.dumps({"shards": rows})
