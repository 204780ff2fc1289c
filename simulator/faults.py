"""Injected faults: which request gets which, and what it looks like on the wire."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.account import chance, mix
from simulator.config import SimulatorConfig
from simulator.service import (
    DECLARATION,
    NAMESPACE,
    Request,
    Service,
    SoapFault,
    envelope,
    server_fault,
)
from simulator.tables import OPERATIONS

XML = "text/xml; charset=utf-8"
_HTML = "text/html; charset=utf-8"
_PAGE = "<html><head><title>Maintenance</title></head><body><p>We&#39;ll be back.</p></body></html>"
_XHTML = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" '
    '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">'
    '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Error</title></head>'
    "<body><p>Runtime Error</p></body></html>"
)
# As IIS answers for a file that does not exist, in the simulator's own words.
_NOT_FOUND = """\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" \
"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">
<html xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1"/>
<title>404 - Not here.</title>
<style type="text/css">
<!--
body{margin:0;font-size:.7em;font-family:Verdana, Arial, Helvetica, sans-serif;}
-->
</style>
</head>
<body>
<div id="header"><h1>Server Error</h1></div>
<div id="content">
 <h2>404 - Not here.</h2>
 <h3>What you asked for may have moved, been renamed, or be out of service for a while.</h3>
</div>
</body>
</html>
"""
# Once drawn for a message, conversation or list these stay: a retry, or the next page, meets them
# again.
_PERMANENT = {
    "message_404",
    "report_gone",
    "ws_exception_404",
    "repeated_page",
    "endless_empty_pages",
}
_TEXT = re.compile(rb"(<(Subject|LinkDescription|EmailAddress)>)")
_DEPTH = 100_000


@dataclass
class FaultSpec:
    """Which requests a fault strikes, with probability ``rate`` by (seed, request, attempt).

    ``times`` limits it to the first attempts of a request; ``after`` and ``until`` to the requests
    after the first ``after`` of all, and to the first ``until``. With ``everywhere``, a WSException
    is also answered by operations that have none.
    """

    rate: float = 1.0
    operations: list[str] | None = None
    message_ids: list[int] | None = None
    conversation_ids: list[int] | None = None
    list_ids: list[int] | None = None
    pages: list[int] | None = None
    times: int | None = None
    after: int = 0
    until: int | None = None
    everywhere: bool = False


@dataclass
class Reply:
    """An answer; ``manner`` is how it leaves: whole, or broken in the way named."""

    status: int = 200
    body: bytes = b""
    content_type: str = XML
    headers: dict[str, str] = field(default_factory=dict)
    manner: str = "whole"


class FaultPlan:
    """Decides which fault, if any, a request meets: the same for the same seed and requests."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._source: dict[str, Any] = {}
        self._specs: list[tuple[str, FaultSpec]] = []
        self._attempts: Counter[tuple[Any, ...]] = Counter()
        self._seen = 0

    def reset(self) -> None:
        """Forget attempts: the next request of each kind is its first."""
        self._attempts.clear()
        self._seen = 0

    def draw(self, request: Request) -> str | None:
        """Return the name of the fault that a request meets, if any."""
        self._seen += 1
        if not self._config.faults:
            return None
        if self._config.faults != self._source:
            self._specs = _specs(self._config.faults)
            self._source = dict(self._config.faults)
        self._attempts[request.key] += 1
        attempt = self._attempts[request.key]
        for name, spec in self._specs:
            if self._applies(name, spec, request, attempt):
                return name
        return None

    def _applies(self, name: str, spec: FaultSpec, request: Request, attempt: int) -> bool:
        arguments = request.arguments
        for allowed, value in (
            (spec.operations, request.operation),
            (spec.message_ids, arguments.get("MsgID")),
            (spec.conversation_ids, arguments.get("ConversationID")),
            (spec.list_ids, arguments.get("ListID")),
            (spec.pages, arguments.get("Page")),
        ):
            if allowed is not None and value not in allowed:
                return False
        if self._seen <= spec.after or (spec.until is not None and self._seen > spec.until):
            return False
        if spec.times is not None and attempt > spec.times:
            return False
        declared = OPERATIONS[request.operation]
        if name.startswith("ws_exception") and not (declared.has_exception or spec.everywhere):
            return False
        if name == "message_404" and "MsgID" not in arguments:
            return False
        if name == "reports_gone" and request.operation == "GetContactListCollection":
            return False
        if name in ("repeated_page", "endless_empty_pages") and "Page" not in arguments:
            return False
        key: tuple[Any, ...] = (*request.key, attempt)
        if name == "message_404":
            key = (arguments["MsgID"],)
        elif name in _PERMANENT:
            parents = ("MsgID", "ConversationID", "ListID")
            key = (request.operation, *map(arguments.get, parents))
        draw = zlib.crc32(repr((name, key)).encode()) + (self._config.fault_seed << 32)
        return chance(mix(draw)) < spec.rate


