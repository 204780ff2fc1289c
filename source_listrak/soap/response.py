"""Response bytes -> typed records, by lxml, from the stream's JSON schema.

To make Python objects of every element of a tree costs several times the parse. So rows that are
spelled as the service spells them (tags without attributes, in one order, legal text without
markup) are cut out of the text by one expression, the stencil; they are well-formed in themselves.
The other rows, and what is around all rows, are put together and parsed by lxml, which decides
whether that is a well-formed response and gives the records of these rows. Where more than that is
unusual, such as a comment, lxml parses the whole. Both ways give the same records.
"""

from __future__ import annotations

import codecs
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple, NoReturn
from xml.sax.saxutils import escape

from lxml import etree

from source_listrak.soap.dates import DateReader

MAX_DEPTH = 256
"""Elements within elements; libxml2's own limit too. A right response has 7 levels."""
MAX_LEARNED_FIELDS = 64
"""Elements of a row that the stencil knows; the largest row has 22."""
BLOCK = 2**15
"""Characters that the stencil cuts at once: what a processor's cache holds."""
LEARNED_ROWS = 20
"""Rows of a tree, spread over it, that tell the elements and their order."""

Convert = Callable[[str], Any]
_Record = dict[str, Any]

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_NIL = f"{{{_XSI}}}nil"
_XML_SPACE = " \t\r\n"


class ResponseError(Exception):
    """A response without rows. Its message never holds anything of the response itself."""


class MalformedResponse(ResponseError):
    """Not the operation's response: truncated, not XML, not SOAP, or a value of a wrong type."""


class HtmlPage(MalformedResponse):
    """A web page instead of a response."""


class RefusedResponse(ResponseError):
    """A document type or entity declarations: no SOAP response has them, and an attack might."""


class FaultResponse(ResponseError):
    """A soap:Fault.

    :ivar text: all its text (code, reason, detail), with single spaces
    """

    def __init__(self, text: str) -> None:
        super().__init__("the response is a SOAP fault")
        self.text = text


class InBandError(ResponseError):
    """A `WSException` inside a response that looks like a success.

    :ivar text: its description, or without one all its text, with single spaces
    :ivar has_description: whether it has one
    """

    def __init__(self, text: str, has_description: bool) -> None:
        super().__init__("the response holds a WSException")
        self.text = text
        self.has_description = has_description


@dataclass(frozen=True, slots=True)
class Page:
    """What one response brought.

    :ivar rows: a record for each row, without what was absent or nil; `{}` for a row that holds
        no known element, for the caller to add the keys of its slice
    :ivar present: whether there was a result, be it an empty one
    :ivar removed_characters: how many characters were dropped because XML 1.0 forbids them
    """

    rows: list[_Record]
    present: bool
    removed_characters: int


