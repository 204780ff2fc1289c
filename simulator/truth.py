"""What a faultless sync of the account would deliver, worked out row by row.

Deliberately the slow way: every row of every parent is looked at, times go through ``zoneinfo``,
and what reports count is counted from the rows, so that a mistake in the service's searching,
paging, caching, formulas or rendering shows as a difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from simulator.account import (
    Account,
    ContactList,
    Conversation,
    Kind,
    Message,
    Stage,
)
from simulator.clock import to_datetime, to_instant
from simulator.counts import (
    Activity,
    FastCounts,
    LinkCount,
    link_of,
    location_of,
    mail_link_of,
)
from simulator.series import (
    ALL_TIME,
    Contacts,
    Events,
    Fixed,
    Series,
    Stages,
    select,
)
from simulator.tables import (
    KIND_OF_TABLE,
    TABLES,
    Column,
    Parent,
    Rows,
    Table,
    View,
    Wrong,
)
from simulator.text import NIL

Record = dict[str, Any]
Bound = datetime | str | None
_EVER = (ALL_TIME[0], ALL_TIME[0]), (ALL_TIME[1], ALL_TIME[1])
_UTC_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"
_MESSAGE_LEVEL = frozenset({"messages", "message_deliveries"})
_PARENT_KEY = {
    Parent.LIST: "ListID",
    Parent.MESSAGE: "MsgID",
    Parent.CONVERSATION: "ConversationID",
}


class Truth:
    """The account's records at an instant, within [since, until) of wall-clock time.

    ``since`` and ``until`` are aware datetimes, or texts as the service takes them (a text without
    an offset is wall-clock time in the account's zone). They bound the dates of rows, and the
    SendDate of the messages whose activity is read. ``now`` is the instant at which the account is
    seen, by default its present clock; reports that lag show what was there
    earlier. A client that read from instant A to instant B must have
    all records at A of rows that stay, and may have those at B.
    """

    def __init__(
        self,
        account: Account,
        since: Bound = None,
        until: Bound = None,
        *,
        include_test_messages: bool = True,
        list_ids: Collection[int] | None = None,
        now: datetime | None = None,
    ) -> None:
        self._account = account
        self._zone = account.clock.zone
        self._now = account.now if now is None else to_instant(now) - account.lag
        self._view = View(account, _SlowCounts(account, self._now), self._now)
        self._since = self._bound(since)
        self._until = self._bound(until)
        self._include_test_messages = include_test_messages
        self._list_ids = list_ids

    def tables(self, names: Collection[str] | None = None) -> dict[str, list[Record]]:
        """Return the records of the tables named, of all by default."""
        return {name: list(self.records(name)) for name in (TABLES if names is None else names)}

    def records(self, table: str) -> Iterator[Record]:
        """Return a table's records one by one."""
        declared = TABLES[table]
        for owner in self.owners(declared):
            rows = declared.rows(self._view, owner)
            for index in range(rows.series.count):
                if self._is_there(declared, rows, index):
                    record = self._record(declared, owner, rows, index)
                    if declared.parent is not Parent.ACCOUNT or self._is_chosen(record["ListID"]):
                        yield record

    def contacts_throughout(self, since: datetime, until: datetime) -> Iterator[Record]:
        """Return the contacts that were subscribed without a break from one instant to another."""
        table, lag = TABLES["subscribed_contacts"], self._account.lag
        first, last = to_instant(since) - lag, to_instant(until) - lag
        for one in self._lists():
            rows = table.rows(self._view, one)
            contacts = Contacts(self._account, one, last)
            for number in range(contacts.count):
                if any(a <= first and last < b for a, b in contacts.history(number)):
                    yield self._record(table, one, rows, number)

    def owners(self, table: Table) -> Iterator[Any]:
        """Return what a table is requested for: each list, message, conversation or batch."""
        if table.parent is Parent.ACCOUNT:
            yield None
        elif table.parent is Parent.LIST:
            yield from self._lists()
        elif table.parent is Parent.MESSAGE:
            yield from self._messages()
        elif table.parent is Parent.CONVERSATION:
            for one in self._lists():
                yield from self._account.conversations(one, self._now)
        else:
            yield list(self._messages())

    def _lists(self) -> Iterator[ContactList]:
        for one in self._account.lists():
            if self._is_chosen(one.list_id):
                yield one

    def _is_chosen(self, list_id: int) -> bool:
        return self._list_ids is None or list_id in self._list_ids

    def _messages(self) -> Iterator[Message]:
        for one in self._lists():
            for message in _all_messages(self._account, one, self._now):
                if message.is_test and not self._include_test_messages:
                    continue
                if self._is_within(message.sent):
                    yield message

    def _is_there(self, table: Table, rows: Rows, index: int) -> bool:
        if not rows.series.is_present(index, self._now):
            return False
        is_left_out = table.name in _MESSAGE_LEVEL and not self._include_test_messages
        if is_left_out and rows.is_extra is not None and rows.is_extra(index):
            return False
        is_dated = "StartDate" in table.request
        return not is_dated or self._is_within(rows.series.stamp(index))

    def _record(self, table: Table, owner: Any, rows: Rows, index: int) -> Record:
        record: Record = {}
        key = _PARENT_KEY.get(table.parent)
        if key is not None and key not in {column.name for column in table.columns}:
            names = {"ListID": "list_id", "MsgID": "msg_id", "ConversationID": "conversation_id"}
            record[key] = getattr(owner, names[key])
        for column, value in zip(table.columns, rows.values(index), strict=True):
            record[column.name] = self._value(column, value)
        return _without_nulls(record)

    def _value(self, column: Column, value: Any) -> Any:
        if isinstance(value, Wrong):
            return value.text if column.kind in ("text", "text_date") else None
        if column.kind == "date":
            return self._utc(value)
        if column.kind == "text_date":
            return self._text_date(*value)
        if column.kind == "object" and value is not None:
            return _without_nulls(value)
        if column.kind == "objects":
            return [_without_nulls(one) for one in value]
        return value

    def _bound(self, bound: Bound) -> datetime | None:
        """Return a bound as wall-clock fields under a UTC label."""
        if bound is None:
            return None
        if isinstance(bound, str):
            return to_datetime(self._account.clock.parse(bound))
        if bound.tzinfo is None:
            raise ValueError("a naive datetime is no instant")
        return bound.astimezone(self._zone).replace(tzinfo=timezone.utc)

    def _is_within(self, instant: int) -> bool:
        if self._since is None and self._until is None:
            return True
        wall = to_datetime(instant).astimezone(self._zone).replace(tzinfo=timezone.utc)
        return (self._since is None or wall >= self._since) and (
            self._until is None or wall < self._until
        )

    def _text_date(self, instant: int, noise: int) -> str | None:
        layout = self._account.string_date(noise)
        if layout == "us":
            return self._utc(instant - instant % 1_000_000)
        return self._utc(instant) if layout == "iso" else layout

    def _utc(self, instant: int | None) -> str | None:
        """Return what a reader can know of an instant: of a repeated hour, the first."""
        if instant is None:
            return None
        moment = to_datetime(instant)
        if not self._account.config.date_offsets:
            moment = moment.astimezone(self._zone).replace(fold=0).astimezone(timezone.utc)
        return moment.strftime(_UTC_FORM)


class _SlowCounts:
    """Counts by a walk over all rows, visible or not."""

    def __init__(self, account: Account, now: int) -> None:
        self._account, self._now = account, now

    def activity(self, message: Message) -> Activity:
        clicks = self._actors(message, Kind.CLICK)
        times = Counter(clicks)
        return Activity(
            clicks=len(clicks),
            clickers=len(times),
            repeaters=sum(count > 1 for count in times.values()),
            openers=len(set(self._actors(message, Kind.OPEN))),
            readers=len(set(self._actors(message, Kind.READ))),
            removed=len(self._actors(message, Kind.REMOVAL)),
            bounced=len(self._actors(message, Kind.BOUNCE)),
        )

    def links(self, message: Message) -> dict[int, LinkCount]:
        account = self._account
        events = Events(account, message, Kind.CLICK)
        found: list[list[int]] = [[] for _ in range(message.links)]
        for index in range(events.count):
            if events.is_present(index, self._now):
                number = account.actor(message, Kind.CLICK, index)
                found[link_of(message, events.noise(index))].append(number)
        return {link: LinkCount(len(one), len(set(one))) for link, one in enumerate(found)}

    def locations(self, message: Message, kind: Kind) -> dict[int, int]:
        actors: Iterable[int] = self._actors(message, kind)
        if kind != Kind.CLICK:
            actors = set(actors)
        return Counter(location_of(message.contact_list, number) for number in actors)

    def campaign_messages(self, contact_list: ContactList) -> dict[int, int]:
        found: Counter[int] = Counter()
        for message in self._account.messages(contact_list, self._now):
            campaign = self._account.campaign_of(message)
            if campaign is not None:
                found[campaign] += 1
        return found

    def stages(self, conversation: Conversation) -> dict[Stage, int]:
        return {stage: sum(1 for _ in self._rows(conversation, stage)) for stage in Stage}

    def mail_sends(self, conversation: Conversation) -> dict[int, int]:
        return Counter(
            send % conversation.mails for send, _ in self._rows(conversation, Stage.SEND)
        )

    def mail_links(self, conversation: Conversation) -> dict[tuple[int, int], LinkCount]:
        found: dict[tuple[int, int], list[int]] = {}
        for send, noise in self._rows(conversation, Stage.CLICK):
            key = send % conversation.mails, mail_link_of(noise)
            number = self._account.conversation_contact(conversation, send)
            found.setdefault(key, []).append(number)
        return {key: LinkCount(len(one), len(set(one))) for key, one in found.items()}

    def _actors(self, message: Message, kind: Kind) -> Sequence[int]:
        events = Events(self._account, message, kind)
        return [
            self._account.actor(message, kind, index)
            for index in range(events.count)
            if events.is_present(index, self._now)
        ]

    def _rows(self, conversation: Conversation, stage: Stage) -> Iterator[tuple[int, int]]:
        stages = Stages(self._account, conversation, stage, self._now)
        for index in range(stages.count):
            if stages.is_present(index, self._now):
                yield stages.send(index), stages.noise(index)


def _all_messages(account: Account, one: ContactList, now: int) -> Iterator[Message]:
    yield from account.messages(one, now)
    yield from account.mails(one, now)


def _without_nulls(record: Record) -> Record:
    return {name: v for name, v in record.items() if v is not None and v is not NIL and v != []}


def row_counts(account: Account) -> dict[str, int]:
    """Return the number of visible rows of each table, without building most of them."""
    counts = FastCounts(account)
    view = View(account, counts, account.now)
    truth = Truth(account)
    found = {}
    for table in TABLES.values():
        if table.name in KIND_OF_TABLE:
            kind = KIND_OF_TABLE[table.name]
            rows = (len(counts.visible(message, kind)) for message in truth.owners(table))
        else:
            every = (table.rows(view, owner).series for owner in truth.owners(table))
            rows = (_visible(series, account.now) for series in every)
        found[table.name] = sum(rows)
    return found


def _visible(series: Series, now: int) -> int:
    if isinstance(series, Fixed):
        return series.count
    return len(select(series, int, _EVER, *ALL_TIME, now))
