"""When a request may be sent: how many at once, how many a second, and none after a stop."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from source_listrak.soap.faults import INTERRUPTED, DescribedFault, SyncStopped

Waitable = threading.Event | threading.Condition


class Clock:
    """The time, and waiting; tests pass a clock of their own."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def wait(self, waitable: Waitable, seconds: float) -> None:
        """Wait until an event or condition, or for some seconds, whichever is shorter."""
        waitable.wait(seconds)


class StopSwitch:
    """Stops every request once one error has shown that no further request can help.

    :ivar clock: what the requests are timed by
    :ivar error: the error that stopped the sync, None while it runs
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._tripped = threading.Event()
        self._lock = threading.Lock()
        self.error: SyncStopped | None = None
        self._listeners: list[Callable[[], None]] = []

    def on_trip(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the sync is stopped, to wake up threads that wait."""
        self._listeners.append(listener)

    def trip(self, reason: DescribedFault) -> None:
        """Stop the sync; the first reason is kept."""
        with self._lock:
            if self.error is not None:
                return
            self.error = SyncStopped(reason.fault, reason.detail)
            self._tripped.set()
        for listener in self._listeners:
            listener()

    def interrupt(self) -> None:
        """Stop the sync because the process received a signal."""
        self.trip(SyncStopped(INTERRUPTED))

    def check(self) -> None:
        """Return while the sync runs.

        :raises SyncStopped: it was stopped
        """
        if self.error is not None:
            raise self.error

    def wait(self, seconds: float) -> None:
        """Wait; raise immediately if the sync is stopped in the meantime.

        :raises SyncStopped: it was stopped
        """
        self.clock.wait(self._tripped, seconds)
        self.check()


class Throttle:
    """Shares one budget of requests among all workers: in flight, per second, and after a 429.

    When the service reports that it is overloaded (429, 503), all requests pause and the number
    in flight is halved; it then grows by one for each round of successes. This is the additive
    increase and multiplicative decrease of TCP, which is known to settle.

    :param workers: requests in flight at most
    :param per_second: requests sent per second at most; None for no limit
    :ivar limit: how many requests may be in flight now; the fraction grows by the successes
    """

    def __init__(self, workers: int, per_second: float | None, breaker: StopSwitch) -> None:
        self._workers = workers
        self.limit = float(workers)
        self._in_flight = 0
        self._interval = 1 / per_second if per_second else 0.0
        self._not_before = self._last_cut = 0.0
        self._breaker = breaker
        self._changed = threading.Condition()
        breaker.on_trip(self._wake)

    @contextmanager
    def slot(self) -> Iterator[float]:
        """Hold the right to one request in flight; yields when it began (monotonic seconds).

        :raises SyncStopped: the sync is stopped
        """
        with self._changed:
            while True:
                self._breaker.check()
                now = self._breaker.clock.monotonic()
                pause = self._not_before - now
                if self._in_flight + 1 > self.limit:
                    self._changed.wait()
                elif pause > 0:
                    self._breaker.clock.wait(self._changed, pause)
                else:
                    break
            self._in_flight += 1
            self._not_before = now + self._interval
        try:
            yield now
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify()

    def slow_down(self, began: float, pause: float) -> None:
        """Pause every request for `pause` seconds and halve their number.

        :param began: when the rejected request began: only the first rejection of a
            burst halves the limit, since the other requests were sent before it was known
        """
        with self._changed:
            now = self._breaker.clock.monotonic()
            self._not_before = max(self._not_before, now + pause)
            if began >= self._last_cut:
                self._last_cut = now
                self.limit = max(1.0, self.limit / 2)

    def speed_up(self) -> None:
        """Count a success: one round of successes raises the limit by one."""
        # At the maximum, as nearly always, no thread is woken: it would only wait again.
        if self.limit < self._workers:
            with self._changed:
                self.limit = min(float(self._workers), self.limit + 1 / self.limit)
                self._changed.notify()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
