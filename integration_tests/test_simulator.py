"""What the simulator promises, seen by clients that know nothing of it: zeep and raw HTTP."""

from __future__ import annotations

import os
import socket
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import pytest
import requests
import zeep
from lxml import etree
from zeep.transports import Transport

from integration_tests.simulator import (
    FAULTS,
    TABLES,
    Account,
    AccountConfig,
    Simulator,
    SimulatorConfig,
    SimulatorProcess,
    row_counts,
)

# zeep rounds the seventh fraction digit, which the contract cuts: compared to milliseconds.
DATE_TIMES = {"CreateDate", "SendDate", "AdditionDate", "RemovalDate"}
NAMESPACE = "http://webservices.listrak.com/v31/"
ZONE = "America/New_York"
EVENTS = {
    "message_clicks": ("ReportRangeMessageContactClick", "ClickDate"),
    "message_opens": ("ReportRangeMessageContactOpen", "OpenDate"),
    "message_reads": ("ReportRangeMessageContactRead", "ReadDate"),
    "message_unsubs": ("ReportRangeMessageContactRemoval", "RemovalDate"),
    "message_bounces": ("ReportRangeMessageContactBounces", "BounceDate"),
}
WIDE = {"StartDate": "2000-01-01", "EndDate": "2100-01-01"}
SMALL = AccountConfig(messages_per_list=(12, 5, 0), contacts_per_list=(60, 9, 0))
UTC = timezone.utc
Call = dict[str, Any]


@pytest.fixture(scope="session")
def wsdl() -> str:
    """The interface that the connector bundles."""
    bundled = Path(__file__).parents[1] / "source_listrak" / "soap" / "IntegrationService.wsdl"
    path = Path(os.environ.get("LISTRAK_WSDL", bundled))
    if not path.exists():
        pytest.skip("no WSDL to load")
    return str(path)


class RawClient:
    """A client of strings and bytes, so that the wire itself can be looked at."""

    def __init__(self, simulator: Simulator, password: str | None = None) -> None:
        self.simulator = simulator
        self.password = simulator.config.password if password is None else password
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, operation: str, timeout: float = 5, **arguments: object) -> requests.Response:
        """Send one request."""
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
        body = (
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>'
            f'<WSUser xmlns="{NAMESPACE}"><UserName>demo</UserName>'
            f"<Password>{escape(self.password)}</Password></WSUser></s:Header>"
            f'<s:Body><{operation} xmlns="{NAMESPACE}">{inside}</{operation}></s:Body></s:Envelope>'
        )
        return self.session.post(
            self.simulator.url,
            data=body.encode(),
            headers={
                "Content-Type": "text/xml; charset=utf-8",
                "SOAPAction": f'"{NAMESPACE}{operation}"',
            },
            timeout=timeout,
            allow_redirects=False,
        )

    def rows(self, operation: str, **arguments: object) -> list[Any] | None:
        """Give the rows of one page, None if there is no result or it is nil."""
        response = self.post(operation, **arguments)
        assert response.status_code == 200, response.text
        result = etree.fromstring(response.content).find(f".//{{*}}{operation}Result")
        if result is None or result.attrib:
            return None
        return list(result)

    def pages(self, operation: str, **arguments: object) -> Iterator[list[Any]]:
        """Give pages until one has no rows."""
        page = 1
        while rows := self.rows(operation, Page=page, **arguments):
            yield rows
            page += 1


def start(account: AccountConfig = SMALL, **settings: Any) -> Simulator:
    """Make a simulator of a copy of an account's configuration."""
    return Simulator(SimulatorConfig(account=replace(account), **settings))


def biggest_message(simulator: Simulator) -> dict[str, Any]:
    """Give the message with the most opens."""
    return max(simulator.truth()["messages"], key=lambda record: record["OpenCount"])


def zeep_client(simulator: Simulator) -> zeep.Client:
    """Load the interface over HTTP, as a stranger would."""
    session = requests.Session()
    session.trust_env = False
    return zeep.Client(simulator.url + "?wsdl", transport=Transport(session=session))


def comparable(records: list[Call]) -> Counter[str]:
    """Give records as a bag, without what zeep cannot tell from null: empty text."""
    return Counter(repr(plain(record)) for record in records)


