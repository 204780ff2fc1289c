"""What an account holds, and that its ground truth is what a client reads."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from simulator import (
    TABLES,
    Account,
    AccountConfig,
    Truth,
    row_counts,
)
from simulator.account import Kind
from simulator.clock import DAY, HOUR
from simulator.movement import (
    come_back,
    leave,
)
from simulator.series import Contacts, Events
from simulator.tests.client import (
    ACTIVITY,
    DATED_EVENTS,
    LISTS,
    OPENS,
    SENT,
    SMALL,
    UTC,
    WIDE,
    Client,
    Record,
    assert_equal,
    bag,
    biggest_message,
    endpoint,
    opens_of,
)

# The data


def test_the_same_seed_makes_the_same_bytes() -> None:
    bodies = []
    for seed in (1, 1, 2):
        target = endpoint(replace(SMALL, seed=seed))
        list_id = target.account.lists()[0].list_id
        arguments = {"ListID": list_id, **WIDE, "IncludeTestMessages": "true"}
        bodies.append(Client(target).post(ACTIVITY, **arguments)[2])
    assert bodies[0] == bodies[1]
    assert bodies[0] != bodies[2]


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, {}),
        ({"late_by": 40 * 86_400}, {"page_size": 7}),
        ({"lag_hours": 30, "late_by": 86_400}, {"page_size": 7}),
        ({"texts": "plain"}, {}),
        ({"date_digits": 7, "date_offsets": True}, {"row_order": "newest"}),
        ({"date_digits": 0, "time_zone": "UTC"}, {"row_order": "address", "page_size": 7}),
        ({"string_date_style": "us"}, {"row_order": "id", "end_style": "nil"}),
        ({"string_date_style": "mixed"}, {"short_pages": True, "page_size": 5}),
        ({"string_date_style": "garbage", "return_share": 1.0, "stay_days": 5}, {}),
        ({"conversation_mail_in_messages": True, "removal_rate": 0.2}, {"page_size": 7}),
        ({"counters": "zero", "recipients_without_address": 0.5}, {"end_style": "empty"}),
        ({"messages_without_send_date": 0.5, "counters": "high", "leaver_every": 0}, {}),
        (
            {
                "wrong_values": {
                    "messages.OrderTotal": "1,234.50",
                    "list_removals.RemovalDate": "x",
                },
                "wrong_every": 3,
            },
            {},
        ),
    ],
    ids=repr,
)
@pytest.mark.parametrize("days", [-200, 3])
def test_whatever_the_reading_of_the_unknowns_a_client_reads_the_truth(
    changes: dict[str, Any], settings: dict[str, Any], days: int
) -> None:
    target = endpoint(replace(SMALL, **changes), **settings)
    target.account.set_now(SMALL.now + timedelta(days=days))
    assert_equal(Client(target).everything(), Truth(target.account).tables())


def test_a_client_reads_the_truth_of_a_window() -> None:
    target = endpoint(replace(SMALL, removal_rate=0.2, stay_days=1))
    since, until = "2023-03-01T00:00:00", "2023-09-01T00:00:00"
    got = Client(target).everything(since, until)
    assert_equal(got, Truth(target.account, since, until).tables())
    one = target.account.lists()[0]
    edges = [f"2023-{month:02}-01T00:00:00" for month in range(1, 13)]
    for start, end in pairwise(edges):
        span = {"StartDate": start, "EndDate": end}
        removals = Client(target).records("list_removals", ListID=one.list_id, **span)
        truth = Truth(target.account, start, end, list_ids=[one.list_id])
        want = bag(list(truth.records("list_removals")))
        assert bag([{"ListID": one.list_id} | removal for removal in removals]) == want


@pytest.mark.parametrize("late_by", [0, 3 * 86_400])
def test_as_the_clock_moves_counters_agree_with_rows(late_by: int) -> None:
    account = Account(replace(SMALL, late_by=late_by))
    before: dict[str, int] = {}
    shrinking = {"lists", "subscribed_contacts", "list_imports"}
    for days in (-300, -100, 0, 3, 60):
        account.set_now(SMALL.now + timedelta(days=days))
        truth = Truth(account).tables()
        counts = {table: len(records) for table, records in truth.items()}
        assert row_counts(account) == counts
        rows = {t: Counter(r["MsgID"] for r in truth[t]) for t in (*DATED_EVENTS, "message_sends")}
        people = {t: Counter((r["MsgID"], _who(r)) for r in truth[t]) for t in DATED_EVENTS}
        contacts = {t: Counter(msg_id for msg_id, _ in people[t]) for t in DATED_EVENTS}
        repeated = Counter(m for (m, _), n in people["message_clicks"].items() if n > 1)
        links: Counter[int] = Counter()
        for link in truth["message_links"]:
            links[link["MsgID"]] += link["ClickCount"]
        for message in truth["messages"]:
            msg_id = message["MsgID"]
            assert message["OpenCount"] == contacts["message_opens"][msg_id]
            assert message["ReadCount"] == contacts["message_reads"][msg_id]
            assert message["ClickCount"] == rows["message_clicks"][msg_id] == links[msg_id]
            assert message["ClickerCount"] == contacts["message_clicks"][msg_id]
            assert message["RepeatClickerCount"] == repeated[msg_id]
            assert message["RemoveCount"] == rows["message_unsubs"][msg_id]
            bounced = rows["message_bounces"][msg_id]
            assert message["DeliverCount"] == rows["message_sends"][msg_id] - bounced
        for delivery in truth["conversation_deliveries"]:
            sent = [r["ConversationID"] for r in truth["conversation_sends"]]
            assert delivery["SendCount"] == sent.count(delivery["ConversationID"])
        assert all(counts[t] >= before.get(t, 0) for t in TABLES if t not in shrinking)
        before = counts


def _who(record: Record) -> tuple[Any, ...]:
    return record.get("ContactID"), record.get("EmailAddress")


def test_the_worked_example_of_the_account_is_true() -> None:
    account = Account(AccountConfig())
    one = account.lists()[0]
    sent = account.message(one, 4).raw - account.start
    assert 73 <= sent / DAY < 91.25
    message = max(account.messages(one), key=lambda message: message.counts[Kind.OPEN])
    assert len({account.actor(message, Kind.OPEN, index) for index in range(31)}) == 21
    opens = Events(account, message, Kind.OPEN)
    middle = opens.raw(opens.count // 2) - message.sent
    assert 3 * HOUR < middle < 4 * HOUR
    assert 29 * DAY < opens.raw(opens.count - 1) - message.sent <= 30 * DAY


def test_conversations_and_lists_join_by_contact_id() -> None:
    truth = Truth(Account(SMALL)).tables(["conversation_sends", "subscribed_contacts"])
    emails = {c.get("ContactID"): c.get("EmailAddress") for c in truth["subscribed_contacts"]}
    sends = [one for one in truth["conversation_sends"] if str(one["ContactID"]) in emails]
    assert len(sends) > 20
    assert all(emails[str(one["ContactID"])] == one.get("EmailAddress") for one in sends)


def test_a_contact_opens_a_message_more_than_once() -> None:
    account = Account(SMALL)
    message = biggest_message(account)
    opens = opens_of(account, message["MsgID"])
    assert len(opens) > message["OpenCount"] == len(set(map(_who, opens)))


def test_dates_have_three_fraction_digits_at_most_unless_set() -> None:
    for digits in (0, 3, 7):
        target = endpoint(replace(SMALL, date_digits=digits))
        message = biggest_message(target.account)
        rows = Client(target).rows(OPENS, MsgID=message["MsgID"], **WIDE, Page=1) or []
        dates = [row.findtext("{*}OpenDate") or "" for row in rows]
        assert max(len(date.partition(".")[2]) for date in dates) == digits


@pytest.mark.parametrize("late_by", [0, 86_400])
def test_each_row_is_in_one_of_two_windows_that_adjoin(late_by: int) -> None:
    """The windows' edges lie in, at and around the hour that 2023-11-05 repeats."""
    account = AccountConfig(
        lists=1,
        messages_per_list=3,
        recipients_per_message=400,
        uniform=True,
        test_messages=False,
        start=datetime(2023, 11, 5, 3, tzinfo=UTC),
        now=datetime(2023, 11, 5, 9, tzinfo=UTC),
        late_by=late_by,
    )
    edges = [
        "2023-11-01", "2023-11-05T00:30:00", "2023-11-05T01:00:00", "2023-11-05T05:10:00Z",
        "2023-11-05T01:30:00.5", "2023-11-05T02:00:00", "2023-11-05T02:00:00-05:00", "2024-03-01",
    ]  # fmt: skip
    target = endpoint(account)
    target.account.set_now(datetime(2023, 11, 5, 18, tzinfo=UTC) if late_by else account.now)
    client, everything = Client(target), Truth(target.account)
    for table in DATED_EVENTS:
        records = list(everything.records(table))
        total = 0
        for since, until in pairwise(edges):
            for msg_id in {one["MsgID"] for one in records}:
                span = {"StartDate": since, "EndDate": until}
                total += len(client.records(table, MsgID=msg_id, **span))
        assert total == len(records), table
    wall = Truth(target.account, "2023-11-05T01:00:00", "2023-11-05T02:00:00")
    sends = {one["SendDate"][:13] for one in wall.records("messages")}
    assert sends == {"2023-11-05T05"}, "of a repeated hour, the first"


