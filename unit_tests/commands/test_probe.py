"""What the probe concludes from answers, without a service.

Each finding is given a function in place of `Probe.fetch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from source_listrak.commands.probe import (
    PAGES,
    YEAR,
    CannotTell,
    Fetch,
    Rows,
    conclude,
    counted,
    mail,
)


def fetch_pages(*pages: Sequence[dict[str, Any]]) -> Fetch:
    """Return a report of some pages, and the empty page that ends them."""

    def fetch(name: str, parent: object, page: int = 1) -> Rows:
        return [*pages, []][page - 1]

    return fetch


def events(*contacts: int) -> list[dict[str, Any]]:
    return [{"ContactID": str(contact)} for contact in contacts]


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
    assert counted({"OpenCount": count}, fetch_pages(rows), "message_opens") == meaning


@pytest.mark.parametrize(
    ("count", "rows"), [(2, events(1, 2)), (5, events(1, 1)), (0, []), (None, events(1, 1))]
)
def test_a_counter_that_shows_nothing_suggests_nothing(
    count: int | None, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(CannotTell):
        counted({"OpenCount": count}, fetch_pages(rows), "message_opens")


def test_the_rows_of_all_pages_are_counted_where_they_are_few() -> None:
    message, pages = {"ClickCount": 3}, fetch_pages(events(1), events(2, 2))
    assert counted(message, pages, "message_clicks") == "events (likely)"
    with pytest.raises(CannotTell, match=f"more than {PAGES} pages"):
        counted(message, fetch_pages(*[events(1)] * PAGES), "message_clicks")


@pytest.mark.parametrize("date", ["0001-01-01T05:00:00.000000Z", "9999-12-31T00:00:00.000000Z"])
def test_a_date_at_the_end_of_the_calendar_leads_to_no_conclusion(date: str) -> None:
    def fetch(table: str, parent: Any, since: datetime | None = None) -> list[dict[str, Any]]:
        if since is not None:
            assert since + YEAR
        return [{"MsgID": 7}]

    assert conclude([{"PublishedDate": date}], mail, fetch, []).startswith("cannot tell")