def plain(value: object) -> object:
    """Give a value in the one form that compares: no nulls, keys in order, decimals as floats."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if v not in (None, "", [])}
        for name in DATE_TIMES & kept.keys():
            kept[name] = kept[name][:23]
        return sorted((k, plain(v)) for k, v in kept.items())
    return float(value) if isinstance(value, (Decimal, float)) else value


def in_utc(value: object) -> str | None:
    """Give a wall-clock value, of zeep or as text, as the contract has it."""
    if value is None or str(value).startswith("0001"):
        return None
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    head, _, fraction = text.partition(".")
    moment = datetime.fromisoformat(f"{head}.{fraction[:6]:0<6}").replace(tzinfo=ZoneInfo(ZONE))
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_given_zeep_when_every_operation_is_called_then_it_reads_the_truth(wsdl: str) -> None:
    with start(wsdl=wsdl, page_size=17) as simulator:
        client = zeep_client(simulator)
        config = simulator.config
        user = client.get_element(f"{{{NAMESPACE}}}WSUser")(
            UserName=config.user_name, Password=config.password
        )

        def call(operation: str, **arguments: object) -> Any:
            answer = getattr(client.service, operation)(_soapheaders=[user], **arguments)
            return zeep.helpers.serialize_object(answer, dict)

        def pages(operation: str, **arguments: object) -> Iterator[Call]:
            page = 1
            while True:
                rows = rows_of(call(operation, Page=page, **arguments))
                if not rows:
                    return
                yield from rows
                page += 1

        span = {"StartDate": datetime(2000, 1, 1, tzinfo=UTC)}
        span["EndDate"] = datetime(2100, 1, 1, tzinfo=UTC)
        truth = simulator.truth()
        got: dict[str, list[Call]] = {table: [] for table in TABLES}
        nil = {"WSException": None}
        for one in rows_of(call("GetContactListCollection")):
            one["CreateDate"] = in_utc(one["CreateDate"])
            if one["Vmta"]:
                one["Vmta"] = {k: v for k, v in one["Vmta"].items() if v is not None}
            got["lists"].append(one)
            list_id = {"ListID": one["ListID"]}
            for contact in pages("ReportRangeSubscribedContacts", **list_id, **span):
                contact["AdditionDate"] = in_utc(contact["AdditionDate"])
                got["subscribed_contacts"].append(contact | list_id)
            report = {**list_id, **span, **nil, "IncludeTestMessages": True}
            deliveries = {
                d["MsgID"]: d for d in rows_of(call("ReportListMessageDelivery", **report))
            }
            for message in rows_of(call("ReportListMessageActivity", **report)):
                delivery = deliveries.pop(message["MsgID"])
                assert delivery["DeliverCount"] == message["DeliverCount"]
                message["SendDate"] = in_utc(message["SendDate"])
                got["messages"].append(message)
                msg_id = {"MsgID": message["MsgID"]}
                sends = list(pages("ReportMessageContactSent", **msg_id, **nil))
                assert len(sends) == delivery["DeliverCount"] + delivery["BounceCount"]
                got["message_sends"] += [(row or {}) | msg_id for row in sends]
                for table, (operation, date) in EVENTS.items():
                    for row in pages(operation, **msg_id, **span):
                        row[date] = in_utc(row[date])
                        if table == "message_unsubs":
                            row["AdditionDate"] = in_utc(row["AdditionDate"])
                        got[table].append(row | msg_id)
            assert not deliveries
        for table in TABLES:
            assert comparable(got[table]) == comparable(truth[table]), table
            assert len(truth[table]) == simulator.row_counts()[table]
        assert len(simulator.counts) == 10


def rows_of(answer: object) -> list[Call]:
    """Give the rows of an answer of zeep, wherever it put them."""
    while isinstance(answer, dict):
        answer = next((value for value in answer.values() if value), None)
    return answer if isinstance(answer, list) else []


def test_given_the_same_seed_then_every_byte_is_the_same() -> None:
    bodies = []
    for seed in (1, 1, 2):
        with start(replace(SMALL, seed=seed)) as simulator:
            list_id = simulator.truth()["lists"][0]["ListID"]
            client = RawClient(simulator)
            arguments = {"ListID": list_id, **WIDE, "IncludeTestMessages": "true"}
            bodies.append(client.post("ReportListMessageActivity", **arguments).content)
    assert bodies[0] == bodies[1]
    assert bodies[0] != bodies[2]


@pytest.mark.parametrize("late_by", [0, 3 * 86_400])
def test_when_the_clock_moves_then_counters_agree_with_rows_and_data_grow(late_by: int) -> None:
    account = Account(replace(SMALL, late_by=late_by))
    before: dict[str, int] = {}
    for days in (-300, -100, 0, 3, 60):
        account.set_now(SMALL.now + timedelta(days=days))
        simulator = Simulator(SimulatorConfig(account=account.config))
        simulator.account = account
        truth = simulator.truth()
        counts = {table: len(records) for table, records in truth.items()}
        assert row_counts(account) == counts
        rows = {
            table: Counter(record["MsgID"] for record in truth[table])
            for table in (*EVENTS, "message_sends")
        }
        clickers: dict[int, Counter[tuple[Any, Any]]] = defaultdict(Counter)
        for click in truth["message_clicks"]:
            clickers[click["MsgID"]][click.get("ContactID"), click.get("EmailAddress")] += 1
        for message in truth["messages"]:
            msg_id = message["MsgID"]
            assert message["OpenCount"] == rows["message_opens"][msg_id]
            assert message["ReadCount"] == rows["message_reads"][msg_id]
            assert message["ClickCount"] == rows["message_clicks"][msg_id]
            assert message["RemoveCount"] == rows["message_unsubs"][msg_id]
            bounced = rows["message_bounces"][msg_id]
            assert message["DeliverCount"] == rows["message_sends"][msg_id] - bounced
            assert message["ClickerCount"] == len(clickers[msg_id])
            repeated = sum(count > 1 for count in clickers[msg_id].values())
            assert message["RepeatClickerCount"] == repeated
        assert all(counts[table] >= before.get(table, 0) for table in TABLES if table != "lists")
        before = counts


@pytest.mark.parametrize("late_by", [0, 86_400])
def test_when_windows_adjoin_then_each_row_is_in_exactly_one(late_by: int) -> None:
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
    with start(account) as simulator:
        simulator.set_now(datetime(2023, 11, 5, 18, tzinfo=UTC) if late_by else account.now)
        client = RawClient(simulator)
        everything = simulator.truth()
        for table, (operation, _) in EVENTS.items():
            total = 0
            for since, until in pairwise(edges):
                expected = 0
                for msg_id in {record["MsgID"] for record in everything[table]}:
                    span = {"StartDate": since, "EndDate": until}
                    pages = client.pages(operation, MsgID=msg_id, **span)
                    expected += sum(map(len, pages))
                total += expected
            assert total == len(everything[table]), table
        wall = simulator.truth(since="2023-11-05T01:00:00", until="2023-11-05T02:00:00")
        assert wall["messages"], "messages are sent in the repeated hour"
        sends = {m["SendDate"][:13] for m in wall["messages"]}
        assert sends == {"2023-11-05T05"}, "of a repeated hour, the first"


def test_given_edges_then_start_is_inclusive_and_end_exclusive_unless_set() -> None:
    with start() as simulator:
        client, messages = RawClient(simulator), simulator.truth()["messages"]
        arguments = {"ListID": messages[0]["ListID"], "IncludeTestMessages": "true"}
        edge = {"StartDate": messages[0]["SendDate"], "EndDate": messages[1]["SendDate"]}
        assert len(client.rows("ReportListMessageActivity", **arguments, **edge) or []) == 1
        simulator.config.end_inclusive = True
        assert len(client.rows("ReportListMessageActivity", **arguments, **edge) or []) == 2


@pytest.mark.parametrize("end_style", ["empty", "nil", "missing"])
@pytest.mark.parametrize("short_pages", [False, True])
@pytest.mark.parametrize("page_size", [1, 7, 1000])
def test_paging_gives_every_row_once(end_style: str, short_pages: bool, page_size: int) -> None:
    with start(end_style=end_style, short_pages=short_pages, page_size=page_size) as simulator:
        client, message = RawClient(simulator), biggest_message(simulator)
        arguments = {"MsgID": message["MsgID"], **WIDE}
        pages = list(client.pages("ReportRangeMessageContactOpen", **arguments))
        assert sum(map(len, pages)) == message["OpenCount"]
        past = client.rows("ReportRangeMessageContactOpen", **arguments, Page=len(pages) + 9)
        assert past == ([] if end_style == "empty" else None)


def test_empty_pages_of_sends_come_in_the_middle_and_nil_at_the_end() -> None:
    with start(page_size=5, empty_pages=2) as simulator:
        client, message = RawClient(simulator), biggest_message(simulator)
        sizes: list[int] = []
        page = 1
        while (
            rows := client.rows("ReportMessageContactSent", MsgID=message["MsgID"], Page=page)
        ) is not None:
            sizes.append(len(rows))
            page += 1
        sent = Counter(r["MsgID"] for r in simulator.truth()["message_sends"])[message["MsgID"]]
        assert sum(sizes) == sent
        assert sizes.count(0) == 2
        assert sizes[0] and sizes[-1]


def test_wrong_logins_lock_the_account_even_for_the_right_password() -> None:
    with start() as simulator:
        right, wrong = RawClient(simulator), RawClient(simulator, "wrong")
        for _ in range(3):
            answer = wrong.post("GetContactListCollection")
            assert answer.status_code == 500
            assert "[InvalidLogonAttempt]" in answer.text
        assert "[LoginAttemptsExceeded]" in right.post("GetContactListCollection").text
        simulator.unlock()
        assert right.post("GetContactListCollection").status_code == 200
        simulator.config.prohibited = True
        assert "[ProhibitedIPAddress]" in right.post("GetContactListCollection").text


def test_the_password_can_change_in_the_middle() -> None:
    with start(password_change_after=2) as simulator:
        client = RawClient(simulator)
        statuses = [client.post("GetContactListCollection").status_code for _ in range(3)]
        assert statuses == [200, 200, 500]


def test_requests_that_asp_net_would_refuse_are_refused() -> None:
    with start() as simulator:
        client = RawClient(simulator)
        assert "Page" in client.post("ReportMessageContactSent", MsgID=1).text
        assert "Invalid MsgID" in client.post("ReportMessageContactSent", MsgID=1, Page=1).text
        no_list = client.post("ReportRangeSubscribedContacts", ListID=1, **WIDE, Page=1)
        assert "Invalid ListID" in no_list.text
        dates = {"StartDate": "3/5/2014", "EndDate": "2015-01-01"}
        bad_date = client.post("ReportRangeSubscribedContacts", ListID=1, **dates, Page=1)
        assert bad_date.status_code == 500
        assert "SOAPAction" in client.post("DropEverything").text
        plain = client.session.post(simulator.url, data=b"<x/>")
        assert plain.status_code == 415


def test_hidden_lists_and_their_messages_are_gone() -> None:
    with start() as simulator:
        client, message = RawClient(simulator), biggest_message(simulator)
        simulator.hide_lists({message["ListID"]})
        assert len(client.rows("GetContactListCollection") or []) == 2
        gone = client.post("ReportMessageContactSent", MsgID=message["MsgID"], Page=1)
        assert gone.status_code == 500
        assert message["ListID"] not in {m["ListID"] for m in simulator.truth()["messages"]}


def test_an_account_may_have_no_lists() -> None:
    with start(AccountConfig(lists=0)) as simulator:
        assert RawClient(simulator).rows("GetContactListCollection") == []
        assert not any(simulator.truth().values())


@pytest.mark.parametrize("style", ["iso", "us", "mixed", "garbage"])
def test_string_dates_come_in_the_style_asked_for(style: str) -> None:
    with start(replace(SMALL, string_date_style=style)) as simulator:
        message = biggest_message(simulator)
        rows = RawClient(simulator).rows(
            "ReportRangeMessageContactOpen", MsgID=message["MsgID"], **WIDE, Page=1
        )
        dates = {row.findtext("{*}OpenDate") for row in rows or []} - {None}
        slashed = {date for date in dates if date[-2:] in ("AM", "PM")}
        assert bool(slashed) is (style in ("us", "mixed"))
        assert any("T" in date for date in dates) is (style != "us")


def test_a_message_of_a_million_opens_is_served_from_its_far_end() -> None:
    account = replace(SMALL, giant_message_opens=1_000_000)
    with start(account) as simulator:
        message = next(simulator.account.messages(simulator.account.lists()[0]))
        arguments = {"MsgID": message.msg_id, **WIDE}
        client = RawClient(simulator)
        assert (
            len(client.rows("ReportRangeMessageContactOpen", **arguments, Page=1000) or []) == 1000
        )
        assert client.rows("ReportRangeMessageContactOpen", **arguments, Page=1001) == []


def test_faults_with_a_rate_below_one_pass_when_retried_and_repeat_with_the_seed() -> None:
    patterns = []
    for _ in range(2):
        with start(faults={"server_error": 0.5}) as simulator:
            client = RawClient(simulator)
            codes = [client.post("GetContactListCollection").status_code for _ in range(30)]
            patterns.append(codes)
    assert patterns[0] == patterns[1]
    assert set(patterns[0]) == {200, 500}


def test_a_fault_may_be_bound_to_operations_messages_and_attempts() -> None:
    with start() as simulator:
        client, message = RawClient(simulator), biggest_message(simulator)
        simulator.config.faults = {
            "message_404": {"message_ids": [message["MsgID"]]},
            "server_error": {"operations": ["GetContactListCollection"], "times": 2},
        }
        codes = [client.post("GetContactListCollection").status_code for _ in range(3)]
        assert codes == [500, 500, 200]
        for _ in range(2):
            gone = client.post("ReportMessageContactSent", MsgID=message["MsgID"], Page=1)
            assert gone.status_code == 500
            assert "404" in gone.text
        assert [r.fault for r in simulator.requests][:3] == ["server_error", "server_error", None]


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_fault_spoils_the_answer(name: str) -> None:
    """A client that checks nothing must be able to notice each of them on the wire."""
    settings = {"page_size": 5, "timeout_limit": 0.3, "huge_body_mb": 3, "end_style": "missing"}
    with start(**settings) as simulator:
        client, message = RawClient(simulator), biggest_message(simulator)
        arguments = {"MsgID": message["MsgID"], "Page": 3}
        right = client.post("ReportMessageContactSent", **arguments).content
        simulator.config.faults = {name: 1.0}
        try:
            answer = client.post("ReportMessageContactSent", **arguments)
        except requests.RequestException:
            assert name in ("reset", "reset_mid_body", "timeout", "truncated")
            return
        assert answer.status_code != 200 or answer.content != right
        assert simulator.fault_counts[name] == 1
        if name == "huge_body":
            assert len(answer.content) > 3 * 1024 * 1024


def test_a_fault_that_never_answers_outlasts_the_client() -> None:
    with start(faults={"timeout": 1.0}) as simulator, pytest.raises(requests.Timeout):
        RawClient(simulator).post("GetContactListCollection", timeout=0.2)


def test_illegal_characters_removed_give_the_right_answer() -> None:
    with start() as simulator:
        client, message = RawClient(simulator), biggest_message(simulator)
        arguments = {"MsgID": message["MsgID"], "Page": 1}
        right = client.post("ReportMessageContactSent", **arguments).content
        for name, bad in (
            ("illegal_characters", [b"\x1f\x0b\x00"]),
            ("illegal_references", [b"&#x1F;", b"&#11;", b"&#x0;", b"&#xFFFE;"]),
        ):
            simulator.config.faults = {name: 1.0}
            body = client.post("ReportMessageContactSent", **arguments).content
            assert body != right
            for text in bad:
                body = body.replace(text, b"")
            assert body == right


def test_requests_beyond_the_rate_are_answered_429() -> None:
    with start(rate_limit=5) as simulator:
        client = RawClient(simulator)
        answers = [client.post("GetContactListCollection") for _ in range(8)]
        assert Counter(a.status_code for a in answers) == {200: 5, 429: 3}
        assert answers[-1].headers["Retry-After"] == "1"


def test_gzip_is_used_only_where_both_sides_want_it() -> None:
    with start() as simulator:
        client = RawClient(simulator)
        plain = client.post("GetContactListCollection")
        simulator.config.gzip = True
        packed = client.post("GetContactListCollection")
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.content == plain.content


def test_pages_are_kept_when_only_their_way_changes() -> None:
    config = SimulatorConfig(account=SMALL)
    version = config.version
    config.latency, config.bandwidth = 0.1, 1e6
    assert config.version == version
    config.page_size = 7
    assert config.version > version


def test_the_server_in_a_process_of_its_own_serves_the_same_account() -> None:
    config = SimulatorConfig(account=replace(SMALL), faults={"server_error": 0.0})
    with SimulatorProcess(config) as process:
        client = RawClient(process)  # type: ignore[arg-type]  # has what the client needs
        assert len(client.rows("GetContactListCollection") or []) == 3
        assert process.counts == {"GetContactListCollection": 1}
        assert process.peak_in_flight == 1
        later = SMALL.now + timedelta(days=90)
        before = process.row_counts()
        process.set_now(later)
        assert process.row_counts()["messages"] > before["messages"]
        process.hide_lists([one.list_id for one in process.account.lists()])
        assert client.rows("GetContactListCollection") == []
        process.control(faults={"unavailable": 1.0})
        assert client.post("GetContactListCollection").status_code == 503
        process.reset_counts()
        assert process.counts == {}


def test_the_socket_is_free_again_after_the_simulator_has_gone() -> None:
    with start() as simulator:
        port = simulator.port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
