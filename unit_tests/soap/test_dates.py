"""Dates: the zone's rules, the layouts, and what is left alone."""

from __future__ import annotations

import tracemalloc
from datetime import datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from source_listrak.soap.dates import CACHED_HOURS, DateReader

EASTERN = DateReader(ZoneInfo("America/New_York"))
UTC = DateReader(ZoneInfo("UTC"))
ZONES = [
    "America/New_York",
    "UTC",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Africa/Monrovia",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2014-03-05T14:03:22", "2014-03-05T19:03:22.000000Z"),
        ("2014-07-05T14:03:22", "2014-07-05T18:03:22.000000Z"),
        ("2014-03-05T14:03:22.1", "2014-03-05T19:03:22.100000Z"),
        ("2014-03-05T14:03:22.117", "2014-03-05T19:03:22.117000Z"),
        ("2014-03-05T14:03:22.9999999", "2014-03-05T19:03:22.999999Z"),
        ("2014-03-05T14:03:22.123456789123", "2014-03-05T19:03:22.123456Z"),
        ("2014-03-05T14:03:22Z", "2014-03-05T14:03:22.000000Z"),
        ("2014-03-05T14:03:22.5+05:30", "2014-03-05T08:33:22.500000Z"),
        ("2014-12-31T23:59:59-14:00", "2015-01-01T13:59:59.000000Z"),
        ("2014-03-05T14:03:22-00:00", "2014-03-05T14:03:22.000000Z"),
    ],
)
def test_a_date_time_comes_out_in_utc_with_six_digits(text: str, expected: str) -> None:
    assert EASTERN.date_time(text) == expected


def test_of_a_repeated_hour_the_first_is_taken() -> None:
    assert EASTERN.date_time("2024-11-03T01:30:00") == "2024-11-03T05:30:00.000000Z"
    assert EASTERN.date_time("2024-11-03T02:00:00") == "2024-11-03T07:00:00.000000Z"


def test_a_time_in_the_skipped_hour_is_read_with_the_offset_before() -> None:
    assert EASTERN.date_time("2024-03-10T02:30:00") == "2024-03-10T07:30:00.000000Z"
    assert EASTERN.date_time("2024-03-10T03:30:00") == "2024-03-10T07:30:00.000000Z"


@pytest.mark.parametrize("end", ["", ".0000000", "Z", "+05:00"])
def test_the_empty_date_of_dot_net_is_no_date(end: str) -> None:
    for reader in (EASTERN, UTC, DateReader(ZoneInfo("Asia/Tokyo"))):
        assert reader.date_time(f"0001-01-01T00:00:00{end}") is None
        assert reader.date_text(f"0001-01-01T00:00:00{end}") is None
    assert EASTERN.date_text("1/1/0001 12:00:00 AM") is None


def test_the_ends_of_time_do_not_overflow() -> None:
    last = "9999-12-31T23:59:59.9999999"
    assert EASTERN.date_time(last) == UTC.date_time(last) == "9999-12-31T23:59:59.999999Z"
    early = DateReader(ZoneInfo("Asia/Tokyo")).date_time("0001-01-01T00:00:01")
    assert early == "0001-01-01T00:00:00.000000Z"


def test_an_offset_of_seconds_is_right_to_the_second() -> None:
    # Local mean time of New York was 4:56:02 behind, until noon of that day.
    assert EASTERN.date_time("1883-11-18T11:00:00") == "1883-11-18T15:56:02.000000Z"
    assert EASTERN.date_time("1883-11-18T12:30:00.25") == "1883-11-18T17:30:00.250000Z"


@given(
    zone=st.sampled_from(ZONES),
    local=st.datetimes(min_value=datetime(1800, 1, 1), max_value=datetime(2200, 1, 1)),
)
def test_any_wall_clock_time_converts_as_the_standard_library_does(
    zone: str, local: datetime
) -> None:
    instant = local.replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)
    expected = instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    reader = DateReader(ZoneInfo(zone))
    for _ in range(2):  # the second time from the caches
        assert reader.date_time(local.isoformat()) == expected
        assert reader.date_text(local.isoformat()) == expected


