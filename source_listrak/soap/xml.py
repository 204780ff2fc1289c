"""Response bytes -> an envelope that is safe to read, and its rows.

lxml reads strictly, in one pass. Before it sees the bytes, they are decoded and refused where they
contain a document type, or so much markup that the tree would not fit into memory.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Generic, Protocol, TypeVar

from lxml import etree

MAX_DEPTH = 256
"""Elements within elements, libxml2's own limit below 10 MB. A correct response has 7 levels."""
MAX_MARKUP = 2**21
"""Tags and attributes of one response, which bound its tree to 400 MB. 50,000 messages in one
response have as many; a page of 2,500 events has 50,000."""

_HUGE = 10_000_000
"""Bytes, libxml2's own limit of one text; only larger responses need `huge_tree`."""
_LARGE = 2**18
"""Bytes of a response above which a whole tree takes too much memory."""


class ResponseError(Exception):
    """A response without rows. Its message never contains anything of the response itself."""


class MalformedResponse(ResponseError):
    """Not the operation's response: cut short, not XML, not SOAP, or not the expected elements."""


class HtmlPage(MalformedResponse):
    """A web page instead of a response."""


class RefusedResponse(ResponseError):
    """A document type or entity declarations: no SOAP response has them, and an attack might."""


class OversizedResponse(ResponseError):
    """More markup than fits into memory."""


class Taker(Protocol):
    """Takes elements while a response is parsed."""

    def take(self, element: etree._Element) -> None:
        """Read an element that is complete, and empty it if it is not needed any more."""


T = TypeVar("T", bound=Taker)


@dataclass(frozen=True, slots=True)
class Document(Generic[T]):
    """One SOAP envelope.

    :ivar root: the element `Envelope`
    :ivar taken: what took the elements
    :ivar removed_characters: how many characters were dropped because XML 1.0 forbids them
    """

    root: etree._Element
    taken: T
    removed_characters: int


def parse(body: bytes, content_type: str | None, name: str, take: Callable[[], T]) -> Document[T]:
    """Return the envelope that a response contains.

    Elements of one name are taken while it is parsed, since a whole tree takes thirty times the
    memory of its text.

    :param content_type: the HTTP header, for its charset
    :param name: the local name of the elements to take
    :param take: makes what takes them, again when the response has to be parsed again
    :raises ResponseError: one of its subclasses, whatever the bytes are, and no other error
    """
    data = _as_utf8(body, content_type)
    _refuse_document_type(data)
    removed, taken = 0, take()
    root = _tree(data, name, taken)
    if root is None:
        # Only now, so that clean responses do not pay for the search.
        data, removed = _without_forbidden(data)
        _refuse_document_type(data)  # again: what was removed may have hidden one
        taken = take()
        root = _tree(data, name, taken) if removed else None
    if root is not None and local_name(root) == "Envelope":
        return Document(root, taken, removed)
    if _is_html(data, content_type) or (root is not None and local_name(root).lower() == "html"):
        raise HtmlPage("the response is a web page")
    if root is None:
        raise MalformedResponse("the response is cut short or not well-formed XML")
    raise MalformedResponse("the response is XML but not a SOAP envelope")


