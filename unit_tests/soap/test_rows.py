"""Rows: every legal spelling reads back, and no error passes for an empty page."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.soap import faults
from source_listrak.soap.faults import AttemptFailed, Fault
from source_listrak.soap.rows import DamagedRow, Page
from source_listrak.tables import TABLES, schema
from unit_tests.soap.pages import (
    BOUNCES,
    CONTRACTS,
    DATES,
    HEADERS,
    LISTS,
    MESSAGES,
    NAMESPACE,
    OPENS,
    SENDS,
    SOAP_11,
    SOAP_12,
    XSI,
    Contract,
    exception,
    open_row,
    page,
    soap,
)

EVERY_TABLE = pytest.mark.parametrize("table", CONTRACTS, ids=lambda table: table.name)
RECIPIENT = "<WSMessageRecipient><EmailAddress>a</EmailAddress></WSMessageRecipient>"
NIL_EXCEPTION = '<WSException xsi:nil="true"/>'


def row_of(table: Contract, columns: str) -> str:
    """Return a row with 7 in each column of its key, and with other columns."""
    key = "".join(f"<{name}>7</{name}>" for name in table.key_columns)
    return f"<{table.row}>{key}{columns}</{table.row}>"


def _rows(table: Contract, rows: str) -> list[dict[str, Any]]:
    return table.reader().read(page(table, rows)).rows


def _error(table: Contract, body: bytes) -> tuple[Fault, str]:
    with pytest.raises(AttemptFailed) as caught:
        table.reader().read(body)
    return caught.value.fault, caught.value.detail


# Records and their spellings

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n &<>\"']"),
    max_size=12,
)
DATE_TIMES = st.datetimes().map(lambda date: date.isoformat())
BY_KIND = {
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "number": st.decimals(-(10**9), 10**9, places=4).map(lambda number: f"{number:f}"),
    "boolean": st.sampled_from(["true", "false", "1", "0"]),
    "string": TEXT | DATE_TIMES,
}


def _types(column: dict[str, Any]) -> list[str]:
    return column["type"] if isinstance(column["type"], list) else [column["type"]]


@st.composite
def _texts(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    """Draw a row as texts of its elements; a column that is absent or nil is not in it."""
    row: dict[str, Any] = {}
    for name, column in schema["properties"].items():
        types = _types(column)
        if "null" in types and not draw(st.booleans() | st.just(True)):
            continue
        kind = next(kind for kind in types if kind != "null")
        if kind == "object":
            row[name] = draw(_texts(column))
        elif kind == "array":
            items = column["items"]
            item = _texts(items) if "properties" in items else TEXT
            if values := draw(st.lists(item.filter(bool), max_size=3)):
                row[name] = values
        else:
            row[name] = draw(DATE_TIMES if column.get("format") else BY_KIND[kind])
    return row


def _expected(table: Contract, schema: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, text in row.items():
        column = schema["properties"][name]
        types = _types(column)
        value: Any = text
        if isinstance(text, dict):
            value = _expected(table, column, text)
        elif isinstance(text, list) and "properties" in column["items"]:
            value = [_expected(table, column["items"], item) for item in text]
        elif "integer" in types:
            value = int(text)
        elif "number" in types:
            value = float(text)
        elif "boolean" in types:
            value = text in ("true", "1")
        elif column.get("format"):
            value = DATES.date_time(text)
        elif name in table.date_columns:
            value = DATES.date_text(text)
        if value is not None:
            record[name] = value
    return record


class Speller:
    """Writes a page in one of the many ways that XML has for it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.prefix = self.random.choice(["", "q:", "list-rak:", "a.b:"])
        self.soap = self.random.choice([SOAP_11, SOAP_12])

    def chance(self) -> bool:
        return self.random.random() < 0.25

    def page(self, table: Contract, rows: list[dict[str, Any]]) -> bytes:
        name = table.operation
        content = "".join(
            self.noise() + self.element(table.row, self.row(table.schema, row)) for row in rows
        )
        declared = f'xmlns{":" if self.prefix else ""}{self.prefix[:-1]}="{NAMESPACE}"'
        beside = [
            self.element(f"{name}Result", content + self.noise()),
            f'<{self.prefix}WSException xsi:nil="true"/>' if self.chance() else "",
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
        groups = []
        for name, column in schema["properties"].items():
            if name not in row:
                if "null" in _types(column) and self.chance():
                    nil = self.random.choice(["true", "1"])
                    groups.append([f'<{self.prefix}{name} xsi:nil="{nil}"/>'])
                continue
            value = row[name]
            if isinstance(value, list):
                contents = [self.item(column["items"], item) for item in value]
                if self.chance():
                    wrapped = "".join(self.element("Item", content) for content in contents)
                    groups.append([self.element(name, wrapped)])
                else:
                    groups.append([self.element(name, content) for content in contents])
            else:
                groups.append([self.element(name, self.item(column, value))])
        if self.chance():
            groups.append([self.element("Unheard", self.element("Deeper", "x"))])
        self.random.shuffle(groups)
        elements = [self.noise() + element for group in groups for element in group]
        return "".join(elements) + self.noise()

    def item(self, column: dict[str, Any], value: Any) -> str:
        return self.row(column, value) if isinstance(value, dict) else self.text(value)

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
def test_any_records_in_any_spelling_read_back_equal(table: Contract, data: st.DataObject) -> None:
    rows = data.draw(st.lists(_texts(table.schema).filter(bool), max_size=4))
    body = Speller(data.draw(st.integers(0, 2**32))).page(table, rows)
    expected = [_expected(table, table.schema, row) for row in rows]
    read = table.reader().read(body, "text/xml; charset=utf-8")
    assert read == Page(expected, True, 0, {})


def test_line_ends_of_windows_are_read_as_xml_reads_them() -> None:
    assert _rows(OPENS, open_row(contact="a\r\nb&#13;c"))[0]["ContactID"] == "a\nb\rc"


def test_elements_of_another_namespace_are_read_by_their_local_names() -> None:
    body = page(OPENS, open_row()).replace(NAMESPACE.encode(), b"urn:moved")
    assert OPENS.reader().read(body).rows == OPENS.reader().read(page(OPENS, open_row())).rows


def test_rows_come_in_order_and_threads_can_share_a_reader() -> None:
    reader = OPENS.reader()
    bodies = [
        page(OPENS, "".join(open_row(contact=f"{number}-{row}") for row in range(50)))
        for number in range(40)
    ]
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(reader.read, bodies))
    for number, read in enumerate(pages):
        assert [row["ContactID"] for row in read.rows] == [f"{number}-{row}" for row in range(50)]


