"""The schemas are the contract: exactly these columns of these types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, ValidationError

import source_listrak

SCHEMAS = Path(source_listrak.__file__).parent / "schemas"

PERSON = "ContactID:string EmailAddress:string"
CONTRACT = {
    "lists": (
        "BounceUnsubscribeCount:integer CreateDate:date-time DomainAliasEmail:string "
        "DomainAliasLink:string EnableBrowserLink:boolean EnableDoubleOptin:boolean "
        "EnableDynamicContent:boolean EnableGoogleAnalytics:boolean "
        "EnableInternationalization:boolean EnableListHygiene:boolean "
        "EnableListRemoveHeader:boolean EnableRSS:boolean EnableRemovalLink:boolean "
        "FromEmail:string FromName:string GoogleTrackingDomains:array ListID:integer "
        "ListName:string ShowAdvancedPersonalization:boolean ShowEmailList:boolean Vmta:object "
        "bounceHandling:integer"
    ),
    "messages": (
        "AverageOrderValue:number ClickCount:integer ClickerCount:integer ClickerPercent:number "
        "ConversionCount:integer DeliverCount:integer ListID:integer MsgID:integer "
        "NewClickerCount:integer OpenCount:integer OpenPercent:number OrderTotal:number "
        "ReadCount:integer ReadPercent:number RemoveCount:integer RemovePercent:number "
        "RepeatClickerCount:integer SendDate:date-time Subject:string"
    ),
    "message_bounces": (
        f"BounceCount:integer BounceDate:string BounceDetail:string BounceReason:string {PERSON} "
        "MsgID:integer"
    ),
    "message_clicks": (
        f"ClickDate:string {PERSON} LinkDescription:string LinkUrl:string MsgID:integer"
    ),
    "message_opens": f"{PERSON} MsgID:integer OpenDate:string",
    "message_reads": f"{PERSON} MsgID:integer ReadDate:string",
    "message_sends": "EmailAddress:string MsgID:integer",
    "message_unsubs": (
        f"AdditionDate:string {PERSON} MsgID:integer RemovalDate:string RemovalMethod:string"
    ),
    "subscribed_contacts": (
        f"AdditionDate:date-time AdditionMethod:string {PERSON} ListID:integer"
    ),
}
KEYS_ALWAYS_THERE = {
    ("lists", "ListID"),
    ("messages", "MsgID"),
    ("subscribed_contacts", "ListID"),
    *((table, "MsgID") for table in CONTRACT if table.startswith("message_")),
}
WRONG = {
    "integer": ["1", 1.5, True],
    "number": ["1.5", True],
    "boolean": ["true", 1],
    "string": [1, ["a"]],
    "date-time": [1],
    "array": ["a", [1]],
    "object": ["a", {"VmtaID": "1"}],
}


def _schema(table: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{table}.json").read_text("utf-8"))
    return schema


def _columns(table: str) -> dict[str, str]:
    return dict(column.split(":") for column in CONTRACT[table].split())  # type: ignore[misc]


def test_there_is_a_schema_for_each_table_and_no_other() -> None:
    assert {path.stem for path in SCHEMAS.glob("*.json")} == set(CONTRACT)


@pytest.mark.parametrize("table", CONTRACT)
def test_a_table_has_exactly_the_columns_and_types_of_the_contract(table: str) -> None:
    found = {}
    for name, column in _schema(table)["properties"].items():
        declared = column["type"]
        if (table, name) in KEYS_ALWAYS_THERE:
            assert declared == "integer"
            found[name] = declared
            continue
        assert declared[0] == "null"
        (found[name],) = declared[1:]
        if "format" in column:
            found[name] = column["format"]
            assert column["airbyte_type"] == "timestamp_with_timezone"
    assert found == _columns(table)


def test_the_nested_columns_are_those_of_the_contract() -> None:
    properties = _schema("lists")["properties"]
    vmta = {name: column["type"] for name, column in properties["Vmta"]["properties"].items()}
    assert vmta == {"Description": ["null", "string"], "VmtaID": ["null", "integer"]}
    assert "string" in properties["GoogleTrackingDomains"]["items"]["type"]


@pytest.mark.parametrize("table", CONTRACT)
def test_tables_and_columns_are_described(table: str) -> None:
    schema = _schema(table)
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["additionalProperties"] is True
    nested = [
        column
        for outer in schema["properties"].values()
        for column in outer.get("properties", {}).values()
    ]
    for described in (schema, *schema["properties"].values(), *nested):
        description = described["description"]
        assert len(description) > 15
        assert description.endswith(".")


@pytest.mark.parametrize("table", CONTRACT)
def test_a_column_that_carries_an_instant_names_its_zone(table: str) -> None:
    for name, column in _schema(table)["properties"].items():
        if name.endswith("Date"):
            assert "UTC" in column["description"]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (table, column, value)
        for table in CONTRACT
        for column, kind in _columns(table).items()
        for value in WRONG[kind]
    ],
)
def test_a_value_of_a_wrong_type_is_no_valid_record(table: str, column: str, value: object) -> None:
    validator = Draft7Validator(_schema(table))
    validator.validate({})
    with pytest.raises(ValidationError):
        validator.validate({column: value})


@pytest.mark.parametrize("table", CONTRACT)
def test_only_our_own_keys_cannot_be_null(table: str) -> None:
    validator = Draft7Validator(_schema(table))
    for name in _columns(table):
        assert validator.is_valid({name: None}) == ((table, name) not in KEYS_ALWAYS_THERE)
