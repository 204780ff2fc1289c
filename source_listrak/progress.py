"""What a person sees while a sync runs: counts of each stream, every half minute and at the end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

INTERVAL = 30.0
"""Seconds between two lines of a running stream."""


class StreamProgress:
    """Counts of one stream; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.known = 0
        self.done = 0
        self.failed = 0
        self.skipped = 0
        self.records = 0
        self.requests = 0
        self.retries = 0
        self.removed_characters = 0
        self._began: float | None = None
        self._ended: float | None = None

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
        """How long the stream runs or ran."""
        if self._began is None:
            return 0.0
        return (self._ended or time.monotonic()) - self._began

    def requested(self, *, again: bool) -> None:
        """Note one request on the wire."""
        self.add(requests=1, retries=int(again))

    def add(self, **counts: int) -> None:
        """Add to counts by name."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def __str__(self) -> str:
        if not self.known:
            return f"{self.requests:,} requests, {self.retries:,} retries"
        text = (
            f"{self.done:,} of {self.known:,} slices done, {self.records:,} records, "
            f"{self.requests:,} requests, {self.retries:,} retries"
        )
        if self.skipped:
            text += f", {self.skipped:,} skipped"
        if self.removed_characters:
            text += f", {self.removed_characters:,} forbidden characters removed"
        if self.failed:
            text += f", {self.failed:,} failed"
        return text


class Reporter:
    """Logs a line for each running stream every half minute, and a summary at the end."""

    def __init__(self, streams: Mapping[str, StreamProgress], logger: logging.Logger) -> None:
        self._streams = streams
        self._logger = logger
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, name="reporter", daemon=True)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for name, progress in self._streams.items():
            self._logger.info(f"Summary of {name}: {progress}, {progress.seconds:.1f} s")

    def _report(self) -> None:
        while not self._over.wait(INTERVAL):
            for name, progress in self._streams.items():
                if progress.is_running:
                    self._logger.info(f"{name}: {progress}")
