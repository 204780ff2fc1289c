"""Wrong answers."""

from __future__ import annotations

import pytest
import requests
from lxml import etree

from simulator import (
    FAULTS,
    TABLES,
    FaultSpec,
)
from simulator.tests.client import (
    LISTS,
    OPENS,
    SENT,
    WIDE,
    Client,
    biggest_message,
    endpoint,
    start,
)


def test_faults_with_a_rate_repeat_with_the_seed() -> None:
    patterns = []
    for _ in range(2):
        client = Client(endpoint(faults={"server_error": 0.5}))
        patterns.append([client.post(LISTS)[0] for _ in range(30)])
    assert patterns[0] == patterns[1]
    assert set(patterns[0]) == {200, 500}


def test_a_fault_may_be_bound_to_operations_parents_and_attempts() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    conversation = target.account.conversations(target.account.lists()[0])[0].conversation_id
    target.config.faults = {
        "message_404": {"message_ids": [message["MsgID"]]},
        "permission": {"conversation_ids": [conversation]},
        "server_error": FaultSpec(operations=[LISTS], times=2),
    }
    assert [client.post(LISTS)[0] for _ in range(3)] == [500, 500, 200]
    for _ in range(2):
        status, _, body = client.post(SENT, MsgID=message["MsgID"], Page=1)
        assert status == 500
        assert b"404" in body
    links = client.post("ReportConversationLinkClick", ConversationID=conversation, Page=1)
    assert b"permission" in links[2]
    assert [r.fault for r in target.requests][:3] == ["server_error", "server_error", None]
    assert target.fault_counts == {"server_error": 2, "message_404": 2, "permission": 1}


def test_a_report_that_is_gone_is_404_with_a_web_page() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    target.config.faults = {"report_gone": {"message_ids": [message["MsgID"]]}}
    status, headers, body = client.post(SENT, MsgID=message["MsgID"], Page=1)
    assert status == 404
    assert headers["Content-Type"].startswith("text/html")
    assert body.startswith(b"<!DOCTYPE html PUBLIC")
    assert client.post(LISTS)[0] == 200


def test_a_service_can_be_gone_half_gone_or_gone_for_a_while() -> None:
    target = endpoint(faults={"service_gone": 1.0})
    client, message = Client(target), biggest_message(target.account)

    def statuses() -> list[int]:
        report = client.post(SENT, MsgID=message["MsgID"], Page=1)
        return [client.post(LISTS)[0], report[0]]

    assert statuses() == [404, 404]
    target.config.faults = {"reports_gone": 1.0}
    assert statuses() == [200, 404]
    target.reset_counts()
    target.config.faults = {"service_gone": {"after": 1, "until": 3}}
    assert [client.post(LISTS)[0] for _ in range(5)] == [200, 404, 404, 200, 200]
    target.config.faults = {"report_gone": [{"operations": [OPENS]}, {"message_ids": [1]}]}
    assert client.post(SENT, MsgID=1, Page=1)[0] == 404
    assert client.post(OPENS, MsgID=message["MsgID"], **WIDE, Page=1)[0] == 404
    assert client.post(SENT, MsgID=message["MsgID"], Page=1)[0] == 200


WRONG_200 = (
    "token_in_result", "token_in_header", "token_beside_result", "token_in_other_element",
    "fault_in_response", "text_in_result", "other_rows", "renamed_rows", "ws_exception_renamed",
    "no_result",
)  # fmt: skip


@pytest.mark.parametrize("name", WRONG_200)
@pytest.mark.parametrize("table", ["lists", "messages", "message_opens", "message_sends"])
def test_a_wrong_answer_with_status_200_has_no_row_that_is_known(name: str, table: str) -> None:
    target = endpoint()
    message = biggest_message(target.account)
    values = {**message, **WIDE, "IncludeTestMessages": "true", "Page": 1}
    arguments = {one: values[one] for one in TABLES[table].request}
    target.config.faults = {name: {"rate": 1.0, "everywhere": True}}
    status, _, body = Client(target).post(TABLES[table].operation, **arguments)
    assert status == 200
    response = etree.fromstring(body).find(f".//{{*}}{TABLES[table].operation}Response")
    assert response is not None
    assert response.find(f".//{{*}}{TABLES[table].row}") is None


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_fault_spoils_the_answer(name: str) -> None:
    """A client that checks nothing must be able to notice each of them on the wire."""
    with start(page_size=5, timeout_limit=0.3, huge_body_mb=3) as simulator:
        client, message = Client(simulator), biggest_message(simulator.account)
        arguments = {"MsgID": message["MsgID"], "Page": 3}
        right = client.post(SENT, **arguments)[2]
        simulator.config.faults = {name: 1.0}
        try:
            status, _, body = client.post(SENT, **arguments)
        except requests.RequestException:
            assert name in ("reset", "reset_mid_body", "timeout", "truncated")
            return
        assert status != 200 or body != right
        assert simulator.fault_counts[name] == 1
        if name == "huge_body":
            assert len(body) > 3 * 1024 * 1024


def test_a_fault_that_never_answers_outlasts_the_client() -> None:
    with start(faults={"timeout": 1.0}) as simulator, pytest.raises(requests.Timeout):
        Client(simulator, timeout=0.2).post(LISTS)


def test_without_a_socket_faults_of_the_connection_are_exceptions() -> None:
    with pytest.raises(TimeoutError):
        Client(endpoint(faults={"timeout": 1.0})).post(LISTS)
    for name in ("reset", "reset_mid_body", "truncated"):
        with pytest.raises(ConnectionError):
            Client(endpoint(faults={name: 1.0})).post(LISTS)


def test_illegal_characters_removed_leave_the_right_answer() -> None:
    target = endpoint()
    client, message = Client(target), biggest_message(target.account)
    arguments = {"MsgID": message["MsgID"], "Page": 1}
    right = client.post(SENT, **arguments)[2]
    for name, bad in (
        ("illegal_characters", [b"\x1f\x0b\x00"]),
        ("illegal_references", [b"&#x1F;", b"&#11;", b"&#x0;", b"&#xFFFE;"]),
    ):
        target.config.faults = {name: 1.0}
        body = client.post(SENT, **arguments)[2]
        assert body != right
        for text in bad:
            body = body.replace(text, b"")
        assert body == right
