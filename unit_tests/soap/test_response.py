"""Responses: every legal spelling reads back, and nothing else gets through."""

from __future__ import annotations

import json
import random
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import source_listrak
from source_listrak.soap import response
from source_listrak.soap.dates import DateReader
from source_listrak.soap.response import (
    MAX_LEARNED_FIELDS,
    FaultResponse,
    HtmlPage,
    InBandError,
    MalformedResponse,
    Page,
    RefusedResponse,
    ResponseError,
    ResponseReader,
    text_of,
)

SCHEMAS = Path(source_listrak.__file__).parent / "schemas"
NAMESPACE = "http://webservices.listrak.com/v31/"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
DATES = DateReader(ZoneInfo("America/New_York"))


@dataclass(frozen=True)
class Table:
    name: str
    operation: str
    row: str
    added: str
    date_text: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = json.loads((SCHEMAS / f"{self.name}.json").read_text("utf-8"))
        schema["properties"].pop(self.added, None)
        return schema

    def reader(self) -> ResponseReader:
        return ResponseReader(self.operation, self.row, self.schema, DATES, self.date_text)

    def by_tree(self) -> ResponseReader:
        """Return a reader that reads each page by its whole tree."""
        reader = self.reader()
        reader._read_quickly = lambda *_: None  # type: ignore[method-assign]
        return reader


def _events(name: str, suffix: str, row: str, *date_text: str) -> Table:
    return Table(name, f"ReportRangeMessageContact{suffix}", row, "MsgID", date_text)


OPENS = _events("message_opens", "Open", "WSContactOpen", "OpenDate")
CLICKS = _events("message_clicks", "Click", "WSContactClick", "ClickDate")
LISTS = Table("lists", "GetContactListCollection", "WSContactList", "")
MESSAGES = Table("messages", "ReportListMessageActivity", "WSMessageActivity", "")
SENDS = Table("message_sends", "ReportMessageContactSent", "WSMessageRecipient", "MsgID")
TABLES = [
    LISTS,
    MESSAGES,
    OPENS,
    CLICKS,
    _events("message_reads", "Read", "WSContactRead", "ReadDate"),
    _events("message_unsubs", "Removal", "WSContactRemovalInfo", "AdditionDate", "RemovalDate"),
    _events("message_bounces", "Bounces", "WSContactBounce", "BounceDate"),
    SENDS,
    Table(
        "subscribed_contacts",
        "ReportRangeSubscribedContacts",
        "WSContactSubscriptionInfo",
        "ListID",
    ),
]
EVERY_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)

# Pages


def _soap(content: str, soap: str = SOAP_11) -> bytes:
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<soap:Envelope xmlns:soap="{soap}" {XSI}><soap:Body>{content}</soap:Body></soap:Envelope>'
    ).encode()


def _page(table: Table, rows: str, beside: str = "", result: str | None = None) -> bytes:
    name = table.operation
    if result is None:
        result = f"<{name}Result>{rows}</{name}Result>"
    return _soap(f'<{name}Response xmlns="{NAMESPACE}">{result}{beside}</{name}Response>')


DESCRIBED = (
    "<WSException><SoapMethod>m</SoapMethod><DateTime>2024-04-04T04:04:04</DateTime>"
    "<Description>It  failed &amp; [why]</Description></WSException>"
)


def _open(date: str = "2024-01-02T03:04:05", contact: str = "c") -> str:
    return (
        f"<WSContactOpen><ContactID>{contact}</ContactID><EmailAddress>a@example.com"
        f"</EmailAddress><OpenDate>{date}</OpenDate></WSContactOpen>"
    )


def _warm(table: Table, body: bytes) -> ResponseReader:
    """Return a reader that has seen a page, and now reads its like by the stencil."""
    reader = table.reader()
    reader.read(body)
    assert reader._read_quickly(body.decode()) is not None
    return reader


# Records and their spellings

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n &<>\"']"),
    max_size=12,
)
DATE_TIMES = st.datetimes().map(lambda date: date.isoformat())
INTEGERS = st.integers(-(2**31), 2**31 - 1).map(str)
DECIMALS = st.decimals(-(10**9), 10**9, places=4).map(lambda number: f"{number:f}")


