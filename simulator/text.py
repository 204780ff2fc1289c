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
PLAIN: dict[str, tuple[str, ...]] = {
    "list": (
        "Newsletter",
        "VIP Customers",
        "Store Events",
        "Product Updates",
        "Outlet",
        "Rewards Members",
    ),
    "campaign": (
        "Spring Collection",
        "Summer Sale",
        "Back to School",
        "Black Friday",
        "Holiday Gift Guide",
        "Winter Clearance",
        "New Arrivals",
        "Loyalty Rewards",
    ),
    "subject": (
        "Spring sale: 20% off everything",
        "New arrivals you will love",
        "Your weekend starts here: free shipping",
        "Last chance: the sale ends tonight",
        "Five outfits for the first warm days",
        "A thank-you gift for our best customers",
        "Back in stock: your favorites",
        "Meet the makers of our new collection",
        "The gift guide for last-minute shoppers",
        "Early access starts now",
        "What other customers are buying",
        "Two for one, this week only",
        "How to care for leather shoes",
        "You are invited: an evening in our store",
        "Save the date: Black Friday begins early",
        "Ten ideas for a cozy home",
    ),
    "mail": (
        "Welcome! Here is 10% off your first order",
        "You left something in your cart",
        "How do you like your order?",
        "Happy birthday from all of us",
        "Still thinking it over?",
        "Your order has shipped",
    ),
    "conversation": (
        "Welcome Series",
        "Abandoned Cart",
        "After the Purchase",
        "Birthday",
        "We Miss You",
    ),
    "link": ("Shop now", "View in browser", "See the collection", "Find a store", "Read the story"),
    "sender": ("Example Shop", "Example Outlet", "Example Rewards"),
    "domain": ("www.example.com", "shop.example.com"),
    "header": ("Profile", "Preferences", "Purchases"),
    "attribute": ("First Name", "Birthday", "Favorite Store", "Shoe Size", "Last Purchase"),
    "import": ("Point of sale", "Store sign-ups", "Online orders", "Event guests"),
}
"""Texts as most accounts have them, by what they are of."""
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


def plain_text(what: str, number: int) -> str:
    """Return one of the plain texts."""
    return PLAIN[what][number % len(PLAIN[what])]


def email_address(number: int, noise: int) -> Text:
    """Return a contact's address, unusual for some, absent for a few."""
    variant = noise & 127
    if variant == 0 and noise & 0x380 == 0:
        return None
    template = _EMAILS.get(variant)
    if template is not None:
        return template.format(number)
    return f"user{number}@{_DOMAINS[noise >> 8 & 3]}"
