"""Things in order of time: the rows of a message, the contacts of a list, removals, imports.

A series returns one thing by its index. ``raw`` ascends with the index; ``is_present`` says
whether a thing can be seen at an instant. ``select`` finds, by binary search, the indices of all
things in a range of dates.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from simulator.account import (
    GOLDEN,
    MASK,
    REMOVED_SENDS,
    Account,
    ContactList,
    Conversation,
    Kind,
    Message,
    Stage,
    chance,
    mix,
)
from simulator.clock import DAY, HOUR, SECOND

_AGES = 1 << 62
ALL_TIME = (-_AGES, _AGES)
_NEVER = _AGES
_IMPORT_HISTORY = 30 * DAY


class Series(Protocol):
    """Things in order of time; ``holes`` are those of a stretch that cannot be seen."""

    late_by: int

    @property
    def count(self) -> int:
        """The number of things that may be there."""

    def raw(self, index: int) -> int:
        """Return an instant that ascends with the index."""

    def stamp(self, index: int) -> int:
        """Return the stored instant: at most a second before ``raw``."""

    def is_present(self, index: int, now: int) -> bool:
        """Return whether the thing can be seen at an instant."""

    def holes(self, first: int, last: int, now: int) -> Sequence[int]:
        """Return, in order, what cannot be seen although its time has come."""


class Events:
    """The rows of one kind of one message."""

    def __init__(self, account: Account, message: Message, kind: int) -> None:
        self.count = message.counts[kind]
        self.late_by, self._delay = account.late_by, account.delay
        self._recorded = account.recorded.get((message.msg_id, kind), {})
        self._steps = account.steps
        self._sent = message.sent
        self._seed = message.seed + 7919 * (kind + 1)
        self._growth = account.growth

    def noise(self, index: int) -> int:
        """Return the scrambled bits from which a row's details are read."""
        return mix(self._seed + index * GOLDEN & MASK)

    def raw(self, index: int) -> int:
        """Return a row's instant before it is cut to the stored resolution."""
        share = (index + (self.noise(index) >> 44) / 1_048_576) / self.count
        return self._sent + int(60 * SECOND * math.expm1(share * self._growth))

    def stamp(self, index: int) -> int:
        """Return a row's stored instant, never before the message was sent."""
        return self.at(index)[1]

    def at(self, index: int) -> tuple[int, int]:
        """Return a row's noise and stored instant at once, for half the price."""
        noise = mix(self._seed + index * GOLDEN & MASK)
        share = (index + (noise >> 44) / 1_048_576) / self.count
        raw = self._sent + int(60 * SECOND * math.expm1(share * self._growth))
        return noise, max(self._sent, raw - raw % self._steps[noise & 15])

    def is_present(self, index: int, now: int) -> bool:
        """Return whether a row happened, and was recorded, by an instant."""
        if self.raw(index) + self._delay(self.noise(index)) > now:
            return False
        recorded = self._recorded.get(index, 0)
        return recorded is not None and recorded <= now

    def holes(self, first: int, last: int, now: int) -> Sequence[int]:
        """Return the rows that a test withholds."""
        return sorted(
            index
            for index, at in self._recorded.items()
            if first <= index < last and (at is None or at > now)
        )


