"""The tables: operation, row element, request, columns in the service's order, values.

One ``Table`` is everything the simulator knows about a table: the service renders it, the truth
reads it row by row, and the tests walk through ``TABLES``. A new table is one entry here.

Values are not yet XML or records: dates are instants (None is .NET's empty date), dates in strings
are (instant, noise) pairs, texts may be absent (None), nil, or empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from simulator.account import (
    Account,
    ContactList,
    Conversation,
    Kind,
    Message,
    Stage,
    chance,
    mix,
)
from simulator.clock import DAY, SECOND
from simulator.counts import Counts, link_of
from simulator.series import (
    ALL_TIME,
    Contacts,
    Entry,
    Even,
    Events,
    Fixed,
    Merged,
    Series,
    Stages,
    address_changes,
    imports,
    removals,
    sendings,
)
from simulator.text import NIL, Text

Values = tuple[Any, ...]
Span = tuple[int, int]

_FLAGS = range(11)
_REASONS: tuple[Text, ...] = ("Hard", "Soft", "Unknown User", "Mailbox Full", None, "Block & Spam")
_REMOVALS: tuple[Text, ...] = ("Subscriber", "Spam Complaint", "Admin", NIL, None, "")
_ADDITIONS: tuple[Text, ...] = ("Web Form", "Import", "API", None, NIL, "", "Point <of> Sale")
_PROVIDERS: tuple[Text, ...] = ("Yahoo!", "AOL", "Comcast", None, "Microsoft (SNDS & JMRP)")
_DATA_TYPES = ("RadioButton", "CheckBox", "TextArea", "Numeric", "Text", "Date", "ContentBlock")
_LOCATIONS: tuple[tuple[int, int, Text, Text], ...] = (
    (1, 10, "United States", "Pennsylvania"),
    (1, 11, "United States", "New York"),
    (1, 12, "United States", "California"),
    (1, 13, "United States", None),
    (2, 20, "Canada", "Ontario"),
    (2, 21, "Canada", "Québec"),
    (3, 0, "Côte d'Ivoire", ""),
    (4, 0, "Germany", NIL),
    (5, 50, "日本", "東京都"),
    (6, 60, "Trinidad & Tobago", "Tobago"),
    (0, 0, None, None),
    (7, 70, "United Kingdom", "England"),
)


class Parent(Enum):
    """What a table is requested for; ``BATCH`` is a number of messages at once."""

    ACCOUNT = auto()
    LIST = auto()
    MESSAGE = auto()
    CONVERSATION = auto()
    BATCH = auto()


@dataclass(frozen=True)
class View:
    """An account as seen at an instant, with the counts of that instant."""

    account: Account
    counts: Counts
    now: int


@dataclass(frozen=True)
class Rows:
    """The rows of a table under one parent; those ``is_extra`` are left out unless requested."""

    series: Series
    values: Callable[[int], Values]
    is_extra: Callable[[int], bool] | None = None


@dataclass(frozen=True)
class Wrong:
    """A text in a column of another type."""

    text: str


@dataclass(frozen=True)
class Column:
    """A column: the name of its element, and the kind of its values (service.py writes them)."""

    name: str
    kind: str


@dataclass(frozen=True)
class Table:
    """One table; ``request`` are the parameters in their order, WSException apart."""

    name: str
    operation: str
    row: str
    parent: Parent
    request: tuple[str, ...]
    columns: tuple[Column, ...]
    build: Callable[[View, Any, Span], Rows]
    has_exception: bool

    def rows(self, view: View, owner: Any, span: Span = ALL_TIME) -> Rows:
        """Return the rows under a parent; those outside the span may be missing."""
        rows = self.build(view, owner, span)
        config = view.account.config
        wrong = {
            place: Wrong(config.wrong_values[f"{self.name}.{column.name}"])
            for place, column in enumerate(self.columns)
            if f"{self.name}.{column.name}" in config.wrong_values
        }
        if not wrong:
            return rows

        def values(index: int) -> Values:
            right = rows.values(index)
            if index % config.wrong_every:
                return right
            return tuple(wrong.get(place, value) for place, value in enumerate(right))

        return Rows(rows.series, values, rows.is_extra)


# The account and its lists


def _lists(view: View, _: None, __: Span) -> Rows:
    account = view.account
    lists = account.lists()

    def values(index: int) -> Values:
        one = lists[index]
        noise = mix(one.seed + 1)
        vmta = None
        if noise & 3:
            vmta = {"VmtaID": noise % 1_000, "Description": account.text("sender", noise >> 4)}
        flag = [bool(noise >> place & 1) for place in _FLAGS]
        return (
            one.list_id,
            account.list_name(one),
            None
            if noise >> 40 & 7 == 0
            else account.start - noise % (900 * DAY) // SECOND * SECOND,
            account.text("sender", noise >> 12),
            f"news{one.index}@example.com",
            *flag[:2],
            noise % 3,
            *flag[2:4],
            vmta,
            *flag[4:6],
            noise % 7,
            account.text("domain", noise >> 16),
            None if noise >> 20 & 1 else "mail.example.com",
            *flag[6:8],
            [f"shop{n}.example" for n in range(noise >> 24 & 3)],
            *flag[8:],
        )

    return Rows(Fixed(len(lists)), values)


def _complaints(view: View, _: None, __: Span) -> Rows:
    account = view.account
    lists = [one for one in account.every_list() if one.messages]
    config = account.config
    every = Even(account, account.seed + 47, config.complaints if lists else 0, view.now)
    entries = []
    for index in range(every.count):
        noise = every.noise(index)
        one = lists[noise % len(lists)]
        if every.raw(index) <= view.now and one.list_id not in account.hidden_lists:
            entries.append(Entry(every.raw(index), every.stamp(index), (one.index, noise)))
    series = Merged(entries)

    def values(index: int) -> Values:
        entry = series.entries[index]
        place, noise = entry.what
        one = account.every_list()[place]
        sent = sendings(account, one, entry.raw)
        message = account.message(one, max(0, sent.count - 3))
        campaign = account.campaign_of(message)
        number = noise % max(1, one.contacts)
        return (
            one.list_id,
            account.list_name(one),
            0 if campaign is None else account.campaign_id(one, campaign),
            None if campaign is None else account.campaign_name(one, campaign),
            message.msg_id,
            message.subject,
            str(account.contact_number(one, number)),
            account.contact(one, number)[1],
            entry.stamp,
            _PROVIDERS[noise % len(_PROVIDERS)],
        )

    return Rows(series, values)


def _campaigns(view: View, one: ContactList, _: Span) -> Rows:
    account = view.account
    messages = view.counts.campaign_messages(one)

    def values(index: int) -> Values:
        name = account.campaign_name(one, index)
        return account.campaign_id(one, index), one.list_id, name, messages.get(index, 0)

    return Rows(Fixed(account.config.campaigns_per_list), values)


def _profile_headers(view: View, one: ContactList, _: Span) -> Rows:
    def values(index: int) -> Values:
        noise = mix(one.seed + 53 + index)
        header_id = 40_000 + one.index * 8 + index
        attributes = [
            {
                "AttributeID": header_id * 10 + place,
                "HeaderID": header_id,
                "Name": view.account.text("attribute", noise >> 4 * place),
                "DataType": _DATA_TYPES[((noise >> 8) + place) % 7],
                "MaxLength": 1 << place,
                "Position": place + 1,
            }
            for place in range(noise & 3)
        ]
        return (
            header_id,
            one.list_id,
            view.account.text("header", noise >> 40),
            index + 1,
            attributes,
        )

    return Rows(Fixed(one.seed % 4), values)


def _transactional(view: View, one: ContactList, _: Span) -> Rows:
    def values(index: int) -> Values:
        return 60_000 + one.index * 8 + index, view.account.text("mail", (one.seed >> 11) + index)

    return Rows(Fixed(one.seed % 3), values)


def _contacts(view: View, one: ContactList, _: Span) -> Rows:
    account = view.account
    contacts = Contacts(account, one, view.now)

    def values(number: int) -> Values:
        method = _ADDITIONS[contacts.noise(number) % len(_ADDITIONS)]
        return *account.contact(one, number), contacts.stamp(number), method

    return Rows(contacts, values)


def _removals(view: View, one: ContactList, span: Span) -> Rows:
    account = view.account
    series = removals(account, one, view.now, span)
    contacts = Contacts(account, one, view.now)

    def values(index: int) -> Values:
        entry = series.entries[index]
        origin, number = entry.what
        if origin >= 0:
            return _removal(account, account.message(one, origin), number, entry.stamp)
        if origin < -1:
            conversation = account.conversation(one, -2 - origin)
            stages = Stages(account, conversation, Stage.REMOVAL, view.now)
            who = account.conversation_contact(conversation, stages.send(number))
            added, method = _history(stages.stamp(number) - DAY, stages.noise(number))
            return *account.contact(one, who), added, entry.stamp, method
        noise = mix(contacts.noise(number) + entry.raw)
        method = _REMOVALS[noise % len(_REMOVALS)]
        return *account.contact(one, number), contacts.stamp(number), entry.stamp, method

    return Rows(series, values)


def _address_changes(view: View, one: ContactList, _: Span) -> Rows:
    account = view.account
    changes = address_changes(account, one, view.now)

    def values(index: int) -> Values:
        noise, stamp = changes.noise(index), changes.stamp(index)
        contact_id, email = account.contact(one, noise % one.contacts)
        old = None if email is None else f"{email}m"
        added = stamp - int(chance(mix(noise)) * 300) * DAY
        return contact_id, old, email, (added, noise >> 1), (stamp, noise)

    return Rows(changes, values)


def _imports(view: View, one: ContactList, _: Span) -> Rows:
    account = view.account
    series = imports(account, one, view.now)

    def values(index: int) -> Values:
        noise, stamp = series.noise(index), series.stamp(index)
        total = noise % 5_000
        parts = [total * (noise >> 8 * place & 15) // 160 for place in range(7)]
        return (
            1 + one.index * 1_000_000 + index,
            ("Web", "FTP", NIL, None)[noise & 3],
            ("Add", "Remove", "Update")[noise % 3],
            account.text("import", noise >> 4),
            f"import {index} & co.csv",
            total * 61,
            stamp,
            stamp + noise % (900 * SECOND) // SECOND * SECOND,
            total,
            parts[0],
            total - sum(parts),
            *parts[1:],
            noise >> 50 & 7,
        )

    return Rows(series, values)


# Messages


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 4) if whole else 0.0


def _of_messages(view: View, one: ContactList, values: Callable[[Message], Values]) -> Rows:
    account = view.account
    mails = account.mails(one, view.now)
    if not mails:
        return Rows(
            sendings(account, one, view.now),
            lambda index: values(account.message(one, index)),
            lambda index: account.message(one, index).is_test,
        )
    every = sorted((*account.messages(one, view.now), *mails), key=lambda m: (m.raw, m.msg_id))
    series = Merged(
        Entry(message.raw, message.sent, (message.msg_id, place))
        for place, message in enumerate(every)
    )
    return Rows(
        series,
        lambda index: values(every[series.entries[index].what[1]]),
        lambda index: every[series.entries[index].what[1]].is_test,
    )


def _messages(view: View, one: ContactList, _: Span) -> Rows:
    account = view.account

    def values(message: Message) -> Values:
        counts = view.counts.activity(message)
        shown = account.counter
        delivered = message.recipients - counts.bounced
        conversions = counts.clicks // 10
        total = conversions * (1_000 + message.seed % 90_000)
        return (
            one.list_id,
            message.msg_id,
            message.subject,
            account.send_date(message),
            shown(delivered),
            shown(counts.removed),
            _percent(counts.removed, delivered),
            shown(counts.openers),
            _percent(counts.openers, delivered),
            shown(counts.readers),
            _percent(counts.readers, delivered),
            shown(counts.clicks),
            shown(counts.clickers),
            shown(counts.repeaters),
            shown(counts.clickers - counts.repeaters),
            _percent(counts.clickers, delivered),
            total / 100,
            conversions,
            round(total / 100 / conversions, 2) if conversions else 0.0,
        )

    return _of_messages(view, one, values)


def _deliveries(view: View, one: ContactList, _: Span) -> Rows:
    account = view.account

    def values(message: Message) -> Values:
        bounced = view.counts.activity(message).bounced
        delivered = message.recipients - bounced
        return (
            one.list_id,
            message.msg_id,
            message.subject,
            account.send_date(message),
            account.counter(delivered),
            _percent(delivered, message.recipients),
            account.counter(bounced),
            _percent(bounced, message.recipients),
            message.seed % 5,
        )

    return _of_messages(view, one, values)


def _analytics(view: View, messages: Sequence[Message], _: Span) -> Rows:
    account = view.account

    def values(index: int) -> Values:
        message = messages[index]
        one, noise = message.contact_list, message.seed
        campaign = account.campaign_of(message)
        return (
            0 if campaign is None else account.campaign_id(one, campaign),
            None if campaign is None else account.campaign_name(one, campaign),
            account.text("campaign", noise >> 12),
            f"campaign-{noise & 255}" if noise >> 30 & 1 else None,
            account.text("campaign", noise >> 16),
            ("Conductor", None, "Classic")[noise % 3],
            ("1", "2", NIL)[noise % 3],
            one.list_id,
            message.msg_id,
            account.send_date(message),
            message.subject,
        )

    return Rows(Fixed(len(messages)), values)


def _sends(view: View, message: Message, _: Span) -> Rows:
    account, one = view.account, message.contact_list
    contact, recipient = account.contact, account.recipient

    def values(place: int) -> Values:
        return (contact(one, recipient(message, place))[1],)

    def some_values(place: int) -> Values:
        return values(place) if account.has_address(message, place) else (None,)

    is_complete = not account.config.recipients_without_address
    return Rows(Fixed(message.recipients), values if is_complete else some_values)


def _opens(view: View, message: Message, _: Span, kind: int = int(Kind.OPEN)) -> Rows:
    account, one = view.account, message.contact_list
    events = Events(account, message, kind)
    contact, actor, at = account.contact, account.actor, events.at

    def values(index: int) -> Values:
        noise, stamp = at(index)
        contact_id, email = contact(one, actor(message, kind, index))
        return contact_id, email, (stamp, noise)

    return Rows(events, values)


def _reads(view: View, message: Message, span: Span) -> Rows:
    return _opens(view, message, span, Kind.READ)


def _link(account: Account, message: Message, link: int) -> tuple[Text, Text]:
    """Return a link's description and URL."""
    noise = mix(message.seed + 59 + link)
    url = None if noise & 31 == 0 else f"https://shop.example/p?id={message.index}.{link}&utm=é"
    return account.text("link", noise >> 6), url


