"""The dbt package in analytics/: its models on DuckDB, and its SQL in five dialects."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
import yaml
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from demo.load import EXTRACTED_AT, Spool, connect, load
from demo.transform import PACKAGE, TransformError, build, run_dbt, variables
from source_listrak.tables import TABLES, schema

MODELS = sorted(path.stem for path in (PACKAGE / "models" / "marts").glob("*.sql"))
Rows = Mapping[str, list[dict[str, Any]]]
EXTRACTED = 1_709_251_200_000  # 2024-03-01T00:00:00Z
DAY = 86_400_000
pytestmark = pytest.mark.skipif("DBT" not in os.environ, reason="needs dbt (make analytics)")


def _event(email: str, **columns: Any) -> dict[str, Any]:
    return {"MsgID": 10, "ContactID": email[0], "EmailAddress": email, **columns}


def _conversation_event(email: str, **columns: Any) -> dict[str, Any]:
    return {"ConversationID": 50, "MsgID": 90, "ContactID": 1, "EmailAddress": email, **columns}


ACCOUNT: Rows = {
    "lists": [{"ListID": 1, "ListName": "News"}],
    "campaigns": [{"ListID": 1, "CampaignID": 7, "Name": "Spring"}],
    "messages": [
        {
            "ListID": 1, "MsgID": 10, "Subject": "Hello", "SendDate": "2024-02-01T12:00:00.000000Z",
            "DeliverCount": 4, "OpenCount": 2, "ReadCount": 1, "ClickCount": 3, "ClickerCount": 1,
            "RemoveCount": 1, "ConversionCount": 2, "OrderTotal": 80.5,
        },
        {
            "ListID": 1, "MsgID": 11, "SendDate": "2024-02-02T12:00:00.000000Z",
            "DeliverCount": 9, "OpenCount": 0, "ReadCount": 0, "ClickCount": 0, "ClickerCount": 0,
            "RemoveCount": 0, "ConversionCount": 0, "OrderTotal": 0,
        },
        # The mail of a conversation, which may be reported here, too.
        {"ListID": 1, "MsgID": 90, "SendDate": "2024-02-01T12:00:00.000000Z", "DeliverCount": 2},
    ],
    "message_deliveries": [{"MsgID": 11, "BounceCount": 3}],
    "message_analytics": [
        {"MsgID": 10, "CampaignID": 7, "GoogleAnalyticsCampaignName": "spring-24"}
    ],
    "message_links": [
        {"MsgID": message, "LinkID": 1, "LinkURL": "https://a.example/", "ClickCount": 3}
        for message in (10, 90)
    ],
    "message_sends": [
        {"MsgID": 10, "EmailAddress": email}
        for email in ("ann@a.example", "Bob@b.example", "cy@a.example", "dee@b.example")
    ] + [{"MsgID": 90, "EmailAddress": "ann@a.example"}],
    "message_bounces": [
        _event("dee@b.example", BounceDate=f"2024-02-0{day}T13:00:00.000000Z") for day in (1, 2)
    ],
    "message_opens": [
        _event("ann@a.example", OpenDate="2024-02-01T13:00:00.000000Z"),
        _event("ann@a.example", OpenDate="2024-02-03T13:00:00.000000Z"),
        # Bob opened at a time that the connector could not read.
        _event("bob@b.example", OpenDate="3 days ago"),
    ],
    "message_reads": [_event("ann@a.example", ReadDate="2024-02-01T13:00:05.000000Z")],
    "message_clicks": [
        # After midnight in UTC.
        _event("ann@a.example", ClickDate="2024-02-02T00:30:00.000000Z"),
    ],
    "message_unsubs": [_event("bob@b.example", RemovalDate="2024-02-03T01:00:00.000000Z")],
    "abuse_complaints": [
        {"ListID": 1, "MessageID": 10, "ContactID": "c", "EmailAddress": "CY@A.EXAMPLE"}
    ],
    "subscribed_contacts": [
        {"ListID": 1, "ContactID": contact, "AdditionDate": "2024-01-10T00:00:00.000000Z"}
        for contact in ("stayed", "returned", "left")
    ],
    "list_removals": [
        {
            "ListID": 1, "ContactID": contact,
            "AdditionDate": "2024-01-10T00:00:00.000000Z", "RemovalDate": removed,
        }
        for contact, removed in (
            # Before and after the contacts were read.
            ("returned", "2024-02-10T00:00:00.000000Z"),
            ("left", "2024-03-01T06:00:00.000000Z"),
            ("gone", "2024-02-10T00:00:00.000000Z"),
        )
    ],
    "conversations": [
        {
            "ListID": 1, "ConversationID": 50, "ConversationName": "Welcome", "CampaignID": 7,
            "DeliverCount": 2, "OpenCount": 1, "ReadCount": 0, "ClickCount": 1, "RemoveCount": 0,
            "ConversionCount": 1, "OrderTotal": 20,
        }
    ],
    "conversation_deliveries": [
        {"ListID": 1, "ConversationID": 50, "SendCount": 3, "BounceCount": 1}
    ],
    "conversation_sends": [
        _conversation_event("ann@a.example", SendDate=f"2024-02-0{day}T12:00:00.000000Z")
        for day in (1, 4)
    ],
    "conversation_opens": [
        _conversation_event("ann@a.example", OpenDate="2024-02-04T12:00:00.000000Z")
    ],
    "conversation_links": [
        {"ConversationID": 50, "MsgID": 90, "LinkID": 1, "LinkURL": "https://b.example/"}
    ],
}  # fmt: skip


def _database(path: Path, rows: Rows, extracted_at: int = EXTRACTED) -> Path:
    """Write a database with all tables of the connector."""
    schemas = {table: schema(table) for table in TABLES}
    with closing(Spool(path.parent / "records", schemas)) as spool:
        for table, records in rows.items():
            for record in records:
                spool.add(table, record, extracted_at)
    with connect(path) as database:
        load(database, schemas, spool, "main")
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The models of the account above."""
    folder = tmp_path_factory.mktemp("models")
    path = _database(folder / "account.duckdb", ACCOUNT)
    build(path, folder / "dbt")
    with connect(path) as database:
        database.execute("USE analytics")
        yield database


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        pytest.param(
            "SELECT message_id, list_name, campaign_name, utm_campaign, sent, bounces, open_rate,"
            " click_rate, revenue::DOUBLE FROM listrak__campaigns ORDER BY message_id",
            [
                (10, "News", "Spring", "spring-24", 4, 1, 0.5, 0.25, 80.5),
                # Its recipients are not replicated.
                (11, "News", None, None, 12, 3, 0, 0, 0),
            ],
            id="campaigns",
        ),
        pytest.param(
            "SELECT conversation_name, campaign_name, messages, sent, delivered, bounces, open_rate"
            " FROM listrak__automated_mail",
            [("Welcome", "Spring", 1, 3, 2, 1, 0.5)],
            id="automated mail",
        ),
        pytest.param(
            "SELECT mail_type, campaign_name, mailings, conversions, revenue::DOUBLE,"
            " average_order_value FROM listrak__last_touch_revenue ORDER BY ALL",
            [
                ("automated", "Spring", 1, 1, 20, 20),
                ("campaign", "Spring", 1, 2, 80.5, 40.25),
                ("campaign", None, 1, 0, 0, None),
            ],
            id="last-touch revenue",
        ),
        pytest.param(
            "SELECT date_day::VARCHAR, mail_type, sends, opens, reads, clicks, unsubscribes,"
            " bounces FROM listrak__engagement_by_day ORDER BY ALL",
            [
                ("2024-02-01", "automated", 1, 0, 0, None, 0, 0),
                ("2024-02-01", "campaign", 4, 1, 1, 0, 0, 1),
                ("2024-02-02", "campaign", 0, 0, 0, 1, 0, 1),
                ("2024-02-03", "campaign", 0, 1, 0, 0, 1, 0),
                ("2024-02-04", "automated", 1, 1, 0, None, 0, 0),
            ],
            id="engagement by day",
        ),
        pytest.param(
            "SELECT email_address, was_sent, was_opened, was_clicked, was_bounced,"
            " was_unsubscribed, first_opened_at::VARCHAR FROM listrak__contact_message ORDER BY 1",
            [
                ("ann@a.example", True, True, True, False, False, "2024-02-01 13:00:00"),
                ("bob@b.example", True, True, False, False, True, None),
                ("cy@a.example", True, False, False, False, False, None),
                ("dee@b.example", True, False, False, True, False, None),
            ],
            id="contact and message",
        ),
        pytest.param(
            "SELECT email_domain, sent, bounced, complaints FROM listrak__deliverability"
            " ORDER BY ALL",
            [("a.example", 4, 0, 1), ("b.example", 2, 1, 0)],
            id="deliverability",
        ),
        pytest.param(
            "SELECT contact_id FROM listrak__current_subscribers ORDER BY 1",
            [("returned",), ("stayed",)],
            id="current subscribers",
        ),
        pytest.param(
            "SELECT date_day::VARCHAR, added, removed, net FROM listrak__list_growth ORDER BY 1",
            [("2024-01-10", 4, 0, 4), ("2024-02-10", 0, 2, -2), ("2024-03-01", 0, 1, -1)],
            id="list growth by day",
        ),
        pytest.param(
            "SELECT date_month::VARCHAR, subscribers_at_end, churn_rate"
            " FROM listrak__list_growth_by_month ORDER BY 1",
            # Listrak does not date the return of a contact: seen from today, five subscribed.
            [("2024-01-01", 5, 0), ("2024-02-01", 3, 0.4), ("2024-03-01", 2, pytest.approx(1 / 3))],
            id="list growth by month",
        ),
        pytest.param(
            "SELECT mail_type, message_id, conversation_id, url FROM listrak__links ORDER BY ALL",
            [("automated", 90, 50, "https://b.example/"), ("campaign", 10, None, "https://a.example/")],
            id="links",
        ),
    ],
)  # fmt: skip
def test_given_an_account_when_built_then_each_model_holds_what_it_describes(
    models: duckdb.DuckDBPyConnection, query: str, rows: list[tuple[Any, ...]]
) -> None:
    assert models.execute(query).fetchall() == rows