def test_the_start_is_inclusive_and_the_end_exclusive_unless_set() -> None:
    target = endpoint()
    client, messages = Client(target), list(Truth(target.account).records("messages"))
    list_id = {"ListID": messages[0]["ListID"]}
    edge = {"StartDate": messages[0]["SendDate"], "EndDate": messages[1]["SendDate"]}
    arguments = {**list_id, **edge, "IncludeTestMessages": "true"}
    assert len(client.rows(ACTIVITY, **arguments) or []) == 1
    target.config.end_inclusive = True
    assert len(client.rows(ACTIVITY, **arguments) or []) == 2


def test_import_history_is_kept_for_thirty_days() -> None:
    account = Account(replace(SMALL, imports_per_list=300))
    dates = [record["StartDate"][:10] for record in Truth(account).records("list_imports")]
    assert min(dates) == "2023-12-02"
    assert len(dates) > 20


def test_analytics_take_2500_ids_and_leave_out_unknown_ones() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    ids = [message["MsgID"], *range(1, 2500)]
    assert len(client.rows("GetMessageAnalyticsInformation", MsgIDs=ids) or []) == 1
    assert client.rows("GetMessageAnalyticsInformation") is None
    status, _, body = client.post("GetMessageAnalyticsInformation", MsgIDs=[*ids, 3])
    assert status == 500
    assert b"2500" in body


