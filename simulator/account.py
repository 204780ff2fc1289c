"""A deterministic Listrak account: what exists in it, as a pure function of seed, place and index.

Nothing is stored, so an account of a hundred thousand messages, or a message of a million opens,
costs no memory. Every detail is computed when it is needed:

* ``mix(seed + index * golden ratio)`` scrambles 64 bits: the *noise* of thing number ``index``.
  All that looks random about the thing is read from the bits of its noise.
* The things of one kind form a *series* (series.py) in order of time: ``raw(index)``, the instant
  at which a thing happens, ascends with ``index``. A filter by date is two binary searches.
* ``stamp(index)`` is the instant that the service stores: ``raw`` cut to seconds, or to one, two
  or three fraction digits. It is at most one second before ``raw``.
* What exists now is what has ``raw <= now`` and has not been removed. When the clock moves,
  nothing is rebuilt.

A worked example. An account starts on 2023-01-01, its clock shows 2024-01-01, and its first list
has ``messages_per_list=20``. The span is 365 days, so a message is sent every 365 / 20 = 18.25
days. Message 4 falls into the slot [4 * 18.25, 5 * 18.25) days; 20 bits of its noise say where:
a fraction of 0.5 gives day 4.5 * 18.25 = 82.125, which is 2023-03-24T03:00. One year later the
pace is the same: message 24 is sent in slot 24 of the same ruler.

Say that message 4 has 200 recipients and 100 opens. Open 30 happens at a share of
s = (30 + fraction) / 100 of all opens, which is 60 s * (e^(s * g) - 1) after the message was
sent, where g = ln(1 + 30 days / 60 s) makes the last open happen after 30 days: half of all opens
arrive within three and a half hours. Who opened? Every other contact opens twice in a row: opens
0, 1, 1, 2, 3, 3, 4, ... are of persons (2 * index + 1) // 3. Open 30 is of person 20, who is the
recipient at place 20 * 1_000_033 % (recipients without bounces): a walk through all places in
steps of a prime, which meets no place twice. So the 31 opens 0 to 30 are of 21 contacts, and
OpenCount, which counts contacts, is (2 * 31 - 1) // 3 + 1 = 21 without looking at any row.

A contact of a list is number n of an even series as well. One contact in each block of
``leaver_every`` leaves ``stay_days`` after its block has arrived; some return ``away_days`` later,
with the same AdditionDate. Others leave because of a message: contact n may be removed by message
n * messages // contacts + 2, which is sent soon after n has arrived. Where a message has more
removals than such contacts, the others are of people who were never subscribed here. Besides this
schedule, tests make contacts leave and return, and rows appear, at a moment of their choice
(movement.py). These happenings, and nothing else, are stored.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import IntEnum
from functools import lru_cache
from itertools import islice

from simulator.clock import DAY, HOUR, SECOND, WallClock, to_datetime, to_instant
from simulator.text import GARBAGE_DATES, TEXTS, Text, email_address, plain_text

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
_PAST_CONTACTS = 1 << 30  # contacts that were never subscribed here are numbered from this on
_FIRST_MESSAGE_ID = 1_000
_FIRST_CONVERSATION_ID = 7_000
_FIRST_CAMPAIGN_ID = 300
_PER_LIST = 32  # ids of campaigns and conversations reserved for one list
_MAX_INT = (1 << 31) - 1
_PRIME = 1_000_033
REMOVED_SENDS = 20
"""One in this number of mails that a conversation sends makes its contact leave the list."""
# The resolutions of stored times, for sixteen equal shares of all rows.
_STEPS = {
    0: (SECOND,) * 16,
    3: (*[SECOND] * 4, 100_000, 100_000, 10_000, 10_000, *[1_000] * 8),
    7: (*[SECOND] * 4, 100_000, 100_000, 10_000, 10_000, *[1_000] * 4, 1, 1, 1, 1),
}


class Kind(IntEnum):
    """The kinds of rows that a message has."""

    CLICK = 0
    OPEN = 1
    READ = 2
    REMOVAL = 3
    BOUNCE = 4


_REMOVAL, _BOUNCE = int(Kind.REMOVAL), int(Kind.BOUNCE)  # where an enum's slowness would show


class Stage(IntEnum):
    """What happens to the mail of a conversation."""

    SEND = 0
    BOUNCE = 1
    OPEN = 2
    READ = 3
    REMOVAL = 4
    CLICK = 5


def mix(value: int) -> int:
    """Scramble 64 bits (splitmix64): the source of everything that looks random here."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def chance(noise: int) -> float:
    """Return a fraction in [0, 1) from 64 scrambled bits."""
    return (noise >> 11) / (1 << 53)


