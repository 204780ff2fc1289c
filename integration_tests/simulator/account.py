"""A deterministic Listrak account: what exists, as a pure function of seed, place and index.

Nothing is stored. A message is a function of (list, index), a row of (message, kind, index), so
that an account of a hundred thousand messages or a message of a million opens costs no memory.
Rows of a kind are in order of time, which is what makes a filter a binary search.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from integration_tests.simulator.clock import DAY, HOUR, SECOND, WallClock, to_instant
from integration_tests.simulator.text import GARBAGE_DATES, TEXTS, Text, email_address

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_PAST_CONTACTS = 1 << 30  # contacts that left, numbered apart from those subscribed
_FIRST_MESSAGE_ID = 1_000
_MAX_INT = (1 << 31) - 1
CLICK, OPEN, READ, REMOVAL, BOUNCE = range(5)
# The resolutions of stored times, for sixteen equal shares of all rows.
_STEPS = (*[SECOND] * 4, 100_000, 100_000, 10_000, 10_000, *[1_000] * 7, 1)
KINDS = (CLICK, OPEN, READ, REMOVAL, BOUNCE)


def mix(value: int) -> int:
    """Scramble 64 bits (splitmix64): the source of everything that looks random here."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def chance(noise: int) -> float:
    """Give a fraction in [0, 1) from 64 scrambled bits."""
    return (noise >> 11) / (1 << 53)


def _quantise(raw: int, noise: int) -> int:
    """Cut an instant to the resolution stored: seconds to milliseconds, sometimes finer."""
    return raw - raw % _STEPS[noise & 15]


@dataclass
class AccountConfig:
    """What an account holds at ``now``; messages and contacts keep coming at the same pace after.

    ``messages_per_list`` and ``contacts_per_list`` may be sequences, repeated over the lists.
    ``string_date_style`` is the layout of the xs:string dates: iso, us, mixed or garbage.
    ``late_by`` is the longest time, in seconds, between an event and its becoming visible.
    """

    seed: int = 1
    lists: int = 3
    messages_per_list: int | Sequence[int] = 20
    recipients_per_message: float = 200
    contacts_per_list: int | Sequence[int] = 500
    start: datetime = datetime(2023, 1, 1, tzinfo=timezone.utc)
    now: datetime = datetime(2024, 1, 1, tzinfo=timezone.utc)
    time_zone: str = "America/New_York"
    giant_message_opens: int = 0
    uniform: bool = False
    test_messages: bool = True
    open_rate: float = 0.5
    read_rate: float = 0.3
    click_rate: float = 0.15
    removal_rate: float = 0.01
    bounce_rate: float = 0.03
    engagement_days: float = 30
    late_by: float = 0
    string_date_style: str = "iso"
    date_offsets: bool = False
    hidden_lists: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, eq=False)
class ContactList:
    """One list; ``first_id`` is the lowest MsgID its messages may have."""

    index: int
    list_id: int
    seed: int
    messages: int
    contacts: int
    first_id: int


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message; ``counts`` are the rows of each kind it will have in the end."""

    contact_list: ContactList
    index: int
    msg_id: int
    seed: int
    raw: int
    sent: int
    is_test: bool
    recipients: int
    counts: tuple[int, ...]
    subject: Text


class Events:
    """The rows of one kind of one message, in order of time."""

    def __init__(self, account: Account, message: Message, kind: int) -> None:
        self.count = message.counts[kind]
        self.late_by = account.late_by
        self.scattered = False
        self._sent = message.sent
        self._seed = message.seed + 7919 * (kind + 1)
        self._growth = account.growth

    def noise(self, index: int) -> int:
        """Give the scrambled bits from which a row's details are drawn."""
        return mix(self._seed + index * _GOLDEN & _MASK)

    def raw(self, index: int) -> int:
        """Give a row's instant before it is cut to the stored resolution; ascends with index."""
        share = (index + (self.noise(index) >> 44) / 1_048_576) / self.count
        return self._sent + int(60 * SECOND * math.expm1(share * self._growth))

    def stamp(self, index: int) -> int:
        """Give a row's stored instant: at most a second before ``raw``, never before the send."""
        return self.at(index)[1]

    def at(self, index: int) -> tuple[int, int]:
        """Give a row's noise and stored instant at once, for half the price."""
        noise = mix(self._seed + index * _GOLDEN & _MASK)
        share = (index + (noise >> 44) / 1_048_576) / self.count
        raw = self._sent + int(60 * SECOND * math.expm1(share * self._growth))
        return noise, max(self._sent, _quantise(raw, noise))

    def is_present(self, index: int, now: int) -> bool:
        """Tell whether a row can be seen at an instant."""
        raw = self.raw(index)
        return raw <= now - (self.late_by and self.noise(index) % self.late_by)