# Values


WRONG = {
    "integer": ["1_000", "1.0", "0x1", "١", "1e3", "--1", "1 2", "9" * 19, "<b>1</b>"],
    "number": ["NaN", "INF", "-INF", "1e3", "1,5", "1_0", ".", "-", "9" * 400, "1<b/>"],
    "boolean": ["TRUE", "yes", "2", "tru", "<b/>"],
    "date-time": ["2024-13-01T00:00:00", "2024-01-01 00:00", "today", "<b/>"],
    "string": ["a<b/>"],
}
COLUMN = {
    "integer": (BOUNCES, "BounceCount"),
    "number": (MESSAGES, "OrderTotal"),
    "boolean": (LISTS, "EnableRSS"),
    "date-time": (MESSAGES, "SendDate"),
    "string": (MESSAGES, "Subject"),
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in WRONG.items() for text in texts]
)
def test_a_value_of_the_wrong_type_costs_no_other_value(kind: str, text: str) -> None:
    table, column = COLUMN[kind]
    key = "".join(f"<{name}>7</{name}>" for name in table.key_columns)
    row = f"<{table.row}>{key}<{column}>{text}</{column}></{table.row}>"
    read = table.reader().read(page(table, row * 2 + f"<{table.row}>{key}</{table.row}>"))
    assert read.wrong_values == {column: 2}
    assert read.rows == [dict.fromkeys(table.key_columns, 7)] * 3