def test_when_a_table_is_missing_and_named_then_the_models_are_built_without_it(
    tmp_path: Path,
) -> None:
    missing = ["abuse_complaints", "conversation_sends", "message_analytics", "message_sends"]
    path = _database(tmp_path / "account.duckdb", ACCOUNT)
    with connect(path) as database:
        for table in missing:
            database.execute(f"DROP TABLE {table}")
    with pytest.raises(TransformError, match="message_sends"):
        build(path, tmp_path / "dbt")
    build(path, tmp_path / "dbt", missing)
    with connect(path) as database:
        sent = database.execute("SELECT sent FROM analytics.listrak__campaigns ORDER BY 1")
        assert sent.fetchall() == [(2,), (5,), (12,)]


def test_when_syncs_append_then_the_models_use_the_latest_version_of_each_row(
    models: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = _database(tmp_path / "account.duckdb", ACCOUNT)
    with connect(path) as database:
        for table in TABLES:
            # An earlier version of every row: older, and with less in its counters.
            replaced = f"{EXTRACTED_AT} - INTERVAL 1 DAY AS {EXTRACTED_AT}"
            if table == "messages":
                replaced += ", OpenCount - 1 AS OpenCount"
            database.execute(f"INSERT INTO {table} SELECT * REPLACE ({replaced}) FROM {table}")  # noqa: S608
    build(path, tmp_path / "dbt")
    with connect(path) as database:
        for model in MODELS:
            query = f"SELECT * FROM analytics.{model} ORDER BY ALL"  # noqa: S608
            assert database.execute(query).fetchall() == models.execute(query).fetchall(), model


@pytest.mark.parametrize(("days", "fresh"), [(0, True), (8, False)])
def test_when_the_last_sync_is_a_week_ago_then_the_sources_are_stale(
    tmp_path: Path, days: int, fresh: bool
) -> None:
    extracted_at = int(time.time() * 1000) - days * DAY
    path = _database(tmp_path / "account.duckdb", ACCOUNT, extracted_at)
    try:
        run_dbt("source freshness", tmp_path / "dbt", variables(path))
    except TransformError as error:
        assert not fresh
        assert "ERROR STALE" in str(error)
    else:
        assert fresh


def test_the_sources_are_the_tables_of_the_connector() -> None:
    text = (PACKAGE / "models" / "staging" / "sources.yml").read_text(encoding="utf-8")
    (source,) = yaml.safe_load(text)["sources"]
    assert [table["name"] for table in source["tables"]] == list(TABLES)


# How Airbyte's destination names columns in each warehouse, and how to connect to it: nothing is
# sent to any of them, since compiling needs no connection.
_SERVER = {"host": "localhost", "port": 1, "user": "u", "password": "p", "dbname": "raw"}
WAREHOUSES: Mapping[str, tuple[Callable[[str], str], dict[str, Any]]] = {
    "bigquery": (str, {"method": "oauth-secrets", "token": "t", "project": "raw"}),
    "duckdb": (str, {"path": "raw.duckdb"}),
    "postgres": (str, _SERVER),
    "redshift": (str.lower, _SERVER),
    "snowflake": (str.upper, {"account": "a", "user": "u", "database": "raw", "warehouse": "w"}),
}


@pytest.mark.parametrize("dialect", WAREHOUSES)
def test_when_compiled_for_a_warehouse_then_its_dialect_has_every_statement_and_column(
    dialect: str, tmp_path: Path
) -> None:
    rename, connection = WAREHOUSES[dialect]
    output = {"type": dialect, "schema": "marts", "threads": 1, **connection}
    profile = {"listrak": {"target": "there", "outputs": {"there": output}}}
    (tmp_path / "profiles.yml").write_text(json.dumps(profile), encoding="utf-8")
    run_dbt("compile --no-introspect --no-populate-cache", tmp_path, {}, profiles=tmp_path)

    compiled = tmp_path / "compiled" / "listrak" / "models"
    statements = {
        path.stem: sqlglot.parse_one(path.read_text(encoding="utf-8"), dialect=dialect)
        for path in compiled.glob("**/*.sql")
    }
    columns = {
        ("listrak", table): [rename(name) for name in (EXTRACTED_AT, *schema(table)["properties"])]
        for table in TABLES
    }
    columns |= {("marts", name): one.named_selects for name, one in statements.items()}
    tables = MappingSchema(dialect=dialect)
    for (namespace, name), names in columns.items():
        quoted = {
            sqlglot.to_identifier(one, quoted=namespace == "listrak").sql(dialect): "text"
            for one in names
        }
        tables.add_table(f"raw.{namespace}.{name}", quoted, dialect=dialect)
    for one in statements.values():
        qualify(one, schema=tables, dialect=dialect)
    assert len(statements) > 30