@dataclass
class AccountConfig:
    """What an account holds at ``now``; afterwards everything continues at the same pace."""

    seed: int = 1
    """Decides everything that looks random; another seed is another account."""
    lists: int = 3
    """Contact lists."""
    messages_per_list: int | Sequence[int] = 20
    """Messages of a list from start to now; several numbers are repeated over the lists."""
    recipients_per_message: float = 200
    """Recipients of a message, on average: most have fewer, one in ten has none."""
    contacts_per_list: int | Sequence[int] = 500
    """Contacts who join a list from start to now; several numbers are repeated over the lists."""
    campaigns_per_list: int = 3
    """Campaigns, to which three in four messages belong."""
    conversations_per_list: int = 2
    """Conversations, which send to each contact one to four mails."""
    sends_per_conversation: int = 60
    """Mails that each conversation sends from its publication to now."""
    address_changes_per_list: int = 10
    """Contacts whose address is corrected from start to now."""
    imports_per_list: int = 24
    """Imports from start to now; the service shows those of the last 30 days."""
    complaints: int = 12
    """Complaints of abuse from start to now, over all lists."""
    test_messages: bool = True
    """Whether one message in sixteen is a test with at most three recipients."""
    giant_message_opens: int = 0
    """Opens of the first message, whatever the rates say; 0: no such message."""
    uniform: bool = False
    """Whether every message has the same number of recipients, and the rates are exact."""
    texts: str = "awkward"
    """Names and subjects: awkward (markup, control characters, every script, none) or plain."""

    start: datetime = datetime(2023, 1, 1, tzinfo=timezone.utc)
    """When the account begins."""
    now: datetime = datetime(2024, 1, 1, tzinfo=timezone.utc)
    """What the account's clock shows at first."""
    time_zone: str = "America/New_York"
    """The zone in which the service writes and reads dates (an IANA name)."""
    lag_hours: float = 0
    """Hours by which reports lag: the service shows everything as it was this long ago."""
    late_by: float = 0
    """Seconds after which an event of a message becomes visible, at most; each has its own."""
    late_share: float = 1
    """Share of the events that are late; the others are visible at once."""

    open_rate: float = 0.5
    """Opens per recipient; each third is a repeated one."""
    read_rate: float = 0.3
    """Reads per recipient; each third is a repeated one."""
    click_rate: float = 0.15
    """Clicks per recipient; each third is a repeated one."""
    removal_rate: float = 0.01
    """Recipients whom a message makes leave its list, as a share."""
    bounce_rate: float = 0.03
    """Recipients whose mail bounces, as a share."""
    engagement_days: float = 30
    """Days from a message to its last event; half of all events happen within a few hours."""

    leaver_every: int = 16
    """One contact in this number leaves its list by itself; 0: none."""
    stay_days: float = 45
    """Days after which these contacts leave."""
    return_share: float = 0.25
    """Share of these contacts that returns."""
    away_days: float = 20
    """Days after which they return, up to twice as many."""
    hidden_lists: set[int] = field(default_factory=set)
    """ListIDs that the user may not see."""

    string_date_style: str = "iso"
    """Layout of the dates that the interface declares as strings: iso, us, mixed or garbage."""
    date_digits: int = 3
    """Fraction digits of dates at most: 0, 3 or 7."""
    date_offsets: bool = False
    """Whether ISO dates carry the offset of the zone."""
    counters: str = "right"
    """What counters show: right, zero, low or high."""
    recipients_without_address: float = 0
    """Share of the rows of recipients that lack an address."""
    messages_without_send_date: float = 0
    """Share of messages that lack a SendDate."""
    conversation_mail_in_messages: bool = False
    """Whether the mail of conversations is listed among the messages, too."""
    wrong_values: dict[str, str] = field(default_factory=dict)
    """Texts in the place of right values, as JSON: {"table.column": "text"}."""
    wrong_every: int = 1
    """One row in this number has the wrong values."""


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
    """One message; ``counts`` are the rows of each kind it will have in the end.

    ``leavers`` are the numbers of subscribed contacts whom it will make leave the list, with their
    places. ``index`` is negative for the mail of a conversation.
    """

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
    links: int
    leavers: dict[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """One conversation: a program that sends ``mails`` mails to each contact, without end."""

    contact_list: ContactList
    index: int
    conversation_id: int
    seed: int
    published: int
    is_terminated: bool
    mails: int


@dataclass(frozen=True)
class Happening:
    """Something that a test made happen at an instant, besides what the seed decides.

    A contact left or returned (``list_id``, ``number``, ``leaves``), or a row of a message was
    recorded (``msg_id``, ``kind``, ``index``); ``at`` is None while the row is withheld.
    """

    at: int | None
    list_id: int = 0
    number: int = 0
    leaves: bool = False
    msg_id: int = 0
    kind: int = 0
    index: int = 0


class Account:
    """Everything the service can be asked about.

    ``time`` is what its clock shows. ``now`` is the instant as of which the service shows what
    there is: the same, unless reports lag.
    """

    def __init__(self, config: AccountConfig) -> None:
        self.config = config
        self.clock = WallClock(config.time_zone)
        self.start = to_instant(config.start)
        self.lag = int(config.lag_hours * HOUR)
        self.time = to_instant(config.now)
        self.now = self.time - self.lag
        self.span = max(1, self.time - self.start)
        self.late_by = int(config.late_by * SECOND)
        self.horizon = int(config.engagement_days * DAY)
        self.growth = math.log1p(self.horizon / (60 * SECOND))
        self.seed = mix(config.seed * GOLDEN & MASK)
        self.hidden_lists: set[int] = set(config.hidden_lists)
        self.version = 0
        self.contact_moves: dict[int, dict[int, list[tuple[int, bool]]]] = {}
        self.recorded: dict[tuple[int, int], dict[int, int | None]] = {}
        self.happenings: list[Happening] = []
        self.steps = _STEPS[config.date_digits]
        self._lists = [self._contact_list(index) for index in range(config.lists)]
        self._width = _message_ids_per_list(config.lists)
        self._by_id = {one.list_id: one for one in self._lists}
        self._by_block = {one.first_id // self._width: one for one in self._lists}
        self.message = lru_cache(32_768)(self._message)
        self.contact = lru_cache(100_000)(self._contact)

    # The clock, and what tests make happen

    @property
    def moment(self) -> datetime:
        """The clock, in UTC."""
        return to_datetime(self.time)

    def set_now(self, moment: datetime) -> None:
        """Move the clock: what happens until then becomes visible."""
        self._move_to(to_instant(moment))

    def advance(self, microseconds: int) -> None:
        """Move the clock on by a span of time."""
        self._move_to(self.time + microseconds)

    def hide_lists(self, list_ids: Iterable[int]) -> None:
        """Hide exactly these lists, as if the user had no access to them."""
        self.hidden_lists = set(list_ids)
        self.version += 1

    def happen(self, happenings: Iterable[Happening]) -> None:
        """Let things happen, each at its instant; the clock does not move."""
        for one in happenings:
            self.happenings.append(one)
            if one.list_id and one.at is not None:
                moves = self.contact_moves.setdefault(one.list_id, {})
                insort(moves.setdefault(one.number, []), (one.at, one.leaves))
            else:
                self.recorded.setdefault((one.msg_id, one.kind), {})[one.index] = one.at
        self.version += 1

    def tick(self) -> None:
        """Move the clock by a microsecond, so that before and after a happening differ."""
        self.advance(1)

    def text(self, what: str, number: int) -> Text:
        """Return a name or a subject; ``what`` it is of matters only to plain texts."""
        return plain_text(what, number) if self.config.texts == "plain" else TEXTS[number & 15]

    def _move_to(self, instant: int) -> None:
        self.time, self.now = instant, instant - self.lag
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

    def every_list(self) -> list[ContactList]:
        """Return all lists, hidden ones included."""
        return list(self._lists)

    def lists(self) -> list[ContactList]:
        """Return the lists that the user may see."""
        return [one for one in self._lists if one.list_id not in self.hidden_lists]

    def find_list(self, list_id: int) -> ContactList | None:
        """Return a visible list by its ListID."""
        return None if list_id in self.hidden_lists else self._by_id.get(list_id)

    def find_message(self, msg_id: int) -> Message | None:
        """Return a visible message by its MsgID."""
        contact_list = self._by_block.get(msg_id // self._width)
        if contact_list is None or contact_list.list_id in self.hidden_lists:
            return None
        if msg_id > self._last_id(contact_list) - 8 * _PER_LIST:
            return next((m for m in self.mails(contact_list) if m.msg_id == msg_id), None)
        index = (msg_id - contact_list.first_id) // 7
        if not contact_list.messages or index < 0:
            return None
        message = self.message(contact_list, index)
        return message if message.msg_id == msg_id and message.raw <= self.now else None

    def send_instant(self, contact_list: ContactList, index: int) -> int:
        """Return the instant at which a list's message is sent; ascends with ``index``."""
        return self.even(contact_list.seed + 11, contact_list.messages, index)

    def even(self, seed: int, pace: int, index: int) -> int:
        """Return the instant of a thing of which there are ``pace`` in the account's span."""
        noise = mix(seed + index * GOLDEN & MASK)
        return self.start + ((index << 20) + (noise >> 44)) * self.span // (pace << 20)

    def quantise(self, raw: int, noise: int) -> int:
        """Cut an instant to the resolution that is stored."""
        return raw - raw % self.steps[noise & 15]

    def messages(self, contact_list: ContactList, now: int | None = None) -> Iterator[Message]:
        """Return a list's messages sent until an instant, the present one unless given."""
        limit = self.now if now is None else now
        index = 0
        while contact_list.messages:
            message = self.message(contact_list, index)
            if message.raw > limit:
                return
            yield message
            index += 1

    def mails(self, contact_list: ContactList, now: int | None = None) -> list[Message]:
        """Return the mail of a list's conversations that is listed among its messages."""
        if not self.config.conversation_mail_in_messages:
            return []
        return [
            self._mail(conversation, mail)
            for conversation in self.conversations(contact_list, now)
            for mail in range(conversation.mails)
        ]

    def _message(self, contact_list: ContactList, index: int) -> Message:
        config = self.config
        seed = mix(contact_list.seed + 17 + index * GOLDEN & MASK)
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
        counts = self._row_counts(noise, recipients)
        if is_giant:
            counts[Kind.OPEN] = config.giant_message_opens
        subject = self.text("subject", noise >> 8)
        if self.config.texts != "plain" and isinstance(subject, str) and subject:
            subject = f"{subject} {index}"
        raw = self.send_instant(contact_list, index)
        send_noise = mix(contact_list.seed + 11 + index * GOLDEN & MASK)
        return Message(
            contact_list=contact_list,
            index=index,
            msg_id=contact_list.first_id + index * 7 + noise % 7,
            seed=seed,
            raw=raw,
            sent=self.quantise(raw, send_noise),
            is_test=is_test,
            recipients=recipients,
            counts=tuple(counts),
            subject=subject,
            links=1 + noise % 5,
            leavers=self._leavers(contact_list, index, raw, counts[Kind.REMOVAL]),
        )

    def _mail(self, conversation: Conversation, mail: int) -> Message:
        """Return the mail of a conversation in the form of a message."""
        one = conversation.contact_list
        seed = mix(conversation.seed + mail)
        counts = self._row_counts(seed, 20)
        counts[Kind.REMOVAL] = 0  # removals by conversations are rows of the conversation
        return Message(
            contact_list=one,
            index=-1 - (conversation.index * 8 + mail),
            msg_id=self.mail_id(conversation, mail),
            seed=seed,
            raw=conversation.published,
            sent=self.quantise(conversation.published, seed),
            is_test=False,
            recipients=20,
            counts=tuple(counts),
            subject=self.mail_subject(conversation, mail),
            links=1 + seed % 5,
            leavers={},
        )

    def _row_counts(self, noise: int, recipients: int) -> list[int]:
        """Return how many rows of each kind a message will have."""
        config = self.config
        counts = [0] * len(Kind)
        rates = {
            Kind.CLICK: config.click_rate,
            Kind.OPEN: config.open_rate,
            Kind.READ: config.read_rate,
            Kind.REMOVAL: config.removal_rate,
            Kind.BOUNCE: config.bounce_rate,
        }
        for kind, rate in rates.items():
            draw = mix(noise + kind + 1)
            wish = recipients * rate * (1 if config.uniform else 0.5 + chance(draw))
            counts[kind] = min(recipients, int(wish + chance(mix(draw))))
        counts[Kind.REMOVAL] = min(counts[Kind.REMOVAL], recipients // 4)
        counts[Kind.BOUNCE] = min(counts[Kind.BOUNCE], recipients // 4)
        return counts

    # Contacts

    def contact_instant(self, contact_list: ContactList, number: int) -> int:
        """Return when a contact subscribes for the first time; ascends with ``number``."""
        return self.even(contact_list.seed + 13, contact_list.contacts, number)

    def leaver(self, contact_list: ContactList, block: int) -> tuple[int, int]:
        """Return the number of the contact of a block that leaves by itself, and its noise."""
        noise = mix(contact_list.seed + 18 + block * GOLDEN & MASK)
        return block * self.config.leaver_every + noise % self.config.leaver_every, noise

    def _leavers(
        self, contact_list: ContactList, index: int, sent: int, count: int
    ) -> dict[int, int]:
        """Return the contacts whom a message makes leave, at most ``count``, with their places."""
        contacts, messages = contact_list.contacts, contact_list.messages
        every = self.config.leaver_every
        found: dict[int, int] = {}
        first, end = (-(-(index - back) * contacts // messages) for back in (2, 1))
        for number in range(max(0, first), end):
            if len(found) == count or self.contact_instant(contact_list, number) >= sent:
                break
            if not every or self.leaver(contact_list, number // every)[0] != number:
                found[number] = len(found)
        return found

    def recipient(self, message: Message, place: int) -> int:
        """Return the number of the contact to whom a message was sent at a place."""
        leavers = message.leavers
        if place < message.counts[_REMOVAL]:
            if place < len(leavers):
                return next(islice(leavers, place, None))
            return _PAST_CONTACTS + message.index * 4_096 + place
        population = max(message.contact_list.contacts, message.recipients)
        stride = 1_000_003 if population % 1_000_003 else 1
        number = (place * stride + message.seed) % population
        if number in leavers:  # it has a place already
            return _PAST_CONTACTS + (1 << 28) + message.index * 4_096 + leavers[number]
        return number

    def actor(self, message: Message, kind: int, index: int) -> int:
        """Return the number of the contact behind a row; clicks, opens and reads repeat."""
        if kind == _REMOVAL:
            return self.recipient(message, index)
        if kind == _BOUNCE:
            return self.recipient(message, message.recipients - 1 - index)
        # Every third row is of the contact of the row before.
        place = (2 * index + 1) // 3 * _PRIME % (message.recipients - message.counts[_BOUNCE])
        return self.recipient(message, place)

    def contact_number(self, contact_list: ContactList, number: int) -> int:
        """Return a contact's id as an integer, as the conversations have it."""
        return 1 + (number * 0x5851F42D + contact_list.seed) % _MAX_INT

    def _contact(self, contact_list: ContactList, number: int) -> tuple[Text, Text]:
        """Return a contact's ContactID and EmailAddress."""
        noise = mix(contact_list.seed + 23 + number * GOLDEN & MASK)
        address = email_address(number, noise)
        if noise >> 50 & 511 == 0:
            return None, address
        return str(self.contact_number(contact_list, number)), address

    def has_address(self, message: Message, place: int) -> bool:
        """Return whether a row of a message's recipients shows an address."""
        share = self.config.recipients_without_address
        return not share or chance(mix(message.seed + place)) >= share

    # Conversations and campaigns

    def conversations(
        self, contact_list: ContactList, now: int | None = None
    ) -> list[Conversation]:
        """Return a list's conversations published until an instant."""
        limit = self.now if now is None else now
        every = (
            self.conversation(contact_list, index)
            for index in range(self.config.conversations_per_list)
        )
        return [one for one in every if one.published <= limit]

    def find_conversation(self, conversation_id: int) -> Conversation | None:
        """Return a visible conversation by its ConversationID."""
        place, index = divmod(conversation_id - _FIRST_CONVERSATION_ID, _PER_LIST)
        if not 0 <= place < len(self._lists) or index >= self.config.conversations_per_list:
            return None
        conversation = self.conversation(self._lists[place], index)
        hidden = conversation.contact_list.list_id in self.hidden_lists
        return None if hidden or conversation.published > self.now else conversation

    def conversation(self, contact_list: ContactList, index: int) -> Conversation:
        """Return a list's conversation, published or not."""
        seed = mix(contact_list.seed + 29 + index * GOLDEN & MASK)
        published = self.start + int(chance(seed) * self.span * 0.8)
        return Conversation(
            contact_list=contact_list,
            index=index,
            conversation_id=_FIRST_CONVERSATION_ID + contact_list.index * _PER_LIST + index,
            seed=seed,
            published=published - published % SECOND,
            is_terminated=seed & 3 == 3,
            mails=1 + seed % 4,
        )

    def conversation_contact(self, conversation: Conversation, send: int) -> int:
        """Return the number of the contact to whom a conversation's mail was sent."""
        if send % REMOVED_SENDS == REMOVED_SENDS - 1:  # as with messages, no current subscriber
            return _PAST_CONTACTS + (1 << 29) + (conversation.index << 22) + send
        population = max(1, conversation.contact_list.contacts)
        return send // conversation.mails * 1_000_003 % population

    def mail_id(self, conversation: Conversation, mail: int) -> int:
        """Return the MsgID of a conversation's mail."""
        return self._last_id(conversation.contact_list) - (conversation.index * 8 + mail)

    def _last_id(self, contact_list: ContactList) -> int:
        """Return the highest MsgID of a list; the mail of its conversations has the last ones."""
        return contact_list.first_id - _FIRST_MESSAGE_ID + self._width - 1

    def mail_subject(self, conversation: Conversation, mail: int) -> Text:
        """Return the subject of a conversation's mail."""
        return self.text("mail", (conversation.seed >> 7) + mail)

    def list_name(self, contact_list: ContactList) -> str:
        """Return the name of a list."""
        if self.config.texts == "plain":
            return str(plain_text("list", contact_list.index))
        return f"List {contact_list.index} {TEXTS[contact_list.index % 12]}"

    def campaign_id(self, contact_list: ContactList, index: int) -> int:
        """Return the CampaignID of a list's campaign."""
        return _FIRST_CAMPAIGN_ID + contact_list.index * _PER_LIST + index

    def campaign_name(self, contact_list: ContactList, index: int) -> Text:
        """Return the name of a list's campaign."""
        return self.text("campaign", (contact_list.seed >> 9) + index)

    def campaign_of(self, message: Message) -> int | None:
        """Return the index of a message's campaign; None if it has none."""
        campaigns = self.config.campaigns_per_list
        return message.seed % campaigns if campaigns and message.seed >> 20 & 3 else None

    # Unusual values

    def string_date(self, noise: int) -> str | None:
        """Return the layout of a row's xs:string date: iso, us, absent (None) or a text as is."""
        style = self.config.string_date_style
        if noise >> 24 & 511 == 0:
            return None
        if style == "mixed":
            return ("iso", "us", "iso", "us", "us", "iso", "us", GARBAGE_DATES[0])[noise >> 33 & 7]
        return GARBAGE_DATES[noise >> 33 & 3] if style == "garbage" else style

    def send_date(self, message: Message) -> int | None:
        """Return the SendDate that reports show; None for a message that shows none."""
        share = self.config.messages_without_send_date
        return None if share and chance(mix(message.seed + 5)) < share else message.sent

    def counter(self, right: int) -> int:
        """Return what a counter shows instead of the right number."""
        distort: dict[str, Callable[[int], int]] = {
            "zero": lambda _: 0,
            "low": lambda number: number // 2,
            "high": lambda number: 2 * number + 3,
        }
        return distort.get(self.config.counters, int)(right)

    def delay(self, noise: int) -> int:
        """Return how long after it happened an event of a message becomes visible."""
        is_late = self.late_by and (noise >> 20 & 1023) < self.config.late_share * 1024
        return noise % self.late_by if is_late else 0

    def is_settled(self, message: Message, now: int) -> bool:
        """Return whether nothing more will happen to a message."""
        return message.sent + self.horizon + self.late_by + HOUR <= now


def _of(value: int | Sequence[int], index: int) -> int:
    return value if isinstance(value, int) else (value[index % len(value)] if value else 0)


def _message_ids_per_list(lists: int) -> int:
    return min(20_000_000, (_MAX_INT - _FIRST_MESSAGE_ID) // max(1, lists))
