"""A client of strings and bytes for the tests of the simulator, and the small account they read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import requests
from lxml import etree

from simulator import (
    TABLES,
    Account,
    AccountConfig,
    Endpoint,
    Simulator,
    SimulatorConfig,
    SimulatorProcess,
    Truth,
)

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


def opens_of(account: Account, msg_id: int) -> list[Record]:
    """Return the opens of a message."""
    return [r for r in Truth(account).records("message_opens") if r["MsgID"] == msg_id]
