"""The dbt package in analytics/: its models on DuckDB and Postgres, its SQL in six dialects."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from demo.__main__ import START_DATE, simulated_account
from demo.transform import PACKAGE, TransformError, run_dbt
from integration_tests.warehouse import (
    EXTRACTED_AT,
    FIRST_SYNC,
    Destination,
    DuckDB,
    Layout,
    Mode,
    Postgres,
    PostgresServer,
    Row,
    Warehouse,
)
from simulator import AccountConfig, SimulatorConfig, SimulatorProcess
from source_listrak.tables import TABLES, schema

pytestmark = pytest.mark.skipif("DBT" not in os.environ, reason="needs dbt (make analytics)")
Records = Mapping[str, list[dict[str, Any]]]
DAY = timedelta(days=1)
ROOT = PACKAGE.parent


def _message(msg_id: int, subject: str | None, **columns: Any) -> dict[str, Any]:
    counters = ("DeliverCount", "OpenCount", "ReadCount", "ClickCount", "ClickerCount")
    return {
        "ListID": 1, "MsgID": msg_id, "Subject": subject, "SendDate": _day(1), **columns,
        **{name: columns.get(name, 0) for name in (*counters, "RemoveCount", "ConversionCount")},
    }  # fmt: skip


def _event(msg_id: int, email: str | None, **columns: Any) -> dict[str, Any]:
    contact = {"ContactID": email[0]} if email else {}
    return {"MsgID": msg_id, "EmailAddress": email, **contact, **columns}


def _mail(conversation: int, msg_id: int, subject: str, **columns: Any) -> dict[str, Any]:
    contact = {"ContactID": 1, "EmailAddress": "ann@a.example"}
    return {
        "ConversationID": conversation,
        "MsgID": msg_id,
        "Subject": subject,
        **contact,
    } | columns


def _day(day: int, time: str = "12:00:00") -> str:
    return f"2024-02-{day:02}T{time}.000000Z"


ACCOUNT: Records = {
    "lists": [{"ListID": 1, "ListName": "News"}, {"ListID": 2, "ListName": "Shop"}],
    "campaigns": [{"ListID": 1, "CampaignID": 7, "Name": "Spring"}],
    "messages": [
        _message(
            10, "Hello", DeliverCount=4, OpenCount=2, ReadCount=1, ClickCount=3, ClickerCount=1,
            RemoveCount=1, ConversionCount=2, OrderTotal=80.5,
        ),
        # Its recipients are not replicated.
        _message(11, None, SendDate=_day(2), DeliverCount=9),
        # It was sent to two contacts, one of whose addresses was corrected since.
        _message(12, "Corrected", DeliverCount=2),
        _message(15, "Bounces", DeliverCount=1),
    ],
    "message_deliveries": [
        {"MsgID": 11, "DeliverCount": 9, "DeliverPercent": 75.0, "BounceCount": 3},
    ],
    "message_analytics": [
        {"MsgID": 10, "CampaignID": 7, "GoogleAnalyticsCampaignName": "spring-24"},
        {"MsgID": 11, "CampaignID": 0},
    ],
    "message_links": [
        {"MsgID": 10, "LinkID": 1, "LinkURL": "https://a.example/", "ClickerCount": 1}
    ],
    "message_sends": [
        {"MsgID": 10, "EmailAddress": email}
        for email in ("ann@a.example", "Bob@b.example", "cy@a.example", "dee@b.example")
    ] + [
        {"MsgID": 12, "EmailAddress": email}
        for email in ("eve@gmial.example", "eve@a.example", "fay@a.example")
    ] + [
        {"MsgID": 15, "EmailAddress": "gus@a.example"},
        {"MsgID": 15, "EmailAddress": "hal@b.example"},
    ],
    "message_bounces": [
        *(_event(10, "dee@b.example", BounceDate=_day(day)) for day in (2, 3)),
        _event(15, "gus@a.example", BounceDate=_day(2), BounceReason="General Soft Bounce"),
        # It was delivered after all.
        _event(15, "gus@a.example", BounceDate=_day(3), BounceReason="Auto Reply"),
        _event(15, "hal@b.example", BounceDate=_day(2), BounceReason="Invalid Address"),
    ],
    "message_opens": [
        _event(10, "ann@a.example", OpenDate=_day(1, "13:00:00")),
        _event(10, "ann@a.example", OpenDate=_day(3, "13:00:00")),
        # At times that the connector could not read; one of them looks like a date.
        _event(10, "bob@b.example", OpenDate="3 days ago"),
        _event(10, "bob@b.example", OpenDate="2023-02-29T10:00:00.000000Z"),
    ],
    "message_reads": [
        _event(10, "ann@a.example", ReadDate=_day(1, time)) for time in ("13:00:05", "14:00:05")
    ],
    "message_clicks": [
        # The first two are the same day in New York, where they are after midnight in UTC.
        _event(10, "ann@a.example", ClickDate=_day(2, "00:30:00"), LinkUrl="https://a.example/"),
        _event(10, "ann@a.example", ClickDate=_day(2, "00:30:00"), LinkUrl="https://b.example/"),
        _event(10, "ann@a.example", ClickDate=_day(6), LinkUrl="https://b.example/"),
    ],
    "message_unsubs": [_event(10, "bob@b.example", RemovalDate=_day(3, "01:00:00"))],
    "abuse_complaints": [
        {
            "ListID": 1, "MessageID": 10, "ContactID": "c", "EmailAddress": "CY@A.EXAMPLE",
            "AbuseDate": _day(4),
        }
    ],
    "subscribed_contacts": [
        {
            "ListID": 1, "ContactID": contact, "EmailAddress": f"{contact}@a.example",
            "AdditionDate": "2024-01-10T00:00:00.000000Z",
        }
        for contact in ("stayed", "returned", "left")
    ] + [{"ListID": 1, "EmailAddress": "noid@a.example", "AdditionDate": _day(1)}],
    "list_removals": [
        {
            "ListID": 1, "ContactID": contact, "EmailAddress": f"{contact}@a.example",
            "AdditionDate": "2024-01-10T00:00:00.000000Z", "RemovalDate": removed,
        }
        for contact, removed in (
            # Before and after the contacts were read.
            ("returned", _day(10)),
            ("left", "2024-03-05T06:00:00.000000Z"),
            ("gone", _day(10)),
        )
    ] + [
        {
            "ListID": 1, "EmailAddress": "noid@a.example", "AdditionDate": _day(1),
            "RemovalDate": "2024-03-05T06:00:00.000000Z",
        },
        {"ListID": 1, "ContactID": "b", "EmailAddress": "bob@b.example", "RemovalDate": _day(3)},
    ],
    "list_address_changes": [
        {
            "ListID": 1, "ContactID": "e", "OldEmailAddress": "eve@gmial.example",
            "EmailAddress": "eve@a.example", "HygieneDate": _day(2),
        }
    ],
    "conversations": [
        {
            "ListID": 1, "ConversationID": 50, "ConversationName": "Welcome", "CampaignID": 7,
            "DeliverCount": 2, "OpenCount": 1, "ReadCount": 0, "ClickCount": 1, "RemoveCount": 0,
            "ConversionCount": 1, "OrderTotal": 20,
        },
    ],
    "conversation_deliveries": [
        {"ListID": 1, "ConversationID": 50, "SendCount": 3, "BounceCount": 1}
    ],
    "conversation_sends": [
        _mail(50, 90, "Welcome", SendDate=_day(1)),
        _mail(50, 90, "Welcome", SendDate=_day(4)),
    ],
    "conversation_opens": [_mail(50, 90, "Welcome", OpenDate=_day(4))],
    "conversation_links": [
        {"ConversationID": 50, "MsgID": 90, "LinkID": 1, "LinkURL": "https://b.example/"}
    ],
}  # fmt: skip
"""An account with all that a reader of it can get wrong."""

IRREGULAR: Records = {
    "messages": [
        # Its id is also that of another mail, of a conversation.
        _message(13, "Sale", DeliverCount=1, OpenCount=1, OrderTotal=5),
        # Its opens have no addresses, and its recipients neither.
        _message(14, "Nameless", DeliverCount=3, OpenCount=2),
        # The mail of a conversation, which is reported here, too.
        _message(90, "Welcome", DeliverCount=2, OpenCount=1, OrderTotal=20),
    ],
    "message_links": [{"MsgID": 90, "LinkID": 1, "LinkURL": "https://a.example/"}],
    "message_sends": [
        {"MsgID": 13, "EmailAddress": "ann@a.example"},
        *({"MsgID": 14} for _ in range(3)),
        {"MsgID": 90, "EmailAddress": "ann@a.example"},
    ],
    "message_opens": [
        _event(13, "ann@a.example", OpenDate=_day(2)),
        *(_event(14, None, ContactID=contact, OpenDate=_day(5)) for contact in ("x", "y")),
        _event(90, "ann@a.example", OpenDate=_day(4)),
    ],
    "conversations": [
        *(
            {"ListID": list_id, "ConversationID": 60, "ConversationName": "Shared"}
            for list_id in (1, 2)
        ),
    ],
    "conversation_sends": [
        # Two contacts at once, without ids.
        *(
            _mail(50, 13, "Thanks", SendDate=_day(4), ContactID=None, EmailAddress=email)
            for email in ("ida@a.example", "jo@a.example")
        ),
        _mail(60, 91, "Shared", SendDate=_day(4)),
    ],
}
"""More rows of that account: what only a table that keeps every row can tell apart."""

LATER: Records = {
    "message_opens": [
        *(row for row in ACCOUNT["message_opens"] if row["MsgID"] == 10),
        _event(10, "ann@a.example", OpenDate="2024-03-01T10:00:00.000000Z"),
    ],
    "messages": [{**ACCOUNT["messages"][0], "ReadCount": 4}],
}
"""What a sync a day later returns: a message's events again, with a new one, and its counters."""