@st.composite
def _texts(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    """Draw a row as texts of its elements; a column that is absent or nil is not in it."""
    row: dict[str, Any] = {}
    for name, column in schema["properties"].items():
        if not draw(st.booleans() | st.just(True)):
            continue
        kind = next(kind for kind in _types(column) if kind != "null")
        if kind == "object":
            row[name] = draw(_texts(column))
        elif kind == "array":
            values = draw(st.lists(TEXT.filter(bool), max_size=3))
            if values:
                row[name] = values
        elif column.get("format"):
            row[name] = draw(DATE_TIMES)
        else:
            row[name] = draw(
                {
                    "integer": INTEGERS,
                    "number": DECIMALS,
                    "boolean": st.sampled_from(["true", "false", "1", "0"]),
                    "string": TEXT | DATE_TIMES,
                }[kind]
            )
    return row


def _types(column: dict[str, Any]) -> list[str]:
    return column["type"] if isinstance(column["type"], list) else [column["type"]]


def _expected(table: Table, schema: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, text in row.items():
        column = schema["properties"][name]
        types = _types(column)
        value: Any = text
        if isinstance(text, dict):
            value = _expected(table, column, text)
        elif "integer" in types:
            value = int(text)
        elif "number" in types:
            value = float(text)
        elif "boolean" in types:
            value = text in ("true", "1")
        elif column.get("format"):
            value = DATES.date_time(text)
        elif name in table.date_text:
            value = DATES.date_text(text)
        if value is not None:
            record[name] = value
    return record


class Speller:
    """Writes a page in one of the many ways that XML has for it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.prefix = self.random.choice(["", "q:", "list-rak:"])
        self.soap = self.random.choice([SOAP_11, SOAP_12])

    def chance(self) -> bool:
        return self.random.random() < 0.25

    def page(self, table: Table, rows: list[dict[str, Any]]) -> bytes:
        name = table.operation
        schema = table.schema
        content = "".join(
            self.noise() + self.element(table.row, self.row(schema, row)) for row in rows
        )
        declared = f'xmlns{":" if self.prefix else ""}{self.prefix[:-1]}="{NAMESPACE}"'
        beside = [
            self.element(f"{name}Result", content + self.noise()),
            f'<{self.prefix}WSException xsi:nil="true"/>' if self.chance() else "",
            self.element("Unknown", "1") if self.chance() else "",
        ]
        self.random.shuffle(beside)
        envelope = self.random.choice(["soap:", "e:"])
        scoped = f'xmlns:{envelope[:-1]}="{self.soap}"'
        return (
            '<?xml version="1.0" encoding="utf-8"?>'
            f"{self.noise()}<{envelope}Envelope {XSI} {scoped} {declared}>{self.noise()}"
            f"<{envelope}Header/><{envelope}Body>"
            f"{self.element(f'{name}Response', ''.join(beside))}"
            f"</{envelope}Body>{self.noise()}</{envelope}Envelope>{self.noise()}"
        ).encode()

    def row(self, schema: dict[str, Any], row: dict[str, Any]) -> str:
        elements = []
        for name in schema["properties"]:
            if name not in row:
                if self.chance():
                    elements.append(
                        [
                            f'<{self.prefix}{name} xsi:nil="{self.random.choice("t1")}"/>'.replace(
                                '"t"', '"true"'
                            )
                        ]
                    )
                continue
            value = row[name]
            if isinstance(value, dict):
                nested = schema["properties"][name]
                elements.append([self.element(name, self.row(nested, value))])
            elif isinstance(value, list):
                if self.chance():
                    items = "".join(self.element("string", self.text(item)) for item in value)
                    elements.append([self.element(name, items)])
                else:
                    elements.append([self.element(name, self.text(item)) for item in value])
            else:
                elements.append([self.element(name, self.text(value))])
        if self.chance():
            elements.append([self.element("Unheard", self.element("Deeper", "x"))])
        self.random.shuffle(elements)
        return (
            "".join(self.noise() + element for group in elements for element in group)
            + self.noise()
        )

    def element(self, name: str, content: str) -> str:
        attributes = ' other="1 > 0"' if self.chance() else ""
        tag = f"{self.prefix}{name}"
        if not content and self.chance():
            return f"<{tag}{attributes} />"
        return f"<{tag}{attributes}>{content}</{tag}{' ' if self.chance() else ''}>"

    def noise(self) -> str:
        return self.random.choice(["", "", "\n  ", "<!-- a > b & c -->", "<?noise <x>?>"])

    def text(self, text: str) -> str:
        if not self.chance():
            return escape(text)
        return "".join(self.character(character) for character in text)

    def character(self, character: str) -> str:
        code = ord(character)
        spelled = [escape(character), f"&#{code};", f"&#x{code:X};", f"&#x000{code:x};"]
        named = {"<": "&lt;", "&": "&amp;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
        spelled.append(named.get(character, f"<![CDATA[{character}]]>"))
        spelled.append(f"<!-- c -->{escape(character)}<?pi?>")
        if character == "]":
            spelled = ["&#93;"]
        return self.random.choice(spelled)


@EVERY_TABLE
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_records_in_any_spelling_read_back_equal(table: Table, data: st.DataObject) -> None:
    rows = data.draw(st.lists(_texts(table.schema), max_size=4))
    body = Speller(data.draw(st.integers(0, 2**32))).page(table, rows)
    expected = [_expected(table, table.schema, row) for row in rows]
    reader = table.reader()
    for _ in range(2):
        page = reader.read(body, "text/xml; charset=utf-8")
        assert page == Page(expected, True, 0)


def _plain_element(name: str, value: Any, prefix: str, gap: str) -> str:
    if isinstance(value, list):
        return "".join(_plain_element(name, item, prefix, gap) for item in value)
    if not value and not isinstance(value, dict):
        return f"<{prefix}{name} />{gap}"
    if isinstance(value, dict):
        children = (_plain_element(key, child, prefix, gap) for key, child in value.items())
        content = gap + "".join(children)
    else:
        content = escape(value)
    return f"<{prefix}{name}>{content}</{prefix}{name}>{gap}"


def _plain_page(table: Table, rows: list[dict[str, Any]], prefix: str, gap: str) -> bytes:
    """Write a page as the service does."""
    name = table.operation
    content = gap + "".join(_plain_element(table.row, row, prefix, gap) for row in rows)
    declared = f'xmlns{":" if prefix else ""}{prefix[:-1]}="{NAMESPACE}"'
    return _soap(
        f"<{prefix}{name}Response {declared}>{gap}<{prefix}{name}Result>{content}"
        f"</{prefix}{name}Result>{gap}</{prefix}{name}Response>"
    )


@EVERY_TABLE
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pages_in_the_plain_spelling_read_equal_by_the_stencil(
    table: Table, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(_texts(table.schema).filter(bool), min_size=1, max_size=8))
    prefix = data.draw(st.sampled_from(["", "q:"]))
    gap = data.draw(st.sampled_from(["", "\n  "]))
    body = _plain_page(table, rows, prefix, gap)
    expected = [_expected(table, table.schema, row) for row in rows]
    reader = table.reader()
    for _ in range(4):
        assert reader.read(body) == Page(expected, True, 0)
    assert reader._read_quickly(body.decode()) == Page(expected, True, 0)


def test_a_first_page_is_read_quickly_after_a_look_at_its_first_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = _page(OPENS, _open() * 500 + _open(contact="a&amp;b") * 500)
    parse, parsed = response._parse, []

    def counted(text: str) -> Any:
        parsed.append(len(text))
        return parse(text)

    monkeypatch.setattr(response, "_parse", counted)
    assert len(OPENS.reader().read(body).rows) == 1000
    assert 0 < sum(parsed) < len(body) / 10


def test_a_page_of_many_blocks_is_read_whole_and_in_order() -> None:
    rows = "".join(_open(contact=f"c{number}") for number in range(5000))
    assert len(rows) > 5 * response.BLOCK
    reader = _warm(OPENS, _page(OPENS, rows))
    contacts = [row["ContactID"] for row in reader.read(_page(OPENS, rows)).rows]
    assert contacts == [f"c{number}" for number in range(5000)]


# Spellings of one row among others that must not cost the others the quick way.
ODD = {
    "an attribute": _open().replace("<ContactID>", '<ContactID a="b">'),
    "a nil field": _open().replace("<ContactID>c</ContactID>", '<ContactID xsi:nil="true" />'),
    "a nil field with an end tag": _open().replace(">c<", ' xsi:nil="1"><'),
    "an absent field": _open().replace("<ContactID>c</ContactID>", ""),
    "an unknown field": _open().replace("<ContactID>", "<New>1</New><ContactID>"),
    "an unknown field with fields of its own": _open().replace(
        "<ContactID>", "<New><A>1</A></New><ContactID>"
    ),
    "another order": "<WSContactOpen><OpenDate>x</OpenDate><ContactID>y</ContactID>"
    "</WSContactOpen>",
    "line ends of Windows": _open(contact="a\r\nb"),
    "a numeric reference": _open(contact="a&#39;b&#x1F600;"),
    "a space in an end tag": _open().replace("</ContactID>", "</ContactID >"),
    "an empty row": "<WSContactOpen></WSContactOpen>",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("rows", [1, 200])
def test_a_row_that_is_spelled_otherwise_leaves_the_others_the_quick_way(
    odd: str, rows: int
) -> None:
    body = _page(OPENS, _open() * rows + odd + _open("2024-05-06T07:08:09") * rows)
    warm = _warm(OPENS, _page(OPENS, _open() * 3))
    quick = warm._read_quickly(body.decode().replace("\r\n", "\n"))
    assert quick is not None
    assert quick == OPENS.by_tree().read(body)
    assert len(quick.rows) == 2 * rows + 1


LIST = (
    "<WSContactList><ListID>1</ListID>{}<Vmta><VmtaID>2</VmtaID><Description>d</Description></Vmta>"
    "<FromName>f</FromName><GoogleTrackingDomains>a</GoogleTrackingDomains>"
    "<GoogleTrackingDomains>b&amp;c</GoogleTrackingDomains></WSContactList>"
)
PLAIN = {
    "a nil string": (OPENS, _open().replace(">c</ContactID>", ' xsi:nil="true" />')),
    "a nil string with an end tag": (OPENS, _open().replace(">c<", ' xsi:nil="1"><')),
    "a nil date": (OPENS, _open().replace(">2024-01-02T03:04:05</OpenDate>", ' xsi:nil="true"/>')),
    "an absent string": (OPENS, _open().replace("<ContactID>c</ContactID>", "")),
    "an empty string": (OPENS, _open(contact="")),
    "an unknown nil element": (OPENS, _open().replace("<Em", '<New xsi:nil="true" /><Em')),
    "references": (OPENS, _open(contact="a&amp;b&#39;c&#x1F600;&#x0D;&#00065;")),
    "line ends of Windows": (OPENS, _open(contact="a\r\nb\rc")),
    "an object and an array": (LISTS, LIST.format("")),
    "an object of which little is there": (
        LISTS,
        LIST.format("").replace("<VmtaID>2</VmtaID>", "").replace(">d<", ' xsi:nil="true"><'),
    ),
    "a nil object": (LISTS, re.sub("<Vmta>.*</Vmta>", '<Vmta xsi:nil="true" />', LIST.format(""))),
    "an empty array": (
        LISTS,
        "<WSContactList><ListID>1</ListID><GoogleTrackingDomains /></WSContactList>",
    ),
}


@pytest.mark.parametrize(("table", "row"), PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("prefix", ["xsi:", "i:"])
def test_plain_rows_in_a_known_frame_need_no_parser(
    table: Table, row: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(rows: str) -> bytes:
        return _page(table, rows).replace(b"xsi:nil", prefix.encode() + b"nil").replace(
            b"xmlns:xsi", b"xmlns:" + prefix[:-1].encode()
        )  # fmt: skip

    usual = {OPENS: _open(), LISTS: LIST.format("")}[table]
    body = page(f"{usual}{row}{usual}")
    expected = table.by_tree().read(body)
    warm = table.reader()
    for _ in range(3):
        warm.read(body)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(response, "_parse", fail)
    assert warm.read(body) == expected
    assert warm.read(page("")) == Page([], True, 0)


def test_a_prefix_that_is_bound_anew_says_nil_no_more() -> None:
    row = _open().replace(">c</ContactID>", ' xsi:nil="true" />')
    body = _page(OPENS, row).replace(b"Result>", b'Result xmlns:xsi="urn:other">', 1)
    for reader in (OPENS.by_tree(), OPENS.reader(), _warm(OPENS, _page(OPENS, _open() + row))):
        assert reader.read(body).rows[0]["ContactID"] == ""


# What a page may hold for one row or between two; the first ones are plain.
PIECES = [
    _open(),
    _open(contact="other"),
    *(row for table, row in PLAIN.values() if table is OPENS),
    *ODD.values(),
    _open(contact="for\x01bidden"),
    _open(contact="for&#1;bidden"),
    _open(contact="\ufffe"),
    _open(contact="]]>"),
    _open(contact="a > b"),
    _open(contact="&unknown;"),
    _open(contact="<![CDATA[c]]>"),
    _open(contact="<!-- </WSContactOpen> -->"),
    _open(contact="<x\x01/>"),
    _open("no date").replace("<ContactID>", "<ContactID >"),
    _open().replace("</WSContactOpen>", "</WSContactOpen >"),
    _open().replace("</WSContactOpen>", "</WSContact\x01Open>"),
    _open().replace("<WSContactOpen>", '<WSContactOpen a="1" xmlns:xsi="urn:other">'),
    _open().replace("WSContactOpen", "q:WSContactOpen"),
    _open().replace("<WSContactOpen>", '<q:WSContactOpen xmlns:q="q">').replace("/W", "/q:W"),
    _open().replace("ContactID", "WSContactOpen"),
    '<WSContactOpen xsi:nil="true"></WSContactOpen>',
    "<WSContactOpen/>",
    "<WSContactOpen>",
    "</WSContactOpen>",
    "<WSContactOpen><!--</WSContactOpen>",
    "--></WSContactOpen>",
    "<WSContactOpen><\x01!--</WSContactOpen>",
    "<WSContactOpen><a></WSContactOpen>",
    "<WSContactOpen></a></WSContactOpen>",
    "<!--",
    "-->",
    "<?x",
    "?>",
    "<![CDATA[",
    "]]>",
    "<Other>",
    "</Other>",
    DESCRIBED.join(("<WSContactOpen>", "</WSContactOpen>")),
    f"<{OPENS.operation}Result>",
    f"</{OPENS.operation}Result>",
    " \n",
    "\x0b",
    "text",
]


@settings(max_examples=600, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES) | st.sampled_from(PIECES[:2]), max_size=8),
    st.sampled_from([None, "text/html"]),
)
def test_rows_of_all_kinds_read_the_same_by_both_ways(
    pieces: list[str], content_type: str | None
) -> None:
    body = _page(OPENS, "".join(pieces))
    warm = _warm(OPENS, _page(OPENS, _open() * 3))

    def outcome(reader: ResponseReader) -> object:
        try:
            return reader.read(body, content_type)
        except ResponseError as error:
            return type(error), str(error)

    expected = outcome(OPENS.by_tree())
    for _ in range(2):
        assert outcome(warm) == expected


def test_a_remembered_frame_does_not_make_an_error_of_a_page_or_a_page_of_an_error() -> None:
    fine, nil = _page(OPENS, _open()), _page(OPENS, _open(), '<WSException xsi:nil="true"/>')
    bad = _page(OPENS, "", "<WSException><Description>no</Description></WSException>")
    reader = _warm(OPENS, fine)
    for _ in range(2):
        assert reader.read(fine).rows == reader.read(nil).rows
        with pytest.raises(InBandError):
            reader.read(bad)


MISLEADING = {
    "a row within an unknown element": f"<Other>{_open(contact='inner')}</Other>{_open()}",
    "only rows within an unknown element": f"<Other>{_open(contact='inner') * 2}</Other>",
    "a comment around a row": f"{_open()}<!--{_open(contact='hidden')}-->",
    "a comment around the result's end": f"{_open()}<!--</{OPENS.operation}Result>-->",
    "CDATA that looks like rows": _open(contact="<![CDATA[</ContactID></WSContactOpen>]]>"),
    "an instruction between rows": f"{_open()}<?x {_open()}?>{_open()}",
    "a field twice": _open().replace(
        "</WSContactOpen>", "<ContactID>z</ContactID></WSContactOpen>"
    ),
    "markup in a field": _open(contact="a<b/>"),
    "an attribute": _open().replace("<ContactID>", '<ContactID a="&lt;b">'),
    "text between rows": f"{_open()}text{_open()}",
    "an empty row": f"{_open()}<WSContactOpen/>",
    "a nil row": f'<WSContactOpen xsi:nil="true"/>{_open()}',
    "another order": _open() + "<WSContactOpen><OpenDate>x</OpenDate><ContactID>y</ContactID>"
    "</WSContactOpen>",
    "line ends of Windows": _open(contact="a\r\nb"),
    "a space in an end tag": _open().replace("</ContactID>", "</ContactID >"),
    "a row of another name": f"<Another><ContactID>c</ContactID></Another>{_open()}",
    "a number in a row": _open() + "<WSContactOpen>7</WSContactOpen>",
}


@pytest.mark.parametrize("rows", MISLEADING.values(), ids=MISLEADING)
def test_what_misleads_an_expression_reads_as_from_the_tree(rows: str) -> None:
    body = _page(OPENS, rows)
    warm = _warm(OPENS, _page(OPENS, _open() * 3))

    def outcome(reader: ResponseReader) -> object:
        try:
            return reader.read(body)
        except ResponseError as error:
            return type(error), str(error)

    assert outcome(warm) == outcome(OPENS.by_tree())


@pytest.mark.parametrize(
    "before",
    [
        "<{0}>{1}</{0}>",
        "<!-- <{0}>{1}</{0}> -->",
        "<?x <{0}>{1}</{0}> ?>",
        "<x><![CDATA[<{0}>{1}</{0}>]]></x>",
    ],
)
@pytest.mark.parametrize("true_end", ["</{0}>", "</{0} >"])
@pytest.mark.parametrize("true_rows", ["", _open(contact="true")])
def test_a_false_result_before_the_true_one_is_not_read(
    before: str, true_end: str, true_rows: str
) -> None:
    name = f"{OPENS.operation}Result"
    false = before.format(name, _open(contact="false") * 2)
    true = f"<{name}>{true_rows}{true_end.format(name)}"
    body = _soap(
        f'<Header xmlns="{NAMESPACE}">{false}</Header>'
        f'<{OPENS.operation}Response xmlns="{NAMESPACE}">{true}</{OPENS.operation}Response>'
    )
    warm = _warm(OPENS, _page(OPENS, _open() * 3))
    contacts = [row["ContactID"] for row in warm.read(body).rows]
    assert contacts == (["true"] if true_rows else [])


@pytest.mark.parametrize(
    "text", ["&undefined;", "a & b", "&#x1F;x", "]]>", "\x01", "&#0;", "&#xD800;", "\ufffe"]
)
def test_the_stencil_reads_nothing_that_is_not_well_formed(text: str) -> None:
    warm = _warm(OPENS, _page(OPENS, _open() * 3))
    quick = warm._read_quickly(_page(OPENS, _open(contact=text)).decode())
    assert quick is None or quick.removed_characters


def test_what_a_reader_learns_is_bounded() -> None:
    reader = OPENS.reader()
    for number in range(3 * MAX_LEARNED_FIELDS):
        rows = f"<WSContactOpen><New{number}>x</New{number}></WSContactOpen>"
        assert reader.read(_page(OPENS, rows)).rows == [{}]
        assert len(reader._layout) <= MAX_LEARNED_FIELDS
        assert len(reader._order._before) <= MAX_LEARNED_FIELDS


def test_rows_in_contradicting_orders_read_and_are_unlearned() -> None:
    other = _open().replace("ContactID", "x").replace("OpenDate", "ContactID")
    other = other.replace("<x>", "<OpenDate>").replace("</x>", "</OpenDate>")
    reader = OPENS.reader()
    for _ in range(3):
        page = reader.read(_page(OPENS, _open() + other))
        assert [row["ContactID"] for row in page.rows] == ["c", "2024-01-02T03:04:05"]
    for _ in range(2):
        reader.read(_page(OPENS, _open()))
    assert reader._read_quickly(_page(OPENS, _open()).decode()) is not None


def test_threads_can_share_a_reader() -> None:
    reader = CLICKS.reader()
    rows = [
        "".join(
            f"<WSContactClick><ContactID>{page}</ContactID>{extra * (number % 2)}</WSContactClick>"
            for number in range(50)
        )
        for page, extra in enumerate(
            ["<LinkUrl>u</LinkUrl>", "<LinkDescription />", "<LinkUrl/>", "<Unknown>1</Unknown>"]
            * 25
        )
    ]
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda part: reader.read(_page(CLICKS, part)), rows))
    for number, page in enumerate(pages):
        assert [row["ContactID"] for row in page.rows] == [str(number)] * 50


# Values


@pytest.mark.parametrize("text", ["1_000", "1.0", "0x1", "١", "1e3", "--1", "1 2", "9" * 19])
def test_an_integer_is_strict(text: str) -> None:
    _assert_wrong_type("BounceCount", text, "integer", TABLES[6])


@pytest.mark.parametrize("text", ["NaN", "INF", "-INF", "1e3", "1,5", "1_0", ".", "-", "9" * 400])
def test_a_decimal_is_strict(text: str) -> None:
    _assert_wrong_type("OrderTotal", text, "decimal", MESSAGES)


@pytest.mark.parametrize("text", ["TRUE", "yes", "2", "tru"])
def test_a_boolean_is_strict(text: str) -> None:
    _assert_wrong_type("EnableRSS", text, "boolean", LISTS)


@pytest.mark.parametrize("text", ["2024-13-01T00:00:00", "2024-01-01", "today"])
def test_a_date_time_is_strict(text: str) -> None:
    _assert_wrong_type("SendDate", text, "date-time", MESSAGES)


def _assert_wrong_type(name: str, text: str, kind: str, table: Table) -> None:
    def body(value: str) -> bytes:
        return _page(table, f"<{table.row}><{name}>{value}</{name}></{table.row}>")

    good = {"integer": "1", "decimal": "1.5", "boolean": "true", "date-time": "2024-01-01T00:00:00"}
    warm = table.reader()
    warm.read(body(good[kind]))
    for reader in (table.by_tree(), table.reader(), warm):
        with pytest.raises(MalformedResponse, match=f"^{name} of a {table.row} is not .*{kind}"):
            reader.read(body(text))


@pytest.mark.parametrize(
    ("text", "expected"), [("+5", 5), (" 7 ", 7), ("007", 7), ("-0", 0), ("", None), (" ", None)]
)
def test_an_integer_reads_in_each_of_its_spellings(text: str, expected: int | None) -> None:
    rows = f"<WSMessageActivity><MsgID>{text}</MsgID></WSMessageActivity>"
    (row,) = MESSAGES.reader().read(_page(MESSAGES, rows)).rows
    assert row.get("MsgID") == expected


def test_empty_strings_are_kept_and_empty_numbers_and_nil_left_out() -> None:
    rows = (
        "<WSMessageActivity><Subject/><OpenCount/><SendDate></SendDate><OrderTotal> </OrderTotal>"
        '</WSMessageActivity><WSMessageActivity><Subject xsi:nil="true"/></WSMessageActivity>'
    )
    assert MESSAGES.reader().read(_page(MESSAGES, rows)).rows == [{"Subject": ""}, {}]


def test_the_empty_date_of_dot_net_is_left_out_by_both_ways() -> None:
    rows = _open() + _open("0001-01-01T00:00:00") + _open("1/1/0001 12:00:00 AM")
    cold = OPENS.by_tree().read(_page(OPENS, rows))
    warm = _warm(OPENS, _page(OPENS, _open() * 3)).read(_page(OPENS, rows))
    assert [row.get("OpenDate") for row in cold.rows] == ["2024-01-02T08:04:05.000000Z", None, None]
    assert warm == cold
    assert "OpenDate" not in cold.rows[1]


@pytest.mark.parametrize(
    "spelled",
    [
        "<GoogleTrackingDomains>a</GoogleTrackingDomains><GoogleTrackingDomains>b"
        "</GoogleTrackingDomains>",
        "<GoogleTrackingDomains><string>a</string><string>b</string></GoogleTrackingDomains>",
    ],
)
def test_an_array_reads_flat_or_wrapped(spelled: str) -> None:
    (row,) = LISTS.reader().read(_page(LISTS, f"<WSContactList>{spelled}</WSContactList>")).rows
    assert row == {"GoogleTrackingDomains": ["a", "b"]}


def test_an_array_without_elements_is_left_out() -> None:
    rows = "<WSContactList><GoogleTrackingDomains/><ListID>1</ListID></WSContactList>"
    assert LISTS.reader().read(_page(LISTS, rows)).rows == [{"ListID": 1}]


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("&lt;&gt;&quot;&apos;&amp;", "<>\"'&"),
        ("&amp;lt;&amp;amp;", "&lt;&amp;"),
        ("&amp;apos;&amp;quot;", "&apos;&quot;"),
        ("&#38;lt;&#x26;#65;", "&lt;&#65;"),
        ("&#65;&#x1F600;&#x00e9;&#13;", "A\U0001f600é\r"),
        ("&#60;b&#x3E;", "<b>"),
    ],
)
def test_references_resolve_once_by_both_ways(spelled: str, expected: str) -> None:
    body = _page(OPENS, _open(contact=spelled) + _open())
    for reader in (OPENS.by_tree(), OPENS.reader(), _warm(OPENS, body)):
        assert reader.read(body).rows[0]["ContactID"] == expected


def test_a_nil_row_is_none_and_an_empty_row_is_an_empty_record() -> None:
    rows = f'<WSContactOpen xsi:nil="true"/><WSContactOpen/>{_open()}'
    for reader in (OPENS.by_tree(), OPENS.reader(), _warm(OPENS, _page(OPENS, _open() * 3))):
        assert [len(row) for row in reader.read(_page(OPENS, rows)).rows] == [0, 3]


# Results


def test_a_result_that_is_missing_or_nil_is_not_present() -> None:
    for result in ("", f'<{OPENS.operation}Result xsi:nil="true"/>'):
        assert OPENS.reader().read(_page(OPENS, "", result=result)) == Page([], False, 0)


def test_an_empty_result_is_present() -> None:
    for result in (
        f"<{OPENS.operation}Result/>",
        f"<{OPENS.operation}Result> </{OPENS.operation}Result>",
    ):
        for reader in (OPENS.by_tree(), OPENS.reader(), _warm(OPENS, _page(OPENS, _open() * 3))):
            assert reader.read(_page(OPENS, "", result=result)) == Page([], True, 0)


def test_two_results_are_not_a_response() -> None:
    result = f"<{OPENS.operation}Result>{_open()}</{OPENS.operation}Result>"
    for reader in (OPENS.by_tree(), OPENS.reader(), _warm(OPENS, _page(OPENS, _open() * 3))):
        with pytest.raises(MalformedResponse, match="more than one"):
            reader.read(_page(OPENS, "", result=result * 2))


# Faults and exceptions in band

FAULT_11 = _soap(
    "<soap:Fault><faultcode>soap:Server</faultcode><faultstring>Failed ---&gt; \n"
    "[InvalidLogon<!-- c -->Attempt]</faultstring><detail><x>HTTP <![CDATA[404]]></x></detail>"
    "</soap:Fault>"
)
FAULT_12 = _soap(
    "<soap:Fault><soap:Code><soap:Value>soap:Receiver</soap:Value></soap:Code><soap:Reason>"
    '<soap:Text xml:lang="en">[InvalidLogonAttempt]</soap:Text></soap:Reason><soap:Detail/>'
    "</soap:Fault>",
    SOAP_12,
)


def test_a_fault_of_soap_1_1_or_1_2_gives_all_its_text() -> None:
    with pytest.raises(FaultResponse) as caught:
        OPENS.reader().read(FAULT_11)
    assert caught.value.text == "soap:Server Failed ---> [InvalidLogonAttempt] HTTP 404"
    with pytest.raises(FaultResponse) as caught:
        OPENS.reader().read(FAULT_12)
    assert caught.value.text == "soap:Receiver [InvalidLogonAttempt]"


RECIPIENT = "<WSMessageRecipient><EmailAddress>a</EmailAddress></WSMessageRecipient>"


@pytest.mark.parametrize("rows", ["", RECIPIENT, RECIPIENT * 3])
@pytest.mark.parametrize("beside", [DESCRIBED, f"<Wrapper>{DESCRIBED}</Wrapper>"])
def test_an_exception_with_a_description_is_an_error_even_beside_rows(
    rows: str, beside: str
) -> None:
    for reader in (SENDS.by_tree(), SENDS.reader(), _warm(SENDS, _page(SENDS, RECIPIENT))):
        with pytest.raises(InBandError) as caught:
            reader.read(_page(SENDS, rows, beside=beside))
        assert caught.value.text == "It failed & [why]"
        assert caught.value.has_description


def test_an_exception_within_the_result_is_an_error() -> None:
    for reader in (SENDS.by_tree(), SENDS.reader(), _warm(SENDS, _page(SENDS, RECIPIENT))):
        with pytest.raises(InBandError):
            reader.read(_page(SENDS, RECIPIENT + DESCRIBED))


@pytest.mark.parametrize("result", ["", f'<{SENDS.operation}Result xsi:nil="1"/>'])
def test_an_exception_without_a_description_is_an_error_if_there_is_no_result(result: str) -> None:
    beside = "<WSException><SoapMethod>m</SoapMethod><Description> </Description></WSException>"
    with pytest.raises(InBandError) as caught:
        SENDS.reader().read(_page(SENDS, "", beside=beside, result=result))
    assert caught.value.text == "m"
    assert not caught.value.has_description


@pytest.mark.parametrize(
    "beside", ['<WSException xsi:nil="true"/>', "<WSException/>", "<WSException> </WSException>"]
)
def test_an_exception_that_says_nothing_beside_a_result_is_none(beside: str) -> None:
    for reader in (SENDS.by_tree(), SENDS.reader(), _warm(SENDS, _page(SENDS, RECIPIENT))):
        page = reader.read(_page(SENDS, RECIPIENT, beside=beside))
        assert page == Page([{"EmailAddress": "a"}], True, 0)


def test_a_nil_exception_without_a_result_is_the_end_of_pages() -> None:
    beside = '<WSException xsi:nil="true"/>'
    assert SENDS.reader().read(_page(SENDS, "", beside=beside, result="")) == Page([], False, 0)


# What is no response

NOT_RESPONSES: dict[str, bytes] = {
    "nothing": b"",
    "space": b" \n",
    "plain text": b"Service Unavailable",
    "JSON": b'{"error": "secret"}',
    "truncated": _page(OPENS, _open())[:-30],
    "truncated in a row": _page(OPENS, _open() * 9)[:700],
    "other XML": b"<secret/>",
    "an envelope without a body": f'<e:Envelope xmlns:e="{SOAP_11}"/>'.encode(),
    "an empty body": _soap(""),
    "another operation's response": _page(CLICKS, ""),
    "an undefined entity": _page(OPENS, _open(contact="&secret;")),
    "two roots": _page(OPENS, _open()) + b"<secret/>",
    "an unbound prefix": _page(OPENS, _open()).replace(b"WSContactOpen", b"secret:WSContactOpen"),
    "bytes that are not UTF-8": _page(OPENS, _open(contact="secret")).replace(b"secret", b"\xff"),
    "deep nesting": _page(OPENS, "<x>" * 400 + "</x>" * 400),
    "very deep nesting": b"<x>" * 1_000_000,
    "a NUL first": b"\0" + _page(OPENS, _open()),
}


@pytest.mark.parametrize("body", NOT_RESPONSES.values(), ids=NOT_RESPONSES)
def test_what_is_no_response_is_malformed(body: bytes) -> None:
    for reader in (OPENS.by_tree(), OPENS.reader(), _warm(OPENS, _page(OPENS, _open() * 3))):
        with pytest.raises(MalformedResponse) as caught:
            reader.read(body)
        assert not isinstance(caught.value, HtmlPage)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><body><p>Down</body></html>",
        b"\xef\xbb\xbf  <!-- x --><!doctype HTML>\n<html lang=en>",
        b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/x.dtd">'
        b'<html xmlns="http://www.w3.org/1999/xhtml"><body/></html>',
        b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body/></html>',
        b"<html><head><title>502</title></head><body>Bad Gateway<br></body></html>",
        b"<HTML></HTML>",
        b"<h1>Maintenance<br>",
    ],
)
def test_a_web_page_is_told_apart(body: bytes) -> None:
    with pytest.raises(HtmlPage):
        OPENS.reader().read(body)


def test_the_content_type_tells_a_web_page_too_but_not_against_a_response() -> None:
    with pytest.raises(HtmlPage):
        OPENS.reader().read(b"Down for maintenance", "text/html; charset=utf-8")
    assert OPENS.reader().read(_page(OPENS, _open()), "text/html").present


ENTITIES = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(12))
HOSTILE = {
    "a document type": "<!DOCTYPE soap:Envelope>",
    "entities that multiply": f'<!DOCTYPE x [<!ENTITY a0 "secret">{ENTITIES}]>',
    "an external entity": '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "an external subset": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/secret.dtd">',
    "entities under the name of HTML": f'<!DOCTYPE html [<!ENTITY a0 "secret">{ENTITIES}]>',
    "a document type after a comment": "<!-- c --><?pi?>\n<!DOCTYPE x [<!ENTITY a 'b'>]>",
    "one behind a forbidden character": "<!DOC\x01TYPE x [<!ENTITY a 'b'>]>",
    "one behind a forbidden reference": "<!DOC&#1;TYPE x [<!ENTITY a 'b'>]>",
}


@pytest.mark.parametrize("prolog", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("place", ['<x a="&a12;"/>', "<x>&a12;</x>", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_and_nothing_expands(
    prolog: str, place: str, encoding: str
) -> None:
    body = _page(OPENS, _open() + place).decode()
    body = body.replace('<?xml version="1.0" encoding="utf-8"?>', prolog)
    began = time.monotonic()
    with pytest.raises(RefusedResponse) as caught:
        OPENS.reader().read(body.encode(encoding))
    assert time.monotonic() - began < 2
    assert "secret" not in str(caught.value)


def test_an_inclusion_is_never_followed() -> None:
    include = (
        '<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/>'
    )
    with pytest.raises(MalformedResponse):
        OPENS.reader().read(_page(OPENS, _open(contact=include)))
    rows = _open().replace("</WSContactOpen>", f"{include}</WSContactOpen>")
    (row,) = OPENS.reader().read(_page(OPENS, rows)).rows
    assert row["ContactID"] == "c"


@pytest.mark.parametrize(
    "opening",
    [
        *[
            "<!--",
            "<![CDATA[",
            "<?x ",
            "&#",
            "<a ",
            "<",
            "&#1;",
            "\n",
            "a",
            "&#x000",
            "<a>",
            "<a/>",
        ],
        *[
            "<WSContactOpen>",
            "<WSContactOpen><a>",
            "<WSContactOpen><ContactID>",
            "</WSContactOpen>",
        ],
        *[
            "<WSContactOpen>\n<ContactID />\n",
            "<WSContactOpen/>",
            "<WSContactOpen></WSContactOpen >",
        ],
        *["<WSContactOpen><a></WSContactOpen>", "<WSContactOpen> \x01</WSContactOpen>"],
    ],
)
def test_hostile_repetition_costs_no_more_than_its_length(opening: str) -> None:
    reader = _warm(OPENS, _page(OPENS, _open() * 3))
    body = _page(OPENS, _open() + opening * 200_000)[:-100]
    began = time.monotonic()
    with pytest.raises(ResponseError):
        reader.read(body)
    assert time.monotonic() - began < 5


def test_a_row_of_much_space_costs_no_more_than_its_length() -> None:
    sparse = "<WSContactOpen>\n<ContactID />\n</WSContactOpen>\n" + _open()
    reader = OPENS.reader()
    for _ in range(2):
        reader.read(_page(OPENS, "\n" + sparse))
    rows = f"\n<WSContactOpen>\n<ContactID>{' ' * 100_000}</ContactID>\n<x/></WSContactOpen>\n"
    began = time.monotonic()
    assert len(reader.read(_page(OPENS, rows)).rows[0]["ContactID"]) == 100_000
    assert time.monotonic() - began < 2


@settings(max_examples=300)
@given(
    st.binary(max_size=200), st.sampled_from([None, "text/xml; charset=utf-16", "text/html", ""])
)
def test_arbitrary_bytes_raise_response_errors_only(body: bytes, content_type: str | None) -> None:
    with pytest.raises(ResponseError):
        OPENS.reader().read(body, content_type)
    assert isinstance(text_of(body, content_type), str)


@settings(max_examples=400, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 900),
            st.integers(0, 30),
            st.binary(max_size=4)
            | st.sampled_from(
                [
                    b"<!--",
                    b"-->",
                    b"<![CDATA[",
                    b"]]>",
                    b"&#1;",
                    b"</",
                    b"/>",
                    b"<!DOCTYPE x>",
                    b"\r",
                ]
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    table=st.sampled_from([OPENS, SENDS, MESSAGES]),
)
def test_a_damaged_response_reads_the_same_by_both_ways_or_raises_response_errors(
    edits: list[tuple[int, int, bytes]], table: Table
) -> None:
    row = {
        "message_opens": _open() * 3,
        "message_sends": RECIPIENT * 5,
        "messages": "<WSMessageActivity><MsgID>1</MsgID><OrderTotal>1.5</OrderTotal><Subject>s"
        "</Subject></WSMessageActivity>" * 3,
    }[table.name]
    good = _page(table, row, beside='<WSException xsi:nil="true"/>')
    body = good
    for place, length, inserted in edits:
        body = body[:place] + inserted + body[place + length :]

    def outcome(reader: ResponseReader) -> object:
        try:
            return reader.read(body)
        except ResponseError as error:
            return type(error), str(error)

    assert outcome(table.by_tree()) == outcome(table.reader()) == outcome(_warm(table, good))


# Forbidden characters and huge texts


@pytest.mark.parametrize(
    ("text", "kept", "removed"),
    [
        ("a\x01b", "ab", 1),
        ("a\0b\x0b", "ab", 2),
        ("a&#x1F;b", "ab", 1),
        ("a&#31;&#x0;b", "ab", 2),
        ("a&#xD800;b", "ab", 1),
        ("a&#xFFFE;b\uffff", "ab", 2),
        ("a&#x110000;b&#99999999999999999999;", "ab", 2),
        ("a&#x1F;<![CDATA[&#x1F;]]>", "a&#x1F;", 1),
        ("a&#x1F;<!-- &#x1F; -->b", "ab", 1),
        ("a&#x1F;&#x41;&#10;&#x1F600;", "aA\n\U0001f600", 1),
        ("a&amp;#x1F;\x02", "a&#x1F;", 1),
    ],
)
def test_forbidden_characters_are_removed_and_counted(text: str, kept: str, removed: int) -> None:
    for reader in (OPENS.by_tree(), OPENS.reader(), _warm(OPENS, _page(OPENS, _open() * 3))):
        page = reader.read(_page(OPENS, _open(contact=text) + _open(contact="next")))
        assert [row["ContactID"] for row in page.rows] == [kept, "next"]
        assert page.removed_characters == removed


@pytest.mark.parametrize("text", ["a\x01b", "\ufffe&#x41;\uffff"])
def test_a_row_with_forbidden_characters_leaves_the_others_the_quick_way(text: str) -> None:
    body = _page(OPENS, _open() * 9 + _open(contact=text) + _open() * 9)
    quick = _warm(OPENS, _page(OPENS, _open() * 3))._read_quickly(body.decode())
    assert quick is not None
    assert quick == OPENS.by_tree().read(body)


def test_a_page_with_forbidden_references_is_cleaned_and_then_read_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warm = _warm(OPENS, _page(OPENS, _open() * 3))
    body = _page(OPENS, _open() * 9 + _open(contact="a&#x1F;b"))
    expected = OPENS.by_tree().read(body)
    monkeypatch.setattr(response, "_parse_huge", None)
    assert warm.read(body) == expected


def test_what_only_looks_like_a_forbidden_reference_is_kept() -> None:
    page = OPENS.reader().read(_page(OPENS, _open(contact="<![CDATA[&#x1F;]]>")))
    assert page.rows[0]["ContactID"] == "&#x1F;"
    assert page.removed_characters == 0


def test_a_clean_page_is_not_searched_for_forbidden_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(text: str) -> tuple[str, int]:
        raise AssertionError("searched")

    monkeypatch.setattr(response, "_without_forbidden", fail)
    assert OPENS.reader().read(_page(OPENS, _open())).present


def test_a_text_of_more_than_10_mb_is_read() -> None:
    text = "ä€" * 6_000_000
    for reader in (OPENS.by_tree(), OPENS.reader(), _warm(OPENS, _page(OPENS, _open() * 3))):
        page = reader.read(_page(OPENS, _open(contact=text) + _open()))
        assert page.rows[0]["ContactID"] == text
        assert page.removed_characters == 0
        assert len(page.rows) == 2


def test_deep_nesting_is_refused_in_a_huge_response_too() -> None:
    deep = "<x>" * 400 + "</x>" * 400
    with pytest.raises(MalformedResponse):
        OPENS.reader().read(_page(OPENS, _open(contact="x" * 11_000_000) + deep))


def test_a_large_page_takes_a_bounded_multiple_of_its_size() -> None:
    body = _page(OPENS, _open() * 20_000)
    reader = _warm(OPENS, _page(OPENS, _open() * 3))
    tracemalloc.start()
    try:
        page = reader.read(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(page.rows) == 20_000
    assert peak < 8 * len(body)


# Encodings

WORDS = "Käse – 東京 €"


def _encoded(encoding: str, declared: str | None, text: str = WORDS) -> bytes:
    body = _page(OPENS, _open(contact=text)).decode()
    declaration = f' encoding="{declared}"' if declared else ""
    return body.replace(' encoding="utf-8"', declaration).encode(encoding)


def _contact(body: bytes, content_type: str | None) -> str:
    contact: str = OPENS.reader().read(body, content_type).rows[0]["ContactID"]
    return contact


@pytest.mark.parametrize(
    ("encoding", "declared", "content_type"),
    [
        ("utf-8", None, None),
        ("utf-8", "utf-8", "text/xml"),
        ("utf-8", "UTF-8", 'text/xml; charset="UTF-8"'),
        ("utf-8", "utf-16", None),
        ("utf-8", "utf-16", "text/xml; charset=utf-8"),
        ("utf-8", None, "text/xml; charset=utf-16"),
        ("utf-8", "iso-8859-1", "text/xml; charset=utf-8"),
        ("utf-8", "utf-8", "text/xml; charset=iso-8859-1"),
        ("utf-8", "no-such-encoding", None),
        ("utf-8", "unicode_escape", "text/xml; charset=utf-7"),
        ("utf-8-sig", "iso-8859-1", "text/xml; charset=iso-8859-1"),
        ("utf-16", "utf-16", "text/xml; charset=utf-8"),
        ("utf-16", "utf-8", None),
        ("utf-16-le", "utf-16", None),
        ("utf-16-be", "utf-16", "text/xml; charset=utf-16"),
        ("utf-32", "utf-32", None),
        ("utf-32-be", None, None),
        ("gb18030", "gb18030", None),
        ("gb18030", "iso-8859-1", "text/xml; charset=gb18030"),
    ],
)
def test_the_encoding_is_found(
    encoding: str, declared: str | None, content_type: str | None
) -> None:
    assert _contact(_encoded(encoding, declared), content_type) == WORDS


@pytest.mark.parametrize(
    ("declared", "content_type"),
    [
        ("iso-8859-1", None),
        (None, "text/xml; charset=ISO-8859-1"),
        ("windows-1252", "text/xml; charset=latin1"),
        ("us-ascii", None),
        ("utf-8", "text/xml; charset=iso-8859-1"),
    ],
)
def test_latin_1_means_windows_1252_as_in_browsers(
    declared: str | None, content_type: str | None
) -> None:
    assert _contact(_encoded("cp1252", declared, "Käse – €"), content_type) == "Käse – €"
    body = _encoded("latin-1", declared, "\x81\x8d\x8f\x90\x9dé")
    assert _contact(body, content_type) == "\x81\x8d\x8f\x90\x9dé"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (_encoded("cp1252", None, "Käse"), None),
        (_encoded("cp1252", "utf-8", "Käse"), "text/xml; charset=utf-8"),
        (_encoded("cp1252", "iso-8859-1", "Käse"), "text/xml; charset=utf-8"),
        (_encoded("utf-16-le", "utf-16", "Käse")[:-1], None),
        (b"\xef\xbb\xbf" + _encoded("cp1252", "iso-8859-1", "Käse"), None),
        (b"\xed\xa0\x80", None),
    ],
)
def test_what_cannot_be_decoded_is_malformed_and_never_garbled(
    body: bytes, content_type: str | None
) -> None:
    with pytest.raises(MalformedResponse, match=r"^the response is not valid [A-Z0-9-]+$"):
        OPENS.reader().read(body, content_type)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff broken [InvalidLogonAttempt]", None),
        ("é [InvalidLogonAttempt]".encode("cp1252"), "text/plain; charset=iso-8859-1"),
        ("[InvalidLogonAttempt]".encode("utf-16"), None),
        (b"<html>[InvalidLogonAttempt]", "text/html; charset=nonsense"),
    ],
)
def test_any_body_can_be_searched(body: bytes, content_type: str | None) -> None:
    assert "[InvalidLogonAttempt]" in text_of(body, content_type)


def _subclasses(kind: type) -> Iterator[type]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def test_no_message_of_an_error_holds_anything_of_the_response() -> None:
    makers: list[Callable[[], bytes]] = [
        lambda: _page(OPENS, _open(contact="<secret/>")),
        lambda: _page(OPENS, _open(contact="&secret;")),
        lambda: _soap("<soap:Fault><faultstring>secret</faultstring></soap:Fault>"),
        lambda: _page(OPENS, "", beside=DESCRIBED.replace("It", "secret")),
        lambda: b"<!DOCTYPE secret>",
        lambda: b"<html>secret",
        lambda: b"<secret/>",
    ]
    raised = set()
    for make in makers:
        with pytest.raises(ResponseError) as caught:
            OPENS.reader().read(make())
        raised.add(caught.type)
        assert not re.search("secret", f"{caught.value} {caught.value.args}")
    assert raised == set(_subclasses(ResponseError))
