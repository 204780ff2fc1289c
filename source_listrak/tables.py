"""Every table as data: which operation brings its rows, how it is sliced, and its keys.

A further table of a known parent is one `Table` here, one schema in `schemas/` and one operation
in the bundled WSDL.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from typing import Any, Literal

Parent = Literal["login", "account", "list", "report", "batch", "message", "conversation"]

RECENT = timedelta(days=30)
"""Messages sent in this time before the last sync are read on every sync: revenue is attributed
for up to 30 days, and most activity arrives then."""

SETTLING = timedelta(days=3)
"""Recipients, links and locations carry no date, so those of messages sent in this time before
the last sync are read again. UNVERIFIED: three days is the longest throttled send known."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    :param row: the element of one row in the operation's result
    :param parent: what it is sliced by: `login` (the lists of the login), `account`, `list`,
        `report` (a report that other tables are sliced by, too), `batch` (many messages a
        request), `message` or `conversation`
    :param key: primary key
    :param repeats: columns that make each of several events of one contact a row of its own, added
        to the key with `keep_repeated_events`
    :param added: columns that the rows do not carry themselves
    :param ranged: whether the request has a span of dates
    :param paged: whether the request has a page number
    :param constants: further arguments of the request
    :param counter: a counter of the parent; where it is zero, nothing is requested
    :param minimum: a counter of the parent that the number of rows cannot be below
    :param recent: messages sent in this time before the last sync are read on every sync
    :param monthly: whether older messages are revisited with their month
    :param dates: string columns that hold dates
    :param tolerates_empty_pages: whether pages without rows may be followed by pages with rows
    :param departs: whether rows vanish while pages are read, so that a pass must be proved
    """

    name: str
    operation: str
    row: str
    parent: Parent
    key: tuple[str, ...]
    cursor: str | None = None
    repeats: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    ranged: bool = False
    paged: bool = False
    constants: tuple[tuple[str, bool], ...] = ()
    counter: str | None = None
    minimum: str | None = None
    recent: timedelta = RECENT
    monthly: bool = True
    dates: tuple[str, ...] = ()
    tolerates_empty_pages: bool = False
    departs: bool = False

    @property
    def id_column(self) -> str:
        """The column that holds the parent's id, which is also the argument of the request."""
        columns = {"message": "MsgID", "batch": "MsgID", "conversation": "ConversationID"}
        return columns.get(self.parent, "ListID")


@functools.cache
def schema(table: str) -> Mapping[str, Any]:
    """Return the JSON schema of a table, by name."""
    path = resources.files("source_listrak").joinpath(f"schemas/{table}.json")
    parsed: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return parsed


# fmt: off
_TERMINATED = (("IncludeTerminated", True),)


def _message_events(name: str, report: str, row: str, date: str, counter: str) -> Table:
    return Table(
        f"message_{name}", f"ReportRangeMessageContact{report}", row, "message",
        ("MsgID", "EmailAddress"), date,
        repeats=("LinkUrl", date) if name == "clicks" else (date,), added=("MsgID",),
        ranged=True, paged=True, counter=counter, minimum=counter,
        dates=("AdditionDate", date) if name == "unsubs" else (date,),
    )


def _message_counters(name: str, report: str, key: tuple[str, ...], counter: str | None) -> Table:
    return Table(
        f"message_{name}", f"ReportMessage{report}",
        "WSMessageLink" if name == "links" else f"WSMessage{report}", "message",
        ("MsgID", *key), "MsgID", paged=True, counter=counter, recent=SETTLING,
    )


def _list_events(name: str, report: str, row: str, date: str, dates: tuple[str, ...]) -> Table:
    return Table(
        name, f"ReportRangeListContact{report}", row, "list", ("ListID", "ContactID", date), date,
        added=("ListID",), ranged=True, paged=True, dates=dates,
    )


def _conversation_events(name: str, report: str, date: str, counter: str) -> Table:
    return Table(
        f"conversation_{name}", f"ReportConversationContact{report}",
        f"WSConversationContact{report}", "conversation",
        ("ConversationID", "MsgID", "ContactID", date), date,
        added=("ConversationID",), ranged=True, paged=True, counter=counter,
    )