class Even:
    """Things at an even pace from the account's start, without end."""

    late_by = 0

    def __init__(
        self, account: Account, seed: int, pace: int, now: int, window: int | None = None
    ) -> None:
        self._account, self._seed, self._pace, self._window = account, seed, pace, window
        elapsed = now - account.start
        self.count = max(0, elapsed * pace // account.span + 2) if pace else 0

    def noise(self, index: int) -> int:
        """Return the scrambled bits from which a thing's details are read."""
        return mix(self._seed + index * GOLDEN & MASK)

    def raw(self, index: int) -> int:
        """Return a thing's instant before it is cut to the stored resolution."""
        return self._account.even(self._seed, self._pace, index)

    def stamp(self, index: int) -> int:
        """Return a thing's stored instant."""
        return self._account.quantise(self.raw(index), self.noise(index))

    def is_present(self, index: int, now: int) -> bool:
        """Return whether a thing has happened and is not older than the window."""
        return (-_AGES if self._window is None else now - self._window) < self.raw(index) <= now

    def holes(self, first: int, last: int, now: int) -> Sequence[int]:
        """Return what is older than the window."""
        if self._window is None:
            return ()
        return range(first, bisect_right(range(last), now - self._window, lo=first, key=self.raw))


def sendings(account: Account, contact_list: ContactList, now: int) -> Even:
    """Return the sending of a list's messages."""
    return Even(account, contact_list.seed + 11, contact_list.messages, now)


def imports(account: Account, contact_list: ContactList, now: int) -> Even:
    """Return a list's imports, of which the service keeps a history of thirty days."""
    pace = account.config.imports_per_list
    return Even(account, contact_list.seed + 37, pace, now, _IMPORT_HISTORY)


def address_changes(account: Account, contact_list: ContactList, now: int) -> Even:
    """Return the corrections of addresses of a list's contacts."""
    pace = account.config.address_changes_per_list if contact_list.contacts else 0
    return Even(account, contact_list.seed + 41, pace, now)


class Contacts(Even):
    """The contacts of a list in order of their first subscription; some leave, some return."""

    def __init__(self, account: Account, contact_list: ContactList, now: int) -> None:
        super().__init__(account, contact_list.seed + 13, contact_list.contacts, now)
        config = account.config
        self._list = contact_list
        self._moves = account.contact_moves.get(contact_list.list_id, {})
        self._every = config.leaver_every
        self._stay, self._away = int(config.stay_days * DAY), int(config.away_days * DAY)
        self._return_share = config.return_share

    def leaves_at(self, block: int) -> int:
        """Return when the leaver of a block leaves; ascends with the block."""
        _, noise = self._account.leaver(self._list, block)
        at = (block + 1 << 20) + (noise >> 44)
        pace = self._pace << 20
        return self._account.start + at * self._every * self._account.span // pace + self._stay

    def returns_at(self, block: int) -> int | None:
        """Return when the leaver of a block returns, None if never."""
        draw = mix(self._account.leaver(self._list, block)[1])
        if chance(draw) >= self._return_share:
            return None
        return self.leaves_at(block) + self._away + draw % (self._away + 1)

    def removed_at(self, number: int) -> int | None:
        """Return when a message makes a contact leave, None if none does."""
        if not self._list.messages:
            return None
        message = self._account.message(self._list, self._remover(number))
        place = message.leavers.get(number)
        return None if place is None else Events(self._account, message, Kind.REMOVAL).raw(place)

    def _remover(self, number: int) -> int:
        """Return the index of the message that may make a contact leave."""
        return number * self._list.messages // self._list.contacts + 2

    def history(self, number: int) -> list[tuple[int, int]]:
        """Return the spans [from, until) during which a contact is subscribed."""
        spans = [(self.raw(number), _NEVER)]
        removed = self.removed_at(number)
        block = number // self._every if self._every else 0
        if removed is not None:
            spans = [(spans[0][0], removed)]
        elif self._every and number == self._account.leaver(self._list, block)[0]:
            spans = [(spans[0][0], self.leaves_at(block))]
            back = self.returns_at(block)
            if back is not None:
                spans.append((back, _NEVER))
        moves = self._moves.get(number)
        if not moves:
            return spans
        # From the first happening on, the happenings decide.
        spans = [(since, until) for since, until in spans if since < moves[0][0]]
        for at, leaves in moves:
            if leaves:
                spans[-1] = (spans[-1][0], at)
            else:
                spans.append((at, _NEVER))
        return spans

    def is_present(self, index: int, now: int) -> bool:
        """Return whether a contact is subscribed at an instant."""
        return any(since <= now < until for since, until in self.history(index))

    def holes(self, first: int, last: int, now: int) -> Sequence[int]:
        """Return the contacts that have left, without a look at those that have not."""
        if first >= last:
            return ()
        gone = self._removed_by_messages(first, last, now)
        if self._every:
            for block in range(first // self._every, (last + self._every - 1) // self._every):
                if self.leaves_at(block) > now:
                    break
                back = self.returns_at(block)
                if back is None or back > now:
                    gone.add(self._account.leaver(self._list, block)[0])
        for number in self._moves:
            if self.is_present(number, now):
                gone.discard(number)
            else:
                gone.add(number)
        return sorted(number for number in gone if first <= number < last)

    def _removed_by_messages(self, first: int, last: int, now: int) -> set[int]:
        account = self._account
        gone: set[int] = set()
        if not self._list.messages or not account.config.removal_rate:
            return set()
        for index in range(self._remover(first), self._remover(last) + 1):
            message = account.message(self._list, index)
            if message.raw > now:
                break
            if account.is_settled(message, now):
                gone.update(message.leavers)
            elif message.leavers:
                events = Events(account, message, Kind.REMOVAL)
                gone |= {n for n, place in message.leavers.items() if events.raw(place) <= now}
        return gone

    def departures(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return the (instant, number) of departures of contacts that left by themselves."""
        found = []
        if self._every and self.count:
            blocks = range(self.count // self._every + 1)
            first = bisect_left(blocks, low, key=self.leaves_at)
            last = bisect_right(blocks, high, key=self.leaves_at)
            every = (
                (self.leaves_at(block), self._account.leaver(self._list, block)[0])
                for block in range(first, last)
            )
            found = [(at, number) for at, number in every if number not in self._moves]
        for number in self._moves:
            spans = self.history(number)
            found += [(until, number) for _, until in spans if low <= until <= high]
        return found

    def is_removed_by_message(self, number: int, at: int) -> bool:
        """Return whether it is true that a message made a contact leave: none did before."""
        moves = self._moves.get(number)
        return moves is None or at < moves[0][0]


@dataclass(frozen=True)
class Entry:
    """One thing of a merged series; ``what`` is whatever its values are computed from."""

    raw: int
    stamp: int
    what: tuple[int, ...]


class Merged:
    """Things of several origins, put in order of time; all of them are present."""

    late_by = 0

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = sorted(entries, key=lambda one: (one.raw, one.what))
        self.count = len(self.entries)

    def raw(self, index: int) -> int:
        """Return a thing's instant."""
        return self.entries[index].raw

    def stamp(self, index: int) -> int:
        """Return a thing's stored instant."""
        return self.entries[index].stamp

    def is_present(self, index: int, now: int) -> bool:
        """Return whether a thing has happened."""
        return self.entries[index].raw <= now

    def holes(self, first: int, last: int, now: int) -> Sequence[int]:
        """Return nothing."""
        return ()


def removals(
    account: Account, contact_list: ContactList, now: int, span: tuple[int, int]
) -> Merged:
    """Return every removal from a list in a span of time, by whatever way.

    An entry is (message, place) for a contact whom a message made leave, (-1, number) for one that
    left by itself, (-2 - conversation, index) for one whom a conversation made leave.
    """
    low, high = span[0] - HOUR, min(span[1] + HOUR, now)
    contacts = Contacts(account, contact_list, now)
    entries = []
    for at, number in contacts.departures(low, high):
        stamp = max(contacts.stamp(number), account.quantise(at, mix(number)))
        entries.append(Entry(at, stamp, (-1, number)))
    sent = sendings(account, contact_list, now)
    first = bisect_left(range(sent.count), low - account.horizon - HOUR, key=sent.raw)
    for index in range(first, sent.count):
        message = account.message(contact_list, index)
        if message.raw > high:
            break
        events = Events(account, message, Kind.REMOVAL)
        for place in range(events.count):
            raw = events.raw(place)
            if raw > high:
                break
            number = account.recipient(message, place)
            if raw >= low and contacts.is_removed_by_message(number, raw):
                entries.append(Entry(raw, events.stamp(place), (index, place)))
    for conversation in account.conversations(contact_list, now):
        stages = Stages(account, conversation, Stage.REMOVAL, now)
        for index in range(stages.count):
            if low <= stages.raw(index) <= high:
                what = (-2 - conversation.index, index)
                entries.append(Entry(stages.raw(index), stages.stamp(index), what))
    return Merged(entries)


# One in how many sends reaches a stage, and how long after the send.
STAGES: dict[Stage, tuple[int, int]] = {
    Stage.SEND: (1, 0),
    Stage.BOUNCE: (25, 5 * 60 * SECOND),
    Stage.OPEN: (2, HOUR),
    Stage.READ: (4, HOUR + 5 * SECOND),
    Stage.REMOVAL: (REMOVED_SENDS, DAY),
    Stage.CLICK: (6, 2 * HOUR),
}


class Stages:
    """What happens at one stage to the mail of a conversation, at an even pace."""

    def __init__(
        self, account: Account, conversation: Conversation, stage: Stage, now: int
    ) -> None:
        self._account, self._seed = account, conversation.seed
        self._step, self._delay = STAGES[stage]
        self._noise_seed = conversation.seed + 101 * (stage + 1)
        self._pace = account.config.sends_per_conversation
        self._shift = conversation.published - account.start + self._delay
        self.late_by = account.late_by
        sends = (now - conversation.published) * self._pace // account.span + 2
        self.count = max(0, sends // self._step) if self._pace else 0

    def send(self, index: int) -> int:
        """Return the index of the send behind a row."""
        return index * self._step + self._step - 1

    def noise(self, index: int) -> int:
        """Return the scrambled bits from which a row's details are read."""
        return mix(self._noise_seed + index * GOLDEN & MASK)

    def raw(self, index: int) -> int:
        """Return a row's instant before it is cut to the stored resolution."""
        return self._account.even(self._seed, self._pace, self.send(index)) + self._shift

    def stamp(self, index: int) -> int:
        """Return a row's stored instant."""
        return self._account.quantise(self.raw(index), self.noise(index))

    def is_present(self, index: int, now: int) -> bool:
        """Return whether a row happened, and was recorded, by an instant."""
        return self.raw(index) + self._account.delay(self.noise(index)) <= now

    def holes(self, first: int, last: int, now: int) -> Sequence[int]:
        """Return nothing."""
        return ()


class Fixed:
    """A number of things without dates."""

    late_by = 0

    def __init__(self, count: int) -> None:
        self.count = count

    def raw(self, index: int) -> int:
        """Return the index, for want of an instant."""
        return index

    def stamp(self, index: int) -> int:
        """Return the index, for want of an instant."""
        return index

    def is_present(self, index: int, now: int) -> bool:
        """Return True."""
        return True

    def holes(self, first: int, last: int, now: int) -> Sequence[int]:
        """Return nothing."""
        return ()


class Without(Sequence[int]):
    """The integers [first, last) without some; takes the memory of the holes only."""

    def __init__(self, first: int, last: int, holes: Sequence[int]) -> None:
        self._first, self._count = first, last - first - len(holes)
        # How many integers remain before each hole.
        self._before = array("q", (hole - first - place for place, hole in enumerate(holes)))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> list[int]: ...

    def __getitem__(self, place: int | slice) -> int | list[int]:
        """Return the integer at a place, or those of a slice."""
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(self._count))]
        place = place + self._count if place < 0 else place
        if not 0 <= place < self._count:
            raise IndexError(place)
        return self._first + place + bisect_right(self._before, place)


def select(
    series: Series,
    wall: Callable[[int], int],
    bounds: tuple[tuple[int, int], tuple[int, int]],
    start: int,
    end: int,
    now: int,
    *,
    end_inclusive: bool = False,
) -> Sequence[int]:
    """Return the indices of what is visible at ``now`` with a wall-clock time in [start, end).

    ``bounds`` holds, for the start and the end, the instants before and after which the comparison
    of wall-clock times is certain. Binary search finds what is certainly inside; what is near an
    edge, where the hour may be repeated or a row late, is compared one by one.
    """
    (low, low_sure), (high_sure, high) = bounds
    places, raw = range(series.count), series.raw
    present = bisect_right(places, now, key=raw)
    first = bisect_left(places, low, key=raw)
    last = min(present, bisect_right(places, high + SECOND, key=raw))
    sure_first = bisect_left(places, low_sure + SECOND, key=raw)
    sure_last = min(bisect_left(places, high_sure, key=raw), present)
    if series.late_by:
        sure_last = min(sure_last, bisect_right(places, now - series.late_by, key=raw))
    if sure_first >= sure_last:
        sure_first = sure_last = last

    def is_inside(index: int) -> bool:
        at = wall(series.stamp(index))
        return (
            start <= at
            and (at <= end if end_inclusive else at < end)
            and series.is_present(index, now)
        )

    before = [index for index in range(first, min(sure_first, last)) if is_inside(index)]
    after = [index for index in range(max(sure_last, first), last) if is_inside(index)]
    holes = series.holes(sure_first, sure_last, now)
    middle = Without(sure_first, sure_last, holes) if holes else range(sure_first, sure_last)
    if not before and not after:
        return middle
    return array("I", before) + array("I", middle) + array("I", after)
