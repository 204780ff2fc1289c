"""The service's own text, made safe to log.

A list of what to hide would never be complete: an address has many encodings. So a word is shown
only if it is on a list of words that error messages consist of, and a number only if it is short
and alone between such words. Anything else, which includes all addresses, names, telephone numbers
and passwords in any encoding, is masked.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

MASK = "****"

_LOOKED_AT = 500
"""Characters of the service's text that are looked at; the rest is dropped."""
_SHOWN = 300
_WORDS = frozenset(Path(__file__).with_name("words.txt").read_text("utf-8").split())
# Letters, with marks within and around them.
_WORD = re.compile(r"""[\[({<'"]*([A-Za-z]+(?:['./-][A-Za-z]+)*)[])}>'".,:;!?]*""")
# A number of at most four digits, such as an HTTP status, or a dash or arrow.
_ALONE = re.compile(r"""[\[({<'"]*[0-9]{1,4}[])}>'".,:;!?]*|-+>?""")
_PARTS = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""Words within names such as "NullReferenceException" and "MsgID"."""


def redact(text: str) -> str:
    """Return the beginning of the service's text, in single spaces; what is not known is masked."""
    words = text[:_LOOKED_AT].split()
    if is_cut := len(text) > _LOOKED_AT:
        words = words[:-1]  # may be part of a word
    runs = ((is_known, " ".join(run)) for is_known, run in groupby(words, _is_known))
    shown = " ".join(run if is_known or _ALONE.fullmatch(run) else MASK for is_known, run in runs)
    return f"{shown}…" if is_cut else shown


def _is_known(word: str) -> bool:
    match = _WORD.fullmatch(word)
    return match is not None and all(part.lower() in _WORDS for part in _PARTS.findall(match[1]))


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return the beginning of a text without secrets, of which the longest come first."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def spellings(password: str) -> list[str]:
    """Return the password as it is, and as it is among words in single spaces, longest first.

    Other spellings contain what is no word, so `redact` masks them.
    """
    return sorted({password, " ".join(password.split())} - {""}, key=len, reverse=True)