def test_hidden_lists_and_all_that_belongs_to_them_are_gone() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    target.account.hide_lists({message["ListID"]})
    assert len(client.rows(LISTS) or []) == 2
    assert client.post(SENT, MsgID=message["MsgID"], Page=1)[0] == 500
    assert_equal(client.everything(), Truth(target.account).tables())
    for table, records in Truth(target.account).tables().items():
        assert all(record.get("ListID") != message["ListID"] for record in records), table


def test_the_truth_of_some_lists_holds_nothing_of_others() -> None:
    account = Account(replace(SMALL, complaints=100))
    chosen = account.lists()[0].list_id
    some, every = Truth(account, list_ids=[chosen]).tables(), Truth(account).tables()
    for table, records in every.items():
        if records and "ListID" in records[0]:
            assert bag(some[table]) == bag([r for r in records if r["ListID"] == chosen]), table
    assert len(some["abuse_complaints"]) < len(every["abuse_complaints"])


def test_an_account_may_have_no_lists() -> None:
    target = endpoint(AccountConfig(lists=0))
    assert Client(target).rows(LISTS) is None
    assert not any(Truth(target.account).tables().values())


@pytest.mark.parametrize("style", ["iso", "us", "mixed", "garbage"])
def test_string_dates_have_the_layout_that_is_set(style: str) -> None:
    target = endpoint(replace(SMALL, string_date_style=style))
    message = biggest_message(target.account)
    rows = Client(target).rows(OPENS, MsgID=message["MsgID"], **WIDE, Page=1)
    dates = {row.findtext("{*}OpenDate") for row in rows or []} - {None}
    slashed = {date for date in dates if date[-2:] in ("AM", "PM")}
    assert bool(slashed) is (style in ("us", "mixed"))
    assert any("T" in date for date in dates) is (style != "us")


