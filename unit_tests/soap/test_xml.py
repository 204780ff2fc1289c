"""Bytes: every legal encoding and spelling is read, and nothing hostile gets through."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from source_listrak.soap import faults, xml
from source_listrak.soap.faults import AttemptFailed, Fault
from unit_tests.soap.pages import OPENS, SOAP_11, XSI, open_row, page


def parse(body: bytes, content_type: str | None = None) -> tuple[etree._Element, int]:
    """Return the envelope and the number of characters that were removed."""

    def take(elements: Iterable[etree._Element]) -> None:
        assert list(elements) == []

    root, _, removed = xml.parse(body, content_type, "no-such-element", take)
    return root, removed


def _error(body: bytes, content_type: str | None = None) -> tuple[Fault, str]:
    with pytest.raises(AttemptFailed) as caught:
        parse(body, content_type)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert not re.search("secret", f"{caught.value} {caught.value.args} {caught.value.detail}")
    return caught.value.fault, caught.value.detail


def _contact(body: bytes, content_type: str | None = None) -> str:
    text = parse(body, content_type)[0].findtext(".//{*}ContactID")
    assert text is not None
    return str(text)


# What is no envelope

NOT_ENVELOPES: dict[str, bytes] = {
    "nothing": b"",
    "space": b" \n",
    "plain text": b"Service Unavailable",
    "JSON": b'{"error": "secret"}',
    "cut short": page(OPENS, open_row())[:-30],
    "cut short in a row": page(OPENS, open_row() * 9)[:700],
    "other XML": b"<secret/>",
    "an undefined entity": page(OPENS, open_row(contact="&secret;")),
    "two roots": page(OPENS, open_row()) + b"<secret/>",
    "an unbound prefix": page(OPENS, open_row()).replace(b"WSContactOpen", b"secret:WSContactOpen"),
    "a byte that is not UTF-8 in a tag": page(OPENS, open_row()).replace(b"tID>c", b"\xff>c"),
    "deep nesting": page(OPENS, "<x>" * 400 + "</x>" * 400),
    "very deep nesting": b"<x>" * 1_000_000,
    "a NUL first": b"\0" + page(OPENS, open_row())[:-30],
}


@pytest.mark.parametrize("body", NOT_ENVELOPES.values(), ids=NOT_ENVELOPES)
def test_the_error_of_a_body_without_an_envelope_shows_no_text(body: bytes) -> None:
    fault, detail = _error(body)
    assert fault is faults.MALFORMED
    assert detail.startswith("the response is ")


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
        b'<html><head><meta charset="iso-8859-1"></head><body>Arr\xeat\xe9</body></html>',
        b"<h1>Maintenance<br>",
    ],
)
def test_a_web_page_is_recognised(body: bytes) -> None:
    assert _error(body) == (faults.HTML_PAGE, "")


def test_the_content_type_marks_a_web_page_but_not_an_envelope() -> None:
    for body in (b"Down for maintenance", b"<down/>"):
        assert _error(body, "text/html; charset=utf-8")[0] is faults.HTML_PAGE
    assert _contact(page(OPENS, open_row()), "text/html") == "c"


# Hostile responses

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
    body = page(OPENS, open_row() + place).decode()
    body = body.replace('<?xml version="1.0" encoding="utf-8"?>', prolog)
    began = time.monotonic()
    detail = "the response contains a document type"
    assert _error(body.encode(encoding)) == (faults.REFUSED_XML, detail)
    assert time.monotonic() - began < 2


def test_an_inclusion_is_never_followed() -> None:
    include = (
        '<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/>'
    )
    root, _ = parse(page(OPENS, open_row(contact=include)))
    assert "root:" not in "".join(map(str, root.itertext()))


@pytest.mark.parametrize("element", ["<a/>", "<a b='' c=''/>", "<a>1</a>"])
def test_a_response_of_too_many_elements_is_refused(element: str) -> None:
    markup = element.count("<") + element.count("=")
    many = element * (xml.MAX_MARKUP // markup)
    assert _error(page(OPENS, many))[0] is faults.TOO_LARGE
    few = element * (xml.MAX_MARKUP // markup // 20)
    assert parse(page(OPENS, few))[1] == 0


@pytest.mark.parametrize(
    "opening",
    ["<!--", "<![CDATA[", "<?x ", "&#", "<a ", "<", "&#1;", "\n", "a", "&#x000", "<a>", "<a/>"],
)
def test_hostile_repetition_costs_no_more_than_its_length(opening: str) -> None:
    body = page(OPENS, open_row() + opening * 200_000)[:-100]
    began = time.monotonic()
    _error(body)
    assert time.monotonic() - began < 5


@settings(max_examples=300)
@given(
    st.binary(max_size=200), st.sampled_from([None, "text/xml; charset=utf-16", "text/html", ""])
)
def test_arbitrary_bytes_raise_request_errors_only(body: bytes, content_type: str | None) -> None:
    _error(body, content_type)


# Forbidden characters and huge texts


@pytest.mark.parametrize(
    ("text", "kept", "removed"),
    [
        ("a\x01b", "ab", 1),
        ("a\0b\x0b", "ab", 2),
        ("a&#x1F;b", "ab", 1),
        ("a&#31;&#x0;b", "ab", 2),
        ("a&#xD800;b", "ab", 1),
        ("a&#xD83D;&#xDE00;b", "a\U0001f600b", 0),
        ("&#55357;&#xde00;&#xD83D;&#56832;", "\U0001f600\U0001f600", 0),
        ("&#xDE00;&#xD83D;b", "b", 2),
        ("&#xD83D; &#xDE00;", " ", 2),
        ("&#xD83D;&#xD83D;&#xDE00;&#xDE00;", "\U0001f600", 2),
        ("&#xD83D;&#x41;&#xDE00;", "A", 2),
        ("<![CDATA[&#xD83D;]]>&#xDE00;", "&#xD83D;", 1),
        ("a&#xFFFE;b\uffff", "ab", 2),
        ("\ufffe&#x41;\uffff", "A", 2),
        ("a&#x110000;b&#99999999999999999999;", "ab", 2),
        ("a&#2608512289;b&#" + "9" * 5000 + ";", "ab", 2),
        ("a&#x1F;<![CDATA[&#x1F;]]>", "a&#x1F;", 1),
        ("a&#x1F;<!-- &#x1F; -->b", "ab", 1),
        ("a&#x1F;&#x41;&#10;&#x1F600;", "aA\n\U0001f600", 1),
        ("a&amp;#x1F;\x02", "a&#x1F;", 1),
        ("<![CDATA[&#x1F;]]>", "&#x1F;", 0),
    ],
)
def test_characters_that_xml_forbids_are_removed_and_counted(
    text: str, kept: str, removed: int
) -> None:
    body = page(OPENS, open_row(contact=text) + open_row(contact="next"))
    root, count = parse(body)
    assert [element.text for element in root.iter("{*}ContactID")] == [kept, "next"]
    assert count == removed


@pytest.mark.parametrize("text", ["&undefined;", "a & b", "]]>"])
def test_nothing_else_that_is_not_well_formed_is_repaired(text: str) -> None:
    body = page(OPENS, open_row(contact=text) + open_row(contact="\x01"))
    assert _error(body)[0] is faults.MALFORMED


def test_a_text_of_more_than_10_mb_is_read() -> None:
    text = "ä€" * 6_000_000
    assert _contact(page(OPENS, open_row(contact=text))) == text


# Encodings

WORDS = "Käse – 東京 €"


def _encoded(encoding: str, declared: str | None, text: str = WORDS) -> bytes:
    body = page(OPENS, open_row(contact=text)).decode()
    declaration = f' encoding="{declared}"' if declared else ""
    return body.replace(' encoding="utf-8"', declaration).encode(encoding)


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
    ],
)
def test_utf_8_and_utf_16_are_recognised_whatever_is_declared(
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
        ("iso-8859-1", "text/xml; charset=utf-8"),
    ],
)
def test_latin_1_means_windows_1252_as_in_browsers(
    declared: str | None, content_type: str | None
) -> None:
    assert _contact(_encoded("cp1252", declared, "Käse – €"), content_type) == "Käse – €"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (_encoded("cp1252", None, "Käse"), None),
        (_encoded("cp1252", "utf-8", "Käse"), "text/xml; charset=utf-8"),
        (_encoded("cp1252", "no-such-encoding", "Käse"), "text/xml; charset=utf-7"),
        (_encoded("latin-1", "iso-8859-1", "K\x81se"), None),
        (_encoded("utf-16-le", "utf-16", "Käse").replace(b"\xe4\0", b"\0\xdc"), None),
        (_encoded("utf-8", "utf-8", "K#se").replace(b"#", b"\xc3"), None),
    ],
)
def test_what_cannot_be_decoded_is_replaced_and_counted(
    body: bytes, content_type: str | None
) -> None:
    root, count = parse(body, content_type)
    assert root.findtext(".//{*}ContactID") == "K\ufffdse"
    assert count == 1


def test_characters_that_the_service_replaced_are_not_counted() -> None:
    body = page(OPENS, open_row(contact="\ufffd#\ufffd&#1;")).replace(b"#\xef", b"\xff\xef")
    assert parse(body)[1] == 1 + 1


@pytest.mark.parametrize("text", ["\U0001f600", "\U00010000\U0010ffff", "a\U0001f600ü"])
def test_raw_surrogates_in_pairs_become_their_character(text: str) -> None:
    units = text.encode("utf-16-be")
    pairs = [units[at : at + 2] for at in range(0, len(units), 2)]
    apart = [pair.decode("utf-16-be", "surrogatepass") for pair in pairs]
    raw = "".join(apart).encode("utf-8", "surrogatepass")
    body = page(OPENS, open_row(contact="#")).replace(b"#", raw)
    root, count = parse(body)
    assert (root.findtext(".//{*}ContactID"), count) == (text, 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "before", ["\n", "\ufeff", " \t\r\n", "\ufeff\n", "\n\ufeff", "\ufeff\ufeff"]
)
def test_space_and_byte_order_marks_before_the_declaration_are_skipped(
    before: str, encoding: str
) -> None:
    if encoding != "utf-8" and before == "\n\ufeff":
        return  # no bytes that begin so are UTF-16
    body = (before + page(OPENS, open_row(contact=WORDS)).decode()).encode(encoding)
    assert _contact(body) == WORDS


def test_references_that_must_be_searched_are_limited_like_tags() -> None:
    body = page(OPENS, open_row(contact="&#1;" * (xml.MAX_MARKUP + 1)))
    began = time.process_time()
    assert _error(body)[0] is faults.TOO_LARGE
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff broken [InvalidLogonAttempt]", None),
        ("é [InvalidLogonAttempt]".encode("cp1252"), "text/plain; charset=iso-8859-1"),
        ("[InvalidLogonAttempt]".encode("utf-16"), None),
        (b"<html>[InvalidLogonAttempt]", "text/html; charset=nonsense"),
    ],
)
def test_any_body_is_searched_for_tokens(body: bytes, content_type: str | None) -> None:
    assert _error(body, content_type)[0] is faults.INVALID_LOGON


def test_no_error_contains_anything_of_the_response() -> None:
    bodies = {
        page(OPENS, open_row(contact="&secret;")): faults.MALFORMED,
        b"<!DOCTYPE secret>": faults.REFUSED_XML,
        b"<html>secret": faults.HTML_PAGE,
        b"<secret/>" * (xml.MAX_MARKUP + 1): faults.TOO_LARGE,
    }
    for body, fault in bodies.items():
        assert _error(body)[0] is fault  # which also searches the error


def test_an_envelope_in_any_namespace_is_read() -> None:
    assert parse(f'<Envelope {XSI} xmlns="{SOAP_11}"/>'.encode())[1] == 0


def test_one_thread_at_a_time_parses_a_large_response() -> None:
    """The trees of many would not fit into memory; small ones may be parsed at once."""
    reads, goes_on = threading.Event(), threading.Event()

    def take(_: Iterable[etree._Element]) -> None:
        reads.set()
        assert goes_on.wait(10)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(xml.parse, f"<Envelope>{' ' * 40_000}</Envelope>".encode(), None, "row", take)
        assert reads.wait(10)
        assert _error(b"<small")[0] is faults.MALFORMED
        large = pool.submit(_error, b"<large>" + b" " * 40_000)
        assert not wait([large], timeout=0.2).done
        goes_on.set()
        assert large.result(10)[0] is faults.MALFORMED
