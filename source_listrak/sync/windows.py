"""The spans of time that a sync requests: pure functions of instants, months and ids.

Instants are aware datetimes in UTC. Listrak compares and writes wall-clock times of the account's
time zone without an offset, so requests carry wall-clock times: naive datetimes, here and in
requests only::

            previous sync                                   this sync
     ──────────┬──────────────┬───────────────────────────────┬─────────────┬──▶ time
       synced_to − lookback   synced_to                  window_end     + MARGIN
               └──────────────┴─────────── requested ─────────┴─────────────┘

The window's end is the start of this sync. What is requested ends a day later, so that neither a
wrong time zone nor a clock that is off hides what has already happened.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import NamedTuple
from zoneinfo import ZoneInfo

CYCLE = timedelta(days=7)
"""How often what is old is read again: the messages of an old month, all contacts of a list."""

MARGIN = timedelta(days=1)
"""How far after the window's end a request reaches: more than any two time zones of the Americas,
or of Europe and America, are apart."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

LONGEST_SPAN = timedelta(weeks=53)
"""The span of one request for messages, which the API does not page: a year and its margin."""


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


def merge(windows: Iterable[Window]) -> list[Window]:
    """Return the union of windows, ascending, each at most `LONGEST_SPAN` long.

    Windows that touch become one, so that months that are due together are one request.
    """
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            merged[-1] = Window(merged[-1].start, max(merged[-1].end, window.end))
        else:
            merged.append(window)
    return [
        Window(start + place * LONGEST_SPAN, min(start + (place + 1) * LONGEST_SPAN, end))
        for start, end in merged
        for place in range(-((start - end) // LONGEST_SPAN))
    ]


def next_due(key: tuple[int, ...], after: datetime, until: datetime) -> datetime | None:
    """Return the first instant in (after, until] at which `key` is due, None without one.

    Each key has instants of its own, one `CYCLE` apart, so that every sync revisits about the
    same number of keys.
    """
    cycle = int(CYCLE.total_seconds())
    phase = zlib.crc32(repr(key).encode()) % cycle
    last = int(after.timestamp())
    due = datetime.fromtimestamp(last - (last - phase) % cycle + cycle, timezone.utc)
    return due if due <= until else None


class Cohort(NamedTuple):
    """The messages that a list sent in a span, and until when their activity was read.

    :param read_to: an instant; None: nothing of them was read
    """

    span: Window
    read_to: datetime | None


def cohort_of(found: list[Cohort], zone: ZoneInfo) -> Callable[[int], Cohort | None]:
    """Return a function from a send date to the cohort it falls into.

    It takes microseconds since 1970. A negative number is no date: such a message may come with
    any of the spans, so it belongs to the cohort that reads furthest back.
    """
    furthest = min(found, key=lambda cohort: cohort.read_to or _EPOCH)
    edges = [to_micros(instant_of(edge, zone)) for cohort in found for edge in cohort.span]

    def find(sent: int) -> Cohort | None:
        if sent < 0:
            return furthest
        passed = bisect_right(edges, sent)  # an odd number inside of a span
        return found[passed // 2] if passed % 2 else None

    return find


def next_month(wall: datetime) -> datetime:
    """Return the start of the month after a wall-clock time."""
    first = wall.replace(day=1, hour=0, minute=0, second=0)
    return (first + timedelta(days=32)).replace(day=1)