def test_a_wrong_value_inside_an_object_or_array_is_counted_too() -> None:
    vmta = "<Vmta><VmtaID>x</VmtaID><Description>d</Description></Vmta>"
    read = LISTS.reader().read(page(LISTS, row_of(LISTS, vmta)))
    assert read.rows == [{"ListID": 7, "Vmta": {"Description": "d"}}]
    assert read.wrong_values == {"Vmta.VmtaID": 1}
    attributes = (
        "<WSProfileAttributes><MaxLength>long</MaxLength><Name>n</Name></WSProfileAttributes>"
    )
    read = HEADERS.reader().read(page(HEADERS, row_of(HEADERS, attributes)))
    assert read.rows == [{"HeaderID": 7, "WSProfileAttributes": [{"Name": "n"}]}]
    assert read.wrong_values == {"WSProfileAttributes.MaxLength": 1}


def test_a_row_names_its_own_wrong_values_and_other_rows_are_plain() -> None:
    wrong = "<SendDate>soon</SendDate><OpenCount>x</OpenCount>"
    rows = _rows(MESSAGES, row_of(MESSAGES, wrong) + row_of(MESSAGES, "<OpenCount>1</OpenCount>"))
    damaged, plain = rows
    assert isinstance(damaged, DamagedRow)
    assert damaged.nulled == ["SendDate", "OpenCount"]
    assert type(plain) is dict


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (MESSAGES, "<MsgID>x</MsgID>"),
        (MESSAGES, "<MsgID></MsgID>"),
        (MESSAGES, '<MsgID xsi:nil="true"/>'),
        (LISTS, "<ListID>1.5</ListID>"),
        (SENDS, "<EmailAddress>secret<b/></EmailAddress>"),
    ],
)
def test_a_key_of_the_wrong_type_makes_the_response_malformed(table: Contract, key: str) -> None:
    fault, detail = _error(table, page(table, f"<{table.row}>{key}</{table.row}>"))
    assert fault is faults.MALFORMED
    assert re.fullmatch(f"a {table.row} has no valid [A-Za-z]+", detail)


VALUE_KEYS = [
    (name, key)
    for name, table in TABLES.items()
    for key in table.key
    if key not in table.added
    and (
        "string" not in schema(name)["properties"][key]["type"]
        or "format" in schema(name)["properties"][key]
    )
]


def test_integers_and_dates_of_a_key_are_value_types() -> None:
    assert ("messages", "MsgID") in VALUE_KEYS
    assert ("lists", "ListID") in VALUE_KEYS
    assert ("conversation_opens", "ContactID") in VALUE_KEYS
    assert ("list_removals", "RemovalDate") in VALUE_KEYS
    assert ("list_removals", "ContactID") not in VALUE_KEYS
    assert not [name for name, key in VALUE_KEYS if key == "EmailAddress"]


@pytest.mark.parametrize(("name", "key"), VALUE_KEYS)
def test_a_row_without_a_key_that_dot_net_always_writes_is_malformed(name: str, key: str) -> None:
    declared = TABLES[name]
    keys = tuple(column for column in declared.key if column not in declared.added)
    table = Contract(name, declared.operation, declared.row, declared.dates, keys)
    columns = schema(name)["properties"]
    texts = {
        column: "2024-01-02T03:04:05" if columns[column].get("format") else "7"
        for column in {*keys, *list(columns)[:3]}
        if not {"array", "object", "boolean"}.intersection(_types(columns[column]))
    }
    row = "".join(f"<{column}>{text}</{column}>" for column, text in texts.items())
    whole = f"<{table.row}>{row}</{table.row}>"
    assert len(_rows(table, whole * 2)) == 2
    without = whole.replace(f"<{key}>{texts[key]}</{key}>", "")
    detail = f"a {table.row} has no valid {key}"
    for rows in (whole + without, without + whole):
        assert _error(table, page(table, rows)) == (faults.MALFORMED, detail)


