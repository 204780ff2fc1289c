"""Runs processes, and takes what they cost from the operating system."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from drivers.messages import Result, parse
from drivers.process import start
from drivers.setups import ROOT

ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "524288",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}
"""As in the image."""


@dataclass(frozen=True)
class Figures:
    """What one process cost: seconds, CPU seconds, and megabytes of memory at the peak.

    `requests` and `in_flight`, the highest number at once, are counted by the simulator.
    """

    wall: float
    cpu: float
    peak_mb: float
    records: int = 0
    requests: int = 0
    in_flight: int = 0

    def apart_from(self, start_up: Figures) -> Figures:
        """Return these figures without the seconds of a process that had nothing to read."""
        return replace(self, wall=self.wall - start_up.wall, cpu=self.cpu - start_up.cpu)


Candidate = Callable[[], Figures]
Rounds = dict[str, list[Figures]]


def measure(
    command: Sequence[str], contents: Mapping[str, Any] | None = None
) -> tuple[Figures, list[Any]]:
    """Run a command with its output in a file; return its figures and the last states it wrote.

    :param contents: what to write into the files that its arguments name
    :raises RuntimeError: the command failed
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output, cost = folder / "output", folder / "cost"
        launch = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "launch.py"), str(cost)]
        with (
            output.open("wb") as stream,
            start(
                [*launch, *command],
                stdout=stream,
                stderr=None,
                environment=ENVIRONMENT,
                **contents or {},
            ) as process,
        ):
            code = process.wait()
        if code:
            tail = output.read_text(encoding="utf-8")[-2000:]
            raise RuntimeError(f"{command} failed: {tail}")
        wall, cpu, peak_mb = map(float, cost.read_text(encoding="utf-8").split())
        records, states = _read_output(output)
    return Figures(wall, cpu, peak_mb, records), states


def _read_output(output: Path) -> tuple[int, list[Any]]:
    records, states = 0, Result(0, [])
    with output.open("rb") as lines:
        for message in parse(lines):
            if message["type"] == "RECORD":
                records += 1
            elif message["type"] == "STATE":
                states.messages.append(message)
    return records, states.state


def interleaved(
    rounds: int, candidates: Mapping[str, Candidate], *, seconds: float = float("inf")
) -> Rounds:
    """Run the candidates in turn, in several rounds, since the machine's speed drifts.

    :param seconds: no round begins that would probably end later than this
    """
    runs: Rounds = {name: [] for name in candidates}
    began = time.monotonic()
    for number in range(1, rounds + 1):
        for name, candidate in candidates.items():
            runs[name].append(candidate())
            print(f"  {name}: {runs[name][-1]}", file=sys.stderr, flush=True)
        if (time.monotonic() - began) * (number + 1) / number > seconds:
            break
    return runs


def medians(runs: Rounds) -> dict[str, Figures]:
    """Return the median of each figure of each candidate; of a count, one that was counted."""
    return {name: _median(found) for name, found in runs.items()}


def _median(runs: Sequence[Figures]) -> Figures:
    def middle(values: Sequence[float]) -> Any:
        is_count = isinstance(values[0], int)
        return statistics.median_low(values) if is_count else statistics.median(values)

    return Figures(
        **{one.name: middle([getattr(run, one.name) for run in runs]) for one in fields(Figures)}
    )
