"""What the probe concludes from answers, without a service.

Each finding is given a function in place of `Probe.fetch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from source_listrak.commands.probe import (
    PAGES,
    Answer,
    CannotTell,
    Conclusion,
    Fetch,
    conclude,
    counted,
    empty_page,
    layouts,
    order,
    page_size,
    range_ends,
    time_zone,
)

WINTER = datetime(2024, 1, 1, 15, tzinfo=timezone.utc)
SUMMER = datetime(2024, 7, 1, 15, tzinfo=timezone.utc)


def fetch_pages(*pages: Sequence[dict[str, Any]]) -> Fetch:
    """Return a report of some pages, and the empty page that ends them."""

    def fetch(name: str, parent: object, span: object = (), page: int = 1) -> Answer:
        return Answer([*pages, []][page - 1])

    return fetch


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
    assert counted({"OpenCount": count}, fetch_pages(rows), "message_opens").text == meaning


@pytest.mark.parametrize(("count", "rows"), [(2, events(1, 2)), (5, events(1, 1)), (0, [])])
def test_a_counter_that_shows_nothing_suggests_nothing(
    count: int, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(CannotTell):
        counted({"OpenCount": count}, fetch_pages(rows), "message_opens")


def test_the_rows_of_all_pages_are_counted_where_they_are_few() -> None:
    message = {"ClickCount": 3}
    assert counted(message, fetch_pages(events(1), events(2, 2)), "message_clicks").text == (
        "events (likely)"
    )
    with pytest.raises(CannotTell, match=f"more than {PAGES} pages"):
        counted(message, fetch_pages(*[events(1)] * PAGES), "message_clicks")


def answers(report: list[Any]) -> dict[Any, Answer]:
    return {("message_opens", (), page): Answer(rows) for page, rows in enumerate(report, 1)}


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
    assert page_size(answers(report)).text == size


@pytest.mark.parametrize("report", [[page(5), []], [page(5), page(5)], [[], page(5)]])
def test_a_page_that_may_be_the_last_shows_no_size(report: list[Any]) -> None:
    with pytest.raises(CannotTell):
        page_size(answers(report))


def order_of(rows: list[dict[str, Any]]) -> str:
    return order({}, fetch_pages(rows), "message_opens").text


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

    assert order_of(rows([*range(2, 30)])) == "by id, ascending (likely)"
    assert order_of(rows(sorted(range(2, 30), key=str))) == "by id, ascending (likely)"
    assert order_of(rows([*range(30, 2, -1)])) == "by id, descending (likely)"
    with pytest.raises(CannotTell):
        order_of(rows([*range(9)]))


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
        order_of(rows)


def ends_of(has_start: bool, has_end: bool, *others: str) -> str:
    """Return the finding about a range where a row is found by its date, or not."""
    date = "2024-01-01T12:00:00"

    def fetch(name: str, parent: object, span: Any = ()) -> Answer:
        if not span:
            return Answer(dates=[*others, date])
        start, _ = span
        is_found = has_start if start.isoformat() == date else has_end
        return Answer(dates=[date] if is_found else [])

    return range_ends({}, fetch, "message_opens").text


def test_an_excluded_end_is_certain_only_where_dates_show_fractions() -> None:
    fraction = "2024-01-01T12:00:00.123"
    assert ends_of(True, False, fraction) == "start inclusive, end exclusive (certain)"
    assert ends_of(True, False) == "start inclusive, end exclusive (likely)"
    assert ends_of(True, True) == "start inclusive, end inclusive (certain)"
    with pytest.raises(CannotTell):
        ends_of(False, False, fraction)


def opens_until(clock: datetime) -> Fetch:
    """Return a report with an open a minute until now by the account's clock."""

    def fetch(name: str, parent: object, span: tuple[datetime, datetime]) -> Answer:
        minutes = (clock - span[0]) // timedelta(minutes=1)
        return Answer(page(max(0, minutes)))

    return fetch


def zone_of(hours: float, now: datetime, configured: str) -> Conclusion:
    return time_zone({}, opens_until(now + timedelta(hours=hours)), now, configured)


@pytest.mark.parametrize("hours", range(-12, 15))
def test_the_hour_of_the_accounts_clock_is_found(hours: int) -> None:
    found = conclude([hours], zone_of, SUMMER, "UTC").text
    assert f"UTC{hours:+} now" in found or f"one at UTC{hours:+}" in found


def test_the_configured_zone_is_preferred_among_those_at_the_same_hour() -> None:
    assert zone_of(-5, WINTER, "America/Toronto").text.startswith("America/Toronto")
    assert zone_of(-5, WINTER, "UTC").option == "time_zone: America/New_York"
    assert zone_of(-5, SUMMER, "UTC").option == "time_zone: America/Chicago"
    assert not zone_of(-4, SUMMER, "America/New_York").option
    with pytest.raises(CannotTell):
        zone_of(-3, WINTER, "UTC")


def test_layouts_are_named_without_the_dates() -> None:
    dates = ["2024-01-01T00:00:00", "2024-01-01T00:00:00.123-05:00", "3/5/2014 2:03:22 PM", "soon"]
    assert layouts({("lists", (), 1): Answer(dates=dates)}).text == (
        "ISO, ISO with offset, US, another layout; at most 3 fraction digits (certain)"
    )


def test_a_report_that_failed_has_no_empty_page() -> None:
    with pytest.raises(CannotTell):
        empty_page({("message_sends", (), 1): Answer(fault="timeout")})