@pytest.mark.parametrize("zone", ZONES)
def test_the_conversion_of_each_minute_around_a_change_is_exact(zone: str) -> None:
    reader = DateReader(ZoneInfo(zone))
    for day in ((2024, 3, 10), (2024, 11, 3), (2024, 4, 7), (2024, 10, 6), (2011, 12, 30)):
        start = datetime(*day)
        for minutes in range(0, 24 * 60, 7):
            local = start + timedelta(minutes=minutes, seconds=59)
            instant = local.replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)
            assert reader.date_time(local.isoformat()) == instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2014-03-05T14:03:22.5", "2014-03-05T19:03:22.500000Z"),
        ("2014-03-05", "2014-03-05T05:00:00.000000Z"),
        ("2014-03-05T14:03", "2014-03-05T19:03:00.000000Z"),
        ("2014-03-05T14:03Z", "2014-03-05T14:03:00.000000Z"),
        ("2014-03-05T14:03:22,5", "2014-03-05T19:03:22.500000Z"),
        ("2014-03-05T14:03:22+05:30", "2014-03-05T08:33:22.000000Z"),
        ("2014-03-05T14:03:22-0530", "2014-03-05T19:33:22.000000Z"),
        ("2014-03-05T14:03:22-05", "2014-03-05T19:03:22.000000Z"),
        ("3/5/2014 2:03:22 PM", "2014-03-05T19:03:22.000000Z"),
        ("03/05/2014 02:03:22 AM", "2014-03-05T07:03:22.000000Z"),
        ("12/31/2014 12:00:00 AM", "2014-12-31T05:00:00.000000Z"),
        ("12/31/2014 12:00:00 PM", "2014-12-31T17:00:00.000000Z"),
        ("3/5/2014 2:03:22\u202fPM", "2014-03-05T19:03:22.000000Z"),
        ("12/31/9999 11:59:59 PM", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_other_layouts_come_out_in_the_same_form(text: str, expected: str) -> None:
    assert EASTERN.date_time(text) == EASTERN.date_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "never",
        "2014",
        "20140305",
        "2014-02-30",
        "2014-03-05T25:00",
        "2014-03-05T24:00:00",
        "2014-03-05 14:03:22",
        " 2014-03-05",
        "5/13/2014",
        "13/5/2014 2:03:22 PM",
        "2/30/2014 2:03:22 PM",
        "3/5/2014 13:03:22 PM",
        "3/5/2014 0:03:22 AM",
        "3/5/14 2:03:22 PM",
        "Wed, 05 Mar 2014 14:03:22 GMT",
        "2014-03-05T14:03:22+15:00",
        "2014-03-05T14:03:22+14:01",
        "2014-03-05T14:03:22.",
        "2014-03-05T14:03:22.12x",
        "2014-03-05T14:03:22.٣",
        "٢٠١٤-03-05T14:03:22",
        "2014-03-05T14:03:60",
        "2014-02-30T14:03:22",
        "0000-01-01T00:00:00",
        "20140305T1403:03:22",
    ],
)
def test_any_other_text_is_no_date_and_left_alone_where_it_is_a_string(text: str) -> None:
    assert EASTERN.date_text(text) == text
    with pytest.raises(ValueError, match=r"^not a date$"):
        EASTERN.date_time(text)


@given(st.text())
def test_no_string_fails(text: str) -> None:
    EASTERN.date_text(text)
    try:
        EASTERN.date_time(text)
    except ValueError as error:
        assert str(error) == "not a date"


def test_the_memory_of_a_reader_is_bounded() -> None:
    reader = DateReader(ZoneInfo("UTC"))
    hours = iter(range(2 * CACHED_HOURS))

    def kept_after(count: int) -> int:
        for hour in islice(hours, count):
            reader.date_time((datetime(2000, 1, 1) + timedelta(hours=hour)).isoformat())
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full = kept_after(CACHED_HOURS)
        assert kept_after(CACHED_HOURS // 2) < 1.25 * full < 8e6
    finally:
        tracemalloc.stop()
