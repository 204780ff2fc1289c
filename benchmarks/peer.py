"""The peer: a plain serial client on zeep, as other Listrak integrations read the API.

Run: python -m benchmarks.peer <endpoint> <user name> <password> <table,table,...>
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import zeep
from zeep.helpers import serialize_object

import source_listrak
from source_listrak.tables import TABLES, Table

WSDL = Path(source_listrak.__file__).parent / "soap" / "IntegrationService.wsdl"
PERIOD = {"StartDate": datetime(2000, 1, 1), "EndDate": datetime(2100, 1, 1)}
WITH_EXCEPTION = ("messages", "message_sends")


class Client:
    """One connection, one request after another."""

    def __init__(self, url: str, user_name: str, password: str) -> None:
        client = zeep.Client(str(WSDL))
        self._service = client.create_service(next(iter(client.wsdl.bindings)), url)
        self._header = {"WSUser": {"UserName": user_name, "Password": password}}

    def rows(self, table: Table, **arguments: Any) -> list[Any]:
        """Return the rows of one response."""
        if table.ranged:
            arguments |= PERIOD
        if table.name in WITH_EXCEPTION:
            arguments["WSException"] = zeep.xsd.Nil
        response = self._service[table.operation](**arguments, _soapheaders=self._header)
        # zeep takes a result out of its response, but not where WSException is beside it.
        if table.name in WITH_EXCEPTION:
            response = response[f"{table.operation}Result"]
            response = response[table.row] if response else None
        return response or []

    def pages(self, table: Table, **arguments: Any) -> Iterator[Any]:
        """Yield the rows of all pages, until one has none."""
        page = 1
        while rows := self.rows(table, **arguments, Page=page):
            yield from rows
            page += 1


def read(client: Client, names: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the records of the chosen tables."""
    of_messages = [TABLES[name] for name in names if TABLES[name].sliced_by == "message"]
    for one in client.rows(TABLES["lists"]):
        if "lists" in names:
            yield _record(one)
        of_list = {"ListID": one.ListID}
        if "subscribed_contacts" in names:
            for row in client.pages(TABLES["subscribed_contacts"], **of_list):
                yield _record(row, of_list)
        if "messages" not in names and not of_messages:
            continue
        for message in client.rows(TABLES["messages"], **of_list, IncludeTestMessages=True):
            if "messages" in names:
                yield _record(message, of_list)
            of_message = {"MsgID": message.MsgID}
            for table in of_messages:
                for row in client.pages(table, **of_message):
                    yield _record(row, of_message)


def _record(row: Any, added: dict[str, Any] | None = None) -> dict[str, Any]:
    # zeep reads a row whose only field is absent as no row at all.
    return (serialize_object(row, dict) or {}) | (added or {})


def main(url: str, user_name: str, password: str, tables: str) -> None:
    """Print each record as a line of JSON."""
    for record in read(Client(url, user_name, password), tables.split(",")):
        line = json.dumps({"type": "RECORD", "record": record}, default=str, separators=(",", ":"))
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
