"""The simulator in a process of its own, so that it shares no interpreter lock with its client."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from simulator.account import Account, AccountConfig, Happening
from simulator.clock import to_datetime
from simulator.config import SimulatorConfig
from simulator.control import Control
from simulator.endpoint import PATH

_ROOT = Path(__file__).resolve().parents[1]


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
            text = value if isinstance(value, str) else json.dumps(value, default=_plain)
            arguments.append(f"--{one.name.replace('_', '-')}={text}")
    return arguments


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, set) else asdict(value)


class SimulatorProcess(Control):
    """As ``Simulator``, in a subprocess; live changes go through methods, not attributes."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self._account = Account(self.config.account)
        self._adopted = 0
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> SimulatorProcess:
        command = [sys.executable, "-m", "simulator", *to_arguments(self.config)]
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
            self._fetch()  # so that the truth is known after the end, too
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
        """The highest number of requests that were being answered at once."""
        return int(self.status()["peak_in_flight"])

    def status(self) -> dict[str, Any]:
        """Return the counts, the peak, the clock, the hidden lists and the happenings."""
        return self._call(None)

    @property
    def account(self) -> Account:
        """An account equal to the server's, whose clock and happenings are fetched."""
        self._fetch()
        return self._account

    def _fetch(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        status = self.status()
        self._account.happen(Happening(**one) for one in status["happenings"][self._adopted :])
        self._adopted = len(status["happenings"])
        self._account.hide_lists(status["hidden_lists"])
        self._account.set_now(to_datetime(status["now"]))

    def control(self, **wishes: Any) -> None:
        """Change faults, config, now, hide_lists, unlock, reset, or make something happen."""
        self._call(wishes)

    def _call(self, wishes: dict[str, Any] | None) -> dict[str, Any]:
        body = None if wishes is None else json.dumps(wishes, default=_plain).encode()
        request = urllib.request.Request(self.url.replace(PATH, "/control"), data=body)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            result: dict[str, Any] = json.load(answer)
            return result