class _Arrivals:
    """Things that come at an even pace from the account's start, without end."""

    late_by = 0

    def __init__(self, account: Account, seed: int, count: int, *, leaving: bool = False) -> None:
        self._seed, self._start, self.scattered = seed, account.start, leaving
        self._pace = count
        self._span = account.span
        elapsed = account.now - self._start
        self.count = max(0, elapsed * count // self._span + 2) if count else 0

    def noise(self, index: int) -> int:
        """Give the scrambled bits from which a thing's details are drawn."""
        return mix(self._seed + index * _GOLDEN & _MASK)

    def raw(self, index: int) -> int:
        """Give an arrival's instant before it is cut to the stored resolution."""
        return self._start + (
            ((index << 20) + (self.noise(index) >> 44)) * self._span // (self._pace << 20)
        )

    def stamp(self, index: int) -> int:
        """Give an arrival's stored instant."""
        return _quantise(self.raw(index), self.noise(index))

    def is_present(self, index: int, now: int) -> bool:
        """Tell whether the thing has come and, of contacts, has not left again."""
        raw = self.raw(index)
        if raw > now:
            return False
        noise = self.noise(index)
        # One contact in sixteen leaves again within ninety days.
        return not (self.scattered and noise >> 20 & 15 == 0 and raw + noise % (90 * DAY) <= now)


class Account:
    """Everything the service can be asked about, at the instant ``now``."""

    def __init__(self, config: AccountConfig) -> None:
        self.config = config
        self.clock = WallClock(config.time_zone)
        self.start = to_instant(config.start)
        self.now = to_instant(config.now)
        self.span = max(1, self.now - self.start)
        self.late_by = int(config.late_by * SECOND)
        self.horizon = int(config.engagement_days * DAY)
        self.growth = math.log1p(self.horizon / (60 * SECOND))
        self.seed = mix(config.seed * _GOLDEN & _MASK)
        self.hidden_lists: set[int] = set(config.hidden_lists)
        self.version = 0
        self._lists = [self._contact_list(index) for index in range(config.lists)]
        self._width = _message_ids_per_list(config.lists)
        self._by_id = {one.list_id: one for one in self._lists}
        self._by_block = {one.first_id // self._width: one for one in self._lists}
        self.message = lru_cache(32_768)(self._message)
        self.contact = lru_cache(100_000)(self._contact)
        self.select = lru_cache(256)(self._select)
        self.activity = lru_cache(32_768)(self._activity)

    def set_now(self, moment: datetime) -> None:
        """Move the clock: what happens until then comes into view."""
        self.now = to_instant(moment)
        self.version += 1

    def hide_lists(self, list_ids: Iterable[int]) -> None:
        """Hide exactly these lists, as if the user had no access to them."""
        self.hidden_lists = set(list_ids)
        self.version += 1

    # Lists and messages

    def _contact_list(self, index: int) -> ContactList:
        config = self.config
        seed = mix(self.seed + index)
        # Blocks of ids are dealt out backwards: ids ascend within a list, not across lists.
        first_id = (config.lists - 1 - index) * _message_ids_per_list(config.lists)
        return ContactList(
            index=index,
            list_id=100 + 97 * (index ^ 1) + seed % 97,
            seed=seed,
            messages=_of(config.messages_per_list, index),
            contacts=_of(config.contacts_per_list, index),
            first_id=first_id + _FIRST_MESSAGE_ID,
        )

    def lists(self) -> list[ContactList]:
        """Give the lists that the user may see."""
        return [one for one in self._lists if one.list_id not in self.hidden_lists]

    def find_list(self, list_id: int) -> ContactList | None:
        """Give a visible list by its ListID."""
        return None if list_id in self.hidden_lists else self._by_id.get(list_id)

    def find_message(self, msg_id: int) -> Message | None:
        """Give a visible message by its MsgID."""
        contact_list = self._by_block.get(msg_id // self._width)
        if contact_list is None or contact_list.list_id in self.hidden_lists:
            return None
        index = (msg_id - contact_list.first_id) // 7
        if not contact_list.messages or index < 0:
            return None
        message = self.message(contact_list, index)
        return message if message.msg_id == msg_id and message.raw <= self.now else None

    def sendings(self, contact_list: ContactList) -> _Arrivals:
        """Give the arrivals of a list's messages."""
        return _Arrivals(self, contact_list.seed + 11, contact_list.messages)

    def subscriptions(self, contact_list: ContactList) -> _Arrivals:
        """Give the arrivals of a list's contacts."""
        return _Arrivals(self, contact_list.seed + 13, contact_list.contacts, leaving=True)

    def messages(self, contact_list: ContactList) -> Iterator[Message]:
        """Give a list's messages sent so far, in order."""
        for index in range(self.sendings(contact_list).count):
            message = self.message(contact_list, index)
            if message.raw > self.now:
                return
            yield message

    def _message(self, contact_list: ContactList, index: int) -> Message:
        config = self.config
        sendings = self.sendings(contact_list)
        seed = mix(contact_list.seed + 17 + index * _GOLDEN & _MASK)
        noise = mix(seed)
        is_giant = bool(config.giant_message_opens) and contact_list.index == index == 0
        is_test = config.test_messages and not is_giant and noise & 15 == 0
        mean = config.recipients_per_message
        if config.uniform:
            recipients = round(mean)
        elif chance(noise) < 0.1:
            recipients = 0
        else:  # a long tail: most reach a fraction of the mean, a few ten times as many
            share = chance(mix(noise))
            recipients = round(mean / 0.9 * math.exp(8 * share) * 8 / math.expm1(8))
        if is_test:
            recipients = min(recipients, 3)
        if is_giant:
            recipients = max(recipients, round(mean), 1)
        counts = [0] * len(KINDS)
        rates = (
            config.click_rate, config.open_rate, config.read_rate,
            config.removal_rate, config.bounce_rate,
        )  # fmt: skip
        for kind, rate in enumerate(rates):
            draw = mix(noise + kind + 1)
            wish = recipients * rate * (1 if config.uniform else 0.5 + chance(draw))
            counts[kind] = min(recipients, int(wish + chance(mix(draw))))
        counts[REMOVAL] = min(counts[REMOVAL], recipients // 4)
        counts[BOUNCE] = min(counts[BOUNCE], recipients // 4)
        if is_giant:
            counts[OPEN] = config.giant_message_opens
        subject = TEXTS[noise >> 8 & 15]
        return Message(
            contact_list=contact_list,
            index=index,
            msg_id=contact_list.first_id + index * 7 + noise % 7,
            seed=seed,
            raw=sendings.raw(index),
            sent=sendings.stamp(index),
            is_test=is_test,
            recipients=recipients,
            counts=tuple(counts),
            subject=f"{subject} {index}" if isinstance(subject, str) and subject else subject,
        )

    # Rows

    def recipient(self, message: Message, place: int) -> int:
        """Give the number of the contact to whom a message was sent at a place."""
        if place < message.counts[REMOVAL]:  # who will leave is no current subscriber
            return _PAST_CONTACTS + message.index * 4_096 + place
        population = max(message.contact_list.contacts, message.recipients)
        stride = 1_000_003 if population % 1_000_003 else 1
        return (place * stride + message.seed) % population

    def actor(self, message: Message, kind: int, index: int) -> int:
        """Give the number of the contact behind a row; clicks, opens and reads repeat."""
        if kind == REMOVAL:
            return self.recipient(message, index)
        if kind == BOUNCE:
            return self.recipient(message, message.recipients - 1 - index)
        # Every third row is of the contact of the row before.
        place = (2 * index + 1) // 3 * 1_000_033 % (message.recipients - message.counts[BOUNCE])
        return self.recipient(message, place)

    def _contact(self, contact_list: ContactList, number: int) -> tuple[Text, Text]:
        """Give a contact's ContactID and EmailAddress."""
        noise = mix(contact_list.seed + 23 + number * _GOLDEN & _MASK)
        contact_id = None if noise >> 50 & 511 == 0 else f"{noise:016x}"
        return contact_id, email_address(number, noise)

    def string_date(self, noise: int) -> str | None:
        """Give the layout of a row's xs:string date: iso, us, absent (None) or a literal text."""
        style = self.config.string_date_style
        if noise >> 24 & 511 == 0:
            return None
        if style == "mixed":
            return ("iso", "us", "iso", "us", "us", "iso", "us", GARBAGE_DATES[0])[noise >> 33 & 7]
        return GARBAGE_DATES[noise >> 33 & 3] if style == "garbage" else style

    # Selections

    def _select(
        self,
        rows: Events | _Arrivals | tuple[Message, int] | tuple[ContactList, str],
        start: int,
        end: int,
        end_inclusive: bool,
        now: int,
    ) -> Sequence[int]:
        """Give the indices of rows visible at ``now`` with a wall-clock time in [start, end).

        Binary search finds the rows that are certainly inside; those near an edge, where the hour
        may be repeated or an event late, are compared one by one.
        """
        if isinstance(rows, tuple):
            rows = self._series(*rows)
        count, raw, wall = rows.count, rows.raw, self.clock.wall
        low, low_sure = self.clock.bounds(start)
        high_sure, high = self.clock.bounds(end)
        places = range(count)
        present = bisect_right(places, now, key=raw)
        first = bisect_left(places, low, key=raw)
        last = min(present, bisect_right(places, high + SECOND, key=raw))
        sure_first = bisect_left(places, low_sure + SECOND, key=raw)
        sure_last = min(bisect_left(places, high_sure, key=raw), present)
        if rows.late_by:
            sure_last = min(sure_last, bisect_right(places, now - rows.late_by, key=raw))
        if rows.scattered or sure_first >= sure_last:
            sure_first = sure_last = last

        def inside(index: int) -> bool:
            at = wall(rows.stamp(index))
            return (
                start <= at
                and (at <= end if end_inclusive else at < end)
                and rows.is_present(index, now)
            )

        before = [index for index in range(first, min(sure_first, last)) if inside(index)]
        after = [index for index in range(max(sure_last, first), last) if inside(index)]
        if not before and not after:
            return range(sure_first, sure_last)
        return array("I", before) + array("I", range(sure_first, sure_last)) + array("I", after)

    def _series(self, owner: Any, what: Any) -> Events | _Arrivals:
        if isinstance(owner, Message):
            return Events(self, owner, what)
        return self.sendings(owner) if what == "messages" else self.subscriptions(owner)

    def settled(self, message: Message, now: int) -> bool:
        """Tell whether nothing more will happen to a message."""
        return message.sent + self.horizon + self.late_by + HOUR <= now

    def visible(self, message: Message, kind: int) -> int:
        """Give the number of rows of a kind that can be seen now."""
        if self.settled(message, self.now):
            return message.counts[kind]
        events = Events(self, message, kind)
        present = bisect_right(range(events.count), self.now, key=events.raw)
        if not events.late_by:
            return present
        return sum(events.is_present(index, self.now) for index in range(present))

    def _activity(self, message: Message, now: int) -> tuple[int, ...]:
        """Give the visible rows of each kind, the clickers and the repeated clickers."""
        rows = tuple(self.visible(message, kind) for kind in KINDS)
        clicks = rows[CLICK]
        if not self.late_by or clicks == message.counts[CLICK]:
            return (*rows, (2 * clicks - 1) // 3 + 1, clicks // 3)
        events = Events(self, message, CLICK)
        seen = [
            (2 * index + 1) // 3 for index in range(events.count) if events.is_present(index, now)
        ]
        return (*rows, len(set(seen)), len(seen) - len(set(seen)))


def _of(value: int | Sequence[int], index: int) -> int:
    return value if isinstance(value, int) else (value[index % len(value)] if value else 0)


def _message_ids_per_list(lists: int) -> int:
    return min(20_000_000, (_MAX_INT - _FIRST_MESSAGE_ID) // max(1, lists))
