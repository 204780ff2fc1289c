"""Whatever happens, each event arrives within the time that the tiers promise for its delay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from source_listrak.config import ListrakConfig
from source_listrak.sync import windows
from source_listrak.sync.plan import StreamPlan, make_plan
from source_listrak.sync.state import Deferred, StreamState
from source_listrak.sync.windows import (
    CYCLE,
    DAILY,
    DAY,
    MARGIN,
    OVERLAP,
    Tier,
    cohort_of,
    instant_of,
    next_due,
    to_micros,
    wall_end,
    wall_start,
)
from source_listrak.tables import RECENT, SETTLING, TABLES
from unit_tests.clock import HOUR

SECOND = timedelta(seconds=1)
CLOCK_ERROR = timedelta(minutes=5)
FIRST = datetime(2023, 10, 29, 12, tzinfo=timezone.utc)  # clocks are put back in the next days
OPENS = TABLES["message_opens"]
LIST = 7

ZONES = ["America/New_York", "UTC", "Australia/Lord_Howe", "America/Santiago", "Europe/Berlin"]
WRONG = [
    ("Pacific/Kiritimati", "UTC"),  # 14 hours east of the configured zone
    ("UTC", "Pacific/Kiritimati"),  # 14 hours west of it
    ("America/Los_Angeles", "America/New_York"),
    ("Europe/Berlin", "America/New_York"),
    ("America/New_York", "Asia/Tokyo"),
]


@dataclass(frozen=True)
class Event:
    """What happened to a message, and when the service showed it: instants."""

    sent: datetime
    happened: datetime
    shown: datetime


@dataclass(frozen=True)
class History:
    """The syncs of one account.

    :param account: the zone in which the service writes dates
    :param gaps: between syncs, each with how the sync ends: complete, cut, or with a report that
        failed, so that the list is deferred; "day" and "week" are the times
        until shortly after the list's and the month's next instant
    :param lag: how late all rows are shown
    :param errors: of the clock that the syncs read
    """

    account: ZoneInfo
    configured: ZoneInfo
    lookback: int
    age: timedelta
    gaps: list[tuple[timedelta | str, str]]
    lag: timedelta
    errors: list[timedelta]

    @property
    def is_exact(self) -> bool:
        """Whether the dates are those of the configured zone."""
        return self.account == self.configured

    def instants(self) -> list[tuple[datetime, str]]:
        """Return when syncs happen, and how each ends; at the end, until all has arrived."""
        found, now = [(FIRST, "complete")], FIRST
        sent = FIRST - self.age
        keys = {"day": ((LIST,), DAY), "week": ((LIST, sent.year, sent.month), CYCLE)}
        for gap, outcome in self.gaps:
            if isinstance(gap, str):
                key, period = keys[gap]
                due = next_due(key, now, now + period, period)
                assert due is not None
                gap = due - now + 2 * CLOCK_ERROR
            now += gap
            found.append((now, outcome))
        return [*found, *((now + day * DAY, "complete") for day in range(1, 10))]

    def events(self) -> Iterable[Event]:
        """Return events that are shown just after each sync, as late as a tier allows."""
        sent = FIRST - self.age
        slack = 2 * CLOCK_ERROR if self.is_exact else HOUR
        for instant, _ in self.instants():
            for delay in (timedelta(), OVERLAP, DAY, timedelta(days=self.lookback)):
                shown = instant + SECOND
                late = (
                    max(timedelta(), delay - slack) if delay > OVERLAP or slack == HOUR else delay
                )
                happened = shown - late - self.lag
                if happened >= sent:
                    yield Event(sent, happened, shown)


gaps = st.one_of(
    st.sampled_from(["day", "week"]),
    st.integers(5, 600).map(lambda minutes: timedelta(minutes=minutes)),
    st.integers(1, 100).map(lambda days: timedelta(days=days)),
    st.just(DAY),
    st.just(HOUR),
)
outcomes = st.sampled_from(["complete"] * 5 + ["cut", "deferred"])
histories = st.builds(
    lambda zones, lookback, age, gaps, lag, errors: History(
        *map(ZoneInfo, zones), lookback, age, gaps, lag, errors
    ),
    zones=st.sampled_from([*((one, one) for one in ZONES), *WRONG]),
    lookback=st.integers(1, 30),
    age=st.integers(0, 60 * 24).map(lambda hours: hours * HOUR),
    gaps=st.lists(st.tuples(gaps, outcomes), max_size=12),
    lag=st.sampled_from([0, 0, 3, 9]).map(lambda hours: hours * HOUR),
    errors=st.lists(st.integers(-5, 5).map(lambda minute: timedelta(minutes=minute)), min_size=1),
)


def promised(history: History, event: Event, read_to: datetime) -> timedelta:
    """Return how long after it is shown an event may take, besides the time until a sync.

    :param read_to: the end of the last window that was complete before it was shown
    """
    slack = 2 * CLOCK_ERROR if history.is_exact else HOUR
    late = event.shown - event.happened - history.lag
    age = read_to - _as_read(event.sent, history)
    is_prompt = late <= (OVERLAP if history.is_exact else timedelta())
    if is_prompt and age < SETTLING - slack:
        return timedelta()
    if late <= DAY - slack and age < RECENT - DAY - slack:
        return DAY
    return CYCLE


def _as_read(instant: datetime, history: History) -> datetime:
    """Return what the connector makes of a date, which has no offset."""
    return instant_of(_wall(instant, history), history.configured)


def _wall(instant: datetime, history: History) -> datetime:
    return instant.astimezone(history.account).replace(tzinfo=None)


def span_of_message(plan: StreamPlan, history: History) -> tuple[datetime, datetime] | None:
    """Return the wall-clock times from and to which a sync requests the message's events."""
    find = cohort_of(plan.due_cohorts(LIST, OPENS), plan.zone)
    cohort = find(to_micros(_as_read(FIRST - history.age, history)))
    if cohort is None:
        return None
    return wall_start(cohort.start, plan.zone), wall_end(plan.end, plan.zone) + MARGIN


