"""Response bytes -> an envelope that is safe to read, and its rows.

lxml reads strictly, in one pass. Before it sees the bytes, they are decoded and refused where they
contain a document type, or so much markup that the tree would not fit into memory.
"""

import codecs
import re
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from io import BytesIO
from typing import Any, TypeVar

from lxml import etree

from source_listrak.soap import faults
from source_listrak.soap.faults import AttemptFailed, Fault

T = TypeVar("T")
_Take = Callable[[Iterable[etree._Element]], T]

MAX_MARKUP = 2**21
"""Tags and attributes of one response, which bound its tree to 400 MB, and references in one that
must be repaired, which bound the time. 50,000 messages have as many tags; a page of 2,500 events
has 50,000."""

_LARGE = 2**18
"""Bytes of a response above which a whole tree takes too much memory."""
_SMALL = 2**15
"""Bytes of a response up to which each thread may have a tree."""

_READING = threading.RLock()
"""Held while elements are read, because threads that do so concurrently contend for the GIL. For
larger responses, held while they are parsed, too, so that only one of their trees exists."""


def parse(
    body: bytes, content_type: str | None, name: str, take: _Take[T]
) -> tuple[etree._Element, T, int]:
    """Return the envelope that a response contains, and what was taken from it.

    Elements of one name are taken while it is parsed, since a whole tree takes thirty times the
    memory of its text.

    :param content_type: the HTTP header, for its charset
    :param name: the local name of the elements to take
    :param take: reads these elements, each when it is complete, and may empty them; called again
        when the response has to be parsed again
    :return: the element `Envelope`, the result of `take`, and how many characters were dropped
        because XML 1.0 forbids them, or replaced because they could not be decoded
    :raises AttemptFailed: for anything but an envelope, and no other error; its detail never
        contains anything of the response itself
    """
    data, invalid = _as_utf8(body, content_type)
    parsed = _tree(data, name, take)
    if parsed is None:
        # Only now, so that clean responses do not pay for the search.
        data, removed = _without_forbidden(data)
        parsed, invalid = _tree(data, name, take), invalid + removed
    if parsed is not None and local_name(parsed[0]) == "Envelope":
        return *parsed, invalid
    if _HTML_TYPE.match(content_type or "") or _HTML_TAG.match(data, _prolog_end(data)):
        raise _unreadable(faults.HTML_PAGE, data)
    wrong = "cut short or not well-formed XML" if parsed is None else "XML but not a SOAP envelope"
    raise _unreadable(faults.MALFORMED, data, f"the response is {wrong}")