SUGGESTED: list[str] = yaml.safe_load((ROOT / "metadata.yaml").read_text(encoding="utf-8"))["data"][
    "suggestedStreams"
]["streams"]

KEYS: Mapping[str, tuple[str, ...]] = {
    "listrak__automated_mail": ("list_id", "conversation_id"),
    "listrak__bounces_by_reason": ("mail_type", "bounce_reason"),
    "listrak__campaigns": ("mail_type", "list_id", "campaign_id"),
    "listrak__completeness": ("list_id", "message_id", "conversation_id", "measure"),
    "listrak__contact_message": ("message_id", "contact_key"),
    "listrak__contacts": ("list_id", "contact_key"),
    "listrak__deliverability_by_domain": ("mail_type", "email_domain"),
    "listrak__engagement_by_day": ("mail_type", "date_day"),
    "listrak__links": ("mail_type", "conversation_id", "message_id", "link_id"),
    "listrak__list_growth": ("list_id", "date_day"),
    "listrak__list_growth_by_month": ("list_id", "date_month"),
    "listrak__messages": ("message_id",),
    "listrak__revenue": ("mail_type", "list_id", "mailing_id"),
}
"""The models of one connection each, with the columns that identify a row."""


def write_profile(warehouse: Warehouse, folder: Path) -> None:
    """Write a dbt profile of a warehouse to a folder."""
    profile = {"listrak": {"target": "there", "outputs": {"there": warehouse.output()}}}
    (folder / "profiles.yml").write_text(json.dumps(profile), encoding="utf-8")


