"""Compares the tables with what the simulator holds: every row, as often as it occurs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from demo.load import JsonSchema, Schemas, Spool, column_types, load, quoted

TRUTH = "truth"
EXAMPLES = 3
PLACES = ("ListID", "MsgID", "ConversationID")
"""Columns that say where a difference is without naming a person."""


@dataclass(frozen=True)
class Difference:
    """How one table differs from the truth; `where` names messages or lists, never addresses."""

    table: str
    missing: int
    unexpected: int
    where: list[str]

    def __str__(self) -> str:
        counts = f"{self.missing:,} rows missing, {self.unexpected:,} rows that should not be there"
        return f"{self.table}: {counts}; for example at {', '.join(self.where)}"


def compare(
    database: duckdb.DuckDBPyConnection,
    schemas: Schemas,
    truth: Mapping[str, Iterable[Mapping[str, Any]]],
    folder: Path,
) -> list[Difference]:
    """Return how the tables of the schema `main` differ from the truth, as multisets of rows.

    :param truth: the records of every table
    :param folder: where the truth may be spooled
    """
    with closing(Spool(folder, truth)) as spool:
        for table, records in truth.items():
            for record in records:
                spool.add(table, record, 0)
    load(database, schemas, spool, TRUTH)
    try:
        found = (_difference(database, table, schemas[table]) for table in truth)
        return [one for one in found if one is not None]
    finally:
        database.execute(f"DROP SCHEMA {TRUTH} CASCADE")


def _difference(
    database: duckdb.DuckDBPyConnection, table: str, schema: JsonSchema
) -> Difference | None:
    columns = column_types(schema)
    # S608: the names are the catalog's, and quoted.
    names = ", ".join(map(quoted, columns))
    here = f"SELECT {names} FROM main.{quoted(table)}"  # noqa: S608
    there = f"SELECT {names} FROM {TRUTH}.{quoted(table)}"  # noqa: S608
    missing = database.sql(f"({there}) EXCEPT ALL ({here})")
    unexpected = database.sql(f"({here}) EXCEPT ALL ({there})")
    counts = len(missing), len(unexpected)
    if counts == (0, 0):
        return None
    places = [name for name in PLACES if name in columns]
    rows = missing.union(unexpected).select(*places).distinct().order("ALL").limit(EXAMPLES)
    where = [
        " ".join(f"{name} {value}" for name, value in zip(places, row, strict=True))
        for row in rows.fetchall()
    ]
    return Difference(table, *counts, where)
