"""The demo's report, opened by a browser without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from demo.load import Spool, connect, load
from demo.report import SECTIONS, Section, write_report
from demo.transform import SCHEMA, build
from simulator import AccountConfig, SimulatorConfig, SimulatorProcess
from source_listrak.tables import TABLES, schema

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif("DBT" not in os.environ, reason="needs dbt (make browser)"),
]

EMITTED = 1_709_251_200_000  # 2024-03-01T00:00:00Z, after all that the account holds
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_ORIGIN = "not an origin"
# Each of these keeps the browser itself from requesting anything, the last one everything.
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
    """A page as a browser shows it: the document after its scripts, and what it requested."""

    def __init__(self, path: Path, folder: Path) -> None:
        browser = next(filter(None, map(shutil.which, NAMES)), None)
        if browser is None:
            pytest.skip("there is no Chromium (apt-get install chromium)")
        log = folder / "net.json"
        done = subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", *QUIET,
                # The page is shown in a frame of a given width.
                "--allow-file-access-from-files",
                f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
                "--virtual-time-budget=20000", "--window-size=1100,1600", "--dump-dom",
                path.as_uri(),
            ],
            capture_output=True, encoding="utf-8", timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        self.document = done.stdout[done.stdout.index("<body") :]
        self.requests = list(_requests(log))

    def section(self, name: str) -> str:
        """Return the part of the document with one chart, and its table if there is one."""
        start = self.document.index(f'id="{name}"')
        end = self.document.find("<h2>", start)
        return self.document[start : end if end > 0 else None]


def _requests(log: Path) -> Iterator[str]:
    """Yield each URL that the page requested, other than files of this machine."""
    recorded: dict[str, Any] = json.loads(log.read_text(encoding="utf-8"))
    for event in recorded["events"]:
        parameters = event.get("params", {})
        # What the browser itself requests has no origin.
        if parameters.get("initiator", NO_ORIGIN) != NO_ORIGIN:
            url = parameters.get("url", "")
            if not url.startswith(("file:", "data:", "blob:")):
                yield url


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, int]]]:
    """The report of an account, and how many rows each chart and table must show."""
    folder = tmp_path_factory.mktemp("report")
    account = AccountConfig(lists=2, messages_per_list=15, recipients_per_message=80)
    truth = SimulatorProcess(SimulatorConfig(account=account)).truth()
    schemas = {table: schema(table) for table in TABLES}
    path = folder / "listrak.duckdb"
    with closing(Spool(folder / "records", schemas)) as spool:
        for table, records in truth.items():
            for record in records:
                spool.add(table, record, EMITTED)
    with connect(path) as database:
        load(database, schemas, spool, "main")
    build(path, folder / "dbt")
    with connect(path) as database:
        write_report(database, folder / "report.html")
        database.execute(f"USE {SCHEMA}")
        rows = {
            section.name: (
                len(database.execute(section.chart).fetchall()),
                len(database.execute(section.table).fetchall()) if section.table else 0,
            )
            for section in SECTIONS
        }
    return folder / "report.html", rows


@pytest.fixture(scope="module")
def page(
    report: tuple[Path, dict[str, tuple[int, int]]], tmp_path_factory: pytest.TempPathFactory
) -> Page:
    return Page(report[0], tmp_path_factory.mktemp("browser"))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_each_section_shows_every_row(
    page: Page, report: tuple[Path, dict[str, tuple[int, int]]], section: Section
) -> None:
    shown = page.section(section.name)
    charted, tabled = report[1][section.name]
    assert ('class="main-svg"' in shown) == (section.kind != "bars")
    assert charted > 0
    if section.kind == "bars":
        assert shown.count("<li>") == charted
    elif section.kind == "lines":
        assert shown.count('class="trace scatter') == len(section.colours)
    else:
        assert shown.count('class="point"') == charted * len(section.colours)
    if section.table:
        assert tabled > 0
        assert shown.count("<tr>") == tabled + 1


# Chromium's own window is not as narrow as a phone, but a frame can be.
FRAME = """<body><iframe src="{source}" style="width:{width}px;height:6000px"></iframe><script>
onload = () => setTimeout(() => {{
  const page = document.querySelector("iframe").contentDocument;
  const texts = [...page.querySelectorAll(".xtick text, .ytick text")];
  const root = page.documentElement;
  document.body.dataset.overflow = root.scrollWidth - root.clientWidth;
  document.body.dataset.rotated = texts.filter(
    text => /rotate[(](?!0)/.test(text.getAttribute("transform") || "")).length;
  document.body.dataset.track = Math.min(
    ...[...page.querySelectorAll(".track")].map(track => track.clientWidth));
}}, 3000);
</script></body>"""


@pytest.mark.parametrize("width", [360, 1280])
def test_at_any_width_nothing_overflows_and_no_label_is_rotated(
    report: tuple[Path, dict[str, tuple[int, int]]], tmp_path: Path, width: int
) -> None:
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(source=report[0].as_uri(), width=width), encoding="utf-8")
    document = Page(frame, tmp_path).document
    measured = dict(re.findall(r'data-(\w+)="(-?\d+)"', document))
    assert measured["overflow"] == measured["rotated"] == "0"
    # The bars have most of the width.
    assert int(measured["track"]) > 0.8 * min(width, 1080)


def test_no_request_leaves_the_machine(page: Page) -> None:
    assert page.requests == []


def test_a_request_of_a_page_is_seen(
    tmp_path: Path,
) -> None:
    """The test above can fail."""
    requesting = tmp_path / "requesting.html"
    picture = '<body><img src="http://127.0.0.1:9/picture.png"></body>'
    requesting.write_text(picture, encoding="utf-8")
    assert any("127.0.0.1:9" in url for url in Page(requesting, tmp_path).requests)


def test_the_report_contains_no_address_of_a_customer(
    report: tuple[Path, dict[str, tuple[int, int]]],
) -> None:
    text = report[0].read_text(encoding="utf-8")
    shown = text[text.index("<body>") :]
    assert not re.search(r"[\w.+-]+@[\w-]+\.[a-z]{2,}", shown)