def test_a_message_of_a_million_opens_is_served_from_its_far_end() -> None:
    target = endpoint(replace(SMALL, giant_message_opens=1_000_000))
    message = next(target.account.messages(target.account.lists()[0]))
    client, arguments = Client(target), {"MsgID": message.msg_id, **WIDE}
    assert len(client.rows(OPENS, **arguments, Page=400) or []) == 2500
    assert client.rows(OPENS, **arguments, Page=401) is None


@pytest.mark.parametrize("hours", [0.5, 3, 12])
def test_with_a_lag_the_service_shows_what_there_was_before(hours: float) -> None:
    """Pages, counters and the ground truth are those of an account whose clock is behind."""
    lag = timedelta(hours=hours)
    target, behind = endpoint(replace(SMALL, lag_hours=hours)), endpoint()
    for now in (SMALL.now - timedelta(days=100), SMALL.now, SMALL.now + timedelta(days=20)):
        target.account.set_now(now)
        behind.account.set_now(now - lag)
        assert target.account.moment == now
        truth = Truth(behind.account).tables()
        assert_equal(Truth(target.account).tables(), truth)
        assert_equal(Truth(target.account, now=now).tables(), truth)
        assert_equal(Client(target).everything(), truth)
        assert row_counts(target.account) == row_counts(behind.account)