def local_name(element: etree._Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def all_text(element: etree._Element) -> str:
    """Return all text within an element, with single spaces."""
    return " ".join(" ".join(map(str, element.itertext())).split())


_RESULT = re.compile(r"<(?:[\w.-]+:)?\w*Result\b")


def _unreadable(fault: Fault, body: bytes, detail: str = "") -> AttemptFailed:
    """Return the error of a body that is no envelope, which may hold a token all the same."""
    # Rows are customers' text, which may look like a token.
    text = _RESULT.split(body.decode("utf-8", "replace"), maxsplit=1)[0]
    return AttemptFailed(faults.find_token(text) or fault, detail)


# Encodings

_UTF_16 = (
    (re.compile(rb"\xff\xfe|(?:[ \t\r\n]\0)*<\0"), "utf-16-le"),
    (re.compile(rb"\xfe\xff|(?:\0[ \t\r\n])*\0<"), "utf-16-be"),
)
_SURROGATES = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
_BEFORE_XML = codecs.BOM_UTF8 + b" \t\r\n"
# Declared in the HTTP header, the XML declaration, or a web page.
_LATIN = re.compile(
    r"""\b(charset|encoding)\s*=\s*["']?\s*(windows-1252|cp1252|iso-8859-1|latin1|(us-)?ascii)\b""",
    re.I,
)


def _as_utf8(body: bytes, content_type: str | None) -> tuple[bytes, int]:
    """Return a body in UTF-8, without space or a byte-order mark before it, and what was invalid.

    UTF-16 is recognized by its first bytes. Valid UTF-8 is UTF-8, regardless of the header;
    anything else is windows-1252 if the HTTP charset or the document's beginning says so (or
    Latin-1 or ASCII, which means the same in practice), or else UTF-8 with damage: each sequence
    that cannot be decoded becomes U+FFFD and is counted, and surrogates in pairs, which old
    encoders write, become the character that they represent.
    """
    encoding, invalid = next((name for start, name in _UTF_16 if start.match(body)), "utf-8"), 0
    try:
        text = body.decode(encoding)
    except UnicodeError:
        if encoding == "utf-8" and _LATIN.search(f"{content_type} {body[:512]!r}"):
            encoding = "windows-1252"
        elif encoding == "utf-8":
            body = _SURROGATES.sub(_joined, body)
        text = body.decode(encoding, "replace")
        invalid = text.count("\ufffd") - body.decode(encoding, "ignore").count("\ufffd")
    # What is UTF-8 already is not encoded again.
    data = body if encoding == "utf-8" and not invalid else text.encode()
    return data.lstrip(_BEFORE_XML), invalid


def _joined(surrogates: re.Match[bytes]) -> bytes:
    units = surrogates[0].decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le").encode()


# Guards

_MISC = re.compile(rb"\s+|<\?.*?\?>|<!--.*?-->", re.S)
_DOCTYPE = re.compile(rb"<!doctype\s*([^\s>\[]*)[^>\[]*(\[?)", re.I)
_TOO_MUCH = "the response contains more markup than fits into memory"
_HTML_TYPE = re.compile(r"\s*(text/html|application/xhtml)", re.I)
_HTML_TAG = re.compile(rb"<(html|head|title|body|h[1-6]|center|meta|p|div)\b", re.I)


def _prolog_end(data: bytes) -> int:
    position = 0
    while match := _MISC.match(data, position):
        position = match.end()
    return position


def _tree(data: bytes, name: str, take: _Take[T]) -> tuple[etree._Element, T] | None:
    """Return the root and what was taken, None for what is not well-formed.

    libxml2 limits how deeply elements are nested.
    """
    if doctype := _DOCTYPE.match(data, _prolog_end(data)):
        if doctype[1].lower() == b"html" and not doctype[2]:
            raise _unreadable(faults.HTML_PAGE, data)
        raise AttemptFailed(faults.REFUSED_XML, "the response contains a document type")
    if len(data) > MAX_MARKUP and data.count(b"<") + data.count(b"=") > MAX_MARKUP:
        raise AttemptFailed(faults.TOO_LARGE, _TOO_MUCH)
    # By default lxml loads nothing from elsewhere.
    options: dict[str, Any] = {
        "encoding": "utf-8",
        "resolve_entities": False,
        "remove_comments": True,
        "remove_pis": True,
        "collect_ids": False,
        "huge_tree": len(data) > 10_000_000,  # libxml2's own limit of one text
    }
    try:
        with nullcontext() if len(data) <= _SMALL else _READING:
            if len(data) > _LARGE:
                events = etree.iterparse(BytesIO(data), tag=f"{{*}}{name}", **options)
                taken = take(element for _, element in events)
                root = events.root
            else:  # in one step, for which the parser releases the GIL
                root = etree.fromstring(data, etree.XMLParser(**options))
                with _READING:
                    taken = take(list(root.iter(f"{{*}}{name}")))
    except (etree.LxmlError, ValueError) as error:
        if getattr(error, "code", None) == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError from None
        return None
    return None if root is None else (root, taken)


# Forbidden characters

# The last are surrogates, which only references to them become.
_FORBIDDEN = re.compile(
    rb"[\0-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]|\xed[\xa0-\xbf][\x80-\xbf]"
)
# What looks like a reference in a CDATA section, comment or instruction is not one; an unclosed
# section extends to the end, so that the bytes are scanned once.
_OPAQUE_OR_REFERENCE = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)"
    rb"|&#(?:x([0-9a-fA-F]+)|([0-9]+));",
    re.S,
)


def _without_forbidden(data: bytes) -> tuple[bytes, int]:
    """Remove the characters that XML 1.0 forbids, raw or as references, and count them.

    References to two surrogates that are a pair become the character that they represent.

    :raises AttemptFailed: there are so many references that the search would take minutes
    """
    if data.count(b"&#") > MAX_MARKUP:
        raise AttemptFailed(faults.TOO_LARGE, _TOO_MUCH)
    data = _OPAQUE_OR_REFERENCE.sub(_raw_if_forbidden, data)
    return _FORBIDDEN.subn(b"", _SURROGATES.sub(_joined, data))


def _raw_if_forbidden(match: re.Match[bytes]) -> bytes:
    """Return a reference to a forbidden character as this character, and anything else as it is."""
    hexadecimal, decimal = match.groups()
    if not (digits := hexadecimal or decimal):
        return match[0]
    # Eight digits are more than any character has.
    code = int(digits.lstrip(b"0")[:8] or b"0", 16 if hexadecimal else 10)
    raw = chr(code if code <= sys.maxunicode else 0).encode("utf-8", "surrogatepass")
    return raw if _FORBIDDEN.fullmatch(raw) else match[0]