def _spec(name: str, value: object) -> FaultSpec:
    if name not in FAULTS:
        raise ValueError(f"no such fault: {name}; there are {', '.join(sorted(FAULTS))}")
    if isinstance(value, FaultSpec):
        return value
    if isinstance(value, dict):
        return FaultSpec(**value)
    return FaultSpec(rate=float(value))  # type: ignore[arg-type]


def _specs(faults: dict[str, Any]) -> list[tuple[str, FaultSpec]]:
    return [
        (name, _spec(name, one))
        for name, value in faults.items()
        for one in (value if isinstance(value, list) else [value])
    ]


def check(faults: dict[str, Any]) -> None:
    """Raise ValueError or TypeError unless every name and field is known."""
    _specs(faults)


@dataclass
class Scene:
    """What a fault may use: the request, the service, and the address of this server."""

    request: Request
    service: Service
    config: SimulatorConfig
    origin: str

    def answer(self) -> bytes:
        """Return the right answer, to be spoilt."""
        return self.service.answer(self.request)


Fault = Callable[[Scene], Reply]


def _fault(text: str, detail: str = "") -> Fault:
    def reply(_: Scene) -> Reply:
        return Reply(500, server_fault(text, detail).render())

    return reply


def _fixed(status: int, body: str, content_type: str = _HTML) -> Fault:
    def reply(_: Scene) -> Reply:
        return Reply(status, body.encode(), content_type)

    return reply


def _spoilt(
    spoil: Callable[[bytes], bytes], content_type: str = XML, manner: str = "whole"
) -> Fault:
    def reply(scene: Scene) -> Reply:
        return Reply(200, spoil(scene.answer()), content_type, manner=manner)

    return reply


def _busy(status: int) -> Fault:
    def reply(scene: Scene) -> Reply:
        after = scene.config.retry_after
        headers = {} if after is None else {"Retry-After": f"{after:g}"}
        return Reply(status, b"The service is unavailable.", "text/plain", headers)

    return reply


def _ws_exception(text: str | None, text_element: str = "Description") -> Fault:
    def reply(scene: Scene) -> Reply:
        name = scene.request.operation
        missing = scene.config.end_style == "missing"
        result = "" if missing else f'<{name}Result xsi:nil="true" />'
        described = "" if text is None else f"<{text_element}>{text}</{text_element}>"
        inside = (
            f"{result}<WSException><SoapMethod>{name}</SoapMethod>"
            f"<DateTime>2024-01-01T00:00:00</DateTime>{described}</WSException>"
        )
        return Reply(200, envelope(name, inside))

    return reply


def _wrong_200(inside: str, header: str = "") -> Fault:
    """Answer 200 with something else than rows; ``{result}`` becomes the name of the result."""

    def reply(scene: Scene) -> Reply:
        name = scene.request.operation
        return Reply(200, envelope(name, inside.format(result=f"{name}Result"), header))

    return reply


def _fault_inside(scene: Scene) -> Reply:
    fault = server_fault("Object reference not set to an instance of an object.")
    return Reply(200, envelope(scene.request.operation, fault.element()))


