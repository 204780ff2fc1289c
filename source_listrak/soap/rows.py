"""The tree of a response -> typed rows, by the table's JSON schema; or the error it contains."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from source_listrak.soap.dates import DateReader
from source_listrak.soap.envelope import NAMESPACE
from source_listrak.soap.faults import find_token
from source_listrak.soap.xml import MalformedResponse, ResponseError, all_text, local_name, parse

_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_XML_SPACE = " \t\r\n"
_NET_EMPTY_DATE = "0001-01-01T00:00:00"

Row = dict[str, Any]


class FaultResponse(ResponseError):
    """A SOAP fault.

    :ivar text: all its text (code, reason, detail), with single spaces
    """

    def __init__(self, text: str) -> None:
        super().__init__("the response is a SOAP fault")
        self.text = text


class InBandError(ResponseError):
    """An error inside a response that looks like a success: a `WSException`, a token or a text.

    :ivar text: what it says, with single spaces
    """

    def __init__(self, text: str) -> None:
        super().__init__("the response contains an error instead of rows")
        self.text = text


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one response.

    :ivar rows: in order, without columns that are absent, nil or of the wrong type
    :ivar present: whether there was a result, even an empty one
    :ivar removed_characters: how many characters were dropped because XML 1.0 forbids them
    :ivar wrong_values: how many values of each column were not of its type
    """

    rows: list[Row]
    present: bool
    removed_characters: int
    wrong_values: Mapping[str, int]


class RowReader:
    """Reads the responses of one operation. Safe to share between threads.

    :param operation: such as "ReportRangeMessageContactOpen"
    :param row: name of the elements that are rows, such as "WSContactOpen"
    :param schema: the table's JSON schema, whose properties are the elements of a row
    :param date_columns: plain strings that hold dates, see `DateReader.date_text`
    :param key_columns: columns where a value of the wrong type makes the response malformed
    """

    def __init__(
        self,
        operation: str,
        row: str,
        schema: Mapping[str, Any],
        dates: DateReader,
        *,
        date_columns: Collection[str] = (),
        key_columns: Collection[str] = (),
    ) -> None:
        self._operation = operation
        self._row = row
        self._columns = _columns(schema, dates, date_columns)
        self._key_columns = frozenset(key_columns)

    def read(self, body: bytes, content_type: str | None = None) -> Page:
        """Return the rows of a response.

        :param content_type: the HTTP header, for its charset
        :raises ResponseError: one of its subclasses, whatever the bytes are, and no other error
        """
        document = parse(body, content_type, self._row, self._make_taker)
        is_present = self._check(document.root)
        records, wrong = document.taken.records, document.taken.wrong
        for column in self._key_columns.intersection(wrong):
            raise MalformedResponse(f"{column} of a {self._row} is not of its type")
        return Page(records, is_present, document.removed_characters, wrong)

    def _make_taker(self) -> _RowTaker:
        names = (f"{self._operation}Result", f"{self._operation}Response", "Body", "Envelope")
        return _RowTaker(names, self._columns)

    def _check(self, envelope: etree._Element) -> bool:
        """Return whether there was a result, once nothing but rows is in the envelope.

        A response without rows must be empty: an unknown element or text could be an error, and
        would otherwise look like the end of the pages.
        """
        bodies, headers = _divide([envelope], "Body")
        responses, beside_response = _divide(bodies, f"{self._operation}Response")
        results, beside_result = _divide(responses, f"{self._operation}Result")
        rows, beside_rows = _divide(results, self._row)
        texts = [text for parent in (*bodies, *responses, *results) for text in _own_texts(parent)]
        beside = [*beside_response, *beside_result]
        _raise_error_in([*headers, *beside, *beside_rows], texts, has_rows=bool(rows))
        if len(responses) != 1:
            raise MalformedResponse(f"the SOAP body does not hold one {self._operation}Response")
        is_present = any(not _is_nil(result) for result in results)
        if len(results) > 1 or (rows and not is_present):
            raise MalformedResponse(f"the response does not hold one {self._operation}Result")
        if not rows and beside_rows:  # renamed rows, whose text must not be shown
            raise MalformedResponse(f"the result holds no {self._row} but other elements")
        if not rows and any(local_name(element) != "WSException" for element in beside):
            raise InBandError(_joined(map(all_text, beside)))
        return is_present


class _RowTaker:
    """Makes records of the rows of a result, and empties them."""

    def __init__(self, around: tuple[str, ...], columns: _Columns) -> None:
        self.records: list[Row] = []
        self.wrong: dict[str, int] = {}
        self._around = around
        self._columns = columns
        self._result: etree._Element | None = None

    def take(self, element: etree._Element) -> None:
        parent = element.getparent()
        if parent is not self._result:
            if tuple(map(local_name, element.iterancestors())) != self._around:
                return
            self._result = parent
        if len(element) or not _is_nil(element):
            self.records.append(_record(element, self._columns, self.wrong))
        del element[:]


def _divide(
    parents: Iterable[etree._Element], name: str
) -> tuple[list[etree._Element], list[etree._Element]]:
    """Return the children with a name, in any namespace, and the others."""
    named: list[etree._Element] = []
    others: list[etree._Element] = []
    for parent in parents:
        found = list(parent.iterchildren(f"{{*}}{name}"))
        named += found
        if len(found) < len(parent):
            others += [child for child in parent if local_name(child) != name]
    return named, others


