"""What a faultless sync of the account would deliver, worked out row by row.

Deliberately the slow way: every row is looked at, and times go through ``zoneinfo``, so that a
mistake in the service's searching, paging, caching or rendering shows as a difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timezone
from typing import Any

from integration_tests.simulator.account import (
    BOUNCE,
    CLICK,
    OPEN,
    READ,
    REMOVAL,
    Account,
    ContactList,
    Events,
    Message,
)  # fmt: skip
from integration_tests.simulator.clock import to_datetime
from integration_tests.simulator.facts import (
    DATES,
    activity_facts,
    addition_method,
    bounce_cause,
    click_link,
    list_facts,
    removal_history,
)  # fmt: skip
from integration_tests.simulator.text import NIL

Record = dict[str, Any]
Bound = datetime | str | None
_UTC_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"
EVENT_TABLES = {
    "message_clicks": CLICK,
    "message_opens": OPEN,
    "message_reads": READ,
    "message_unsubs": REMOVAL,
    "message_bounces": BOUNCE,
}
TABLES = (
    "lists", "messages", "message_bounces", "message_clicks", "message_opens", "message_reads",
    "message_sends", "message_unsubs", "subscribed_contacts",
)  # fmt: skip


class Truth:
    """The account's records at its present clock, within [since, until) of wall-clock time.

    ``since`` and ``until`` are aware datetimes, or texts as the service takes them (a text without
    an offset is wall-clock time in the account's zone).
    """

    def __init__(
        self,
        account: Account,
        since: Bound = None,
        until: Bound = None,
        *,
        include_test_messages: bool = True,
        list_ids: Collection[int] | None = None,
    ) -> None:
        self._account = account
        self._zone = account.clock.zone
        self._since = self._bound(since)
        self._until = self._bound(until)
        self._include_test_messages = include_test_messages
        self._list_ids = list_ids

    def records(self, table: str) -> Iterator[Record]:
        """Give a table's records one by one."""
        if table == "lists":
            for one in self._lists():
                yield self._record(list_facts(self._account, one))
        elif table == "subscribed_contacts":
            for one in self._lists():
                yield from self._contacts(one)
        else:
            for message in self._messages():
                yield from self._of_message(table, message)

    def _lists(self) -> Iterator[ContactList]:
        for one in self._account.lists():
            if self._list_ids is None or one.list_id in self._list_ids:
                yield one

    def _messages(self) -> Iterator[Message]:
        for one in self._lists():
            for message in self._account.messages(one):
                if message.is_test and not self._include_test_messages:
                    continue
                if self._within(message.sent):
                    yield message

    def _of_message(self, table: str, message: Message) -> Iterator[Record]:
        if table == "messages":
            yield self._record(activity_facts(self._account, message))
        elif table == "message_sends":
            for place in range(message.recipients):
                number = self._account.recipient(message, place)
                _, email = self._account.contact(message.contact_list, number)
                yield _without_nulls({"MsgID": message.msg_id, "EmailAddress": email})
        else:
            yield from self._events(message, EVENT_TABLES[table])

    def _events(self, message: Message, kind: int) -> Iterator[Record]:
        account = self._account
        events = Events(account, message, kind)
        for index in range(events.count):
            if not events.is_present(index, account.now):
                continue
            stamp = events.stamp(index)
            if not self._within(stamp):
                continue
            noise = events.noise(index)
            number = account.actor(message, kind, index)
            contact_id, email = account.contact(message.contact_list, number)
            record = {"MsgID": message.msg_id, "ContactID": contact_id, "EmailAddress": email}
            if kind == CLICK:
                record["LinkDescription"], record["LinkUrl"] = click_link(noise)
                record["ClickDate"] = self._text_date(stamp, noise)
            elif kind == OPEN:
                record["OpenDate"] = self._text_date(stamp, noise)
            elif kind == READ:
                record["ReadDate"] = self._text_date(stamp, noise)
            elif kind == BOUNCE:
                reason, detail, count = bounce_cause(noise)
                record |= {"BounceReason": reason, "BounceDetail": detail, "BounceCount": count}
                record["BounceDate"] = self._text_date(stamp, noise)
            else:
                added, method = removal_history(message, noise)
                record |= {"AdditionDate": self._utc(added), "RemovalMethod": method}
                record["RemovalDate"] = self._utc(stamp)
            yield _without_nulls(record)

    def _contacts(self, one: ContactList) -> Iterator[Record]:
        arrivals = self._account.subscriptions(one)
        for number in range(arrivals.count):
            stamp = arrivals.stamp(number)
            if not arrivals.is_present(number, self._account.now) or not self._within(stamp):
                continue
            contact_id, email = self._account.contact(one, number)
            yield _without_nulls(
                {
                    "ListID": one.list_id,
                    "ContactID": contact_id,
                    "EmailAddress": email,
                    "AdditionDate": self._utc(stamp),
                    "AdditionMethod": addition_method(arrivals.noise(number)),
                }
            )

    def _record(self, facts: Record) -> Record:
        record = {name: self._utc(v) if name in DATES else v for name, v in facts.items()}
        if record.get("Vmta") is not None:
            record["Vmta"] = _without_nulls(facts["Vmta"])
        return _without_nulls(record)

    def _bound(self, bound: Bound) -> datetime | None:
        """Give a bound as wall-clock fields under a UTC label."""
        if bound is None:
            return None
        if isinstance(bound, str):
            return to_datetime(self._account.clock.parse(bound))
        if bound.tzinfo is None:
            raise ValueError("a naive datetime is no instant")
        return bound.astimezone(self._zone).replace(tzinfo=timezone.utc)

    def _within(self, instant: int) -> bool:
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
        """Give what a reader can know of an instant: of a repeated hour, the first."""
        if instant is None:
            return None
        moment = to_datetime(instant)
        if not self._account.config.date_offsets:
            moment = moment.astimezone(self._zone).replace(fold=0).astimezone(timezone.utc)
        return moment.strftime(_UTC_FORM)


def _without_nulls(record: Record) -> Record:
    return {name: v for name, v in record.items() if v is not None and v is not NIL and v != []}


def row_counts(account: Account) -> dict[str, int]:
    """Give the number of visible rows of each table without building them."""
    counts = dict.fromkeys(TABLES, 0)
    everything = (-(1 << 62), 1 << 62, False, account.now)
    for one in account.lists():
        counts["lists"] += 1
        counts["subscribed_contacts"] += len(account.select((one, "contacts"), *everything))
        for message in account.messages(one):
            counts["messages"] += 1
            counts["message_sends"] += message.recipients
            for table, kind in EVENT_TABLES.items():
                counts[table] += account.visible(message, kind)
    return counts
