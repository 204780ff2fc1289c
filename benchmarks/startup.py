"""Commands that read nothing."""

from __future__ import annotations

import sys

from benchmarks.measure import Candidate, interleaved, medians
from benchmarks.readers import process, simulator
from benchmarks.report import Section, Size, Target
from drivers.setups import NOW, START, make_config
from simulator import AccountConfig


def run(size: Size) -> list[Section]:
    """Measure the commands, beside Python and the CDK alone."""
    with simulator(AccountConfig(start=START, now=NOW)) as sim:
        config = {"config": make_config(sim)}
        main = [sys.executable, "main.py"]
        candidates: dict[str, Candidate] = {
            "python -c pass": process([sys.executable, "-c", "pass"]),
            "import airbyte_cdk.entrypoint": process(
                [sys.executable, "-c", "import airbyte_cdk.entrypoint"]
            ),
            "spec": process([*main, "spec"]),
            "discover": process([*main, "discover"], config),
            "check": process([*main, "check"], config),
        }
        rounds = interleaved(size.rounds, candidates)
        checks = sim.counts.total() / size.rounds
    rows = [[name, one.wall, one.cpu, one.peak_mb] for name, one in medians(rounds).items()]
    return [
        Section(
            "Start-up, no latency",
            ["", "s", "CPU s", "peak MB"],
            rows,
            rounds,
            [Target("check: requests", checks, 2)],
        )
    ]
