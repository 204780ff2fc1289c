"""The process exits within five seconds, with a code that is not 0, whatever ends it."""

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
import sys
import termios
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.messages import multiset
from drivers.process import TIGHT, command, read, result_of, run, start
from drivers.setups import (
    NOW,
    START_DATE,
    TABLES,
    catalog,
    has_state,
    make_account,
    make_config,
    make_simulator,
)
from simulator import Simulator
from source_listrak import Settings
from source_listrak import run as entrypoint
from source_listrak.soap import faults

LIMIT = 5.0
ADDRESS = "jane.roe@customer.example"
PATIENT = TIGHT | {"response_seconds": 60.0}


@contextmanager
def running(
    sim: Simulator,
    verb: str = "read",
    *,
    tables: Iterable[str] = TABLES,
    launcher: list[str] | None = None,
    environment: dict[str, str] | None = None,
    **changes: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the connector with the patience of a real one."""
    given = {"config": make_config(sim, **changes)}
    if verb == "read":
        given["catalog"] = catalog(tables)
    launch = launcher or command(now=NOW, state_interval=0.0, limits=PATIENT)
    with start([*launch, verb], environment=environment, **given) as process:
        yield process


def lines_until(process: subprocess.Popen[bytes], text: bytes) -> list[bytes]:
    """Read the output to the first line that contains a text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} arrived: {lines[-3:]}")


def until(condition: Any, process: subprocess.Popen[bytes]) -> None:
    """Wait for a condition at the server, while the process runs."""
    limit = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, "the process ended before"
        assert time.monotonic() < limit, "the condition never held"
        select.select([], [], [], 0.01)


def seconds_to_end(process: subprocess.Popen[bytes]) -> float:
    began = time.monotonic()
    process.wait(timeout=LIMIT + 10)
    return time.monotonic() - began


def rest_of(process: subprocess.Popen[bytes]) -> list[bytes]:
    """Read the rest of the output, so that a full pipe stops no one."""
    assert process.stdout is not None
    return list(process.stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_the_last_state_is_written(
    number: signal.Signals,
) -> None:
    with make_simulator(latency=0.05) as sim:
        with running(sim, num_workers=2) as process:
            lines = lines_until(process, b'"type":"STATE"')
            process.send_signal(number)
            began = time.monotonic()
            lines += rest_of(process)
            process.wait()
            assert time.monotonic() - began < LIMIT
            assert process.returncode == -number
        first = result_of(process.returncode, b"".join(lines))
        assert "INCOMPLETE" in first.statuses.values()
        assert [one for one in first.logs if one.startswith(f"Interrupted by {number.name}:")]
        # What was stopped did not fail.
        assert not [one for one in first.logs if one.startswith("Summary") and " failed" in one]
        interrupted = [e for e in first.errors if e["message"] == faults.INTERRUPTED.message]
        assert interrupted
        assert {e["failure_type"] for e in interrupted} == {"transient_error"}

        # The records that a state counts were written before it, so nothing is lost.
        second = read(sim, state=first.state)
        assert second.code == 0
        truth = sim.truth(since=START_DATE)
        for table in filter(has_state, TABLES):
            both = first.records(table) + second.records(table)
            assert set(multiset(both)) == set(multiset(truth[table])), table


def test_hanging_requests_do_not_cut_the_last_state() -> None:
    """A process that is terminated while requests hang writes its last state in whole lines."""
    hanging = {"timeout": {"after": 12}}
    with make_simulator(faults=hanging) as sim, running(sim) as process:
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.extend(rest_of(process)))
        reader.start()
        until(lambda: sim.fault_counts["timeout"] >= 4, process)
        process.terminate()
        assert seconds_to_end(process) < LIMIT
        assert process.returncode != 0
        reader.join()
        assert all(isinstance(json.loads(line), dict) for line in lines)
        assert result_of(process.returncode, b"".join(lines)).state


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_signal_in_the_middle_of_a_page_loses_no_record(
    unbuffered: str,
) -> None:
    """Every record that a state counts was written before it."""
    account = make_account(
        lists=1, messages_per_list=6, recipients_per_message=4000, uniform=True, open_rate=1.0
    )
    tables = ("messages", "message_sends", "message_opens")
    unbuffered_output = {"PYTHONUNBUFFERED": unbuffered}
    with make_simulator(account, page_size=4000) as sim:
        with running(sim, tables=tables, environment=unbuffered_output) as process:
            lines = lines_until(process, b'"stream":"message_sends"')
            # A page is larger than a pipe, so its writer waits and is interrupted there.
            until(lambda: is_full(process), process)
            process.send_signal(signal.SIGTERM)
            until(lambda: has_taken_its_signal(process.pid), process)
            lines += rest_of(process)
            process.wait()
        first = result_of(process.returncode, b"".join(lines))
        second = read(sim, tables, state=first.state, limits=None)
        assert second.code == 0
        truth = sim.truth(since=START_DATE)
        for table in tables:
            both = first.records(table) + second.records(table)
            assert set(multiset(both)) == set(multiset(truth[table])), table


