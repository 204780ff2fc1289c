"""What the simulator promises to a client that knows nothing of it: zeep."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import zeep
import zeep.helpers
from lxml import etree
from zeep.transports import Transport

from simulator import (
    TABLES,
    Simulator,
)
from simulator.tests.client import (
    BUNDLED,
    NAMESPACE,
    UTC,
    XSD,
    Record,
    in_utc,
    start,
)


@pytest.fixture(scope="session")
def wsdl() -> str:
    """The interface that the connector bundles, or the one that LISTRAK_WSDL names."""
    path = Path(os.environ.get("LISTRAK_WSDL", BUNDLED))
    if not path.exists():
        pytest.skip("no WSDL to load")
    return str(path)


def test_zeep_reads_the_truth_of_every_operation(wsdl: str) -> None:
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


def test_the_declared_tables_are_those_of_the_interface(wsdl: str) -> None:
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
