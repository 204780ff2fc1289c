"""What a sync costs on hourly, daily and weekly schedules, beside the rule of 0.2.0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from unittest.mock import patch

import orjson

from benchmarks.readers import serial_client, simulator
from benchmarks.report import Section, Size, Target, markdown
from drivers.connection import Connection
from drivers.inprocess import DirectService
from drivers.setups import DAY, EVENTS, HOUR, NINE, ROOT
from simulator import AccountConfig, SimulatorConfig
from source_listrak.sync import windows
from source_listrak.tables import RECENT, TABLES

NOW = datetime(2025, 6, 1, 12, tzinfo=timezone.utc)
LOOKBACK = timedelta(days=7)
SCHEDULES = {"hourly": (HOUR, 24), "daily": (DAY, 10), "weekly": (7 * DAY, 4)}
"""The time between two syncs, and how many are counted after the first."""

COSTS = ROOT / "docs" / "costs.md"
_BEGIN, _END = "<!-- schedules: written by benchmarks -->\n", "<!-- end of schedules -->"


@dataclass
class Cost:
    """What the syncs of one schedule emitted and requested after the first one.

    :ivar new: rows that no earlier sync had emitted
    """

    syncs: int
    requests: int = 0
    emitted: Counter[str] = field(default_factory=Counter)
    new: Counter[str] = field(default_factory=Counter)

    def ratio(self, *tables: str) -> float:
        """Return the rows emitted per new row of some tables, of all by default."""
        names = tables or tuple(self.emitted)
        return sum(self.emitted[one] for one in names) / max(1, sum(self.new[one] for one in names))


def account(size: Size, **changes: float) -> AccountConfig:
    """Return three lists with 300 messages of 30 days; a tenth of the events is late."""
    values = {"late_by": 2 * DAY.total_seconds(), "late_share": 0.1} | changes
    return AccountConfig(
        lists=3,
        messages_per_list=size.of(100),
        contacts_per_list=size.of(1000),
        start=NOW - 30 * DAY,
        now=NOW,
        **values,  # type: ignore[arg-type]
    )


@contextmanager
def rule_of_0_2_0() -> Iterator[None]:
    """Read with the rule of 0.2.0: on every sync from the lookback before the previous one.

    All messages of 30 days are read in every sync; recipients and undated counters for a week.
    """
    old = {}
    for name, table in TABLES.items():
        recent = LOOKBACK if table.recent == timedelta() else RECENT
        old[name] = replace(table, recent=recent, daily=timedelta(), ages=())
    with (
        patch.dict(TABLES, old),  # type: ignore[arg-type]  # a dict behind a Mapping
        patch.object(windows, "OVERLAP", LOOKBACK),
    ):
        yield


def cost(config: AccountConfig, gap: timedelta, syncs: int) -> Cost:
    """Sync once, then this number of times, and count what the later syncs cost."""
    service = DirectService(SimulatorConfig(account=config, page_size=1000))
    connection = Connection(service, NINE, start_date=f"{config.start - DAY:%Y-%m-%d}")
    connection.sync(NOW)
    seen = {table: set(map(_identity, connection.committed(table))) for table in NINE}
    found = Cost(syncs)
    for number in range(1, syncs + 1):
        outcome = connection.sync(NOW + number * gap)
        found.requests += len(outcome.requests)
        for table in NINE:
            rows = set(map(_identity, records := outcome.records(table)))
            found.emitted[table] += len(records)
            found.new[table] += len(rows - seen[table])
            seen[table] |= rows
    return found


def arrivals(size: Size, hours: int) -> list[object]:
    """Return how long after it appeared each open of recent messages arrived, with a lag.

    With hourly syncs; opens of messages older than three days wait for the daily or weekly tier.
    """
    service = DirectService(
        SimulatorConfig(account=account(size, late_by=0, lag_hours=hours), page_size=1000)
    )
    start = f"{service.config.account.start - DAY:%Y-%m-%d}"
    connection = Connection(service, ["messages", "message_opens"], start_date=start)
    connection.sync(NOW)
    seen = set(map(_identity, connection.committed("message_opens")))
    waits: list[timedelta] = []
    since = (NOW - DAY).replace(hour=0)
    for number in range(1, 25):
        now = NOW + number * HOUR
        rows = connection.sync(now).records("message_opens")
        recent = {
            row["MsgID"]
            for row in connection.committed("messages")
            if row["SendDate"] >= f"{since:%Y-%m-%d}"
        }
        for row in {_identity(row): row for row in rows if _identity(row) not in seen}.values():
            seen.add(_identity(row))
            if row["MsgID"] not in recent or "OpenDate" not in row:  # some have none
                continue
            appeared = datetime.fromisoformat(row["OpenDate"].replace("Z", "+00:00")) + hours * HOUR
            waits.append(now - appeared)
    missing = connection.missing(since, NOW + 24 * HOUR).get("message_opens", 0)
    first = sum(wait <= HOUR for wait in waits)
    return [
        hours,
        len(waits),
        first,
        len(waits) - first,
        max(waits, default=timedelta()) / HOUR,
        missing,
    ]


def run(size: Size) -> list[Section]:
    """Measure schedules with the tiers and with the rule of 0.2.0, and arrivals with a lag."""
    every: dict[str, dict[str, Cost]] = {}
    for name, (gap, syncs) in SCHEDULES.items():
        after = cost(account(size), gap, syncs)
        with rule_of_0_2_0():
            before = cost(account(size), gap, syncs)
        every[name] = {"0.2.0": before, "now": after}
    with simulator(account(size)) as sim:
        full = serial_client(sim)()
    COSTS.write_text(_with_costs(COSTS.read_text(encoding="utf-8"), every), encoding="utf-8")
    sends = [
        [schedule, version, one.requests / one.syncs, one.emitted.total(), one.new.total(),
         one.ratio(), one.ratio("message_sends"), one.ratio(*EVENTS),
         one.ratio("subscribed_contacts"), one.ratio("messages")]
        for schedule, found in every.items()
        for version, one in found.items()
    ]  # fmt: skip
    for schedule, found in every.items():
        syncs, new = found["now"].syncs, found["now"].new.total()
        sends.append([schedule, "serial client, full reads", float(full.requests),
                      full.records * syncs, new, full.records * syncs / max(1, new),
                      "", "", "", ""])  # fmt: skip
    hourly, daily = every["hourly"], every["daily"]
    limit = min(200.0, hourly["0.2.0"].requests / hourly["0.2.0"].syncs / 2)
    return [
        Section(
            "Three lists, 300 messages in 30 days, a tenth of the events up to two days late",
            ["schedule", "version", "requests per sync", "rows", "new rows", "rows per new row",
             "recipients", "events", "contacts", "messages"],
            sends,
            sends,
            [
                Target("Hourly syncs: rows per new row", hourly["now"].ratio(), 6),
                Target("Daily syncs: rows per new row", daily["now"].ratio(), 6),
                Target("Hourly syncs: requests per sync", hourly["now"].requests / 24, limit),
                Target("Daily syncs: requests per sync", daily["now"].requests / 10,
                       daily["0.2.0"].requests / 10),
            ],
        ),
        Section(
            "Hourly syncs, reports that lag, opens of messages sent in the last days",
            ["lag, hours", "new opens", "in the first sync after they appeared", "later",
             "longest wait, hours", "not yet arrived"],
            [arrivals(size, hours) for hours in (0, 3, 12)],
            [],
        ),
    ]  # fmt: skip


def _with_costs(page: str, every: Mapping[str, Mapping[str, Cost]]) -> str:
    """Return the page of costs with the table of schedules between its markers."""
    rows = []
    for schedule, found in every.items():
        one, days = found["now"], found["now"].syncs * SCHEDULES[schedule][0] / DAY
        rows.append([schedule, one.requests / days, one.emitted.total() / days,
                     one.new.total() / days, one.ratio()])  # fmt: skip
    headers = ["syncs", "requests a day", "rows a day", "new rows a day", "rows per new row"]
    text = (
        "The nine Stitch tables of a simulated account with three lists, 300 messages a month and "
        f"a tenth of the events recorded up to two days late:\n\n{markdown(headers, rows)}\n"
    )
    head, _, rest = page.partition(_BEGIN)
    return f"{head}{_BEGIN}\n{text}{_END}{rest.partition(_END)[2]}" if rest else page


def _identity(row: Mapping[str, object]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
