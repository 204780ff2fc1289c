"""The SOAP service: reads a request, checks it as ASP.NET would, renders the answer."""

from __future__ import annotations

import gzip
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

from integration_tests.simulator import account as model
from integration_tests.simulator.account import Account, Message
from integration_tests.simulator.config import SimulatorConfig
from integration_tests.simulator.facts import (
    DATES,
    Facts,
    activity_facts,
    addition_method,
    bounce_cause,
    click_link,
    delivery_facts,
    list_facts,
    removal_history,
)  # fmt: skip
from integration_tests.simulator.text import NIL, Text

NAMESPACE = "http://webservices.listrak.com/v31/"
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_OPEN = (
    f'{DECLARATION}<soap:Envelope xmlns:soap="{_SOAP}" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soap:Body>'
)
_CLOSE = "</soap:Body></soap:Envelope>"
_NO_EXCEPTION = '<WSException xsi:nil="true" />'
_INTS = frozenset({"ListID", "MsgID", "Page"})
_EVENTS = ("MsgID", "StartDate", "EndDate", "Page")
_REPORT = ("ListID", "StartDate", "EndDate", "IncludeTestMessages")


@dataclass(frozen=True)
class Operation:
    """One operation: its parameters, the element of a row, and whether WSException is beside it."""

    parameters: tuple[str, ...]
    row: str
    has_exception: bool = False
    kind: int = -1


OPERATIONS: dict[str, Operation] = {
    "GetContactListCollection": Operation((), "WSContactList"),
    "ReportListMessageActivity": Operation(_REPORT, "WSMessageActivity", True),
    "ReportListMessageDelivery": Operation(_REPORT, "WSMessageDelivery", True),
    "ReportRangeMessageContactClick": Operation(_EVENTS, "WSContactClick", kind=model.CLICK),
    "ReportRangeMessageContactOpen": Operation(_EVENTS, "WSContactOpen", kind=model.OPEN),
    "ReportRangeMessageContactRead": Operation(_EVENTS, "WSContactRead", kind=model.READ),
    "ReportRangeMessageContactRemoval": Operation(
        _EVENTS, "WSContactRemovalInfo", kind=model.REMOVAL
    ),
    "ReportRangeMessageContactBounces": Operation(_EVENTS, "WSContactBounce", kind=model.BOUNCE),
    "ReportMessageContactSent": Operation(("MsgID", "Page"), "WSMessageRecipient", True),
    "ReportRangeSubscribedContacts": Operation(
        ("ListID", "StartDate", "EndDate", "Page"), "WSContactSubscriptionInfo"
    ),
}


