"""What a person sees while a sync runs: counts of each stream, every half minute and at the end."""

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

INTERVAL = 30.0
"""Seconds between two lines of a running stream."""

_SUMMARY = (
    ("known", "{done:,} slices read, {records:,} records"),
    (None, "{requests:,} requests, {retries:,} retries"),
    ("gone", "{gone:,} gone"),
    ("failed", "{failed:,} failed"),
    ("short_slices", "{short_slices:,} with fewer rows than their counters"),
    ("missing", "{missing:,} messages missing from responses"),
    ("keyless_rows", "{keyless_rows:,} rows without a column of their key"),
    ("wrong_values", "{wrong_values:,} values of the wrong type"),
    ("invalid_characters", "{invalid_characters:,} invalid characters"),
)
"""The parts of a summary, each with the count without which it is left out."""

_HOUR = timedelta(hours=1)
"""How far in the future a date may be: a clock can be a little off."""

_LAG_TOLERANCE = timedelta(minutes=20)
"""How much older than a whole number of hours the newest row may be, to suggest a time zone."""

_DATE_LENGTH = len("2024-01-01T00:00:00.000000Z")


class StreamCounts:
    """Counts of one stream, by name; thread-safe.

    :param on_rate_limited: called when a request waits long for a rate limit for the first time
    :ivar is_running: whether the stream began and has not ended
    """

    def __init__(self, name: str, on_rate_limited: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self._on_rate_limited = on_rate_limited
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.is_running = False

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def requested(self, *, is_retry: bool) -> None:
        """Note one request on the wire."""
        self.add(requests=1, retries=int(is_retry))

    def waiting(self) -> None:
        """Note that a request waits long for a rate limit."""
        if self.add(waits=1):
            self._on_rate_limited()

    def add(self, **counts: int) -> bool:
        """Add to counts by name; return whether one of them was zero before."""
        with self._lock:
            is_first = any([value and not self._counts[name] for name, value in counts.items()])
            self._counts.update(counts)
        return is_first

    def __str__(self) -> str:
        parts = [text for needed, text in _SUMMARY if needed is None or self._counts[needed]]
        return ", ".join(parts).format_map(self._counts)


@contextmanager
def log_progress(streams: Sequence[StreamCounts], logger: logging.Logger) -> Iterator[None]:
    """Log each running stream every half minute; at the end, a summary of each and the sums."""
    over = threading.Event()

    def report() -> None:
        while not over.wait(INTERVAL):
            for counts in streams:
                if counts.is_running:
                    logger.info(f"{counts.name}: {counts}")

    thread = threading.Thread(target=report, name="reporter", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for counts in streams:
            logger.info(f"Summary of {counts.name}: {counts}")
        rows, requests = (sum(one[name] for one in streams) for name in ("records", "requests"))
        logger.info(f"The sync emitted {rows:,} rows and made {requests:,} requests.")


class ZoneWatch:
    """Notes the newest row of each table, and what it reveals about the time zone.

    :param now: returns the present instant in UTC, since what happens during a long sync is read
        by it, too
    """

    def __init__(self, zone: ZoneInfo, now: Callable[[], datetime]) -> None:
        self._zone = zone
        self._now = now
        self.latest: dict[str, datetime] = {}
        """The newest date of each table."""
        self._latest: dict[str, str] = {}
        self.ages: dict[str, timedelta] = {}
        """The least age that a row of a table had when it arrived; negative: in the future."""

    def see(self, table: str, rows: Iterable[Mapping[str, Any]], column: str) -> None:
        """Look at a column of dates, in the connector's form; other texts are passed over."""
        dates = [row.get(column) or "" for row in rows]
        latest = max([date for date in dates if len(date) == _DATE_LENGTH], default="")
        # Only a newer date is parsed, which costs more than all else.
        if latest > self._latest.get(table, ""):
            with suppress(ValueError):  # a string column that holds no date
                date = datetime.fromisoformat(latest.replace("Z", "+00:00"))
                age = self._now() - date
                self.ages[table] = min(age, self.ages.get(table, age))
                self.latest[table], self._latest[table] = date, latest

    def warning(self, age_before: timedelta | None) -> str | None:
        """Return one sentence if the time zone seems to be wrong.

        :param age_before: the age of the newest row of any table at the previous sync's end
        """
        newest = min(self.ages.values(), default=timedelta())
        hours = newest / _HOUR
        if hours < -1:
            return (
                f"Dates lie up to {-hours:.1f} hours in the future of the configured time zone "
                f"{self._zone.key}, which is probably wrong."
            )
        lag = math.floor(hours)
        ages = (newest, age_before or timedelta())
        if lag > 0 and all(timedelta() <= age - lag * _HOUR < _LAG_TOLERANCE for age in ages):
            return (
                f"The newest row is {lag} hours old, as in the previous sync. Either Listrak's "
                f"reports lag, or the account's time zone is {lag} hours west of {self._zone.key}."
            )
        return None
