"""Loads records into DuckDB: one table per stream, its columns from the stream's JSON schema.

Records are first written to one file of JSON lines per stream, which DuckDB then reads whole.
That is many times faster than inserting rows, and memory stays small at any number of records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import duckdb
import orjson

JsonSchema = Mapping[str, Any]
Schemas = Mapping[str, JsonSchema]
LONGEST_RECORD = 256 * 1024 * 1024
"""Bytes of one record's line; DuckDB's own limit of 16 MiB is less than one huge text field."""


class Spool:
    """Files of JSON lines, one per stream."""

    def __init__(self, folder: Path, streams: Iterable[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.paths = {stream: folder / f"{stream}.jsonl" for stream in streams}
        self.counts: Counter[str] = Counter()
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Spool:
        self._files = {stream: path.open("wb") for stream, path in self.paths.items()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()

    def add(self, stream: str, record: Mapping[str, Any]) -> None:
        """Append one record.

        :raises KeyError: when the stream is not in the catalog
        """
        self._files[stream].write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        self.counts[stream] += 1


def connect(path: Path | str) -> duckdb.DuckDBPyConnection:
    """Open a database that asks nothing of the network and takes every instant as UTC."""
    # Both settings would otherwise fetch missing extensions from the vendor's server.
    database = duckdb.connect(
        str(path),
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False},
    )
    database.execute("SET enable_progress_bar = false")
    database.execute("SET TimeZone = 'UTC'")
    return database


def load(database: duckdb.DuckDBPyConnection, schemas: Schemas, spool: Spool, into: str) -> None:
    """Make and fill one table per stream in the database schema `into`."""
    database.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(into)}")
    for stream, path in spool.paths.items():
        columns = column_types(schemas[stream])
        table = f"{quoted(into)}.{quoted(stream)}"
        declared = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
        database.execute(f"CREATE TABLE {table} ({declared})")
        names = ", ".join(quoted(name) for name in columns)
        # A file without a line has no columns to find.
        if spool.counts[stream]:
            database.execute(
                f"INSERT INTO {table} SELECT {names} FROM read_json(?, columns = ?,"  # noqa: S608
                " format = 'newline_delimited', maximum_object_size = ?)",
                [str(path), columns, LONGEST_RECORD],
            )


def create_views(database: duckdb.DuckDBPyConnection, folder: Path) -> list[str]:
    """Run each file of SQL in the folder, in order of name, and return their names."""
    files = sorted(folder.glob("*.sql"))
    for file in files:
        database.execute(file.read_text(encoding="utf-8"))
    return [file.stem for file in files]


def column_types(schema: JsonSchema) -> dict[str, str]:
    """Return the SQL type of each column of a stream."""
    return {name: sql_type(part) for name, part in schema["properties"].items()}


def sql_type(schema: JsonSchema) -> str:
    """Return the SQL type that holds a JSON schema's values.

    :raises ValueError: when the schema says no type, or one that no stream has
    """
    kinds = schema.get("type", [])
    found = [kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"]
    match found:
        case ["string"]:
            return "TIMESTAMPTZ" if schema.get("format") == "date-time" else "VARCHAR"
        case ["integer"]:
            return "BIGINT"
        case ["number"]:
            return "DOUBLE"
        case ["boolean"]:
            return "BOOLEAN"
        case ["array"]:
            return f"{sql_type(schema['items'])}[]"
        case ["object"]:
            parts = column_types(schema).items()
            return f"STRUCT({', '.join(f'{quoted(name)} {kind}' for name, kind in parts)})"
    raise ValueError(f"no SQL type for {schema}")


def quoted(name: str) -> str:
    """Return an identifier as SQL takes it, whatever it is made of."""
    return '"' + name.replace('"', '""') + '"'
