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
    CannotTell,
    Conclusion,
    Fetch,
    Rows,
    conclude,
    counted,
    time_zone,
)

WINTER = datetime(2024, 1, 1, 15, tzinfo=timezone.utc)
SUMMER = datetime(2024, 7, 1, 15, tzinfo=timezone.utc)


def fetch_pages(*pages: Sequence[dict[str, Any]]) -> Fetch:
    """Return a report of some pages, and the empty page that ends them."""

    def fetch(name: str, parent: object, span: object = (), page: int = 1) -> Rows:
        return [*pages, []][page - 1]

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


def opens_until(clock: datetime) -> Fetch:
    """Return a report with an open a minute until now by the account's clock."""

    def fetch(name: str, parent: object, span: tuple[datetime, datetime]) -> Rows:
        minutes = (clock - span[0]) // timedelta(minutes=1)
        return page(max(0, minutes))

    return fetch


def zone_of(hours: float, now: datetime, configured: str) -> Conclusion:
    return time_zone({}, opens_until(now + timedelta(hours=hours)), now, configured)


@pytest.mark.parametrize("hours", range(-12, 15))
def test_the_hour_of_the_accounts_clock_is_found(hours: int) -> None:
    found = conclude([hours], zone_of, SUMMER, "UTC").text
    assert f"UTC{hours:+} now" in found or f"a zone at UTC{hours:+}, but none" in found


def test_the_configured_zone_is_preferred_among_those_at_the_same_hour() -> None:
    assert zone_of(-5, WINTER, "America/Toronto").text.startswith("America/Toronto")
    assert zone_of(-5, WINTER, "UTC").option == "time_zone: America/New_York"
    assert zone_of(-5, SUMMER, "UTC").option == "time_zone: America/Chicago"
    assert not zone_of(-4, SUMMER, "America/New_York").option
    with pytest.raises(CannotTell):
        zone_of(-3, WINTER, "UTC")
