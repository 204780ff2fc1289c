"""The account, the configuration and the compressed patience that the tests of failures share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

from integration_tests import harness
from integration_tests.harness import Result
from integration_tests.simulator import AccountConfig, Simulator, SimulatorConfig

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
SINCE = "2023-01-01"
BUSY_MESSAGE = 20001018
"""A message with rows in every table."""
TRANSPORT = {
    "ANSWER_TIMEOUT": 0.6,
    "CONNECT_TIMEOUT": 2.0,
    "PAUSE_OF_ALL": 0.02,
    "MAX_BODY_BYTES": 2**20,
}
"""The limits of the transport, made to be reached by a small account in a short time."""


def simulator(faults: Mapping[str, Any] | None = None, **settings: Any) -> Simulator:
    """Return a service with two lists, eight messages and a few rows of everything."""
    account = AccountConfig(
        lists=2, messages_per_list=4, recipients_per_message=30, contacts_per_list=40
    )
    values = {"retry_after": None, "huge_body_mb": 2, "page_size": 10} | settings
    return Simulator(SimulatorConfig(account=account, faults=dict(faults or {}), **values))


def config(sim: Simulator, **changes: Any) -> dict[str, Any]:
    """Return a configuration that logs in."""
    return {
        "username": sim.config.user_name,
        "password": sim.config.password,
        "start_date": SINCE,
        "endpoint": sim.url,
        "num_workers": 4,
    } | changes


def check(sim: Simulator, *, options: Any = (), environment: Any = None, **changes: Any) -> Result:
    """Run `check` with little patience."""
    return harness.run(
        "check",
        config=config(sim, **changes),
        options=options,
        environment=environment,
        now=NOW,
        patience=harness.QUICK,
        transport=TRANSPORT,
        timeout=60,
    )


def read(
    sim: Simulator,
    *,
    tables: Any = harness.TABLES,
    state: Any = None,
    now: datetime = NOW,
    options: Any = (),
    environment: Any = None,
    **changes: Any,
) -> Result:
    """Run `read` of the given tables with little patience."""
    return harness.run(
        "read",
        config=config(sim, **changes),
        catalog=harness.catalog(tables),
        state=state,
        options=options,
        environment=environment,
        now=now,
        patience=harness.QUICK,
        transport=TRANSPORT,
        timeout=60,
    )


def requests(sim: Simulator) -> int:
    """Return how many SOAP requests arrived."""
    return sum(count for name, count in sim.counts.items() if name != "canary")


def differences(sim: Simulator, result: Result, tables: Any = harness.TABLES) -> dict[str, str]:
    """Return the tables whose records are not the truth, and how they differ."""
    truth = sim.truth(since=SINCE)
    found = {table: harness.difference(result.records(table), truth[table]) for table in tables}
    return {table: how for table, how in found.items() if how}


class Ahead(Generic[K, V]):
    """Computes the results of all cases on a few threads, while tests look at the first ones.

    A case is a process of its own, and most of its time is the start of Python.
    """

    def __init__(self, cases: list[K], compute: Callable[[K], V], workers: int = 3) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self._results: dict[K, Future[V]] = {
            case: self._pool.submit(compute, case) for case in dict.fromkeys(cases)
        }

    def __getitem__(self, case: K) -> V:
        return self._results[case].result()

    def close(self) -> None:
        """Let what was not asked for be."""
        self._pool.shutdown(cancel_futures=True)


def selected(items: list[Any], parameter: str, module: str) -> list[Any]:
    """Return the values of a parameter among the tests that were selected to run."""
    return [
        item.callspec.params[parameter]
        for item in items
        if item.module.__name__ == module
        and hasattr(item, "callspec")
        and parameter in item.callspec.params
    ]
