"""Runs one process to its end and takes its figures from the operating system."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figures:
    """What one run cost: seconds, CPU seconds of the process, megabytes at the peak."""

    wall: float
    cpu: float
    peak_mb: float
    records: int
    largest_state: int = 0


def measure(
    command: Sequence[str], contents: Mapping[str, Any] | None = None, *, keep: bool = False
) -> tuple[Figures, list[Any]]:
    """Run a command with its output in a file; `contents` become files named by arguments.

    :param keep: whether to return the states that were written
    """
    with tempfile.TemporaryDirectory() as folder:
        args = []
        for name, content in (contents or {}).items():
            path = Path(folder, f"{name}.json")
            path.write_text(json.dumps(content), encoding="utf-8")
            args += [f"--{name}", str(path)]
        output = Path(folder, "output")
        with output.open("wb") as stream:
            began = time.monotonic()
            process = subprocess.Popen([*command, *args], stdout=stream, cwd=ROOT)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        records, states, largest = 0, {}, 0
        with output.open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith('{"type":"RECORD"') or line.startswith('{"type": "RECORD"'):
                    records += 1
                elif line.startswith('{"type":"STATE"'):
                    state = json.loads(line)["state"]["stream"]
                    largest = max(largest, len(json.dumps(state["stream_state"])))
                    states[state["stream_descriptor"]["name"]] = json.loads(line)["state"]
        if process.returncode:
            tail = output.read_text(encoding="utf-8")[-2000:]
            raise RuntimeError(f"{command} ended with {process.returncode}: {tail}")
    figures = Figures(
        wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, records, largest
    )
    return figures, list(states.values()) if keep else []


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""

    def middle(figure: Callable[[Figures], float]) -> float:
        return statistics.median(figure(run) for run in runs)

    return Figures(
        middle(lambda run: run.wall),
        middle(lambda run: run.cpu),
        middle(lambda run: run.peak_mb),
        runs[0].records,
        max(run.largest_state for run in runs),
    )


def interleaved(rounds: int, candidates: Mapping[str, Callable[[], Figures]]) -> dict[str, Figures]:
    """Run the candidates in turn, several rounds, since the machine's speed drifts."""
    runs: dict[str, list[Figures]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            runs[name].append(candidate())
            print(f"  {name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    return {name: median(found) for name, found in runs.items()}


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [f"### {title}", "", f"| {' | '.join(headers)} |", "|---" * len(headers) + "|"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
