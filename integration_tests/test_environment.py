"""Every command works in a poor environment, or names what is missing, without a traceback."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.messages import Result, difference
from drivers.process import QUICK, command, files, result_of
from drivers.process import run as run_command
from drivers.setups import (
    NOW,
    ROOT,
    START_DATE,
    catalog,
    make_account,
    make_config,
    make_simulator,
)
from simulator import Simulator

TABLES = ("lists", "messages", "message_opens")
PASSWORD = "S3cret-Pa55"
COMMANDS = ("spec", "check", "discover", "read", "probe", "shards")


def arguments(sim: Simulator, verb: str, folder: Path) -> list[str]:
    """Return the arguments of a command, whose files are in a folder."""
    if verb == "spec":
        return [verb]
    selected = catalog(TABLES) if verb == "read" else None
    args = files(folder, config=make_config(sim), catalog=selected)
    return [verb, *args, *(["--count", "2"] if verb == "shards" else [])]


def run(
    sim: Simulator, verb: str, folder: Path, *, prepare: str = "", module: Sequence[str] = ()
) -> Result:
    """Run a command after a line of shell that prepares its environment."""
    python, dash_m, *launch = command(now=NOW, retries=QUICK)
    started = [python, dash_m, *module, *launch, *arguments(sim, verb, folder)]
    done = subprocess.run(
        ["sh", "-c", f'{prepare}\nexec "$@"', "sh", *started],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        check=False,
    )
    result = result_of(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in result.stderr
    assert PASSWORD not in result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with make_simulator(password=PASSWORD) as simulator:
        yield simulator


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_works_on_a_read_only_file_system(
    sim: Simulator, verb: str, tmp_path: Path
) -> None:
    result = run(sim, verb, tmp_path, module=["integration_tests.read_only"])
    assert result.code == 0
    assert result.stdout


def test_the_simulated_read_only_file_system_refuses_to_write() -> None:
    hook = "import sys; from integration_tests.read_only import refuse; sys.addaudithook(refuse)"
    done = subprocess.run(
        [sys.executable, "-c", f"{hook}; open('new', 'w')"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert b"Read-only file system" in done.stderr


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_works_without_standard_error_and_input(
    sim: Simulator, verb: str, tmp_path: Path
) -> None:
    result = run(sim, verb, tmp_path, prepare="exec 0<&- 2>&-")
    assert result.code == 0
    assert result.stdout


@pytest.mark.parametrize("verb", ["spec", "shards"])
@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        ("exec >&-", "error: standard output is closed"),
        ("exec >/dev/full", "Cannot write to standard output. The machine or container of the "),
    ],
)
def test_an_output_that_cannot_be_written_is_one_sentence(
    sim: Simulator, verb: str, prepare: str, sentence: str, tmp_path: Path
) -> None:
    result = run(sim, verb, tmp_path, prepare=prepare)
    assert result.code != 0
    assert sentence in result.stderr


@pytest.mark.parametrize(
    "limit",
    ["ulimit -n 5", "ulimit -n 12", "ulimit -v 160000", "ulimit -v 260000", "ulimit -v 500000"],
)
def test_few_descriptors_or_little_memory_are_enough_or_named(
    sim: Simulator, limit: str, tmp_path: Path
) -> None:
    """The sync succeeds, or its error names what is missing."""
    result = run(sim, "read", tmp_path, prepare=limit)
    named = ("open files", "file descriptors", "allocate memory", "start new thread")
    assert bool(result.code) == bool(result.errors)
    for error in result.errors:
        assert [one for one in named if one in error["message"]], error["message"]


def test_a_response_larger_than_memory_is_not_malformed() -> None:
    """A response that does not fit into memory is an error of its own."""
    code = """
import resource
from pathlib import Path
from source_listrak.soap.xml import parse
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**21
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    parse(b"<Envelope>" + b"<b>x</b>" * 28_000 + b"</Envelope>", None, "b", list)
except MemoryError:
    print("out of memory")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.stdout == b"out of memory\n", done.stderr.decode()


def test_a_sync_waits_for_a_full_non_blocking_pipe(tmp_path: Path) -> None:
    account = make_account(recipients_per_message=2000, open_rate=1.0)
    with make_simulator(account, page_size=1000) as sim, non_blocking_pipe() as (reader, writer):
        process = subprocess.Popen(
            [*command(now=NOW), *arguments(sim, "read", tmp_path)], cwd=ROOT, stdout=writer
        )
        os.close(writer)
        with open(reader, "rb", closefd=False) as output:
            select.select([reader], [], [])
            # Nothing is read until the sync has come to a halt.
            before = -1
            while before != (before := sum(sim.counts.values())) or before < 1:
                select.select([], [], [], 0.3)
            stdout = output.read()
        assert process.wait() == 0
        result = result_of(0, stdout)
        truth = sim.truth(since=START_DATE)
        for table in TABLES:
            assert not difference(result.records(table), truth[table]), table


@contextmanager
def non_blocking_pipe() -> Iterator[tuple[int, int]]:
    """A small pipe, whose writer must not expect to wait."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    try:
        yield reader, writer
    finally:
        os.close(reader)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_nothing_on_disk(ending: signal.Signals, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    environment = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "HOME"), str(private))
    with make_simulator(latency=0.2) as sim:
        process = subprocess.Popen(
            [*command(now=NOW), *arguments(sim, "read", tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env=os.environ | environment,
        )
        assert process.stdout is not None
        assert any(b'"RECORD"' in line for line in process.stdout)
        process.send_signal(ending)
        process.communicate()
        assert process.returncode == -ending
    assert list(private.iterdir()) == []


@pytest.mark.parametrize("closes_first", [True, False])
def test_the_signal_of_a_reader_that_stops_is_the_exit_code(
    closes_first: bool, tmp_path: Path
) -> None:
    """As PyAirbyte's `get_samples`, which takes 0 and SIGTERM for no error."""
    with make_simulator(make_account(recipients_per_message=2000), page_size=1000) as sim:
        process = subprocess.Popen(
            [*command(now=NOW), *arguments(sim, "read", tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert any(b'"RECORD"' in line for line in process.stdout)
        if closes_first:
            process.stdout.close()
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
        process.stdout.close()


def test_without_a_command_the_usage_is_printed() -> None:
    done = subprocess.run(command(), cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"usage: source-listrak")
    assert b"Traceback" not in done.stderr


def test_the_help_names_every_command() -> None:
    done = subprocess.run([*command(), "--help"], cwd=ROOT, capture_output=True, check=True)
    assert [name for name in COMMANDS if f"\n    {name} " not in done.stdout.decode()] == []


def test_a_command_prints_nothing_but_its_answer() -> None:
    result = run_command("spec")
    assert [json.loads(line)["type"] for line in result.stdout.splitlines()] == ["SPEC"]
