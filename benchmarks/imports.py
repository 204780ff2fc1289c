"""What imports cost, package by package, from `python -X importtime`."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

LEVELS = {"airbyte_cdk": 3, "source_listrak": 2}
"""Packages of which the parts are told apart, to this depth; of others, the whole."""
_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| ( *)(\S+)")


@dataclass(frozen=True)
class Import:
    """One module's line: microseconds alone and with what it imported first, and its depth."""

    module: str
    depth: int
    alone: int
    total: int

    @property
    def package(self) -> str:
        """What the module is counted to."""
        parts = self.module.split(".")
        return ".".join(parts[: LEVELS.get(parts[0], 1)])


@dataclass
class Cost:
    """Microseconds of a package."""

    alone: int = 0
    total: int = 0
    modules: set[str] = field(default_factory=set)


def parse(trace: str) -> list[Import]:
    """Read a trace, in which a module comes after all that it imported."""
    return [
        Import(name, len(indent) // 2, int(alone), int(total))
        for alone, total, indent, name in _LINE.findall(trace)
    ]


def costs(imports: Sequence[Import]) -> dict[str, Cost]:
    """Add up the modules of each package.

    What a package imports first is counted once, where it is first entered: a module inside of
    another one of the same package adds nothing to the package's total.
    """
    found: dict[str, Cost] = defaultdict(Cost)
    above: list[Import] = []
    for one in reversed(imports):
        del above[one.depth :]
        cost = found[one.package]
        cost.alone += one.alone
        cost.modules.add(one.module)
        if all(outer.package != one.package for outer in above):
            cost.total += one.total
        above.append(one)
    return dict(found)


def imported(
    arguments: Sequence[str], contents: Mapping[str, Any], rounds: int
) -> tuple[list[list[object]], list[list[object]]]:
    """Return rows of the packages that a Python command imports, and of the modules.

    :param contents: what to write into files that are named by arguments
    """
    traces = [parse(_trace(arguments, contents)) for _ in range(rounds)]
    whole = statistics.median(sum(one.alone for one in trace) for trace in traces)
    by_package = [costs(trace) for trace in traces]
    packages: list[list[object]] = []
    for name in by_package[0]:
        found = [one.get(name, Cost()) for one in by_package]
        alone = statistics.median(one.alone for one in found)
        total = statistics.median(one.total for one in found)
        share = 100 * alone / whole
        packages.append([name, alone / 1e6, share, total / 1e6, len(found[0].modules)])
    by_module = [_alone(trace) for trace in traces]
    modules: list[list[object]] = []
    for module in by_module[0]:
        alone = statistics.median(one[module] for one in by_module)
        modules.append([module, alone / 1e6, 100 * alone / whole])
    return _largest_first(packages), _largest_first(modules)


def _alone(imports: Sequence[Import]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in imports:  # a module that is entered by way of its package has two lines
        found[one.module] += one.alone
    return found


def _trace(arguments: Sequence[str], contents: Mapping[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        named = []
        for name, content in contents.items():
            path = Path(folder, f"{name}.json")
            path.write_text(json.dumps(content), encoding="utf-8")
            named += [f"--{name}", str(path)]
        command = [sys.executable, "-X", "importtime", *arguments, *named]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stderr


def _largest_first(rows: Iterable[list[object]]) -> list[list[object]]:
    return sorted(rows, key=lambda row: -float(str(row[1])))
