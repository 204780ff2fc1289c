"""Windows on the wall clock, and that no instant of a message's activity is left out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_listrak.sync.plan import StreamPlan
from source_listrak.sync.state import Running, StreamState
from source_listrak.sync.windows import (
    CYCLE,
    DAY,
    LONGEST_SPAN,
    MARGIN,
    NEARBY,
    OVERLAP,
    Cohort,
    Window,
    cohort_of,
    instant_of,
    merge,
    next_due,
    to_micros,
    wall_end,
    wall_start,
)
from source_listrak.tables import TABLES, Table
from unit_tests.clock import HOUR

NEW_YORK, UTC = ZoneInfo("America/New_York"), ZoneInfo("UTC")
ZONES = st.sampled_from(
    [NEW_YORK, UTC, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/Santiago")]
)
OPENS = TABLES["message_opens"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def after(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


INSTANTS = st.integers(1_600_000_000, 1_800_000_000).map(after)
# Around the repeated and the missing hour of New York in 2024.
EDGES = st.sampled_from([1_730_613_600, 1_710_054_000]).flatmap(
    lambda edge: st.integers(edge - 10_000, edge + 10_000).map(after)
)
START = at("2022-01-01T00:00:00")
SYNCED = at("2024-01-01T00:00:00")


def clock(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def sent_on_the_clock(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant that a reader makes of a date, which has no offset."""
    return instant_of(clock(instant, zone), zone)


def find_cohorts(
    read_to: datetime | None,
    until: datetime,
    *,
    list_id: int = 1,
    since: datetime = START,
    zone: ZoneInfo = UTC,
    table: Table = TABLES["message_opens"],
) -> list[Cohort]:
    before = StreamState(
        since=since, test_messages=True, time_zone=zone.key, synced_to=read_to, lists=(list_id,)
    )
    running = Running(end=until, full_refresh=False, since=since, lists=())
    plan = StreamPlan(before, running, {}, DAY, zone)
    return plan.due_cohorts(list_id, table)


# The wall clock


def test_on_an_ordinary_day_a_window_is_the_clock() -> None:
    instant, wall = at("2024-06-01T12:00:00"), datetime.fromisoformat("2024-06-01T08:00:00")
    assert wall_start(instant, NEW_YORK) == wall_end(instant, NEW_YORK) == wall


def test_in_the_hour_that_will_be_repeated_a_window_starts_earlier() -> None:
    # 05:45Z is 01:45 for the first time; at 06:00Z the clock is put back to 01:00.
    wall = datetime.fromisoformat("2024-11-03T00:45:00")
    assert wall_start(at("2024-11-03T05:45:00"), NEW_YORK) == wall


def test_in_the_repeated_hour_a_window_ends_later() -> None:
    # 06:15Z is 01:15 for the second time; the clock has already shown 01:59.
    wall = datetime.fromisoformat("2024-11-03T02:15:00")
    assert wall_end(at("2024-11-03T06:15:00"), NEW_YORK) == wall


@given(start=EDGES | INSTANTS, length=st.integers(0, 20_000), part=st.floats(0, 1), zone=ZONES)
def test_every_instant_of_a_span_is_inside_its_window_on_the_clock(
    start: datetime, length: int, part: float, zone: ZoneInfo
) -> None:
    end = start + timedelta(seconds=length + 1)
    instant = start + timedelta(seconds=int(length * part))
    assert wall_start(start, zone) <= clock(instant, zone) < wall_end(end, zone)


@given(instant=EDGES | INSTANTS, zone=ZONES)
def test_a_window_reads_at_most_an_hour_too_much(instant: datetime, zone: ZoneInfo) -> None:
    wall = clock(instant, zone)
    assert wall - HOUR <= wall_start(instant, zone) <= wall <= wall_end(instant, zone)
    assert wall_end(instant, zone) <= wall + HOUR


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))
def test_microseconds_are_exact(wall: datetime) -> None:
    instant = wall.replace(tzinfo=timezone.utc)
    assert at("1970-01-01") + timedelta(microseconds=to_micros(instant)) == instant


# Merging

WINDOWS = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(0, 900)).map(
        lambda days: Window(
            datetime(2015, 1, 1) + days[0] * DAY, datetime(2015, 1, 1) + sum(days) * DAY
        )
    ),
    max_size=8,
)


@given(WINDOWS, st.integers(0, 4000))
def test_merged_windows_cover_the_same_instants_each_once(windows: list[Window], day: int) -> None:
    merged = merge(windows)
    instant = datetime(2015, 1, 1) + day * DAY + HOUR
    covering = [window for window in merged if window.start <= instant < window.end]
    assert len(covering) <= 1
    if any(window.start <= instant < window.end for window in windows):
        assert covering
    assert all(window.start < window.end for window in merged)
    assert all(window.end - window.start <= LONGEST_SPAN for window in merged)
    for earlier, later in itertools.pairwise(merged):
        is_long = earlier.end - earlier.start == LONGEST_SPAN
        assert later.start - earlier.end >= NEARBY or (is_long and earlier.end == later.start)


def test_windows_with_less_than_a_month_between_are_one_request() -> None:
    january, march, june, july = (datetime(2024, month, 1) for month in (1, 3, 6, 7))
    spans = [Window(january, march), Window(march + 30 * DAY, june)]
    far = Window(july + DAY, july + 2 * DAY)
    assert merge([*spans, far]) == [Window(january, june), far]


def test_months_that_touch_are_one_request() -> None:
    january, february, march = (datetime(2024, month, 1) for month in (1, 2, 3))
    assert merge([Window(february, march), Window(january, february)]) == [Window(january, march)]


