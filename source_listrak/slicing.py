"""Which slices a sync reads, and the window of each: pure functions of instants and keys.

Instants are aware datetimes in UTC. Listrak compares and writes wall-clock times of the account's
time zone without an offset, so each window is requested in wall-clock time (naive datetimes here,
and nowhere else).

::

            previous sync                                   this sync
     ──────────┬──────────────┬───────────────────────────────┬──────▶ time
       synced_to − lookback   synced_to                  window_end = start of this sync, fixed
               └──────────────┴── requested: [start, window_end) ┘
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

MESSAGES_WINDOW = timedelta(days=365)
"""The span of one request for messages, which the API does not page."""

SENDS_SETTLE = timedelta(days=3)
"""An incremental sync reads again the recipients of messages sent in this time before the last
sync, since a large campaign is sent over hours and its rows carry no date. UNVERIFIED: no source
tells how long a send takes; three days is the longest throttling that senders are known to use."""


def wall_start(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return a wall-clock time no later than any that the clock shows from `instant` on.

    In the hour before the clock is put back, later instants show earlier times::

        instants   05:30Z ─── instant ─── 06:00Z ────────── 07:00Z
        wall        01:30      01:45      01:00 again        02:00
                               └ 01:15 to 01:45 comes once more: the window starts at 00:45

    (an hour back at most; what that reads twice carries the same keys).
    """
    return _wall(instant, min(_offsets_around(instant, zone)))


def wall_end(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return a wall-clock time later than any that the clock showed before `instant`.

    In the hour after the clock was put back, earlier instants showed later times, so the window
    ends up to an hour later on the clock; nothing that is yet to happen can be in it.
    """
    return _wall(instant, max(_offsets_around(instant, zone)))


def _wall(instant: datetime, offset: timedelta) -> datetime:
    return instant.astimezone(timezone.utc).replace(tzinfo=None) + offset


def _offsets_around(instant: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Return the offsets of both readings of the time that the clock shows at `instant`.

    They differ only in the repeated hour; a clock never shows a time of the missing hour.
    """
    local = instant.astimezone(zone)
    first, second = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    assert first is not None and second is not None
    return first, second


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span [start, end) of wall-clock time, to the second."""

    start: datetime
    end: datetime


def message_windows(start: datetime, end: datetime, zone: ZoneInfo) -> list[Window]:
    """Return the windows of at most 365 days that tile [start, end), from the start on.

    They are divided on the wall clock, where their edges meet exactly whatever daylight saving
    does at them.
    """
    windows = []
    begin, last = wall_start(start, zone), wall_end(end, zone)
    while begin < last:
        until = min(begin + MESSAGES_WINDOW, last)
        windows.append(Window(begin, until))
        begin = until
    return windows


@dataclass(frozen=True, slots=True)
class Recheck:
    """When old messages are asked: those sent over `after` ago, once in every `every`.

    Each message has its own phase in the cycle, by its id, so that every sync asks about the same
    number of them. Its instants are `every` apart; it is due when one of them lies in
    (synced_to, window_end]::

        instants of one message   ┊      ●──────────every───────────●                    ●
                                  ┊  previous                     due
        ──────────────────────────┴──────┴──┬───────────────────────┴──┬───────▶ time
                                         synced_to                window_end
                                  └ lookback ┘
        its window                [previous − lookback ................ window_end)

    The previous instant was not after `synced_to`, so the sync that was due then asked up to
    its own window's end, which lies after it: nothing lies between the two windows, whatever the
    gap between the syncs. A message that was recent until now was asked up to `synced_to`, too.
    """

    after: timedelta
    every: timedelta

    def first_due(self, message: int, synced_to: datetime, window_end: datetime) -> datetime | None:
        """Return the first instant of a message in (synced_to, window_end], or None."""
        cycle = int(self.every.total_seconds())
        # Spreads consecutive ids evenly over the cycle (Knuth's multiplicative hash).
        phase = (message * 2_654_435_761) % cycle
        done = int(synced_to.timestamp())
        due = done - (done - phase) % cycle + cycle
        if due > window_end.timestamp():
            return None
        return datetime.fromtimestamp(due, timezone.utc)

    def start(
        self, message: int, sent: datetime, synced_to: datetime, window_end: datetime
    ) -> datetime | None:
        """Return from when a message is asked (before the lookback); None when it is not due."""
        # By whether it was old when it was last asked for sure: what ages during a gap is recent.
        if sent >= synced_to - self.after:
            return synced_to
        due = self.first_due(message, synced_to, window_end)
        return None if due is None else due - self.every


PAGES_OF_A_BLOCK = 8
"""A slice of more than twice as many pages is read in blocks of so many, by several workers; one
whose length nobody knows proves long with one page more than so many, see `pages_of_a_part`."""


def page_blocks(pages: int, block: int = PAGES_OF_A_BLOCK) -> Iterator[tuple[int, int | None]]:
    """Divide about `pages` pages into blocks (first page, last page), the last one open-ended.

    The number of pages is an estimate: a block that meets the end stops, and the last one reads
    on until there are no more rows.
    """
    first = 1
    while first + block <= pages:
        yield first, first + block - 1
        first += block
    yield first, None


def pages_of_a_part(workers: int) -> int:
    """Return how many pages a worker keeps of a slice that proves long while it is read.

    Nobody knows such a slice's length (of contacts there is no counter, other counters can be
    wrong), so one worker at a time reads at its open end. Once a page there has rows and another
    worker is idle, it fixes its own end so many pages on, and leaves the rest to the idle one. With
    ten workers::

        page   1 ─────── 9 ───────── 23 24 ───────── 38 39 ────────▶ until a page has no rows
               └ alone   └ proves it     └ proves it     └ proves it

    The open end moves so many pages on for each answer that is awaited, and a part takes as many
    answers, so with fewer pages than workers some would always be idle; the half more makes up for
    late answers. Many more would make the last part long, which is one worker's.
    """
    return max(PAGES_OF_A_BLOCK, workers * 3 // 2)
