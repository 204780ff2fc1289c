"""The benchmark runs, and computes what its page says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import schedules
from benchmarks.__main__ import SCENARIOS, page
from benchmarks.measure import Figures, interleaved, medians
from benchmarks.report import Section, Size, Target
from drivers.setups import HOUR, ROOT


@pytest.mark.slow
def test_each_reader_reads_and_each_table_is_printed(tmp_path: Path) -> None:
    raw = tmp_path / "raw.json"
    parts = ["throughput", "workers", "many-lists", "operations", "start-up"]
    small = ["--scale", "0.001", "--rounds", "1", "--raw", str(raw)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *parts, *small],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| serial zeep client | 10,000 |" in done.stdout
    assert "| stock CDK floor | 300 |" in done.stdout
    assert "| first | 40 |" in done.stdout
    assert "| ReportRangeMessageContactOpen | message_opens |" in done.stdout
    assert "| check: requests | at most 2 | 2.00 | yes |" in done.stdout
    assert list(json.loads(raw.read_text())) == ["run", *parts]


def test_a_schedule_is_measured_with_both_rules() -> None:
    config = schedules.account(Size(1, 0.03))
    after = schedules.cost(config, HOUR, 6)
    with schedules.rule_of_0_2_0():
        before = schedules.cost(config, HOUR, 6)
    assert before.new.total() >= after.new.total() > 0
    assert sum(before.emitted.values()) > 2 * sum(after.emitted.values())
    assert before.requests > after.requests


@pytest.mark.parametrize("lag", [0, 3, 12])
def test_in_spite_of_a_lag_events_arrive_within_two_syncs(lag: int) -> None:
    _, events, _, _, longest, missing = schedules.arrivals(Size(1, 0.4), lag)
    assert events
    assert missing == 0
    assert float(str(longest)) <= 2


def test_each_scenario_has_its_place_on_the_page() -> None:
    found = {name: [Section(f"Table of {name}", ["figure"], [[1234567]], [])] for name in SCENARIOS}
    text = page(found, "a machine")
    assert "{" not in text
    assert "This run: a machine." in text
    for name in SCENARIOS:
        assert f"**Table of {name}**\n\n| figure |\n| ---: |\n| 1,234,567 |\n\n" in text


def test_the_page_says_of_each_target_whether_it_is_met() -> None:
    targets = [
        Target("Speed", 2.6, 2.5, is_minimum=True),
        Target("Slowness", 2.4, 2.5, is_minimum=True),
        Target("Memory", 149.5, 150),
        Target("Waste", 151.2, 150),
    ]
    found = {"memory": [Section("A table", ["figure"], [[1]], [], targets)]}
    lines = page(found, "a machine").splitlines()
    assert "| Speed | at least 2.5 | 2.60 | yes |" in lines
    assert "| Slowness | at least 2.5 | 2.40 | no |" in lines
    assert "| Memory | at most 150 | 150 | yes |" in lines
    assert "| Waste | at most 150 | 151 | no |" in lines


def test_candidates_take_turns_and_each_figure_has_a_median_of_its_own() -> None:
    order: list[str] = []
    costly = iter([Figures(3.0, 1.0, 50.0, 7), Figures(1.0, 3.0, 60.0, 7), Figures(2.0, 2.0, 1, 7)])

    def costs_differently() -> Figures:
        order.append("a")
        return next(costly)

    def costs_the_same() -> Figures:
        order.append("b")
        return Figures(1.0, 1.0, 1.0, 1)

    found = medians(interleaved(3, {"a": costs_differently, "b": costs_the_same}))
    assert order == ["a", "b"] * 3
    assert found["a"] == Figures(2.0, 2.0, 50.0, 7)
    assert len(interleaved(3, {"b": costs_the_same}, seconds=0)["b"]) == 1