def is_full(process: subprocess.Popen[bytes]) -> bool:
    """Return whether many bytes wait in the pipe of the output, and no more arrive."""
    assert process.stdout is not None
    counts = array.array("i", [0]), array.array("i", [0])
    for count in counts:
        fcntl.ioctl(process.stdout, termios.FIONREAD, count)
        select.select([], [], [], 0.3)
    return counts[0][0] == counts[1][0] > 2**15


def has_taken_its_signal(pid: int) -> bool:
    """Return whether no signal is left to be delivered to a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return all(int(pending, 16) == 0 for pending in re.findall(r"(?:Shd|Sig)Pnd:\s*(\w+)", status))


@pytest.mark.parametrize("verb", ["check", "read"])
def test_a_terminated_process_exits_while_the_login_hangs(verb: str) -> None:
    with make_simulator(faults={"timeout": 1.0}) as sim, running(sim, verb) as process:
        until(lambda: sim.counts["GetContactListCollection"] == 1, process)
        process.terminate()
        assert seconds_to_end(process) < LIMIT
        assert process.returncode != 0


def test_a_terminated_process_exits_although_nothing_reads() -> None:
    """The pipe is full, then the queue: the workers and the main thread all wait."""
    account = make_account(recipients_per_message=3000)
    with make_simulator(account, page_size=1000) as sim, running(sim) as process:
        last = -1

        def is_still() -> bool:
            nonlocal last
            before, last = last, sum(sim.counts.values())
            select.select([], [], [], 0.3)
            return before == last > 5

        until(is_still, process)
        process.terminate()
        assert seconds_to_end(process) < LIMIT
        assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("after", [b'"type":"RECORD"', b'"type":"STATE"'])
def test_the_process_exits_when_the_reader_closes_the_pipe(after: bytes) -> None:
    with make_simulator(latency=0.05) as sim, running(sim, num_workers=40) as process:
        lines_until(process, after)
        assert process.stdout is not None
        process.stdout.close()
        assert seconds_to_end(process) < LIMIT
        assert process.returncode == -signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stdout = None


def raise_in_main_thread(*_: object) -> None:
    """Raise an error whose text and cause contain personal data, as an error about a row would."""
    raise ValueError(ADDRESS) from KeyError(ADDRESS)


def test_an_exception_in_the_main_thread_shows_where_without_values() -> None:
    """One error names the type and the place, and nothing of a row."""
    hanging = {"timeout": {"operations": ["ReportRangeMessageContactRead"]}}
    launcher = [sys.executable, "-m", "integration_tests.test_leaving"]
    with make_simulator(faults=hanging) as sim, running(sim, launcher=launcher) as process:
        lines = lines_until(process, b'"type":"RECORD"')
        until(lambda: sim.fault_counts["timeout"] > 0, process)
        process.send_signal(signal.SIGUSR1)
        began = time.monotonic()
        lines += rest_of(process)
        process.wait()
        assert time.monotonic() - began < LIMIT
        assert process.returncode == 1
        (error,) = result_of(1, b"".join(lines)).errors
        assert error["failure_type"] == "system_error"
        assert "ValueError" in error["message"]
        assert "run.py" in error["internal_message"]
        assert ADDRESS.encode() not in b"".join(lines)
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_the_code_of_an_unknown_command_line_is_not_0() -> None:
    done = run("read", options=["--config"])
    assert done.code == 2
    assert "usage" in done.stderr


@contextmanager
def silent(answer: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """A server that accepts requests, sends the beginning of an answer, and then nothing more."""
    received: list[bytes] = []
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
                received.append(connection.recv(65536))
                if answer:
                    connection.sendall(answer)
            for connection in held:
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/", received
        finally:
            stop.set()
            os.close(server.detach())


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n<soap"], ids=["none", "part"]
)
def test_a_check_of_a_hanging_server_takes_at_most_30_seconds(
    answer: bytes,
) -> None:
    """With the connector's own patience."""
    with silent(answer) as (url, received):
        began = time.monotonic()
        config = {"username": "demo", "password": "x", "endpoint": url}
        result = run("check", config=config, timeout=60)
        assert time.monotonic() - began < 30
        assert result.connection["status"] == "FAILED"
        assert result.connection["message"].startswith(faults.TIMEOUT.message)
        assert received


@pytest.mark.slow
def test_a_check_of_a_failing_server_takes_at_most_30_seconds() -> None:
    """With the connector's own patience."""
    with make_simulator(faults={"server_error": 1.0}) as sim:
        began = time.monotonic()
        result = run("check", config=make_config(sim), timeout=60)
        assert time.monotonic() - began < 30
        assert result.connection["message"].startswith(faults.SERVER_ERROR.message)
        assert 3 <= sim.counts["GetContactListCollection"] <= 6


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, raise_in_main_thread)
    entrypoint.run(sys.argv[1:], Settings(now=lambda: NOW))
