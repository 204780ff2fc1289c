"""All tables, declared as data: the operation that returns the rows, how the table is sliced, its
keys.

A further table of a known parent is one `Table` here, one schema in `schemas/` and one operation
in the bundled WSDL.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from airbyte_cdk import ResourceSchemaLoader

SlicedBy = Literal["login", "account", "list", "report", "batch", "message", "conversation"]

RECENT = timedelta(days=30)
"""Counters change for this long after a message was sent, and events are frequent: revenue is
attributed for up to 30 days (Listrak's help center). Older messages are read weekly, by month."""

SETTLING = timedelta(days=3)
"""Sending ends, and most events happen, within this time after a message was sent. UNVERIFIED:
three days is the longest throttled send known."""

AGES = (timedelta(hours=1), timedelta(days=1), SETTLING)
"""Recipients have no date, so they are read again at these ages of their message, and at that of
the lookback window. UNVERIFIED: most sends end within the hour."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    :param row: the element of one row in the operation's result
    :param sliced_by: what it is sliced by: `login` (the lists of the login), `account`, `list`,
        `report` (a report that other tables are sliced by, too), `batch` (many messages a
        request), `message` or `conversation`
    :param key: primary key
    :param repeats: columns that `keep_repeated_events` adds to the key, so that repeated events of
        a contact stay separate
    :param added: columns that the connector adds
    :param ranged: whether the request has a span of dates
    :param paged: whether the request has a page number
    :param constants: further arguments of the request
    :param counter: a counter of the parent; where it is zero, nothing is requested; empty: none
    :param counted_by: the report that has this counter; empty: `report`
    :param expected_rows: a counter of the parent that is a lower bound for the number of rows
    :param recent: messages sent in this time before the last sync are read on every sync; zero:
        only new ones
    :param daily: messages sent in this time before the last sync are read every day
    :param ages: messages are read when they pass these ages
    :param monthly: whether messages are read every week, with their month
    :param dates: string columns that hold dates
    :param tolerates_empty_pages: whether pages without rows may be followed by pages with rows
    :param rows_can_leave: whether rows can disappear while pages are read, so that each pass is
        verified
    """

    name: str
    operation: str
    row: str
    sliced_by: SlicedBy
    key: tuple[str, ...]
    cursor: str | None = None
    repeats: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    ranged: bool = False
    paged: bool = False
    constants: tuple[tuple[str, bool], ...] = ()
    counter: str = ""
    counted_by: str = ""
    expected_rows: str = ""
    recent: timedelta = RECENT
    daily: timedelta = timedelta()
    ages: tuple[timedelta, ...] = ()
    monthly: bool = True
    dates: tuple[str, ...] = ()
    tolerates_empty_pages: bool = False
    rows_can_leave: bool = False

    @property
    def id_column(self) -> str:
        """The column that holds the parent's id, which is also the argument of the request."""
        columns = {"message": "MsgID", "batch": "MsgID", "conversation": "ConversationID"}
        return columns.get(self.sliced_by, "ListID")

    @property
    def counters(self) -> set[str]:
        """The counters of the parent that say how much there is to read."""
        return {self.counter, self.expected_rows} - {""}

    @property
    def report(self) -> str:
        """The report that contains the rows of this table, or what it is sliced by; empty: none."""
        reports = {"batch": "messages", "message": "messages", "conversation": "conversations"}
        return self.name if self.sliced_by == "report" else reports.get(self.sliced_by, "")


@functools.cache
def schema(table: str) -> Mapping[str, Any]:
    """Return the JSON schema of a table, by name."""
    return ResourceSchemaLoader("source_listrak").get_schema(table)


# fmt: off
_TERMINATED = (("IncludeTerminated", True),)
# Pages of rows dated within a span.
_dated = functools.partial(Table, ranged=True, paged=True)


def _message_events(
    name: str, report: str, row: str, date: str, counter: str, counted_by: str = ""
) -> Table:
    repeats = ("LinkUrl", date) if name == "clicks" else (date,)
    dates = ("AdditionDate", date) if name == "unsubs" else (date,)
    return _dated(f"message_{name}", f"ReportRangeMessageContact{report}", row, "message",
                  ("MsgID", "EmailAddress"), date, repeats, added=("MsgID",),
                  counter=counter, counted_by=counted_by, expected_rows=counter, recent=SETTLING,
                  daily=RECENT, dates=dates)


def _conversation_events(
    name: str, report: str, date: str, counter: str, counted_by: str = ""
) -> Table:
    row = f"WSConversationContact{report}"
    return _dated(f"conversation_{name}", f"ReportConversationContact{report}", row, "conversation",
                  ("ConversationID", "MsgID", "ContactID", date), date, added=("ConversationID",),
                  counter=counter, counted_by=counted_by, monthly=False)


TABLES: Mapping[str, Table] = {table.name: table for table in (
    Table("lists", "GetContactListCollection", "WSContactList", "login", ("ListID",)),
    Table("messages", "ReportListMessageActivity", "WSMessageActivity", "report", ("MsgID",),
          "SendDate", ranged=True),
    _dated("subscribed_contacts", "ReportRangeSubscribedContacts", "WSContactSubscriptionInfo",
           "list", ("ContactID", "ListID"), "AdditionDate", added=("ListID",), rows_can_leave=True),
    Table("message_sends", "ReportMessageContactSent", "WSMessageRecipient", "message",
          ("MsgID", "EmailAddress"), "MsgID", added=("MsgID",), paged=True,
          expected_rows="DeliverCount", recent=timedelta(), ages=AGES, monthly=False,
          tolerates_empty_pages=True),
    _message_events("bounces", "Bounces", "WSContactBounce", "BounceDate", "BounceCount",
                    "message_deliveries"),
    _message_events("opens", "Open", "WSContactOpen", "OpenDate", "OpenCount"),
    _message_events("reads", "Read", "WSContactRead", "ReadDate", "ReadCount"),
    _message_events("clicks", "Click", "WSContactClick", "ClickDate", "ClickCount"),
    _message_events("unsubs", "Removal", "WSContactRemovalInfo", "RemovalDate", "RemoveCount"),
    _dated("list_removals", "ReportRangeListContactRemoval", "WSContactRemovalInfo", "list",
           ("ListID", "ContactID", "RemovalDate"), "RemovalDate", added=("ListID",)),
    _dated("list_address_changes", "ReportRangeListContactHygiene", "WSContactHygieneInfo", "list",
           ("ListID", "ContactID", "HygieneDate"), "HygieneDate", added=("ListID",),
           dates=("AddDate", "HygieneDate")),
    _dated("list_imports", "ReportListImportHistory", "WSImportHistory", "list", ("ImportFileID",),
           "StartDate", added=("ListID",)),
    Table("campaigns", "GetCampaignCollection", "WSCampaign", "list", ("ListID", "CampaignID")),
    Table("profile_headers", "GetProfileHeaderCollection", "WSProfileHeader", "list",
          ("ListID", "HeaderID")),
    Table("transactional_messages", "GetTransactionalMessageCollection", "WSTransactionalMessage",
          "list", ("ListID", "TransactionalMsgID"), added=("ListID",)),
    Table("message_deliveries", "ReportListMessageDelivery", "WSMessageDelivery", "report",
          ("MsgID",), "SendDate", ranged=True),
    Table("message_analytics", "GetMessageAnalyticsInformation", "WSMessageAnalyticsInformation",
          "batch", ("MsgID",), "SendDate"),
    Table("message_links", "ReportMessageLinkClick", "WSMessageLink", "message",
          ("MsgID", "LinkID"), "MsgID", paged=True, recent=timedelta(), daily=SETTLING),
    *(Table(f"message_{name.lower()}_locations", f"ReportMessageLocation{name}",
            f"WSMessageLocation{name}", "message", ("MsgID", "CountryID", "RegionID"), "MsgID",
            paged=True, counter=f"{name}Count", recent=timedelta(), daily=SETTLING)
      for name in ("Open", "Read", "Click")),
    Table("conversations", "ReportListConversationActivity", "WSConversationActivity", "report",
          ("ListID", "ConversationID"), constants=_TERMINATED),
    Table("conversation_deliveries", "ReportListConversationDelivery", "WSConversationDelivery",
          "report", ("ListID", "ConversationID"), constants=_TERMINATED),
    _conversation_events("sends", "Delivery", "SendDate", "SendCount", "conversation_deliveries"),
    _conversation_events("bounces", "Bounce", "BounceDate", "BounceCount",
                         "conversation_deliveries"),
    _conversation_events("opens", "Open", "OpenDate", "OpenCount"),
    _conversation_events("reads", "Read", "ReadDate", "ReadCount"),
    _conversation_events("unsubs", "Removal", "RemoveDate", "RemoveCount"),
    Table("conversation_links", "ReportConversationLinkClick", "WSConversationLinkClick",
          "conversation", ("ConversationID", "MsgID", "LinkID"), added=("ConversationID",),
          paged=True, monthly=False),
    _dated("abuse_complaints", "ReportAdminContactFeedbackLoop", "WSFeedbackLoopListing", "account",
           ("ListID", "MessageID", "ContactID", "AbuseDate"), "AbuseDate"),
)}
# fmt: on
"""All tables by name, in the order in which they are listed and read."""
