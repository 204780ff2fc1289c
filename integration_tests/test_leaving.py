"""The process ends within five seconds, with a code that is not 0, whatever ends it."""

from __future__ import annotations

import array
import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration_tests import harness
from integration_tests.conditions import NOW, SINCE, TRANSPORT, config, read, simulator
from integration_tests.simulator import AccountConfig, Simulator, SimulatorConfig

LIMIT = 5.0
PATIENT = TRANSPORT | {"ANSWER_TIMEOUT": 60.0}


@contextmanager
def running(
    sim: Simulator,
    verb: str = "read",
    launcher: list[str] | None = None,
    environment: dict[str, str] | None = None,
    **changes: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the connector; kill it at the end should it still be there."""
    given = {"config": config(sim, **changes)}
    if verb == "read":
        given["catalog"] = harness.catalog()
    with tempfile.TemporaryDirectory() as folder:
        args = harness.files(Path(folder), **given)
        command = launcher or harness.command(now=NOW, state_interval=0.0, transport=PATIENT)
        process = subprocess.Popen(
            [*command, verb, *args],
            cwd=harness.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | (environment or {}),
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def lines_until(process: subprocess.Popen[bytes], text: bytes) -> list[bytes]:
    """Read the output to the first line that holds a text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} came: {lines[-3:]}")


def until(condition: Any, process: subprocess.Popen[bytes]) -> None:
    """Wait until something is so at the server, while the process lives."""
    limit = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, "the process ended before"
        assert time.monotonic() < limit, "it never came so"
        select.select([], [], [], 0.01)


def seconds_to_end(process: subprocess.Popen[bytes]) -> float:
    began = time.monotonic()
    process.wait(timeout=LIMIT + 10)
    return time.monotonic() - began


def rest_of(process: subprocess.Popen[bytes]) -> list[bytes]:
    """Read what is left of the output, on the side, so that a full pipe stops nobody."""
    assert process.stdout is not None
    return list(process.stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_given_a_signal_in_mid_sync_then_the_last_state_is_out_and_the_next_run_reads_the_rest(
    number: signal.Signals,
) -> None:
    with simulator(latency=0.05) as sim:
        with running(sim, num_workers=2) as process:
            lines = lines_until(process, b'"type":"STATE"')
            process.send_signal(number)
            began = time.monotonic()
            lines += rest_of(process)
            process.wait()
            assert time.monotonic() - began < LIMIT
            assert process.returncode not in (0, None)
        messages = [json.loads(line) for line in lines]
        first = harness.Result(process.returncode, messages, "")
        assert "INCOMPLETE" in first.statuses.values()
        interrupted = [e for e in first.errors if "interrupted" in e["message"]]
        assert interrupted
        assert {e["failure_type"] for e in interrupted} == {"transient_error"}

        # Records that a state counts stand before it: state and records together lose nothing.
        second = read(sim, state=first.state)
        assert second.code == 0
        truth = sim.truth(since=SINCE)
        for table in set(harness.TABLES) - {"lists"}:
            both = first.records(table) + second.records(table)
            assert set(harness.multiset(both)) == set(harness.multiset(truth[table])), table


def test_given_requests_hang_when_terminated_then_the_state_before_is_out_and_no_line_is_torn() -> (
    None
):
    with simulator({"timeout": {"after": 12}}) as sim, running(sim) as process:
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.extend(rest_of(process)))
        reader.start()
        until(lambda: sim.fault_counts["timeout"] >= 4, process)
        process.terminate()
        assert seconds_to_end(process) < LIMIT
        assert process.returncode != 0
        reader.join()
        messages = [json.loads(line) for line in lines]
        assert any(message["type"] == "STATE" for message in messages)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_given_a_signal_in_the_middle_of_a_page_then_no_record_that_a_state_counts_is_lost(
    unbuffered: str,
) -> None:
    account = AccountConfig(
        lists=1, messages_per_list=6, recipients_per_message=4000, uniform=True, open_rate=1.0
    )
    with Simulator(SimulatorConfig(account=account, page_size=4000)) as sim:
        with running(sim, environment={"PYTHONUNBUFFERED": unbuffered}) as process:
            lines = lines_until(process, b'"stream":"message_sends"')
            # A page is larger than a pipe: whoever writes it waits, and is interrupted there.
            until(lambda: is_full(process), process)
            process.send_signal(signal.SIGTERM)
            until(lambda: has_taken_its_signal(process.pid), process)
            lines += rest_of(process)
            process.wait()
        messages = [json.loads(line) for line in lines]
        first = harness.Result(process.returncode, messages, "")
        second = read(sim, state=first.state)
        assert second.code == 0
        truth = sim.truth(since=SINCE)
        for table in ("message_sends", "message_opens"):
            both = first.records(table) + second.records(table)
            assert set(harness.multiset(both)) == set(harness.multiset(truth[table])), table