def run(
    command: str,
    warehouse: Warehouse,
    folder: Path,
    variables: Mapping[str, Any],
) -> dict[str, Any]:
    """Run dbt on a warehouse, and return its results."""
    folder.mkdir(exist_ok=True)
    write_profile(warehouse, folder)
    run_dbt(command, folder, variables, profiles=folder)
    results = json.loads((folder / "run_results.json").read_text(encoding="utf-8"))
    return {one["unique_id"].split(".")[2]: one for one in results["results"]}


# Databases, each with several connections: dbt combines them, so that one build serves many tests.


def _write(warehouse: Warehouse, destination: Destination, layout: Layout) -> None:
    warehouse.load({table: destination.tables.get(table, []) for table in TABLES}, layout)


def _synced(mode: Mode, *syncs: Records, repeats: bool = False) -> Destination:
    destination = Destination(mode, repeats)
    for number, records in enumerate(syncs):
        destination.sync(records, FIRST_SYNC + number * DAY)
    return destination


def _connections(*layouts: Layout) -> dict[str, Any]:
    return {
        "listrak_connections": [
            {"schema": layout.schema, "prefix": layout.prefix, "name": layout.schema}
            for layout in layouts
        ]
    }


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A Postgres server."""
    try:
        server = PostgresServer()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield server
    server.close()


# Each kind in a process of its own, so that what its tests share is built once.
KINDS = [pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in ("duckdb", "postgres")]


@pytest.fixture(scope="module", params=KINDS)
def new_warehouse(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Warehouse]:
    """Returns an empty database of a name, of each kind in turn."""
    if request.param == "duckdb":
        return lambda name: DuckDB(tmp_path_factory.mktemp(name))
    server: PostgresServer = request.getfixturevalue("postgres")
    return lambda name: Postgres(server, name)


@pytest.fixture(scope="session")
def simulated() -> Records:
    """The records of an account of the simulator."""
    account = AccountConfig(lists=2, messages_per_list=15, recipients_per_message=80)
    records: Records = SimulatorProcess(SimulatorConfig(account=account)).truth()
    return records


@pytest.fixture(scope="module")
def models(
    new_warehouse: Callable[[str], Warehouse],
    simulated: Records,
    tmp_path_factory: pytest.TempPathFactory,
) -> Warehouse:
    """The models of the account above and of a simulated one, each in several layouts."""
    warehouse = new_warehouse("models")
    layouts = []
    for name, records, later in (("account", ACCOUNT, LATER), ("simulated", simulated, simulated)):
        appended = _synced("append", records, later)
        deduped = _synced("deduped", records, later)
        repeated = _synced("deduped", records, later, repeats=True)
        for layout, destination in (
            (Layout(name), appended),
            (Layout(f"{name}_deduped"), deduped),
            (Layout(f"{name}_repeated"), repeated),
            (Layout(f"{name}_pyairbyte", prefix="listrak_", pyairbyte=True), appended),
        ):
            _write(warehouse, destination, layout)
            layouts.append(layout)
        layout = Layout(f"{name}_suggested")
        warehouse.load({table: appended.tables[table] for table in SUGGESTED}, layout)
        layouts.append(layout)
    tables = {table: [*rows, *IRREGULAR.get(table, [])] for table, rows in ACCOUNT.items()}
    layouts.append(Layout("irregular"))
    _write(warehouse, _synced("append", tables), layouts[-1])
    run("build", warehouse, tmp_path_factory.mktemp("dbt"), _connections(*layouts))
    return warehouse


def _of(
    warehouse: Warehouse, model: str, connection: str, keys: Mapping[str, tuple[str, ...]] = KEYS
) -> dict[tuple[Any, ...], Row]:
    """Return the rows of a model for one connection, by the columns that identify them."""
    rows = warehouse.query(f"select * from {model} where source_relation = '{connection}'")  # noqa: S608
    for row in rows:
        for name in ("completeness_id", "counted_at", "missing_since"):  # of the sync
            row.pop(name, None)
        del row["source_relation"]
    return {tuple(row[name] for name in keys[model]): row for row in rows}


def _differences(
    models: Warehouse,
    whole: str,
    part: str,
    *,
    or_null: bool,
    keys: Mapping[str, tuple[str, ...]] = KEYS,
) -> list[str]:
    """Return the values of one connection that are not those of another, or null if that may be."""
    found = []
    for model in keys:
        expected = _of(models, model, whole, keys)
        rows = _of(models, model, part, keys)
        if not or_null:
            found += [f"{model} {key}: missing" for key in expected.keys() - rows.keys()]
        for key, row in rows.items():
            if "email_address" in keys[model] and row["email_address"] is None:
                continue  # it identifies no one
            if key not in expected:
                found.append(f"{model} {key}: unexpected")
                continue
            for name, value in row.items():
                if name == "contact_key" and name not in keys[model]:
                    continue
                if value != expected[key][name] and not (or_null and value is None):
                    found.append(f"{model} {key}: {name} {value}, not {expected[key][name]}")
    return found


@pytest.mark.parametrize("account", ["account", "simulated"])
@pytest.mark.parametrize("layout", ["repeated", "pyairbyte"])
def test_the_models_are_equal_in_every_layout_that_keeps_every_event(
    models: Warehouse, account: str, layout: str
) -> None:
    """Names in lower case, timestamps without a zone, a prefix, and deduplication by event."""
    assert not _differences(models, account, f"{account}_{layout}", or_null=False)


@pytest.mark.parametrize("account", ["account", "simulated"])
@pytest.mark.parametrize("layout", ["deduped", "suggested"])
def test_what_a_layout_cannot_answer_is_null(models: Warehouse, account: str, layout: str) -> None:
    """Every value is that of all streams with every event, or null."""
    assert not _differences(models, account, f"{account}_{layout}", or_null=True)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        pytest.param(
            "message_id, list_name, campaign_name, utm_campaign, sent, bounces, open_rate,"
            " click_rate, click_to_open_rate, complaint_rate, revenue_per_delivered"
            " from listrak__messages order by message_id",
            [
                [10, "News", "Spring", "spring-24", 4, 1, 0.5, 0.25, 0.5, 0.25, 20.125],
                # Its recipients are not replicated, but Listrak's percentage proves the sum.
                [11, "News", None, None, 12, 0, 0, 0, None, 0, None],
                # A contact counts once, with a corrected address, too.
                [12, "News", None, None, 2, 0, 0, 0, None, 0, None],
                # What is answered automatically was delivered.
                [15, "News", None, None, 2, 1, 0, 0, None, 0, None],
            ],
            id="messages",
        ),
        pytest.param(
            "conversation_name, campaign_name, messages, sent, delivered, bounces, open_rate"
            " from listrak__automated_mail",
            [["Welcome", "Spring", 1, 3, 2, 0, 0.5]],
            id="automated mail",
        ),
        pytest.param(
            "mail_type, campaign_name, mailings, sent, conversions, revenue, average_order_value"
            " from listrak__campaigns order by mail_type, campaign_id",
            [
                ["automated", "Spring", 1, 3, 1, 20, 20],
                ["campaign", "Spring", 1, 4, 2, 80.5, 40.25],
                ["campaign", None, 3, 16, 0, None, None],
            ],
            id="campaigns",
        ),
        pytest.param(
            "mail_type, mailing_name, revenue, revenue_per_delivered from listrak__revenue"
            " where revenue > 0 order by revenue",
            [["automated", "Welcome", 20, 10], ["campaign", "Hello", 80.5, 20.125]],
            id="revenue",
        ),
        pytest.param(
            "date_day, sends, bounces, opens, reads, clicks, unsubscribes"
            " from listrak__engagement_by_day where mail_type = 'campaign'"
            " and date_day < '2024-02-07' order by date_day",
            [
                ["2024-02-01", 8, 0, 1, 2, 0, 0],
                ["2024-02-02", 12, 1, 0, 0, 2, 0],
                ["2024-02-03", 0, 1, 1, 0, 0, 1],
                ["2024-02-04", 0, 0, 0, 0, 0, 0],
                ["2024-02-05", 0, 0, 0, 0, 0, 0],
                ["2024-02-06", 0, 0, 0, 0, 1, 0],
            ],
            id="engagement by day",
        ),
        pytest.param(
            "contact_key, subject, was_sent, was_opened, was_clicked, was_bounced,"
            " was_unsubscribed, opens, first_opened_at, last_opened_at, hours_to_open"
            " from listrak__contact_message where message_id = 10 order by contact_key",
            [
                ["a", "Hello", True, True, True, False, False, 3, "2024-02-01T13:00:00",
                 "2024-03-01T10:00:00", 1],
                ["b", "Hello", True, True, False, False, True, 2, None, None, None],
                ["cy@a.example", "Hello", True, *[False] * 4, 0, None, None, None],
                ["d", "Hello", True, False, False, True, False, 0, None, None, None],
            ],
            id="contact and message",
        ),
        pytest.param(
            "email_domain, sent, bounces, complaints from listrak__deliverability_by_domain"
            " where mail_type = 'campaign' order by email_domain",
            [["a.example", 5, 0, 1], ["b.example", 3, 2, 0]],
            id="deliverability by domain",
        ),
        pytest.param(
            "bounce_reason, was_delivered, contacts from listrak__bounces_by_reason order by 1",
            [["(none given)", False, 1], ["Auto Reply", True, 1], ["Invalid Address", False, 1]],
            id="bounces by reason",
        ),
        pytest.param(
            "contact_key, is_subscribed, campaign_messages, campaign_opened from listrak__contacts"
            " order by contact_key",
            [
                ["a", None, 1, 1],
                ["b", False, 1, 1],
                ["cy@a.example", None, 1, 0],
                ["d", None, 1, 0],
                ["e", None, 1, 0],
                ["fay@a.example", None, 1, 0],
                ["g", None, 1, 0],
                ["gone", False, 0, 0],
                ["h", None, 1, 0],
                ["left", False, 0, 0],
                # Without an id, and removed without one.
                ["noid@a.example", False, 0, 0],
                ["returned", True, 0, 0],
                ["stayed", True, 0, 0],
            ],
            id="contacts",
        ),
        pytest.param(
            "date_day, added, removed, net from listrak__list_growth"
            " where added > 0 or removed > 0 or date_day = '2024-01-11' order by date_day",
            [
                ["2024-01-10", 4, 0, 4], ["2024-01-11", 0, 0, 0], ["2024-02-01", 1, 0, 1],
                ["2024-02-03", 0, 1, -1], ["2024-02-10", 0, 2, -2], ["2024-03-05", 0, 2, -2],
            ],
            id="list growth",
        ),
        pytest.param(
            "date_month, subscribers_at_end from listrak__list_growth_by_month order by 1",
            # Listrak does not date the return of a contact.
            [["2024-01-01", 6], ["2024-02-01", 4], ["2024-03-01", 2]],
            id="list growth by month",
        ),
        pytest.param(
            "message_id, measure, counted, arrived, missing from listrak__completeness"
            " where difference <> 0 order by message_id, measure",
            [
                [10, "readers", 4, 1, 3],
                [11, "bounced contacts", 3, 0, 3],
                [11, "recipients", 9, 0, 9],
                [15, "recipients", 1, 2, 0],
                [None, "bounces", 1, 0, 1],
                [None, "sends", 3, 2, 1],
                [None, "subscribers", 8, 1, 7],
            ],
            id="completeness",
        ),
    ],
)  # fmt: skip
def test_each_model_contains_what_it_describes(
    models: Warehouse, query: str, rows: list[list[Any]]
) -> None:
    of_account = r"(select * from \1 where source_relation = 'account') as found"
    sql = "select " + re.sub(r"(listrak__\w+)", of_account, query)
    assert [list(row.values()) for row in models.query(sql)] == rows


def test_a_message_with_an_id_of_automated_mail_is_a_campaign(
    models: Warehouse,
) -> None:
    """Only one with the mail's list and subject, too, is that mail, and nothing counts twice."""
    found = models.query(
        "select message_id, mail_type from listrak__messages"
        " where source_relation = 'irregular' and message_id in (13, 90) order by message_id"
    )
    assert found == [
        {"message_id": 13, "mail_type": "campaign"},
        {"message_id": 90, "mail_type": "automated"},
    ]
    (total,) = models.query(
        "select sum(revenue) as revenue, count(*) as mailings from listrak__revenue"
        " where source_relation = 'irregular' and revenue > 0"
    )
    assert total == {"revenue": 80.5 + 5 + 20, "mailings": 3}
    (opened,) = models.query(
        "select sum(opens) as opens from listrak__engagement_by_day"
        " where source_relation = 'irregular' and date_day = '2024-02-04'"
    )
    assert opened == {"opens": 1}


