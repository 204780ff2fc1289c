"""The documentation says what the code does, and all of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import source_listrak
from scripts import document
from source_listrak.config import ListrakConfig
from source_listrak.soap.client import (
    CHECK_POLICY,
    FAILURES_IN_A_ROW,
    LONGEST_RETRY_AFTER,
    READ_POLICY,
    REPORTED_WAIT,
)
from source_listrak.streams.list import ANALYTICS_BATCH
from source_listrak.sync.ledger import REFUSALS_LIMIT
from source_listrak.sync.plan import GONE_FOR_LONG
from source_listrak.sync.reader import EMPTY_PAGES_LIMIT, PASSES_LIMIT
from source_listrak.sync.state import DEFERRED_LIMIT
from source_listrak.sync.windows import CYCLE
from source_listrak.tables import RECENT, SETTLING, TABLES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("analytics/*.md")])
PAGE = (ROOT / "docs" / "listrak.md").read_text(encoding="utf-8")
COSTS = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
DECISIONS = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
MODULES = sorted(Path(source_listrak.__file__).parent.rglob("*.py"))
LOOKBACK = ListrakConfig.model_fields["lookback_days"].default

EVENTS = {"message_bounces", "message_clicks", "message_opens", "message_reads", "message_unsubs"}
CONTRACT = {
    "ListID": {"lists", "messages", "subscribed_contacts"},
    "MsgID": {"messages", "message_sends"} | EVENTS,
    "ContactID": {"subscribed_contacts"} | EVENTS,
}
"""The tables that other Listrak integrations join with each other, by column."""


def section(heading: str) -> str:
    """Return what is under a heading of the documentation page, up to the next one of its level."""
    level = heading.split()[0]
    return re.split(rf"^#{{1,{len(level)}}} ", PAGE.partition(f"\n{heading}\n")[2], flags=re.M)[0]


def flat(text: str) -> str:
    return " ".join(text.split())


# What is generated


@pytest.mark.parametrize("file", document.FILES, ids=lambda file: file.name)
def test_the_generated_parts_are_current(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert document.fill(text) == text, "run: python -m scripts.document"


def test_every_generated_part_has_a_place() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in document.FILES)
    assert {found["part"] for found in document.MARKED.finditer(text)} == set(document.PARTS)


@pytest.mark.parametrize("column", CONTRACT)
def test_tables_join_as_other_integrations_join_them(column: str) -> None:
    hub = document.HUBS[column]
    joined = {table for table in TABLES if document.joins(table).get(column) == hub}
    assert CONTRACT[column] <= joined | {hub}


# The documentation page


def test_the_headings_are_in_the_order_of_airbyte_s_standard() -> None:
    standard = [
        "Prerequisites",
        "Setup guide",
        "Step 1: Set up Listrak",
        "Step 2: Set up the Listrak connector in Airbyte",
        "For Airbyte Cloud:",
        "For Airbyte Open Source:",
        "Supported sync modes",
        "Supported Streams",
        "IP allow list",
        "Performance considerations",
        "Data type map",
        "Limitations & Troubleshooting",
        "Changelog",
    ]
    headings = re.findall(r"^##+ (.*)$", PAGE, re.M)
    assert [heading for heading in headings if heading in standard] == standard
    # The standard allows other headings in certain places only.
    for before, after in (
        ("Supported sync modes", "Supported Streams"),
        ("IP allow list", "Performance considerations"),
        ("Performance considerations", "Data type map"),
        ("Data type map", "Limitations & Troubleshooting"),
    ):
        assert headings.index(after) == headings.index(before) + 1


def test_the_prerequisites_name_the_required_fields() -> None:
    form = ListrakConfig.connection_specification()
    for name in form["required"]:
        assert f"**{form['properties'][name]['title']}**" in section("## Prerequisites")


def test_the_guide_is_complete_where_no_other_page_is_shown() -> None:
    """Airbyte and the package index show this page alone."""
    links = re.findall(r"\]\(([^)\s]+)\)", PAGE)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_every_option_has_an_anchor_for_the_form() -> None:
    form = ListrakConfig.connection_specification()
    assert re.findall(r'<FieldAnchor field="(\w+)">', PAGE) == list(form["properties"])


def test_every_table_is_among_the_costs() -> None:
    requests = COSTS.partition("## Requests of each stream")[2].partition("\n## ")[0]
    assert [table for table in TABLES if f"`{table}`" not in requests] == []


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (PAGE, f"sent in the last {RECENT.days} days"),
        (PAGE, f"late ({LOOKBACK} unless changed)"),
        (PAGE, f"sent in the last {SETTLING.days} days"),
        (PAGE, f"once in {CYCLE.days} days"),
        (PAGE, f"up to {DEFERRED_LIMIT:,} reports per stream"),
        (PAGE, f"in every sync for {GONE_FOR_LONG.days} days"),
        (PAGE, f"at least {READ_POLICY.attempts} times"),
        (PAGE, f"over at least {READ_POLICY.seconds / 60:g} minutes"),
        (PAGE, f"in at most {PASSES_LIMIT} passes"),
        (COSTS, f"1 per {ANALYTICS_BATCH:,} messages"),
        (ERRORS, f"contacts left or changed during each of {PASSES_LIMIT} passes"),
        (ERRORS, f"Up to {DEFERRED_LIMIT:,} reports per stream"),
        (ERRORS, f"for {GONE_FOR_LONG.days} days"),
        (ERRORS, f"at least {READ_POLICY.attempts} attempts"),
        (ERRORS, f"over at least {READ_POLICY.seconds:g} seconds"),
        (ERRORS, f"gives up after {CHECK_POLICY.deadline:g} seconds"),
        (ERRORS, f"at most {LONGEST_RETRY_AFTER / 60:g} minutes"),
        (ERRORS, f"more than {REPORTED_WAIT:g} seconds"),
        (ERRORS, f"its first {REFUSALS_LIMIT} reports are all refused"),
        (ERRORS, f"after {FAILURES_IN_A_ROW} requests in a row"),
        (DECISIONS, f"### {RECENT.days}, {CYCLE.days} and {SETTLING.days} days"),
        (DECISIONS, f"### The lookback is {LOOKBACK} days"),
        (DECISIONS, f"{DEFERRED_LIMIT:,} slices can be deferred"),
        (DECISIONS, f"At most {PASSES_LIMIT} passes"),
        (DECISIONS, f"Up to {EMPTY_PAGES_LIMIT} present but empty pages"),
    ],
)
def test_the_numbers_are_those_of_the_code(page: str, sentence: str) -> None:
    assert sentence in flat(page)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_every_message_is_among_the_errors(module: Path) -> None:
    assert [text for text in message_texts(module) if text not in ERRORS] == []


def test_the_messages_of_every_kind_are_found() -> None:
    found = {text for module in MODULES for text in message_texts(module)}
    assert {
        "it must be an IANA time zone such as America/New_York",  # an invalid option
        "These streams did not sync completely",  # the error of a sync
        "Later cases are only counted in the summary",  # a warning
        "which is probably wrong",  # a warning that a function returns
    } <= found


def message_texts(module: Path) -> Iterator[str]:
    """Yield the fixed parts of the texts with which a module makes errors and warnings.

    A ValueError of the layer `soap` is caught, and its text is never shown.
    """
    errors = ["config_error"] if module.parent.name == "soap" else ["config_error", "ValueError"]
    texts: list[ast.expr] = []
    names: dict[str, str] = {}
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=function):
                name = ast.unparse(function).rpartition(".")[2]
                if name in (*errors, "warning", "warn"):
                    texts += node.args
                elif name in ("SyncFailed", "AirbyteTracedException"):
                    texts += [word.value for word in node.keywords if word.arg == "message"]
            case ast.FunctionDef(name="warning"):
                texts += [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))):
                names[name] = value
    for text in texts:
        for part in ast.walk(text):
            fixed = names.get(part.id) if isinstance(part, ast.Name) else None
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                fixed = part.value
            if fixed and " " in fixed.strip() and "%" not in fixed:  # which is a format
                yield fixed.strip(" ,:.();")


# All pages


def test_the_layout_names_every_module_of_the_package() -> None:
    layout = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = Path(source_listrak.__file__).parent
    modules = {path.name for path in package.glob("**/*.py") if path.parent.name != "streams"}
    assert [name for name in modules - {"__init__.py"} if f" {name} " not in layout] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        if "://" in name:
            continue
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
