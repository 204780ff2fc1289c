"""What is shown of the service's own text: known words, whatever else it contains."""

from __future__ import annotations

import base64
import codecs
import html
import json
import quopri
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.soap.redaction import MASK, mask, redact, spellings


@pytest.mark.parametrize(
    "text",
    [
        "Timeout expired. The timeout period elapsed prior to completion of the operation or the "
        "server is not responding.",
        "System.Web.Services.Protocols.SoapException: Server was unable to process request. ---> "
        "System.NullReferenceException: Object reference not set to an instance of an object.",
        "Transaction (Process ID 404) was deadlocked on lock resources with another process and "
        "has been chosen as the deadlock victim. Rerun the transaction.",
        "User does not have permission to access this method.",
        "The remote server returned an error: (403) Forbidden.",
        "ReportRangeMessageContactOpen of list 7, page 2: 'MsgID' is missing",
    ],
)
def test_the_usual_texts_of_the_service_are_shown_as_they_are(text: str) -> None:
    assert redact(text) == text


def _each(convert: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(map(convert, text))


def _at(sign: str) -> Callable[[str], str]:
    return lambda text: text.replace("@", sign)


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "URL": lambda text: quote(text, safe=""),
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "form": quote_plus,
    "XML": escape,
    "HTML": html.escape,
    "decimal references": _each(lambda c: f"&#{ord(c)};"),
    "hexadecimal references": _each(lambda c: f"&#x{ord(c):x};"),
    "references, escaped": _each(lambda c: f"&amp;#{ord(c)};"),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "Python": lambda text: repr(text)[1:-1],
    "\\u": _each(lambda c: f"\\u{ord(c):04x}"),
    "\\x": _each(lambda c: f"\\x{ord(c):02x}"),
    "%u": _each(lambda c: f"%u{ord(c):04x}"),
    "quoted-printable": lambda text: quopri.encodestring(text.encode(), True).decode(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "bytes apart": lambda text: text.encode().hex(" "),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "full width": _each(lambda c: chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c),
    "letters apart": " ".join,
    "backwards": lambda text: text[::-1],
    "upper case": str.upper,
    "VERP": lambda text: f"bounces+{text.replace('@', '=')}",
    "=40": _at("=40"),
    "&commat;": _at("&commat;"),
    "at": _at(" at "),
    "(at)": _at("(at)"),
    "at and dot": lambda text: text.replace("@", " at ").replace(".", " dot "),
    "at sign apart": _at(" @ "),
    "IDN dot": lambda text: text.replace(".", "\u3002"),
}
FRAMES = (
    "{}", "<{}>", '"{}"', "'{}'", "[{}]", "({}),", "mailto:{}", "RCPT TO:<{}>", "{}:", "email={}&x",
    '\\"{}\\"', "&quot;{}&quot;", "{{'email':'{}'}}", "\u201c{}\u201d", "x{}y",
)  # fmt: skip
# Made of syllables that no word of an error message has.
NAMES = st.lists(
    st.sampled_from(["zu", "qui", "xo", "vly", "ngo", "jy"]), min_size=2, max_size=4
).map("".join)
ADDRESSES = st.builds(
    "{}{}{}@{}.{}".format,
    NAMES, st.sampled_from([".", "_", "+", "-", "'", ",", " ", '" "']), NAMES, NAMES, NAMES,
)  # fmt: skip
PASSWORDS = st.builds("".join, st.lists(NAMES | st.sampled_from("&<>\"' %$/\\ö7"), min_size=3))


def _private_words(text: str) -> set[str]:
    """Return the runs of letters and digits of a text that would give away a part of it.

    Numbers have a rule and a test of their own.
    """
    runs = "".join(c if c.isalnum() else " " for c in text).split()
    return {run for run in runs if len(run) > 3 and not run.isdigit()}


@settings(max_examples=600, deadline=None)
@given(
    ADDRESSES | PASSWORDS,
    st.sampled_from(sorted(ENCODINGS)),
    st.sampled_from(sorted(ENCODINGS)),
    st.sampled_from(FRAMES),
)
def test_nothing_private_is_shown_in_any_encoding(
    private: str, inner: str, outer: str, frame: str
) -> None:
    encoded = ENCODINGS[outer](ENCODINGS[inner](private))
    before, after = "Server failed for", "in list 7."
    shown = redact(f"{before} {frame.format(encoded)} {after}")
    assert shown.startswith(before)
    said = shown.removeprefix(before)
    for word in _private_words(private):
        for form in (word, word[::-1], codecs.encode(word, "rot13")):
            assert form.lower() not in said.lower()
    for word in _private_words(encoded):
        assert word not in said or redact(word) == word


@pytest.mark.parametrize(
    "text",
    [
        'Mailbox "Zunami Quixo" <z.quixo@vlyngo.example> is over quota',
        "Bad contact 'zunami quixo'@vlyngo.example",
        "Call +1 (555) 555-0100-zunami or 15555550100",
        "Contact Zunami Quixo is not valid",
    ],
)
def test_names_and_numbers_of_people_are_masked(text: str) -> None:
    shown = redact(text)
    assert MASK in shown
    assert not [part for part in ("unami", "uixo", "lyngo", "0100") if part in shown]


@pytest.mark.parametrize(
    "number",
    [
        "717 627 4528",
        "(717) 627-4528",
        "+1 717.627.4528",
        "+1-717-627-4528",
        "717 - 627 - 4528",
        "717, 627, 4528",
        "1 (717) 627 4528",
        "627 4528",
        "7176274528",
        "717627452",
        "71762",
        "71 76 27 45 28",
        "4111 1111 1111 1111",
        "7 of 717 627 4528",
    ],
)
def test_long_numbers_and_numbers_beside_others_are_masked(number: str) -> None:
    shown = redact(f"The number {number} is not valid in list 7.")
    assert re.fullmatch(r"The number (7 of )?\*{4} is not valid in list 7\.", shown)


@given(st.lists(st.integers(0, 10**12).map(str), min_size=1, max_size=5), st.data())
def test_of_any_groups_of_digits_only_a_short_single_one_is_shown(
    groups: list[str], data: st.DataObject
) -> None:
    separators = st.sampled_from([" ", "-", ".", "/", " - ", ", ", ") ", " (", " +", "  "])
    number = groups[0] + "".join(data.draw(separators) + group for group in groups[1:])
    shown = redact(f"The number {number} is not valid")
    expected = number if len(number) <= 4 and number.isdigit() else MASK
    assert shown == f"The number {expected} is not valid"


@pytest.mark.parametrize("secret", ["timeout", "hunter2", "server error", "server  error", "7"])
def test_a_password_is_masked_even_if_it_consists_of_known_words(secret: str) -> None:
    shown = mask(redact(f"The password {secret} is wrong"), spellings(secret))
    assert shown == "The password **** is wrong"


def test_a_word_at_the_cut_is_dropped_and_a_secret_there_is_masked() -> None:
    for length in range(150, 620):
        shown = mask(redact("x " * 20 + "of " * (length // 3) + "timeout " * 90), ("timeout",))
        assert "tim" not in shown
        assert len(shown) <= 301


def test_only_the_beginning_of_a_long_text_is_shown() -> None:
    assert redact("of\n\t the") == "of the"
    assert mask(redact("word " * 100_000), ()) == "word " * 60 + "…"


@pytest.mark.parametrize("run", ["x", "@", "a.", "a'", "[", "-", ".", "A", "aA", " ", "' \"", "7"])
def test_a_text_of_any_length_costs_no_more_than_its_beginning(run: str) -> None:
    text = run * 1_000_000
    began = time.monotonic()
    assert len(mask(redact(text), spellings("p&ss<w>\"o'rd%"))) <= 301
    assert time.monotonic() - began < 0.5
