"""The tree of a response -> typed rows, by the table's JSON schema; or the error it contains."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lxml import etree

from source_listrak.soap import faults
from source_listrak.soap.dates import DateReader
from source_listrak.soap.envelope import NAMESPACE
from source_listrak.soap.faults import AttemptFailed, Fault
from source_listrak.soap.redaction import redact
from source_listrak.soap.xml import all_text, local_name, parse

_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_XML_SPACE = " \t\r\n"

Row = dict[str, Any]
_Elements = list[etree._Element]
_Read = Callable[[etree._Element, list[str]], Any]
"""Returns the value of an element, None for an absent one; lists columns of wrong values within it.

Raises ValueError for a value of the wrong type.
"""
_Columns = Mapping[str, tuple[str, str, _Read]]
"""The name of each column, its path from the row, and how to read it."""


class DamagedRow(Row):
    """A row with values that are not of their column's type and therefore missing.

    :ivar nulled: the columns of these values, such as "SendDate" or "Vmta.VmtaID"
    """

    nulled: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one response.

    :ivar rows: in order, without columns that are absent, nil or of the wrong type
    :ivar present: whether there was a result, even an empty one
    :ivar invalid_characters: how many were dropped because XML 1.0 forbids them, or replaced
        because they could not be decoded
    :ivar wrong_values: how many values of each column were not of its type
    """

    rows: list[Row]
    present: bool
    invalid_characters: int
    wrong_values: Mapping[str, int]


@dataclass
class RowReader:
    """Reads the responses of one operation. Safe to share between threads.

    :param operation: such as "ReportRangeMessageContactOpen"
    :param row: name of the elements that are rows, such as "WSContactOpen"
    :param schema: the table's JSON schema, whose properties are the elements of a row
    :param date_columns: plain strings that hold dates, see `DateReader.date_text`
    :param key_columns: columns where a value of the wrong type makes the response malformed, and
        so does the absence of one that is not a string, because .NET always writes it
    """

    operation: str
    row: str
    schema: Mapping[str, Any]
    dates: DateReader
    date_columns: Collection[str] = ()
    key_columns: Collection[str] = ()

    def __post_init__(self) -> None:
        properties = self.schema["properties"]
        self._columns = self._columns_of(self.schema)
        self._required = {name for name in self.key_columns if not _is_text(properties[name])}

    def read(self, body: bytes, content_type: str | None = None) -> Page:
        """Return the rows of a response.

        :param content_type: the HTTP header, for its charset
        :raises AttemptFailed: whatever else the bytes are, and no other error
        """
        envelope, (rows, wrong, problem), removed = parse(body, content_type, self.row, self._take)
        is_present = self._check(envelope)
        if problem:
            raise _malformed(f"a {self.row} {problem}")
        return Page(rows, is_present, removed, wrong)

    def _take(self, elements: Iterable[etree._Element]) -> tuple[list[Row], Counter[str], str]:
        """Convert a result's rows to records, count wrong values, and clear the elements.

        The third value is what makes the response malformed, if anything does: it is raised only
        after the rest of the envelope, which may contain a more important error.
        """
        around = (f"{self.operation}Result", f"{self.operation}Response", "Body", "Envelope")
        records, nulled, required = list[Row](), list[str](), self._required
        wrong, problem = Counter[str](), ""
        result: etree._Element | None = None
        for element in elements:
            parent = element.getparent()
            if parent is not result:
                if tuple(map(local_name, element.iterancestors())) != around:
                    continue
                result = parent
            if len(element) or not _is_nil(element):
                record = _record(element, self._columns, nulled)
                if nulled or not record or (required and not record.keys() >= required):
                    problem = problem or self._problem(element, nulled)
                    if nulled:
                        record = DamagedRow(record)
                        record.nulled, nulled = nulled, []
                        wrong.update(record.nulled)
                records.append(record)
            del element[:]
        return records, wrong, problem

    def _problem(self, element: etree._Element, nulled: Collection[str]) -> str:
        """Return what is wrong with a row as a whole, empty if nothing is."""
        present = {local_name(child) for child in element}
        if present and present.isdisjoint(self.schema["properties"]):
            return "has no known column"
        invalid = sorted((self._required - present).union(nulled).intersection(self.key_columns))
        return f"has no valid {invalid[0]}" if invalid else ""

    def _check(self, envelope: etree._Element) -> bool:
        """Check that the envelope contains nothing but rows; return whether there was a result.

        An unknown element or text could be an error, and without rows, it would look like the end
        of the pages.
        """
        bodies, headers = _divide([envelope], "Body")
        responses, beside_response = _divide(bodies, f"{self.operation}Response")
        results, beside_result = _divide(responses, f"{self.operation}Result")
        rows, beside_rows = _divide(results, self.row)
        beside = [*beside_response, *beside_result]
        texts = [text for parent in (*bodies, *responses, *results) for text in _own_texts(parent)]
        _raise_error_in([*headers, *beside, *beside_rows], texts, has_rows=bool(rows))
        is_present = any(not _is_nil(result) for result in results)
        if len(responses) != 1 or len(results) > 1 or (rows and not is_present):
            raise _malformed(f"the response does not hold one {self.operation}Result")
        if any(local_name(element) != "WSException" for element in beside_rows):
            # Perhaps renamed rows, whose text must not be shown.
            raise _malformed(f"the result contains elements other than {self.row}")
        if any(local_name(element) != "WSException" for element in beside):
            raise _described(faults.IN_BAND, map(all_text, beside))
        return is_present

    def _columns_of(self, schema: Mapping[str, Any], prefix: str = "") -> _Columns:
        """Return each column by its tag in the service's namespace and by its local name."""
        columns = {
            name: (name, prefix + name, self._reader(column, prefix + name))
            for name, column in schema["properties"].items()
        }
        return {f"{{{NAMESPACE}}}{name}": column for name, column in columns.items()} | columns

    def _reader(self, column: Mapping[str, Any], path: str) -> _Read:
        """Return how to read the elements of a column."""
        # Such as "integer", or ["null", "integer"], in this order (as a test ensures).
        declared = column["type"]
        kind = declared if isinstance(declared, str) else declared[-1]
        if kind == "object":
            columns = self._columns_of(column, f"{path}.")
            return lambda element, nulled: (
                _record(element, columns, nulled) if len(element) or not _is_nil(element) else None
            )
        if kind == "array":
            items = column["items"]
            return _array(self._reader(items, path), items.get("properties", ()))
        if _is_text(column):
            as_text = self.dates.date_text if path in self.date_columns else None

            def read_text(element: etree._Element, _: list[str]) -> Any:
                if len(element):
                    raise ValueError
                text = element.text or (None if _is_nil(element) else "")
                return as_text(text) if text and as_text else text

            return read_text
        pattern, convert = _CONVERT.get(kind, (None, self.dates.date_time))

        def read(element: etree._Element, _: list[str]) -> Any:
            if len(element):
                raise ValueError
            text = (element.text or "").strip(_XML_SPACE)
            if not text and "null" in declared:
                return None
            if pattern and not pattern.fullmatch(text):
                raise ValueError
            return convert(text)

        return read