def test_the_empty_date_of_dot_net_in_a_key_is_null_and_not_absent() -> None:
    table = Contract(
        "list_removals", "X", "WSContactRemovalInfo", key_columns=("ContactID", "RemovalDate")
    )
    row = "<WSContactRemovalInfo><ContactID>c</ContactID>{}</WSContactRemovalInfo>"
    empty = row.format("<RemovalDate>0001-01-01T00:00:00</RemovalDate>")
    assert _rows(table, empty) == [{"ContactID": "c"}]
    assert _error(table, page(table, row.format("")))[0] is faults.MALFORMED


@pytest.mark.parametrize(
    "unknown", ["<Other>1</Other>", "<Contact><ContactID>c</ContactID></Contact>"]
)
def test_a_row_without_any_known_column_is_malformed(unknown: str) -> None:
    rows = f"{open_row()}<WSContactOpen>{unknown}</WSContactOpen>"
    detail = "a WSContactOpen has no known column"
    assert _error(OPENS, page(OPENS, rows)) == (faults.MALFORMED, detail)


def test_a_token_counts_before_a_malformed_row() -> None:
    rows = "<WSContactOpen><Other>1</Other></WSContactOpen>"
    assert _error(OPENS, page(OPENS, rows, exception(TOKEN)))[0] is faults.INVALID_LOGON


@pytest.mark.parametrize(
    ("text", "expected"), [("+5", 5), (" 7 ", 7), ("007", 7), ("-0", 0), ("", None), (" ", None)]
)
def test_an_integer_reads_in_each_of_its_spellings(text: str, expected: int | None) -> None:
    row = row_of(MESSAGES, f"<OpenCount>{text}</OpenCount>")
    read = MESSAGES.reader().read(page(MESSAGES, row))
    assert read.rows[0].get("OpenCount") == expected
    assert not read.wrong_values


def test_empty_strings_are_kept_and_empty_numbers_and_nil_left_out() -> None:
    empty = "<Subject/><OpenCount/><SendDate></SendDate><OrderTotal> </OrderTotal>"
    rows = row_of(MESSAGES, empty) + row_of(MESSAGES, '<Subject xsi:nil="true"/>')
    assert _rows(MESSAGES, rows) == [{"MsgID": 7, "Subject": ""}, {"MsgID": 7}]


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00", "1/1/0001 12:00:00 AM"])
def test_the_empty_date_of_dot_net_is_left_out(date: str) -> None:
    (row,) = _rows(OPENS, open_row(date))
    assert row == {"ContactID": "c", "EmailAddress": "a@example.com"}


def test_an_array_without_elements_is_left_out() -> None:
    row = "<WSContactList><GoogleTrackingDomains/><ListID>1</ListID></WSContactList>"
    assert _rows(LISTS, row) == [{"ListID": 1}]
    row = "<WSProfileHeader><WSProfileAttributes/><HeaderID>1</HeaderID></WSProfileHeader>"
    assert _rows(HEADERS, row) == [{"HeaderID": 1}]


@pytest.mark.parametrize("texts", [["a", "", "b"], ["", "a"], ["a", ""], ["", ""]])
def test_an_empty_string_in_an_array_is_kept(texts: list[str]) -> None:
    name = "GoogleTrackingDomains"
    repeated = "".join(f"<{name}>{text}</{name}>" for text in texts)
    wrapped = f"<{name}>{''.join(f'<string>{text}</string>' for text in texts)}</{name}>"
    for column in (repeated, wrapped):
        assert _rows(LISTS, row_of(LISTS, column)) == [{"ListID": 7, name: texts}]


def test_a_nil_element_of_an_array_is_left_out() -> None:
    name = "GoogleTrackingDomains"
    column = f'<{name}>a</{name}><{name} xsi:nil="true"/>'
    assert _rows(LISTS, row_of(LISTS, column)) == [{"ListID": 7, name: ["a"]}]


