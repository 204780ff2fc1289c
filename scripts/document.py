"""Writes the parts of docs/listrak.md that follow from the code: streams, diagram, columns, errors.

python scripts/document.py            writes them between their markers
python scripts/document.py --check    fails when they are not what the code says
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from source_listrak.soap.faults import FAULTS, Action  # noqa: E402 - found by the line above
from source_listrak.streams import STREAMS, ListrakStream  # noqa: E402

PAGE = ROOT / "docs" / "listrak.md"
HUBS = {"ListID": "lists", "MsgID": "messages", "ContactID": "subscribed_contacts"}
"""The columns that tables are joined on, and the table that the diagram draws in their middle."""

ACTIONS = {
    Action.STOP: "Stops the sync at once and asks no more, since more attempts do harm.",
    Action.SKIP: "Skips this one message; the sync goes on.",
    Action.RETRY: "Tries again, then goes on with the rest of the stream, which ends incomplete.",
    Action.REFUSE: "Goes on with the rest of the stream, which ends incomplete.",
}
Schema = Mapping[str, Any]
Join = tuple[str, str, str]


def columns(table: type[ListrakStream]) -> Mapping[str, Schema]:
    """Return the columns of a table."""
    found: Mapping[str, Schema] = table.schema()["properties"]
    return found


def joins() -> list[Join]:
    """Return (table, table, column) of each two tables that share an identifier."""
    return [
        (left.name, right.name, column)
        for column in HUBS
        for left, right in combinations(STREAMS, 2)
        if column in columns(left) and column in columns(right)
    ]


def kind(schema: Schema) -> str:
    """Return a column's JSON type and format in words."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    (name,) = (one for one in types if one != "null")
    if name == "array":
        return f"array of {kind(schema['items'])}"
    return "date-time" if schema.get("format") == "date-time" else str(name)


def streams() -> Iterator[str]:
    """Yield the table of the streams."""
    yield "| Stream | API operation | Primary key | Cursor | Sync modes |"
    yield "| --- | --- | --- | --- | --- |"
    for table in STREAMS:
        cursor = f"`{table.cursor_field}`" if table.cursor_field else "none"
        modes = "Full refresh, incremental" if table.cursor_field else "Full refresh"
        key = ", ".join(f"`{column}`" for column in table.primary_key)
        yield f"| `{table.name}` | `{table.operation}` | {key} | {cursor} | {modes} |"


def diagram() -> Iterator[str]:
    """Yield the tables and their joins as a Mermaid diagram, each drawn from its middle table."""
    yield "```mermaid"
    yield "erDiagram"
    for column, hub in HUBS.items():
        for table in STREAMS:
            if table.name != hub and column in columns(table):
                # A contact is a row of each of its lists, so it is many on both sides.
                line = "}o--o{" if column == "ContactID" else "||--o{"
                yield f"    {hub} {line} {table.name} : {column}"
    yield "    messages }o--o{ subscribed_contacts : ListID"
    for table in STREAMS:
        yield f"    {table.name} {{"
        for name, schema in columns(table).items():
            if name in HUBS or name in table.primary_key or name == table.cursor_field:
                key = " PK" if name in table.primary_key else ""
                yield f"        {kind(schema).replace('-', '_')} {name}{key}"
        yield "    }"
    yield "```"


def join_table() -> Iterator[str]:
    """Yield every two tables that join, and on what."""
    yield "| Column | Tables, each of which joins each other one |"
    yield "| --- | --- |"
    for column in HUBS:
        tables = [table.name for table in STREAMS if column in columns(table)]
        yield f"| `{column}` | {', '.join(f'`{table}`' for table in tables)} |"


def data() -> Iterator[str]:
    """Yield every column of every table."""
    for table in STREAMS:
        yield f"**`{table.name}`**: {table.schema()['description']}"
        yield ""
        yield "| Column | Type | Meaning |"
        yield "| --- | --- | --- |"
        for name, schema in columns(table).items():
            yield f"| `{name}` | {kind(schema)} | {schema['description']} |"
        yield ""


def errors() -> Iterator[str]:
    """Yield every error that an answer of the service can end in."""
    yield "| What came | What you read | What the connector does |"
    yield "| --- | --- | --- |"
    for fault in FAULTS:
        yield f"| {fault.when} | {fault.message} | {ACTIONS[fault.action]} |"


PARTS = {
    "streams": streams,
    "diagram": diagram,
    "joins": join_table,
    "columns": data,
    "errors": errors,
}


def filled(page: str) -> str:
    """Return the page with every part written anew.

    :raises ValueError: a part has no place in the page
    """
    for name, lines in PARTS.items():
        text = "\n".join(lines()).strip()
        marker = re.compile(rf"(<!-- {name}: [^\n]* -->\n)(.*?)(<!-- end of {name} -->)", re.S)
        page, places = marker.subn(
            lambda found, text=text: f"{found[1]}\n{text}\n\n{found[3]}",  # type: ignore[misc]
            page,
        )
        if places != 1:
            raise ValueError(f"{name} must have one place in the page, not {places}")
    return page


def main() -> int:
    """Write the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = filled(page)
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        print("docs/listrak.md is not what the code says: python scripts/document.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
