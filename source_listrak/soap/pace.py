"""When a request may go out: how many at once, how many a second, and not at all after a stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from source_listrak.soap.faults import INTERRUPTED, OUTAGE, Action, Fault, ListrakError

FAILURES_THAT_MEAN_AN_OUTAGE = 5
"""So many slices in a row that failed for good, with no success between, end the sync."""


class CircuitBreaker:
    """Stops every request once one error has shown that no further request can help."""

    def __init__(self) -> None:
        self._tripped = threading.Event()
        self._lock = threading.Lock()
        self._error: ListrakError | None = None
        self._failures_in_a_row = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def error(self) -> ListrakError | None:
        """What stopped the sync, if it was stopped."""
        return self._error

    def on_trip(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the breaker trips, to wake up whoever waits."""
        self._listeners.append(listener)

    def trip(self, error: ListrakError) -> None:
        """Stop the sync; the first error is the one that counts."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            self._tripped.set()
        for listener in self._listeners:
            listener()

    def interrupt(self) -> None:
        """Stop the sync because the process was told to leave."""
        self.trip(ListrakError(INTERRUPTED))

    def check(self) -> None:
        """Raise the error that stopped the sync, if any."""
        if self._error is not None:
            raise self._error

    def wait(self, seconds: float) -> None:
        """Wait; raise at once when the sync is stopped meanwhile."""
        self._tripped.wait(seconds)
        self.check()

    def succeeded(self) -> None:
        """Note that the service answered, so that there is no outage."""
        self._failures_in_a_row = 0

    def failed(self, fault: Fault) -> None:
        """Note that a request failed for good; so many in a row are an outage of the service."""
        if fault.action is not Action.RETRY:
            return
        with self._lock:
            self._failures_in_a_row += 1
            is_outage = self._failures_in_a_row >= FAILURES_THAT_MEAN_AN_OUTAGE
        if is_outage:
            self.trip(ListrakError(OUTAGE, f"last fault: {fault.name}"))


class Pace:
    """Shares one budget of requests among all workers: in flight, per second, and after a 429.

    When the service says that it is too much (429, 503), the connector as a whole pauses and
    halves the number of requests in flight, then gains one back for each round of successes:
    the additive increase and multiplicative decrease of TCP, which is known to settle.
    """

    def __init__(
        self, workers: int, max_requests_per_second: float | None, breaker: CircuitBreaker
    ) -> None:
        self._workers = workers
        self._limit = float(workers)
        self._in_flight = 0
        self._interval = 1 / max_requests_per_second if max_requests_per_second else 0.0
        self._next_at = 0.0
        self._not_before = 0.0
        self._last_cut = 0.0
        self._breaker = breaker
        self._changed = threading.Condition()
        breaker.on_trip(self._wake)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    @contextmanager
    def slot(self) -> Iterator[float]:
        """Hold the right to one request in flight; yields when it began (monotonic seconds).

        :raises ListrakError: when the sync is stopped
        """
        self._acquire()
        try:
            yield time.monotonic()
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify()

    def _acquire(self) -> None:
        with self._changed:
            while True:
                self._breaker.check()
                pause = self._not_before - time.monotonic()
                if self._in_flight < int(self._limit):
                    if pause <= 0:
                        break
                    self._changed.wait(pause)
                else:
                    self._changed.wait()
            self._in_flight += 1
            wait = 0.0
            if self._interval:
                now = time.monotonic()
                at = max(now, self._next_at)
                self._next_at = at + self._interval
                wait = at - now
        if wait > 0:
            try:
                self._breaker.wait(wait)
            except ListrakError:
                with self._changed:
                    self._in_flight -= 1
                    self._changed.notify()
                raise

    def slow_down(self, began: float, pause: float) -> None:
        """Pause every request for `pause` seconds and halve their number.

        :param began: when the request began that was told off: of a burst of such answers only
            the first one halves, the others began before it was known
        """
        with self._changed:
            now = time.monotonic()
            self._not_before = max(self._not_before, now + pause)
            if began >= self._last_cut:
                self._last_cut = now
                self._limit = max(1.0, self._limit / 2)

    def speed_up(self) -> None:
        """Note a success: after as many as are in flight, one more may be."""
        if self._limit >= self._workers:
            return
        with self._changed:
            self._limit = min(float(self._workers), self._limit + 1 / self._limit)
            self._changed.notify()
