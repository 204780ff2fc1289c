"""Reports at the end what was compared."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest


@dataclass
class Report:
    """What the tests have compared so far."""

    arguments: int = 0
    records: int = 0
    faults: set[str] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)


REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="package")
def report(pytestconfig: pytest.Config) -> Report:
    """Return what the tests add to."""
    return pytestconfig.stash.setdefault(REPORT, Report())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the report, if a test of this folder ran."""
    report = config.stash.get(REPORT, None)
    if report is not None:
        terminalreporter.write_line(
            f"ASP.NET: {report.arguments:,} arguments compared, {report.records:,} records "
            f"compared, {len(report.faults)} kinds of faults distinguished "
            f"({', '.join(sorted(report.faults))}), {time.monotonic() - report.began:.0f} s"
        )