def test_rows_without_an_address_are_counted_by_what_identifies_them(models: Warehouse) -> None:
    """By a ContactID, though at the same instant; what nothing identifies is not counted."""
    found = models.query(
        "select contact_key, opens from listrak__contact_message"
        " where source_relation = 'irregular' and message_id = 14 order by contact_key"
    )
    assert found == [{"contact_key": "x", "opens": 1}, {"contact_key": "y", "opens": 1}]
    (message,) = models.query(
        "select sent, delivered from listrak__messages"
        " where source_relation = 'irregular' and message_id = 14"
    )
    assert message == {"sent": None, "delivered": 3}
    (day,) = models.query(
        "select sends from listrak__engagement_by_day where source_relation = 'irregular'"
        " and date_day = '2024-02-04' and mail_type = 'automated'"
    )
    # Two at once without ids, and one each of the conversations that share contact 1.
    assert day == {"sends": 4}


def test_mail_of_an_id_that_two_lists_share_belongs_to_neither(
    models: Warehouse,
) -> None:
    found = models.query(
        "select conversation_id, list_id, messages from listrak__automated_mail"
        " where source_relation = 'irregular' order by conversation_id, list_id"
    )
    assert [tuple(row.values()) for row in found] == [(50, 1, 2), (60, 1, None), (60, 2, None)]


