"""What a scenario returns, and how the page shows it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("airbyte-cdk", "lxml", "pycurl", "zeep")


@dataclass(frozen=True)
class Target:
    """A figure beside its limit, a maximum or a minimum."""

    name: str
    figure: float
    limit: float
    is_minimum: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure is within its limit."""
        return self.figure >= self.limit if self.is_minimum else self.figure <= self.limit


@dataclass(frozen=True)
class Section:
    """One table, the targets that it decides, and the rounds that it was made from."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    rounds: Any
    targets: Sequence[Target] = ()


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds of a comparison, and the share of the full accounts."""

    rounds: int
    scale: float

    def of(self, number: int) -> int:
        """Return a number of messages, rows or contacts at this scale."""
        return max(1, int(number * self.scale))


def tables(sections: Iterable[Section]) -> str:
    """Return the tables of sections as the page shows them."""
    return "".join(
        f"**{section.title}**\n\n{markdown(section.headers, section.rows)}\n"
        for section in sections
    )


def targets(sections: Iterable[Section]) -> str:
    """Return the table of all targets; empty without one."""
    rows = [
        [
            target.name,
            f"{'at least' if target.is_minimum else 'at most'} {target.limit:g}",
            target.figure,
            "yes" if target.is_met else "no",
        ]
        for section in sections
        for target in section.targets
    ]
    return markdown(["figure", "target", "measured", "met"], rows) + "\n" if rows else ""


def markdown(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table, with numbers to the right."""
    columns = zip(*rows, strict=True)
    lines = [headers, [_alignment(column) for column in columns]]
    lines += [[_cell(cell) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def environment() -> str:
    """Return the machine and the versions that the figures depend on."""
    return ", ".join(
        [
            f"{_processor()} ({platform.machine()}), {len(os.sched_getaffinity(0))} cores",
            platform.system(),
            f"Python {platform.python_version()}",
            *(f"{package} {version(package)}" for package in PACKAGES),
        ]
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or "unknown processor"


def _alignment(column: Sequence[object]) -> str:
    return "---" if any(isinstance(cell, str) and cell for cell in column) else "---:"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
