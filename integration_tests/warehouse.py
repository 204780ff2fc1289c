"""Databases as Airbyte fills them, for tests of the dbt package: DuckDB and a real Postgres."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol

import duckdb

from demo.load import quoted
from source_listrak.tables import TABLES, schema

Record = Mapping[str, Any]
Row = dict[str, Any]
Mode = Literal["append", "deduped"]
EXTRACTED_AT = "_airbyte_extracted_at"
FIRST_SYNC = datetime(2024, 3, 1, tzinfo=timezone.utc)
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?")
OFFLINE: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
ZONE = "America/New_York"
TYPES = {"integer": "bigint", "number": "double precision", "boolean": "boolean"}


@dataclass
class Destination:
    """The tables that a destination of Airbyte holds after one or more syncs.

    With *append*, each record is a row. With *deduped*, a key has one row: within a sync, of the
    records of a key the one with the highest cursor, and of those the latest; it replaces an
    existing row unless its cursor is lower. Streams without a cursor are overwritten.

    :param repeats: whether the connector's option `keep_repeated_events` is on
    """

    mode: Mode = "append"
    repeats: bool = False
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def sync(self, records: Mapping[str, Iterable[Record]], at: datetime = FIRST_SYNC) -> None:
        """Write the records of one sync; each is extracted a millisecond after the one before."""
        for stream, batch in records.items():
            rows = [
                {**record, EXTRACTED_AT: at + timedelta(milliseconds=place)}
                for place, record in enumerate(batch)
            ]
            if TABLES[stream].cursor is None:
                self.tables[stream] = rows
            elif self.mode == "append":
                self.tables.setdefault(stream, []).extend(rows)
            else:
                self._merge(stream, rows)

    def _merge(self, stream: str, rows: Iterable[Row]) -> None:
        table = TABLES[stream]
        key = (*table.key, *(table.repeats if self.repeats else ()))

        def rank(row: Row) -> tuple[bool, Any]:
            value = row.get(table.cursor or "")
            return value is not None, value if value is not None else 0

        kept = {tuple(row.get(name) for name in key): row for row in self.tables.get(stream, [])}
        for row in rows:
            identity = tuple(row.get(name) for name in key)
            if identity not in kept or rank(row) >= rank(kept[identity]):
                kept[identity] = row
        self.tables[stream] = list(kept.values())


@dataclass(frozen=True)
class Layout:
    """How a loader writes a connection's tables.

    :param schema: the schema of the tables
    :param prefix: the connection's stream prefix
    :param pyairbyte: names in lower case, and timestamps in UTC without a time zone
    """

    schema: str
    prefix: str = ""
    pyairbyte: bool = False

    def columns(self, stream: str) -> dict[str, str]:
        """Return the type of each column, as both databases call it."""
        types = {EXTRACTED_AT: "timestamptz"}
        for name, part in schema(stream)["properties"].items():
            (kind,) = set(part["type"] if isinstance(part["type"], list) else [part["type"]]) - {
                "null"
            }
            if part.get("format") == "date-time":
                types[name] = "timestamptz"
            else:
                types[name] = TYPES.get(kind, "text")
        if self.pyairbyte:
            naive = {"timestamptz": "timestamp"}
            return {name.lower(): naive.get(kind, kind) for name, kind in types.items()}
        return types

    def rows(self, stream: str, rows: Iterable[Row]) -> Iterator[list[str | None]]:
        """Yield the values of each row as text, in the order of the columns."""
        types = {EXTRACTED_AT: None, **schema(stream)["properties"]}
        for row in rows:
            yield [_text(row.get(name)) for name in types]


def _text(value: Any) -> str | None:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


class Warehouse(Protocol):
    """A database that dbt can build on, in a session whose time zone is that of New York."""

    name: str

    def load(self, tables: Mapping[str, Iterable[Row]], layout: Layout) -> None:
        """Create the tables of a connection with these rows, in the place of earlier ones."""
        ...

    def output(self) -> dict[str, Any]:
        """Return the output of a dbt profile, with the models in the schema `analytics`."""
        ...

    def query(self, sql: str) -> list[Row]:
        """Return the rows of a query of the models; instants and dates are texts."""
        ...


class DuckDB:
    """A DuckDB file."""

    name = "duckdb"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "warehouse.duckdb"

    def load(self, tables: Mapping[str, Iterable[Row]], layout: Layout) -> None:
        """See Warehouse."""
        with self._connect() as database:
            database.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(layout.schema)}")
            for stream, rows in tables.items():
                columns = layout.columns(stream)
                table = f"{quoted(layout.schema)}.{quoted(layout.prefix + stream)}"
                declared = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
                database.execute(f"CREATE OR REPLACE TABLE {table} ({declared})")
                path = self._path.with_suffix(".jsonl")
                with path.open("w", encoding="utf-8") as file:
                    for values in layout.rows(stream, rows):
                        file.write(json.dumps(dict(zip(columns, values, strict=True))) + "\n")
                # A Z is not for a timestamp without a time zone, and its own zone is UTC.
                casts = ", ".join(
                    f"CAST({quoted(name)} AS {kind})" for name, kind in columns.items()
                )
                database.execute(
                    f"INSERT INTO {table} SELECT {casts} FROM read_json(?, columns = ?,"  # noqa: S608
                    " format = 'newline_delimited')",
                    [str(path), dict.fromkeys(columns, "VARCHAR")],
                )

    def output(self) -> dict[str, Any]:
        """See Warehouse."""
        return {
            "type": "duckdb",
            "path": str(self._path),
            "schema": "analytics",
            "threads": 2,
            # Missing extensions would be downloaded.
            "config_options": OFFLINE,
            "settings": {"TimeZone": ZONE},
        }

    def query(self, sql: str) -> list[Row]:
        """See Warehouse."""
        with self._connect() as database:
            database.execute("USE analytics")
            found = database.execute(sql)
            names = [column[0] for column in found.description]
            return [
                {name: _plain(value) for name, value in zip(names, row, strict=True)}
                for row in found.fetchall()
            ]

    @contextmanager
    def _connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect(str(self._path), config=OFFLINE) as database:
            yield database


class Postgres:
    """A database of a Postgres server."""

    name = "postgres"

    def __init__(self, server: PostgresServer, database: str) -> None:
        self._server = server
        self._database = database
        server.psql("postgres", f"create database {quoted(database)}")
        server.psql(database, f"alter database {quoted(database)} set timezone = '{ZONE}'")

    def load(self, tables: Mapping[str, Iterable[Row]], layout: Layout) -> None:
        """See Warehouse."""
        statements = [
            "set client_min_messages = warning;",
            f"create schema if not exists {quoted(layout.schema)};",
        ]
        for stream, rows in tables.items():
            columns = layout.columns(stream)
            table = f"{quoted(layout.schema)}.{quoted(layout.prefix + stream)}"
            declared = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
            statements.append(f"drop table if exists {table} cascade;")
            statements.append(f"create table {table} ({declared});")
            statements.append(f"copy {table} from stdin;")
            statements += ["\t".join(map(_escaped, values)) for values in layout.rows(stream, rows)]
            statements.append("\\.")
        self._server.psql(self._database, "\n".join(statements) + "\n")

    def output(self) -> dict[str, Any]:
        """See Warehouse."""
        return {
            "type": "postgres",
            "host": str(self._server.folder),
            "user": self._server.user,
            "password": "",
            "port": 5432,
            "dbname": self._database,
            "schema": "analytics",
            "threads": 2,
        }

    def query(self, sql: str) -> list[Row]:
        """See Warehouse."""
        rows_as_json = f"select coalesce(json_agg(found), '[]') from ({sql}) as found"  # noqa: S608
        text = self._server.psql(self._database, f"set search_path = analytics; {rows_as_json}")
        rows: list[Row] = json.loads(text)
        return [{name: _plain(value) for name, value in row.items()} for row in rows]


class PostgresServer:
    """A Postgres server of our own, on a socket in a folder of its own, and on no port.

    :raises FileNotFoundError: there is no Postgres on this machine
    """

    def __init__(self) -> None:
        self._programs = _postgres_programs()
        # Postgres refuses to run as root.
        is_root = os.geteuid() == 0
        self.user = "postgres"
        self._owner = next(filter(_exists, ("postgres", "nobody"))) if is_root else None
        self.folder = Path(tempfile.mkdtemp(prefix="listrak-postgres-"))
        if self._owner:
            shutil.chown(self.folder, self._owner)
        data = str(self.folder / "data")
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", self.user, data)
        settings = f"-c listen_addresses='' -c fsync=off -k {self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "--wait", "-D", data, "-l", log, "-o", settings)

    def close(self) -> None:
        """Stop the server, and delete its files."""
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", str(self.folder / "data"))
        shutil.rmtree(self.folder)

    def psql(self, database: str, script: str) -> str:
        """Run a script, and return what it prints, without headings."""
        return self._run(
            "psql", "--quiet", "--no-psqlrc", "--tuples-only", "--no-align",
            "--set=ON_ERROR_STOP=1", "-h", str(self.folder), "-U", self.user, "-d", database,
            stdin=script,
        )  # fmt: skip

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        # Without its own files, since the server would keep a pipe open.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                input=stdin.encode(), stdout=output, stderr=subprocess.STDOUT,
                user=self._owner, group=self._owner and pwd.getpwnam(self._owner).pw_gid,
                cwd="/", check=False,
            )  # fmt: skip
            output.seek(0)
            text = output.read()
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {text}")
        return text


def _postgres_programs() -> Path:
    """Return the folder of Postgres' programs; Debian keeps them off the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        places.insert(0, Path(found).parent)
    for place in places:
        if (place / "initdb").exists() and (place / "psql").exists():
            return place
    raise FileNotFoundError("there is no Postgres (apt-get install postgresql)")


def _exists(user: str) -> bool:
    return any(one.pw_name == user for one in pwd.getpwall())


def _escaped(value: str | None) -> str:
    r"""Return a value in the text format of Postgres' COPY, in which \N is null."""
    if value is None:
        return "\\N"
    for character, escape in (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r")):
        value = value.replace(character, escape)
    return value


def _plain(value: Any) -> Any:
    """Return a value in the form in which both databases return it."""
    if isinstance(value, (date, datetime)):
        value = value.isoformat()
    if isinstance(value, str) and INSTANT.fullmatch(value):
        whole, _, fraction = value.replace(" ", "T").partition(".")
        return f"{whole}.{fraction.rstrip('0')}".rstrip(".")
    if isinstance(value, (Decimal, float)):
        return round(float(value), 9)
    return value
