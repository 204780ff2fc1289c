"""What a scenario gives: tables for the page, and every round for whoever wants to recompute."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("airbyte-cdk", "lxml", "pycurl", "zeep")


@dataclass(frozen=True)
class Section:
    """One table, and the rounds that it was made from."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    rounds: Any

    def markdown(self) -> str:
        """Return the table as the page shows it."""
        lines = [f"**{self.title}**", "", f"| {' | '.join(self.headers)} |"]
        columns = list(zip(*self.rows, strict=True))
        lines.append(f"|{'|'.join(_alignment(column) for column in columns)}|")
        lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in self.rows]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Size:
    """How much is measured: rounds of a comparison, and the share of the full accounts."""

    rounds: int
    scale: float

    def of(self, number: int, least: int = 1) -> int:
        """Return a number of messages, rows or contacts at this scale."""
        return max(least, int(number * self.scale))


def environment() -> str:
    """Return the machine and the versions that a figure depends on."""
    parts = [
        f"{_processor()} ({platform.machine()}), {len(os.sched_getaffinity(0))} cores",
        platform.system(),
        f"Python {platform.python_version()}",
        *(text for package in PACKAGES for text in _version(package)),
    ]
    return ", ".join(parts)


def plain(value: object) -> Any:
    """Return a round's figures as JSON has them; for `json.dumps`."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(type(value).__name__)


def _version(package: str) -> list[str]:
    try:
        return [f"{package} {version(package)}"]
    except PackageNotFoundError:
        return []


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
    return " --- " if any(isinstance(cell, str) and cell for cell in column) else " ---: "


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
