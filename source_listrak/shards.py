"""`source-listrak shards`: divides the lists of a large account into balanced parts.

Each part is the `list_ids` of a connection of its own, which Airbyte runs as a process of its own.
"""

from __future__ import annotations

import argparse
import heapq
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from source_listrak.config import ListrakConfig, read_config
from source_listrak.source import Settings, SourceListrak
from source_listrak.streams import ReportStream
from source_listrak.sync.windows import Window, merge, wall_end, wall_start
from source_listrak.tables import COUNTERS, TABLES

COMMAND = "shards"


@dataclass
class Shard:
    """Some lists, and about how many rows they have."""

    list_ids: list[int] = field(default_factory=list)
    rows: int = 0


def balance(rows: Mapping[int, int], count: int) -> list[Shard]:
    """Divide lists into at most `count` shards: the largest list first, to the smallest shard.

    No shard is empty, and none is more than a third larger than necessary (Graham's bound of this
    rule). A list is never divided, so one that outweighs all others is a shard of its own.

    :param rows: estimated rows of each list
    """
    shards = [Shard() for _ in range(min(count, len(rows)))]
    # Every list costs requests of its own, so one without rows weighs something, too.
    smallest = [(0, place) for place in range(len(shards))]
    for list_id, size in sorted(rows.items(), key=lambda item: (-item[1], item[0])):
        weight, place = heapq.heappop(smallest)
        shards[place].list_ids.append(list_id)
        shards[place].rows += size
        heapq.heappush(smallest, (weight + max(size, 1), place))
    for shard in shards:
        shard.list_ids.sort()
    return sorted(shards, key=lambda shard: shard.list_ids)


def estimate(config: ListrakConfig, settings: Settings) -> dict[int, int]:
    """Return about how many rows each list has, by the counters of its messages.

    One request for each list and window of messages. Contacts have no counter and are left out.

    :raises AirbyteTracedException: the login failed, or a list could not be read
    """
    now = settings.now()
    connection = SourceListrak(settings).connect(
        config, settings.read_policy, logging.getLogger("airbyte")
    )
    messages = ReportStream(TABLES["messages"], config, connection)
    span = Window(wall_start(config.since(now), config.zone), wall_end(now, config.zone))
    found = {}
    for list_id in sorted(row["ListID"] for row in connection.lists):
        rows = [row for window in merge([span]) for row in messages.fetch_report(list_id, window)]
        counted = (row.get(name, 0) for row in rows for name in COUNTERS["messages"])
        found[list_id] = len(rows) + sum(counted)
    return found


def run(args: list[str], settings: Settings) -> str:
    """Return what the command prints: JSON.

    :raises SystemExit: the arguments are wrong, or help was requested
    :raises AirbyteTracedException: the configuration is wrong, or the account cannot be read
    """
    parser = argparse.ArgumentParser(
        prog=f"source-listrak {COMMAND}",
        description="Divide the lists of an account into balanced shards, one for each Airbyte "
        "connection, by the counters of its messages. Prints JSON: for each shard its list_ids, "
        "to be copied into the connection's configuration, and about how many rows it has.",
    )
    parser.add_argument("--config", type=Path, required=True, help="the configuration, a JSON file")
    parser.add_argument("--count", type=_count, required=True, help="how many shards, at most")
    parsed = parser.parse_args(args)
    config = ListrakConfig.parse(read_config(str(parsed.config)))
    shards = balance(estimate(config, settings), parsed.count)
    rows = [{"list_ids": shard.list_ids, "estimated_rows": shard.rows} for shard in shards]
    return json.dumps({"shards": rows})


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count