def is_full(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether many bytes wait in the pipe of the output, and no more come."""
    assert process.stdout is not None
    counts = array.array("i", [0]), array.array("i", [0])
    for count in counts:
        fcntl.ioctl(process.stdout, termios.FIONREAD, count)
        select.select([], [], [], 0.3)
    return counts[0][0] == counts[1][0] > 2**15


def has_taken_its_signal(pid: int) -> bool:
    """Tell whether no signal is left to be delivered to a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return all(int(pending, 16) == 0 for pending in re.findall(r"(?:Shd|Sig)Pnd:\s*(\w+)", status))


@pytest.mark.parametrize("verb", ["check", "read"])
def test_given_the_login_hangs_when_terminated_then_the_process_leaves(verb: str) -> None:
    with simulator({"timeout": 1.0}) as sim, running(sim, verb) as process:
        until(lambda: sim.counts["GetContactListCollection"] == 1, process)
        process.terminate()
        assert seconds_to_end(process) < LIMIT
        assert process.returncode != 0


def test_given_the_reader_no_longer_reads_when_terminated_then_the_process_leaves() -> None:
    """The pipe is full, then the queue: the workers and the main thread all wait."""
    with simulator() as sim:
        sim.config.account.recipients_per_message = 3000
    account = sim.config.account
    with (
        Simulator(type(sim.config)(account=account, page_size=1000)) as sim,
        running(sim) as process,
    ):
        last = -1

        def stands_still() -> bool:
            nonlocal last
            before, last = last, sum(sim.counts.values())
            select.select([], [], [], 0.3)
            return before == last > 5

        until(stands_still, process)
        process.terminate()
        assert seconds_to_end(process) < LIMIT
        assert process.returncode != 0


@pytest.mark.parametrize("after", [b'"type":"RECORD"', b'"type":"STATE"'])
def test_given_the_reader_closes_the_pipe_then_the_process_leaves(after: bytes) -> None:
    with simulator(latency=0.05) as sim, running(sim, num_workers=40) as process:
        lines_until(process, after)
        assert process.stdout is not None
        process.stdout.close()
        assert seconds_to_end(process) < LIMIT
        assert process.returncode == 1
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stdout = None


_FAILING = """
import sys
from source_listrak import run
from source_listrak.run import Output
write, records = Output.write, 0
def fail(self, text):
    global records
    if text.startswith('{"type":"RECORD"'):
        records += text.count("\\n")
        if records >= 20:
            # As an error whose text and cause hold a row.
            raise ValueError(text) from KeyError("somebody@example.com")
    return write(self, text)
Output.write = fail
run.run()
"""


def test_given_an_exception_in_the_main_thread_then_one_trace_without_values_tells_where() -> None:
    import sys

    with (
        simulator({"timeout": {"operations": ["ReportRangeMessageContactRead"]}}) as sim,
        running(sim, launcher=[sys.executable, "-c", _FAILING]) as process,
    ):
        until(lambda: sim.counts["ReportRangeSubscribedContacts"] > 0, process)
        began = time.monotonic()
        lines = rest_of(process)
        process.wait()
        assert time.monotonic() - began < LIMIT
        assert process.returncode == 1
        messages = [json.loads(line) for line in lines]
        (error,) = harness.Result(1, messages, "").errors
        assert error["failure_type"] == "system_error"
        assert "ValueError" in error["message"]
        assert "run.py" in error["internal_message"]
        told = [line for line in lines if b'"type":"RECORD"' not in line]
        assert b"@" not in b"".join(told)
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_given_an_unknown_command_line_then_the_code_is_not_0() -> None:
    done = subprocess.run(
        [*harness.command(), "read", "--config"],
        cwd=harness.ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"usage" in done.stderr


@contextmanager
def silent(answer: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes what comes, answers so much, and then says nothing more."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            held = []
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    break
                held.append(connection)
                heard.append(connection.recv(65536))
                if answer:
                    connection.sendall(answer)
            for connection in held:
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/", heard
        finally:
            stop.set()
            os.close(server.detach())


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n<soap"], ids=["none", "part"]
)
def test_given_a_server_that_hangs_when_checked_with_real_patience_then_30_seconds_are_enough(
    answer: bytes,
) -> None:
    with silent(answer) as (url, heard):
        began = time.monotonic()
        given = {"username": "demo", "password": "x", "endpoint": url}
        result = harness.run("check", config=given, timeout=60)
        assert time.monotonic() - began < 30
        assert result.connection["status"] == "FAILED"
        assert "did not answer in time" in result.connection["message"]
        assert heard


@pytest.mark.slow
def test_given_a_server_that_fails_when_checked_with_real_patience_then_30_seconds_are_enough() -> (
    None
):
    with simulator({"server_error": 1.0}) as sim:
        began = time.monotonic()
        result = harness.run("check", config=config(sim), timeout=60)
        assert time.monotonic() - began < 30
        assert "answers with errors" in result.connection["message"]
        assert 3 <= sim.counts["GetContactListCollection"] <= 6
