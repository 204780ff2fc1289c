"""The SOAP service: reads a request, checks it as ASP.NET would, renders the answer."""

from __future__ import annotations

import gzip
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

from simulator.account import Account
from simulator.config import SimulatorConfig
from simulator.counts import FastCounts
from simulator.series import select
from simulator.tables import (
    OPERATIONS,
    Column,
    Parent,
    Rows,
    Table,
    View,
    Wrong,
)
from simulator.text import NIL, Text

NAMESPACE = "http://webservices.listrak.com/v31/"
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
MOST_IDS = 2_500
"""The ids that a request may hold at most."""
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_OPEN = (
    f'{DECLARATION}<soap:Envelope xmlns:soap="{_SOAP}" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soap:Body>'
)
_CLOSE = "</soap:Body></soap:Envelope>"
_NO_EXCEPTION = '<WSException xsi:nil="true" />'
_INTS = frozenset({"ListID", "MsgID", "ConversationID", "Page"})
_PAUSE: Sequence[int] = []  # the places of an empty page in the middle
_SPECIAL = re.compile(r"[&<>\r]")
_CARRIAGE_RETURN = {"\r": "&#xD;"}
_FLAGS = frozenset({"IncludeTestMessages", "IncludeTerminated"})


class SoapFault(Exception):
    """A fault for the caller, sent with HTTP 500."""

    def __init__(self, text: str, code: str = "soap:Server", detail: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.detail = code, text, detail

    def render(self) -> bytes:
        """Write the fault as an envelope."""
        return f"{_OPEN}{self.element()}{_CLOSE}".encode()

    def element(self) -> str:
        """Write the fault's element."""
        detail = f"<detail>{escape(self.detail)}</detail>" if self.detail else "<detail />"
        return (
            f"<soap:Fault><faultcode>{self.code}</faultcode>"
            f"<faultstring>{escape(self.text)}</faultstring>{detail}</soap:Fault>"
        )


def server_fault(text: str, detail: str = "") -> SoapFault:
    """Return a fault worded as ASP.NET words an exception of the application."""
    return SoapFault(
        "System.Web.Services.Protocols.SoapException: Server was unable to process request. "
        f"---> System.Exception: {text}",
        detail=detail,
    )


def client_fault(text: str) -> SoapFault:
    """Return a fault about a request that cannot be read."""
    return SoapFault(text, "soap:Client")


def unreadable(reason: str) -> SoapFault:
    """Return the fault about a request whose elements or values are wrong."""
    return client_fault(f"Server was unable to read request. ---> {reason}")


@dataclass
class Request:
    """A request as read; ids and the page are ints, flags are bools, the rest is text."""

    operation: str
    arguments: dict[str, Any]
    user_name: str | None = None
    password: str | None = None
    key: tuple[Any, ...] = field(default=())


def read_request(body: bytes, action: str | None) -> Request:
    """Read a request, or raise the fault that ASP.NET would answer."""
    name = (action or "").strip().strip('"')
    operation = name[len(NAMESPACE) :] if name.startswith(NAMESPACE) else ""
    table = OPERATIONS.get(operation)
    if table is None:
        raise client_fault(f"Server did not recognize the value of HTTP Header SOAPAction: {name}.")
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        envelope = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise unreadable(f"There is an error in XML document: {error}") from None
    if envelope.tag != f"{{{_SOAP}}}Envelope" or envelope.getroottree().docinfo.doctype:
        raise client_fault("Possible SOAP version mismatch or a document type declaration.")
    content = envelope.find(f"{{{_SOAP}}}Body")
    payload = None if content is None else next(content.iterchildren(tag=etree.Element), None)
    if payload is None or payload.tag != f"{{{NAMESPACE}}}{operation}":
        raise unreadable("SOAPAction and body disagree.")
    arguments = _arguments(table, payload)
    user = envelope.find(f"{{{_SOAP}}}Header/{{{NAMESPACE}}}WSUser")
    request = Request(operation, arguments, key=(operation, *arguments.values()))
    if user is not None:
        request.user_name = user.findtext(f"{{{NAMESPACE}}}UserName")
        request.password = user.findtext(f"{{{NAMESPACE}}}Password")
    return request


def _arguments(table: Table, payload: etree._Element) -> dict[str, Any]:
    """Read the parameters; elements out of order do not count, as with .NET's serializer."""
    children = iter(payload.iterchildren(tag=etree.Element))
    arguments: dict[str, Any] = {}
    for parameter in table.request:
        found = next((one for one in children if one.tag == f"{{{NAMESPACE}}}{parameter}"), None)
        if parameter == "MsgIDs":
            numbers = [] if found is None else found.iterchildren(tag=f"{{{NAMESPACE}}}int")
            arguments[parameter] = tuple(_integer(one.text or "") for one in numbers)
        elif found is None:
            raise unreadable(f"Element '{parameter}' is missing or out of order.")
        else:
            arguments[parameter] = _argument(parameter, (found.text or "").strip())
    return arguments


def _argument(parameter: str, value: str) -> Any:
    if parameter in _INTS:
        return _integer(value)
    if parameter in _FLAGS:
        if value not in ("true", "false", "1", "0"):
            raise unreadable(f"'{value}' is not a valid Boolean value.")
        return value in ("true", "1")
    return value


def _integer(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise unreadable("Input string was not in a correct format.") from None


def envelope(operation: str, inside: str, header: str = "") -> bytes:
    """Wrap what is inside an operation's response."""
    head = f"<soap:Header>{header}</soap:Header>" if header else ""
    return (
        f"{_OPEN.replace('<soap:Body>', head + '<soap:Body>')}"
        f'<{operation}Response xmlns="{NAMESPACE}">{inside}</{operation}Response>{_CLOSE}'
    ).encode()


def element(name: str, value: Text) -> str:
    """Render a text: absent, nil, empty or escaped."""
    if value is None:
        return ""
    if value is NIL:
        return f'<{name} xsi:nil="true" />'
    if value == "":
        return f"<{name} />"
    return f"<{name}>{escape(str(value), _CARRIAGE_RETURN)}</{name}>"


class PageCache:
    """Rendered pages, the least recently used dropped beyond a number of bytes."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._size = 0

    def get(self, key: tuple[Any, ...], limit: int, render: Callable[[], bytes]) -> bytes:
        """Return a page, rendered unless it is at hand."""
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
            return page
        page = render()
        self._pages[key] = page
        self._size += len(page)
        while self._size > limit and self._pages:
            self._size -= len(self._pages.popitem(last=False)[1])
        return page


class Service:
    """Answers requests about one account."""

    def __init__(self, account: Account, config: SimulatorConfig) -> None:
        self.account, self.config = account, config
        self._counts = FastCounts(account)
        self._cache = PageCache()
        self._selections = lru_cache(32)(self._select)
        self._renderers = {
            table.name: [self._renderer(table, column) for column in table.columns]
            for table in OPERATIONS.values()
        }
        self._failures = 0
        self._logons = 0

    # Login

    def authenticate(self, request: Request) -> None:
        """Check the credentials, or raise the fault that the service answers."""
        config = self.config
        if config.prohibited:
            raise server_fault("[ProhibitedIPAddress] Access from this address is not permitted.")
        if self._failures >= config.lockout_after:
            raise server_fault("[LoginAttemptsExceeded] Too many logon attempts.")
        self._logons += 1
        password = config.password
        if config.password_change_after is not None and self._logons > config.password_change_after:
            password = config.new_password
        if (request.user_name, request.password) != (config.user_name, password):
            self._failures += 1
            raise server_fault("[InvalidLogonAttempt] Invalid user name or password.")
        self._failures = 0

    def unlock(self) -> None:
        """Forget failed logins and how many there were before a change of the password."""
        self._failures = self._logons = 0

    # Answers

    def answer(self, request: Request, *, compressed: bool = False) -> bytes:
        """Return the body of the answer to a request, or raise SoapFault."""
        key = (request.key, self.account.version, self.config.version)
        limit = self.config.cache_bytes
        body = self._cache.get(key, limit, lambda: self._render(request))
        if compressed:
            return self._cache.get((key, "gzip"), limit, lambda: gzip.compress(body, 1))
        return body

    def _render(self, request: Request) -> bytes:
        arguments = request.arguments
        page = arguments.get("Page", 1)
        if page < 1:
            raise server_fault("Page must be greater than 0.")
        scope = tuple(one for one in arguments.items() if one[0] != "Page")
        versions = self.account.version, self.config.version
        rows, places = self._selections(request.operation, scope, versions)
        if "Page" in arguments:
            places = self._page(request.operation, page, places)
        if not len(places) and places is not _PAUSE:
            return self.end(request.operation)
        render = self.row_renderer(OPERATIONS[request.operation], rows)
        return self.rows(request.operation, map(render, places))

    def _select(
        self, operation: str, scope: tuple[tuple[str, Any], ...], _: tuple[int, int]
    ) -> tuple[Rows, Sequence[int]]:
        """Return the rows that all pages of a request have, and their places in order."""
        table, arguments = OPERATIONS[operation], dict(scope)
        owner = self._owner(table, arguments)
        view = View(self.account, self._counts, self.account.now)
        places: Sequence[int]
        if "StartDate" in arguments:
            clock = self.account.clock
            start, end = self._range(arguments)
            bounds = clock.bounds(start), clock.bounds(end)
            rows = table.rows(view, owner, (bounds[0][0], bounds[1][1]))
            places = select(
                rows.series, clock.wall, bounds, start, end, view.now,
                end_inclusive=self.config.end_inclusive,
            )  # fmt: skip
        else:
            rows = table.rows(view, owner)
            places = range(rows.series.count)
        includes_extra = all(arguments[flag] for flag in _FLAGS & arguments.keys())
        if rows.is_extra is not None and not includes_extra:
            places = [place for place in places if not rows.is_extra(place)]
        return rows, self._ordered(table, rows, places)

    def _ordered(self, table: Table, rows: Rows, places: Sequence[int]) -> Sequence[int]:
        order = self.config.row_order
        if order == "newest":
            return places[::-1]
        name = {"address": "EmailAddress", "id": "ContactID"}.get(order)
        column = next((i for i, one in enumerate(table.columns) if one.name == name), None)
        if column is None:
            return places
        return sorted(places, key=lambda place: str(rows.values(place)[column]))

    def _owner(self, table: Table, arguments: dict[str, Any]) -> Any:
        account = self.account
        if table.parent is Parent.ACCOUNT:
            return None
        if table.parent is Parent.BATCH:
            ids = arguments["MsgIDs"]
            if len(ids) > MOST_IDS:
                raise server_fault(f"The number of MsgIDs must not exceed {MOST_IDS}.")
            return [message for message in map(account.find_message, ids) if message is not None]
        name, find = {
            Parent.LIST: ("ListID", account.find_list),
            Parent.MESSAGE: ("MsgID", account.find_message),
            Parent.CONVERSATION: ("ConversationID", account.find_conversation),
        }[table.parent]
        owner: object = find(arguments[name])
        if owner is None:
            raise server_fault(f"Invalid {name}: {arguments[name]}.")
        return owner

    def rows(self, operation: str, rows: Iterable[str]) -> bytes:
        """Wrap rows in the operation's result; with none, the result is present and empty."""
        inside = "".join(rows)
        result = f"{operation}Result"
        body = f"<{result}>{inside}</{result}>" if inside else f"<{result} />"
        return envelope(operation, body + self.exception(operation))

    def end(self, operation: str) -> bytes:
        """Render a page without rows."""
        result = f"{operation}Result"
        body = {"empty": f"<{result} />", "nil": f'<{result} xsi:nil="true" />', "missing": ""}
        return envelope(operation, body[self.config.end_style] + self.exception(operation))

    def exception(self, operation: str) -> str:
        """Render the absence of an in-band error, where the operation has one."""
        return _NO_EXCEPTION if OPERATIONS[operation].has_exception else ""

    # Pages

    def _page(self, operation: str, page: int, places: Sequence[int]) -> Sequence[int]:
        if self.config.wrap_pages:
            page = (page - 1) % self.config.wrap_pages + 1
        pauses = self.config.empty_pages if operation == "ReportMessageContactSent" else 0
        total = len(places)
        if pauses and total:
            half = self._page_count(total) // 2
            if half < page <= half + pauses:
                return _PAUSE
            page -= pauses if page > half else 0
        first = self._page_start(page)
        return [places[at] for at in range(first, min(total, self._page_start(page + 1)))]

    def _page_count(self, total: int) -> int:
        pages = 0
        while self._page_start(pages + 1) < total:
            pages += 1
        return pages

    def _page_start(self, page: int) -> int:
        size = self.config.page_size
        if not self.config.short_pages:
            return (page - 1) * size
        sizes = (size, max(1, size // 2), max(1, size * 3 // 4))
        rounds, rest = divmod(page - 1, 3)
        return rounds * sum(sizes) + sum(sizes[:rest])

    def _range(self, arguments: dict[str, Any]) -> tuple[int, int]:
        try:
            parse = self.account.clock.parse
            return parse(arguments["StartDate"]), parse(arguments["EndDate"])
        except ValueError as error:
            raise unreadable(str(error)) from None

    # Rows

    def row_renderer(self, table: Table, rows: Rows) -> Callable[[int], str]:
        """Return what renders the row at a place."""
        values, renderers = rows.values, self._renderers[table.name]
        before, after = f"<{table.row}>", f"</{table.row}>"

        def render(place: int) -> str:
            inside = [write(value) for write, value in zip(renderers, values(place))]  # noqa: B905
            return f"{before}{''.join(inside)}{after}"

        return render

    def _renderer(self, table: Table, column: Column) -> Callable[[Any], str]:
        """Return what renders the values of a column."""
        write = self._writer(column)
        if f"{table.name}.{column.name}" not in self.account.config.wrong_values:
            return write
        name = column.name
        return lambda v: element(name, v.text) if isinstance(v, Wrong) else write(v)

    def _writer(self, column: Column) -> Callable[[Any], str]:
        name = column.name
        before, after = f"<{name}>", f"</{name}>"
        offsets = self.account.config.date_offsets
        clock, layout_of = self.account.clock, self.account.string_date
        has_special = _SPECIAL.search

        def text(value: Text) -> str:
            if value and type(value) is str and not has_special(value):
                return f"{before}{value}{after}"
            return element(name, value)

        def date(value: int | None) -> str:
            return f"{before}{clock.iso(value, with_offset=offsets)}{after}"

        def text_date(value: tuple[int, int]) -> str:
            stamp, noise = value
            layout = layout_of(noise)
            if layout == "iso":
                return f"{before}{clock.iso(stamp, with_offset=offsets)}{after}"
            return element(name, clock.us(stamp) if layout == "us" else layout)

        def texts(values: list[str]) -> str:
            if not self.config.wrapped_domains or not values:
                return "".join(map(text, values))
            return f"{before}{''.join(element('string', one) for one in values)}{after}"

        def fields(value: dict[str, Any] | None) -> str:
            if value is None:
                return ""
            return f"{before}{''.join(element(k, v) for k, v in value.items())}{after}"

        writers: dict[str, Callable[[Any], str]] = {
            "text": text,
            "date": date,
            "text_date": text_date,
            "bool": lambda value: f"{before}{'true' if value else 'false'}{after}",
            "texts": texts,
            "object": fields,
            "objects": lambda values: "".join(map(fields, values)),
        }
        return writers.get(column.kind, lambda number: f"{before}{number}{after}")
