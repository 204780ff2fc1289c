"""Compares the tables with what the simulator holds: every row, as often as it is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from demo.load import Schemas, Spool, column_types, load, quoted

TRUTH = "truth"
EXAMPLES = 3


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
    with Spool(folder, truth) as spool:
        for table, records in truth.items():
            for record in records:
                spool.add(table, record)
    load(database, schemas, spool, TRUTH)
    try:
        found = (_difference(database, table, schemas[table]) for table in truth)
        return [one for one in found if one is not None]
    finally:
        database.execute(f"DROP SCHEMA {TRUTH} CASCADE")


def _difference(
    database: duckdb.DuckDBPyConnection, table: str, schema: Mapping[str, Any]
) -> Difference | None:
    here, there = f"main.{quoted(table)}", f"{TRUTH}.{quoted(table)}"
    missing, unexpected = _minus(there, here), _minus(here, there)
    rows_missing, rows_unexpected = _count(database, missing), _count(database, unexpected)
    if not rows_missing and not rows_unexpected:
        return None
    keys = [name for name in ("ListID", "MsgID") if name in column_types(schema)]
    # S608: the names are the catalog's, and quoted.
    rows = database.execute(
        f"SELECT DISTINCT {', '.join(keys)} FROM ({missing} UNION ALL {unexpected})"  # noqa: S608
        f" ORDER BY ALL LIMIT {EXAMPLES}"
    ).fetchall()
    where = [
        " ".join(f"{key} {value}" for key, value in zip(keys, row, strict=True)) for row in rows
    ]
    return Difference(table, rows_missing, rows_unexpected, where)


def _minus(left: str, right: str) -> str:
    return f"(SELECT * FROM {left} EXCEPT ALL SELECT * FROM {right})"  # noqa: S608


def _count(database: duckdb.DuckDBPyConnection, rows: str) -> int:
    [[count]] = database.execute(f"SELECT COUNT(*) FROM {rows}").fetchall()  # noqa: S608
    return int(count)
