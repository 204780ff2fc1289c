"""What a person sees while a sync runs."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest

from source_listrak.sync.progress import StreamCounts, ZoneWatch, log_progress
from unit_tests.clock import NOW

NEW_YORK = ZoneInfo("America/New_York")


# Counts


def test_counts_add_up_over_threads() -> None:
    counts = StreamCounts("message_opens")
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2000):
            pool.submit(counts.add, records=2, done=1)
    assert (counts["records"], counts["done"]) == (4000, 2000)


def test_adding_says_whether_it_was_the_first_time() -> None:
    counts = StreamCounts("message_opens")
    assert not counts.add(wrong_values=0)
    assert counts.add(wrong_values=3)
    assert not counts.add(wrong_values=1)
    assert counts.add(invalid_characters=1)


def test_a_summary_names_only_what_there_was() -> None:
    counts = StreamCounts("message_opens")
    counts.requested(is_retry=False)
    counts.requested(is_retry=True)
    assert str(counts) == "2 requests, 1 retries"
    counts.add(known=1200, done=1100, records=5000, gone=3, short_slices=2)
    assert str(counts) == (
        "1,100 slices read, 5,000 records, 2 requests, 1 retries, 3 gone, "
        "2 with fewer rows than their counters"
    )


def test_waits_for_a_rate_limit_are_reported_once() -> None:
    reported: list[str] = []
    counts = StreamCounts("message_opens", partial(reported.append, "message_opens"))
    for _ in range(10):
        counts.waiting()
    assert reported == ["message_opens"]


def test_a_sync_ends_with_a_summary_of_each_stream(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    streams = [StreamCounts("lists"), StreamCounts("messages")]
    with log_progress(streams, logging.getLogger("test_progress")):
        streams[0].requested(is_retry=False)
        streams[0].add(records=2000)
        streams[1].requested(is_retry=True)
    assert caplog.messages == [
        "Summary of lists: 1 requests, 0 retries",
        "Summary of messages: 1 requests, 1 retries",
        "The sync emitted 2,000 rows and made 2 requests.",
    ]


# The time zone


def rows(*ahead: timedelta) -> list[dict[str, str]]:
    """Return rows with dates that lie ahead of the clock."""
    return [{"OpenDate": f"{NOW + one:%Y-%m-%dT%H:%M:%S.%fZ}"} for one in ahead]


def warning(*ahead: timedelta, before: timedelta | None = None) -> str | None:
    """Return the warning about rows, given the age of the newest row before."""
    watch = ZoneWatch(NEW_YORK, lambda: NOW)
    for row in rows(*ahead):
        watch.see("message_opens", [row], "OpenDate")
    return watch.warning(before)


def test_a_newest_row_as_old_as_before_suggests_another_zone() -> None:
    age = timedelta(hours=3, minutes=5)
    found = warning(-age, -timedelta(days=2), before=timedelta(hours=3, minutes=11))
    assert found is not None
    assert "3 hours west of America/New_York" in found
    assert "reports lag" in found


@pytest.mark.parametrize(
    ("age", "before"),
    [
        ("3:05", "4:05"),  # nothing happened
        ("3:05", "3:40"),
        ("2:50", "3:05"),
        ("0:05", "0:05"),
        ("3:05", None),  # the first sync
    ],
)
def test_any_other_age_suggests_nothing(age: str, before: str | None) -> None:
    def span(text: str) -> timedelta:
        hours, minutes = map(int, text.split(":"))
        return timedelta(hours=hours, minutes=minutes)

    assert warning(-span(age), before=span(before) if before else None) is None


def test_dates_up_to_an_hour_ahead_are_no_matter() -> None:
    assert warning() is None
    assert warning(-timedelta(days=900), timedelta(minutes=59)) is None


def test_dates_further_ahead_are_a_warning() -> None:
    # New York is at UTC-5: an account in UTC has dates up to five hours ahead.
    found = warning(timedelta(hours=4.9), timedelta(hours=2))
    assert found is not None
    assert "4.9 hours" in found
    assert "America/New_York" in found


def test_what_happens_during_a_long_sync_is_no_matter() -> None:
    clock = iter([NOW, NOW + timedelta(hours=9), NOW + timedelta(hours=9)])
    watch = ZoneWatch(NEW_YORK, lambda: next(clock))
    watch.see("message_opens", rows(timedelta()), "OpenDate")
    watch.see("message_opens", rows(timedelta(hours=8)), "OpenDate")
    assert watch.warning(None) is None


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("date", ["9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z"])
def test_dates_at_the_ends_of_the_calendar_break_nothing(zone: str, date: str) -> None:
    watch = ZoneWatch(ZoneInfo(zone), lambda: NOW)
    watch.see("opens", [{"OpenDate": date}], "OpenDate")
    assert (watch.warning(None) is None) == date.startswith("0001")


def test_a_date_at_the_end_of_the_calendar_is_reported_like_any_other() -> None:
    watch = ZoneWatch(NEW_YORK, lambda: NOW)
    watch.see("message_opens", [{"OpenDate": "9999-12-31T23:59:59.999999Z"}], "OpenDate")
    assert "probably wrong" in (watch.warning(None) or "")


@pytest.mark.parametrize(
    "value", [None, "soon", "zzzz", "2999", "~" * 27, "9999-99-99T99:99:99.999999Z"]
)
def test_texts_that_are_no_dates_are_no_matter(value: str | None) -> None:
    watch = ZoneWatch(NEW_YORK, lambda: NOW)
    watch.see("message_opens", [{"OpenDate": value}, {}], "OpenDate")
    assert watch.warning(None) is None
