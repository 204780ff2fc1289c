"""What a person sees while a sync runs: counts of each stream, every half minute and at the end."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

INTERVAL = 30.0
"""Seconds between two lines of a running stream."""

_SUMMARY = (
    ("known", "{done:,} of {known:,} slices done, {records:,} records"),
    (None, "{requests:,} requests, {retries:,} retries"),
    ("gone", "{gone:,} gone"),
    ("failed", "{failed:,} failed"),
    ("short_slices", "{short_slices:,} shorter than their counters"),
    ("wrong_values", "{wrong_values:,} values of a wrong type"),
    ("removed_characters", "{removed_characters:,} forbidden characters removed"),
)
"""The parts of a summary, each with the count without which it is left out."""

_TOLERANCE = timedelta(hours=1)
"""How far in the future a date may lie: a clock can be a little off."""

_FORM = "%Y-%m-%dT%H:%M:%S.%fZ"

_COMMON_ZONES = (
    "America/Los_Angeles",
    "America/Denver",
    "America/Chicago",
    "America/New_York",
    "UTC",
    "Europe/London",
    "Europe/Berlin",
    "Australia/Sydney",
)


class StreamCounts:
    """Counts of one stream, by name; thread-safe.

    :param on_rate_limited: called with the seconds of a wait for a rate limit
    """

    def __init__(
        self, name: str, on_rate_limited: Callable[[float], None] = lambda seconds: None
    ) -> None:
        self.name = name
        self._on_rate_limited = on_rate_limited
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._began = self._ended = math.inf
        self._limited_until = 0.0

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def began(self) -> None:
        """Note that the stream began."""
        self._began = time.monotonic()

    def ended(self) -> None:
        """Note that the stream ended."""
        self._ended = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether the stream began and has not ended."""
        return self._began < self._ended == math.inf

    @property
    def seconds(self) -> float:
        """How long the stream has been running, or ran."""
        return max(0.0, min(time.monotonic(), self._ended) - self._began)

    def requested(self, *, is_retry: bool) -> None:
        """Note one request on the wire."""
        self.add(requests=1, retries=int(is_retry))

    def waiting(self, seconds: float) -> None:
        """Note that a request waits for a rate limit; workers that wait together count once."""
        now = time.monotonic()
        with self._lock:
            if now < self._limited_until:
                return
            self._limited_until = now + seconds
        self._on_rate_limited(seconds)

    def is_first(self, what: str) -> bool:
        """Return whether this is the first time; streams that share their counts have names."""
        return self.add(**{what: 1})

    def add(self, **counts: int) -> bool:
        """Add to counts by name; return whether one of them was zero before."""
        with self._lock:
            is_first = any(value and not self._counts[name] for name, value in counts.items())
            self._counts.update(counts)
        return is_first

    def __str__(self) -> str:
        parts = [text for needed, text in _SUMMARY if needed is None or self._counts[needed]]
        return ", ".join(parts).format_map(self._counts)


@contextmanager
def log_progress(streams: Sequence[StreamCounts], logger: logging.Logger) -> Iterator[None]:
    """Log a line for each running stream every half minute, and a summary of each at the end."""
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
            logger.info(f"Summary of {counts.name}: {counts}, {counts.seconds:.1f} s")


class ZoneWatch:
    """Notices dates in the future of the configured zone, which show that the zone is wrong.

    :param now: returns the present instant in UTC, since what happens during a long sync is read
        by it, too
    """

    def __init__(self, zone: ZoneInfo, now: Callable[[], datetime]) -> None:
        self._zone = zone
        self._now = now
        self._ahead = _TOLERANCE
        self._limit = f"{now() + _TOLERANCE:{_FORM}}"
        """Dates up to here need no closer look, which costs more than all else."""

    def see(self, rows: Iterable[Mapping[str, Any]], column: str) -> None:
        """Look at a column of dates, in the connector's form; other texts are passed over."""
        dates = (row.get(column) or "" for row in rows)
        latest = max((date for date in dates if len(date) == len(self._limit)), default="")
        if latest > self._limit:
            with suppress(ValueError):  # a string column that holds no date
                ahead = datetime.strptime(latest, "%Y-%m-%dT%H:%M:%S.%f%z") - self._now()
                self._ahead, self._limit = max(self._ahead, ahead), latest

    def warning(self) -> str | None:
        """Return one sentence when dates lie in the future by more than an hour."""
        if self._ahead == _TOLERANCE:
            return None
        now = self._now()
        latest = _clock(now + self._ahead, self._zone)
        fitting = [name for name in _COMMON_ZONES if _clock(now, ZoneInfo(name)) >= latest]
        advice = f"{fitting[0]} would fit" if fitting else "check it"
        return (
            f"Dates lie up to {self._ahead.total_seconds() / 3600:.1f} hours in the future of the "
            f"configured time zone {self._zone.key}, which is probably wrong: {advice}."
        )


def _clock(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)