class ResponseReader:
    """Reads the responses of one operation; safe to share between threads.

    :param operation: such as "ReportRangeMessageContactOpen"
    :param row: name of the elements that are rows, such as "WSContactOpen"
    :param schema: the stream's JSON schema, whose properties are the elements of a row
    :param date_text_fields: the plain strings that hold dates, see `DateReader.date_text`
    """

    def __init__(
        self,
        operation: str,
        row: str,
        schema: Mapping[str, Any],
        dates: DateReader,
        date_text_fields: Collection[str] = (),
    ) -> None:
        self._response = f"{operation}Response"
        self._result = f"{operation}Result"
        self._row = row
        self._fields = _fields(schema, dates, date_text_fields)
        self._opening = re.compile(rf"<((?:[\w.-]+:)?){self._result}(?:\s[^<>]*)?>")
        self._lock = threading.Lock()
        self._order = _Order(self._fields)
        self._layout: _Layout = ()
        self._stencil: _Stencil | None = None
        # What was before and after the rows of a page that was last found to be in order.
        self._frame = ("", "")

    def read(self, body: bytes, content_type: str | None = None) -> Page:
        """Return the rows of a response.

        :param content_type: the HTTP header, for its charset
        :raises ResponseError: one of its subclasses, whatever the bytes are, and no other error
        """
        text = _decoded(body, content_type)
        if "\r" in text:
            # XML's own first step; without it, no text with line ends of Windows would be plain.
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        _refuse_document_type(text)
        page = self._read_quickly(text, content_type)
        if page is not None:
            return page
        root, removed = _parse(text), 0
        if root is None:
            # Now for what clean pages should not pay for: forbidden characters, and huge texts.
            text, removed = _without_forbidden(text)
            # Again, since what was removed may have hidden one.
            _refuse_document_type(text)
            page = self._read_quickly(text, content_type) if removed else None
            if page is not None:
                return Page(page.rows, page.present, removed)
            root = _parse_huge(text, content_type)
        result = self._find_result(root, _is_html(text, content_type))
        if result is None:
            return Page([], False, removed)
        rows = self._rows_by_tree(result)
        self._learn(result)
        return Page(rows, True, removed)

    def _find_result(self, root: etree._Element, is_html: bool) -> etree._Element | None:
        """Return the element whose children are the rows, None if it is nil or missing."""
        response = self._find_response(root, is_html)
        results = [child for child in response if _local(child) == self._result]
        if len(results) > 1:
            raise MalformedResponse(f"the response holds more than one {self._result}")
        result = results[0] if results and not _is_nil(results[0]) else None
        _raise_in_band_error(root, no_result=result is None)
        return result

    def _find_response(self, root: etree._Element, is_html: bool) -> etree._Element:
        if _local(root) != "Envelope":
            if is_html or _local(root).lower() == "html":
                raise HtmlPage("the response is a web page")
            raise MalformedResponse("the response is XML but not a SOAP envelope")
        body = next((child for child in root if _local(child) == "Body"), None)
        if body is None:
            raise MalformedResponse("the SOAP envelope has no body")
        for child in body:
            if _local(child) == "Fault":
                raise FaultResponse(_all_text(child))
        for child in body:
            if _local(child) == self._response:
                return child
        raise MalformedResponse(f"the SOAP body holds no {self._response}")

    # The complete way

    def _rows_by_tree(self, result: etree._Element) -> list[_Record]:
        known = _Known(self._fields)
        return [
            self._record(row, known)
            for row in result
            if _local(row) == self._row and not _is_nil(row)
        ]

    def _record(self, parent: etree._Element, known: _Known) -> _Record:
        record: _Record = {}
        for child in parent:
            field = known[str(child.tag)]
            if field is None:
                continue
            text = child.text
            if not text and _is_nil(child):
                continue
            if field.nested is not None:
                # Only as deep as the schema, however deep the response is.
                record[field.name] = self._record(child, _Known(field.nested))
            elif field.is_array:
                items = list(child) if len(child) else [child] if text else []
                values = [self._value(item, field) for item in items if not _is_nil(item)]
                if values:
                    record.setdefault(field.name, []).extend(values)
            else:
                value = self._value(child, field)
                if value is not None:
                    record[field.name] = value
        return record

    def _value(self, element: etree._Element, field: _Field) -> object:
        if len(element):
            self._raise_wrong_type(field)
        try:
            return field.convert(element.text or "")
        except ValueError:
            self._raise_wrong_type(field)

    def _raise_wrong_type(self, field: _Field) -> NoReturn:
        raise MalformedResponse(f"{field.name} of a {self._row} is not {field.kind}") from None

    # The quick way

    def _read_quickly(self, text: str, content_type: str | None = None) -> Page | None:
        """Return the page, or None where it is not certain that the whole tree would give the same.

        What is between the result's tags has to be a sequence of plain rows, read by the stencil,
        and odd rows. The text before them, the odd ones and the text after them are parsed. That
        tree is the whole one without the plain rows, because

        - the text before the rows has no comment, CDATA section or instruction that could hold the
          result's tag, so that the first row begins in the content of the result;
        - an odd row that begins there ends there. It has none of those either, so its tags are
          tags. It begins with a row's tag and has no other; it ends with a row's end tag and has no
          other, and that can only close this row, since what is around it is the result;
        - a plain row is a complete element of legal characters and references, wherever it is.
        """
        opening = self._opening.search(text)
        if opening is None or _UNUSUAL_REFERENCE.search(text):
            return None
        prefix = opening[1]
        start, end = opening.end(), text.rfind(f"</{prefix}{self._result}>")
        if end < start or text.find("<!", 0, start) >= 0 or text.find("<?", 1, start) >= 0:
            return None
        before, after = frame = text[:start], text[end:]
        layout = self._layout or self._learn_from(text, start, f"</{prefix}{self._row}>", after)
        if not layout:
            return None
        xsi = _XSI_PREFIX.search(before)
        spelling = _Spelling(prefix, xsi[1] if xsi else "", text[start] in _XML_SPACE)
        stencil = self._stencil
        if stencil is None or stencil.key != (layout, spelling):
            stencil = self._stencil = _Stencil(layout, spelling, self._row, self._fields)
        cut = stencil.cut(text, start, end)
        if cut is None:
            return None
        if not cut.odd and frame == self._frame:
            return Page(cut.records, True, 0)
        root, removed = _parse("".join((before, *cut.odd, after))), 0
        if root is None and cut.odd:
            clean, counts = zip(*map(_without_forbidden, cut.odd), strict=True)
            removed = sum(counts)
            if removed and all(map(stencil.is_odd, clean)):
                root = _parse("".join((before, *clean, after)))
        if root is None or sum(1 for _ in root.iter("{*}" + self._result)) != 1:
            return None
        result = self._find_result(root, _is_html(text, content_type))
        if result is None:
            return Page([], False, removed)
        if spelling.nil and result.nsmap.get(spelling.nil) != _XSI:
            return None
        odd_records = self._rows_by_tree(result)
        if len(odd_records) != len(cut.odd):
            return None  # one of them is nil
        for place, record in zip(cut.places, odd_records, strict=True):
            place.update(record)
        if cut.odd:
            self._learn(result)
        self._frame = frame
        return Page(cut.records, True, removed)

    def _learn_from(self, text: str, start: int, last_tag: str, after: str) -> _Layout:
        """Return the layout that the first rows show, so that not even a first page needs a tree.

        A page of all messages of a year is large, and several come at once.
        """
        stop = start
        for _ in range(LEARNED_ROWS):
            found = text.find(last_tag, stop)
            if found < 0:
                break
            stop = found + len(last_tag)
        root = _parse(text[:stop] + after)
        result = None if root is None else root.find(".//{*}" + self._result)
        if result is not None:
            self._learn(result)
        return self._layout

    def _learn(self, result: etree._Element) -> None:
        """Add what some rows hold to what is known of the layout, or forget it all."""
        with self._lock:
            known = self._order.size()
            for row in result[:: len(result) // LEARNED_ROWS + 1]:
                self._order.add(row)
            if self._order.size() == known:
                return
            try:
                self._layout = self._order.layout()
            except CycleError:
                # Rows in contradicting orders, or without end new elements: begin anew.
                self._order = _Order(self._fields)
                self._layout = ()


# Fields


def _blank_is_none(pattern: str, convert: Convert) -> Convert:
    """Return a strict converter: exactly `pattern`, or None for nothing but space."""
    matches = re.compile(pattern).fullmatch

    def strict(text: str) -> object:
        text = text.strip(_XML_SPACE)
        if not text:
            return None
        if not matches(text):
            raise ValueError("not of the type")
        return convert(text)

    return strict


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

# Of each type of a column: what a message calls it, all its spellings, the spellings that the
# stencil takes, and what reads those (or raises ValueError, after which the tree is read). The
# lengths keep integers within 64 bits and decimals finite.
_TYPES: dict[str, tuple[str, str, str, Convert]] = {
    "integer": ("an integer", "[+-]?[0-9]{1,18}", "[0-9-]{1,18}", int),
    "number": (
        "a decimal number",
        r"[+-]?(?=\.?[0-9])[0-9]{0,300}(?:\.[0-9]*)?",
        "[0-9.-]{1,99}",
        float,
    ),
    "boolean": ("a boolean", "true|false|1|0", "true|false|1|0", _BOOLEANS.__getitem__),
}


@dataclass(frozen=True, slots=True)
class _Field:
    """How one column is read.

    :ivar convert: from any text of the element; None means absent
    :ivar capture: what the stencil accepts as its text, None for a string
    :ivar convert_clean: from a text that the stencil accepted
    :ivar usual: of a date, converts the usual layout, None for others
    """

    name: str
    kind: str
    convert: Convert
    capture: str | None = None
    convert_clean: Convert = str
    usual: Convert | None = None
    is_array: bool = False
    nested: Mapping[str, _Field] | None = None


def _fields(
    schema: Mapping[str, Any], dates: DateReader, date_text_fields: Collection[str]
) -> dict[str, _Field]:
    """Compile the columns of a JSON schema."""
    return {
        name: _field(name, column, dates, name in date_text_fields)
        for name, column in schema["properties"].items()
    }


def _field(name: str, column: Mapping[str, Any], dates: DateReader, is_date_text: bool) -> _Field:
    declared = column["type"]
    types = {declared} if isinstance(declared, str) else set(declared)
    (kind,) = types - {"null"}
    if kind in _TYPES:
        called, pattern, capture, convert = _TYPES[kind]
        return _Field(name, called, _blank_is_none(pattern, convert), capture, convert)
    if kind == "object":
        return _Field(name, "an object", str, nested=_fields(column, dates, ()))
    if kind == "array":
        return _Field(name, "an array of strings", str, is_array=True)
    if column.get("format") == "date-time":
        convert = dates.date_time
        # The reader of dates is strict itself.
        return _Field(
            name,
            "a date-time",
            _blank_is_none("(?s:.*)", convert),
            "[^<]+",
            convert,
            usual=dates.usual,
        )
    if is_date_text:
        convert = dates.date_text
        return _Field(name, "a string", convert, convert_clean=convert, usual=dates.usual)
    return _Field(name, "a string", str)


class _Known(dict[str, "_Field | None"]):
    """Fields by the tags of one response, in whatever namespace they are."""

    def __init__(self, fields: Mapping[str, _Field]) -> None:
        super().__init__()
        self._fields = fields

    def __missing__(self, tag: str) -> _Field | None:
        field = self[tag] = self._fields.get(tag.rpartition("}")[2])
        return field


# The stencil


class _Child(NamedTuple):
    """An element of a row.

    :ivar is_filled: whether none of the rows seen was without a text in it
    :ivar children: of an object
    """

    name: str
    is_filled: bool
    children: tuple[_Child, ...]


_Layout = tuple[_Child, ...]


class _Order:
    """What pages have shown so far of the children of a row, or of an object within.

    It only decides how quickly a page is read, never what comes of it.
    """

    def __init__(self, fields: Mapping[str, _Field]) -> None:
        self._objects = {
            name: _Order(field.nested) for name, field in fields.items() if field.nested is not None
        }
        # Of each name, those that came right before it.
        self._before: dict[str, set[str]] = {}
        self._filled: set[str] | None = None

    def add(self, parent: etree._Element) -> None:
        filled = {_local(child) for child in parent if child.text}
        self._filled = filled if self._filled is None else self._filled & filled
        previous: list[str] = []
        for name in dict.fromkeys(map(_local, parent)):
            self._before.setdefault(name, set()).update(previous)
            previous = [name]
        if self._objects:
            for child in parent:
                if _local(child) in self._objects:
                    self._objects[_local(child)].add(child)

    def size(self) -> int:
        """Return what differs as soon as more is known."""
        own = sum(len(names) + 2 for names in self._before.values()) - len(self._filled or ())
        return own + sum(order.size() for order in self._objects.values())

    def layout(self) -> _Layout:
        """Return the children in order.

        :raises CycleError: there is no such order, or they are too many
        """
        names = tuple(TopologicalSorter(self._before).static_order())
        if len(names) > MAX_LEARNED_FIELDS:
            raise CycleError("too many")
        filled = self._filled or set()
        objects = {name: order.layout() for name, order in self._objects.items()}
        return tuple(_Child(name, name in filled, objects.get(name, ())) for name in names)


class _Spelling(NamedTuple):
    """How a page spells its rows.

    :ivar prefix: the namespace prefix of the tags, with its colon
    :ivar nil: the namespace prefix of the attribute nil; empty if there is none
    :ivar has_gaps: whether there is space between the tags
    """

    prefix: str
    nil: str
    has_gaps: bool


class _Cut(NamedTuple):
    """What a stencil made of the rows' text.

    :ivar records: of all rows, without those that are None
    :ivar odd: the texts of the rows that did not fit
    :ivar places: their records among all, still empty
    """

    records: list[_Record]
    odd: list[str]
    places: list[_Record]


# Any character but "<", those that XML forbids, and ">", which the service escapes: then "]]>"
# needs no search of its own. (To name the others is quicker to match, but takes 20 times as long
# to compile.)
_TEXT = r"[^<>\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]"


class _Stencil:
    """What cuts rows of one layout out of a text, and makes records of the pieces.

    The expression has one group for each element, and a second one for a string that is not always
    there: something where the element is there but empty. The last but one takes an odd row and the
    last one all that is left, so the matches always follow one another without a gap.
    """

    def __init__(
        self, layout: _Layout, spelling: _Spelling, row: str, fields: Mapping[str, _Field]
    ) -> None:
        self.key = layout, spelling
        self._prefix = spelling.prefix
        self._gap = gap = r"[ \t\n]*" if spelling.has_gaps else ""
        self._nil = f'{spelling.nil}:nil="(?:true|1)"' if spelling.nil else "(?!)"
        self._groups: list[str] = []
        self._scope: dict[str, Any] = {"resolved": _resolved, "items": _items, "lean": _lean}
        # Dates may be, too, since .NET's empty one is none.
        self._maybe_none = [
            child.name
            for child in layout
            if (field := fields.get(child.name)) and not (child.is_filled and field.usual is None)
        ]
        inner, record = self._children(layout, fields)
        tag, after = spelling.prefix + re.escape(row), r"[ \t\n/>]"
        odd = rf"{gap}<{tag}(?={after})[^<]*(?:<(?![!?]|/?{tag}{after})[^<]*)*</{tag}>{gap}"
        self.is_odd = re.compile(odd).fullmatch
        self._expression = re.compile(rf"{gap}<{tag}>{gap}{inner}</{tag}>{gap}|({odd})|([\s\S]+)")
        self._last_tag = f"</{spelling.prefix}{row}>"
        groups = ", ".join((*self._groups, "odd", "rest"))
        # Made as the standard library makes named tuples: a literal with the names of the schema
        # takes a third of the time of `dict(zip(…))`, and that is where the time goes.
        code = f"lambda found, keep: [keep(odd) if odd else {record} for {groups} in found]"
        self._plain, self._resolving = (
            eval(re.sub(r"text\((\w+)\)", text, code), self._scope)  # noqa: S307 (names made here)
            for text in (r"\1", r'(resolved(\1) if "&" in \1 else \1)')
        )

    def cut(self, text: str, start: int, end: int) -> _Cut | None:
        """Return the rows of a part of a text, None if they are not all that is there."""
        cut = _Cut([], [], [])
        last = text.rfind(self._last_tag, start, end) + len(self._last_tag)
        if last <= start:
            last = start
        if text[last:end].strip(_XML_SPACE):
            return None
        records = cut.records

        def keep(odd: str) -> _Record:
            cut.odd.append(odd)
            cut.places.append({})
            return cut.places[-1]

        make = self._resolving if text.find("&", start, last) >= 0 else self._plain
        while start < last:
            # In blocks, so that the pieces of a large page need no memory of their own.
            tag = text.find(self._last_tag, start + BLOCK, last)
            stop = tag + len(self._last_tag) if tag >= 0 else last
            found = self._expression.findall(text, start, stop)
            if found[-1][-1]:
                return None
            try:
                records += make(found, keep)
            except ValueError:
                return None  # the other way knows which field it was
            start = stop
        for record in records if self._maybe_none else ():
            if None in record.values():
                for name in self._maybe_none:
                    if record[name] is None:
                        del record[name]
        return cut

    def _children(self, layout: _Layout, fields: Mapping[str, _Field]) -> tuple[str, str]:
        """Return the expression of elements in order, and the code that makes their record."""
        parts: list[str] = []
        items: list[str] = []
        for child in layout:
            field = fields.get(child.name)
            if field is None:
                tag = self._prefix + re.escape(child.name)
                nil = f" {self._nil}(?:></{tag}>| ?/>)"
                parts.append(f"(?:<{tag}(?:>{_TEXT}*</{tag}>| ?/>|{nil}){self._gap})?")
            else:
                expression, code = self._child(child, field)
                parts.append(expression)
                items.append(f"{child.name!r}: {code}")
        return "".join(parts), f"{{{', '.join(items)}}}"

    def _child(self, child: _Child, field: _Field) -> tuple[str, str]:
        tag, gap = self._prefix + re.escape(child.name), self._gap
        empty, otherwise = f"></{tag}>| ?/>", "None"
        nil = f" {self._nil}(?:{empty})"
        value = self._group()
        if field.nested is not None:
            inner, record = self._children(child.children, field.nested)
            content, code = rf"(>){gap}{inner}</{tag}>", f"lean({record})"
            empty = "(?!)"  # an empty record, which the tree tells
        elif field.is_array:
            content = rf"(>{_TEXT}+</{tag}>(?:{gap}<{tag}>{_TEXT}+</{tag}>)*)"
            code = f"items({value})"
        elif field.capture is not None:
            content, code = f">({field.capture})</{tag}>", value
        else:
            content, code = f">({_TEXT}+)</{tag}>", f"text({value})"
            if not child.is_filled:
                empty, otherwise = f"({empty})", f'"" if {self._group()} else None'
        if field.convert_clean is not str:
            convert = f"convert{len(self._scope)}"
            self._scope[convert] = field.convert_clean
            code = f"{convert}({code})"
        if field.usual is not None:
            self._scope["usual"] = field.usual
            code = f"(usual({value}) or {code})"
        if child.is_filled:
            return f"<{tag}{content}{gap}", code
        expression = f"(?:<{tag}(?:{content}|{empty}|{nil}){gap})?"
        return expression, f"({code} if {value} else {otherwise})"

    def _group(self) -> str:
        self._groups.append(f"group{len(self._groups)}")
        return self._groups[-1]


_ITEM = re.compile(f">({_TEXT}+)</")


def _items(spelled: str) -> list[str]:
    return [_resolved(text) for text in _ITEM.findall(spelled)]


def _lean(record: _Record) -> _Record:
    return {name: value for name, value in record.items() if value is not None}


# References to predefined entities, and to numbered characters that XML allows (nearly all of them:
# what is left goes to the parser).
_USUAL_REFERENCE = (
    "amp|lt|gt|quot|apos"
    "|#0{0,9}(?:9|1[03]|3[2-9]|[4-9][0-9]|[1-9][0-9]{2,3}|[1-4][0-9]{4}|[1-9][0-9]{5})"
    "|#x0{0,9}(?:9|[aAdD]|[2-9a-fA-F]H|[1-9a-fA-F]HH|[1-9a-cA-C]HHH|[1-9a-fA-F]HHHH)"
).replace("H", "[0-9a-fA-F]")
_UNUSUAL_REFERENCE = re.compile(f"&(?!(?:{_USUAL_REFERENCE});)")
_NUMBERED = re.compile("&#(?:x([0-9a-fA-F]+)|([0-9]+));")


def _character(match: re.Match[str]) -> str:
    return escape(chr(int(match[1], 16) if match[1] else int(match[2])))


def _resolved(text: str) -> str:
    """Resolve the references of a text that has only usual ones."""
    if "&#" in text:
        # An ampersand stays a reference, or what follows it could become one.
        text = _NUMBERED.sub(_character, text)
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    return text.replace("&apos;", "'").replace("&amp;", "&")


# XML


def _local(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _is_nil(element: etree._Element) -> bool:
    return (element.get(_NIL) or "").strip(_XML_SPACE) in ("true", "1")


def _all_text(element: etree._Element) -> str:
    return " ".join(" ".join(map(str, element.itertext())).split())


def _raise_in_band_error(root: etree._Element, *, no_result: bool) -> None:
    for exception in root.iter("{*}WSException"):
        if _is_nil(exception):
            continue
        for description in exception.iter("{*}Description"):
            if text := _all_text(description):
                raise InBandError(text, has_description=True)
        if no_result:
            raise InBandError(_all_text(exception), has_description=False)


_XSI_PREFIX = re.compile(rf"""xmlns:([\w.-]+)=["']{re.escape(_XSI)}["']""")
_MISC = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->", re.S)
_DOCTYPE = re.compile(r"<!doctype\s*([^\s>\[]*)[^>\[]*(\[?)", re.I)
_HTML_TAG = re.compile(r"<(html|head|title|body|h[1-6]|center|meta|p|div)\b", re.I)
# "//" would climb from every element; one step for each level passes each element once.
_TOO_DEEP = etree.XPath("boolean(" + "/*" * (MAX_DEPTH + 1) + ")")


def _parse_huge(text: str, content_type: str | None) -> etree._Element:
    """Return the root of a text that may be over 10 MB; the guards against its nesting are here."""
    root = _parse(text, huge_tree=True)
    if root is None or _TOO_DEEP(root):
        if _is_html(text, content_type):
            raise HtmlPage("the response is a web page")
        raise MalformedResponse("the response is truncated or not well-formed XML")
    return root


_SAFE: dict[str, Any] = {
    "encoding": "utf-8",
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "attribute_defaults": False,
    "remove_comments": True,
    "remove_pis": True,
    "strip_cdata": True,
    "collect_ids": False,
}


# A parser of its own for each response: a shared one would make threads wait for each other.


def _parse(text: str, *, huge_tree: bool = False) -> etree._Element | None:
    """Return the root, None for what is not well-formed."""
    try:
        parser = etree.XMLParser(**_SAFE, huge_tree=huge_tree)
        root: etree._Element = etree.fromstring(text.encode(), parser)
    except (etree.LxmlError, ValueError):
        return None
    return root


def _prolog_end(text: str) -> int:
    position = 0
    while match := _MISC.match(text, position):
        position = match.end()
    return position


def _refuse_document_type(text: str) -> None:
    match = _DOCTYPE.match(text, _prolog_end(text))
    if match is None:
        return
    if match[1].lower() == "html" and not match[2]:
        raise HtmlPage("the response is a web page")
    raise RefusedResponse("the response holds a document type")


def _is_html(text: str, content_type: str | None) -> bool:
    if (content_type or "").lower().lstrip().startswith(("text/html", "application/xhtml")):
        return True
    return _HTML_TAG.match(text, _prolog_end(text)) is not None


_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What looks like a reference in a CDATA section, comment or instruction is none; an unclosed one
# reaches to the end, so that a text is passed once.
_OPAQUE_OR_REFERENCE = re.compile(
    r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)|&#(?:x([0-9a-fA-F]+)|([0-9]+));",
    re.S,
)
_LONGEST_CODE = 7


def _without_forbidden(text: str) -> tuple[str, int]:
    """Remove the characters that XML 1.0 forbids, raw or as references, and count them."""
    removed = 0

    def checked(match: re.Match[str]) -> str:
        nonlocal removed
        hexadecimal, decimal = match.groups()
        digits = (hexadecimal or decimal or "").lstrip("0")
        if not (hexadecimal or decimal):
            return match[0]
        code = int(digits or "0", 16 if hexadecimal else 10) if len(digits) <= _LONGEST_CODE else -1
        if 0 <= code <= 0x10FFFF and not _FORBIDDEN.match(chr(code)):
            return match[0]
        removed += 1
        return ""

    text, raw = _FORBIDDEN.subn("", text)
    text = _OPAQUE_OR_REFERENCE.sub(checked, text)
    return text, raw + removed


# Encodings

_BYTE_ORDER_MARKS = (
    # UTF-32 first: its little-endian mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The first "<" of a document without a mark.
_WIDE_STARTS = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([^\s;"']+)""", re.I)
_DECLARED = re.compile(
    rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._\-]{0,40})["']"""
)
# Not every codec of Python is an encoding of text, and some (UTF-7, escapes) hide markup.
_TEXT_CODEC = re.compile(r"(utf-8|ascii|iso8859|cp\d|koi8|shift_jis|euc|gb|big5|mac|tis|johab|hz)")
# Bytes that windows-1252 leaves undefined are control characters, as in browsers.
_WINDOWS_1252 = {
    code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)
}


def text_of(body: bytes, content_type: str | None = None) -> str:
    """Return any body as text, as well as possible, to be searched and never shown."""
    try:
        return _decoded(body, content_type)
    except MalformedResponse:
        return body.decode("utf-8", "replace")


def _decoded(body: bytes, content_type: str | None) -> str:
    """Decode a body strictly.

    A byte-order mark counts most. The HTTP charset and the XML declaration count where they agree
    or only one is there; where they disagree, what is valid UTF-8 and named so by one of them is
    that, and otherwise HTTP is right. A wide encoding that is named by bytes that are not wide is
    the one .NET held the text in before it sent it as UTF-8.

    :raises MalformedResponse: it cannot be decoded
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return _strictly(body[len(mark) :], encoding)
    for start, encoding in _WIDE_STARTS:
        if body.startswith(start):
            return _strictly(body, encoding)
    charset = _CHARSET.search(content_type or "")
    declared = _DECLARED.match(body[:512])
    named = [
        _encoding(charset[1]) if charset else "",
        _encoding(declared[1].decode("ascii")) if declared else "",
    ]
    encodings = list(dict.fromkeys(encoding for encoding in named if encoding))
    if not encodings:
        encodings = ["utf-8"]
    if len(encodings) > 1 and "utf-8" in encodings:
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return _strictly(body, encodings[0])


def _encoding(name: str) -> str:
    """Return Python's name of an encoding; empty if it is unknown or cannot be true."""
    try:
        found = codecs.lookup(name.lower()).name
    except (LookupError, ValueError):
        return ""
    if found in ("iso8859-1", "ascii"):
        return "cp1252"
    return found if _TEXT_CODEC.match(found) else ""


def _strictly(body: bytes, encoding: str) -> str:
    try:
        if encoding == "cp1252":
            return body.decode("latin-1").translate(_WINDOWS_1252)
        return body.decode(encoding)
    except (UnicodeError, LookupError):
        raise MalformedResponse(f"the response is not valid {encoding.upper()}") from None
