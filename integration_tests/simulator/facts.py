"""The values of every column, before anyone writes them as XML or as records.

Dates are instants (None is .NET's empty date), texts may be absent (None), nil, or empty.
"""

from __future__ import annotations

from typing import Any

from integration_tests.simulator.account import (
    BOUNCE,
    CLICK,
    OPEN,
    READ,
    REMOVAL,
    Account,
    ContactList,
    Message,
    chance,
    mix,
)  # fmt: skip
from integration_tests.simulator.clock import DAY
from integration_tests.simulator.text import NIL, TEXTS, Text

Facts = dict[str, Any]
DATES = frozenset({"CreateDate", "SendDate"})
_FLAGS = (
    "EnableRemovalLink", "EnableBrowserLink", "EnableDoubleOptin", "EnableListHygiene",
    "ShowEmailList", "ShowAdvancedPersonalization", "EnableRSS", "EnableGoogleAnalytics",
    "EnableInternationalization", "EnableDynamicContent", "EnableListRemoveHeader",
)  # fmt: skip
_REASONS: tuple[Text, ...] = ("Hard", "Soft", "Unknown User", "Mailbox Full", None, "Block & Spam")
_REMOVALS: tuple[Text, ...] = ("Subscriber", "Spam Complaint", "Admin", NIL, None, "")
_ADDITIONS: tuple[Text, ...] = ("Web Form", "Import", "API", None, NIL, "", "Point <of> Sale")


def list_facts(account: Account, one: ContactList) -> Facts:
    """Give the columns of one contact list."""
    noise = mix(one.seed + 1)
    vmta: Facts | None = None
    if noise & 3:
        vmta = {"VmtaID": noise % 1_000, "Description": TEXTS[noise >> 4 & 15]}
    return {
        "ListID": one.list_id,
        "CreateDate": None if noise >> 40 & 7 == 0 else account.start - noise % (900 * DAY),
        **{name: bool(noise >> place & 1) for place, name in enumerate(_FLAGS[:2])},
        "bounceHandling": noise % 3,
        **{name: bool(noise >> place & 1) for place, name in enumerate(_FLAGS[2:6], 2)},
        "BounceUnsubscribeCount": noise % 7,
        **{name: bool(noise >> place & 1) for place, name in enumerate(_FLAGS[6:], 6)},
        "ListName": f"List {one.index} {TEXTS[one.index % 12]}",
        "FromName": TEXTS[noise >> 12 & 15],
        "FromEmail": f"news{one.index}@example.com",
        "Vmta": vmta,
        "DomainAliasLink": TEXTS[noise >> 16 & 15],
        "DomainAliasEmail": None if noise >> 20 & 1 else "mail.example.com",
        "GoogleTrackingDomains": [f"shop{n}.example" for n in range(noise >> 24 & 3)],
    }


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 4) if whole else 0.0


def activity_facts(account: Account, message: Message) -> Facts:
    """Give the columns of one message, its counters as of the account's clock."""
    *rows, clickers, repeaters = account.activity(message, account.now)
    delivered = message.recipients - rows[BOUNCE]
    conversions = rows[CLICK] // 10
    total = conversions * (1_000 + message.seed % 90_000)
    return {
        "ListID": message.contact_list.list_id,
        "MsgID": message.msg_id,
        "SendDate": message.sent,
        "DeliverCount": delivered,
        "RemoveCount": rows[REMOVAL],
        "RemovePercent": _percent(rows[REMOVAL], delivered),
        "OpenCount": rows[OPEN],
        "OpenPercent": _percent(rows[OPEN], delivered),
        "ReadCount": rows[READ],
        "ReadPercent": _percent(rows[READ], delivered),
        "ClickCount": rows[CLICK],
        "ClickerCount": clickers,
        "RepeatClickerCount": repeaters,
        "NewClickerCount": clickers - repeaters,
        "ClickerPercent": _percent(clickers, delivered),
        "OrderTotal": total / 100,
        "ConversionCount": conversions,
        "AverageOrderValue": round(total / 100 / conversions, 2) if conversions else 0.0,
        "Subject": message.subject,
    }


def delivery_facts(account: Account, message: Message) -> Facts:
    """Give the columns of a message's delivery report."""
    bounced = account.visible(message, BOUNCE)
    delivered = message.recipients - bounced
    return {
        "ListID": message.contact_list.list_id,
        "MsgID": message.msg_id,
        "SendDate": message.sent,
        "DeliverCount": delivered,
        "DeliverPercent": _percent(delivered, message.recipients),
        "BounceCount": bounced,
        "BouncePercent": _percent(bounced, message.recipients),
        "PassAlongCount": message.seed % 5,
        "Subject": message.subject,
    }


def click_link(noise: int) -> tuple[Text, Text]:
    """Give a click's LinkDescription and LinkUrl."""
    url = None if noise >> 40 & 255 == 0 else f"https://shop.example/p?id={noise & 63}&utm=é"
    return TEXTS[noise >> 6 & 15], url


def bounce_cause(noise: int) -> tuple[Text, Text, int]:
    """Give a bounce's BounceReason, BounceDetail and BounceCount."""
    detail: Text = f"550 5.1.1 <user> unknown [{noise & 1023}] & ]]>" if noise >> 10 & 7 else NIL
    return _REASONS[noise % len(_REASONS)], detail, 1 + (noise >> 13) % 5


def removal_history(message: Message, noise: int) -> tuple[int | None, Text]:
    """Give the AdditionDate and the RemovalMethod of a removed contact."""
    added = None if noise >> 40 & 15 == 0 else message.sent - int(chance(noise) * 700 * DAY)
    return added, _REMOVALS[noise % len(_REMOVALS)]


def addition_method(noise: int) -> Text:
    """Give the AdditionMethod of a subscribed contact."""
    return _ADDITIONS[noise % len(_ADDITIONS)]
