"""Writes the parts of the documentation that follow from the code.

python -m scripts.document            writes them between their markers
python -m scripts.document --check    fails when a file is not what the code says
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.changelog import CHANGELOG, releases
from source_listrak.config import ListrakConfig
from source_listrak.soap.faults import FAULTS
from source_listrak.tables import TABLES, Table, schema

ROOT = Path(__file__).resolve().parents[1]
FILES = (ROOT / "docs" / "listrak.md", ROOT / "docs" / "tables.md", ROOT / "docs" / "errors.md")

HUBS = {
    "ListID": "lists",
    "CampaignID": "campaigns",
    "MsgID": "messages",
    "ConversationID": "conversations",
    "ContactID": "subscribed_contacts",
}
"""The columns that tables are joined on, and the table that is joined."""

ALIASES = {"MessageID": "MsgID"}
"""Columns that hold an identifier under another name."""


def columns(table: str) -> Mapping[str, Any]:
    """Return the columns of a table: the properties of its JSON schema."""
    found: Mapping[str, Any] = schema(table)["properties"]
    return found


def joins(table: str) -> Mapping[str, str]:
    """Return the tables that a table joins to, by column.

    What its message or conversation joins to is left out. Whether `messages` lists the mail of
    conversations is not known, so nothing of a conversation joins to it.
    """
    found = {ALIASES.get(column, column) for column in columns(table)}
    hubs = {column: hub for column, hub in HUBS.items() if column in found and hub != table}
    if "ConversationID" in hubs:
        hubs.pop("MsgID", None)
    nearest = hubs.get("ConversationID") or hubs.get("MsgID")
    inherited = columns(nearest) if nearest else {}
    return {
        column: hub for column, hub in hubs.items() if hub == nearest or column not in inherited
    }


def fields() -> Iterator[str]:
    """Yield the options, each in the block that Airbyte's form scrolls to."""
    form = ListrakConfig.connection_specification()
    for name, field in form["properties"].items():
        if name in form["required"]:
            default = "required"
        elif "default" in field:
            value = field["default"]
            default = f"default `{value if isinstance(value, str) else json.dumps(value)}`"
        else:
            default = "no default"
        yield f'<FieldAnchor field="{name}">\n'
        yield f"**{field['title']}** (`{name}`, {default}). {field['description']}\n"
        yield "</FieldAnchor>\n"


def sync_mode(table: Table) -> str:
    """Return the sync mode to choose for a table, with what follows from it."""
    if table.cursor is None:
        return "Full Refresh | Overwrite: the current state"
    if table.repeats:
        return (
            "Append + Deduped with **Keep repeated events**; without it, one event per contact and "
            "message is kept <sup>1</sup>"
        )
    if table.name == "subscribed_contacts":
        return "Append + Deduped: one row per contact and list, also of contacts that left"
    if table.name == "list_imports":
        return "Append + Deduped: a full refresh returns only 30 days"
    if table.name == "message_sends":
        return "Append + Deduped: one row per recipient"
    if table.cursor in table.key and table.cursor != "MsgID":
        return "Append + Deduped: every event once"
    return "Append + Deduped: current totals; Append: the totals of each sync"


def schedule(table: Table) -> str:
    """Return the schedule to choose for a table."""
    if table.name == "list_imports":
        return "at least every two weeks"
    # Totals without dates change slowly, and cost a request for each list or message.
    has_date = table.cursor is not None and table.cursor != "MsgID"
    return "hourly or daily" if has_date or table.name == "lists" else "daily"


def streams() -> Iterator[str]:
    """Yield the table of the streams."""
    yield "| Stream | Content | Sync mode to choose | Schedule | Primary key | Cursor |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for table in TABLES.values():
        content = re.split(r"[;:.]", schema(table.name)["description"])[0]
        key = ", ".join(f"`{column}`" for column in table.key)
        if table.repeats:
            key += f" (+ {', '.join(f'`{column}`' for column in table.repeats)})"
        cursor = f"`{table.cursor}`" if table.cursor else "none"
        mode = sync_mode(table).replace("|", "\\|")
        yield f"| `{table.name}` | {content} | {mode} | {schedule(table)} | {key} | {cursor} |"


