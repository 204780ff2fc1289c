"""The schemas describe the rows of the bundled WSDL: same columns, same order, same types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from lxml import etree

import source_listrak
from source_listrak.tables import TABLES, Table, schema

PACKAGE = Path(source_listrak.__file__).parent
WSDL = etree.parse(str(PACKAGE / "soap" / "IntegrationService.wsdl"))
XS = "{http://www.w3.org/2001/XMLSchema}"
SIMPLE: dict[str, dict[str, Any]] = {
    "int": {"type": ["null", "integer"]},
    "decimal": {"type": ["null", "number"]},
    "boolean": {"type": ["null", "boolean"]},
    "string": {"type": ["null", "string"]},
    "DataTypeSettings": {"type": ["null", "string"]},
    "dateTime": {
        "type": ["null", "string"],
        "format": "date-time",
        "airbyte_type": "timestamp_with_timezone",
    },
}
ALL_TABLES = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)


def _elements(kind: str, name: str) -> dict[str, Any]:
    """Return the child elements of an element or a complex type of the WSDL, by name."""
    parent = WSDL.find(f".//{XS}schema/{XS}{kind}[@name='{name}']")
    assert parent is not None, name
    children = (child for child in parent.iter(f"{XS}element") if child is not parent)
    return {child.attrib["name"]: child for child in children}


def _columns(row: str) -> dict[str, Any]:
    """Return the columns of a row type as JSON schema."""
    columns = {}
    for name, element in _elements("complexType", row).items():
        kind = element.get("type").partition(":")[2]
        column = SIMPLE.get(kind) or {
            "type": ["null", "object"],
            "additionalProperties": True,
            "properties": _columns(kind),
        }
        if element.get("maxOccurs") == "unbounded":
            column = {"type": ["null", "array"], "items": column}
        columns[name] = column
    return columns


def _expected(table: Table) -> dict[str, Any]:
    """Return a table's columns: what the connector adds first, then those of the row."""
    columns = dict.fromkeys(table.added, SIMPLE["int"]) | _columns(table.row)
    columns |= dict.fromkeys(table.dates, SIMPLE["string"])
    for name in {*table.added, *table.key} - {"ContactID"}:
        if columns[name] == SIMPLE["int"]:  # an identifier of a row is never null
            columns[name] = {"type": "integer"}
    return columns


def _without_descriptions(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        name: _without_descriptions(inner) for name, inner in value.items() if name != "description"
    }


def _descriptions(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, description) of a schema's columns and the columns nested in them."""
    for name, column in value.get("properties", {}).items():
        yield name, column["description"]
        yield from _descriptions(column)
        yield from _descriptions(column.get("items", {}))


def test_every_table_has_a_schema_and_every_schema_a_table() -> None:
    assert {path.stem for path in (PACKAGE / "schemas").iterdir()} == set(TABLES)


@ALL_TABLES
def test_the_schema_has_exactly_the_columns_and_types_of_the_wsdl(table: Table) -> None:
    found = schema(table.name)
    Draft7Validator.check_schema(found)
    expected = _expected(table)
    assert list(found["properties"]) == list(expected)
    assert _without_descriptions(found) == {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": table.name,
        "type": "object",
        "additionalProperties": True,
        "properties": expected,
    }


@ALL_TABLES
def test_keys_cursors_and_dates_are_columns(table: Table) -> None:
    cursor = {table.cursor} if table.cursor else set()
    assert {*table.key, *table.repeats, *table.dates} | cursor <= schema(table.name)[
        "properties"
    ].keys()


@ALL_TABLES
def test_tables_and_columns_have_a_description(table: Table) -> None:
    described = schema(table.name)
    for name, text in [(table.name, described["description"]), *_descriptions(described)]:
        assert len(text) > 15, name
        assert text.endswith("."), name


@ALL_TABLES
def test_a_column_that_holds_an_instant_states_its_time_zone(table: Table) -> None:
    for name, column in schema(table.name)["properties"].items():
        if "format" in column or name in table.dates:
            assert "UTC" in column["description"], name


@ALL_TABLES
def test_the_operation_returns_the_rows_of_the_table(table: Table) -> None:
    (result, *rest) = _elements("element", f"{table.operation}Response").values()
    (row,) = _elements("complexType", result.get("type").partition(":")[2])
    assert (result.get("name"), row) == (f"{table.operation}Result", table.row)
    assert [element.get("name") for element in rest] in ([], ["WSException"])
