"""What a person sees while a sync runs: counts of each stream, every half minute and at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

INTERVAL = 30.0
"""Seconds between two lines of a running stream."""

_TOLERANCE = timedelta(hours=1)
"""How far in the future a date may lie: a clock can be a little off."""

_COMMON_ZONES = (
    "America/Los_Angeles",
    "America/Denver",
    "America/Chicago",
    "America/New_York",
    "America/Sao_Paulo",
    "UTC",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Athens",
    "Asia/Dubai",
    "Asia/Kolkata",
    "Asia/Singapore",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Pacific/Auckland",
)


class StreamCounts:
    """Counts of one stream; thread-safe.

    :param on_rate_limited: called with the seconds of a wait for a rate limit
    """

    def __init__(
        self, name: str, on_rate_limited: Callable[[float], None] = lambda seconds: None
    ) -> None:
        self.name = name
        self._on_rate_limited = on_rate_limited
        self._lock = threading.Lock()
        self.known = 0
        self.done = 0
        self.failed = 0
        self.gone = 0
        self.records = 0
        self.requests = 0
        self.retries = 0
        self.removed_characters = 0
        self.wrong_values = 0
        self.short_slices = 0
        self._began: float | None = None
        self._ended: float | None = None
        self._limited_until = 0.0
        self._noticed: set[str] = set()

    def began(self) -> None:
        """Note that the stream began."""
        self._began = time.monotonic()

    def ended(self) -> None:
        """Note that the stream ended."""
        self._ended = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether the stream began and has not ended."""
        return self._began is not None and self._ended is None

    @property
    def seconds(self) -> float:
        """How long the stream has been running, or ran."""
        if self._began is None:
            return 0.0
        return (self._ended or time.monotonic()) - self._began

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

    def notice(self, what: str) -> bool:
        """Return whether this is the first time; streams that share their counts have names."""
        with self._lock:
            is_first = what not in self._noticed
            self._noticed.add(what)
        return is_first

    def add(self, **counts: int) -> bool:
        """Add to counts by name; return whether one of them was zero before."""
        with self._lock:
            is_first = any(value and not getattr(self, name) for name, value in counts.items())
            for name, value in counts.items():
                setattr(self, name, getattr(self, name) + value)
        return is_first

    def __str__(self) -> str:
        text = f"{self.requests:,} requests, {self.retries:,} retries"
        if self.known:
            text = f"{self.done:,} of {self.known:,} slices done, {self.records:,} records, {text}"
        for count, what in (
            (self.gone, "gone"),
            (self.failed, "failed"),
            (self.short_slices, "shorter than their counters"),
            (self.wrong_values, "values of a wrong type"),
            (self.removed_characters, "forbidden characters removed"),
        ):
            if count:
                text += f", {count:,} {what}"
        return text


class Reporter:
    """Logs a line for each running stream every half minute, and a summary at the end."""

    def __init__(self, counts: Iterable[StreamCounts], logger: logging.Logger) -> None:
        self._counts = list(counts)
        self._logger = logger
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, name="reporter", daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for counts in self._counts:
            self._logger.info(f"Summary of {counts.name}: {counts}, {counts.seconds:.1f} s")

    def _report(self) -> None:
        while not self._over.wait(INTERVAL):
            for counts in self._counts:
                if counts.is_running:
                    self._logger.info(f"{counts.name}: {counts}")


class ZoneWatch:
    """Notices dates in the future of the configured zone, which show that the zone is wrong.

    :param now: returns the present instant in UTC, since what happens during a long sync is read
        by it, too
    """

    def __init__(self, zone: ZoneInfo, now: Callable[[], datetime]) -> None:
        self._zone = zone
        self._now = now
        self._limit = _text(now() + _TOLERANCE)
        """Dates up to here need no closer look."""
        self._ahead = timedelta()

    def see(self, rows: Iterable[Mapping[str, Any]], column: str) -> None:
        """Look at a column of dates, in the connector's form; other texts are passed over."""
        dates = (row.get(column) or "" for row in rows)
        latest = max((date for date in dates if len(date) == len(self._limit)), default="")
        if latest <= self._limit:
            return
        try:
            ahead = datetime.strptime(latest, "%Y-%m-%dT%H:%M:%S.%f%z") - self._now()
        except ValueError:
            return  # a string column that holds no date
        if ahead > _TOLERANCE:
            self._limit, self._ahead = latest, max(self._ahead, ahead)

    def warning(self) -> str | None:
        """Return one sentence when dates lie in the future by more than an hour."""
        ahead, now = self._ahead, self._now()
        if not ahead:
            return None
        here = now.astimezone(self._zone).utcoffset() or timedelta()
        fitting = [
            name
            for name in _COMMON_ZONES
            if (now.astimezone(ZoneInfo(name)).utcoffset() or timedelta()) - here >= ahead
        ]
        advice = f"{fitting[0]} would fit" if fitting and ahead < timedelta(days=1) else "check it"
        return (
            f"Dates lie up to {ahead.total_seconds() / 3600:.1f} hours in the future of the "
            f"configured time zone {self._zone.key}, which is probably wrong: {advice}."
        )


def _text(instant: datetime) -> str:
    return instant.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
