"""What the simulator promises, seen by clients that know nothing of it: zeep and raw XML."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import pytest
import requests
import zeep
import zeep.helpers
from lxml import etree
from zeep.transports import Transport

from simulator import (
    FAULTS,
    TABLES,
    Account,
    AccountConfig,
    Endpoint,
    FaultSpec,
    Move,
    Simulator,
    SimulatorConfig,
    SimulatorProcess,
    Truth,
    row_counts,
)
from simulator.account import Kind
from simulator.clock import DAY, HOUR
from simulator.movement import (
    Movement,
    come_back,
    leave,
    record,
    withhold,
)
from simulator.series import Contacts, Events

NAMESPACE = "http://webservices.listrak.com/v31/"
XSD = "{http://www.w3.org/2001/XMLSchema}"
BUNDLED = Path(__file__).parents[2] / "source_listrak" / "soap" / "IntegrationService.wsdl"
ZONE = "America/New_York"
UTC = timezone.utc
DATED_EVENTS = (
    "message_clicks", "message_opens", "message_reads", "message_unsubs", "message_bounces",
)  # fmt: skip
WIDE = {"StartDate": "2000-01-01", "EndDate": "2100-01-01"}
SMALL = AccountConfig(
    messages_per_list=(12, 5, 0), contacts_per_list=(60, 9, 0), recipients_per_message=100
)
LISTS, ACTIVITY = "GetContactListCollection", "ReportListMessageActivity"
OPENS, SENT = "ReportRangeMessageContactOpen", "ReportMessageContactSent"
CONTACTS = "ReportRangeSubscribedContacts"
Record = dict[str, Any]
Target = Endpoint | Simulator | SimulatorProcess


@pytest.fixture(scope="session")
def wsdl() -> str:
    """The interface that the connector bundles, or the one that LISTRAK_WSDL names."""
    path = Path(os.environ.get("LISTRAK_WSDL", BUNDLED))
    if not path.exists():
        pytest.skip("no WSDL to load")
    return str(path)


class Client:
    """A client of strings and bytes, so that the wire itself can be looked at."""

    def __init__(self, target: Target, password: str | None = None, timeout: float = 5) -> None:
        self.target, self.timeout = target, timeout
        self.password = target.config.password if password is None else password
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, operation: str, /, **arguments: object) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request; return status, headers and body."""
        inside = "".join(f"<{name}>{_xml(value)}</{name}>" for name, value in arguments.items())
        text = (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>'
            f'<WSUser xmlns="{NAMESPACE}"><UserName>demo</UserName>'
            f"<Password>{escape(self.password)}</Password></WSUser></s:Header>"
            f'<s:Body><{operation} xmlns="{NAMESPACE}">{inside}</{operation}></s:Body></s:Envelope>'
        )
        if isinstance(self.target, Endpoint):
            return self.target.answer(operation, text.encode())
        answer = self.session.post(
            self.target.url,
            data=text.encode(),
            headers={
                "Content-Type": "text/xml; charset=utf-8",
                "SOAPAction": f'"{NAMESPACE}{operation}"',
            },
            timeout=self.timeout,
            allow_redirects=False,
        )
        return answer.status_code, answer.headers, answer.content

    def rows(self, operation: str, **arguments: object) -> list[Any] | None:
        """Return the rows of one page, None if there is no result or it is nil."""
        status, _, body = self.post(operation, **arguments)
        assert status == 200, body
        result = etree.fromstring(body).find(f".//{{*}}{operation}Result")
        if result is None or result.attrib:
            return None
        return list(result)

    def pages(self, operation: str, **arguments: object) -> Iterator[list[Any]]:
        """Return pages until one has no rows."""
        table = next(one for one in TABLES.values() if one.operation == operation)
        page = 1
        while rows := self.rows(
            operation, **{name: (arguments | {"Page": page})[name] for name in table.request}
        ):
            yield rows
            if "Page" not in table.request:
                return
            page += 1

    def records(self, name: str, **arguments: object) -> list[Record]:
        """Return a table's records under one parent."""
        rows = (row for page in self.pages(TABLES[name].operation, **arguments) for row in page)
        return [self._record(name, row) for row in rows]

    def everything(self, since: str = "2000-01-01", until: str = "2100-01-01") -> dict[str, Any]:
        """Return every table's records, read as a naive client reads them."""
        wanted = {"IncludeTestMessages": "true", "IncludeTerminated": "true"}
        wanted |= {"StartDate": since, "EndDate": until}
        found: dict[str, list[Record]] = {"lists": self.records("lists")}
        for name, table in TABLES.items():
            if name not in found and table.request[0] == "StartDate":
                found[name] = self.records(name, **wanted)
            if table.request[:1] == ("ListID",):
                found[name] = self._under("ListID", found["lists"], name, wanted)
        for name, table in TABLES.items():
            if table.request[:1] == ("MsgID",):
                found[name] = self._under("MsgID", found["messages"], name, wanted)
            if table.request[:1] == ("ConversationID",):
                found[name] = self._under("ConversationID", found["conversations"], name, wanted)
        ids = [message["MsgID"] for message in found["messages"]]
        found["message_analytics"] = self.records("message_analytics", MsgIDs=ids)
        return found

    def _under(
        self, key: str, parents: list[Record], name: str, wanted: Mapping[str, object]
    ) -> list[Record]:
        return [
            {key: parent[key]} | one
            for parent in parents
            for one in self.records(name, **wanted, **{key: parent[key]})
        ]

    def _record(self, name: str, row: Any) -> Record:
        kinds = {column.name: column.kind for column in TABLES[name].columns}
        found: Record = {}
        for child in row:
            column, text = etree.QName(child).localname, child.text or ""
            if child.attrib:
                continue
            kind = kinds[column]
            if kind == "texts":
                found.setdefault(column, []).append(text)
            elif kind in ("object", "objects"):
                value: Any = {etree.QName(one).localname: _scalar(one) for one in child}
                value = {key: one for key, one in value.items() if one is not None}
                if kind == "object":
                    found[column] = value
                else:
                    found.setdefault(column, []).append(value)
            else:
                value = _typed(kind, text, self.target.config.account.time_zone)
                if value is not None:
                    found[column] = value
        return found


