"""What the probe concludes from answers, without a service."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from source_listrak.probe import (
    Answer,
    CannotTell,
    counter_meaning,
    empty_page,
    layouts,
    order,
    page_size,
    range_ends,
    time_zone,
)

WINTER = datetime(2024, 1, 1, 15, tzinfo=timezone.utc)
SUMMER = datetime(2024, 7, 1, 15, tzinfo=timezone.utc)


def events(*contacts: int) -> list[dict[str, Any]]:
    return [{"ContactID": str(contact)} for contact in contacts]


def page(rows: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"EmailAddress": f"{number}@example.com"} for number in range(first, first + rows)]


@pytest.mark.parametrize(
    ("count", "rows", "meaning"),
    [
        (2, events(1, 2, 2), "contacts (likely)"),
        (3, events(1, 2, 2), "events (likely)"),
        (1, events(1, 2, 2), "neither contacts nor events (likely)"),
        (0, events(1, 2), "nothing: it is zero where there are rows (certain)"),
    ],
)
def test_a_counter_is_compared_with_contacts_and_events(
    count: int, rows: list[dict[str, Any]], meaning: str
) -> None:
    assert counter_meaning(count, rows).text == meaning


@pytest.mark.parametrize(("count", "rows"), [(2, events(1, 2)), (5, events(1, 1)), (0, [])])
def test_a_counter_that_shows_nothing_suggests_nothing(
    count: int, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(CannotTell):
        counter_meaning(count, rows)


@pytest.mark.parametrize(
    ("report", "size"),
    [
        ([page(5), page(5, 5), page(2, 10)], "5 rows (certain)"),
        ([page(5), page(2, 5), []], "5 rows (certain)"),
        ([page(5), page(2, 5), page(5)], "5 rows (certain)"),
        ([page(5), page(2, 5), page(3, 7)], "2 or 5 rows (certain)"),
    ],
    ids=["more pages", "the end", "pages repeat", "pages of two sizes"],
)
def test_a_page_is_full_where_another_follows(report: list[Any], size: str) -> None:
    assert page_size([report]).text == size


@pytest.mark.parametrize("report", [[page(5), []], [page(5), page(5)], [[], page(5)]])
def test_a_page_that_may_be_the_last_shows_no_size(report: list[Any]) -> None:
    with pytest.raises(CannotTell):
        page_size([report])


def test_ids_are_in_order_as_numbers_and_as_texts() -> None:
    def rows(ids: list[int]) -> list[dict[str, Any]]:
        return [
            {
                "ContactID": str(one),
                "EmailAddress": f"{one * 7 % 101}@example.com",
                "OpenDate": f"2024-01-01T00:00:{one * 13 % 59:02}.000000Z",
            }
            for one in ids
        ]

    assert order(rows([*range(2, 30)]), "OpenDate").text == "by id, ascending (likely)"
    assert (
        order(rows(sorted(range(2, 30), key=str)), "OpenDate").text == "by id, ascending (likely)"
    )
    assert order(rows([*range(30, 2, -1)]), "OpenDate").text == "by id, descending (likely)"
    with pytest.raises(CannotTell):
        order(rows([*range(9)]), "OpenDate")


def test_an_order_by_two_columns_at_once_is_not_told() -> None:
    rows = [
        {
            "ContactID": str(one * 7 % 101),
            "EmailAddress": f"{one}@example.com",
            "OpenDate": f"2024-01-01T00:00:{one}.000000Z",
        }
        for one in range(10, 40)
    ]
    with pytest.raises(CannotTell, match="by address, ascending or by date, ascending"):
        order(rows, "OpenDate")


def test_an_excluded_end_is_certain_only_where_dates_show_fractions() -> None:
    assert range_ends(True, False, True).text == "start inclusive, end exclusive (certain)"
    assert range_ends(True, False, False).text == "start inclusive, end exclusive (likely)"
    assert range_ends(True, True, False).text == "start inclusive, end inclusive (certain)"
    with pytest.raises(CannotTell):
        range_ends(False, False, True)


def test_the_configured_zone_is_preferred_among_those_at_the_same_hour() -> None:
    assert time_zone(-5, WINTER, "America/Toronto").text.startswith("America/Toronto")
    assert time_zone(-5, WINTER, "UTC").option == "time_zone: America/New_York"
    assert time_zone(-5, SUMMER, "UTC").option == "time_zone: America/Chicago"
    assert not time_zone(-4, SUMMER, "America/New_York").option
    with pytest.raises(CannotTell):
        time_zone(-3, WINTER, "UTC")


def test_layouts_are_named_without_the_dates() -> None:
    dates = ["2024-01-01T00:00:00", "2024-01-01T00:00:00.123-05:00", "3/5/2014 2:03:22 PM", "soon"]
    answers = {("lists", (), 1): Answer(dates=dates)}
    assert layouts(answers).text == (
        "ISO, ISO with offset, US, another layout; at most 3 fraction digits (certain)"
    )


def test_a_report_that_failed_has_no_empty_page() -> None:
    with pytest.raises(CannotTell):
        empty_page({("message_sends", (), 1): Answer(fault="timeout")})