def _rows_replaced(pattern: bytes) -> Fault:
    """Answer the right rows under other names; ``%s`` is the right name."""

    def reply(scene: Scene) -> Reply:
        row = OPERATIONS[scene.request.operation].row.encode()
        right = scene.answer()
        if b"<%s>" % row not in right:
            rows = [f"<{(pattern % row).decode()} />"]
            return Reply(200, scene.service.rows(scene.request.operation, rows))
        for edge in (b"<%s>", b"</%s>"):
            right = right.replace(edge % row, edge % (pattern % row))
        return Reply(200, right)

    return reply


def _wrong_response(scene: Scene) -> Reply:
    names = list(OPERATIONS)
    other = names[(names.index(scene.request.operation) + 1) % len(names)]
    return Reply(200, scene.service.rows(other, [f"<{OPERATIONS[other].row} />"]))


def _with_doctype(doctype: str, reference: str) -> Fault:
    def reply(scene: Scene) -> Reply:
        declared = doctype.format(origin=scene.origin)
        inside = f"<{scene.request.operation}Result>{reference}</{scene.request.operation}Result>"
        body = envelope(scene.request.operation, inside).decode()
        return Reply(200, body.replace(DECLARATION, DECLARATION + declared, 1).encode())

    return reply


def _laughs() -> str:
    levels = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10))
    return f'<!DOCTYPE lolz [<!ENTITY l0 "lol">{levels}]>'


def _xinclude(scene: Scene) -> Reply:
    name = scene.request.operation
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{}" parse="text" />'
    row, field_name = OPERATIONS[name].row, "EmailAddress"
    inside = "".join(
        f"<{row}><{field_name}>{include.format(href)}</{field_name}></{row}>"
        for href in (f"{scene.origin}/canary", "file:///etc/passwd")
    )
    return Reply(200, scene.service.rows(name, [inside]))


def _nested(scene: Scene) -> Reply:
    inside = "<a>" * _DEPTH + "</a>" * _DEPTH
    return Reply(200, scene.service.rows(scene.request.operation, [inside]))


def _huge(scene: Scene) -> Reply:
    empty = scene.service.rows(scene.request.operation, ["<Padding>|</Padding>"])
    return Reply(200, empty, manner="huge")


def _repeated(scene: Scene) -> Reply:
    request = scene.request
    first = Request(request.operation, {**request.arguments, "Page": 1})
    first.key = (first.operation, *first.arguments.values())
    return Reply(200, scene.service.answer(first))


def _endless(scene: Scene) -> Reply:
    if scene.request.arguments["Page"] == 1:
        return Reply(200, scene.answer())
    return Reply(200, scene.service.rows(scene.request.operation, []))


def _gone(_: Scene) -> Reply:
    return Reply(404, _NOT_FOUND.encode(), "text/html")


def _redirect(scene: Scene) -> Reply:
    return Reply(302, b"", _HTML, {"Location": scene.config.redirect_to})


def _latin1(body: bytes) -> bytes:
    text = body.decode().replace('encoding="utf-8"', 'encoding="iso-8859-1"', 1)
    return text.encode("iso-8859-1", "xmlcharrefreplace")