def local_name(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def all_text(element: etree._Element) -> str:
    """Return all text within an element, with single spaces."""
    return " ".join(" ".join(map(str, element.itertext())).split())


def readable_text(body: bytes, content_type: str | None = None) -> str:
    """Return any body as text, as well as possible, to be searched and never shown."""
    try:
        return _as_utf8(body, content_type).decode()
    except MalformedResponse:
        return body.decode("utf-8", "replace")


# Encodings

_FIRST_BYTES = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([^\s;"']+)""", re.I)
_DECLARED = re.compile(
    rb"""\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._\-]{1,40})["']"""
)
_LATIN = {"windows-1252", "cp1252", "iso-8859-1", "latin1", "us-ascii", "ascii"}


def _as_utf8(body: bytes, content_type: str | None) -> bytes:
    """Return a body in UTF-8, without a byte-order mark.

    UTF-16 is recognised by its first bytes. What is valid UTF-8 is UTF-8, whatever the header
    says; anything else is windows-1252 if the HTTP charset or the XML declaration says so (or
    Latin-1 or ASCII, which means the same in practice).

    :raises MalformedResponse: it cannot be decoded
    """
    encoding = next((name for start, name in _FIRST_BYTES if body.startswith(start)), "utf-8")
    try:
        text = body.decode(encoding)
        if encoding == "utf-8":
            return body.removeprefix(codecs.BOM_UTF8)
        return text.removeprefix("\ufeff").encode()
    except UnicodeError:
        if encoding != "utf-8" or not _names_latin(body, content_type):
            raise MalformedResponse(f"the response is not valid {encoding.upper()}") from None
    try:
        return body.decode("cp1252").encode()
    except UnicodeError:
        raise MalformedResponse("the response is not valid WINDOWS-1252") from None


def _names_latin(body: bytes, content_type: str | None) -> bool:
    charset = _CHARSET.search(content_type or "")
    declared = _DECLARED.match(body[:512])
    names = (charset[1] if charset else "", declared[1].decode("ascii") if declared else "")
    return any(name.lower() in _LATIN for name in names)


# Guards

_MISC = re.compile(rb"\s+|<\?.*?\?>|<!--.*?-->", re.S)
_DOCTYPE = re.compile(rb"<!doctype\s*([^\s>\[]*)[^>\[]*(\[?)", re.I)
_HTML_TAG = re.compile(rb"<(html|head|title|body|h[1-6]|center|meta|p|div)\b", re.I)


def _prolog_end(data: bytes) -> int:
    position = 0
    while match := _MISC.match(data, position):
        position = match.end()
    return position


def _refuse_document_type(data: bytes) -> None:
    match = _DOCTYPE.match(data, _prolog_end(data))
    if match is None:
        return
    if match[1].lower() == b"html" and not match[2]:
        raise HtmlPage("the response is a web page")
    raise RefusedResponse("the response contains a document type")


def _is_html(data: bytes, content_type: str | None) -> bool:
    if (content_type or "").lower().lstrip().startswith(("text/html", "application/xhtml")):
        return True
    return _HTML_TAG.match(data, _prolog_end(data)) is not None


def _tree(data: bytes, name: str, taker: Taker) -> etree._Element | None:
    """Return the root, None for what is not well-formed or nested too deeply."""
    if len(data) > MAX_MARKUP and data.count(b"<") + data.count(b"=") > MAX_MARKUP:
        raise OversizedResponse("the response contains more markup than fits into memory")
    is_huge = len(data) > _HUGE
    # By default lxml loads nothing from elsewhere.
    options: dict[str, Any] = {
        "encoding": "utf-8",
        "resolve_entities": False,
        "remove_comments": True,
        "remove_pis": True,
        "collect_ids": False,
        "huge_tree": is_huge,
    }
    root: etree._Element | None
    try:
        if len(data) > _LARGE:
            events = etree.iterparse(BytesIO(data), events=("end",), tag=f"{{*}}{name}", **options)
            for _, element in events:
                taker.take(element)
            root = events.root
        else:  # in one step, which the parser takes without Python's lock
            root = etree.fromstring(data, etree.XMLParser(**options))
            for element in list(root.iter(f"{{*}}{name}")):
                taker.take(element)
    except (etree.LxmlError, ValueError):
        return None
    return None if root is None or (is_huge and _is_too_deep(root)) else root


def _is_too_deep(root: etree._Element) -> bool:
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            return True
    return False


# Forbidden characters


_FORBIDDEN = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")
# What looks like a reference in a CDATA section, comment or instruction is none; an unclosed one
# reaches to the end, so that the bytes are passed once.
_OPAQUE_OR_REFERENCE = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)"
    rb"|&#(?:x([0-9a-fA-F]+)|([0-9]+));",
    re.S,
)
_LONGEST_CODE = 7
_ALLOWED = ((0x9, 0xA), (0xD, 0xD), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF))


def _without_forbidden(data: bytes) -> tuple[bytes, int]:
    """Remove the characters that XML 1.0 forbids, raw or as references, and count them."""
    removed = 0

    def checked(match: re.Match[bytes]) -> bytes:
        nonlocal removed
        hexadecimal, decimal = match.groups()
        if not (hexadecimal or decimal):
            return match[0]
        digits = (hexadecimal or decimal).lstrip(b"0") or b"0"
        code = int(digits, 16 if hexadecimal else 10) if len(digits) <= _LONGEST_CODE else -1
        if any(first <= code <= last for first, last in _ALLOWED):
            return match[0]
        removed += 1
        return b""

    data, raw = _FORBIDDEN.subn(b"", data)
    data = _OPAQUE_OR_REFERENCE.sub(checked, data)
    return data, raw + removed