def test_without_recipients_no_one_counts_as_sent_or_not_sent(models: Warehouse) -> None:
    (sent,) = models.query(
        "select max(cast(was_sent as integer)) as was_sent, count(*) as contacts"
        " from listrak__contact_message where source_relation = 'account_suggested'"
    )
    assert sent["was_sent"] is None
    assert sent["contacts"] > 0
    messages = models.query(
        "select distinct sent from listrak__messages where source_relation = 'account_suggested'"
    )
    assert messages == [{"sent": None}]


def test_a_table_with_one_event_for_each_key_answers_what_it_can(models: Warehouse) -> None:
    """The last open is right; the first, and how many there were, are not known."""
    counts = "count(opens) as counted, count(first_opened_at) as first"
    kept, deduped = models.query(
        f"select {counts}, count(last_opened_at) as last, count(hours_to_click) as clicked"  # noqa: S608
        " from listrak__contact_message"
        " where source_relation in ('simulated', 'simulated_deduped')"
        " group by source_relation order by source_relation"
    )
    assert deduped == {"counted": 0, "first": 0, "last": kept["last"], "clicked": 0}
    assert min(kept.values()) > 0


def test_any_selection_of_streams_gives_the_right_numbers_or_none(
    simulated: Records, tmp_path: Path
) -> None:
    """Of any two streams, one of these selections has the first and not the second."""
    warehouse = DuckDB(tmp_path)
    destination = _synced("append", simulated)
    layouts = [Layout("whole")]
    _write(warehouse, destination, layouts[0])
    for bit in range(len(TABLES).bit_length()):
        for wanted in (0, 1):
            layout = Layout(f"selection_{bit}_{wanted}")
            selected = [name for n, name in enumerate(TABLES) if n >> bit & 1 == wanted]
            warehouse.load({name: destination.tables.get(name, []) for name in selected}, layout)
            layouts.append(layout)
    run("run", warehouse, tmp_path / "dbt", _connections(*layouts))
    # Which id a contact has, and which kind a mail is, may be known from another stream.
    keys = {
        **KEYS,
        "listrak__contact_message": ("message_id", "email_address"),
        "listrak__contacts": ("list_id", "email_address"),
        "listrak__links": ("conversation_id", "message_id", "link_id"),
    }
    for layout in layouts[1:]:
        found = _differences(warehouse, "whole", layout.schema, or_null=True, keys=keys)
        assert not found, (layout.schema, found[:9])


