"""Responses as the service writes them, for the tests of what reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from source_listrak.soap import faults
from source_listrak.soap.dates import DateReader
from source_listrak.soap.rows import RowReader

SCHEMAS = Path(faults.__file__).parents[1] / "schemas"
NAMESPACE = "http://webservices.listrak.com/v31/"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
DATES = DateReader(ZoneInfo("America/New_York"))


@dataclass(frozen=True)
class Contract:
    """What the reader of one table is made of."""

    name: str
    operation: str
    row: str
    date_columns: tuple[str, ...] = ()
    key_columns: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = json.loads((SCHEMAS / f"{self.name}.json").read_text("utf-8"))
        return schema

    def reader(self) -> RowReader:
        return RowReader(
            self.operation,
            self.row,
            self.schema,
            DATES,
            date_columns=self.date_columns,
            key_columns=self.key_columns,
        )


OPENS = Contract(
    "message_opens",
    "ReportRangeMessageContactOpen",
    "WSContactOpen",
    ("OpenDate",),
    ("EmailAddress",),
)
LISTS = Contract(
    "lists",
    "GetContactListCollection",
    "WSContactList",
    key_columns=("ListID",),
)
MESSAGES = Contract(
    "messages", "ReportListMessageActivity", "WSMessageActivity", key_columns=("MsgID",)
)
SENDS = Contract(
    "message_sends",
    "ReportMessageContactSent",
    "WSMessageRecipient",
    key_columns=("EmailAddress",),
)
BOUNCES = Contract(
    "message_bounces", "ReportRangeMessageContactBounces", "WSContactBounce", ("BounceDate",)
)
HEADERS = Contract(
    "profile_headers", "GetProfileHeaderCollection", "WSProfileHeader", key_columns=("HeaderID",)
)
CONTRACTS = (OPENS, LISTS, MESSAGES, SENDS, BOUNCES, HEADERS)


def soap(content: str, namespace: str = SOAP_11, header: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<soap:Envelope xmlns:soap="{namespace}" {XSI}>{header}'
        f"<soap:Body>{content}</soap:Body></soap:Envelope>"
    ).encode()


def page(
    table: Contract,
    rows: str = "",
    beside: str = "",
    *,
    result: str | None = None,
    header: str = "",
) -> bytes:
    """Return a response with rows, or with another result, and with what is beside the result."""
    name = table.operation
    if result is None:
        result = f"<{name}Result>{rows}</{name}Result>"
    content = f'<{name}Response xmlns="{NAMESPACE}">{result}{beside}</{name}Response>'
    return soap(content, header=header)


def open_row(date: str = "2024-01-02T03:04:05", contact: str = "c") -> str:
    return (
        f"<WSContactOpen><ContactID>{contact}</ContactID><EmailAddress>a@example.com"
        f"</EmailAddress><OpenDate>{date}</OpenDate></WSContactOpen>"
    )


def fault(text: str) -> bytes:
    return soap(
        f"<soap:Fault><faultcode>soap:Server</faultcode><faultstring>{escape(text)}</faultstring>"
        "</soap:Fault>"
    )


def exception(text: str) -> str:
    return (
        "<WSException><SoapMethod>m</SoapMethod><DateTime>2024-04-04T04:04:04</DateTime>"
        f"<Description>{text}</Description></WSException>"
    )
