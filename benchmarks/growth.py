"""Growth: requests, seconds, memory and state of accounts of ten and a hundred times the size."""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.accounts import NOW, account, config, connector, counted, opens_only, simulator
from benchmarks.measure import Figures, Rounds, interleaved, measure, median, medians
from benchmarks.report import Section, Size
from integration_tests.harness import TABLES, catalog, command
from integration_tests.simulator import SimulatorProcess

WORKERS = 10
SYNCS = ("first", "second")


def growth(size: Size) -> list[Section]:
    """Read accounts incrementally, and once more with nothing new; the largest in one round."""
    rows: list[list[object]] = []
    every: dict[str, Rounds] = {}
    for factor in (1, 10, 100):
        of = account(
            lists=4,
            messages_per_list=size.of(25 * factor),
            recipients_per_message=20,
            contacts_per_list=50,
        )
        with simulator(of) as sim:
            states: list[Any] = []
            rounds = interleaved(
                1 if factor == 100 else size.rounds,
                {sync: counted(sim, partial(_sync, sim, sync, states)) for sync in SYNCS},
            )
        every[f"{factor}x"] = rounds
        for sync, run in medians(rounds).items():
            rows.append(
                [f"{factor}x", sync, run.records, run.requests, run.wall, run.cpu, run.peak_mb,
                 run.largest_state, len(rounds[sync])]
            )  # fmt: skip
    return [
        Section(
            f"Growth of the account, {WORKERS} workers",
            ["messages", "sync", "records", "requests", "s", "CPU s", "peak MB",
             "largest STATE, bytes", "rounds"],
            rows,
            every,
        )
    ]  # fmt: skip


def _sync(sim: SimulatorProcess, sync: str, states: list[Any]) -> Figures:
    files: dict[str, Any] = {"config": config(sim.url, WORKERS), "catalog": catalog(TABLES)}
    if sync == "second":
        files["state"] = states
    run, states[:] = measure([*command(now=NOW), "read"], files)
    return run


def memory(size: Size) -> list[Section]:
    """Compare the peaks of 300,000 records and of ten times as many, the latter in one round."""
    every: dict[str, Rounds] = {}
    rows: list[list[object]] = []
    smallest = 0.0
    for messages, rounds in ((30, size.rounds), (300, 1)):
        with simulator(opens_only(size.of(messages), 10_000)) as sim:
            read = connector(sim.url, WORKERS, ["message_opens"])
            runs = interleaved(rounds, {"connector": read})
        run = median(runs["connector"])
        smallest = smallest or run.peak_mb
        rows.append(
            [run.records, run.wall, run.cpu, run.peak_mb, run.peak_mb / smallest, rounds]
        )  # fmt: skip
        every[f"{run.records} records"] = runs
    return [
        Section(
            f"Memory, {WORKERS} workers, start-up included",
            ["records", "s", "CPU s", "peak MB", "times the smaller", "rounds"],
            rows,
            every,
        )
    ]
