"""The spans of time that a sync requests: pure functions of instants, months and ids.

Instants are aware datetimes in UTC. Listrak compares and writes wall-clock times of the account's
time zone without an offset, so requests carry wall-clock times: naive datetimes, here and in
requests only.

Events are recorded late, some by minutes, some by days. Re-reading days in every sync would cost
many times what is new, so each depth has its own period: **an event recorded late by d arrives
within about another d.** A sync reads to the depth of the deepest tier that is due::

    one key (a list; the account; a list and month)          ● day-phase    ◆ week-phase
          ◆        ●        ●        ●        ●        ●        ●        ◆        ●
    ──────┼────────┼────────┼────────┼────────┼────────┼────────┼────────┼────────┼──▶ time
                      always: ┤newest row seen − OVERLAP … end┤
                 daily:   ┤first ● − DAY − DAY … end┤
    weekly: ┤first ◆ − CYCLE − lookback_days … end┤

A tier is due in a sync if an instant of its key lies in (read_to, end], where read_to is the end of
the previous sync. The tier's previous visit was due at the instant before, so it read at least up
to that instant; an event that it could not see was recorded later, and the depth covers its delay.

What is requested ends a day after the window, so that neither a wrong time zone nor a clock that is
off hides what has already happened.
"""

from __future__ import annotations

import functools
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import NamedTuple
from zoneinfo import ZoneInfo

CYCLE = timedelta(days=7)
"""The period of the weekly tier; all contacts of a list are read as often."""

DAY = timedelta(days=1)
"""The period and the depth of the daily tier, and the longest delay of a whole table that the
always tier follows. A wrong time zone shifts all rows by up to 14 hours. UNVERIFIED for delays of
the service itself."""

OVERLAP = timedelta(hours=1)
"""How far before the newest row the always tier reads, since rows can be recorded out of order.
UNVERIFIED; what is later than this waits for the daily tier."""

MARGIN = timedelta(days=1)
"""How far after the window's end a request reaches: more than any two time zones of the Americas,
or of Europe and America, are apart."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

LONGEST_SPAN = timedelta(weeks=53)
"""The span of one request for messages, which the API does not page: a year and its margin."""

NEARBY = timedelta(days=31)
"""A gap that is cheaper to read than a further request: the messages of a month are few rows."""


def wall_start(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return a wall-clock time no later than any that the clock shows from `instant` on.

    In the hour before the clock is put back, later instants show earlier times::

        instants   05:30Z ─── instant ─── 06:00Z ────────── 07:00Z
        wall        01:30      01:45      01:00 again        02:00
                               └ 01:15 to 01:45 comes again: the window starts at 00:45

    (an hour back at most; rows that are read twice for it carry the same keys).
    """
    return min(_walls(instant, zone))


def wall_end(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return a wall-clock time later than any that the clock showed before `instant`."""
    return max(_walls(instant, zone))


def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant of a wall-clock time, the first one in a repeated hour."""
    return wall.replace(tzinfo=zone).astimezone(timezone.utc)


@functools.cache
def have_same_rules(one: str, other: str, start: datetime, end: datetime) -> bool:
    """Return whether two zones show the same time at each hour between two instants.

    Many zones have several names, such as US/Eastern and America/New_York.

    :param one: an IANA name; False if it is not one
    """
    try:
        first, second = ZoneInfo(one), ZoneInfo(other)
    except (KeyError, ValueError, OSError):
        return False
    hour = timedelta(hours=1)
    hours = (start + number * hour for number in range((end - start) // hour))
    return one == other or all(
        hour.astimezone(first).utcoffset() == hour.astimezone(second).utcoffset() for hour in hours
    )


def to_micros(instant: datetime) -> int:
    """Return microseconds since 1970 of an instant."""
    return round((instant - _EPOCH).total_seconds() * 1_000_000)


def _walls(instant: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return the wall-clock times of an instant by the offsets of both readings of its local time.

    They differ only in the repeated hour; a clock never shows a time of the missing hour.
    """
    local = instant.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    return [wall + (instant - local.replace(fold=fold).astimezone(timezone.utc)) for fold in (0, 1)]


class Window(NamedTuple):
    """A half-open span [start, end) of wall-clock time, to the second."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, start: datetime, end: datetime, zone: ZoneInfo) -> Window:
        """Return the window that covers the time between two instants."""
        return cls(wall_start(start, zone), wall_end(end, zone))


def merge(windows: Iterable[Window]) -> list[Window]:
    """Return windows that cover all the given ones, ascending, each at most `LONGEST_SPAN` long.

    Windows with a gap of less than `NEARBY` become one request; the rows of the gap are dropped.
    """
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start - merged[-1].end < NEARBY:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return [
        Window(start + place * LONGEST_SPAN, min(start + (place + 1) * LONGEST_SPAN, end))
        for start, end in merged
        for place in range(-((start - end) // LONGEST_SPAN))
    ]


def next_due(
    key: tuple[int, ...], after: datetime, until: datetime, period: timedelta = CYCLE
) -> datetime | None:
    """Return the first instant in (after, until] at which `key` is due, None without one.

    Each key has instants of its own, one period apart, so that every sync revisits about the
    same number of keys.
    """
    seconds = int(period.total_seconds())
    phase = zlib.crc32(repr(key).encode()) % seconds
    last = int(after.timestamp())
    due = datetime.fromtimestamp(last - (last - phase) % seconds + seconds, timezone.utc)
    return due if due <= until else None


class Tier(NamedTuple):
    """How often a key is read again, and how late an event may be recorded to be found then."""

    period: timedelta
    depth: timedelta

    def start(self, key: tuple[int, ...], read_to: datetime, end: datetime) -> datetime | None:
        """Return from when a sync reads a key that is due in (read_to, end], else None."""
        due = next_due(key, read_to, end, self.period)
        return due and due - self.period - self.depth


DAILY = Tier(DAY, DAY)


class Cohort(NamedTuple):
    """The messages that a list sent in a span, and the instant from which their events are read."""

    span: Window
    start: datetime


def cohort_of(found: list[Cohort], zone: ZoneInfo) -> Callable[[int], Cohort | None]:
    """Return a function from a send date to the cohort it falls into.

    It takes microseconds since 1970. A negative number is no date: such a message may come with
    any of the spans, so it belongs to the cohort that reads furthest back.
    """
    furthest = min(found, key=lambda cohort: cohort.start)
    edges = [to_micros(instant_of(edge, zone)) for cohort in found for edge in cohort.span]

    def find(sent: int) -> Cohort | None:
        if sent < 0:
            return furthest
        passed = bisect_right(edges, sent)  # an odd number inside of a span
        return found[passed // 2] if passed % 2 else None

    return find


def months(start: datetime, end: datetime) -> list[datetime]:
    """Return `start` and the first instant of each later month before `end`, in wall-clock time."""
    found, month = [start], start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while (month := (month + timedelta(days=32)).replace(day=1)) < end:
        found.append(month)
    return found
