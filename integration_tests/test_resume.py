"""A sync that dies at any moment goes on from its last committed state, and loses nothing."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from integration_tests import harness
from integration_tests.harness import ROOT, TABLES, catalog, files, multiset
from integration_tests.inprocess import Destination
from integration_tests.simulator import AccountConfig, Simulator, SimulatorConfig
from source_listrak.cursor import covers

START = datetime(2023, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
WORKERS = 4
INTERVAL = 0.15
PAGE_SIZE = 30
KILLS = 10
ACTIVITY = {
    "message_sends": "ReportMessageContactSent",
    "message_bounces": "ReportRangeMessageContactBounces",
    "message_opens": "ReportRangeMessageContactOpen",
    "message_reads": "ReportRangeMessageContactRead",
    "message_clicks": "ReportRangeMessageContactClick",
    "message_unsubs": "ReportRangeMessageContactRemoval",
}

# Writes into each state when it was made, on the clock of the machine that the simulator shares;
# what a state says besides is ignored by who reads it.
_STAMP = """
import time
from source_listrak.streams import concurrent as _concurrent
_state = _concurrent.StateCursor.state.fget
_concurrent.StateCursor.state = property(
    lambda cursor: {"made_at": time.monotonic()} | _state(cursor)
)
"""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    account = AccountConfig(
        lists=3,
        messages_per_list=25,
        recipients_per_message=60,
        contacts_per_list=(100, 1200),  # forty pages are read by several workers
        start=START,
        now=NOW,
    )
    settings = SimulatorConfig(
        account=account, page_size=PAGE_SIZE, latency=0.004, keep_requests=1_000_000
    )
    with Simulator(settings) as running:
        yield running


def start(
    simulator: Simulator, folder: Path, state: Any, state_interval: float
) -> subprocess.Popen[bytes]:
    config = {
        "username": "demo",
        "password": simulator.config.password,
        "endpoint": simulator.url,
        "start_date": "2023-01-01T00:00:00Z",
        "num_workers": WORKERS,
    }
    launch = harness.command(now=NOW, state_interval=state_interval)
    launch[2] = _STAMP + launch[2]
    arguments = files(folder, config=config, catalog=catalog(), state=state or None)
    return subprocess.Popen(
        [*launch, "read", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith(b"\n") and line.startswith(b"{"):
            yield json.loads(line)


def missing(simulator: Simulator, destination: Destination) -> dict[str, int]:
    truth = simulator.truth(since=START, until=NOW)
    lost = {}
    for table in TABLES:
        without = set(multiset(truth[table])) - set(multiset(destination.committed.get(table, [])))
        if without:
            lost[table] = len(without)
    return lost


def begun(simulator: Simulator) -> dict[str, dict[int, float]]:
    """Return by table when each message was first asked for since the last reset."""
    tables = {operation: table for table, operation in ACTIVITY.items()}
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for request in simulator.requests:
        table = tables.get(request.operation)
        if table is not None:
            found[table].setdefault(request.arguments["MsgID"], request.at)
    return found


@pytest.mark.slow
def test_killed_ten_times_nothing_is_missing_and_little_is_read_twice(
    simulator: Simulator, tmp_path: Path
) -> None:
    # The moments are numbers of messages read, not times, so that they do not depend on the speed.
    moments = random.Random(4)
    destination = Destination()
    kills = redone = asked = 0
    before: dict[str, dict[int, float]] = {}
    made_at: dict[str, float] = {}
    done = False
    while not done:
        simulator.reset_counts()
        process = start(simulator, tmp_path, destination.state, INTERVAL)
        kill_after = moments.randrange(20, 1200) if kills < KILLS else None
        errors = []
        for number, message in enumerate(lines(process), 1):
            destination.take(message)
            if message["type"] == "TRACE" and "error" in message["trace"]:
                errors.append(message["trace"]["error"])
            if number == kill_after:
                process.kill()  # what is in the pipe by now still arrives
        destination.end()
        assert process.stdout is not None
        process.stdout.close()
        done = process.wait(30) == 0
        now_begun = begun(simulator)
        for table in ACTIVITY:
            again = before.get(table, {}).keys() & now_begun[table].keys()
            # Which of these were begun after the last committed state was made: the work of one
            # interval. Others were in flight then: at most one for each worker.
            behind = {ident for ident in again if before[table][ident] >= made_at.get(table, 0.0)}
            assert len(again - behind) <= WORKERS, (table, len(again), len(behind))
            redone += len(again)
            asked += len(now_begun[table])
        assert not errors
        kills += 0 if done else 1
        before = now_begun
        made_at = {table: destination.stream_state(table).get("made_at", 0.0) for table in ACTIVITY}
        assert kills <= KILLS
    assert kills > 2, "the account is too small for this test"
    assert not missing(simulator, destination)
    assert redone < asked / 2


def test_cut_behind_any_state_nothing_that_it_counts_is_missing(
    simulator: Simulator, tmp_path: Path
) -> None:
    # A slow reader lets the queue and the pipe fill up; a state that overtakes the records it
    # counts shows only then. Every prefix that ends in a state is a possible cut, so all of them
    # are checked: what each state counts as done stands before it.
    process = start(simulator, tmp_path, None, 0.0)
    output = []
    for number, message in enumerate(lines(process)):
        if number % 100 == 0:
            time.sleep(0.02)  # the slow reader itself, not a wait for anything
        output.append(message)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(30) == 0

    total: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    list_of: dict[int, int] = {}
    for message in output:
        if message["type"] == "RECORD" and message["record"]["stream"] in ACTIVITY:
            total[message["record"]["stream"]][message["record"]["data"]["MsgID"]] += 1
        elif message["type"] == "RECORD" and message["record"]["stream"] == "messages":
            record = message["record"]["data"]
            list_of[record["MsgID"]] = record["ListID"]
    seen: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    checked = 0
    for message in output:
        if message["type"] == "RECORD" and message["record"]["stream"] in ACTIVITY:
            seen[message["record"]["stream"]][message["record"]["data"]["MsgID"]] += 1
        elif message["type"] == "STATE":
            table = message["state"]["stream"]["stream_descriptor"]["name"]
            state = message["state"]["stream"]["stream_state"]
            if table not in ACTIVITY or "done" not in state:
                continue
            for ident, rows in total[table].items():
                key = (list_of[ident], ident)
                done = [(tuple(first), tuple(last)) for first, last in state["done"]]
                if any(covers(interval, (key, key)) for interval in done):
                    assert seen[table][ident] == rows, (table, ident)
                    checked += 1
    assert checked > 1000


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_resumed_from_any_state_of_a_slow_reader_nothing_is_missing(
    simulator: Simulator, tmp_path: Path, seed: int
) -> None:
    destination = Destination()
    cut_at = random.Random(seed).randrange(5, 120)
    process = start(simulator, tmp_path, None, 0.0)
    states = 0
    for number, message in enumerate(lines(process)):
        if number % 100 == 0:
            time.sleep(0.02)  # the slow reader itself
        destination.take(message)
        states += message["type"] == "STATE"
        if states == cut_at:
            break
    process.kill()
    assert process.stdout is not None
    process.stdout.close()
    process.wait(30)
    destination.end()
    process = start(simulator, tmp_path, destination.state, 0.0)
    for message in lines(process):
        destination.take(message)
    process.stdout.close() if process.stdout else None
    assert process.wait(30) == 0
    assert not missing(simulator, destination)


def test_states_of_a_running_stream_keep_their_distance(
    simulator: Simulator, tmp_path: Path
) -> None:
    process = start(simulator, tmp_path, None, INTERVAL)
    made: dict[str, list[float]] = defaultdict(list)
    for message in lines(process):
        if message["type"] == "STATE":
            state = message["state"]["stream"]
            made[state["stream_descriptor"]["name"]].append(state["stream_state"]["made_at"])
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(30) == 0
    assert set(made) == set(TABLES)
    assert max(map(len, made.values())) > 2
    for times in made.values():
        running = times[:-1]  # the last one comes when the stream ends
        gaps = [after - before for before, after in itertools.pairwise(running)]
        assert all(gap >= INTERVAL for gap in gaps)
