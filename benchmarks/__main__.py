"""Measures what docs/performance.md says, all in one run: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import latency, schedules, startup, syncs, throughput
from benchmarks.report import Section, Size, environment, tables, targets
from drivers.setups import ROOT

SCENARIOS: Mapping[str, Callable[[Size], list[Section]]] = {
    "throughput": throughput.run,
    "workers": latency.workers,
    "giants": latency.giants,
    "many-lists": latency.many_lists,
    "incremental": syncs.incremental,
    "operations": syncs.operations,
    "schedules": schedules.run,
    "memory": syncs.memory,
    "start-up": startup.run,
}
TEMPLATE = ROOT / "benchmarks" / "page.md"
PAGE = ROOT / "docs" / "performance.md"
RAW = ROOT / ".tmp" / "benchmarks.json"


def main() -> None:
    """Run the chosen scenarios and print their tables; write the page of all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"{', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of a comparison")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full accounts")
    parser.add_argument(
        "--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}, of all scenarios"
    )
    parser.add_argument("--raw", type=Path, default=RAW, help="where every round is written")
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown scenarios: {', '.join(sorted(unknown))}")
    if options.write and options.scenarios:
        parser.error("the page is written as a whole: name no scenarios")
    size = Size(options.rounds, options.scale)
    conditions = f"scale {size.scale:g}, {size.rounds} rounds, {environment()}"
    print(conditions, flush=True)
    found: dict[str, list[Section]] = {}
    for name in options.scenarios or SCENARIOS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name] = SCENARIOS[name](size)
        print(f"{tables(found[name])}{targets(found[name])}", flush=True)
        rounds = {key: {one.title: one.rounds for one in found[key]} for key in found}
        options.raw.parent.mkdir(parents=True, exist_ok=True)
        options.raw.write_text(json.dumps({"run": conditions, **rounds}, indent=1, default=_plain))
    if options.write:
        PAGE.write_text(page(found, conditions), encoding="utf-8")


def page(found: Mapping[str, list[Section]], conditions: str) -> str:
    """Return the page, with the tables of each scenario in its place."""
    text = TEMPLATE.read_text(encoding="utf-8").replace("{conditions}", conditions)
    every = [section for sections in found.values() for section in sections]
    text = text.replace("{targets}\n", targets(every))
    for name, sections in found.items():
        text = text.replace(f"{{{name}}}\n", tables(sections))
    return text


def _plain(value: Any) -> Any:
    return asdict(value)


if __name__ == "__main__":
    main()