@pytest.fixture
def warehouse(
    new_warehouse: Callable[[str], Warehouse], request: pytest.FixtureRequest
) -> Warehouse:
    """An empty database."""
    return new_warehouse(re.sub(r"\W+", "_", request.node.name))


def _everything(warehouse: Warehouse) -> dict[str, list[Row]]:
    """Return the rows of every model, in an order."""
    models = [path.stem for path in (PACKAGE / "models" / "marts").glob("*.sql")]
    found = {}
    for model in models:
        rows = warehouse.query(f"select * from {model}")  # noqa: S608
        for row in rows:
            for name in ("missing_since", "keeps_repeats"):  # what earlier builds found stays
                row.pop(name, None)
        found[model] = sorted(rows, key=str)
    return found


def test_a_daily_build_reads_what_a_day_adds(
    warehouse: Warehouse, simulated: Records, tmp_path: Path
) -> None:
    """It gives what a full build gives, also where a stream was cleared and read again."""
    layout = Layout("listrak")
    destination = _synced("append", simulated)
    destination.sync({stream: rows for stream, rows in LATER.items()}, FIRST_SYNC - 2 * DAY)
    _write(warehouse, destination, layout)
    run("build", warehouse, tmp_path / "dbt", {})
    (first,) = warehouse.query("select count(*) as n from listrak__events")

    destination.sync(LATER, FIRST_SYNC + DAY)
    _write(warehouse, destination, layout)
    second = run("run --select listrak__events", warehouse, tmp_path / "dbt", {})
    if warehouse.name == "postgres":  # which reports how many rows it wrote
        written = second["listrak__events"]["adapter_response"]["rows_affected"]
        # With the newest row of each of the eleven streams again.
        assert len(LATER["message_opens"]) <= written <= len(LATER["message_opens"]) + 11
        assert written < first["n"] / 100

    # A refresh, after which every date is an hour later.
    later = [
        {**row, "OpenDate": row["OpenDate"].replace("T12", "T13")}
        for row in simulated["message_opens"]
        if "OpenDate" in row
    ]
    destination.tables["message_opens"] = []
    destination.sync({"message_opens": later}, FIRST_SYNC + 2 * DAY)
    _write(warehouse, destination, layout)
    run("build", warehouse, tmp_path / "dbt", {})
    updated = _everything(warehouse)
    run("build --full-refresh", warehouse, tmp_path / "dbt", {})
    assert updated == _everything(warehouse)


