"""Response bytes -> typed records, by lxml, from the stream's JSON schema.

Making Python objects of every element of lxml's tree costs more than the parse itself. So rows that
are spelled as the service spells them (tags without attributes other than nil, in one order, text
without markup) are cut out of the text by one expression, the stencil. What is around the rows, the
frame, is parsed by lxml, and remembered, since it is mostly the same for every page. A row that the
stencil does not fit is put into the frame and read from its tree; where more than that is unusual,
all rows are. Both ways give the same records.

The quick way takes only what is well-formed. The frame is, with nothing between the result's tags.
In between, the stencil accounts for every character: tags by name, each closed, and text without
"<". Such text is well-formed when it has no "]]>", no character that XML forbids and no reference
that would need a declaration; where it has, lxml checks the whole.
"""

from __future__ import annotations

import codecs
import re
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from operator import itemgetter
from typing import Any, NoReturn
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
"""Rows of the tree that tell the order of elements where the stencil did not fit."""
MAX_FRAMES = 16
"""Frames that a reader remembers; a service that writes the time into each makes a new one."""
LONGEST_FRAME = 2**13
"""Characters of a frame that is worth remembering."""

Convert = Callable[[str], Any]
_Layout = tuple[tuple[str, bool], ...]

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

    rows: list[dict[str, Any]]
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
        self._is_flat = not any(field.nested or field.is_array for field in self._fields.values())
        # What pages have shown so far: the elements that came before each element of a row, those
        # that no row was without, and the layout that follows. It only decides how quickly a page
        # is read, never what comes of it.
        self._lock = threading.Lock()
        self._before: dict[str, set[str]] = {}
        self._always: set[str] | None = None
        self._layout: _Layout = ()
        self._stencil: _Stencil | None = None
        # Frames that are right, and the expression of the nil attribute within.
        self._frames: dict[str, str] = {}

    def read(self, body: bytes, content_type: str | None = None) -> Page:
        """Return the rows of a response.

        :param content_type: the HTTP header, for its charset
        :raises ResponseError: one of its subclasses, whatever the bytes are, and no other error
        """
        text = _decoded(body, content_type)
        if "\r" in text:
            # As each XML parser does first.
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        _refuse_document_type(text)
        page, fitting = self._read_quickly(text)
        if page is not None:
            return page
        root, text, removed = _parsed(text, content_type)
        result = self._find_result(root, _is_html(text, content_type))
        if result is None:
            return Page([], False, removed)
        rows = self._rows_by_tree(result)
        self._learn(result, fitting)
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

    def _rows_by_tree(self, result: etree._Element) -> list[dict[str, Any]]:
        known = _Known(self._fields)
        return [
            self._record(row, known)
            for row in result
            if _local(row) == self._row and not _is_nil(row)
        ]

    def _record(self, parent: etree._Element, known: _Known) -> dict[str, Any]:
        record: dict[str, Any] = {}
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

    def _read_quickly(self, text: str) -> tuple[Page | None, int]:
        """Return the page if the stencil fits, and how many rows it fitted at least."""
        opening = self._opening.search(text)
        if opening is None:
            return None, 0
        prefix = opening[1]
        start, end = opening.end(), text.rfind(f"</{prefix}{self._result}>")
        if end < start:
            return None, 0
        nil = self._nil_of_frame(text, start, end)
        if nil is None:
            return None, 0
        between = text[start:end]
        if not between.strip(_XML_SPACE):
            return Page([], True, 0), 0
        layout = self._layout
        if not layout:
            return None, 0
        gap = r"\s*" if between[0].isspace() else ""
        spelling = layout, prefix, gap, nil
        stencil = self._stencil
        if stencil is None or stencil.spelling != spelling:
            stencil = self._stencil = _Stencil(spelling, self._row, self._fields)
        rows, odd, fits = stencil.cut(between)
        if not fits or not (_is_plain(between) or _is_well_formed(text)):
            return None, len(rows)
        if odd and not self._read_odd(rows, odd, text[:start], text[end:]):
            return None, 0
        return Page(rows, True, 0), 0

    def _nil_of_frame(self, text: str, start: int, end: int) -> str | None:
        """Return the expression of the nil attribute among the rows, None for a frame that is odd.

        :param start: where the rows begin
        :param end: where they end
        """
        frame = text[:start] + text[end:]
        nil = self._frames.get(frame)
        if nil is not None:
            return nil
        # A comment, CDATA section or instruction before the rows could hold a false tag. None after
        # it can mislead: the stencil has no place for markup other than the rows' tags.
        if text.find("<!", 0, start) >= 0 or text.find("<?", 1, start) >= 0:
            return None
        result = self._result_of(frame)
        if result is None:
            return None
        prefixes = [prefix for prefix, uri in result.nsmap.items() if prefix and uri == _XSI]
        nil = rf' (?:{"|".join(map(re.escape, prefixes))}):nil="(?:true|1)"' if prefixes else ""
        if len(frame) <= LONGEST_FRAME:
            if len(self._frames) >= MAX_FRAMES:
                self._frames = {}
            self._frames[frame] = nil
        return nil

    def _result_of(self, text: str) -> etree._Element | None:
        """Return the one result of a response without errors; None for the tree to find out."""
        root = _parse(text)
        if root is None or sum(1 for _ in root.iter("{*}" + self._result)) != 1:
            return None
        try:
            return self._find_result(root, is_html=False)
        except ResponseError:
            return None

    def _read_odd(
        self, rows: list[dict[str, Any]], odd: Mapping[int, str], before: str, after: str
    ) -> bool:
        """Read the rows that the stencil did not fit, by the tree; return whether they are sound.

        They reach to the first closing tag of a row. Should that stand in a comment, CDATA section
        or instruction, then this begins in the same row; should it close another row within, then
        this one is not closed and is no XML.

        :param rows: gets them at their places
        """
        content = "".join(odd.values())
        if "<!" in content or "<?" in content:
            return False
        result = self._result_of(before + content + after)
        if result is None:
            return False
        children = list(result)
        if len(children) != len(odd) or any(_local(child) != self._row for child in children):
            return False
        known = _Known(self._fields)
        try:
            for index, child in zip(odd, children, strict=True):
                rows[index] = self._record(child, known)
        except MalformedResponse:
            return False
        self._learn(result, 0)
        return True

    def _learn(self, result: etree._Element, first: int) -> None:
        """Add what a few rows hold to what is known of the layout, or forget it all."""
        if not self._is_flat:
            return
        with self._lock:
            for row in result[first : first + LEARNED_ROWS]:
                names = list(dict.fromkeys(map(_local, row)))
                for index, name in enumerate(names):
                    self._before.setdefault(name, set()).update(names[:index])
                filled = {_local(child) for child in row if child.text}
                self._always = filled if self._always is None else self._always & filled
            always = self._always or set()
            try:
                order = tuple(TopologicalSorter(self._before).static_order())
            except CycleError:
                order = ()
            if not order or len(order) > MAX_LEARNED_FIELDS:
                # Rows in contradicting orders, or without end new elements: begin anew.
                self._before = {}
                self._always = None
                order = ()
            self._layout = tuple((name, name in always) for name in order)


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
    """

    name: str
    kind: str
    convert: Convert
    capture: str | None = None
    convert_clean: Convert = str
    is_date: bool = False
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
            r"[0-9T:.+\-Z]+",
            convert,
            is_date=True,
        )
    if is_date_text:
        convert = dates.date_text
        return _Field(name, "a string", convert, convert_clean=convert, is_date=True)
    return _Field(name, "a string", str)


class _Known(dict[str, "_Field | None"]):
    """Fields by the tags of one response, in whatever namespace they are."""

    def __init__(self, fields: Mapping[str, _Field]) -> None:
        super().__init__()
        self._fields = fields

    def __missing__(self, tag: str) -> _Field | None:
        field = self[tag] = self._fields.get(tag.rpartition("}")[2])
        return field


_Spelling = tuple[_Layout, str, str, str]
"""The elements of a row, the namespace prefix of their tags with its colon, the expression of the
space between tags, and that of the nil attribute."""


class _Stencil:
    """What cuts rows of one layout out of a text, and makes records of the pieces.

    The expression has one group for each element, and a second one for a string that is not always
    there: something where the element is there but empty. Then come a group for a whole row that
    does not fit, and one for all that is left where no row stands; so the matches always follow one
    another without a gap.
    """

    def __init__(self, spelling: _Spelling, row: str, fields: Mapping[str, _Field]) -> None:
        self.spelling = spelling
        layout, prefix, gap, nil = spelling
        parts = [f"{gap}<{prefix}{re.escape(row)}>{gap}"]
        groups: list[str] = []
        plain: list[str] = []
        resolving: list[str] = []
        scope: dict[str, Any] = {"resolved": _resolved}
        # Dates, too, since .NET's empty date is none.
        self._maybe_none: list[str] = []
        for index, (name, is_always) in enumerate(layout):
            tag = prefix + re.escape(name)
            field = fields.get(name)
            empty = f"(?:></{tag}>| ?/>)"
            blank_or_nil = f"(?:{nil})?{empty}"
            if field is None:
                parts.append(f"(?:<{tag}(?:>[^<]*</{tag}>|{blank_or_nil}){gap})?")
                continue
            value, blank = f"value{index}", f"blank{index}"
            scope[f"convert{index}"] = field.convert_clean
            converted = f"convert{index}({{}})" if field.convert_clean is not str else "{}"
            resolved = converted.format(f'(resolved({value}) if "&" in {value} else {value})')
            converted = converted.format(value)
            groups.append(value)
            if field.capture is not None:
                resolved = converted
                content = f">({field.capture})</{tag}>"
                parts.append(
                    f"<{tag}{content}{gap}"
                    if is_always
                    else f"<{tag}(?:{content}|{blank_or_nil}){gap}"
                )
                otherwise = "None"
            elif is_always:
                parts.append(f"<{tag}>([^<]*)</{tag}>{gap}")
            else:
                is_nil = f"|{nil}{empty}" if nil else ""
                parts.append(f"<{tag}(?:>([^<]+)</{tag}>|(></{tag}>| ?/>){is_nil}){gap}")
                groups.append(blank)
                otherwise = f'("" if {blank} else None)'
            if not is_always or field.is_date:
                self._maybe_none.append(name)
            if not is_always:
                parts[-1] = f"(?:{parts[-1]})?"
                converted = f"({converted} if {value} else {otherwise})"
                resolved = f"({resolved} if {value} else {otherwise})"
            plain.append(f"{name!r}: {converted}")
            resolving.append(f"{name!r}: {resolved}")
        self._last_tag = f"</{prefix}{row}>"
        closing = re.escape(self._last_tag)
        parts.append(
            rf"{closing}{gap}"
            rf"|{gap}(<{prefix}{re.escape(row)}>[\s\S]*?{closing}){gap}"
            r"|([\s\S]+)"
        )
        groups += ["odd", "rest"]
        self._expression = re.compile("".join(parts))
        # Made as the standard library makes named tuples: a literal with the names of the schema
        # takes a third of the time of `dict(zip(…))`, and that is where the time goes.
        self._plain, self._resolving = (
            eval(  # noqa: S307 (made of names that this file and the schema choose)
                f"lambda found: [{{{', '.join(items)}}} for {', '.join(groups)} in found]", scope
            )
            for items in (plain, resolving)
        )

    def cut(self, text: str) -> tuple[list[dict[str, Any]], dict[int, str], bool]:
        """Return the records of a text, the rows to read otherwise, and whether it fits at all.

        :return: without a fit, the records of some rows before what does not fit
        """
        records: list[dict[str, Any]] = []
        odd: dict[int, str] = {}
        last = text.rfind(self._last_tag) + len(self._last_tag)
        if last < len(self._last_tag) or text[last:].strip():
            return records, odd, False
        make = self._resolving if "&" in text else self._plain
        start = 0
        while start < last:
            # In blocks, so that the pieces of a large page need no memory of their own.
            tag = text.find(self._last_tag, start + BLOCK, last)
            stop = tag + len(self._last_tag) if tag >= 0 else last
            found = self._expression.findall(text, start, stop)
            if found[-1][-1]:
                return records, odd, False
            try:
                if any(map(_ODD, found)):
                    fitting = iter(make([groups for groups in found if not _ODD(groups)]))
                    for row in map(_ODD, found):
                        if row:
                            odd[len(records)] = row
                        records.append({} if row else next(fitting))
                else:
                    records += make(found)
            except ValueError:
                return records, odd, False  # the other way knows which field it was
            start = stop
        for record in records:
            if None in record.values():
                for name in self._maybe_none:
                    if record[name] is None:
                        del record[name]
        return records, odd, True


_ODD: Callable[[tuple[str, ...]], str] = itemgetter(-2)

_NUMBERED = re.compile("&#(?:x([0-9a-fA-F]+)|([0-9]+));")


def _character(match: re.Match[str]) -> str:
    try:
        return escape(chr(int(match[1], 16) if match[1] else int(match[2])))
    except (OverflowError, ValueError):
        # No character at all, for which the check of the whole text refuses it.
        return ""


def _resolved(text: str) -> str:
    """Resolve the references of a text that is known to be well-formed."""
    if "&#" in text:
        # An ampersand stays a reference, or what follows it could become one.
        text = _NUMBERED.sub(_character, text)
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    return text.replace("&apos;", "'").replace("&amp;", "&")


# Bytes of UTF-8 that are no characters of XML; the others that it forbids are longer.
_CONTROLS = bytes(code for code in range(0x20) if chr(code) not in _XML_SPACE)
_OTHER_REFERENCE = re.compile("&(?!(?:amp|lt|gt|quot|apos);)(#(?:x[0-9a-fA-F]{1,6}|[0-9]{1,7});)?")


def _is_plain(text: str) -> bool:
    """Tell whether rows that the stencil fits are well-formed, as far as is easily told."""
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return False
    return (
        len(encoded.translate(None, _CONTROLS)) == len(encoded)
        and "\ufffe" not in text
        and "\uffff" not in text
        and not ("]" in text and "]]>" in text)  # the first is found much sooner
        and ("&" not in text or all(map(_is_character, set(_OTHER_REFERENCE.findall(text)))))
    )


def _is_character(reference: str) -> bool:
    """Tell whether `#65;` or `#x41;` stands for a character of XML; nothing does not."""
    if not reference:
        return False
    code = int(reference[2:-1], 16) if reference[1] == "x" else int(reference[1:-1])
    return code <= sys.maxunicode and not _FORBIDDEN.match(chr(code))


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


_MISC = re.compile(r"\s+|<\?.*?\?>|<!--.*?-->", re.S)
_DOCTYPE = re.compile(r"<!doctype\s*([^\s>\[]*)[^>\[]*(\[?)", re.I)
_HTML_TAG = re.compile(r"<(html|head|title|body|h[1-6]|center|meta|p|div)\b", re.I)
# "//" would climb from every element; one step for each level passes each element once.
_TOO_DEEP = etree.XPath("boolean(" + "/*" * (MAX_DEPTH + 1) + ")")


def _parsed(text: str, content_type: str | None) -> tuple[etree._Element, str, int]:
    """Return the root, the text that was parsed, and how many forbidden characters it lost."""
    root = _parse(text)
    if root is not None:
        return root, text, 0
    # Now for what clean pages should not pay for: forbidden characters, and texts over 10 MB.
    text, removed = _without_forbidden(text)
    # Again, since what was removed may have hidden one; a huge tree lifts the guard on entities.
    _refuse_document_type(text)
    root = _parse(text, huge_tree=True)
    if root is None or _TOO_DEEP(root):
        if _is_html(text, content_type):
            raise HtmlPage("the response is a web page")
        raise MalformedResponse("the response is truncated or not well-formed XML")
    return root, text, removed


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


class _NoTree:
    """A parser's target that keeps nothing: what is left is the check, at half the time."""

    def close(self) -> None:
        return None


# A parser of its own for each response: a shared one would make threads wait for each other.


def _parse(text: str, *, huge_tree: bool = False) -> etree._Element | None:
    """Return the root, None for what is not well-formed."""
    try:
        parser = etree.XMLParser(**_SAFE, huge_tree=huge_tree)
        root: etree._Element = etree.fromstring(text.encode(), parser)
    except (etree.LxmlError, ValueError):
        return None
    return root


def _is_well_formed(text: str) -> bool:
    try:
        parser = etree.XMLParser(target=_NoTree(), **_SAFE)  # type: ignore[call-overload]
        etree.fromstring(text.encode(), parser)
    except (etree.LxmlError, ValueError):
        return False
    return True


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