def _clicks(view: View, message: Message, _: Span) -> Rows:
    account, one = view.account, message.contact_list
    kind = int(Kind.CLICK)
    events = Events(account, message, kind)
    contact, actor, at = account.contact, account.actor, events.at
    links = [_link(account, message, link) for link in range(message.links)]

    def values(index: int) -> Values:
        noise, stamp = at(index)
        contact_id, email = contact(one, actor(message, kind, index))
        description, url = links[link_of(message, noise)]
        return contact_id, email, description, url, (stamp, noise)

    return Rows(events, values)


def _bounce(noise: int) -> tuple[Text, Text, int]:
    """Return a bounce's reason, detail and count."""
    detail: Text = f"550 5.1.1 <user> unknown [{noise & 1023}] & ]]>" if noise >> 10 & 7 else NIL
    return _REASONS[noise % len(_REASONS)], detail, 1 + (noise >> 13) % 5


def _bounces(view: View, message: Message, _: Span) -> Rows:
    account, one = view.account, message.contact_list
    events = Events(account, message, Kind.BOUNCE)

    def values(index: int) -> Values:
        noise, stamp = events.at(index)
        reason, detail, count = _bounce(noise)
        contact = account.contact(one, account.actor(message, Kind.BOUNCE, index))
        return *contact, reason, detail, (stamp, noise), count

    return Rows(events, values)


