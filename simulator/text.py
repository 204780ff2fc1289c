"""Texts that real senders write and that break careless readers of XML."""

from __future__ import annotations

from typing import Final


class _Nil:
    """The value of an element present with xsi:nil; an absent element is None."""

    def __repr__(self) -> str:
        return "NIL"


NIL: Final = _Nil()
Text = str | None | _Nil

TEXTS: tuple[Text, ...] = (
    "Spring sale: 20% off",
    "Fish & Chips <b>today</b> \"only\" 'here' ]]> &amp;",
    "Últimas horas — 50 % de réduction 🎉👩‍👩‍👧",
    "新着情報、本日限定セール",
    "مرحبا بكم في متجرنا",
    "combining e\u0301 a\u030a n\u0303",
    "  leading and trailing  ",
    "first line\nsecond line\ttabbed",
    "carriage\rreturn",
    "<![CDATA[not really]]>",
    "{{handlebars}} ${dollar} %s %(name)s \\n \\u0041",
    "no\u00a0break\u2028separator\u200bzero width",
    None,
    NIL,
    "",
    "Your order #12345",
)
_EMAILS: dict[int, str] = {
    1: "o'brien+{}&sons@example.com",
    2: "jürgen.{}@bücher.example",
    3: "{}@例え.jp",
    4: '"quoted <{}>"@example.org',
    5: " user{}@example.net ",
    6: "User.{}@Example.COM",
}
_DOMAINS = ("example.com", "example.org", "mail.example.net", "shop.example")
GARBAGE_DATES = ("n/a", "13/45/2014 99:99:99", "yesterday", "2014-13-45T00:00:00")


def email_address(number: int, noise: int) -> Text:
    """Return a contact's address, unusual for some, absent for a few."""
    variant = noise & 127
    if variant == 0 and noise & 0x380 == 0:
        return None
    template = _EMAILS.get(variant)
    if template is not None:
        return template.format(number)
    return f"user{number}@{_DOMAINS[noise >> 8 & 3]}"
