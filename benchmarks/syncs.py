"""What syncs cost: requests of a large account, requests by operation, and memory."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from benchmarks.measure import Rounds, interleaved, medians
from benchmarks.readers import LATENCY, WORKERS, opens_only, simulator, syncs
from benchmarks.report import Section, Size, Target
from drivers.setups import DAY, HOUR, NINE, NOW, START, TABLES
from simulator import TABLES as SERVED
from simulator import AccountConfig


def incremental(size: Size) -> list[Section]:
    """Read 20 lists with 5,000 messages of 5 years, again an hour later, and a day later."""
    lists, messages = 20, size.of(250)
    start, now = (datetime(year, 1, 1, 12, tzinfo=timezone.utc) for year in (2021, 2026))
    account = AccountConfig(
        lists=lists,
        messages_per_list=messages,
        recipients_per_message=20,
        contacts_per_list=20,
        start=start,
        now=now,
    )
    moments = {"first": now, "an hour later": now + HOUR, "a day later": now + DAY}
    with simulator(account) as sim:
        rounds = interleaved(1, syncs(sim, moments))
    rows = [
        [name, run.records, run.requests, run.wall, run.cpu, run.requests * LATENCY / WORKERS,
         run.peak_mb]
        for name, run in medians(rounds).items()
    ]  # fmt: skip
    return [
        Section(
            f"{lists} lists, {lists * messages:,} messages, 5 years, all nine tables, "
            f"{WORKERS} workers, no latency",
            ["sync", "records", "requests", "s", "CPU s", f"at {LATENCY * 1000:.0f} ms at least, s",
             "peak MB"],
            rows,
            rounds,
        )
    ]  # fmt: skip


def operations(size: Size) -> list[Section]:
    """Count the requests of each operation: of nine and of all thirty tables, and an hour later."""
    account = AccountConfig(
        lists=4, messages_per_list=size.of(25), recipients_per_message=100, start=START, now=NOW
    )
    moments = {"first": NOW, "an hour later": NOW + HOUR}
    found = {}
    with simulator(account) as sim:
        for tables in (NINE, tuple(TABLES)):
            for name, sync in syncs(sim, moments, tables).items():
                sync()
                found[f"{len(tables)} tables, {name}"] = sim.counts
    named: dict[str, list[str]] = {}
    for table in SERVED.values():
        named.setdefault(table.operation, []).append(table.name)
    rows: list[list[Any]] = [
        [operation, ", ".join(names), *(counts[operation] for counts in found.values())]
        for operation, names in named.items()
    ]
    rows.append(["all", "", *(counts.total() for counts in found.values())])
    return [
        Section(
            f"Requests by operation, 4 lists, {4 * size.of(25):,} messages, one year",
            ["operation", "table", *found],
            rows,
            found,
        )
    ]


def memory(size: Size) -> list[Section]:
    """Compare the memory of 300,000 records and of ten times as many, first and incremental.

    The incremental sync has the state of a sync a year before, when there was next to nothing.
    Also that of ten lists which half of their contacts left within the last day.
    """
    first = {"first": NOW}
    incremental = {"a year before": START + DAY, "incremental": NOW}
    rows = []
    every: dict[str, Rounds] = {}
    targets = []
    for messages, count in ((30, size.rounds), (300, 1)):
        account = opens_only(size.of(messages), 10_000)
        with simulator(account, cache_bytes=2**28) as sim:
            readers = [syncs(sim, moments, ["message_opens"]) for moments in (first, incremental)]
            rounds = interleaved(count, readers[0] | readers[1])
        every[f"{messages} messages"] = rounds
        for name, run in medians(rounds).items():
            if name != "a year before":
                rows.append([name, run.records, run.wall, run.cpu, run.peak_mb])
                label = f"Memory of {run.records:,} records, {name}, MB"
                targets.append(Target(label, run.peak_mb, 150))
    removals = size.of(100_000)
    account = AccountConfig(
        lists=10,
        messages_per_list=0,
        contacts_per_list=2 * removals,
        leaver_every=2,
        stay_days=0.001,
        return_share=0,
        start=NOW - DAY,
        now=NOW,
    )
    with simulator(account, cache_bytes=2**28) as sim:
        reader = syncs(sim, {"first": NOW}, ["subscribed_contacts"])
        every["removals"] = interleaved(1, reader)
    (run,) = medians(every["removals"]).values()
    name = f"ten lists, {removals:,} removals each"
    rows.append([name, run.records, run.wall, run.cpu, run.peak_mb])
    targets.append(Target(f"Memory of {name}, MB", run.peak_mb, 150))
    return [
        Section(
            f"{WORKERS} workers, no latency, start-up included",
            ["sync", "records", "s", "CPU s", "peak MB"],
            rows,
            every,
            targets,
        )
    ]
