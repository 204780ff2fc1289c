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
from datetime import datetime
from pathlib import Path
from typing import Any

from source_listrak.account import COUNTERS
from source_listrak.config import ListrakConfig, config_error
from source_listrak.slicing import message_windows

COMMAND = "shards"


@dataclass
class Shard:
    """Some lists, and about how many rows they have."""

    list_ids: list[int] = field(default_factory=list)
    rows: int = 0


def balance(rows: Mapping[int, int], count: int) -> list[Shard]:
    """Divide lists into at most `count` shards: the largest list first, to the smallest shard.

    No shard is empty, and none is more than a third larger than need be (Graham's bound of this
    rule); a list is never divided, so one that outweighs all others is a shard of its own.

    :param rows: estimated rows of each list
    """
    shards = [Shard() for _ in range(min(count, len(rows)))]
    # Every list costs its own requests, so one without rows weighs something, too.
    smallest = [(0, place) for place in range(len(shards))]
    for list_id, size in sorted(rows.items(), key=lambda item: (-item[1], item[0])):
        weight, place = heapq.heappop(smallest)
        shards[place].list_ids.append(list_id)
        shards[place].rows += size
        heapq.heappush(smallest, (weight + max(size, 1), place))
    for shard in shards:
        shard.list_ids.sort()
    return sorted(shards, key=lambda shard: shard.list_ids)


def estimate(config: ListrakConfig, now: datetime) -> dict[int, int]:
    """Return about how many rows each list has, by the counters of its messages.

    One request for each list and window of messages; contacts are not counted, which no counter
    tells.

    :raises AirbyteTracedException: the login failed, or a list could not be read
    """
    # Imported here as in `source`: these import lxml and libcurl.
    from airbyte_cdk.sources.message import InMemoryMessageRepository
    from airbyte_cdk.utils.airbyte_secrets_utils import add_to_secrets

    from source_listrak.handover import MOST_RECORDS, HandoverQueue
    from source_listrak.soap.transport import READ_POLICY, secret_forms
    from source_listrak.source import SourceListrak
    from source_listrak.streams import STREAMS
    from source_listrak.sync import Sync

    for form in secret_forms(config.password):
        add_to_secrets(form)
    declarations = {stream.name: stream for stream in STREAMS}
    sync = Sync(
        config,
        declarations,
        READ_POLICY,
        HandoverQueue(MOST_RECORDS),
        InMemoryMessageRepository(),
        logging.getLogger("airbyte"),
    )
    SourceListrak.log_in(sync, config)
    sync.account.windows = message_windows(config.since(now), now, sync.zone)
    found = {}
    for list_id in sync.account.list_ids():
        messages = sync.account.messages(list_id)
        found[list_id] = len(messages) + sum(messages.total(counter) for counter in COUNTERS)
    return found


def run(args: list[str], now: datetime) -> str:
    """Return what the command prints: JSON.

    :raises SystemExit: the arguments are wrong, or help was asked for
    :raises AirbyteTracedException: the configuration is wrong, or the account cannot be read
    """
    parser = argparse.ArgumentParser(
        prog=f"source-listrak {COMMAND}",
        description="Divide the lists of an account into balanced shards, one for each Airbyte "
        "connection, by the rows that the counters of its messages tell. Prints JSON: for each "
        "shard its list_ids, to be copied into the connection's configuration, and about how many "
        "rows it has.",
    )
    parser.add_argument("--config", type=Path, required=True, help="the configuration, a JSON file")
    parser.add_argument("--count", type=_count, required=True, help="how many shards, at most")
    parsed = parser.parse_args(args)
    shards = balance(estimate(ListrakConfig.parse(_load(parsed.config)), now), parsed.count)
    rows = [{"list_ids": shard.list_ids, "estimated_rows": shard.rows} for shard in shards]
    return json.dumps({"shards": rows})


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def _load(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise config_error(f"The configuration cannot be read: {error.strerror}.") from None
    except ValueError:
        raise config_error("The configuration is not JSON.") from None
    if not isinstance(values, dict):
        raise config_error("The configuration is not a JSON object.")
    return values
