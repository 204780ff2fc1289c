"""The simulator in a process of its own, so that it shares no interpreter lock with its client."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from integration_tests.simulator.account import Account, AccountConfig
from integration_tests.simulator.config import SimulatorConfig
from integration_tests.simulator.server import PATH
from integration_tests.simulator.truth import TABLES, Bound, Record, Truth, row_counts

_ROOT = Path(__file__).resolve().parents[2]


def to_arguments(config: SimulatorConfig) -> list[str]:
    """Write a configuration as the arguments of the command line."""
    arguments: list[str] = []
    for settings in (config, config.account):
        for one in fields(settings):
            value = getattr(settings, one.name)
            if not one.init or isinstance(value, AccountConfig):
                continue
            if isinstance(value, datetime):
                value = value.isoformat()
            text = value if isinstance(value, str) else json.dumps(value, default=list)
            arguments.append(f"--{one.name.replace('_', '-')}={text}")
    return arguments


class SimulatorProcess:
    """As ``Simulator``, in a subprocess; live changes go through methods, not attributes."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.account = Account(self.config.account)
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> SimulatorProcess:
        command = [sys.executable, "-m", "integration_tests.simulator", *to_arguments(self.config)]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None:
            raise RuntimeError("the simulator has no output")
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the simulator did not start: {self._process.wait()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid if self._process is not None else 0

    @property
    def counts(self) -> Counter[str]:
        """Requests per operation so far."""
        return Counter(self.status()["counts"])

    @property
    def peak_in_flight(self) -> int:
        """The most requests that were being answered at once."""
        return int(self.status()["peak_in_flight"])

    def status(self) -> dict[str, Any]:
        """Give the counts, the peak, the clock and the hidden lists."""
        return self._call(None)

    def control(self, **wishes: Any) -> None:
        """Change the running server: faults, config, now, hide_lists, unlock, reset."""
        self._call(wishes)

    def set_now(self, moment: datetime) -> None:
        """Move the account's clock."""
        self.control(now=moment.isoformat())
        self.account.set_now(moment)

    def hide_lists(self, list_ids: Iterable[int]) -> None:
        """Hide exactly these lists from the user."""
        hidden = sorted(list_ids)
        self.control(hide_lists=hidden)
        self.account.hide_lists(hidden)

    def unlock(self) -> None:
        """Lift a lockout."""
        self.control(unlock=True)

    def reset_counts(self) -> None:
        """Start counting anew."""
        self.control(reset=True)

    def truth(
        self,
        since: Bound = None,
        until: Bound = None,
        *,
        include_test_messages: bool = True,
        list_ids: Collection[int] | None = None,
    ) -> dict[str, list[Record]]:
        """Give every table's records, worked out here: the account is the same everywhere."""
        truth = Truth(
            self.account, since, until,
            include_test_messages=include_test_messages, list_ids=list_ids,
        )  # fmt: skip
        return {table: list(truth.records(table)) for table in TABLES}

    def row_counts(self) -> dict[str, int]:
        """Give the number of rows of every table."""
        return row_counts(self.account)

    def _call(self, wishes: dict[str, Any] | None) -> dict[str, Any]:
        body = None if wishes is None else json.dumps(wishes).encode()
        request = urllib.request.Request(self.url.replace(PATH, "/control"), data=body)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            result: dict[str, Any] = json.load(answer)
            return result