def test_a_year_is_one_request() -> None:
    (cohort,) = find_cohorts(None, START + 365 * DAY, zone=NEW_YORK)
    assert len(merge([cohort.span])) == 1


# When a key is due


@given(INSTANTS, st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)))
def test_a_key_is_due_once_in_a_cycle(start: datetime, key: tuple[int, int]) -> None:
    first = next_due(key, start, start + CYCLE)
    assert first is not None
    assert start < first <= start + CYCLE
    assert next_due(key, first, start + 2 * CYCLE) == first + CYCLE
    assert next_due(key, start, first - timedelta(seconds=1)) is None


def test_each_month_is_due_in_one_daily_sync_of_a_week() -> None:
    days = [SYNCED + day * DAY for day in range(8)]
    due: dict[tuple[int, datetime], int] = {}
    per_day = []
    for read_to, until in itertools.pairwise(days):
        found = [
            (list_id, cohort.span.start)
            for list_id in range(50)
            for cohort in find_cohorts(read_to, until, list_id=list_id)[:-1]
            if cohort.span.start < datetime(2023, 12, 1)
        ]
        per_day.append(len(found))
        for key in found:
            due[key] = due.get(key, 0) + 1
    assert len(due) == 50 * 23
    assert set(due.values()) == {1}
    assert max(per_day) < 2 * min(per_day)


# Cohorts


def ages(found: list[Cohort]) -> list[float]:
    """Return the age at the previous sync of the messages with which each stretch begins."""
    starts = [one.span.start for one in found]
    ends = [None, *(one.span.end for one in found)]
    begins = [start for start, end in zip(starts, ends, strict=False) if start != end]
    return [(SYNCED.replace(tzinfo=None) - start) / DAY for start in begins]


def test_without_an_instant_in_the_window_only_new_messages_are_read() -> None:
    # Of this list, neither the day nor a month is due in this second.
    found = find_cohorts(SYNCED, SYNCED + timedelta(seconds=1))
    assert ages(found) == [3]
    assert {one.start for one in found} == {SYNCED - DAY - OVERLAP}


def test_a_daily_sync_reads_the_messages_of_thirty_days() -> None:
    found = find_cohorts(SYNCED, SYNCED + DAY, table=replace(OPENS, monthly=False))
    assert ages(found) == [30]
    due = next_due((1,), SYNCED, SYNCED + DAY, DAY)
    assert due is not None
    # No row was seen, so that the newest may be a day older.
    assert found[0].start == min(due - 3 * DAY, start_of_week(SYNCED + DAY))


def start_of_week(until: datetime) -> datetime:
    due = next_due((1,), SYNCED, until)
    return due - CYCLE - DAY - DAY if due else until


def test_counters_are_read_for_all_messages_of_thirty_days() -> None:
    found = find_cohorts(SYNCED, SYNCED + timedelta(seconds=1), table=TABLES["messages"])
    assert ages(found) == [30]


@pytest.mark.parametrize(("hours", "expected"), [(0, [1.0]), (24, [3.0])])
def test_undated_rows_of_new_messages_are_read_daily_for_three_days(
    hours: int, expected: list[float]
) -> None:
    table = replace(TABLES["message_links"], monthly=False)
    assert ages(find_cohorts(SYNCED, SYNCED + hours * HOUR, table=table)) == expected


def test_a_list_that_was_never_read_is_read_since_the_start_date() -> None:
    assert find_cohorts(None, SYNCED) == [
        Cohort(Window(datetime(2022, 1, 1), datetime(2024, 1, 1) + MARGIN), START)
    ]


def test_a_message_without_a_send_date_is_read_as_far_back_as_any() -> None:
    found = find_cohorts(SYNCED, SYNCED + CYCLE)
    cohort = cohort_of(found, UTC)(-1)
    assert cohort is not None
    assert cohort.start == min(other.start for other in found)
    assert cohort_of(found[-1:], UTC)(-1) == found[-1]


def test_a_message_sent_before_the_start_date_is_not_visited() -> None:
    find = cohort_of(find_cohorts(SYNCED, SYNCED + CYCLE), UTC)
    assert find(to_micros(START) - 1) is None
    assert find(to_micros(START)) is not None


@given(
    st.integers(1, 2**31),
    st.tuples(EDGES | INSTANTS, st.integers(0, 60 * 86_400)),
    EDGES | INSTANTS,
    ZONES,
    st.sampled_from(["message_opens", "messages", "message_links", "message_sends"]),
)
def test_cohorts_do_not_overlap_and_begin_no_later_than_their_months(
    list_id: int, sync: tuple[datetime, int], sent: datetime, zone: ZoneInfo, name: str
) -> None:
    read_to, gap = sync
    until, table = read_to + timedelta(seconds=gap), TABLES[name]
    since = after(1_500_000_000)
    found = find_cohorts(read_to, until, list_id=list_id, since=since, zone=zone, table=table)
    for earlier, later in itertools.pairwise(found):
        assert earlier.span.end <= later.span.start
    wall = clock(sent, zone)
    inside = [cohort for cohort in found if cohort.span.start <= wall < cohort.span.end]
    cohort = cohort_of(found, zone)(to_micros(sent_on_the_clock(sent, zone)))
    assert [cohort] == (inside or [None])
    due = next_due((list_id, wall.year, wall.month), read_to, until)
    if table.monthly and due is not None and since + HOUR < sent < until:
        assert cohort is not None
        assert cohort.start <= max(since, due - CYCLE - DAY)
