"""Pages, logins and requests."""

from __future__ import annotations

from collections import Counter

import pytest

from simulator import (
    SimulatorConfig,
    Truth,
)
from simulator.tests.client import (
    CONTACTS,
    LISTS,
    OPENS,
    SENT,
    WIDE,
    Client,
    biggest_message,
    endpoint,
    opens_of,
)

# Pages


@pytest.mark.parametrize("end_style", ["empty", "nil", "missing"])
@pytest.mark.parametrize("short_pages", [False, True])
@pytest.mark.parametrize("page_size", [1, 7, 1000])
def test_paging_returns_every_row_once(end_style: str, short_pages: bool, page_size: int) -> None:
    target = endpoint(end_style=end_style, short_pages=short_pages, page_size=page_size)
    client, message = Client(target), biggest_message(target.account)
    arguments = {"MsgID": message["MsgID"], **WIDE}
    pages = list(client.pages(OPENS, **arguments))
    assert sum(map(len, pages)) == len(opens_of(target.account, message["MsgID"]))
    past = client.rows(OPENS, **arguments, Page=len(pages) + 9)
    assert past == ([] if end_style == "empty" else None)
    nil = b'OpenResult xsi:nil="true"' in client.post(OPENS, **arguments, Page=999_999)[2]
    assert nil is (end_style == "nil")


def test_pages_have_2500_rows_and_end_with_a_missing_result_unless_set() -> None:
    config = SimulatorConfig()
    assert (config.page_size, config.end_style) == (2500, "missing")


def test_rows_have_the_order_that_is_set() -> None:
    columns = {"address": "EmailAddress", "id": "ContactID"}
    for order in ("oldest", "newest", "address", "id"):
        target = endpoint(row_order=order)
        list_id = target.account.lists()[0].list_id
        rows = Client(target).records("subscribed_contacts", ListID=list_id, **WIDE)
        keys = [str(row.get(columns.get(order, "AdditionDate"))) for row in rows]
        seconds = [key[:19] for key in keys] if order in ("oldest", "newest") else keys
        assert seconds == sorted(seconds, reverse=order == "newest"), order


def test_pages_can_wrap_around() -> None:
    target = endpoint(page_size=5, wrap_pages=3)
    client, list_id = Client(target), target.account.lists()[0].list_id
    pages = [client.post(CONTACTS, ListID=list_id, **WIDE, Page=page)[2] for page in range(1, 8)]
    assert pages[:3] == pages[3:6]
    assert pages[6] == pages[0]
    assert len(set(pages)) == 3


def test_empty_pages_of_recipients_are_in_the_middle() -> None:
    target = endpoint(page_size=5, empty_pages=2)
    client, message = Client(target), biggest_message(target.account)
    sizes: list[int] = []
    while (rows := client.rows(SENT, MsgID=message["MsgID"], Page=len(sizes) + 1)) is not None:
        sizes.append(len(rows))
    sent = Counter(r["MsgID"] for r in Truth(target.account).records("message_sends"))
    assert sum(sizes) == sent[message["MsgID"]]
    assert sizes.count(0) == 2
    assert sizes[0] and sizes[-1]


# Logins and requests


def test_wrong_logins_lock_the_account_even_for_the_right_password() -> None:
    target = endpoint()
    right, wrong = Client(target), Client(target, "wrong")
    for _ in range(3):
        status, _, body = wrong.post(LISTS)
        assert status == 500
        assert b"[InvalidLogonAttempt]" in body
    assert b"[LoginAttemptsExceeded]" in right.post(LISTS)[2]
    target.service.unlock()
    assert right.post(LISTS)[0] == 200
    target.config.prohibited = True
    assert b"[ProhibitedIPAddress]" in right.post(LISTS)[2]


def test_the_password_can_change_in_the_middle() -> None:
    client = Client(endpoint(password_change_after=2))
    assert [client.post(LISTS)[0] for _ in range(3)] == [200, 200, 500]


def test_requests_that_asp_net_would_refuse_are_refused() -> None:
    client = Client(endpoint())
    assert b"Page" in client.post(SENT, MsgID=1)[2]
    assert b"out of order" in client.post(SENT, Page=1, MsgID=1)[2]
    assert b"Invalid MsgID" in client.post(SENT, MsgID=1, Page=1)[2]
    assert b"Invalid ListID" in client.post(CONTACTS, ListID=1, **WIDE, Page=1)[2]
    unknown = client.post("ReportConversationLinkClick", ConversationID=5, Page=1)
    assert b"Invalid ConversationID" in unknown[2]
    dates = {"StartDate": "3/5/2014", "EndDate": "2015-01-01"}
    assert client.post(CONTACTS, ListID=1, **dates, Page=1)[0] == 500
    assert b"SOAPAction" in client.post("DropEverything")[2]
    assert client.target.answer({"Content-Type": "text/plain"}, b"<x/>")[0] == 415  # type: ignore[union-attr]
