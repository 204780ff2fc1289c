"""The demo's report, opened by a browser that may ask nothing of anybody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.load import Spool, connect, create_views, load
from demo.report import BEST, write_report
from integration_tests.harness import ROOT
from integration_tests.simulator import AccountConfig, SimulatorConfig, SimulatorProcess
from source_listrak.streams import STREAMS

pytestmark = pytest.mark.browser

CHARTS = ("engagement", "campaigns", "deliverability")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_ORIGIN = "not an origin"
# Each of these keeps the browser itself from calling home, the last one for good.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-default-browser-check",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Page:
    """What a browser made of a file: the document after its scripts, and what it asked for."""

    def __init__(self, path: Path, folder: Path) -> None:
        browser = next(filter(None, map(shutil.which, NAMES)), None)
        if browser is None:
            pytest.skip("there is no Chromium (apt-get install chromium)")
        log = folder / "net.json"
        done = subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", *QUIET,
                f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
                "--virtual-time-budget=20000", "--window-size=1100,1600", "--dump-dom",
                path.as_uri(),
            ],
            capture_output=True, encoding="utf-8", timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        self.document = done.stdout[done.stdout.index("<body") :]
        self.requests = list(_requests(log))

    def chart(self, name: str) -> str:
        """Return the part of the document that holds one chart."""
        start = self.document.index(f'id="{name}"')
        end = self.document.find("<h2>", start)
        return self.document[start : end if end > 0 else None]


def _requests(log: Path) -> Iterator[str]:
    """Yield each URL beyond this machine's files that the page asked for."""
    recorded: dict[str, Any] = json.loads(log.read_text(encoding="utf-8"))
    for event in recorded["events"]:
        parameters = event.get("params", {})
        # What the browser asks for itself has no origin.
        if parameters.get("initiator", NO_ORIGIN) != NO_ORIGIN:
            url = parameters.get("url", "")
            if not url.startswith(("file:", "data:", "blob:")):
                yield url


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The report of an account, and how many marks each chart must have."""
    folder = tmp_path_factory.mktemp("report")
    account = AccountConfig(lists=2, messages_per_list=15, recipients_per_message=80)
    truth = SimulatorProcess(SimulatorConfig(account=account)).truth()
    schemas = {stream.name: stream.schema() for stream in STREAMS}
    with connect(folder / "listrak.duckdb") as database:
        with Spool(folder / "records", schemas) as spool:
            for table, records in truth.items():
                for record in records:
                    spool.add(table, record)
        load(database, schemas, spool, "main")
        create_views(database, ROOT / "analytics")
        write_report(database, folder / "report.html")
        query = (
            "SELECT 3 * (SELECT COUNT(DISTINCT DATE_TRUNC('week', CAST(day AS DATE)))"
            " FROM engagement_by_day), (SELECT COUNT(domain) FROM deliverability)"
        )
        ((points, domains),) = database.execute(query).fetchall()
    marks = {"engagement": points, "campaigns": BEST, "deliverability": domains}
    return folder / "report.html", marks


@pytest.fixture(scope="module")
def page(facts: tuple[Path, dict[str, int]], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(facts[0], tmp_path_factory.mktemp("browser"))


@pytest.mark.parametrize("name", CHARTS)
def test_when_the_report_is_opened_then_each_chart_shows_every_mark(
    page: Page, facts: tuple[Path, dict[str, int]], name: str
) -> None:
    chart = page.chart(name)
    assert 'class="main-svg"' in chart
    marks = chart.count('class="point"')
    assert marks == facts[1][name] > 0


def test_when_the_report_is_opened_then_no_request_leaves_the_machine(page: Page) -> None:
    assert page.requests == []


def test_given_a_page_that_asks_when_opened_then_the_request_is_seen(tmp_path: Path) -> None:
    """The test above can fail."""
    asking = tmp_path / "asking.html"
    asking.write_text('<body><img src="http://127.0.0.1:9/picture.png"></body>', encoding="utf-8")
    assert any("127.0.0.1:9" in wish for wish in Page(asking, tmp_path).requests)


def test_when_the_report_is_written_then_no_address_of_a_customer_is_in_it(
    facts: tuple[Path, dict[str, int]],
) -> None:
    text = facts[0].read_text(encoding="utf-8")
    shown = text[text.index("<body>") :]
    assert not re.search(r"[\w.+-]+@[\w-]+\.[a-z]{2,}", shown)