class SoapFault(Exception):
    """A fault for the caller, sent with HTTP 500."""

    def __init__(self, text: str, code: str = "soap:Server", detail: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.detail = code, text, detail

    def render(self) -> bytes:
        """Write the fault as an envelope."""
        detail = f"<detail>{escape(self.detail)}</detail>" if self.detail else "<detail />"
        return (
            f"{_OPEN}<soap:Fault><faultcode>{self.code}</faultcode>"
            f"<faultstring>{escape(self.text)}</faultstring>{detail}</soap:Fault>{_CLOSE}"
        ).encode()


def server_fault(text: str, detail: str = "") -> SoapFault:
    """Give a fault worded as ASP.NET words an exception of the application."""
    return SoapFault(
        "System.Web.Services.Protocols.SoapException: Server was unable to process request. "
        f"---> System.Exception: {text}",
        detail=detail,
    )


def client_fault(text: str) -> SoapFault:
    """Give a fault about a request that cannot be read."""
    return SoapFault(text, "soap:Client")


@dataclass
class Request:
    """A request as read; ``arguments`` are texts except for ids and the page, which are ints."""

    operation: str
    arguments: dict[str, Any]
    user_name: str | None = None
    password: str | None = None
    key: tuple[Any, ...] = field(default=())


def read_request(body: bytes, action: str | None) -> Request:
    """Read a request, or raise the fault that ASP.NET would answer."""
    name = (action or "").strip().strip('"')
    operation = name[len(NAMESPACE) :] if name.startswith(NAMESPACE) else ""
    declared = OPERATIONS.get(operation)
    if declared is None:
        raise client_fault(f"Server did not recognize the value of HTTP Header SOAPAction: {name}.")
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        envelope = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise client_fault(
            f"Server was unable to read request. ---> There is an error in XML document: {error}"
        ) from None
    if envelope.tag != f"{{{_SOAP}}}Envelope" or envelope.getroottree().docinfo.doctype:
        raise client_fault("Possible SOAP version mismatch or a document type declaration.")
    content = envelope.find(f"{{{_SOAP}}}Body")
    payload = None if content is None else next(content.iterchildren(tag=etree.Element), None)
    if payload is None or payload.tag != f"{{{NAMESPACE}}}{operation}":
        raise client_fault("Server was unable to read request. ---> SOAPAction and body disagree.")
    given = {child.tag: child.text or "" for child in payload.iterchildren(tag=etree.Element)}
    arguments: dict[str, Any] = {}
    for parameter in declared.parameters:
        value = given.get(f"{{{NAMESPACE}}}{parameter}")
        if value is None:
            raise client_fault(
                f"Server was unable to read request. ---> Element '{parameter}' is missing."
            )
        arguments[parameter] = _argument(parameter, value.strip())
    user = envelope.find(f"{{{_SOAP}}}Header/{{{NAMESPACE}}}WSUser")
    request = Request(operation, arguments, key=(operation, *arguments.values()))
    if user is not None:
        request.user_name = user.findtext(f"{{{NAMESPACE}}}UserName")
        request.password = user.findtext(f"{{{NAMESPACE}}}Password")
    return request


def _argument(parameter: str, value: str) -> Any:
    if parameter in _INTS:
        try:
            return int(value)
        except ValueError:
            raise client_fault(
                "Server was unable to read request. ---> Input string was not in a correct format."
            ) from None
    if parameter == "IncludeTestMessages":
        if value not in ("true", "false", "1", "0"):
            raise client_fault(
                f"Server was unable to read request. ---> '{value}' is not a valid Boolean value."
            )
        return value in ("true", "1")
    return value


def envelope(operation: str, inside: str) -> bytes:
    """Wrap what is inside an operation's response."""
    return (
        f'{_OPEN}<{operation}Response xmlns="{NAMESPACE}">{inside}</{operation}Response>{_CLOSE}'
    ).encode()


def element(name: str, value: Text) -> str:
    """Render a text: absent, nil, empty or escaped."""
    if value is None:
        return ""
    if value is NIL:
        return f'<{name} xsi:nil="true" />'
    if value == "":
        return f"<{name} />"
    return f"<{name}>{escape(str(value), {chr(13): '&#xD;'})}</{name}>"


class PageCache:
    """Rendered pages, the least recently used dropped beyond a number of bytes."""

    def __init__(self) -> None:
        self._pages: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._size = 0

    def get(self, key: tuple[Any, ...], limit: int, render: Callable[[], bytes]) -> bytes:
        """Give a page, rendered if it is not at hand."""
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
        self._cache = PageCache()
        self._contact = lru_cache(100_000)(self._render_contact)
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
        """Give the body of the answer to a request, or raise SoapFault."""
        key = (request.key, self.account.version, self.config.version)
        limit = self.config.cache_bytes
        body = self._cache.get(key, limit, lambda: self._render(request))
        if compressed:
            return self._cache.get((key, "gzip"), limit, lambda: gzip.compress(body, 1))
        return body

    def _render(self, request: Request) -> bytes:
        operation, arguments = request.operation, request.arguments
        declared = OPERATIONS[operation]
        if operation == "GetContactListCollection":
            facts = [list_facts(self.account, one) for one in self.account.lists()]
            rows = [f"<{declared.row}>{self._facts(one)}</{declared.row}>" for one in facts]
            return self.rows(operation, rows)
        if "IncludeTestMessages" in arguments:
            return self.rows(operation, self._message_rows(operation, arguments))
        places, render = self._paged(declared, arguments)
        page = arguments["Page"]
        if page < 1:
            raise server_fault("Page must be greater than 0.")
        pauses = self.config.empty_pages if operation == "ReportMessageContactSent" else 0
        bounds = self._page_bounds(page, len(places), pauses)
        if bounds is None:
            return self.end(operation, "nil" if pauses and self.config.end_style == "empty" else "")
        return self.rows(operation, [render(places[i]) for i in range(*bounds)])

    def _paged(
        self, declared: Operation, arguments: dict[str, Any]
    ) -> tuple[Sequence[int], Callable[[int], str]]:
        """Give the places of all rows asked for and what renders one of them."""
        account, now = self.account, self.account.now
        inclusive = self.config.end_inclusive
        if "ListID" in arguments:
            one = self._list(arguments["ListID"])
            places = account.select((one, "contacts"), *self._range(arguments), inclusive, now)
            return places, self._contact_renderer(one)
        message = account.find_message(arguments["MsgID"])
        if message is None:
            raise server_fault(f"Invalid MsgID: {arguments['MsgID']}.")
        if declared.kind < 0:
            return range(message.recipients), self._recipient_renderer(message)
        span = self._range(arguments)
        places = account.select((message, declared.kind), *span, inclusive, now)
        return places, self._event_renderer(message, declared.kind)

    def rows(self, operation: str, rows: Iterable[str]) -> bytes:
        """Wrap rows in the operation's result; with none, the result is present and empty."""
        inside = "".join(rows)
        result = f"{operation}Result"
        body = f"<{result}>{inside}</{result}>" if inside else f"<{result} />"
        return envelope(operation, body + self._exception(operation))

    def end(self, operation: str, style: str = "") -> bytes:
        """Render a page past the end."""
        style = style or self.config.end_style
        result = f"{operation}Result"
        body = {"empty": f"<{result} />", "nil": f'<{result} xsi:nil="true" />', "missing": ""}
        return envelope(operation, body[style] + self._exception(operation))

    def _exception(self, operation: str) -> str:
        return _NO_EXCEPTION if OPERATIONS[operation].has_exception else ""

    def _page_bounds(self, page: int, total: int, pauses: int) -> tuple[int, int] | None:
        """Give the places [first, end) of a page, equal for an empty page, None past the end.

        ``pauses`` empty pages come after the first half of the full ones.
        """
        if pauses:
            pages = 0
            while self._page_bounds(pages + 1, total, 0):
                pages += 1
            half = pages // 2
            if not pages:
                return None
            if half < page <= half + pauses:
                return 0, 0
            page -= pauses if page > half else 0
        first = self._page_start(page)
        return (first, min(total, self._page_start(page + 1))) if first < total else None

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
            raise client_fault(f"Server was unable to read request. ---> {error}") from None

    def _list(self, list_id: int) -> model.ContactList:
        one = self.account.find_list(list_id)
        if one is None:
            raise server_fault(f"Invalid ListID: {list_id}.")
        return one

    # Rows

    def _date(self, instant: int | None) -> str:
        with_offset = self.account.config.date_offsets and instant is not None
        return self.account.clock.iso(instant, with_offset=with_offset)

    def _facts(self, facts: Facts) -> str:
        parts = []
        for name, value in facts.items():
            if name in DATES:
                parts.append(f"<{name}>{self._date(value)}</{name}>")
            elif isinstance(value, bool):
                parts.append(f"<{name}>{str(value).lower()}</{name}>")
            elif isinstance(value, (int, float)):
                parts.append(f"<{name}>{value}</{name}>")
            elif isinstance(value, dict):
                parts.append(f"<{name}>{self._facts(value)}</{name}>")
            elif isinstance(value, list):
                parts.append(self._repeated(name, value))
            else:
                parts.append(element(name, value))
        return "".join(parts)

    def _repeated(self, name: str, values: list[str]) -> str:
        if not self.config.wrapped_domains or not values:
            return "".join(element(name, value) for value in values)
        return f"<{name}>{''.join(element('string', value) for value in values)}</{name}>"

    def _message_rows(self, operation: str, arguments: dict[str, Any]) -> list[str]:
        account = self.account
        one = self._list(arguments["ListID"])
        facts = activity_facts if operation == "ReportListMessageActivity" else delivery_facts
        row = OPERATIONS[operation].row
        places = account.select(
            (one, "messages"), *self._range(arguments), self.config.end_inclusive, account.now
        )
        messages = (account.message(one, place) for place in places)
        return [
            f"<{row}>{self._facts(facts(account, message))}</{row}>"
            for message in messages
            if arguments["IncludeTestMessages"] or not message.is_test
        ]

    def _recipient_renderer(self, message: Message) -> Callable[[int], str]:
        account, one = self.account, message.contact_list

        def render(place: int) -> str:
            email = account.contact(one, account.recipient(message, place))[1]
            return f"<WSMessageRecipient>{element('EmailAddress', email)}</WSMessageRecipient>"

        return render

    def _contact_renderer(self, one: model.ContactList) -> Callable[[int], str]:
        arrivals, row = self.account.subscriptions(one), "WSContactSubscriptionInfo"

        def render(number: int) -> str:
            return (
                f"<{row}><AdditionDate>{self._date(arrivals.stamp(number))}</AdditionDate>"
                f"{self._contact(one, number)}"
                f"{element('AdditionMethod', addition_method(arrivals.noise(number)))}</{row}>"
            )

        return render

    def _render_contact(self, one: model.ContactList, number: int) -> str:
        contact_id, email = self.account.contact(one, number)
        return element("ContactID", contact_id) + element("EmailAddress", email)

    def _event_renderer(self, message: Message, kind: int) -> Callable[[int], str]:
        account, one = self.account, message.contact_list
        events = model.Events(account, message, kind)
        row = next(x.row for x in OPERATIONS.values() if x.kind == kind)
        details = (self._click, self._open, self._read, None, self._bounce)[kind]

        def render(index: int) -> str:
            noise, stamp = events.at(index)
            contact = self._contact(one, account.actor(message, kind, index))
            if details is None:
                added, method = removal_history(message, noise)
                return (
                    f"<{row}><AdditionDate>{self._date(added)}</AdditionDate>"
                    f"<RemovalDate>{self._date(stamp)}</RemovalDate>"
                    f"{contact}{element('RemovalMethod', method)}</{row}>"
                )
            return f"<{row}>{contact}{details(noise, self._text_date(stamp, noise))}</{row}>"

        return render

    def _text_date(self, stamp: int, noise: int) -> str | None:
        layout = self.account.string_date(noise)
        if layout == "iso":
            return self._date(stamp)
        return self.account.clock.us(stamp) if layout == "us" else layout

    def _click(self, noise: int, date: str | None) -> str:
        description, url = click_link(noise)
        return (
            element("LinkDescription", description)
            + element("LinkUrl", url)
            + element("ClickDate", date)
        )

    def _open(self, _: int, date: str | None) -> str:
        return element("OpenDate", date)

    def _read(self, _: int, date: str | None) -> str:
        return element("ReadDate", date)

    def _bounce(self, noise: int, date: str | None) -> str:
        reason, detail, count = bounce_cause(noise)
        return (
            element("BounceReason", reason)
            + element("BounceDetail", detail)
            + element("BounceDate", date)
            + f"<BounceCount>{count}</BounceCount>"
        )