@pytest.mark.parametrize("hours", [-5, 2000])
def test_dates_that_are_hours_off_fail_a_test(
    warehouse: Warehouse, simulated: Records, tmp_path: Path, hours: int
) -> None:
    """As in a session that takes them for another zone's; 2000 hours later is in the future."""
    moved = [
        {**row, "OpenDate": _moved(row["OpenDate"], hours)}
        for row in simulated["message_opens"]
        if re.fullmatch(r"[-0-9T:.]+Z", row.get("OpenDate", ""))
    ]
    now = datetime(2024, 1, 2, tzinfo=timezone.utc)
    destination = Destination()
    destination.sync({"messages": simulated["messages"], "message_opens": moved}, now)
    warehouse.load(destination.tables, Layout("listrak"))
    command = "build --select +listrak_dates_are_hours_off"
    with pytest.raises(TransformError, match="listrak_dates_are_hours_off"):
        run(command, warehouse, tmp_path / "dbt", {})


def _moved(instant: str, hours: int) -> str:
    moved = datetime.fromisoformat(instant.removesuffix("Z")) + timedelta(hours=hours)
    return moved.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_schema_without_any_table_fails_with_advice(warehouse: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(TransformError, match="No table of Listrak is in the schema listrak"):
        run("build", warehouse, tmp_path / "dbt", {})


def test_fewer_rows_than_listrak_counts_lead_to_a_warning(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    """The difference keeps the instant at which it was first found."""
    account = {**ACCOUNT, "message_clicks": ACCOUNT["message_clicks"][:2]}
    layout = Layout("listrak")
    since = []
    for day in (0, 40):
        _write(warehouse, _synced_on(FIRST_SYNC + day * DAY, account), layout)
        results = run("build", warehouse, tmp_path / "dbt", {})
        since += warehouse.query(
            "select missing, missing_since from listrak__completeness"
            " where message_id = 10 and measure = 'clicks'"
        )
        status = results["listrak_rows_are_missing"]["status"]
        # On the first day, the message is not yet 30 days old.
        assert status == ("warn" if day else "pass")
    assert since == [{"missing": 1, "missing_since": "2024-03-01T00:00:00"}] * 2


def _synced_on(day: datetime, records: Records) -> Destination:
    destination = Destination()
    destination.sync(records, day)
    return destination


@pytest.mark.parametrize(("days", "fresh"), [(0, True), (8, False)])
def test_a_week_after_the_last_sync_the_sources_are_stale(
    tmp_path: Path, days: int, fresh: bool
) -> None:
    warehouse = DuckDB(tmp_path)
    _write(warehouse, _synced_on(datetime.now(timezone.utc) - days * DAY, ACCOUNT), Layout("raw"))
    (tmp_path / "dbt").mkdir()
    write_profile(warehouse, tmp_path / "dbt")
    try:
        run_dbt("source freshness", tmp_path / "dbt", {"listrak_schema": "raw"}, tmp_path / "dbt")
    except TransformError as error:
        assert not fresh
        assert "ERROR STALE" in str(error)
    else:
        assert fresh


def test_the_sources_are_the_tables_with_their_descriptions() -> None:
    text = (PACKAGE / "models" / "staging" / "sources.yml").read_text(encoding="utf-8")
    (source,) = yaml.safe_load(text)["sources"]
    found = {table["name"]: table for table in source["tables"]}
    assert list(found) == list(TABLES)
    for name, table in found.items():
        declared = {column["name"]: column["description"] for column in table["columns"]}
        assert declared.pop(EXTRACTED_AT)
        properties = schema(name)["properties"].items()
        assert table["description"] == schema(name)["description"]
        assert declared == {column: part["description"] for column, part in properties}


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, Path, Records]:
    """The models of the demo's account, the folder that dbt wrote to, and the account's records."""
    folder = tmp_path_factory.mktemp("demonstrated")
    records: Records = SimulatorProcess(simulated_account()).truth(since=START_DATE)
    warehouse = DuckDB(folder)
    _write(warehouse, _synced_on(datetime.now(timezone.utc), records), Layout("listrak"))
    run("build", warehouse, folder / "dbt", {})
    return warehouse, folder / "dbt", records


def _answers(records: Records) -> list[list[tuple[Any, ...]]]:
    """Return the answers to the questions of the README, from an account's records alone."""
    messages = records["messages"]
    lists = {message["MsgID"]: message["ListID"] for message in messages}
    rates = sorted(
        (-m["ClickerCount"] / m["OpenCount"], m["MsgID"], m.get("Subject"))
        for m in messages
        if m["DeliverCount"] >= 500 and m["OpenCount"]
    )
    best = [(message, subject, round(-rate, 9)) for rate, message, subject in rates[:5]]

    received = Counter(
        (lists[row["MsgID"]], row["EmailAddress"].lower())
        for row in records["message_sends"]
        if "EmailAddress" in row
    )
    opened = {
        (lists[row["MsgID"]], who.lower())
        for row in records["message_opens"]
        for who in (row.get("EmailAddress"), row.get("ContactID"))
        if who
    }
    sleeping = 0
    for row in records["subscribed_contacts"]:
        names = [
            (row["ListID"], row[name].lower())
            for name in ("EmailAddress", "ContactID")
            if name in row
        ]
        count = sum(received[name] for name in names)
        sleeping += count >= 5 and not opened.intersection(names)

    earned = [
        (
            kind,
            round(sum(row["OrderTotal"] for row in rows), 2),
            sum(r["ConversionCount"] for r in rows),
        )
        for kind, rows in (("automated", records["conversations"]), ("campaign", messages))
    ]

    def domains(table: str) -> Counter[str]:
        pairs = {(row["MsgID"], row.get("EmailAddress", "").lower()) for row in records[table]}
        return Counter(address.partition("@")[2] for _, address in pairs if "@" in address)

    bounced, sent = domains("message_bounces"), domains("message_sends")
    worst = sorted(bounced, key=lambda domain: (-bounced[domain], domain))[:3]

    subscribed, removals = records["subscribed_contacts"], records["list_removals"]
    added = {
        (
            row["ListID"],
            row.get("ContactID", row.get("EmailAddress", "").lower()),
            row["AdditionDate"],
        )
        for row in (*subscribed, *removals)
        if "AdditionDate" in row
    }
    growth = [
        (
            list_id,
            sum(one == list_id for one, _, _ in added),
            sum(row["ListID"] == list_id for row in removals),
            sum(row["ListID"] == list_id for row in subscribed),
        )
        for list_id in sorted(row["ListID"] for row in records["lists"])
    ]
    return [best, [(sleeping,)], earned, [(one, bounced[one], sent[one]) for one in worst], growth]


@pytest.mark.xdist_group("demonstrated")
def test_the_questions_of_the_readme_have_the_simulators_answers(
    demonstrated: tuple[Warehouse, Path, Records],
) -> None:
    warehouse, _, records = demonstrated
    queries = re.findall(r"```sql\n(.*?)```", (PACKAGE / "README.md").read_text("utf-8"), re.DOTALL)
    answers = [[tuple(row.values()) for row in warehouse.query(query)] for query in queries]
    assert answers == _answers(records)


@pytest.mark.xdist_group("demonstrated")
def test_every_column_of_every_model_and_source_is_described(
    demonstrated: tuple[Warehouse, Path, Records],
) -> None:
    warehouse, folder, _ = demonstrated
    run("docs generate", warehouse, folder, {})
    manifest, catalog = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("manifest", "catalog")
    )
    for kind in ("nodes", "sources"):
        assert len(catalog[kind]) >= 30
        for name, found in catalog[kind].items():
            described = manifest[kind][name]
            assert described["description"], name
            texts = {
                one["name"].lower(): one["description"] for one in described["columns"].values()
            }
            assert {column.lower() for column in found["columns"]} == texts.keys(), name
            assert all(texts.values()), name