def _history(sent: int, noise: int) -> tuple[int | None, Text]:
    """Return when a contact that left had been added, and how it left."""
    age = int(chance(noise) * 700 * DAY) // SECOND * SECOND
    return None if noise >> 40 & 15 == 0 else sent - age, _REMOVALS[noise % len(_REMOVALS)]


def _removal(account: Account, message: Message, place: int, stamp: int) -> Values:
    noise = Events(account, message, Kind.REMOVAL).noise(place)
    added, method = _history(message.sent, noise)
    number = account.actor(message, Kind.REMOVAL, place)
    if number in message.leavers:
        added = Contacts(account, message.contact_list, account.now).stamp(number)
    return *account.contact(message.contact_list, number), added, stamp, method


def _unsubs(view: View, message: Message, _: Span) -> Rows:
    events = Events(view.account, message, Kind.REMOVAL)
    return Rows(events, lambda index: _removal(view.account, message, index, events.stamp(index)))


def _links(view: View, message: Message, _: Span) -> Rows:
    counts = view.counts.links(message)
    total = sum(one.clicks for one in counts.values())

    def values(link: int) -> Values:
        description, url = _link(view.account, message, link)
        one = counts[link]
        return (
            message.msg_id,
            message.msg_id % 1_000_000 * 8 + link,
            url,
            ("Web", None, "Browser")[link % 3],
            one.clicks,
            one.clickers,
            _percent(one.clicks, total),
            description,
        )

    return Rows(Fixed(message.links), values)


