"""The benchmark runs, and computes what its page says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.__main__ import SCENARIOS, page
from benchmarks.giants import tenths
from benchmarks.imports import costs, parse
from benchmarks.measure import Figures, interleaved, medians
from benchmarks.report import Section
from integration_tests.harness import ROOT

TRACE = """\
import time: self [us] | cumulative | imported package
import time:         5 |          5 |     airbyte_cdk.models.one
import time:        10 |         10 |         lxml.etree
import time:        20 |         30 |       lxml
import time:       100 |        130 |     airbyte_cdk.models.two
import time:         7 |        142 |   airbyte_cdk
import time:         1 |        143 | source_listrak.run
"""


@pytest.mark.slow
def test_each_reader_reads_and_each_table_is_printed() -> None:
    command = ["-m", "benchmarks", "throughput", "parts", "--scale", "0.001", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| serial zeep client | 10,000 |" in done.stdout
    assert "| CDK floor, stock | 300 |" in done.stdout
    assert "| message_opens | 1,000 |" in done.stdout


def test_each_scenario_has_its_place_on_the_page() -> None:
    found = {name: [Section(f"Table of {name}", ["figure"], [[1234567]], [])] for name in SCENARIOS}
    text = page(found, "a machine")
    assert "{" not in text
    for name in SCENARIOS:
        assert f"**Table of {name}**\n\n| figure |\n| ---: |\n| 1,234,567 |\n\n" in text


def test_what_a_package_imports_first_is_counted_to_it_once() -> None:
    found = costs(parse(TRACE))
    assert (found["lxml"].alone, found["lxml"].total, len(found["lxml"].modules)) == (30, 30, 2)
    assert found["airbyte_cdk.models.two"].total == 130
    assert found["airbyte_cdk"].alone == 7
    assert found["airbyte_cdk"].total == 142
    assert found["source_listrak.run"].total == 143


def test_utilisation_is_the_median_of_rounds_between_the_first_request_and_the_last() -> None:
    steady = [0, 0, *[20] * 50, 0]
    fading = [0, *[20] * 25, *[2] * 25, 0, 0]
    assert tenths([steady]) == [20] * 10
    assert tenths([fading]) == [20] * 5 + [2] * 5
    assert tenths([steady, fading, fading]) == [20] * 5 + [2] * 5
    assert tenths([[]]) == [0] * 10


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