def _malformed(detail: str) -> AttemptFailed:
    return AttemptFailed(faults.MALFORMED, detail)


def _described(fault: Fault, texts: Iterable[str]) -> AttemptFailed:
    """Return the error that texts describe, of a fault unless they say more."""
    text = " ".join(" ".join(texts).split())
    return AttemptFailed(faults.classify_text(text, fault), redact(text))


def _divide(parents: _Elements, name: str) -> tuple[_Elements, _Elements]:
    """Return the children with a name, in any namespace, and the others."""
    children = [child for parent in parents for child in parent]
    named = [child for parent in parents for child in parent.iterchildren(f"{{*}}{name}")]
    if len(named) == len(children):  # as in most responses: a page has many rows
        return named, []
    return named, [child for child in children if local_name(child) != name]


def _raise_error_in(outside: _Elements, texts: list[str], *, has_rows: bool) -> None:
    """Raise the error that elements and texts outside the rows describe."""
    everything = [*texts, *map(all_text, outside)]
    if faults.find_token(" ".join(everything)):
        raise _described(faults.IN_BAND, everything)
    for element in outside:
        for found in element.iter("{*}Fault", "{*}WSException"):
            if local_name(found) == "Fault":
                raise _described(faults.OTHER_FAULT, [all_text(found)])
            if text := _exception_text(found, has_rows=has_rows):
                raise _described(faults.IN_BAND, [text])
    if texts:
        raise _described(faults.IN_BAND, texts)


def _exception_text(exception: etree._Element, *, has_rows: bool) -> str:
    """Return what a WSException says; empty for one that was never filled in.

    The name of a method alone is not an error; alongside rows, neither is a date.
    """
    silent = {"SoapMethod", "DateTime"} if has_rows else {"SoapMethod"}
    parts = [all_text(child) for child in exception if local_name(child) not in silent]
    if {*parts, *_own_texts(exception)} <= {"", "0001-01-01T00:00:00"}:  # .NET's empty date
        return ""
    described = " ".join(map(all_text, exception.iter("{*}Description"))).strip()
    return described or all_text(exception)


def _own_texts(element: etree._Element) -> list[str]:
    """Return the texts directly in an element, without those that are space."""
    texts = [element.text, *(child.tail for child in element)]
    return [text for text in texts if text and not text.isspace()]


def _is_nil(element: etree._Element) -> bool:
    return (element.get(_NIL) or "").strip(_XML_SPACE) in ("true", "1")


# Columns


def _record(row: etree._Element, columns: _Columns, nulled: list[str]) -> Row:
    record: Row = {}
    for element in row:
        tag: Any = element.tag
        column = columns.get(tag) or columns.get(tag.rpartition("}")[2])
        if column is None:
            continue
        name, path, read = column
        try:
            value = read(element, nulled)
        except ValueError:
            nulled.append(path)
            continue
        if value.__class__ is list and name in record:
            record[name] += value
        elif value is not None:
            record[name] = value
    return record


def _is_text(column: Mapping[str, Any]) -> bool:
    return "string" in column["type"] and "format" not in column


# What a text must match before it is converted. The lengths keep integers within 64 bits and
# numbers finite.
_CONVERT: dict[str, tuple[re.Pattern[str] | None, Callable[[str], Any]]] = {
    "integer": (re.compile("[+-]?[0-9]{1,18}"), int),
    "number": (re.compile(r"[+-]?(?=\.?[0-9])[0-9]{0,300}(?:\.[0-9]*)?"), float),
    "boolean": (re.compile("true|false|1|0"), lambda text: text in ("true", "1")),
}


def _array(read_item: _Read, item_columns: Collection[str]) -> _Read:
    """Read an array of strings or objects, its elements repeated (as documented) or wrapped.

    A single empty element is an empty array; one of several is an empty string.
    """

    def read(element: etree._Element, nulled: list[str]) -> list[Any] | None:
        if not len(element) and not element.text:
            beside = [e.tag for e in (element.getprevious(), element.getnext()) if e is not None]
            if item_columns or element.tag not in beside:
                return None
        is_wrapped = len(element) and not any(local_name(e) in item_columns for e in element)
        items = list(element) if is_wrapped else [element]
        values = [value for item in items if (value := read_item(item, nulled)) is not None]
        return values or None

    return read
