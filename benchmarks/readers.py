"""The accounts that are read, and the processes that read them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from benchmarks.measure import Candidate, Figures, measure
from drivers.process import command
from drivers.setups import NINE, NOW, START, catalog, make_config
from simulator import AccountConfig, SimulatorConfig, SimulatorProcess

LATENCY = 0.15
"""Seconds before each response, where latency matters."""

WORKERS = 10
CACHE_BYTES = 4 * 2**30
"""No page is rendered twice: rendering costs the simulator more than reading the connector."""


def opens_only(messages: int, opens: int) -> AccountConfig:
    """Return an account with nothing but opens, exactly `opens` of each message."""
    return AccountConfig(
        lists=1,
        messages_per_list=messages,
        recipients_per_message=opens,
        contacts_per_list=0,
        start=START,
        now=NOW,
        uniform=True,
        test_messages=False,  # they have three recipients
        engagement_days=0.001,  # the last message, too, has all its opens by now
        open_rate=1.0,
        read_rate=0.0,
        removal_rate=0.0,
        bounce_rate=0.0,
    )


def simulator(account: AccountConfig, **settings: Any) -> SimulatorProcess:
    """Return the service, not started yet."""
    values = {"cache_bytes": CACHE_BYTES} | settings
    return SimulatorProcess(SimulatorConfig(account=account, **values))


def connector(
    sim: SimulatorProcess, tables: Iterable[str] = NINE, workers: int = WORKERS
) -> Candidate:
    """Return the connector, which reads tables in full."""
    files = _files(sim, tables, workers, "full_refresh")
    return _counted(sim, process([*command(now=sim.config.account.now), "read"], files))


def syncs(
    sim: SimulatorProcess,
    moments: Mapping[str, datetime],
    tables: Iterable[str] = NINE,
    workers: int = WORKERS,
) -> dict[str, Candidate]:
    """Return incremental syncs by name, each with the state of the one before.

    :param moments: the present instant of each
    """
    states: list[Any] = []
    first = next(iter(moments.values()))

    def sync(now: datetime) -> Figures:
        sim.set_now(now)
        files = _files(sim, tables, workers, "incremental")
        if now != first:
            files["state"] = list(states)
        figures, states[:] = measure([*command(now=now), "read"], files)
        return figures

    return {name: _counted(sim, partial(sync, now)) for name, now in moments.items()}


def serial_client(sim: SimulatorProcess, tables: Iterable[str] = NINE) -> Candidate:
    """Return the peer, which reads the same tables."""
    config = sim.config
    command = [sim.url, config.user_name, config.password, ",".join(tables)]
    return _counted(sim, process([sys.executable, "-m", "benchmarks.peer", *command]))


def stock_floor(records: int, of_partition: int) -> Candidate:
    """Return the CDK's floor, which makes up its records."""
    module = [sys.executable, "-m", "benchmarks.stock_floor", str(records), str(of_partition)]
    files = {"config": {}, "catalog": catalog(["message_opens"], "full_refresh")}
    return process([*module, "read"], files)


def process(arguments: list[str], files: Mapping[str, Any] | None = None) -> Candidate:
    """Return any command, with the files that its arguments name."""
    return lambda: measure(arguments, files)[0]


def _files(sim: SimulatorProcess, tables: Iterable[str], workers: int, mode: str) -> dict[str, Any]:
    start = f"{sim.config.account.start:%Y-%m-%dT%H:%M:%SZ}"
    config = make_config(sim, start_date=start, num_workers=workers)
    return {"config": config, "catalog": catalog(tables, mode)}


def _counted(sim: SimulatorProcess, candidate: Candidate) -> Candidate:
    """Return a candidate whose figures include what the simulator counted."""

    def run() -> Figures:
        sim.reset_counts()
        figures = candidate()
        return replace(figures, requests=sim.counts.total(), in_flight=sim.peak_in_flight)

    return run
