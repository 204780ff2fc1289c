"""Runs one process to its end and takes its figures from the operating system."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figures:
    """What one run cost: seconds, CPU seconds of the process, megabytes at the peak.

    ``requests`` and ``in_flight`` (the most at once) are counted by the simulator, where asked for.
    """

    wall: float
    cpu: float
    peak_mb: float
    records: int
    largest_state: int = 0
    requests: int = 0
    in_flight: int = 0

    def apart_from(self, start_up: Figures) -> Figures:
        """Return the seconds without those of a start with nothing to read."""
        return replace(self, wall=self.wall - start_up.wall, cpu=self.cpu - start_up.cpu)


Candidate = Callable[[], Figures]
Rounds = dict[str, list[Figures]]


def measure(
    command: Sequence[str], contents: Mapping[str, Any] | None = None
) -> tuple[Figures, list[Any]]:
    """Run a command with its output in a file; return what it cost and the states it wrote.

    :param contents: what to write into files that are named by arguments
    :raises RuntimeError: the command failed
    """
    with tempfile.TemporaryDirectory() as folder:
        args = []
        for name, content in (contents or {}).items():
            path = Path(folder, f"{name}.json")
            path.write_text(json.dumps(content), encoding="utf-8")
            args += [f"--{name}", str(path)]
        output, cost = Path(folder, "output"), Path(folder, "cost")
        launch = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "launch.py"), str(cost)]
        with output.open("wb") as stream:
            ended = subprocess.run([*launch, *command, *args], stdout=stream, cwd=ROOT)
        if ended.returncode:
            tail = output.read_text(encoding="utf-8")[-2000:]
            raise RuntimeError(f"{command} failed: {tail}")
        wall, cpu, peak_mb = map(float, cost.read_text(encoding="utf-8").split())
        records, largest, states = _written(output)
    return Figures(wall, cpu, peak_mb, records, largest), states


def _written(output: Path) -> tuple[int, int, list[Any]]:
    """Return the number of records, the bytes of the largest state, the last states."""
    records, largest, states = 0, 0, {}
    with output.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(('{"type":"RECORD"', '{"type": "RECORD"')):
                records += 1
            elif line.startswith('{"type":"STATE"'):
                state = json.loads(line)["state"]
                largest = max(largest, len(json.dumps(state["stream"]["stream_state"])))
                states[state["stream"]["stream_descriptor"]["name"]] = state
    return records, largest, list(states.values())


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure by itself."""
    return Figures(
        **{
            one.name: _middle([getattr(run, one.name) for run in runs])
            for one in fields(Figures)
        }
    )  # fmt: skip


def _middle(values: Sequence[float]) -> float:
    # A count stays one that was counted.
    is_count = isinstance(values[0], int)
    return statistics.median_low(values) if is_count else statistics.median(values)


def interleaved(
    rounds: int, candidates: Mapping[str, Candidate], *, seconds: float = float("inf")
) -> Rounds:
    """Run the candidates in turn, several rounds, since the machine's speed drifts.

    :param seconds: no further round begins that would probably end later than this
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
    """Return the median of each candidate."""
    return {name: median(found) for name, found in runs.items()}
