"""Windows on the wall clock, and when old messages are asked."""

import itertools
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from source_listrak.slicing import (
    MESSAGES_WINDOW,
    Recheck,
    message_windows,
    page_blocks,
    wall_end,
    wall_start,
)

NEW_YORK = ZoneInfo("America/New_York")
ZONES = st.sampled_from(
    [NEW_YORK, ZoneInfo("UTC"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/Santiago")]
)
INSTANTS = st.integers(1_600_000_000, 1_800_000_000).map(
    lambda seconds: datetime.fromtimestamp(seconds, timezone.utc)
)
# Around the repeated and the missing hour of New York in 2024.
EDGES = st.sampled_from([1_730_613_600, 1_710_054_000]).flatmap(
    lambda edge: st.integers(edge - 10_000, edge + 10_000).map(
        lambda seconds: datetime.fromtimestamp(seconds, timezone.utc)
    )
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def test_on_an_ordinary_day_a_window_is_the_clock() -> None:
    instant = utc("2024-06-01T12:00:00")
    clock = datetime.fromisoformat("2024-06-01T08:00:00")
    assert wall_start(instant, NEW_YORK) == wall_end(instant, NEW_YORK) == clock


def test_in_the_hour_that_comes_again_a_window_starts_earlier() -> None:
    # 05:45Z is 01:45 for the first time; at 06:00Z the clock is put back to 01:00.
    assert wall_start(utc("2024-11-03T05:45:00"), NEW_YORK) == datetime.fromisoformat(
        "2024-11-03T00:45:00"
    )


def test_in_the_hour_that_came_again_a_window_ends_later() -> None:
    # 06:15Z is 01:15 for the second time; the clock had already shown 01:59.
    assert wall_end(utc("2024-11-03T06:15:00"), NEW_YORK) == datetime.fromisoformat(
        "2024-11-03T02:15:00"
    )


@given(start=EDGES | INSTANTS, length=st.integers(0, 20_000), at=st.floats(0, 1), zone=ZONES)
def test_every_instant_of_a_span_is_inside_its_window_on_the_clock(
    start: datetime, length: int, at: float, zone: ZoneInfo
) -> None:
    end = start + timedelta(seconds=length + 1)
    instant = start + timedelta(seconds=int(length * at))
    assert wall_start(start, zone) <= wall(instant, zone) < wall_end(end, zone)


@given(start=EDGES | INSTANTS, zone=ZONES)
def test_a_window_reads_at_most_an_hour_too_much(start: datetime, zone: ZoneInfo) -> None:
    hour = timedelta(hours=1)
    assert wall(start, zone) - hour <= wall_start(start, zone) <= wall(start, zone)
    assert wall(start, zone) <= wall_end(start, zone) <= wall(start, zone) + hour


@given(start=EDGES | INSTANTS, days=st.integers(0, 3000), zone=ZONES)
def test_windows_tile_the_span_without_gap_or_overlap(
    start: datetime, days: int, zone: ZoneInfo
) -> None:
    end = start + timedelta(days=days)
    windows = message_windows(start, end, zone)
    if windows:
        assert windows[0].start == wall_start(start, zone)
        assert windows[-1].end == wall_end(end, zone)
    for earlier, later in itertools.pairwise(windows):
        assert earlier.end == later.start
        assert earlier.end - earlier.start == MESSAGES_WINDOW
    assert len(windows) <= days // 365 + 2


def test_a_year_is_one_window() -> None:
    end = utc("2026-03-01T12:00:00")
    assert len(message_windows(end - timedelta(days=365), end, ZoneInfo("UTC"))) == 1


@given(
    message=st.integers(1, 2**31),
    gaps=st.lists(st.integers(60, 40 * 86_400), min_size=2, max_size=30),
    sent_before=st.integers(0, 100 * 86_400),
    after=st.integers(1, 60),
    every=st.integers(2, 30),
)
def test_whatever_the_gaps_between_syncs_no_instant_is_left_out_for_old_messages(
    message: int, gaps: list[int], sent_before: int, after: int, every: int
) -> None:
    recheck = Recheck(timedelta(days=after), timedelta(days=every))
    first = utc("2024-01-01T00:00:00")
    sent = first - timedelta(seconds=sent_before)
    asked_to = synced_to = first  # the first sync asks all
    for gap in gaps:
        window_end = synced_to + timedelta(seconds=gap)
        start = recheck.start(message, sent, synced_to, window_end)
        if start is not None:
            assert start <= asked_to
            asked_to = window_end
        # A cycle is the longest delay, on top of the time between two syncs.
        assert window_end - asked_to <= recheck.every
        synced_to = window_end


def test_a_cycle_asks_each_old_message_once() -> None:
    recheck = Recheck(timedelta(days=30), timedelta(days=7))
    start = utc("2024-01-01T00:00:00")
    sent = utc("2023-01-01T00:00:00")
    days = [start + timedelta(days=day) for day in range(8)]
    asked = [
        sum(
            recheck.start(message, sent, begin, end) is not None
            for begin, end in itertools.pairwise(days)
        )
        for message in range(1000)
    ]
    assert set(asked) == {1}
    per_day = sum(
        recheck.start(message, sent, days[0], days[1]) is not None for message in range(7000)
    )
    assert 900 < per_day < 1100


@given(pages=st.integers(0, 10_000), block=st.integers(1, 50))
def test_blocks_tile_all_pages_and_the_last_one_is_open(pages: int, block: int) -> None:
    blocks = list(page_blocks(pages, block))
    assert blocks[0][0] == 1
    assert blocks[-1][1] is None
    for (_, last), (first, _) in itertools.pairwise(blocks):
        assert last is not None
        assert first == last + 1
    assert len(blocks) == max(1, -(-pages // block))