FAULTS: dict[str, Fault] = {
    "invalid_logon": _fault("[InvalidLogonAttempt] Invalid user name or password."),
    "attempts_exceeded": _fault("[LoginAttemptsExceeded] Too many logon attempts."),
    "prohibited_ip": _fault("[ProhibitedIPAddress] Access from this address is not permitted."),
    "permission": _fault("User does not have permission to access this method."),
    "permission_403": _fault("The remote server returned an error: (403) Forbidden."),
    "permission_401": _fault("The remote server returned an error: (401) Unauthorized."),
    "permission_denied": _fault("Access is denied. (Exception from HRESULT: 0x80070005)"),
    "permission_database": _fault(
        "The EXECUTE permission was denied on the object 'GetReport', database 'Email'."
    ),
    "service_gone": _gone,
    "reports_gone": _gone,
    "report_gone": _gone,
    "message_404": _fault("The report failed.", "The remote server returned an error: (404)."),
    "other_fault": _fault("Object reference not set to an instance of an object."),
    "ws_exception": _ws_exception("Timeout expired while the report was being generated."),
    "ws_exception_404": _ws_exception("The remote server returned an error: (404) Not Found."),
    "ws_exception_no_text": _ws_exception(None),
    "ws_exception_permission": _ws_exception(
        "User does not have permission to access this method."
    ),
    "ws_exception_renamed": _ws_exception("Timeout expired.", "ErrorMessage"),
    "token_in_result": _wrong_200("<{result}>[InvalidLogonAttempt] Wrong password.</{result}>"),
    "token_in_header": _wrong_200(
        "<{result} />", f'<Message xmlns="{NAMESPACE}">[InvalidLogonAttempt]</Message>'
    ),
    "token_beside_result": _wrong_200(
        '<{result} xsi:nil="true" /><Error>[LoginAttemptsExceeded]</Error>'
    ),
    "token_in_other_element": _wrong_200(
        "<{result}><Error>[InvalidLogonAttempt] Wrong password.</Error></{result}>"
    ),
    "fault_in_response": _fault_inside,
    "text_in_result": _wrong_200("<{result}>ORA-00060: deadlock detected</{result}>"),
    "other_rows": _wrong_200("<{result}><WSOther><OtherID>1</OtherID></WSOther></{result}>"),
    "renamed_rows": _rows_replaced(b"%s2"),
    "no_result": _wrong_200(""),
    "server_error": _fixed(500, "Internal Server Error", "text/plain"),
    "unavailable": _busy(503),
    "too_many_requests": _busy(429),
    "timeout": lambda _: Reply(manner="timeout"),
    "reset": lambda _: Reply(manner="reset"),
    "reset_mid_body": _spoilt(lambda body: body, manner="reset_mid_body"),
    "truncated": _spoilt(lambda body: body, manner="truncated"),
    "truncated_xml": _spoilt(lambda body: body[: len(body) * 2 // 3]),
    "not_xml": _fixed(200, "ERROR: ORA-00060 & <unbalanced", XML),
    "html_page": _fixed(200, f"<!DOCTYPE html>\n{_PAGE}"),
    "html_unavailable": _fixed(503, f"<!DOCTYPE html>\n{_PAGE}<br>"),
    "xhtml_page": _fixed(200, DECLARATION + _XHTML, "application/xhtml+xml"),
    "empty_body": _fixed(200, "", XML),
    "wrong_response": _wrong_response,
    "doctype": _with_doctype(
        '<!DOCTYPE r [<!ENTITY e "expanded">]>', "<EmailAddress>&e;</EmailAddress>"
    ),
    "billion_laughs": _with_doctype(_laughs(), "<EmailAddress>&l9;</EmailAddress>"),
    "external_entity": _with_doctype(
        '<!DOCTYPE r [<!ENTITY e SYSTEM "{origin}/canary"><!ENTITY f SYSTEM "file:///etc/passwd">]>',
        "<EmailAddress>&e;&f;</EmailAddress>",
    ),
    "xinclude": _xinclude,
    "illegal_characters": _spoilt(lambda body: _TEXT.sub(b"\\1\x1f\x0b\x00", body)),
    "illegal_references": _spoilt(lambda body: _TEXT.sub(rb"\1&#x1F;&#11;&#x0;&#xFFFE;", body)),
    "wrong_encoding": _spoilt(
        lambda body: body.replace(b'encoding="utf-8"', b'encoding="utf-16"', 1)
    ),
    "latin1_encoding": _spoilt(_latin1, "text/xml; charset=iso-8859-1"),
    "missing_declaration": _spoilt(lambda body: body[len(DECLARATION) :]),
    "deep_nesting": _nested,
    "huge_body": _huge,
    "repeated_page": _repeated,
    "endless_empty_pages": _endless,
    "redirect": _redirect,
}


def spoil(name: str, scene: Scene) -> Reply:
    """Return the faulty answer; a request that is wrong in itself gets its own fault."""
    try:
        return FAULTS[name](scene)
    except SoapFault as fault:
        return Reply(500, fault.render())
