"""The accounts that are read, and the processes that read them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from benchmarks.measure import Candidate, Figures, measure
from integration_tests.harness import TABLES, catalog, command
from integration_tests.simulator import AccountConfig, SimulatorConfig, SimulatorProcess

START = datetime(2023, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
CACHE_BYTES = 4 * 2**30
"""No page is rendered twice: rendering costs the simulator more than reading the connector."""
USER = SimulatorConfig().user_name
PASSWORD = SimulatorConfig().password


def account(**values: Any) -> AccountConfig:
    """Return an account of the year that is read."""
    return AccountConfig(start=START, now=NOW, **values)


def opens_only(messages: int, opens: int) -> AccountConfig:
    """Return an account with nothing but opens, of each message exactly so many."""
    return account(
        lists=1,
        messages_per_list=messages,
        recipients_per_message=opens,
        contacts_per_list=0,
        uniform=True,
        test_messages=False,  # they have three recipients
        engagement_days=0.001,  # the last message, too, has all its opens by now
        open_rate=1.0,
        read_rate=0.0,
        removal_rate=0.0,
        bounce_rate=0.0,
    )


def simulator(of: AccountConfig, **values: Any) -> SimulatorProcess:
    """Return the service, not started yet."""
    return SimulatorProcess(SimulatorConfig(account=of, cache_bytes=CACHE_BYTES, **values))


def config(url: str, workers: int) -> dict[str, Any]:
    """Return the connector's configuration."""
    return {
        "username": USER,
        "password": PASSWORD,
        "endpoint": url,
        "start_date": f"{START:%Y-%m-%dT%H:%M:%SZ}",
        "num_workers": workers,
    }


def connector(url: str, workers: int, tables: Iterable[str] = TABLES) -> Candidate:
    """Return the connector, which reads tables in full."""
    return process(
        [*command(now=NOW), "read"],
        {"config": config(url, workers), "catalog": catalog(tables, "full_refresh")},
    )


def serial_client(url: str, tables: Iterable[str] = TABLES) -> Candidate:
    """Return the peer, which reads the same tables."""
    return process([*_module("peer"), url, USER, PASSWORD, ",".join(tables)])


def floor(url: str, way: list[str], records: int, records_of_slice: int) -> Candidate:
    """Return a floor: `stock_floor`, or `floor` and whether it hands over records or pages."""
    files = {"config": config(url, 10), "catalog": catalog(["message_opens"], "full_refresh")}
    return process([*_module(way[0]), *way[1:], str(records), str(records_of_slice), "read"], files)


def counted(sim: SimulatorProcess, candidate: Candidate) -> Candidate:
    """Return a candidate whose figures tell what the simulator was asked."""

    def run() -> Figures:
        sim.reset_counts()
        figures = candidate()
        return replace(figures, requests=sim.counts.total(), in_flight=sim.peak_in_flight)

    return run


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{name}"]


def process(arguments: list[str], files: Mapping[str, Any] | None = None) -> Candidate:
    """Return any command, with files that are named by arguments."""
    return lambda: measure(arguments, files)[0]