def test_a_nil_object_is_left_out() -> None:
    assert _rows(LISTS, row_of(LISTS, '<Vmta xsi:nil="true"/>')) == [{"ListID": 7}]


def test_unknown_columns_are_ignored_whatever_they_contain() -> None:
    unknown = "<New>1</New><Deep><ContactID>x</ContactID></Deep><Fault>f</Fault>"
    row = open_row().replace("<ContactID>", f"{unknown}<ContactID>")
    assert _rows(OPENS, row) == _rows(OPENS, open_row())


def test_a_nil_row_is_none_and_an_empty_row_is_an_empty_record() -> None:
    rows = _rows(OPENS, f'<WSContactOpen xsi:nil="true"/><WSContactOpen/>{open_row()}')
    assert [len(row) for row in rows] == [0, 3]


@pytest.mark.parametrize("text", ["[InvalidLogonAttempt]", "WSException", "(404) permission"])
def test_rows_may_contain_any_words(text: str) -> None:
    rows = _rows(OPENS, open_row(contact=text) + open_row(contact=exception("no")))
    assert rows[0]["ContactID"] == text


def test_invalid_characters_are_counted() -> None:
    read = OPENS.reader().read(page(OPENS, open_row(contact="a\x01&#x2;b")))
    assert (read.rows[0]["ContactID"], read.invalid_characters) == ("ab", 2)


# An empty page, and what only looks like one


def _empty(table: Contract) -> dict[str, tuple[str, bool]]:
    """Return each way of writing an empty page, and whether its result is present."""
    name = f"{table.operation}Result"
    return {
        "missing": ("", False),
        "nil": (f'<{name} xsi:nil="true"/>', False),
        "empty": (f"<{name}/>", True),
        "space": (f"<{name}>\n </{name}>", True),
    }


@pytest.mark.parametrize("spelling", _empty(OPENS))
@pytest.mark.parametrize(
    "beside",
    [
        "",
        NIL_EXCEPTION,
        "<WSException/>",
        "<WSException> </WSException>",
        "<WSException><DateTime>0001-01-01T00:00:00</DateTime><Description/></WSException>",
        "<WSException><SoapMethod>m</SoapMethod><Description> </Description></WSException>",
    ],
)
def test_an_empty_page_has_a_result_and_nothing_else(spelling: str, beside: str) -> None:
    result, is_present = _empty(SENDS)[spelling]
    read = SENDS.reader().read(page(SENDS, beside=beside, result=result))
    assert read == Page([], is_present, 0, {})


TOKEN = "[InvalidLogonAttempt]"
FAULT = f"<Fault><faultstring>{TOKEN}</faultstring></Fault>"
# Each an HTTP 200 that has no rows, and no errors where they are documented.
WRONG_200 = {
    "a token as the text of the result": (TOKEN, "", ""),
    "a token in the SOAP header": ("", "", f"<soap:Header><x>{TOKEN}</x></soap:Header>"),
    "a token in an element of another name in the result": (f"<Error>{TOKEN}</Error>", "", ""),
    "a token beside an empty result": ("", f"<Error>{TOKEN}</Error>", ""),
    "a fault beside an empty result": ("", FAULT, ""),
    "a fault in the result": (FAULT, "", ""),
}
UNTOLD_200 = {
    "text in the result": ("Server error 7", "", faults.IN_BAND),
    "text beside the result": ("", "Server error 7", faults.IN_BAND),
    "an element with text beside the result": ("", "<Error>Server error 7</Error>", faults.IN_BAND),
    "an empty element beside the result": ("", "<Error/>", faults.IN_BAND),
    "rows of another type": ("<WSOther><A>1</A></WSOther>", "", faults.MALFORMED),
    "renamed rows": (open_row().replace("WSContactOpen", "Open"), "", faults.MALFORMED),
    "an exception with a message of another name": (
        "",
        "<WSException><ErrorMessage>Server error 7</ErrorMessage></WSException>",
        faults.IN_BAND,
    ),
    "an exception with text of its own": ("", "<WSException>Failed</WSException>", faults.IN_BAND),
    "an exception with a date": (
        "",
        "<WSException><SoapMethod>m</SoapMethod><DateTime>2024-04-04T04:04:04</DateTime>"
        "</WSException>",
        faults.IN_BAND,
    ),
}