# How Airbyte's destination names columns in each warehouse, and how to connect to it: nothing is
# sent to any of them, since compiling needs no connection.
_SERVER = {"host": "localhost", "port": 1, "user": "u", "password": "p", "dbname": "raw"}
WAREHOUSES: Mapping[str, tuple[Callable[[str], str], dict[str, Any]]] = {
    "bigquery": (str, {"method": "oauth-secrets", "token": "t", "project": "raw"}),
    "databricks": (
        str,
        {"host": "localhost", "http_path": "/sql", "token": "t", "catalog": "raw"},
    ),
    "duckdb": (str, {"path": "raw.duckdb"}),
    "postgres": (str, _SERVER),
    "redshift": (str.lower, _SERVER),
    "snowflake": (str.upper, {"account": "a", "user": "u", "database": "raw", "warehouse": "w"}),
}


@pytest.mark.parametrize("dialect", WAREHOUSES)
def test_each_warehouse_s_dialect_has_every_statement(dialect: str, tmp_path: Path) -> None:
    """The SQL that dbt compiles for a warehouse parses, with every column."""
    rename, connection = WAREHOUSES[dialect]
    output = {"type": dialect, "schema": "marts", "threads": 1, **connection}
    profile = {"listrak": {"target": "there", "outputs": {"there": output}}}
    (tmp_path / "profiles.yml").write_text(json.dumps(profile), encoding="utf-8")
    run_dbt("compile --no-introspect --no-populate-cache", tmp_path, {}, profiles=tmp_path)

    compiled = tmp_path / "compiled" / "listrak" / "models"
    pending = {
        path.stem: sqlglot.parse_one(path.read_text(encoding="utf-8"), dialect=dialect)
        for path in compiled.glob("**/*.sql")
    }
    assert len(pending) > 30
    tables = MappingSchema(dialect=dialect)
    for table in TABLES:
        names = (EXTRACTED_AT, *schema(table)["properties"])
        _declare(tables, f"raw.listrak.{table}", map(rename, names), dialect, quoted=True)
    # Each after those that it selects from, so that the columns of a star are known.
    while pending:
        name, statement = next(
            (name, one)
            for name, one in pending.items()
            if not {table.name.lower() for table in one.find_all(sqlglot.exp.Table)} & set(pending)
        )
        del pending[name]
        selected = qualify(statement, schema=tables, dialect=dialect).named_selects
        _declare(tables, f"raw.marts.{name}", selected, dialect, quoted=False)


def _declare(
    tables: MappingSchema, name: str, columns: Iterable[str], dialect: str, *, quoted: bool
) -> None:
    identifiers = (sqlglot.to_identifier(column, quoted=quoted) for column in columns)
    tables.add_table(name, {one.sql(dialect): "text" for one in identifiers}, dialect=dialect)
