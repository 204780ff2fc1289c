"""When a request may be sent; time is a clock of the test's own, where time matters."""

from __future__ import annotations

import threading
import time

import pytest

from source_listrak.soap import faults
from source_listrak.soap.faults import ListrakError, SyncStopped
from source_listrak.soap.throttle import Clock, StopSwitch, Throttle, Waitable


class FakeClock(Clock):
    """A clock that moves when someone waits on it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, waitable: Waitable, seconds: float) -> None:
        self.now += seconds


def test_no_more_requests_than_workers_are_in_flight() -> None:
    throttle = Throttle(3, None, StopSwitch())
    lock = threading.Lock()
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with throttle.slot():
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert most <= 3


def test_with_a_rate_requests_are_sent_in_even_steps() -> None:
    clock = FakeClock()
    throttle = Throttle(4, 5.0, StopSwitch(clock))
    began = clock.now
    for _ in range(51):
        with throttle.slot():
            pass
    assert clock.now - began == pytest.approx(10.0, rel=0.1)


def test_after_idle_time_no_burst_makes_up_for_it() -> None:
    clock = FakeClock()
    throttle = Throttle(4, 5.0, StopSwitch(clock))
    with throttle.slot():
        pass
    clock.now += 100
    began = clock.now
    for _ in range(6):
        with throttle.slot():
            pass
    assert clock.now - began == pytest.approx(1.0)


def test_a_burst_of_rejections_halves_the_requests_in_flight_once() -> None:
    clock = FakeClock()
    throttle = Throttle(16, None, StopSwitch(clock))
    began = clock.now
    clock.now += 1
    for _ in range(10):
        throttle.slow_down(began, 0)
    assert int(throttle.limit) == 8
    throttle.slow_down(clock.now, 0)
    assert int(throttle.limit) == 4
    for _ in range(10):
        clock.now += 1
        throttle.slow_down(clock.now, 0)
    assert int(throttle.limit) == 1, "never none"


def test_a_round_of_successes_allows_one_more_request_in_flight() -> None:
    clock = FakeClock()
    throttle = Throttle(8, None, StopSwitch(clock))
    throttle.slow_down(clock.now, 0)
    assert int(throttle.limit) == 4
    for _ in range(4 + 1):
        throttle.speed_up()
    assert int(throttle.limit) == 5
    for _ in range(100):
        throttle.speed_up()
    assert int(throttle.limit) == 8, "never more than workers"


def test_a_success_wakes_no_thread_when_all_requests_are_in_flight() -> None:
    """It would only wait again, and each wake-up costs CPU time."""
    looks, waits, wakes = [0], threading.Event(), threading.Event()

    class CountingClock(Clock):
        def monotonic(self) -> float:
            looks[0] += 1
            (wakes if looks[0] > 2 else waits).set()
            return super().monotonic()

    throttle = Throttle(1, None, StopSwitch(CountingClock()))
    with throttle.slot():
        waits.clear()
        thread = threading.Thread(target=lambda: throttle.slot().__enter__())
        thread.start()
        assert waits.wait(10), "the thread looks whether there is a slot, and waits"
        throttle.speed_up()
        assert not wakes.wait(0.2)
    assert wakes.wait(10)
    thread.join(10)


def test_during_a_pause_no_request_is_sent() -> None:
    clock = FakeClock()
    throttle = Throttle(4, None, StopSwitch(clock))
    began = clock.now
    throttle.slow_down(began, 600)
    with throttle.slot() as at:
        assert at - began == 600


def test_a_trip_wakes_threads_that_wait_for_a_slot_a_pause_or_the_rate() -> None:
    woken: list[str] = []

    def waiting(name: str, throttle: Throttle) -> threading.Thread:
        def work() -> None:
            try:
                with throttle.slot():
                    woken.append(f"{name} was sent")
            except SyncStopped as error:
                woken.append(f"{name} {error.fault.name}")

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    breaker = StopSwitch()
    full, paused = Throttle(1, None, breaker), Throttle(1, None, breaker)
    rated = Throttle(2, 0.01, breaker)
    paused.slow_down(time.monotonic(), 600)
    with rated.slot():
        pass
    with full.slot():
        threads = [waiting("slot", full), waiting("pause", paused), waiting("rate", rated)]
        breaker.trip(ListrakError(faults.INVALID_LOGON))
        for thread in threads:
            thread.join(timeout=10)
            assert not thread.is_alive()
    assert sorted(woken) == ["pause invalid_logon", "rate invalid_logon", "slot invalid_logon"]


def test_an_error_inside_a_slot_frees_it() -> None:
    throttle = Throttle(1, None, StopSwitch())
    for _ in range(3):
        with pytest.raises(KeyError), throttle.slot():
            raise KeyError


def test_of_two_trips_the_first_error_is_kept_and_every_wait_ends() -> None:
    breaker = StopSwitch()
    calls: list[int] = []
    breaker.on_trip(lambda: calls.append(1))
    breaker.check()
    breaker.trip(ListrakError(faults.LOGIN_REFUSED))
    breaker.trip(ListrakError(faults.INVALID_LOGON))
    assert calls == [1]
    for ask in (breaker.check, lambda: breaker.wait(600)):
        with pytest.raises(SyncStopped) as error:
            ask()
        assert error.value.fault is faults.LOGIN_REFUSED


def test_an_interruption_stops_the_sync_and_is_transient() -> None:
    breaker = StopSwitch()
    breaker.interrupt()
    assert breaker.error is not None
    assert breaker.error.fault is faults.INTERRUPTED