def deferred(plan: StreamPlan) -> Deferred:
    """Return the list, deferred as a whole since its report failed."""
    before = plan.deferred.get((LIST,))
    noticed = before.noticed if before else plan.end
    return Deferred((LIST,), plan.read_to(LIST), noticed, False, plan.start(LIST))


def check_promises(history: History, shorter: timedelta = timedelta()) -> None:
    """Sync, and check that each event arrives in time.

    :param shorter: less depth for the weekly tier
    """
    config = ListrakConfig.parse(
        {
            "username": "me",
            "password": "x",
            "start_date": "2022-01-01",
            "time_zone": history.configured.key,
            "lookback_days": history.lookback,
        }
    )
    pending = list(history.events())
    deadlines: dict[Event, datetime] = {}
    state: StreamState | None = None
    read_to = FIRST
    for number, (instant, outcome) in enumerate(history.instants()):
        now = instant + history.errors[number % len(history.errors)]
        made, _ = make_plan(state, config, now, incremental=True)
        plan = replace(made, lookback=made.lookback - shorter)
        # There is always something, in this list or in others, that was recorded at once.
        newest = plan.end - (now - _as_read(instant - history.lag, history))
        if outcome == "cut":
            state = plan.state([LIST], plan.deferred.values(), (None, ()))
            continue
        if outcome == "deferred":
            state = plan.state([LIST], [deferred(plan)], None, newest)
            continue
        span = span_of_message(plan, history)
        for event in [one for one in pending if one.shown <= instant]:
            if span and span[0] <= _wall(event.happened, history) < span[1]:
                pending.remove(event)
            elif event.shown <= plan.end:  # a resumed window may end before
                due = deadlines.setdefault(event, event.shown + promised(history, event, read_to))
                assert plan.end < due + 2 * CLOCK_ERROR, f"{event} is late"
        state = plan.state([LIST], (), None, newest)
        read_to = plan.end
    assert not [one for one in pending if one.shown <= instant - CYCLE - HOUR]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories)
def test_every_event_arrives_within_the_time_that_its_delay_promises(history: History) -> None:
    check_promises(history)


@pytest.mark.parametrize("tier", ["always", "daily", "weekly"])
def test_a_depth_that_is_an_hour_too_small_is_found(
    tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tier == "always":
        monkeypatch.setattr(windows, "OVERLAP", OVERLAP - HOUR)
    if tier == "daily":
        monkeypatch.setattr(windows, "DAILY", Tier(DAILY.period, DAILY.depth - HOUR))
    shorter = HOUR if tier == "weekly" else timedelta()

    @settings(
        max_examples=500,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(histories)
    def find_one(history: History) -> None:
        check_promises(history, shorter)

    with pytest.raises(AssertionError, match="is late"):
        find_one()