def test_with_a_lag_a_row_appears_later_than_its_date() -> None:
    account = Account(replace(SMALL, lag_hours=3))
    message = biggest_message(account)
    rows = opens_of(account, message["MsgID"])
    dates = sorted(row["OpenDate"] for row in rows if "OpenDate" in row)
    middle = datetime.fromisoformat(dates[len(dates) // 2].replace("Z", "+00:00"))
    appears = middle + timedelta(hours=3)
    seen = []
    for now in (appears - timedelta(seconds=1), appears + timedelta(seconds=1)):
        account.set_now(now)
        rows = opens_of(account, message["MsgID"])
        seen.append(dates[len(dates) // 2] in [row.get("OpenDate") for row in rows])
        (shown,) = (m for m in Truth(account).records("messages") if m["MsgID"] == message["MsgID"])
        assert shown["OpenCount"] == len(set(map(_who, rows)))
    assert seen == [False, True]


def test_plain_texts_are_names_and_subjects_that_anyone_can_read() -> None:
    truth = Truth(Account(replace(SMALL, texts="plain"))).tables()
    named = {
        "lists": "ListName",
        "campaigns": "Name",
        "messages": "Subject",
        "conversations": "ConversationName",
        "message_links": "LinkDescription",
    }
    for table, column in named.items():
        texts = [row[column] for row in truth[table]]
        assert texts
        assert all(re.fullmatch(r"[A-Z][\w %:!?,'-]+", text) for text in texts), table
    assert len({row["Subject"] for row in truth["messages"]}) > 6


# Contacts that leave and return


def test_who_left_is_in_the_removals_and_who_returned_is_subscribed() -> None:
    account = Account(
        AccountConfig(contacts_per_list=400, return_share=0.5, stay_days=20, removal_rate=0.05)
    )
    days = [SMALL.now + timedelta(days=10 * step) for step in range(-30, 10)]
    returned, seen_leaving = 0, set[tuple[Any, ...]]()
    for before, after in pairwise(days):
        account.set_now(after)
        then = {_contact(r): r for r in Truth(account, now=before).records("subscribed_contacts")}
        now = {_contact(r): r for r in Truth(account).records("subscribed_contacts")}
        removed = {
            _contact(one): one
            for one in Truth(account).records("list_removals")
            if f"{before:%Y-%m-%dT%H}" <= one["RemovalDate"][:13] <= f"{after:%Y-%m-%dT%H}"
        }
        assert then.keys() - now.keys() <= removed.keys(), "who is absent was removed"
        for contact in removed.keys() & then.keys():
            assert removed[contact].get("AdditionDate") == then[contact]["AdditionDate"]
        seen_leaving |= removed.keys()
        back = (now.keys() - then.keys()) & seen_leaving
        returned += len(back)
    assert len(seen_leaving) > 100
    assert returned > 5
    messages_made_leave = {
        _contact(r | {"ListID": 0}) for r in Truth(account).records("message_unsubs")
    }
    by_list = {(0, *contact[1:]) for contact in seen_leaving}
    assert len(messages_made_leave & by_list) > 10, "removals by messages are removals of the list"


def _contact(record: Record) -> tuple[Any, ...]:
    return record["ListID"], record.get("ContactID"), record.get("EmailAddress")


def test_removals_are_the_ends_of_all_spans_of_subscription() -> None:
    """Contacts leave by schedule, because of messages and by a test's hand, in any mixture."""
    account = Account(replace(SMALL, leaver_every=2, stay_days=1, removal_rate=0.2))
    one = account.lists()[0]
    for days in range(-300, 60, 30):
        account.set_now(SMALL.now + timedelta(days=days))
        leave(account, one.list_id, 3)
        account.set_now(SMALL.now + timedelta(days=days + 10))
        come_back(account, one.list_id, 2)
    contacts = Contacts(account, one, account.now)
    ends = [
        (account.contact(one, number)[1], until)
        for number in range(contacts.count)
        for _, until in contacts.history(number)
        if until <= account.now
    ]
    emails = {email for email, _ in ends}
    found = [
        (
            removal.get("EmailAddress"),
            datetime.fromisoformat(removal["RemovalDate"][:-1] + "+00:00"),
        )
        for removal in Truth(account, list_ids=[one.list_id]).records("list_removals")
        if removal.get("EmailAddress") in emails
    ]
    assert len(ends) > 60
    assert sorted(email for email, _ in found) == sorted(email for email, _ in ends)
    for (_, at), (_, until) in zip(sorted(found), sorted(ends), strict=True):
        assert abs(at.timestamp() - until / 1e6) <= 1, "cut to the stored resolution"


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def test_a_contact_that_returns_keeps_its_addition_date() -> None:
    target = endpoint()
    account, list_id = target.account, target.account.lists()[0].list_id
    before = bag(list(Truth(account).records("subscribed_contacts")))
    leave(account, list_id, 5)
    gone = before - bag(list(Truth(account).records("subscribed_contacts")))
    assert gone.total() == 5
    assert_equal(Client(target).everything(), Truth(account).tables())
    come_back(account, list_id, 5)
    assert bag(list(Truth(account).records("subscribed_contacts"))) == before
    assert_equal(Client(target).everything(), Truth(account).tables())


def test_the_truth_knows_who_was_subscribed_throughout() -> None:
    account = Account(SMALL)
    list_id = account.lists()[0].list_id
    before, everyone = SMALL.now, list(Truth(account).records("subscribed_contacts"))
    numbers = leave(account, list_id, 3)
    come_back(account, list_id, 2)
    later = SMALL.now + timedelta(seconds=1)
    account.set_now(later)
    assert len(list(Truth(account).records("subscribed_contacts"))) == len(everyone) - 1
    throughout = list(Truth(account).contacts_throughout(before, later))
    assert len(throughout) == len(everyone) - len(numbers)