def _locations(kind: Kind) -> Callable[[View, Message, Span], Rows]:
    def build(view: View, message: Message, _: Span) -> Rows:
        counts = sorted(view.counts.locations(message, kind).items())

        def values(index: int) -> Values:
            location, count = counts[index]
            return message.msg_id, *_LOCATIONS[location], count

        return Rows(Fixed(len(counts)), values)

    return build


# Conversations


def _of_conversations(
    view: View, one: ContactList, values: Callable[[Conversation], Values]
) -> Rows:
    every = view.account.conversations(one, view.now)
    return Rows(
        Fixed(len(every)),
        lambda index: values(every[index]),
        lambda index: every[index].is_terminated,
    )


def _conversation_head(account: Account, conversation: Conversation) -> Values:
    one, campaigns = conversation.contact_list, account.config.campaigns_per_list
    campaign = conversation.seed % campaigns if campaigns else None
    return (
        one.list_id,
        0 if campaign is None else account.campaign_id(one, campaign),
        None if campaign is None else account.campaign_name(one, campaign),
        conversation.conversation_id,
        account.text("conversation", conversation.seed >> 3),
        conversation.published,
    )


def _conversations(view: View, one: ContactList, _: Span) -> Rows:
    account = view.account

    def values(conversation: Conversation) -> Values:
        counts = view.counts.stages(conversation)
        shown = account.counter
        delivered = counts[Stage.SEND] - counts[Stage.BOUNCE]
        removed, opened, read = counts[Stage.REMOVAL], counts[Stage.OPEN], counts[Stage.READ]
        clicks = counts[Stage.CLICK]
        conversions = clicks // 4
        total = conversions * (1_000 + conversation.seed % 90_000)
        contacts = -(-counts[Stage.SEND] // conversation.mails)
        return (
            *_conversation_head(account, conversation),
            contacts,
            0 if conversation.is_terminated else contacts // 3,
            contacts // 5,
            shown(delivered),
            shown(removed),
            _percent(removed, delivered),
            shown(opened),
            _percent(opened, delivered),
            shown(read),
            _percent(read, delivered),
            shown(clicks),
            total / 100,
            conversions,
            round(total / 100 / conversions, 2) if conversions else 0.0,
        )

    return _of_conversations(view, one, values)


def _conversation_deliveries(view: View, one: ContactList, _: Span) -> Rows:
    account = view.account

    def values(conversation: Conversation) -> Values:
        counts = view.counts.stages(conversation)
        sent, bounced = counts[Stage.SEND], counts[Stage.BOUNCE]
        return (
            *_conversation_head(account, conversation),
            account.counter(sent),
            account.counter(sent - bounced),
            _percent(sent - bounced, sent),
            account.counter(bounced),
            _percent(bounced, sent),
            conversation.seed % 3,
        )

    return _of_conversations(view, one, values)


def _stage(
    stage: Stage, detail: Callable[[int, int], Values]
) -> Callable[[View, Conversation, Span], Rows]:
    """Return what builds the rows of a stage; ``detail`` adds to the noise and stamp of each."""

    def build(view: View, conversation: Conversation, _: Span) -> Rows:
        account, one = view.account, conversation.contact_list
        stages = Stages(account, conversation, stage, view.now)

        def values(index: int) -> Values:
            send = stages.send(index)
            mail = send % conversation.mails
            number = account.conversation_contact(conversation, send)
            return (
                account.mail_id(conversation, mail),
                account.mail_subject(conversation, mail),
                account.contact_number(one, number),
                account.contact(one, number)[1],
                *detail(stages.noise(index), stages.stamp(index)),
            )

        return Rows(stages, values)

    return build


def _just_date(_: int, stamp: int) -> Values:
    return (stamp,)


def _bounce_detail(noise: int, stamp: int) -> Values:
    reason, detail, count = _bounce(noise)
    return stamp, count, reason, detail


def _removal_detail(noise: int, stamp: int) -> Values:
    added, method = _history(stamp - DAY, noise)
    return added, stamp, method


def _conversation_links(view: View, conversation: Conversation, _: Span) -> Rows:
    account = view.account
    counts, sends = view.counts.mail_links(conversation), view.counts.mail_sends(conversation)
    total = sum(one.clicks for one in counts.values())

    def values(index: int) -> Values:
        mail, link = divmod(index, 2)
        found = counts.get((mail, link))
        clicks, clickers = found if found else (0, 0)
        return (
            account.mail_id(conversation, mail),
            account.mail_subject(conversation, mail),
            conversation.conversation_id * 16 + index,
            account.text("link", (conversation.seed >> 13) + index),
            None if index == 3 else f"https://shop.example/c?id={index}&utm=é",
            ("Web", None)[link],
            clicks,
            _percent(clicks, total),
            clickers,
            sends.get(mail, 0),
        )

    return Rows(Fixed(2 * conversation.mails), values)


# The registry

_RANGE = ("StartDate", "EndDate")
_BY_LIST = ("ListID",)
_LIST_PAGES = ("ListID", *_RANGE, "Page")
_LIST_MESSAGES = ("ListID", *_RANGE, "IncludeTestMessages")
_MESSAGE_PAGES = ("MsgID", "Page")
_MESSAGE_EVENTS = ("MsgID", *_RANGE, "Page")
_CONVERSATIONS = ("ListID", "IncludeTerminated")
_CONVERSATION_EVENTS = ("ConversationID", "Page", *_RANGE)
_PARENTS = {
    "ListID": Parent.LIST,
    "MsgID": Parent.MESSAGE,
    "ConversationID": Parent.CONVERSATION,
    "MsgIDs": Parent.BATCH,
}
# The ReportRange... operations, and these, have no WSException.
_NO_EXCEPTION = frozenset(
    {
        "GetContactListCollection",
        "GetCampaignCollection",
        "GetTransactionalMessageCollection",
        "GetMessageAnalyticsInformation",
    }
)
_CONTACT = "ContactID EmailAddress "
_MAIL = "MsgID:int Subject ContactID:int EmailAddress "
_LOCATION = "MsgID:int CountryID:int RegionID:int CountryName RegionName "
_CONVERSATION = (
    "ListID:int CampaignID:int CampaignName ConversationID:int ConversationName PublishedDate:date "
)


def _table(
    name: str,
    operation: str,
    row: str,
    request: tuple[str, ...],
    columns: str,
    build: Callable[[View, Any, Span], Rows],
) -> Table:
    found = (one.partition(":") for one in columns.split())
    return Table(
        name=name,
        operation=operation,
        row=row,
        parent=next((_PARENTS[one] for one in request if one in _PARENTS), Parent.ACCOUNT),
        request=request,
        columns=tuple(Column(column, kind or "text") for column, _, kind in found),
        build=build,
        has_exception=operation not in _NO_EXCEPTION and not operation.startswith("ReportRange"),
    )


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _table(
            "lists", "GetContactListCollection", "WSContactList", (),
            "ListID:int ListName CreateDate:date FromName FromEmail EnableRemovalLink:bool "
            "EnableBrowserLink:bool bounceHandling:int EnableDoubleOptin:bool "
            "EnableListHygiene:bool Vmta:object ShowEmailList:bool "
            "ShowAdvancedPersonalization:bool BounceUnsubscribeCount:int DomainAliasLink "
            "DomainAliasEmail EnableRSS:bool EnableGoogleAnalytics:bool "
            "GoogleTrackingDomains:texts EnableInternationalization:bool "
            "EnableDynamicContent:bool EnableListRemoveHeader:bool", _lists,
        ),
        _table(
            "messages", "ReportListMessageActivity", "WSMessageActivity", _LIST_MESSAGES,
            "ListID:int MsgID:int Subject SendDate:date DeliverCount:int RemoveCount:int "
            "RemovePercent:decimal OpenCount:int OpenPercent:decimal ReadCount:int "
            "ReadPercent:decimal ClickCount:int ClickerCount:int RepeatClickerCount:int "
            "NewClickerCount:int ClickerPercent:decimal OrderTotal:decimal ConversionCount:int "
            "AverageOrderValue:decimal", _messages,
        ),
        _table(
            "subscribed_contacts", "ReportRangeSubscribedContacts", "WSContactSubscriptionInfo",
            _LIST_PAGES, _CONTACT + "AdditionDate:date AdditionMethod", _contacts,
        ),
        _table(
            "message_sends", "ReportMessageContactSent", "WSMessageRecipient", _MESSAGE_PAGES,
            "EmailAddress", _sends,
        ),
        _table(
            "message_bounces", "ReportRangeMessageContactBounces", "WSContactBounce",
            _MESSAGE_EVENTS,
            _CONTACT + "BounceReason BounceDetail BounceDate:text_date BounceCount:int", _bounces,
        ),
        _table(
            "message_opens", "ReportRangeMessageContactOpen", "WSContactOpen", _MESSAGE_EVENTS,
            _CONTACT + "OpenDate:text_date", _opens,
        ),
        _table(
            "message_reads", "ReportRangeMessageContactRead", "WSContactRead", _MESSAGE_EVENTS,
            _CONTACT + "ReadDate:text_date", _reads,
        ),
        _table(
            "message_clicks", "ReportRangeMessageContactClick", "WSContactClick", _MESSAGE_EVENTS,
            _CONTACT + "LinkDescription LinkUrl ClickDate:text_date", _clicks,
        ),
        _table(
            "message_unsubs", "ReportRangeMessageContactRemoval", "WSContactRemovalInfo",
            _MESSAGE_EVENTS, _CONTACT + "AdditionDate:date RemovalDate:date RemovalMethod", _unsubs,
        ),
        _table(
            "list_removals", "ReportRangeListContactRemoval", "WSContactRemovalInfo", _LIST_PAGES,
            _CONTACT + "AdditionDate:date RemovalDate:date RemovalMethod", _removals,
        ),
        _table(
            "list_address_changes", "ReportRangeListContactHygiene", "WSContactHygieneInfo",
            _LIST_PAGES,
            "ContactID OldEmailAddress EmailAddress AddDate:text_date HygieneDate:text_date",
            _address_changes,
        ),
        _table(
            "list_imports", "ReportListImportHistory", "WSImportHistory",
            ("ListID", "Page", *_RANGE),
            "ImportFileID:int ImportSource ImportType ProfileImportType FileName FileSize:int "
            "StartDate:date EndDate:date ProcessedCount:int InvalidEmailCount:int "
            "SubscribedCount:int UnSubscribedCount:int AlreadySubscribedCount:int "
            "AlreadyUnsubscribedCount:int PreviouslyUnsubscribedCount:int SuppressedCount:int "
            "BannedCount:int SkippedCount:int", _imports,
        ),
        _table(
            "campaigns", "GetCampaignCollection", "WSCampaign", _BY_LIST,
            "CampaignID:int ListID:int Name MessageCount:int", _campaigns,
        ),
        _table(
            "profile_headers", "GetProfileHeaderCollection", "WSProfileHeader", _BY_LIST,
            "HeaderID:int ListID:int Name Position:int WSProfileAttributes:objects",
            _profile_headers,
        ),
        _table(
            "transactional_messages", "GetTransactionalMessageCollection",
            "WSTransactionalMessage", _BY_LIST, "TransactionalMsgID:int MessageName",
            _transactional,
        ),
        _table(
            "message_deliveries", "ReportListMessageDelivery", "WSMessageDelivery", _LIST_MESSAGES,
            "ListID:int MsgID:int Subject SendDate:date DeliverCount:int DeliverPercent:decimal "
            "BounceCount:int BouncePercent:decimal PassAlongCount:int", _deliveries,
        ),
        _table(
            "message_analytics", "GetMessageAnalyticsInformation", "WSMessageAnalyticsInformation",
            ("MsgIDs",),
            "CampaignID:int CampaignName GoogleAnalyticsCampaignContent "
            "GoogleAnalyticsCampaignName ListrakAnalyticsCampaignName ListrakAnalyticsModuleName "
            "ListrakAnalyticsVersion ListID:int MsgID:int SendDate:date Subject", _analytics,
        ),
        _table(
            "message_links", "ReportMessageLinkClick", "WSMessageLink", _MESSAGE_PAGES,
            "MsgID:int LinkID:int LinkURL LinkType ClickCount:int ClickerCount:int "
            "ClickPercent:decimal LinkDescription", _links,
        ),
        _table(
            "message_open_locations", "ReportMessageLocationOpen", "WSMessageLocationOpen",
            _MESSAGE_PAGES, _LOCATION + "OpenCount:int", _locations(Kind.OPEN),
        ),
        _table(
            "message_read_locations", "ReportMessageLocationRead", "WSMessageLocationRead",
            _MESSAGE_PAGES, _LOCATION + "ReadCount:int", _locations(Kind.READ),
        ),
        _table(
            "message_click_locations", "ReportMessageLocationClick", "WSMessageLocationClick",
            _MESSAGE_PAGES, _LOCATION + "ClickCount:int", _locations(Kind.CLICK),
        ),
        _table(
            "conversations", "ReportListConversationActivity", "WSConversationActivity",
            _CONVERSATIONS, _CONVERSATION +
            "ContactCount:int WaitingCount:int TerminatedCount:int DeliverCount:int "
            "RemoveCount:int RemoveRate:decimal OpenCount:int OpenRate:decimal ReadCount:int "
            "ReadRate:decimal ClickCount:int OrderTotal:decimal ConversionCount:int "
            "AverageOrderValue:decimal", _conversations,
        ),
        _table(
            "conversation_deliveries", "ReportListConversationDelivery", "WSConversationDelivery",
            _CONVERSATIONS, _CONVERSATION +
            "SendCount:int DeliverCount:int DeliverRate:decimal BounceCount:int "
            "BounceRate:decimal PassAlongCount:int", _conversation_deliveries,
        ),
        _table(
            "conversation_sends", "ReportConversationContactDelivery",
            "WSConversationContactDelivery", _CONVERSATION_EVENTS, _MAIL + "SendDate:date",
            _stage(Stage.SEND, _just_date),
        ),
        _table(
            "conversation_bounces", "ReportConversationContactBounce",
            "WSConversationContactBounce", _CONVERSATION_EVENTS,
            _MAIL + "BounceDate:date BounceCount:int BounceReason BounceDetail",
            _stage(Stage.BOUNCE, _bounce_detail),
        ),
        _table(
            "conversation_opens", "ReportConversationContactOpen", "WSConversationContactOpen",
            _CONVERSATION_EVENTS, _MAIL + "OpenDate:date", _stage(Stage.OPEN, _just_date),
        ),
        _table(
            "conversation_reads", "ReportConversationContactRead", "WSConversationContactRead",
            _CONVERSATION_EVENTS, _MAIL + "ReadDate:date", _stage(Stage.READ, _just_date),
        ),
        _table(
            "conversation_unsubs", "ReportConversationContactRemoval",
            "WSConversationContactRemoval", _CONVERSATION_EVENTS,
            _MAIL + "AddDate:date RemoveDate:date RemoveMethod",
            _stage(Stage.REMOVAL, _removal_detail),
        ),
        _table(
            "conversation_links", "ReportConversationLinkClick", "WSConversationLinkClick",
            ("ConversationID", "Page"),
            "MsgID:int Subject LinkID:int LinkDescription LinkURL Type ClickCount:int "
            "ClickPercent:decimal ClickerCount:int SendCount:int", _conversation_links,
        ),
        _table(
            "abuse_complaints", "ReportAdminContactFeedbackLoop", "WSFeedbackLoopListing",
            (*_RANGE, "Page"),
            "ListID:int ListName CampaignID:int CampaignName MessageID:int MessageSubject "
            "ContactID EmailAddress AbuseDate:date ISPName", _complaints,
        ),
    )
}  # fmt: skip
KIND_OF_TABLE = {
    "message_clicks": Kind.CLICK,
    "message_opens": Kind.OPEN,
    "message_reads": Kind.READ,
    "message_unsubs": Kind.REMOVAL,
    "message_bounces": Kind.BOUNCE,
}
OPERATIONS: dict[str, Table] = {table.operation: table for table in TABLES.values()}
