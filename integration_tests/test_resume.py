"""A sync that ends at any moment resumes from its last committed state, and nothing is lost."""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from drivers.connection import Connection, Destination
from drivers.inprocess import DirectService, InProcessResult, read_here
from drivers.messages import difference, multiset, parse, table_of
from drivers.process import QUICK, command, start
from drivers.setups import (
    NINE,
    NOW,
    START_DATE,
    catalog,
    make_account,
    make_config,
    make_simulator,
)
from simulator import Account, Simulator, SimulatorConfig
from source_listrak.sync.state import Running, StreamState
from source_listrak.tables import TABLES as DECLARED

WORKERS = 4
INTERVAL = 0.15
KILLS = 10
LATER = NOW + timedelta(days=1)
BY_MESSAGE = tuple(table for table in NINE if DECLARED[table].sliced_by == "message")
OPENS = DECLARED["message_opens"].operation


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    account = make_account(
        lists=3,
        messages_per_list=25,
        recipients_per_message=60,
        contacts_per_list=(100, 1200),  # forty pages are read by several workers
    )
    with make_simulator(account, page_size=30, latency=0.004, keep_requests=1_000_000) as running:
        yield running


@contextmanager
def syncing(
    simulator: Simulator,
    state: Any,
    state_interval: float = 0.0,
    *,
    tables: Iterable[str] = NINE,
    workers: int = WORKERS,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a sync with quick retries."""
    with start(
        [*command(now=NOW, state_interval=state_interval, retries=QUICK), "read"],
        stderr=subprocess.DEVNULL,
        config=make_config(simulator, num_workers=workers),
        catalog=catalog(tables),
        state=state or None,
    ) as process:
        yield process


def lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the messages of whole lines."""
    assert process.stdout is not None
    return parse(process.stdout)


def slow_lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the messages to a slow reader, so that the queue and the pipe fill up."""
    for number, message in enumerate(lines(process)):
        if number % 100 == 0:
            time.sleep(0.02)  # the slow reader itself, not a wait for anything
        yield message


def end(process: subprocess.Popen[bytes]) -> int:
    """Close the output and return the exit code."""
    assert process.stdout is not None
    process.stdout.close()
    return process.wait(30)


def missing(simulator: Simulator, destination: Destination) -> dict[str, int]:
    """Count the rows that no state covers, by table."""
    truth = simulator.truth(since=START_DATE, tables=NINE)
    lost = {}
    for table in NINE:
        without = set(multiset(truth[table])) - set(multiset(destination.committed.get(table, [])))
        if without:
            lost[table] = len(without)
    return lost


def begun(simulator: Simulator) -> dict[str, set[int]]:
    """Return the messages that were requested since the last reset, by table."""
    tables = {DECLARED[table].operation: table for table in BY_MESSAGE}
    found: dict[str, set[int]] = {table: set() for table in BY_MESSAGE}
    for request in simulator.requests:
        if request.operation in tables:
            found[tables[request.operation]].add(request.arguments["MsgID"])
    return found


def list_of(account: Account) -> dict[int, int]:
    """Return the list of each message."""
    return {
        message.msg_id: one.list_id for one in account.lists() for message in account.messages(one)
    }


def is_done(state: Mapping[str, Any], key: tuple[int, ...]) -> bool:
    """Return whether a state says that a slice of the first window was read."""
    if not state:
        return False
    parsed = StreamState.model_validate(state)
    if any(owed.key in (key, key[:1]) for owed in parsed.owed):
        return False
    running: Running | None = parsed.running
    return parsed.synced_to is not None if running is None else running.is_done(key)


@pytest.mark.slow
def test_ten_kills_lose_nothing_and_repeat_nothing(
    simulator: Simulator,
) -> None:
    # The moments are numbers of messages, not times, so that they do not depend on the speed.
    moments = random.Random(4)
    destination = Destination()
    lists = list_of(simulator.account)
    kills = repeated = requested = 0
    before: dict[str, set[int]] = {}
    is_complete = False
    while not is_complete:
        simulator.reset_counts()
        committed = {table: destination.stream_state(table) for table in BY_MESSAGE}
        kill_after = moments.randrange(20, 1200) if kills < KILLS else None
        with syncing(simulator, destination.state, INTERVAL) as process:
            for number, message in enumerate(lines(process), 1):
                destination.take(message)
                assert "error" not in message.get("trace", {})
                if number == kill_after:
                    process.kill()  # what is in the pipe by now still arrives
            destination.end()
            is_complete = end(process) == 0
        now_begun = begun(simulator)
        for table, messages in now_begun.items():
            done = {one for one in messages if is_done(committed[table], (lists[one], one))}
            assert not done, table
            repeated += len(before.get(table, set()) & messages)
            requested += len(messages)
        kills += not is_complete
        before = now_begun
        assert kills <= KILLS
    assert kills > 2, "the account is too small for this test"
    assert not missing(simulator, destination)
    assert repeated < requested / 2


def test_what_a_state_counts_precedes_it(
    simulator: Simulator,
) -> None:
    # A state that overtakes the records it counts shows only where the output has to wait.
    with syncing(simulator, None) as process:
        output = list(slow_lines(process))
        assert end(process) == 0

    lists = list_of(simulator.account)
    total: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for message in output:
        if message["type"] == "RECORD" and message["record"]["stream"] in BY_MESSAGE:
            total[message["record"]["stream"]][message["record"]["data"]["MsgID"]] += 1
    seen: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    checked = 0
    for message in output:
        if message["type"] == "RECORD" and message["record"]["stream"] in BY_MESSAGE:
            seen[message["record"]["stream"]][message["record"]["data"]["MsgID"]] += 1
        elif message["type"] == "STATE":
            table = table_of(message["state"])
            state = message["state"]["stream"]["stream_state"]
            for one, rows in total[table].items():
                if is_done(state, (lists[one], one)):
                    assert seen[table][one] == rows, (table, one)
                    checked += "running" in state
    assert checked > 1000


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_a_kill_behind_any_state_of_a_slow_reader_loses_nothing(
    simulator: Simulator, seed: int
) -> None:
    destination = Destination()
    cut_at = random.Random(seed).randrange(5, 120)
    with syncing(simulator, None) as process:
        states = 0
        for message in slow_lines(process):
            destination.take(message)
            states += message["type"] == "STATE"
            if states == cut_at:
                break
    destination.end()
    with syncing(simulator, destination.state) as process:
        for message in lines(process):
            destination.take(message)
        assert end(process) == 0
    assert not missing(simulator, destination)


def test_states_of_a_running_stream_keep_their_distance(simulator: Simulator) -> None:
    began = time.monotonic()
    with syncing(simulator, None, INTERVAL) as process:
        states = [message for message in lines(process) if message["type"] == "STATE"]
        assert end(process) == 0
    elapsed = time.monotonic() - began
    numbers: dict[str, int] = defaultdict(int)
    for message in states:
        numbers[table_of(message["state"])] += 1
    assert set(numbers) == set(NINE)
    assert max(numbers.values()) > 2
    assert max(numbers.values()) <= elapsed / INTERVAL + 1, "and one when the stream ends"


# Full refreshes


def small_service() -> DirectService:
    return DirectService(SimulatorConfig(account=make_account(messages_per_list=8), page_size=10))


def truth_of(service: DirectService, table: str) -> list[dict[str, Any]]:
    """Return what a first sync reads of a table."""
    truth = Simulator(service.config).truth(since=START_DATE, tables=[table], now=NOW)
    return truth[table]


def cut_in_mid_window(connection: Connection, mode: str) -> set[tuple[int, ...]]:
    """Sync until some messages of `message_opens` are done; return their keys."""
    lists = list_of(connection.service.account)
    for cut in range(40, 400, 20):
        connection.destination = Destination()
        outcome = connection.sync(NOW, cut=cut, mode=mode, fails=True, num_workers=2)
        state = connection.state("message_opens")
        keys: list[tuple[int, ...]] = [(list_id, one) for one, list_id in lists.items()]
        done = {key for key in keys if is_done(state, key)}
        if outcome.is_cut and "running" in state and len(done) >= 3:
            return done
    raise AssertionError("no cut was in mid-window")


def requested_messages(connection: Connection, operation: str) -> set[int]:
    requests = connection.service.requests
    return {one.arguments["MsgID"] for one in requests if one.operation == operation}


def test_a_full_refresh_that_was_cut_is_resumed() -> None:
    service = small_service()
    connection = Connection(service, ["message_opens"])
    done = cut_in_mid_window(connection, "full_refresh")
    committed = list(connection.committed("message_opens"))
    rest = connection.sync(LATER, mode="full_refresh")
    assert not requested_messages(connection, OPENS) & {message for _, message in done}
    both = multiset([*committed, *rest.records("message_opens")])
    assert set(both) >= set(multiset(truth_of(service, "message_opens")))
    assert connection.state("message_opens")["synced_to"] == "2024-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("first", "second"), [("incremental", "full_refresh"), ("full_refresh", "incremental")]
)
def test_a_cut_window_of_the_other_mode_is_not_resumed(first: str, second: str) -> None:
    service = small_service()
    connection = Connection(service, ["message_opens"])
    done = cut_in_mid_window(connection, first)
    whole = connection.sync(NOW, mode=second)
    assert requested_messages(connection, OPENS) >= {message for _, message in done}
    assert not difference(whole.records("message_opens"), truth_of(service, "message_opens"))


def test_a_full_refresh_ignores_a_complete_state() -> None:
    service = small_service()
    connection = Connection(service, ["message_opens"])
    connection.sync(NOW)
    whole = connection.sync(NOW, mode="full_refresh")
    assert not difference(whole.records("message_opens"), truth_of(service, "message_opens"))


# What is owed


@pytest.mark.parametrize("fault", ["report_gone", "other_fault"])
def test_a_slice_stays_deferred_until_its_records_precede_a_state(
    fault: str,
) -> None:
    service = small_service()
    connection = Connection(service, ["message_opens"])
    lists = list_of(service.account)
    chosen = truth_of(service, "message_opens")[0]["MsgID"]
    key = [lists[chosen], chosen]
    service.config.faults = {fault: {"message_ids": [chosen], "everywhere": True}}
    first = connection.sync(NOW, fails=True)
    for state in first.states("message_opens"):
        assert not is_done(state, tuple(key)), "open in its window, then owed"
    assert connection.state("message_opens")["owed"][0][0] == key

    service.config.faults = {}
    second = connection.sync(LATER)
    rows = [row for row in second.records("message_opens") if row["MsgID"] == chosen]
    assert rows
    written = owing = 0
    for message in second.messages:
        if message["type"] == "RECORD":
            written += message["record"]["data"]["MsgID"] == chosen
        elif message["type"] == "STATE":
            state = message["state"]["stream"]["stream_state"]
            is_owed = any(owed[0] == key for owed in state["owed"])
            owing += is_owed
            assert is_owed or written == len(rows)
    assert not connection.state("message_opens")["owed"]


@pytest.mark.parametrize("fault", ["report_gone", "other_fault"])
def test_a_deferred_slice_survives_kills(
    fault: str,
) -> None:
    one_table: dict[str, Any] = {"tables": ["message_opens"], "workers": 2}
    with make_simulator(make_account(messages_per_list=8), latency=0.01) as sim:
        rows = sim.truth(since=START_DATE, tables=["message_opens"])["message_opens"]
        chosen = rows[0]["MsgID"]
        sim.config.faults = {fault: {"message_ids": [chosen], "everywhere": True}}
        destination = Destination()
        for kill_at in (3, 6, None):
            with syncing(sim, destination.state, **one_table) as process:
                states = 0
                for message in lines(process):
                    destination.take(message)
                    states += message["type"] == "STATE"
                    if states == kill_at:
                        break
            destination.end()
        (owed,) = destination.stream_state("message_opens")["owed"]
        assert owed[0][1] == chosen
        sim.config.faults = {}
        with syncing(sim, destination.state, **one_table) as process:
            for message in lines(process):
                destination.take(message)
            assert end(process) == 0
        assert set(multiset(destination.committed["message_opens"])) == set(multiset(rows))


# States of other forms


def read_with(
    service: DirectService, tables: Iterable[str], states: list[dict[str, Any]]
) -> InProcessResult:
    """Sync with given states."""
    return read_here(service, tables, state=states, settings=service.at(NOW))


def stream_state(table: str, state: dict[str, Any], **descriptor: Any) -> dict[str, Any]:
    return {
        "type": "STREAM",
        "stream": {"stream_descriptor": {"name": table, **descriptor}, "stream_state": state},
    }


OLD_STATE = {
    "version": 1,
    "synced_to": "2023-12-31T00:00:00Z",
    "lists": [156, 284],
    "since": "2023-01-01T05:00:00Z",
    "test_messages": True,
    "time_zone": "America/New_York",
    "skipped": [],
}


def test_after_a_state_of_format_1_all_is_read_again() -> None:
    service = small_service()
    tables = ["message_opens", "messages"]
    result = read_with(service, tables, [stream_state(t, OLD_STATE) for t in tables])
    for table in tables:
        assert len(result.records(table)) == len(truth_of(service, table))
    (sentence,) = [line for line in result.logs if ": The state" in line]
    assert sentence.startswith("messages, message_opens: ")
    assert "earlier version" in sentence
    assert "from the start date" in sentence


@pytest.mark.parametrize("form", ["no namespace", "empty namespace", "namespace", "global"])
def test_a_state_is_found_in_any_form(form: str) -> None:
    service = small_service()
    connection = Connection(service, ["message_opens"])
    connection.sync(NOW)
    state = connection.state("message_opens")
    descriptor = {
        "no namespace": {},
        "empty namespace": {"namespace": ""},
        "namespace": {"namespace": "listrak"},
        "global": {},
    }[form]
    message = stream_state("message_opens", state, **descriptor)
    if form == "global":
        message = {
            "type": "GLOBAL",
            "global": {"stream_states": [message["stream"]], "shared_state": {"anything": 1}},
        }
    result = read_with(service, ["message_opens"], [message])
    assert len(result.records("message_opens")) < len(truth_of(service, "message_opens")) / 4


def test_no_state_in_any_form_is_nothing_to_remark_on() -> None:
    service = small_service()
    for states in ([], [stream_state("messages", {})]):
        result = read_with(service, ["messages"], states)
        assert len(result.records("messages")) == len(truth_of(service, "messages"))
        assert not [line for line in result.logs if ": The state" in line]


def test_a_state_of_a_later_version_is_a_config_error() -> None:
    service = small_service()
    result = read_with(service, ["messages"], [stream_state("messages", {"version": 3})])
    (error,) = result.errors
    assert re.search(r"state of messages .* later version", error["message"])
    assert error["failure_type"] == "config_error"
