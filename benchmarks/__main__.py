"""Prints the figures of `docs/performance.md`, side by side in one run: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping

from benchmarks import giants, growth, latency, parts, throughput
from benchmarks.measure import ROOT
from benchmarks.report import Section, Size, environment, plain

SCENARIOS: dict[str, Callable[[Size], list[Section]]] = {
    "throughput": throughput.run,
    "latency": latency.run,
    "giants": giants.run,
    "growth": growth.growth,
    "memory": growth.memory,
    "parts": parts.run,
}
PAGE = ROOT / "benchmarks" / "page.md"
DOCS = ROOT / "docs"


def main() -> None:
    """Run the chosen scenarios, print their tables, and write them to the page if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"{', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of a comparison")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the accounts")
    parser.add_argument(
        "--write", action="store_true", help="write docs/performance.md and .json, of all scenarios"
    )
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown scenarios: {', '.join(sorted(unknown))}")
    if options.write and options.scenarios:
        parser.error("the page is written whole: name no scenarios")
    size = Size(options.rounds, options.scale)
    machine = environment()
    print(machine, flush=True)
    found: dict[str, list[Section]] = {}
    for name in options.scenarios or SCENARIOS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name] = SCENARIOS[name](size)
        print(_tables(found[name]), flush=True)
    if options.write:
        about = f"scale {size.scale:g}, rounds {size.rounds}, {machine}"
        raw = {name: {one.title: one.rounds for one in found[name]} for name in found}
        text = json.dumps({"machine": about, **raw}, indent=1, default=plain) + "\n"
        (DOCS / "performance.md").write_text(page(found, about), encoding="utf-8")
        (DOCS / "performance.json").write_text(text, encoding="utf-8")


def page(found: Mapping[str, list[Section]], machine: str) -> str:
    """Return the page, with the tables of each scenario in its place."""
    text = PAGE.read_text(encoding="utf-8").replace("{machine}", machine)
    for name, sections in found.items():
        text = text.replace(f"{{{name}}}\n", _tables(sections))
    return text


def _tables(sections: list[Section]) -> str:
    return "".join(section.markdown() + "\n" for section in sections)


if __name__ == "__main__":
    main()
