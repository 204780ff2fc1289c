"""The demo's own promises: types, whole loads, and a comparison that sees every difference."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from demo.__main__ import query_command
from demo.compare import compare
from demo.connector import configured_catalog, describe
from demo.load import EXTRACTED_AT, Spool, column_types, connect, load, sql_type
from demo.transform import SCHEMA, TransformError, build
from source_listrak.tables import TABLES, schema

SCHEMAS = {
    "events": {
        "properties": {
            "MsgID": {"type": ["null", "integer"]},
            "EmailAddress": {"type": ["null", "string"]},
            "At": {"type": ["null", "string"], "format": "date-time"},
            "Tags": {"type": ["null", "array"], "items": {"type": "string"}},
            "Vmta": {"type": ["null", "object"], "properties": {"ID": {"type": "integer"}}},
        }
    }
}
ROW = {
    "MsgID": 7,
    "EmailAddress": "someone@example.com",
    "At": "2024-03-10T07:00:00.117000Z",
    "Tags": ["a", "b"],
    "Vmta": {"ID": 3},
}


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(":memory:") as connection:
        yield connection


def _fill(database: duckdb.DuckDBPyConnection, folder: Path, rows: list[dict[str, Any]]) -> None:
    with closing(Spool(folder, SCHEMAS)) as spool:
        for row in rows:
            spool.add("events", row, 1_709_251_200_000)
    load(database, SCHEMAS, spool, "main")


def test_a_row_comes_back_as_it_went_in(
    database: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    huge = "x" * (20 * 1024 * 1024)
    _fill(database, tmp_path, [ROW, {"MsgID": 8, "EmailAddress": huge}])
    rows = database.execute(
        'SELECT MsgID, EmailAddress, "At"::VARCHAR, Tags, Vmta FROM events ORDER BY MsgID'
    ).fetchall()
    assert rows == [
        (7, "someone@example.com", "2024-03-10 07:00:00.117+00", ["a", "b"], {"ID": 3}),
        (8, huge, None, None, None),
    ]


def test_a_row_says_when_it_was_extracted(
    database: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    _fill(database, tmp_path, [ROW])
    rows = database.execute(f"SELECT {EXTRACTED_AT}::VARCHAR FROM events").fetchall()  # noqa: S608
    assert rows == [("2024-03-01 00:00:00+00",)]


@pytest.mark.parametrize(
    "truth",
    [
        pytest.param([], id="a row too many"),
        pytest.param([ROW, ROW], id="a repeated row once"),
        pytest.param([ROW | {"At": "2024-03-10T07:00:00.118000Z"}], id="another instant"),
        pytest.param([ROW | {"Tags": ["b", "a"]}], id="another order"),
        pytest.param([ROW | {"Vmta": {}}], id="a null within"),
        pytest.param([{"MsgID": 7}], id="nulls"),
    ],
)
def test_compare_sees_a_difference_and_names_no_address(
    database: duckdb.DuckDBPyConnection, tmp_path: Path, truth: list[dict[str, Any]]
) -> None:
    _fill(database, tmp_path / "records", [ROW])
    (difference,) = compare(database, SCHEMAS, {"events": truth}, tmp_path / "truth")
    assert str(difference).startswith("events: ")
    assert str(difference).endswith("for example at MsgID 7")
    assert "example.com" not in str(difference)


def test_compare_is_content_with_equal_rows_in_any_order(
    database: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    other = ROW | {"MsgID": 8}
    _fill(database, tmp_path / "records", [ROW, other, ROW])
    assert not compare(database, SCHEMAS, {"events": [other, ROW, ROW]}, tmp_path / "truth")


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_every_table_has_a_type(table: str) -> None:
    assert column_types(schema(table)).keys() == schema(table)["properties"].keys()


def test_without_dbt_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DBT", str(tmp_path / "dbt"))
    with pytest.raises(TransformError, match=r"Install analytics/requirements\.txt"):
        build(tmp_path / "listrak.duckdb", tmp_path)


@pytest.mark.parametrize("part", [{}, {"type": "null"}, {"type": ["integer", "string"]}])
def test_a_schema_without_one_type_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no SQL type"):
        sql_type(part)


def test_the_configured_catalog_reads_whole_streams_by_key() -> None:
    stream = {"name": "lists", "source_defined_primary_key": [["ListID"]]}
    assert configured_catalog([stream]) == {
        "streams": [
            {
                "stream": stream,
                "sync_mode": "full_refresh",
                "destination_sync_mode": "overwrite",
                "primary_key": [["ListID"]],
            }
        ]
    }


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"log": {"level": "WARN", "message": "a\nb"}}, "WARN  a"),
        ({"log": {"level": "DEBUG", "message": "a"}}, None),
        ({"trace": {"error": {"message": "locked"}}}, "ERROR locked"),
        ({"trace": {"stream_status": {"status": "COMPLETE"}}}, None),
        ({"state": {}}, None),
    ],
)
def test_a_person_reads_sentences_not_messages(message: dict[str, Any], text: str | None) -> None:
    assert describe(message) == text


def test_the_command_at_the_end_shows_a_model(tmp_path: Path) -> None:
    path = tmp_path / "it's here.duckdb"
    with connect(path) as database:
        database.execute(f"CREATE SCHEMA {SCHEMA}")
        database.execute(f"CREATE TABLE {SCHEMA}.listrak__messages AS SELECT 'Sale' AS name")
    command = query_command(path)
    done = subprocess.run(command, shell=True, capture_output=True, check=True)  # noqa: S602
    assert "Sale" in done.stdout.decode()