def _xml(value: object) -> str:
    if isinstance(value, list):
        return "".join(f"<int>{one}</int>" for one in value)
    return str(value)


def _scalar(child: Any) -> object:
    text = child.text or ""
    is_number = etree.QName(child).localname not in ("Name", "Description", "DataType")
    return None if child.attrib else int(text) if is_number else text


def _typed(kind: str, text: str, zone: str) -> object:
    """Return a value as the contract has it, None if it is not of its type."""
    try:
        if kind == "int":
            return int(text)
        if kind == "decimal":
            return float(text)
        if kind == "date":
            return in_utc(text, zone)
    except ValueError:
        return None
    if kind == "text_date":
        try:
            return in_utc(text, zone)
        except ValueError:
            return text
    return text == "true" if kind == "bool" else text


def in_utc(value: object, zone: str = ZONE) -> str | None:
    """Return a wall-clock value, of zeep or as text, as the contract has it."""
    if value is None or str(value).startswith("0001"):
        return None
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    if text[-2:] in ("AM", "PM"):
        moment = datetime.strptime(text + "+0000", "%m/%d/%Y %I:%M:%S %p%z").replace(tzinfo=None)
    else:
        has_offset = text[-6:-5] in ("+", "-")
        head, _, fraction = (text[:-6] if has_offset else text).partition(".")
        offset = text[-6:] if has_offset else ""
        moment = datetime.fromisoformat(f"{head}.{fraction[:6]:0<6}{offset}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def bag(records: list[Record]) -> Counter[str]:
    """Return records in a form in which two collections compare, whatever their order."""
    return Counter(json.dumps(record, sort_keys=True) for record in records)


def assert_equal(got: Mapping[str, list[Record]], truth: Mapping[str, list[Record]]) -> None:
    """Compare all tables; show the first difference of the first table that differs."""
    for table in TABLES:
        have, want = bag(got[table]), bag(truth[table])
        missing, extra = want - have, have - want
        first = next(iter(missing), None), next(iter(extra), None)
        assert have == want, (
            f"{table}: {missing.total()}/{extra.total()} of {want.total()}: {first}"
        )


def start(account: AccountConfig = SMALL, **settings: Any) -> Simulator:
    """Return a simulator of a copy of an account's configuration."""
    return Simulator(SimulatorConfig(account=replace(account), **settings))


def endpoint(account: AccountConfig = SMALL, **settings: Any) -> Endpoint:
    """Return a service without a socket, of a copy of an account's configuration."""
    return Endpoint(SimulatorConfig(account=replace(account), **settings))


def biggest_message(account: Account) -> Record:
    """Return the message with the most opens."""
    return max(Truth(account).records("messages"), key=lambda record: record["OpenCount"])


# The interface


def test_given_zeep_when_every_operation_is_called_then_it_reads_the_truth(wsdl: str) -> None:
    with start(wsdl=wsdl, page_size=17) as simulator:
        reader = ZeepReader(simulator)
        got = {name: reader.read(name) for name in TABLES}
        truth = simulator.truth()
        for table in TABLES:
            assert zeep_bag(got[table]) == zeep_bag(truth[table]), table
            assert truth[table], f"{table} has rows"
        assert simulator.counts.keys() == {table.operation for table in TABLES.values()}


class ZeepReader:
    """Reads tables with a SOAP client that no one here wrote."""

    def __init__(self, simulator: Simulator) -> None:
        session = requests.Session()
        session.trust_env = False
        transport = Transport(session=session)
        self._client: Any = zeep.Client(simulator.url + "?wsdl", transport=transport)  # type: ignore[no-untyped-call]
        config = simulator.config
        self._user = self._client.get_element(f"{{{NAMESPACE}}}WSUser")(
            UserName=config.user_name, Password=config.password
        )
        self._ids = {
            "ListID": [one["ListID"] for one in self._rows("lists")],
            "MsgID": list[int](),
            "ConversationID": list[int](),
        }
        self._ids["MsgID"] = [one["MsgID"] for one in self.read("messages")]
        self._ids["ConversationID"] = [one["ConversationID"] for one in self.read("conversations")]

    def read(self, name: str) -> list[Record]:
        """Return a table's records, with dates as the contract has them."""
        table = TABLES[name]
        key = table.request[0] if table.request else ""
        found: list[Record] = []
        for value in self._ids.get(key, [None]):
            one = {} if value is None else {key: value}
            # zeep returns None for a row without any text.
            found += [one | (row or {}) for row in self._rows(name, **one)]
        return [self._converted(name, one) for one in found]

    def _rows(self, name: str, **arguments: object) -> Iterator[Record]:
        table = TABLES[name]
        values: dict[str, object] = {
            "StartDate": datetime(2000, 1, 1, tzinfo=UTC),
            "EndDate": datetime(2100, 1, 1, tzinfo=UTC),
            "IncludeTestMessages": True,
            "IncludeTerminated": True,
            "MsgIDs": {"int": self._ids["MsgID"]} if "MsgIDs" in table.request else None,
            "WSException": None,
            **arguments,
        }
        request = (*table.request, "WSException") if table.has_exception else table.request
        page = 1
        while True:
            values["Page"] = page
            call = getattr(self._client.service, table.operation)
            answer = call(_soapheaders=[self._user], **{one: values[one] for one in request})
            rows = rows_of(zeep.helpers.serialize_object(answer, dict))
            yield from rows
            if not rows or "Page" not in table.request:
                return
            page += 1

    def _converted(self, name: str, row: Record) -> Record:
        for column in TABLES[name].columns:
            if column.kind in ("date", "text_date"):
                row[column.name] = in_utc(row[column.name])
        return row


def rows_of(answer: object) -> list[Any]:
    """Return the rows of an answer of zeep, wherever it put them."""
    while isinstance(answer, dict):
        answer = next((value for value in answer.values() if value), None)
    return answer if isinstance(answer, list) else []


def zeep_bag(records: list[Record]) -> Counter[str]:
    """Return records as a bag, without what zeep cannot tell from null: empty text."""
    return Counter(repr(_plain(record)) for record in records)


def _plain(value: object) -> object:
    """Return a value in the one form that compares: no nulls, keys in order, floats."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if v not in (None, "", [])}
        return sorted((k, _plain(v)) for k, v in kept.items())
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return float(value) if isinstance(value, (Decimal, float)) else value


def test_the_declared_tables_are_those_of_the_interface_in_order_and_type(wsdl: str) -> None:
    schema = etree.parse(wsdl).find(f".//{XSD}schema")
    assert schema is not None
    named = {one.get("name"): one for one in schema}
    types = {
        "int": "int", "bool": "boolean", "decimal": "decimal", "date": "dateTime",
        "text": "string", "text_date": "string", "texts": "string",
        "object": "WSVmta", "objects": "WSProfileAttribute",
    }  # fmt: skip

    def elements(name: str) -> list[tuple[str, str]]:
        found = named[name].iter(f"{XSD}element")
        pairs = [(one.get("name", ""), one.get("type", "").rpartition(":")[2]) for one in found]
        return [pair for pair in pairs if pair[0] != name]

    for table in TABLES.values():
        columns = [(column.name, types[column.kind]) for column in table.columns]
        assert columns == elements(table.row), table.name
        exception = [("WSException", "WSException")] if table.has_exception else []
        request = elements(table.operation)
        assert [name for name, _ in request] == [*table.request, *(n for n, _ in exception)]
        result, *rest = elements(f"{table.operation}Response")
        assert result == (f"{table.operation}Result", f"ArrayOf{table.row}")
        assert rest == exception


def test_there_are_thirty_tables() -> None:
    assert len(TABLES) == len({table.operation for table in TABLES.values()}) == 30


# The data


def test_given_the_same_seed_then_every_byte_is_the_same() -> None:
    bodies = []
    for seed in (1, 1, 2):
        target = endpoint(replace(SMALL, seed=seed))
        list_id = target.account.lists()[0].list_id
        arguments = {"ListID": list_id, **WIDE, "IncludeTestMessages": "true"}
        bodies.append(Client(target).post(ACTIVITY, **arguments)[2])
    assert bodies[0] == bodies[1]
    assert bodies[0] != bodies[2]


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, {}),
        ({"late_by": 40 * 86_400}, {"page_size": 7}),
        ({"date_digits": 7, "date_offsets": True}, {"row_order": "newest"}),
        ({"date_digits": 0, "time_zone": "UTC"}, {"row_order": "address", "page_size": 7}),
        ({"string_date_style": "us"}, {"row_order": "id", "end_style": "nil"}),
        ({"string_date_style": "mixed"}, {"short_pages": True, "page_size": 5}),
        ({"string_date_style": "garbage", "return_share": 1.0, "stay_days": 5}, {}),
        ({"conversation_mail_in_messages": True, "removal_rate": 0.2}, {"page_size": 7}),
        ({"counters": "zero", "recipients_without_address": 0.5}, {"end_style": "empty"}),
        ({"messages_without_send_date": 0.5, "counters": "high", "leaver_every": 0}, {}),
        (
            {
                "wrong_values": {
                    "messages.OrderTotal": "1,234.50",
                    "list_removals.RemovalDate": "x",
                },
                "wrong_every": 3,
            },
            {},
        ),
    ],
    ids=repr,
)
@pytest.mark.parametrize("days", [-200, 3])
def test_whatever_the_reading_of_the_unknowns_a_client_reads_the_truth(
    changes: dict[str, Any], settings: dict[str, Any], days: int
) -> None:
    target = endpoint(replace(SMALL, **changes), **settings)
    target.account.set_now(SMALL.now + timedelta(days=days))
    assert_equal(Client(target).everything(), Truth(target.account).tables())


def test_given_a_window_then_a_client_reads_the_truth_of_the_window() -> None:
    target = endpoint(replace(SMALL, removal_rate=0.2, stay_days=1))
    since, until = "2023-03-01T00:00:00", "2023-09-01T00:00:00"
    got = Client(target).everything(since, until)
    assert_equal(got, Truth(target.account, since, until).tables())
    one = target.account.lists()[0]
    edges = [f"2023-{month:02}-01T00:00:00" for month in range(1, 13)]
    for start, end in pairwise(edges):
        span = {"StartDate": start, "EndDate": end}
        removals = Client(target).records("list_removals", ListID=one.list_id, **span)
        truth = Truth(target.account, start, end, list_ids=[one.list_id])
        want = bag(list(truth.records("list_removals")))
        assert bag([{"ListID": one.list_id} | removal for removal in removals]) == want


@pytest.mark.parametrize("late_by", [0, 3 * 86_400])
def test_when_the_clock_moves_then_counters_agree_with_rows_and_data_grow(late_by: int) -> None:
    account = Account(replace(SMALL, late_by=late_by))
    before: dict[str, int] = {}
    shrinking = {"lists", "subscribed_contacts", "list_imports"}
    for days in (-300, -100, 0, 3, 60):
        account.set_now(SMALL.now + timedelta(days=days))
        truth = Truth(account).tables()
        counts = {table: len(records) for table, records in truth.items()}
        assert row_counts(account) == counts
        rows = {t: Counter(r["MsgID"] for r in truth[t]) for t in (*DATED_EVENTS, "message_sends")}
        people = {t: Counter((r["MsgID"], _who(r)) for r in truth[t]) for t in DATED_EVENTS}
        contacts = {t: Counter(msg_id for msg_id, _ in people[t]) for t in DATED_EVENTS}
        repeated = Counter(m for (m, _), n in people["message_clicks"].items() if n > 1)
        links: Counter[int] = Counter()
        for link in truth["message_links"]:
            links[link["MsgID"]] += link["ClickCount"]
        for message in truth["messages"]:
            msg_id = message["MsgID"]
            assert message["OpenCount"] == contacts["message_opens"][msg_id]
            assert message["ReadCount"] == contacts["message_reads"][msg_id]
            assert message["ClickCount"] == rows["message_clicks"][msg_id] == links[msg_id]
            assert message["ClickerCount"] == contacts["message_clicks"][msg_id]
            assert message["RepeatClickerCount"] == repeated[msg_id]
            assert message["RemoveCount"] == rows["message_unsubs"][msg_id]
            bounced = rows["message_bounces"][msg_id]
            assert message["DeliverCount"] == rows["message_sends"][msg_id] - bounced
        for delivery in truth["conversation_deliveries"]:
            sent = [r["ConversationID"] for r in truth["conversation_sends"]]
            assert delivery["SendCount"] == sent.count(delivery["ConversationID"])
        assert all(counts[t] >= before.get(t, 0) for t in TABLES if t not in shrinking)
        before = counts


def _who(record: Record) -> tuple[Any, ...]:
    return record.get("ContactID"), record.get("EmailAddress")


def test_the_worked_example_of_the_account_is_true() -> None:
    account = Account(AccountConfig())
    one = account.lists()[0]
    sent = account.message(one, 4).raw - account.start
    assert 73 <= sent / DAY < 91.25
    message = max(account.messages(one), key=lambda message: message.counts[Kind.OPEN])
    assert len({account.actor(message, Kind.OPEN, index) for index in range(31)}) == 21
    opens = Events(account, message, Kind.OPEN)
    middle = opens.raw(opens.count // 2) - message.sent
    assert 3 * HOUR < middle < 4 * HOUR
    assert 29 * DAY < opens.raw(opens.count - 1) - message.sent <= 30 * DAY


def test_conversations_and_lists_join_by_contact_id() -> None:
    truth = Truth(Account(SMALL)).tables(["conversation_sends", "subscribed_contacts"])
    emails = {c.get("ContactID"): c.get("EmailAddress") for c in truth["subscribed_contacts"]}
    sends = [one for one in truth["conversation_sends"] if str(one["ContactID"]) in emails]
    assert len(sends) > 20
    assert all(emails[str(one["ContactID"])] == one.get("EmailAddress") for one in sends)


def test_a_contact_opens_a_message_more_than_once() -> None:
    account = Account(SMALL)
    message = biggest_message(account)
    opens = _opens_of(account, message["MsgID"])
    assert len(opens) > message["OpenCount"] == len(set(map(_who, opens)))


def test_dates_have_three_fraction_digits_at_most_unless_set() -> None:
    for digits in (0, 3, 7):
        target = endpoint(replace(SMALL, date_digits=digits))
        message = biggest_message(target.account)
        rows = Client(target).rows(OPENS, MsgID=message["MsgID"], **WIDE, Page=1) or []
        dates = [row.findtext("{*}OpenDate") or "" for row in rows]
        assert max(len(date.partition(".")[2]) for date in dates) == digits


@pytest.mark.parametrize("late_by", [0, 86_400])
def test_when_windows_adjoin_then_each_row_is_in_exactly_one(late_by: int) -> None:
    """The windows' edges lie in, at and around the hour that 2023-11-05 repeats."""
    account = AccountConfig(
        lists=1,
        messages_per_list=3,
        recipients_per_message=400,
        uniform=True,
        test_messages=False,
        start=datetime(2023, 11, 5, 3, tzinfo=UTC),
        now=datetime(2023, 11, 5, 9, tzinfo=UTC),
        late_by=late_by,
    )
    edges = [
        "2023-11-01", "2023-11-05T00:30:00", "2023-11-05T01:00:00", "2023-11-05T05:10:00Z",
        "2023-11-05T01:30:00.5", "2023-11-05T02:00:00", "2023-11-05T02:00:00-05:00", "2024-03-01",
    ]  # fmt: skip
    target = endpoint(account)
    target.account.set_now(datetime(2023, 11, 5, 18, tzinfo=UTC) if late_by else account.now)
    client, everything = Client(target), Truth(target.account)
    for table in DATED_EVENTS:
        records = list(everything.records(table))
        total = 0
        for since, until in pairwise(edges):
            for msg_id in {one["MsgID"] for one in records}:
                span = {"StartDate": since, "EndDate": until}
                total += len(client.records(table, MsgID=msg_id, **span))
        assert total == len(records), table
    wall = Truth(target.account, "2023-11-05T01:00:00", "2023-11-05T02:00:00")
    sends = {one["SendDate"][:13] for one in wall.records("messages")}
    assert sends == {"2023-11-05T05"}, "of a repeated hour, the first"


def test_given_edges_then_start_is_inclusive_and_end_exclusive_unless_set() -> None:
    target = endpoint()
    client, messages = Client(target), list(Truth(target.account).records("messages"))
    list_id = {"ListID": messages[0]["ListID"]}
    edge = {"StartDate": messages[0]["SendDate"], "EndDate": messages[1]["SendDate"]}
    arguments = {**list_id, **edge, "IncludeTestMessages": "true"}
    assert len(client.rows(ACTIVITY, **arguments) or []) == 1
    target.config.end_inclusive = True
    assert len(client.rows(ACTIVITY, **arguments) or []) == 2


def test_import_history_is_kept_for_thirty_days() -> None:
    account = Account(replace(SMALL, imports_per_list=300))
    dates = [record["StartDate"][:10] for record in Truth(account).records("list_imports")]
    assert min(dates) == "2023-12-02"
    assert len(dates) > 20


def test_analytics_take_2500_ids_and_leave_out_unknown_ones() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    ids = [message["MsgID"], *range(1, 2500)]
    assert len(client.rows("GetMessageAnalyticsInformation", MsgIDs=ids) or []) == 1
    assert client.rows("GetMessageAnalyticsInformation") is None
    status, _, body = client.post("GetMessageAnalyticsInformation", MsgIDs=[*ids, 3])
    assert status == 500
    assert b"2500" in body


def test_hidden_lists_and_all_that_belongs_to_them_are_gone() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    target.account.hide_lists({message["ListID"]})
    assert len(client.rows(LISTS) or []) == 2
    assert client.post(SENT, MsgID=message["MsgID"], Page=1)[0] == 500
    assert_equal(client.everything(), Truth(target.account).tables())
    for table, records in Truth(target.account).tables().items():
        assert all(record.get("ListID") != message["ListID"] for record in records), table


def test_the_truth_of_some_lists_holds_nothing_of_others() -> None:
    account = Account(replace(SMALL, complaints=100))
    chosen = account.lists()[0].list_id
    some, every = Truth(account, list_ids=[chosen]).tables(), Truth(account).tables()
    for table, records in every.items():
        if records and "ListID" in records[0]:
            assert bag(some[table]) == bag([r for r in records if r["ListID"] == chosen]), table
    assert len(some["abuse_complaints"]) < len(every["abuse_complaints"])


def test_an_account_may_have_no_lists() -> None:
    target = endpoint(AccountConfig(lists=0))
    assert Client(target).rows(LISTS) is None
    assert not any(Truth(target.account).tables().values())


@pytest.mark.parametrize("style", ["iso", "us", "mixed", "garbage"])
def test_string_dates_have_the_layout_that_is_set(style: str) -> None:
    target = endpoint(replace(SMALL, string_date_style=style))
    message = biggest_message(target.account)
    rows = Client(target).rows(OPENS, MsgID=message["MsgID"], **WIDE, Page=1)
    dates = {row.findtext("{*}OpenDate") for row in rows or []} - {None}
    slashed = {date for date in dates if date[-2:] in ("AM", "PM")}
    assert bool(slashed) is (style in ("us", "mixed"))
    assert any("T" in date for date in dates) is (style != "us")


def test_a_message_of_a_million_opens_is_served_from_its_far_end() -> None:
    target = endpoint(replace(SMALL, giant_message_opens=1_000_000))
    message = next(target.account.messages(target.account.lists()[0]))
    client, arguments = Client(target), {"MsgID": message.msg_id, **WIDE}
    assert len(client.rows(OPENS, **arguments, Page=400) or []) == 2500
    assert client.rows(OPENS, **arguments, Page=401) is None


# Contacts that leave and return


def test_who_left_a_list_is_in_its_removals_and_who_returned_is_subscribed() -> None:
    account = Account(
        AccountConfig(contacts_per_list=400, return_share=0.5, stay_days=20, removal_rate=0.05)
    )
    days = [SMALL.now + timedelta(days=10 * step) for step in range(-30, 10)]
    returned, seen_leaving = 0, set[tuple[Any, ...]]()
    for before, after in pairwise(days):
        account.set_now(after)
        then = {_contact(r): r for r in Truth(account, now=before).records("subscribed_contacts")}
        now = {_contact(r): r for r in Truth(account).records("subscribed_contacts")}
        removed = {
            _contact(one): one
            for one in Truth(account).records("list_removals")
            if f"{before:%Y-%m-%dT%H}" <= one["RemovalDate"][:13] <= f"{after:%Y-%m-%dT%H}"
        }
        assert then.keys() - now.keys() <= removed.keys(), "who is absent was removed"
        for contact in removed.keys() & then.keys():
            assert removed[contact].get("AdditionDate") == then[contact]["AdditionDate"]
        seen_leaving |= removed.keys()
        back = (now.keys() - then.keys()) & seen_leaving
        returned += len(back)
    assert len(seen_leaving) > 100
    assert returned > 5
    messages_made_leave = {
        _contact(r | {"ListID": 0}) for r in Truth(account).records("message_unsubs")
    }
    by_list = {(0, *contact[1:]) for contact in seen_leaving}
    assert len(messages_made_leave & by_list) > 10, "removals by messages are removals of the list"


def _contact(record: Record) -> tuple[Any, ...]:
    return record["ListID"], record.get("ContactID"), record.get("EmailAddress")


def test_removals_are_the_ends_of_all_spans_of_subscription() -> None:
    """Contacts leave by schedule, because of messages and by a test's hand, in any mixture."""
    account = Account(replace(SMALL, leaver_every=2, stay_days=1, removal_rate=0.2))
    one = account.lists()[0]
    for days in range(-300, 60, 30):
        account.set_now(SMALL.now + timedelta(days=days))
        leave(account, one.list_id, 3)
        account.set_now(SMALL.now + timedelta(days=days + 10))
        come_back(account, one.list_id, 2)
    contacts = Contacts(account, one, account.now)
    ends = [
        (account.contact(one, number)[1], until)
        for number in range(contacts.count)
        for _, until in contacts.history(number)
        if until <= account.now
    ]
    emails = {email for email, _ in ends}
    found = [
        (
            removal.get("EmailAddress"),
            datetime.fromisoformat(removal["RemovalDate"][:-1] + "+00:00"),
        )
        for removal in Truth(account, list_ids=[one.list_id]).records("list_removals")
        if removal.get("EmailAddress") in emails
    ]
    assert len(ends) > 60
    assert sorted(email for email, _ in found) == sorted(email for email, _ in ends)
    for (_, at), (_, until) in zip(sorted(found), sorted(ends), strict=True):
        assert abs(at.timestamp() - until / 1e6) <= 1, "cut to the stored resolution"


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def test_a_contact_that_returns_keeps_its_addition_date() -> None:
    target = endpoint()
    account, list_id = target.account, target.account.lists()[0].list_id
    before = bag(list(Truth(account).records("subscribed_contacts")))
    leave(account, list_id, 5)
    gone = before - bag(list(Truth(account).records("subscribed_contacts")))
    assert gone.total() == 5
    assert_equal(Client(target).everything(), Truth(account).tables())
    come_back(account, list_id, 5)
    assert bag(list(Truth(account).records("subscribed_contacts"))) == before
    assert_equal(Client(target).everything(), Truth(account).tables())


def test_the_truth_knows_who_was_subscribed_throughout() -> None:
    account = Account(SMALL)
    list_id = account.lists()[0].list_id
    before, everyone = SMALL.now, list(Truth(account).records("subscribed_contacts"))
    numbers = leave(account, list_id, 3)
    come_back(account, list_id, 2)
    later = SMALL.now + timedelta(seconds=1)
    account.set_now(later)
    assert len(list(Truth(account).records("subscribed_contacts"))) == len(everyone) - 1
    throughout = list(Truth(account).contacts_throughout(before, later))
    assert len(throughout) == len(everyone) - len(numbers)


# Movement while it is read


@pytest.mark.parametrize("order", ["oldest", "newest", "address", "id"])
def test_given_contacts_that_leave_while_pages_are_read_then_a_naive_reader_loses_others(
    order: str,
) -> None:
    account = AccountConfig(
        lists=1,
        messages_per_list=0,
        contacts_per_list=3_000,
        leaver_every=0,
        conversations_per_list=0,
    )
    target = endpoint(account, page_size=100, row_order=order)
    list_id = target.account.lists()[0].list_id
    moves = [Move(after=1, every=1, times=20, leave=2, list_id=list_id, operations=[CONTACTS])]
    target.config.moves = moves
    before = target.account.moment
    read = bag([{"ListID": list_id} | r for r in Client(target).records(
        "subscribed_contacts", ListID=list_id, **WIDE)])  # fmt: skip
    truth = Truth(target.account)
    throughout = bag(list(truth.contacts_throughout(before, target.account.moment)))
    assert throughout.total() == 3_000 - 40
    assert 0 < (throughout - read).total() < 40
    assert len(list(truth.records("list_removals"))) == 40


@pytest.mark.parametrize("order", ["oldest", "newest", "address", "id"])
def test_given_rows_that_are_inserted_while_pages_are_read_then_pages_repeat_but_lose_nothing(
    order: str,
) -> None:
    account = replace(SMALL, giant_message_opens=600)
    target = endpoint(account, page_size=20, row_order=order)
    message = next(target.account.messages(target.account.lists()[0]))
    target.config.moves = [Move(after=2, times=15, record=2, msg_id=message.msg_id)]
    arguments = {"MsgID": message.msg_id, **WIDE}
    assert len(Client(target).rows(OPENS, **arguments, Page=1) or []) == 20
    first = bag(_opens_of(target.account, message.msg_id))
    assert first.total() == 570
    read = bag([{"MsgID": message.msg_id} | r
                for r in Client(target).records("message_opens", **arguments)])  # fmt: skip
    last = bag(_opens_of(target.account, message.msg_id))
    assert last.total() == 600
    assert not first.keys() - read.keys(), "what was there when the reading began was read"
    assert not read.keys() - last.keys()
    dates = [json.loads(one).get("OpenDate", "") for one in last - first]
    assert min(dates)[:13] == f"{min(r.get('OpenDate', '~') for r in map(json.loads, last))[:13]}"


def _opens_of(account: Account, msg_id: int) -> list[Record]:
    return [r for r in Truth(account).records("message_opens") if r["MsgID"] == msg_id]


def test_withheld_rows_are_in_no_counter_until_they_are_recorded() -> None:
    target = endpoint()
    account, message = target.account, biggest_message(target.account)
    for table, column in (("message_opens", "OpenCount"), ("message_clicks", "ClickCount")):
        withhold(account, message["MsgID"], table, 3)
        less = next(m for m in Truth(account).records("messages") if m["MsgID"] == message["MsgID"])
        assert less[column] <= message[column]
        assert_equal(Client(target).everything(), Truth(account).tables())
        record(account, message["MsgID"], table, 3)
        assert biggest_message(account)[column] == message[column]
        assert_equal(Client(target).everything(), Truth(account).tables())


def test_the_clock_moves_with_each_request() -> None:
    target = endpoint(replace(SMALL, late_by=86_400), seconds_per_request=3600, page_size=10)
    began = SMALL.now
    read = Client(target).everything()
    assert target.account.moment == began + timedelta(hours=sum(target.counts.values()))
    first, last = Truth(target.account, now=began), Truth(target.account)
    for table in DATED_EVENTS:
        have = bag(read[table]).keys()
        assert (
            bag(list(first.records(table))).keys() <= have <= bag(list(last.records(table))).keys()
        )
    assert len(read["message_sends"]) >= len(list(first.records("message_sends")))


def test_the_clock_moves_with_real_time() -> None:
    account = Account(SMALL)
    movement = Movement(account, SimulatorConfig(account=SMALL, clock_rate=86_400))
    start = account.now
    for arrival in (100.0, 100.5, 102.0):
        movement.before_request(LISTS, arrival)
    assert account.now - start == 2 * 86_400 * 1_000_000


def test_moves_count_only_the_operations_that_they_name() -> None:
    target = endpoint()
    list_id = target.account.lists()[0].list_id
    target.config.moves = [
        Move(after=1, times=1, leave=4, list_id=list_id, operations=[CONTACTS]),
        Move(after=3, pass_seconds=60),
    ]
    client, total = Client(target), len(list(Truth(target.account).records("subscribed_contacts")))

    def read() -> int:
        return len(client.records("subscribed_contacts", ListID=list_id, **WIDE))

    client.rows(LISTS)
    client.rows(LISTS)
    full = client.rows(CONTACTS, ListID=list_id, **WIDE, Page=1) or []
    assert read() == len(full) - 4
    assert len(list(Truth(target.account).records("subscribed_contacts"))) == total - 4
    assert target.account.now == Account(SMALL).now + 60_000_001


# Pages


@pytest.mark.parametrize("end_style", ["empty", "nil", "missing"])
@pytest.mark.parametrize("short_pages", [False, True])
@pytest.mark.parametrize("page_size", [1, 7, 1000])
def test_paging_returns_every_row_once(end_style: str, short_pages: bool, page_size: int) -> None:
    target = endpoint(end_style=end_style, short_pages=short_pages, page_size=page_size)
    client, message = Client(target), biggest_message(target.account)
    arguments = {"MsgID": message["MsgID"], **WIDE}
    pages = list(client.pages(OPENS, **arguments))
    assert sum(map(len, pages)) == len(_opens_of(target.account, message["MsgID"]))
    past = client.rows(OPENS, **arguments, Page=len(pages) + 9)
    assert past == ([] if end_style == "empty" else None)
    nil = b'OpenResult xsi:nil="true"' in client.post(OPENS, **arguments, Page=999_999)[2]
    assert nil is (end_style == "nil")


def test_pages_have_2500_rows_and_end_with_a_missing_result_unless_set() -> None:
    config = SimulatorConfig()
    assert (config.page_size, config.end_style) == (2500, "missing")


def test_rows_have_the_order_that_is_set() -> None:
    columns = {"address": "EmailAddress", "id": "ContactID"}
    for order in ("oldest", "newest", "address", "id"):
        target = endpoint(row_order=order)
        list_id = target.account.lists()[0].list_id
        rows = Client(target).records("subscribed_contacts", ListID=list_id, **WIDE)
        keys = [str(row.get(columns.get(order, "AdditionDate"))) for row in rows]
        seconds = [key[:19] for key in keys] if order in ("oldest", "newest") else keys
        assert seconds == sorted(seconds, reverse=order == "newest"), order


def test_pages_can_wrap_around() -> None:
    target = endpoint(page_size=5, wrap_pages=3)
    client, list_id = Client(target), target.account.lists()[0].list_id
    pages = [client.post(CONTACTS, ListID=list_id, **WIDE, Page=page)[2] for page in range(1, 8)]
    assert pages[:3] == pages[3:6]
    assert pages[6] == pages[0]
    assert len(set(pages)) == 3


def test_empty_pages_of_recipients_are_in_the_middle() -> None:
    target = endpoint(page_size=5, empty_pages=2)
    client, message = Client(target), biggest_message(target.account)
    sizes: list[int] = []
    while (rows := client.rows(SENT, MsgID=message["MsgID"], Page=len(sizes) + 1)) is not None:
        sizes.append(len(rows))
    sent = Counter(r["MsgID"] for r in Truth(target.account).records("message_sends"))
    assert sum(sizes) == sent[message["MsgID"]]
    assert sizes.count(0) == 2
    assert sizes[0] and sizes[-1]


# Logins and requests


def test_wrong_logins_lock_the_account_even_for_the_right_password() -> None:
    target = endpoint()
    right, wrong = Client(target), Client(target, "wrong")
    for _ in range(3):
        status, _, body = wrong.post(LISTS)
        assert status == 500
        assert b"[InvalidLogonAttempt]" in body
    assert b"[LoginAttemptsExceeded]" in right.post(LISTS)[2]
    target.service.unlock()
    assert right.post(LISTS)[0] == 200
    target.config.prohibited = True
    assert b"[ProhibitedIPAddress]" in right.post(LISTS)[2]


def test_the_password_can_change_in_the_middle() -> None:
    client = Client(endpoint(password_change_after=2))
    assert [client.post(LISTS)[0] for _ in range(3)] == [200, 200, 500]


def test_requests_that_asp_net_would_refuse_are_refused() -> None:
    client = Client(endpoint())
    assert b"Page" in client.post(SENT, MsgID=1)[2]
    assert b"out of order" in client.post(SENT, Page=1, MsgID=1)[2]
    assert b"Invalid MsgID" in client.post(SENT, MsgID=1, Page=1)[2]
    assert b"Invalid ListID" in client.post(CONTACTS, ListID=1, **WIDE, Page=1)[2]
    unknown = client.post("ReportConversationLinkClick", ConversationID=5, Page=1)
    assert b"Invalid ConversationID" in unknown[2]
    dates = {"StartDate": "3/5/2014", "EndDate": "2015-01-01"}
    assert client.post(CONTACTS, ListID=1, **dates, Page=1)[0] == 500
    assert b"SOAPAction" in client.post("DropEverything")[2]
    assert client.target.answer({"Content-Type": "text/plain"}, b"<x/>")[0] == 415  # type: ignore[union-attr]


# Faults


def test_faults_with_a_rate_below_one_pass_when_retried_and_repeat_with_the_seed() -> None:
    patterns = []
    for _ in range(2):
        client = Client(endpoint(faults={"server_error": 0.5}))
        patterns.append([client.post(LISTS)[0] for _ in range(30)])
    assert patterns[0] == patterns[1]
    assert set(patterns[0]) == {200, 500}


def test_a_fault_may_be_bound_to_operations_parents_and_attempts() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    conversation = target.account.conversations(target.account.lists()[0])[0].conversation_id
    target.config.faults = {
        "message_404": {"message_ids": [message["MsgID"]]},
        "permission": {"conversation_ids": [conversation]},
        "server_error": FaultSpec(operations=[LISTS], times=2),
    }
    assert [client.post(LISTS)[0] for _ in range(3)] == [500, 500, 200]
    for _ in range(2):
        status, _, body = client.post(SENT, MsgID=message["MsgID"], Page=1)
        assert status == 500
        assert b"404" in body
    links = client.post("ReportConversationLinkClick", ConversationID=conversation, Page=1)
    assert b"permission" in links[2]
    assert [r.fault for r in target.requests][:3] == ["server_error", "server_error", None]
    assert target.fault_counts == {"server_error": 2, "message_404": 2, "permission": 1}


def test_a_report_that_is_gone_answers_404_with_a_page_of_the_web_server() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    target.config.faults = {"report_gone": {"message_ids": [message["MsgID"]]}}
    status, headers, body = client.post(SENT, MsgID=message["MsgID"], Page=1)
    assert status == 404
    assert headers["Content-Type"].startswith("text/html")
    assert body.startswith(b"<!DOCTYPE html PUBLIC")
    assert client.post(LISTS)[0] == 200


def test_a_service_can_be_gone_half_gone_or_gone_for_a_while() -> None:
    target = endpoint(faults={"service_gone": 1.0})
    client, message = Client(target), biggest_message(target.account)

    def statuses() -> list[int]:
        report = client.post(SENT, MsgID=message["MsgID"], Page=1)
        return [client.post(LISTS)[0], report[0]]

    assert statuses() == [404, 404]
    target.config.faults = {"reports_gone": 1.0}
    assert statuses() == [200, 404]
    target.reset_counts()
    target.config.faults = {"service_gone": {"after": 1, "until": 3}}
    assert [client.post(LISTS)[0] for _ in range(5)] == [200, 404, 404, 200, 200]
    target.config.faults = {"report_gone": [{"operations": [OPENS]}, {"message_ids": [1]}]}
    assert client.post(SENT, MsgID=1, Page=1)[0] == 404
    assert client.post(OPENS, MsgID=message["MsgID"], **WIDE, Page=1)[0] == 404
    assert client.post(SENT, MsgID=message["MsgID"], Page=1)[0] == 200


WRONG_200 = (
    "token_in_result", "token_in_header", "token_beside_result", "token_in_other_element",
    "fault_in_response", "text_in_result", "other_rows", "renamed_rows", "ws_exception_renamed",
    "no_result",
)  # fmt: skip


@pytest.mark.parametrize("name", WRONG_200)
@pytest.mark.parametrize("table", ["lists", "messages", "message_opens", "message_sends"])
def test_a_wrong_answer_with_status_200_has_no_row_that_is_known(name: str, table: str) -> None:
    target = endpoint()
    message = biggest_message(target.account)
    values = {**message, **WIDE, "IncludeTestMessages": "true", "Page": 1}
    arguments = {one: values[one] for one in TABLES[table].request}
    target.config.faults = {name: {"rate": 1.0, "everywhere": True}}
    status, _, body = Client(target).post(TABLES[table].operation, **arguments)
    assert status == 200
    response = etree.fromstring(body).find(f".//{{*}}{TABLES[table].operation}Response")
    assert response is not None
    assert response.find(f".//{{*}}{TABLES[table].row}") is None


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_fault_spoils_the_answer(name: str) -> None:
    """A client that checks nothing must be able to notice each of them on the wire."""
    with start(page_size=5, timeout_limit=0.3, huge_body_mb=3) as simulator:
        client, message = Client(simulator), biggest_message(simulator.account)
        arguments = {"MsgID": message["MsgID"], "Page": 3}
        right = client.post(SENT, **arguments)[2]
        simulator.config.faults = {name: 1.0}
        try:
            status, _, body = client.post(SENT, **arguments)
        except requests.RequestException:
            assert name in ("reset", "reset_mid_body", "timeout", "truncated")
            return
        assert status != 200 or body != right
        assert simulator.fault_counts[name] == 1
        if name == "huge_body":
            assert len(body) > 3 * 1024 * 1024


def test_a_fault_that_never_answers_outlasts_the_client() -> None:
    with start(faults={"timeout": 1.0}) as simulator, pytest.raises(requests.Timeout):
        Client(simulator, timeout=0.2).post(LISTS)


def test_without_a_socket_faults_of_the_connection_are_exceptions() -> None:
    with pytest.raises(TimeoutError):
        Client(endpoint(faults={"timeout": 1.0})).post(LISTS)
    for name in ("reset", "reset_mid_body", "truncated"):
        with pytest.raises(ConnectionError):
            Client(endpoint(faults={name: 1.0})).post(LISTS)


def test_illegal_characters_removed_leave_the_right_answer() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    arguments = {"MsgID": message["MsgID"], "Page": 1}
    right = client.post(SENT, **arguments)[2]
    for name, bad in (
        ("illegal_characters", [b"\x1f\x0b\x00"]),
        ("illegal_references", [b"&#x1F;", b"&#11;", b"&#x0;", b"&#xFFFE;"]),
    ):
        target.config.faults = {name: 1.0}
        body = client.post(SENT, **arguments)[2]
        assert body != right
        for text in bad:
            body = body.replace(text, b"")
        assert body == right


# The server


def test_requests_beyond_the_rate_are_answered_429() -> None:
    client = Client(endpoint(rate_limit=5))
    answers = [client.post(LISTS) for _ in range(8)]
    assert Counter(status for status, _, _ in answers) == {200: 5, 429: 3}
    assert answers[-1][1]["Retry-After"] == "1"


def test_gzip_is_used_only_where_both_sides_want_it() -> None:
    with start() as simulator:
        client = Client(simulator)
        _, plain_headers, plain = client.post(LISTS)
        simulator.config.gzip = True
        _, headers, packed = client.post(LISTS)
        assert "Content-Encoding" not in plain_headers
        assert headers["Content-Encoding"] == "gzip"
        assert packed == plain


def test_pages_are_kept_when_only_their_way_changes() -> None:
    config = SimulatorConfig(account=SMALL)
    version = config.version
    config.latency, config.bandwidth = 0.1, 1e6
    assert config.version == version
    config.page_size = 7
    assert config.version > version


def test_the_server_and_the_endpoint_answer_alike() -> None:
    direct = endpoint()
    with start() as simulator:
        assert_equal(Client(simulator).everything(), Client(direct).everything())
        assert simulator.counts == direct.counts


def test_the_server_in_a_process_of_its_own_serves_the_same_account() -> None:
    config = SimulatorConfig(account=replace(SMALL), faults={"server_error": 0.0}, page_size=30)
    with SimulatorProcess(config) as process:
        client = Client(process)
        assert len(client.rows(LISTS) or []) == 3
        assert process.counts == {LISTS: 1}
        assert process.peak_in_flight == 1
        before = process.row_counts()
        process.set_now(SMALL.now + timedelta(days=90))
        assert process.row_counts()["messages"] > before["messages"]
        list_id, message = process.account.lists()[0].list_id, biggest_message(process.account)
        process.leave(list_id, 3)
        process.come_back(list_id, 1)
        process.withhold(message["MsgID"], "message_opens", 4)
        process.record(message["MsgID"], "message_opens", 1)
        assert process.row_counts()["list_removals"] > before["list_removals"]
        assert_equal(client.everything(), process.truth())
        moves = [{"after": 0, "leave": 1, "list_id": list_id}]
        process.control(config={"moves": moves})
        contacts = process.row_counts()["subscribed_contacts"]
        client.rows(LISTS)
        assert process.row_counts()["subscribed_contacts"] == contacts - 1
        process.hide_lists([one.list_id for one in process.account.lists()])
        assert client.rows(LISTS) is None
        process.control(faults={"unavailable": 1.0})
        assert client.post(LISTS)[0] == 503
        process.reset_counts()
        assert process.counts == {}
    assert process.truth(tables=["lists"]) == {"lists": []}, "known after the end, too"


def test_moves_and_unusual_values_reach_a_process() -> None:
    list_id = Account(SMALL).lists()[0].list_id
    account = replace(SMALL, wrong_values={"lists.ListName": "x"}, hidden_lists={list_id + 1})
    moves = [Move(after=0, leave=2, list_id=list_id)]
    config = SimulatorConfig(account=account, moves=moves, faults={"other_fault": FaultSpec(0.0)})
    with SimulatorProcess(config) as process:
        assert len(Client(process).rows(LISTS) or []) == 3
        assert len(process.account.happenings) == 2


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with start() as simulator, pytest.raises(ValueError, match="no such setting"):
        simulator.control(config={"page_sise": 3})
    with pytest.raises(ValueError, match="no such fault"):
        start(faults={"nothing": 1.0})


def test_the_socket_is_free_again_after_the_simulator_has_gone() -> None:
    with start() as simulator:
        port = simulator.port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
