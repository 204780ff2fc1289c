"""The service's own text, made safe to log: without the password and customers' addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from itertools import product
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

_LOOKED_AT = 500
"""Characters of the service's text that are searched for secrets; the rest is dropped."""
_SHOWN = 300
_AT_SIGN = r"(?:@|%40|&#0{0,5}64;|&#[xX]0{0,5}40;|\\u0040)"
_SPACED_AT_SIGN = re.compile(rf" ?({_AT_SIGN}) ?")
_ADDRESS_WORD = re.compile(_AT_SIGN)
_QUOTE = re.compile(r"\\?(?:&quot;|&#34;|&#[xX]22;|\")")
_DOUBLE_QUOTES = ('"', "&quot;", "&#34;", "&#x22;")
_SINGLE_QUOTES = ("'", "&apos;", "&#39;", "&#039;", "&#x27;")
_QUOTED_LOCAL_PART = re.compile(rf'"[^"]*"(?={_AT_SIGN})')


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """Return the beginning of the service's text without secrets and e-mail addresses.

    Each word with an at sign in any spelling is masked as a whole. No expression here takes more
    than linear time.
    """
    longest = max(map(len, secrets), default=0)
    looked_at = text[: _LOOKED_AT + longest]
    is_cut = looked_at != text
    for secret in secrets:
        looked_at = looked_at.replace(secret, "****")
    if is_cut:
        looked_at = looked_at[: -longest or None]  # may end within a secret
    words = _QUOTE.sub('"', looked_at).split()
    looked_at = " ".join(words[:-1] if is_cut else words)  # may end within an address
    looked_at = _QUOTED_LOCAL_PART.sub("", _SPACED_AT_SIGN.sub(r"\1", looked_at))
    masked = ("<address>" if _ADDRESS_WORD.search(word) else word for word in looked_at.split(" "))
    shown = " ".join(masked)
    return shown if len(shown) <= _SHOWN and not is_cut else f"{shown[:_SHOWN]}…"


def secret_spellings(password: str) -> tuple[str, ...]:
    """Return the password in every spelling in which it could be printed, longest first.

    As XML, HTML (also as .NET encodes it), URLs, JSON and Python spell it.
    """
    folded = " ".join(password.split())  # as the texts of faults are
    quoted = {quote_plus(password), quote(password), quote(password, safe="")}
    quoted |= {re.sub("%..", lambda code: code[0].lower(), spelling) for spelling in quoted}
    for literal in (repr(password), json.dumps(password), json.dumps(password, ensure_ascii=False)):
        quoted.add(literal[1:-1])
    # .NET's JSON also escapes what HTML reserves.
    quoted |= {re.sub("[<>&']", lambda c: f"\\u{ord(c[0]):04x}", spelling) for spelling in quoted}
    escaped = {
        escape(text, {'"': double, "'": single})
        for double, single, text in product(_DOUBLE_QUOTES, _SINGLE_QUOTES, (password, folded))
    }
    # .NET's HTML encoder writes letters like é as numbers.
    escaped |= {text.encode("ascii", "xmlcharrefreplace").decode() for text in escaped}
    spellings = {password, folded, *quoted, *escaped} - {""}
    return tuple(sorted(sorted(spellings), key=len, reverse=True))