_ALL = (
    Table("lists", "GetContactListCollection", "WSContactList", "login", ("ListID",)),
    Table("messages", "ReportListMessageActivity", "WSMessageActivity", "report", ("MsgID",),
          "SendDate", ranged=True),
    Table("subscribed_contacts", "ReportRangeSubscribedContacts", "WSContactSubscriptionInfo",
          "list", ("ContactID", "ListID"), "AdditionDate", added=("ListID",), ranged=True,
          paged=True, departs=True),
    Table("message_sends", "ReportMessageContactSent", "WSMessageRecipient", "message",
          ("MsgID", "EmailAddress"), "MsgID", added=("MsgID",), paged=True, minimum="DeliverCount",
          recent=SETTLING, monthly=False, tolerates_empty_pages=True),
    _message_events("bounces", "Bounces", "WSContactBounce", "BounceDate", "BounceCount"),
    _message_events("opens", "Open", "WSContactOpen", "OpenDate", "OpenCount"),
    _message_events("reads", "Read", "WSContactRead", "ReadDate", "ReadCount"),
    _message_events("clicks", "Click", "WSContactClick", "ClickDate", "ClickCount"),
    _message_events("unsubs", "Removal", "WSContactRemovalInfo", "RemovalDate", "RemoveCount"),
    _list_events("list_removals", "Removal", "WSContactRemovalInfo", "RemovalDate", ()),
    _list_events("list_address_changes", "Hygiene", "WSContactHygieneInfo", "HygieneDate",
                 ("AddDate", "HygieneDate")),
    Table("list_imports", "ReportListImportHistory", "WSImportHistory", "list", ("ImportFileID",),
          "StartDate", added=("ListID",), ranged=True, paged=True),
    Table("campaigns", "GetCampaignCollection", "WSCampaign", "list", ("ListID", "CampaignID")),
    Table("profile_headers", "GetProfileHeaderCollection", "WSProfileHeader", "list",
          ("ListID", "HeaderID")),
    Table("transactional_messages", "GetTransactionalMessageCollection", "WSTransactionalMessage",
          "list", ("ListID", "TransactionalMsgID"), added=("ListID",)),
    Table("message_deliveries", "ReportListMessageDelivery", "WSMessageDelivery", "report",
          ("MsgID",), "SendDate", ranged=True),
    Table("message_analytics", "GetMessageAnalyticsInformation", "WSMessageAnalyticsInformation",
          "batch", ("MsgID",), "SendDate"),
    _message_counters("links", "LinkClick", ("LinkID",), None),
    _message_counters("open_locations", "LocationOpen", ("CountryID", "RegionID"), "OpenCount"),
    _message_counters("read_locations", "LocationRead", ("CountryID", "RegionID"), "ReadCount"),
    _message_counters("click_locations", "LocationClick", ("CountryID", "RegionID"), "ClickCount"),
    Table("conversations", "ReportListConversationActivity", "WSConversationActivity", "report",
          ("ListID", "ConversationID"), constants=_TERMINATED),
    Table("conversation_deliveries", "ReportListConversationDelivery", "WSConversationDelivery",
          "report", ("ListID", "ConversationID"), constants=_TERMINATED),
    _conversation_events("sends", "Delivery", "SendDate", "SendCount"),
    _conversation_events("bounces", "Bounce", "BounceDate", "BounceCount"),
    _conversation_events("opens", "Open", "OpenDate", "OpenCount"),
    _conversation_events("reads", "Read", "ReadDate", "ReadCount"),
    _conversation_events("unsubs", "Removal", "RemoveDate", "RemoveCount"),
    Table("conversation_links", "ReportConversationLinkClick", "WSConversationLinkClick",
          "conversation", ("ConversationID", "MsgID", "LinkID"), added=("ConversationID",),
          paged=True),
    Table("abuse_complaints", "ReportAdminContactFeedbackLoop", "WSFeedbackLoopListing", "account",
          ("ListID", "MessageID", "ContactID", "AbuseDate"), "AbuseDate", ranged=True, paged=True),
)
# fmt: on

COUNTERS: Mapping[str, tuple[str, ...]] = {
    "messages": ("OpenCount", "ReadCount", "ClickCount", "RemoveCount", "DeliverCount"),
    "message_deliveries": ("BounceCount",),
    "conversations": ("OpenCount", "ReadCount", "RemoveCount"),
    "conversation_deliveries": ("SendCount", "BounceCount"),
}
"""The counters of each report that say how much there is to read of its rows."""

TABLES: Mapping[str, Table] = {table.name: table for table in _ALL}
"""All tables by name, in the order in which they are listed and read."""
