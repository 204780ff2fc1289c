"""What is shown of the service's own text."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from source_listrak.soap.redaction import redact, secret_spellings


@pytest.mark.parametrize(
    "address",
    [
        "jane.roe@customer.example",
        "<jane.roe@customer.example>:",
        "o'brien+7&roe@customer.example",
        "roe,jane@customer.example",
        "/contacts?email=jane.roe%40customer.example&list=7:",
        "jane.roe&#64;customer.example",
        "jane.roe&#064;customer.example",
        "jane.roe&#x40;customer.example",
        "jane.roe\\u0040customer.example",
        "roe@[10.0.0.1]",
        '"jane roe"@customer.example',
        "&quot;jane roe&quot;@customer.example",
        '\\"jane roe\\"@customer.example',
        '"jane roe"%40customer.example',
        "roe @ customer.example",
        "roe &#64; customer.example",
    ],
)
def test_an_address_is_masked_in_every_spelling(address: str) -> None:
    shown = redact(f"Bad contact {address} in list 7")
    assert shown == "Bad contact <address> in list 7"


def test_an_address_at_the_cut_is_masked_or_dropped() -> None:
    for length in range(440, 520):
        shown = redact("x" * 200 + " " + "y" * (length - 201) + " roe@customer.example z")
        assert "roe" not in shown
        assert "customer" not in shown


@pytest.mark.parametrize("secret", ["hunter2", "hunter 22 hunter", "h" * 80])
def test_a_secret_at_the_cut_is_masked_or_dropped(secret: str) -> None:
    for length in range(150, 620):
        for before in ("x " * length, f"{secret} " * 4 + "x " * (length - 4)):
            shown = redact((before + secret + " y" * 400), (secret,))
            assert "h" not in shown
            assert len(shown) <= 301


def test_only_the_beginning_of_a_long_text_is_shown_and_space_is_folded() -> None:
    assert redact("a\n\t b") == "a b"
    assert redact("word " * 100_000) == ("word " * 60 + "…")


@pytest.mark.parametrize("run", ["x", "@", "%", "&", '"', '"@', "&#", "x@", "[", "%4", " ", "' \""])
def test_a_text_of_any_length_costs_no_more_than_its_beginning(run: str) -> None:
    text = run * 1_000_000
    began = time.monotonic()
    assert len(redact(text, secret_spellings("p&ss<w>\"o'rd%"))) <= 301
    assert time.monotonic() - began < 0.5


PASSWORDS = ["p&ss<w>\"ö'rd%", "a  b\tc", "ö@é", "\\n\\u0041", "+ /?", "'\"&<>", "😀ü"]
SPELLINGS = {
    "plain": str,
    "folded": lambda password: " ".join(password.split()),
    "XML": escape,
    "XML with quotes": lambda password: escape(password, {'"': "&quot;", "'": "&apos;"}),
    "HTML by .NET": lambda password: escape(password, {'"': "&quot;", "'": "&#39;"}),
    "HTML by .NET, letters as numbers": lambda password: (
        escape(password, {'"': "&quot;", "'": "&#39;"})
        .encode("ascii", "xmlcharrefreplace")
        .decode()
    ),
    "HTML by Python": html.escape,
    "URL": lambda password: quote(password, safe=""),
    "URL in lower case": lambda password: re.sub(
        "%..", lambda code: code[0].lower(), quote(password, safe="")
    ),
    "form": quote_plus,
    "JSON": lambda password: json.dumps(password)[1:-1],
    "JSON in UTF-8": lambda password: json.dumps(password, ensure_ascii=False)[1:-1],
    "Python": lambda password: repr(password)[1:-1],
}


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_a_password_is_masked_in_every_spelling(password: str, spell: Callable[[str], str]) -> None:
    secrets = secret_spellings(password)
    assert list(map(len, secrets)) == sorted(map(len, secrets), reverse=True)
    shown = redact(f"The password [{spell(password)}] is wrong", secrets)
    assert shown == "The password [****] is wrong"