@EVERY_TABLE
@pytest.mark.parametrize(("inside", "beside", "header"), WRONG_200.values(), ids=WRONG_200)
def test_a_token_or_fault_anywhere_outside_the_rows_is_an_error(
    inside: str, beside: str, header: str, table: Contract
) -> None:
    for result in (None, "", f'<{table.operation}Result xsi:nil="true"/>'):
        if inside and result is not None:
            continue
        body = page(table, inside, beside, result=result, header=header)
        fault, detail = _error(table, body)
        assert fault is faults.INVALID_LOGON
        assert TOKEN in detail


@EVERY_TABLE
@pytest.mark.parametrize(("inside", "beside", "fault"), UNTOLD_200.values(), ids=UNTOLD_200)
def test_anything_else_in_a_response_without_rows_is_an_error(
    inside: str, beside: str, fault: Fault, table: Contract
) -> None:
    assert _error(table, page(table, inside, beside))[0] is fault


@pytest.mark.parametrize("beside", [TOKEN, f"<Error>{TOKEN}</Error>", FAULT, exception(TOKEN)])
def test_a_token_or_fault_outside_the_rows_is_an_error_beside_rows_too(beside: str) -> None:
    for body in (page(SENDS, RECIPIENT, beside), page(SENDS, RECIPIENT + beside)):
        assert _error(SENDS, body)[0] is faults.INVALID_LOGON


def test_text_between_rows_is_an_error() -> None:
    body = page(OPENS, f"{open_row()}Server  error\n7{open_row()}")
    assert _error(OPENS, body) == (faults.IN_BAND, "Server error 7")


def test_renamed_rows_are_not_in_the_message_of_the_error() -> None:
    renamed = open_row(contact="secret").replace("WSContactOpen", "Open")
    detail = "the result contains elements other than WSContactOpen"
    assert _error(OPENS, page(OPENS, renamed)) == (faults.MALFORMED, detail)


@EVERY_TABLE
@pytest.mark.parametrize("unknown", ["<Other/>", "<WSOther><A>secret</A></WSOther>"])
def test_unknown_elements_alongside_rows_are_an_error(unknown: str, table: Contract) -> None:
    row = row_of(table, "")
    detail = f"the result contains elements other than {table.row}"
    for rows in (row + unknown, unknown + row, row + unknown + row):
        assert _error(table, page(table, rows)) == (faults.MALFORMED, detail)
    assert _error(table, page(table, row, unknown))[0] is faults.IN_BAND


# Faults and exceptions in band

FAULT_11 = soap(
    "<soap:Fault><faultcode>soap:Server</faultcode><faultstring>Failed ---&gt; \n"
    "[InvalidLogon<!-- c -->Attempt]</faultstring><detail><x>HTTP <![CDATA[404]]></x></detail>"
    "</soap:Fault>"
)
FAULT_12 = soap(
    "<soap:Fault><soap:Code><soap:Value>soap:Receiver</soap:Value></soap:Code><soap:Reason>"
    '<soap:Text xml:lang="en">No</soap:Text></soap:Reason><soap:Detail/></soap:Fault>',
    SOAP_12,
)


def test_a_fault_of_soap_1_1_or_1_2_gives_all_its_text() -> None:
    text = "**** Failed ---> [InvalidLogonAttempt] HTTP 404"
    assert _error(OPENS, FAULT_11) == (faults.INVALID_LOGON, text)
    assert _error(OPENS, FAULT_12) == (faults.OTHER_FAULT, "**** No")


