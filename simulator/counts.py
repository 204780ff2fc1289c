"""Counters and totals as the service computes them: by formula, or from the visible rows only."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

from simulator.account import (
    Account,
    ContactList,
    Conversation,
    Kind,
    Message,
    Stage,
    mix,
)
from simulator.series import Events, Stages

LOCATIONS = 12
T = TypeVar("T")


class Activity(NamedTuple):
    """What the report of a message counts; openers, readers and clickers are contacts."""

    clicks: int = 0
    clickers: int = 0
    repeaters: int = 0
    openers: int = 0
    readers: int = 0
    removed: int = 0
    bounced: int = 0


class LinkCount(NamedTuple):
    """Clicks on one link, and the contacts behind them."""

    clicks: int
    clickers: int


class Counts(Protocol):
    """Everything that reports count; truth.py has a second, independent implementation."""

    def activity(self, message: Message) -> Activity:
        """Return the counters of a message."""

    def links(self, message: Message) -> dict[int, LinkCount]:
        """Return the clicks on each link of a message."""

    def locations(self, message: Message, kind: Kind) -> dict[int, int]:
        """Return the openers or readers, or the clicks, at each location that has any."""

    def campaign_messages(self, contact_list: ContactList) -> dict[int, int]:
        """Return the number of messages sent in each campaign of a list."""

    def stages(self, conversation: Conversation) -> dict[Stage, int]:
        """Return the number of rows of each stage of a conversation."""

    def mail_sends(self, conversation: Conversation) -> dict[int, int]:
        """Return how often each mail of a conversation was sent."""

    def mail_links(self, conversation: Conversation) -> dict[tuple[int, int], LinkCount]:
        """Return the clicks on each (mail, link) of a conversation that has any."""


def link_of(message: Message, noise: int) -> int:
    """Return which link of a message a click was on."""
    return noise % message.links


def mail_link_of(noise: int) -> int:
    """Return which of its mail's two links a click was on."""
    return noise & 1


def location_of(contact_list: ContactList, number: int) -> int:
    """Return where a contact lives."""
    return mix(contact_list.seed + 43 + number) % LOCATIONS


class FastCounts:
    """Counts at the account's present clock."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._activity = lru_cache(32_768)(self._count_activity)
        self._locations = lru_cache(256)(self._count_locations)
        self._links = lru_cache(256)(self._count_links)

    def activity(self, message: Message) -> Activity:
        """Return the counters of a message."""
        return self._activity(message, *self._moment(message))

    def locations(self, message: Message, kind: Kind) -> dict[int, int]:
        """Return the openers or readers, or the clicks, at each location that has any."""
        return self._locations(message, kind, *self._moment(message))

    def links(self, message: Message) -> dict[int, LinkCount]:
        """Return the clicks on each link of a message."""
        return self._links(message, *self._moment(message))

    def campaign_messages(self, contact_list: ContactList) -> dict[int, int]:
        """Return the number of messages sent in each campaign of a list."""
        campaigns = map(self._account.campaign_of, self._account.messages(contact_list))
        return Counter(campaign for campaign in campaigns if campaign is not None)

    def stages(self, conversation: Conversation) -> dict[Stage, int]:
        """Return the number of rows of each stage of a conversation."""
        return {stage: len(self._rows_of(conversation, stage)) for stage in Stage}

    def mail_sends(self, conversation: Conversation) -> dict[int, int]:
        """Return how often each mail of a conversation was sent."""
        if self._account.late_by:
            sends = self._rows_of(conversation, Stage.SEND)
            return Counter(index % conversation.mails for index in sends)
        count, mails = len(self._rows_of(conversation, Stage.SEND)), conversation.mails
        return {mail: (count - mail + mails - 1) // mails for mail in range(mails)}

    def mail_links(self, conversation: Conversation) -> dict[tuple[int, int], LinkCount]:
        """Return the clicks on each (mail, link) of a conversation that has any."""
        account = self._account
        stages = Stages(account, conversation, Stage.CLICK, account.now)
        clicks = []
        for index in self._rows_of(conversation, Stage.CLICK):
            send = stages.send(index)
            key = send % conversation.mails, mail_link_of(stages.noise(index))
            clicks.append((key, account.conversation_contact(conversation, send)))
        return tally(clicks)

    def visible(self, message: Message, kind: Kind) -> Sequence[int]:
        """Return the rows of a kind that can be seen now."""
        account, now = self._account, self._account.now
        events = Events(account, message, kind)
        recorded = account.recorded.get((message.msg_id, kind))
        if not recorded and account.is_settled(message, now):
            return range(events.count)
        present = bisect_right(range(events.count), now, key=events.raw)
        if not recorded and not events.late_by:
            return range(present)
        return [index for index in range(present) if events.is_present(index, now)]

    def _moment(self, message: Message) -> tuple[int, int]:
        """Return what a count depends on besides its message: nothing once all is settled."""
        account = self._account
        settled = account.is_settled(message, account.now)
        return (0 if settled else account.now), len(account.happenings)

    def _rows_of(self, conversation: Conversation, stage: Stage) -> Sequence[int]:
        account, now = self._account, self._account.now
        rows = Stages(account, conversation, stage, now)
        present = range(bisect_right(range(rows.count), now, key=rows.raw))
        if not rows.late_by:
            return present
        return [index for index in present if rows.is_present(index, now)]

    def _count_activity(self, message: Message, _now: int, _happenings: int) -> Activity:
        clicks, clickers = self._contacts(message, Kind.CLICK)
        return Activity(
            clicks=clicks,
            clickers=clickers,
            repeaters=clicks - clickers,  # no one clicks more than twice
            openers=self._contacts(message, Kind.OPEN)[1],
            readers=self._contacts(message, Kind.READ)[1],
            removed=len(self.visible(message, Kind.REMOVAL)),
            bounced=len(self.visible(message, Kind.BOUNCE)),
        )

    def _contacts(self, message: Message, kind: Kind) -> tuple[int, int]:
        """Return the number of visible rows of a kind and of the contacts behind them."""
        rows = self.visible(message, kind)
        if isinstance(rows, range):
            persons = (2 * len(rows) - 1) // 3 + 1 if rows else 0
        else:
            persons = len({(2 * index + 1) // 3 for index in rows})
        return len(rows), min(persons, message.recipients - message.counts[Kind.BOUNCE])

    def _count_locations(
        self, message: Message, kind: Kind, _now: int, _happenings: int
    ) -> dict[int, int]:
        account = self._account
        actors: Iterable[int] = [
            account.actor(message, kind, index) for index in self.visible(message, kind)
        ]
        if kind != Kind.CLICK:
            actors = set(actors)
        return Counter(location_of(message.contact_list, number) for number in actors)

    def _count_links(self, message: Message, _now: int, _happenings: int) -> dict[int, LinkCount]:
        account = self._account
        events = Events(account, message, Kind.CLICK)
        found = tally(
            (link_of(message, events.noise(index)), account.actor(message, Kind.CLICK, index))
            for index in self.visible(message, Kind.CLICK)
        )
        return {link: found.get(link, LinkCount(0, 0)) for link in range(message.links)}


def tally(clicks: Iterable[tuple[T, int]]) -> dict[T, LinkCount]:
    """Return the clicks and the contacts of each link, from (link, contact)."""
    numbers: dict[T, list[int]] = {}
    for link, number in clicks:
        numbers.setdefault(link, []).append(number)
    return {link: LinkCount(len(one), len(set(one))) for link, one in numbers.items()}
