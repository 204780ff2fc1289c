"""When a request may go out; time is a clock of the test's own, where time matters."""

from __future__ import annotations

import threading
import time

import pytest

from source_listrak.soap import faults, pace
from source_listrak.soap.faults import ListrakError
from source_listrak.soap.pace import FAILURES_THAT_MEAN_AN_OUTAGE, CircuitBreaker, Pace


class Clock:
    """A clock that moves when someone waits on it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace.time, "monotonic", clock.monotonic)
    return clock


def of(workers: int, rate: float | None = None) -> tuple[Pace, CircuitBreaker]:
    breaker = CircuitBreaker()
    return Pace(workers, rate, breaker), breaker


def test_given_more_threads_than_workers_then_never_more_are_in_flight() -> None:
    shared, _ = of(3)
    lock = threading.Lock()
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with shared.slot():
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


def test_given_a_rate_then_requests_go_out_in_even_steps(clock: Clock) -> None:
    breaker = CircuitBreaker()
    shared = Pace(4, 5.0, breaker)
    breaker.wait = clock.wait  # type: ignore[method-assign]
    began = clock.now
    for _ in range(51):
        with shared.slot():
            pass
    assert clock.now - began == pytest.approx(10.0, rel=0.1)


def test_given_a_rate_when_nothing_was_asked_for_a_while_then_no_burst_makes_up_for_it(
    clock: Clock,
) -> None:
    breaker = CircuitBreaker()
    shared = Pace(4, 5.0, breaker)
    breaker.wait = clock.wait  # type: ignore[method-assign]
    with shared.slot():
        pass
    clock.now += 100
    began = clock.now
    for _ in range(6):
        with shared.slot():
            pass
    assert clock.now - began == pytest.approx(1.0)


def slots(shared: Pace) -> int:
    return int(shared._limit)


def test_given_it_is_too_much_then_half_are_in_flight_once_for_each_burst(clock: Clock) -> None:
    shared, _ = of(16)
    began = clock.now
    clock.now += 1
    for _ in range(10):
        shared.slow_down(began, 0)
    assert slots(shared) == 8, "of a burst the first answer alone halves"
    shared.slow_down(clock.now, 0)
    assert slots(shared) == 4
    for _ in range(10):
        clock.now += 1
        shared.slow_down(clock.now, 0)
    assert slots(shared) == 1, "never none"


def test_given_successes_then_one_more_is_in_flight_for_each_round(clock: Clock) -> None:
    shared, _ = of(8)
    shared.slow_down(clock.now, 0)
    assert slots(shared) == 4
    for _ in range(4 + 1):
        shared.speed_up()
    assert slots(shared) == 5
    for _ in range(100):
        shared.speed_up()
    assert slots(shared) == 8, "never more than workers"


def test_given_a_pause_then_nobody_goes_out_before_its_end() -> None:
    shared, _ = of(4)
    began = time.monotonic()
    shared.slow_down(began, 0.15)
    with shared.slot() as at:
        assert at - began >= 0.15
    assert time.monotonic() - began < 5


def test_given_a_trip_then_whoever_waits_for_a_slot_a_pause_or_the_rate_is_woken() -> None:
    woken: list[str] = []

    def waiting(name: str, shared: Pace) -> threading.Thread:
        def work() -> None:
            try:
                with shared.slot():
                    woken.append(f"{name} went out")
            except ListrakError as error:
                woken.append(f"{name} {error.fault.name}")

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    breaker = CircuitBreaker()
    full, paused, rated = (
        Pace(1, None, breaker),
        Pace(1, None, breaker),
        Pace(2, 0.01, breaker),
    )
    paused.slow_down(time.monotonic(), 600)
    with rated.slot():
        pass
    with full.slot():
        threads = [
            waiting("slot", full),
            waiting("pause", paused),
            waiting("rate", rated),
        ]
        breaker.trip(ListrakError(faults.INVALID_LOGON))
        for thread in threads:
            thread.join(timeout=10)
            assert not thread.is_alive()
    assert sorted(woken) == ["pause invalid_logon", "rate invalid_logon", "slot invalid_logon"]
    assert rated._in_flight == full._in_flight == paused._in_flight == 0


def test_given_two_trips_then_the_first_error_counts_and_every_wait_ends() -> None:
    breaker = CircuitBreaker()
    told: list[int] = []
    breaker.on_trip(lambda: told.append(1))
    breaker.check()
    breaker.trip(ListrakError(faults.PERMISSION))
    breaker.trip(ListrakError(faults.INVALID_LOGON))
    assert told == [1]
    for ask in (breaker.check, lambda: breaker.wait(600)):
        with pytest.raises(ListrakError) as error:
            ask()
        assert error.value.fault is faults.PERMISSION


def test_given_so_many_failures_in_a_row_then_it_is_an_outage_that_names_the_last() -> None:
    breaker = CircuitBreaker()
    for _ in range(FAILURES_THAT_MEAN_AN_OUTAGE - 1):
        breaker.failed(faults.SERVER_ERROR)
    breaker.succeeded()
    for _ in range(FAILURES_THAT_MEAN_AN_OUTAGE - 1):
        breaker.failed(faults.SERVER_ERROR)
    breaker.failed(faults.REFUSED_XML)
    breaker.failed(faults.REPEATED_PAGE)
    assert breaker.error is None, "what one answer alone shows is no outage"
    breaker.failed(faults.TIMEOUT)
    assert breaker.error is not None
    assert breaker.error.fault is faults.OUTAGE
    assert breaker.error.detail == "last fault: timeout"