def _raise_error_in(outside: list[etree._Element], texts: list[str], *, has_rows: bool) -> None:
    """Raise the error that elements and texts outside the rows describe."""
    everything = _joined([*texts, *map(all_text, outside)])
    if find_token(everything) is not None:
        raise InBandError(everything)
    for fault in _named("Fault", outside):
        raise FaultResponse(all_text(fault))
    for exception in _named("WSException", outside):
        if error := _exception_text(exception, has_rows=has_rows):
            raise InBandError(error)
    if texts:
        raise InBandError(_joined(texts))


def _exception_text(exception: etree._Element, *, has_rows: bool) -> str:
    """Return what a WSException says; empty for one that was never filled in.

    Beside rows, the name of a method and a date alone are no error.
    """
    silent = {"SoapMethod", "DateTime"} if has_rows else set()
    parts = [all_text(child) for child in exception if local_name(child) not in silent]
    if all(part in ("", _NET_EMPTY_DATE) for part in (*parts, *_own_texts(exception))):
        return ""
    described = _joined(map(all_text, exception.iter("{*}Description")))
    return described or all_text(exception)


def _own_texts(element: etree._Element) -> list[str]:
    """Return the texts directly in an element, without those that are space."""
    texts = [element.text, *(child.tail for child in element)]
    return [text for text in texts if text and not text.isspace()]


def _joined(texts: Iterable[str]) -> str:
    return " ".join(" ".join(texts).split())


def _named(name: str, elements: Iterable[etree._Element]) -> Iterator[etree._Element]:
    return (found for element in elements for found in element.iter(f"{{*}}{name}"))


def _is_nil(element: etree._Element) -> bool:
    return (element.get(_NIL) or "").strip(_XML_SPACE) in ("true", "1")


# Columns

_Read = Callable[[etree._Element, "dict[str, int]"], Any]
"""Returns the value of an element, None for an absent one; counts wrong values within it.

Raises ValueError for a value of the wrong type.
"""
_Columns = Mapping[str, "tuple[str, _Read]"]


def _record(row: etree._Element, columns: _Columns, wrong: dict[str, int]) -> Row:
    record: Row = {}
    for element in row:
        tag: Any = element.tag
        column = columns.get(tag) or columns.get(tag.rpartition("}")[2])
        if column is None:
            continue
        name, read = column
        try:
            value = read(element, wrong)
        except ValueError:
            wrong[name] = wrong.get(name, 0) + 1
            continue
        if value.__class__ is list and name in record:
            record[name] += value
        elif value is not None:
            record[name] = value
    return record


def _columns(
    schema: Mapping[str, Any], dates: DateReader, date_columns: Collection[str]
) -> _Columns:
    """Return each column by its tag in the service's namespace and by its local name."""
    columns = {
        name: (name, _reader(column, dates, is_date=name in date_columns))
        for name, column in schema["properties"].items()
    }
    return {f"{{{NAMESPACE}}}{name}": column for name, column in columns.items()} | columns


def _reader(column: Mapping[str, Any], dates: DateReader, *, is_date: bool) -> _Read:
    declared = column["type"]
    types = {declared} if isinstance(declared, str) else set(declared)
    (kind,) = types - {"null"}
    if kind == "object":
        return _object(_columns(column, dates, ()))
    if kind == "array":
        items = column["items"]
        return _array(_reader(items, dates, is_date=False), items.get("properties", ()))
    if kind == "string" and column.get("format") != "date-time":
        return _string(dates.date_text if is_date else None)
    return _typed(dates.date_time if kind == "string" else _CONVERT[kind], "null" in types)


def _matching(pattern: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    matches = re.compile(pattern).fullmatch

    def strict(text: str) -> Any:
        if not matches(text):
            raise ValueError
        return convert(text)

    return strict


# The lengths keep integers within 64 bits and numbers finite.
_CONVERT: dict[str, Callable[[str], Any]] = {
    "integer": _matching("[+-]?[0-9]{1,18}", int),
    "number": _matching(r"[+-]?(?=\.?[0-9])[0-9]{0,300}(?:\.[0-9]*)?", float),
    "boolean": _matching("true|false|1|0", lambda text: text in ("true", "1")),
}


def _string(convert: Callable[[str], str | None] | None) -> _Read:
    def read(element: etree._Element, wrong: dict[str, int]) -> str | None:
        if len(element):
            raise ValueError
        text = element.text
        if not text:
            return None if _is_nil(element) else ""
        return convert(text) if convert else text

    return read


def _typed(convert: Callable[[str], Any], is_nullable: bool) -> _Read:
    def read(element: etree._Element, wrong: dict[str, int]) -> Any:
        if len(element):
            raise ValueError
        text = (element.text or "").strip(_XML_SPACE)
        if not text and is_nullable:
            return None
        return convert(text)

    return read


def _object(columns: _Columns) -> _Read:
    def read(element: etree._Element, wrong: dict[str, int]) -> Row | None:
        if not len(element) and _is_nil(element):
            return None
        return _record(element, columns, wrong)

    return read


def _array(read_item: _Read, item_columns: Collection[str]) -> _Read:
    """Read an array of strings or objects, its elements repeated (as documented) or wrapped."""

    def read(element: etree._Element, wrong: dict[str, int]) -> list[Any] | None:
        if not len(element) and not element.text:
            return None
        is_wrapped = len(element) and not any(local_name(e) in item_columns for e in element)
        items = list(element) if is_wrapped else [element]
        values = [value for item in items if (value := read_item(item, wrong)) is not None]
        return values or None

    return read
