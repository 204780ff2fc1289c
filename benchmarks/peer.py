"""The peer: a plain serial client on zeep, as other Listrak integrations read the API."""

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
from source_listrak.streams import STREAMS

WSDL = Path(source_listrak.__file__).parent / "soap" / "IntegrationService.wsdl"
OPERATIONS = {stream.name: stream.operation for stream in STREAMS}
ROWS = {stream.operation: stream.row for stream in STREAMS}
PERIOD = {"StartDate": datetime(2000, 1, 1), "EndDate": datetime(2100, 1, 1)}


class Client:
    """One connection, one request after another."""

    def __init__(self, url: str, user_name: str, password: str) -> None:
        client = zeep.Client(str(WSDL))
        self._service = client.create_service(next(iter(client.wsdl.bindings)), url)
        self._header = {"WSUser": {"UserName": user_name, "Password": password}}

    def rows(self, table: str, **arguments: Any) -> list[Any]:
        """Return the rows of one answer."""
        operation = OPERATIONS[table]
        answer = self._service[operation](**arguments, _soapheaders=self._header)
        # zeep takes a result out of its response, but not where WSException stands beside it.
        if "WSException" in arguments:
            answer = answer[f"{operation}Result"]
            answer = answer[ROWS[operation]] if answer else None
        return answer or []

    def pages(self, table: str, **arguments: Any) -> Iterator[Any]:
        """Yield the rows of all pages, until one has none."""
        page = 1
        while rows := self.rows(table, **arguments, Page=page):
            yield from rows
            page += 1


def read(client: Client, tables: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the records of the chosen tables."""
    about_messages = [
        name for name in tables if name not in ("lists", "messages", "subscribed_contacts")
    ]
    for one in client.rows("lists"):
        if "lists" in tables:
            yield _record(one)
        of_list = {"ListID": one.ListID}
        if "subscribed_contacts" in tables:
            for row in client.pages("subscribed_contacts", **of_list, **PERIOD):
                yield _record(row, of_list)
        if "messages" not in tables and not about_messages:
            continue
        for message in client.rows(
            "messages", **of_list, **PERIOD, IncludeTestMessages=True, WSException=zeep.xsd.Nil
        ):
            if "messages" in tables:
                yield _record(message, of_list)
            for table in about_messages:
                of_message = {"MsgID": message.MsgID}
                # Recipients have no dates to ask by.
                rest = {"WSException": zeep.xsd.Nil} if table == "message_sends" else PERIOD
                for row in client.pages(table, **of_message, **rest):
                    yield _record(row, of_message)


def _record(row: Any, added: dict[str, Any] | None = None) -> dict[str, Any]:
    # zeep reads a row whose only field is absent as no row at all.
    return (serialize_object(row, dict) or {}) | (added or {})


def main(url: str, user_name: str, password: str, tables: list[str]) -> None:
    """Print each record as a line of JSON."""
    for record in read(Client(url, user_name, password), tables):
        line = json.dumps({"type": "RECORD", "record": record}, default=str)
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4].split(","))