def diagram() -> Iterator[str]:
    """Yield the joins as a Mermaid diagram; tables that join alike share a box."""
    boxes: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for table in TABLES:
        # Each table that is joined to has a box of its own.
        own = ((table, table),) if table in HUBS.values() else ()
        boxes.setdefault((*joins(table).items(), *own), []).append(table)
    yield "```mermaid"
    yield "flowchart LR"
    for tables in boxes.values():
        yield f'    {tables[0]}["{"<br/>".join(tables)}"]'
    for tables in boxes.values():
        for column, hub in joins(tables[0]).items():
            yield f"    {hub} -- {column} --> {tables[0]}"
    yield "```"


def kind(column: Mapping[str, Any]) -> str:
    """Return a column's JSON type and format in words."""
    types = column["type"] if isinstance(column["type"], list) else [column["type"]]
    (name,) = (one for one in types if one != "null")
    if name == "array":
        return f"array of {kind(column['items'])}s"
    return "date-time" if column.get("format") == "date-time" else str(name)


def tables() -> Iterator[str]:
    """Yield every column of every table, each table folded."""
    for table in TABLES:
        yield f"<details>\n<summary><code>{table}</code></summary>\n"
        yield f"{schema(table)['description']} API operation: `{TABLES[table].operation}`.\n"
        yield "| Column | Type | Meaning |"
        yield "| --- | --- | --- |"
        for name, column in columns(table).items():
            yield f"| `{name}` | {kind(column)} | {column['description']} |"
        yield "\n</details>\n"


def errors() -> Iterator[str]:
    """Yield the table of what can arrive other than rows."""
    yield "| What arrived | Message | What the connector does | Failure type |"
    yield "| --- | --- | --- | --- |"
    for fault in FAULTS:
        does = fault.action.value
        if fault.slows_down:
            does += " All requests pause, then half as many are in flight."
        trigger = fault.trigger[0].upper() + fault.trigger[1:]
        yield f"| {trigger} | {fault.message} | {does} | `{fault.failure_type.value}` |"


def changelog() -> Iterator[str]:
    """Yield the section with the releases; Airbyte's check allows no comment within it."""
    yield "## Changelog\n\n<details>\n  <summary>Expand to review</summary>\n"
    yield "| Version | Date | Subject |"
    yield "| :--- | :--- | :--- |"
    for release in releases(CHANGELOG.read_text(encoding="utf-8")):
        subject = "<br/>".join(change.replace("|", "\\|") for change in release.changes)
        yield f"| {release.version} | {release.date} | {subject} |"
    yield "\n</details>"


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "fields": fields,
    "streams": streams,
    "diagram": diagram,
    "tables": tables,
    "errors": errors,
    "changelog": changelog,
}


MARKED = re.compile(
    r"(<!-- (?P<part>\w+): written by scripts/document.py -->\n)"
    r"(?s:.*?)(<!-- end of (?P=part) -->)"
)
"""The place of a part in a page."""


def fill(page: str) -> str:
    """Return a page with each of its parts as the code says."""

    def part(found: re.Match[str]) -> str:
        lines = "\n".join(PARTS[found["part"]]())
        return f"{found[1]}\n{lines.strip()}\n\n{found[3]}"

    return MARKED.sub(part, page)


def main() -> int:
    """Write the files, or check them."""
    is_stale = False
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        filled = fill(text)
        if "--check" not in sys.argv:
            file.write_text(filled, encoding="utf-8")
        elif filled != text:
            print(f"{file.relative_to(ROOT)} is out of date. Run: python -m scripts.document")
            is_stale = True
    return int(is_stale)


if __name__ == "__main__":
    sys.exit(main())
