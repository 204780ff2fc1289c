"""The server, in the process of its caller and in one of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
import requests

from simulator import (
    Account,
    AccountConfig,
    FaultSpec,
    Move,
    SimulatorConfig,
    SimulatorProcess,
    Truth,
)
from simulator.__main__ import GROUPS, documentation, parser, settings
from simulator.tests.client import (
    LISTS,
    SMALL,
    Client,
    assert_equal,
    biggest_message,
    endpoint,
    start,
)


def test_requests_beyond_the_rate_are_answered_429() -> None:
    client = Client(endpoint(rate_limit=5))
    answers = [client.post(LISTS) for _ in range(8)]
    assert Counter(status for status, _, _ in answers) == {200: 5, 429: 3}
    assert answers[-1][1]["Retry-After"] == "1"


def test_gzip_is_used_only_where_both_sides_want_it() -> None:
    with start() as simulator:
        client = Client(simulator)
        _, plain_headers, plain = client.post(LISTS)
        simulator.config.gzip = True
        _, headers, packed = client.post(LISTS)
        assert "Content-Encoding" not in plain_headers
        assert headers["Content-Encoding"] == "gzip"
        assert packed == plain


def test_pages_are_kept_when_only_their_way_changes() -> None:
    config = SimulatorConfig(account=SMALL)
    version = config.version
    config.latency, config.bandwidth = 0.1, 1e6
    assert config.version == version
    config.page_size = 7
    assert config.version > version


def test_the_server_and_the_endpoint_answer_alike() -> None:
    direct = endpoint()
    with start() as simulator:
        assert_equal(Client(simulator).everything(), Client(direct).everything())
        assert simulator.counts == direct.counts


def test_the_server_in_a_process_of_its_own_serves_the_same_account() -> None:
    config = SimulatorConfig(account=replace(SMALL), faults={"server_error": 0.0}, page_size=30)
    with SimulatorProcess(config) as process:
        client = Client(process)
        assert len(client.rows(LISTS) or []) == 3
        assert process.counts == {LISTS: 1}
        assert process.peak_in_flight == 1
        before = process.row_counts()
        process.set_now(SMALL.now + timedelta(days=90))
        assert process.row_counts()["messages"] > before["messages"]
        list_id, message = process.account.lists()[0].list_id, biggest_message(process.account)
        process.leave(list_id, 3)
        process.come_back(list_id, 1)
        process.withhold(message["MsgID"], "message_opens", 4)
        process.record(message["MsgID"], "message_opens", 1)
        assert process.row_counts()["list_removals"] > before["list_removals"]
        assert_equal(client.everything(), process.truth())
        moves = [{"after": 0, "leave": 1, "list_id": list_id}]
        process.control(config={"moves": moves})
        contacts = process.row_counts()["subscribed_contacts"]
        client.rows(LISTS)
        assert process.row_counts()["subscribed_contacts"] == contacts - 1
        process.hide_lists([one.list_id for one in process.account.lists()])
        assert client.rows(LISTS) is None
        process.control(faults={"unavailable": 1.0})
        assert client.post(LISTS)[0] == 503
        process.reset_counts()
        assert process.counts == {}
    assert process.truth(tables=["lists"]) == {"lists": []}, "known after the end, too"


def test_moves_and_unusual_values_reach_a_process() -> None:
    list_id = Account(SMALL).lists()[0].list_id
    account = replace(SMALL, wrong_values={"lists.ListName": "x"}, hidden_lists={list_id + 1})
    moves = [Move(after=0, leave=2, list_id=list_id)]
    config = SimulatorConfig(account=account, moves=moves, faults={"other_fault": FaultSpec(0.0)})
    with SimulatorProcess(config) as process:
        assert len(Client(process).rows(LISTS) or []) == 3
        assert len(process.account.happenings) == 2


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with start() as simulator, pytest.raises(ValueError, match="no such setting"):
        simulator.control(config={"page_sise": 3})
    with pytest.raises(ValueError, match="no such fault"):
        start(faults={"nothing": 1.0})


def test_the_socket_is_free_again_after_the_simulator_has_gone() -> None:
    with start() as simulator:
        port = simulator.port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


# The command line


def test_every_option_has_its_help_and_its_group() -> None:
    declared = [one.name for kind in (AccountConfig, SimulatorConfig) for one in settings(kind)]
    assert set(GROUPS) <= set(declared)
    text = " ".join(parser().format_help().split())
    for kind in (AccountConfig, SimulatorConfig):
        for name, documented in documentation(kind).items():
            assert f"--{name.replace('_', '-')} " in text
            assert " ".join(documented.split()) in text


def test_the_command_prints_its_address_and_the_login() -> None:
    command = [sys.executable, "-m", "simulator", "--lists=2", "--user-name=me", "--password=p%"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url, login, hint = (process.stdout.readline().strip() for _ in range(3))
        try:
            assert login == "user name: me, password: p%"
            session = requests.Session()
            session.trust_env = False
            assert session.get(url, timeout=5).status_code == 200
            address = hint.rpartition(" ")[2]
            answer = session.get(address, timeout=5)
            wanted = Truth(Account(AccountConfig(lists=2))).records("messages")
            assert [json.loads(line) for line in answer.text.splitlines()] == list(wanted)
            answer = session.get(address.replace("=messages", "=massages"), timeout=5)
            assert answer.status_code == 404
            assert "messages, subscribed_contacts" in answer.text
        finally:
            process.terminate()
