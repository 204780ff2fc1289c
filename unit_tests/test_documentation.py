"""The documentation page says what the code does, and all of it."""

from __future__ import annotations

import ast
import re
from itertools import combinations
from pathlib import Path

import pytest

from scripts import document
from source_listrak.config import ListrakConfig
from source_listrak.soap.faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "listrak.md").read_text(encoding="utf-8")

EVENTS = {"message_bounces", "message_clicks", "message_opens", "message_reads", "message_unsubs"}
CONTRACT = {
    "ListID": {"lists", "messages", "subscribed_contacts"},
    "MsgID": {"messages", "message_sends"} | EVENTS,
    "ContactID": {"subscribed_contacts"} | EVENTS,
}
"""The tables that other Listrak integrations join with each other, by the column they use."""


def test_the_generated_parts_are_what_the_code_says() -> None:
    assert document.filled(PAGE) == PAGE, "run: python scripts/document.py"


def test_the_sections_stand_in_the_order_of_airbyte_s_pages() -> None:
    assert re.findall(r"^## (.*)$", PAGE, re.M) == [
        "Prerequisites",
        "Setup guide",
        "Supported sync modes",
        "Supported streams",
        "Performance considerations",
        "Data type map",
        "Limitations and troubleshooting",
        "Moving from Stitch",
        "IP allow list",
        "Changelog",
    ]


@pytest.mark.parametrize("column", CONTRACT)
def test_each_join_of_the_contract_is_in_the_diagram(column: str) -> None:
    diagram = "\n".join(document.diagram())
    edges = re.findall(rf"^    (\w+) \S+ (\w+) : {column}$", diagram, re.M)
    joined = {frozenset(edge) for edge in edges}
    for left, right in combinations(sorted(CONTRACT[column]), 2):
        through = any({frozenset((left, hub)), frozenset((hub, right))} <= joined
                      for hub in CONTRACT[column])  # fmt: skip
        assert frozenset((left, right)) in joined or through, (left, right)


def test_the_schemas_join_as_the_contract_says_and_no_further() -> None:
    wanted = {
        (frozenset(pair), column)
        for column, tables in CONTRACT.items()
        for pair in combinations(tables, 2)
    }
    assert {(frozenset((a, b)), column) for a, b, column in document.joins()} == wanted


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_is_under_troubleshooting(fault: Fault) -> None:
    section = PAGE[PAGE.index("### Troubleshooting") : PAGE.index("## Moving from Stitch")]
    assert f"| {fault.message} |" in section


@pytest.mark.parametrize("module", ["config.py", "source.py", "streams/concurrent.py"])
def test_each_other_error_is_under_troubleshooting(module: str) -> None:
    section = PAGE[PAGE.index("### Troubleshooting") : PAGE.index("## Moving from Stitch")]
    pieces = list(error_texts(ROOT / "source_listrak" / module))
    assert pieces, "the test reads nothing"
    assert [piece for piece in pieces if piece not in section] == []


def error_texts(path: Path) -> list[str]:
    """Return the fixed pieces of the texts with which a module's errors are made."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        arguments: list[ast.expr] = []
        if name in ("config_error", "ValueError"):
            arguments = node.args
        elif name in ("SyncFailed", "AirbyteTracedException"):
            arguments = [word.value for word in node.keywords if word.arg == "message"]
        for argument in arguments:
            if isinstance(argument, ast.Constant):
                found.append(str(argument.value))
            elif isinstance(argument, ast.JoinedStr):
                parts = [part for part in argument.values if isinstance(part, ast.Constant)]
                found += [str(part.value).strip(" ,:.()") for part in parts]
    return [piece for piece in found if len(piece) > 3]


def test_each_field_of_the_form_is_told() -> None:
    fields = ListrakConfig.connection_specification()["properties"].values()
    titles = [field["title"] for field in fields]
    missing = [title for title in titles if title.split(":")[0].split(" (")[0] not in PAGE]
    assert missing == []


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.findall(r'^version = "(.*)"$', text, re.M)[0]
    assert f"| {version} |" in PAGE[PAGE.index("## Changelog") :]


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_links_within_the_documentation_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            if target[1:] not in anchors:
                broken.append(target)
        elif "://" not in target and not (page.parent / target.split("#")[0]).exists():
            broken.append(target)
    assert broken == []