@pytest.mark.parametrize("rows", ["", RECIPIENT, RECIPIENT * 3])
@pytest.mark.parametrize("place", ["{}", "<Wrapper>{}</Wrapper>"])
def test_an_exception_with_a_description_is_an_error_even_beside_rows(
    rows: str, place: str
) -> None:
    described = place.format(exception("It  failed: &quot;timeout&quot;"))
    for body in (page(SENDS, rows, described), page(SENDS, rows + described)):
        assert _error(SENDS, body) == (faults.IN_BAND, 'It failed: "timeout"')


@pytest.mark.parametrize(
    "beside",
    [
        NIL_EXCEPTION,
        "<WSException/>",
        "<WSException> </WSException>",
        "<WSException><SoapMethod>m</SoapMethod><DateTime>2024-04-04T04:04:04</DateTime>"
        "</WSException>",
    ],
)
def test_an_exception_that_says_nothing_beside_rows_is_none(beside: str) -> None:
    read = SENDS.reader().read(page(SENDS, RECIPIENT, beside))
    assert read == Page([{"EmailAddress": "a"}], True, 0, {})


# What is not the operation's response

RESULT = f"<{OPENS.operation}Result>{open_row()}</{OPENS.operation}Result>"
NOT_RESPONSES = {
    "an envelope without a body": f'<e:Envelope xmlns:e="{SOAP_11}"/>'.encode(),
    "an empty body": soap(""),
    "another operation's response": page(SENDS),
    "two results": page(OPENS, result=RESULT * 2),
    "a nil result with rows": page(OPENS, result=RESULT.replace(">", ' xsi:nil="1">', 1)),
    "cut short": page(OPENS, open_row())[:-30],
}


@pytest.mark.parametrize("body", NOT_RESPONSES.values(), ids=NOT_RESPONSES)
def test_what_is_not_the_response_is_malformed(body: bytes) -> None:
    assert _error(OPENS, body)[0] is faults.MALFORMED


def test_an_undeclared_prefix_of_a_row_is_malformed() -> None:
    row = open_row()
    rows = row.replace("<", "<a.b:").replace("<a.b:/", "</a.b:")
    body = page(OPENS, result=f"<a.b:{OPENS.operation}Result>{rows}</a.b:{OPENS.operation}Result>")
    body = body.replace(b"xmlns=", f'xmlns:a.b="{NAMESPACE}" xmlns='.encode())
    assert len(OPENS.reader().read(body).rows) == 1
    body = body.replace(b"<a.b:WSContactOpen>", b"<aXb:WSContactOpen>")
    assert _error(OPENS, body)[0] is faults.MALFORMED


@pytest.mark.parametrize("before", ["<x>{}</x>", "<!--{}-->", "<?x {}?>", "<x><![CDATA[{}]]></x>"])
def test_a_result_outside_the_response_is_not_read(before: str) -> None:
    header = f'<soap:Header xmlns="{NAMESPACE}">{before.format(RESULT)}</soap:Header>'
    body = page(OPENS, open_row(contact="true"), header=header)
    assert [row["ContactID"] for row in OPENS.reader().read(body).rows] == ["true"]


@settings(max_examples=400, deadline=None)
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, 900),
            st.integers(0, 30),
            st.binary(max_size=4)
            | st.sampled_from(
                [b"<!--", b"-->", b"<![CDATA[", b"]]>", b"&#1;", b"</", b"/>", b"\r"]
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_damaged_response_is_read_or_raises_request_errors(
    edits: list[tuple[int, int, bytes]],
) -> None:
    body = page(OPENS, open_row() * 3, beside=NIL_EXCEPTION)
    for place, length, inserted in edits:
        body = body[:place] + inserted + body[place + length :]
    try:
        rows = OPENS.reader().read(body).rows
    except AttemptFailed as error:
        assert not re.search("example", str(error))
        assert error.fault is not faults.MALFORMED or "example" not in error.detail
    else:
        assert len(rows) <= 3
