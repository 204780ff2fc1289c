"""The entry point `source-listrak`: commands, output, signals and exit codes."""

import argparse
import contextlib
import gc
import io
import logging
import os
import select
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from airbyte_cdk import AirbyteEntrypoint, AirbyteMessage, AirbyteTracedException, Type
from airbyte_cdk.logger import is_platform_debug_log_enabled
from airbyte_cdk.sources.connector_state_manager import HashableStreamDescriptor
from airbyte_cdk.utils.memory_monitor import MemoryMonitor

from source_listrak.commands import probe, shards
from source_listrak.config import ListrakConfig
from source_listrak.errors import as_traced
from source_listrak.inputs import read_config
from source_listrak.source import Settings, SourceListrak
from source_listrak.sync.engine import SyncFailed
from source_listrak.sync.output import batch_of

EXIT_WITHIN = 3.5
"""Seconds after a signal in which the last state is written; then the process ends anyway."""

GRACE = 0.5
"""Seconds more for a write that has begun, and for a reader that closed the pipe to terminate the
process."""

MEMORY_CHECK = 100
"""Messages (records count in batches) between two looks at the container's memory."""

PROTOCOL: Mapping[str, str] = {
    "spec": "Print the form of the configuration.",
    "check": "Check the login, and that the lists and their reports can be read.",
    "discover": "Print the catalog of streams.",
    "read": "Print the records and states of the streams in a configured catalog.",
}
"""The commands of Airbyte's protocol."""

COMMANDS = {**PROTOCOL, "probe": probe.__doc__ or "", "shards": shards.__doc__ or ""}
"""All commands, each with a text whose first sentence is a summary."""

_STDOUT = 1
_SIGNAL = 128
"""Added to the number of a signal in an exit code."""

_logger = logging.getLogger("airbyte")


class Output:
    """Standard output: whole texts from any thread, written at once.

    Waits while a pipe is full, even where it is non-blocking. Python's own stream fails there, and
    no signal is handled while a thread waits for its lock.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def write(self, text: str | bytes) -> None:
        """Write a text.

        :raises BrokenPipeError: the reader is gone
        :raises OSError: it cannot be written, for example because the disk is full
        """
        rest = memoryview(text.encode() if isinstance(text, str) else text)
        with self.lock:
            while rest:
                try:
                    rest = rest[os.write(_STDOUT, rest) :]
                except BlockingIOError:
                    select.select([], [_STDOUT], [])


class SignalExit:
    """Ends the process in time after SIGTERM or SIGINT, with the last consistent state written.

    :ivar code: the exit code of the signal that arrived; 0 before
    """

    def __init__(self, source: SourceListrak, output: Output) -> None:
        self.code = 0
        self._source = source
        self._output = output
        self._is_late = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        self.code = _SIGNAL + number
        if self._is_late or self._source.breaker is None:
            _exit(self.code)
        # The signal only stops the requests; the main thread continues to write what is on the
        # queue, the state behind its records, and ends the streams as incomplete.
        for target in (self._interrupt, self._end):
            threading.Thread(target=target, daemon=True).start()

    def _interrupt(self) -> None:
        self._source.interrupt()
        name = signal.Signals(self.code - _SIGNAL).name
        _logger.warning(f"Interrupted by {name}: no more requests; writing the last state.")

    def _end(self) -> None:
        """End the process, even if the reader has stopped and the main thread waits for it."""
        time.sleep(EXIT_WITHIN)
        self._output.lock.acquire(timeout=GRACE)  # leaves no line half written
        self._is_late = True
        signal.pthread_kill(threading.main_thread().ident or 0, self.code - _SIGNAL)
        time.sleep(GRACE)
        os._exit(self.code)


def run(args: Sequence[str] | None = None, settings: Settings | None = None) -> None:
    """Run one command and exit, with code 0 only after a success.

    :param args: of the command line, by default those of the process
    :param settings: time, patience and transport
    """
    sys.stderr = sys.stderr or io.StringIO()  # None where it is closed
    gc.freeze()  # what was imported stays, so no collection has to look at it
    source, output = SourceListrak(settings), Output()
    signal_exit = SignalExit(source, output)
    code = 1
    try:
        code = _run(_parse(args), source, output)
    except SystemExit as error:  # argparse, which has printed the usage
        code = error.code if isinstance(error.code, int) else 1
    except BrokenPipeError:
        # As any other program ends; but a reader that stops early, such as PyAirbyte's
        # `get_samples`, may send SIGTERM next, and takes only its exit code for no error.
        time.sleep(0 if signal_exit.code else GRACE)
        code = _SIGNAL + signal.SIGPIPE
    except BaseException as error:  # from the output, since `_run` writes all others there
        print(f"Cannot write to standard output. {_traced(error).message}", file=sys.stderr)
    finally:
        _exit(code and (signal_exit.code or code))


def _exit(code: int) -> NoReturn:
    """Exit without waiting for workers, which may wait on a full queue or on the network.

    With the code of a signal, by this signal, as its sender expects. The first process of a
    container cannot do so; it exits with the code, as a shell does.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()  # what argparse printed
    if code > _SIGNAL:
        signal.signal(code - _SIGNAL, signal.SIG_DFL)
        signal.raise_signal(code - _SIGNAL)
    os._exit(code)


def _parse(args: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line; exits with code 2 where it is wrong."""
    about = "An Airbyte source that replicates a Listrak account."
    parser = argparse.ArgumentParser("source-listrak", description=about)
    parser.add_argument("--version", action="version", version=version("airbyte-source-listrak"))
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    for name, text in COMMANDS.items():
        summary = text.partition(".")[0].replace("\n", " ") + "."
        command = commands.add_parser(name, help=summary, description=text)
        command.add_argument("--debug", action="store_true", help="log every request")
        if name != "spec":
            command.add_argument("--config", required=True, help="the configuration, a JSON file")
        if name == "read":
            command.add_argument("--catalog", required=True, help="the configured catalog")
            command.add_argument("--state", help="the states of an earlier sync")
        if name == "shards":
            command.add_argument("--count", required=True, type=int, help="how many shards at most")
    options = parser.parse_args(args)
    if options.command == "shards" and options.count < 1:
        parser.error("argument --count: at least 1")
    if sys.stdout is None:
        parser.error("standard output is closed")
    return options


def _run(options: argparse.Namespace, source: SourceListrak, output: Output) -> int:
    """Run one command and return its exit code.

    :raises OSError: the output cannot be written
    """
    is_protocol = options.command in PROTOCOL
    _set_up_log(output if is_protocol else sys.stderr, options.debug)
    try:
        for lines in _lines(options, source):
            output.write(lines)
        return 0
    except BrokenPipeError:
        raise
    except SyncFailed as error:
        # The error of each stream was emitted; one more would hide them.
        _logger.error(error.message)
    except BaseException as error:
        traced = _traced(error)
        if is_protocol:
            _logger.fatal(traced.message)
            output.write(_as_line(traced.as_sanitized_airbyte_message()))
        else:
            print(traced.message, file=sys.stderr)
    return 1


def _lines(options: argparse.Namespace, source: SourceListrak) -> Iterator[str | bytes]:
    """Yield what a command prints, in whole lines.

    The CDK's own `run` writes the configuration, with the password, to a temporary file.
    """
    if options.command == "spec":
        yield _as_line(AirbyteMessage(type=Type.SPEC, spec=source.spec(_logger)))
        return
    config = read_config(options.config)
    AirbyteEntrypoint.set_up_secret_filter(config, ListrakConfig.connection_specification())
    if warning := ListrakConfig.warning(config):
        _logger.warning(warning)
    if options.command == "check":
        status = source.check(_logger, config)
        yield _as_line(AirbyteMessage(type=Type.CONNECTION_STATUS, connectionStatus=status))
    elif options.command == "discover":
        yield _as_line(AirbyteMessage(type=Type.CATALOG, catalog=source.discover(_logger, config)))
    elif options.command == "read":
        catalog, state = source.read_catalog(options.catalog), source.read_state(options.state)
        yield from _read(source, config, catalog, state)
    elif options.command == "probe":
        yield probe.run(ListrakConfig.parse(config), source.settings) + "\n"
    else:
        yield shards.run(ListrakConfig.parse(config), source.settings, options.count) + "\n"


def _read(source: SourceListrak, config: Any, catalog: Any, state: Any) -> Iterator[str | bytes]:
    """Yield the messages of a sync, and count the records for its states.

    :raises AirbyteTracedException: the sync failed, or the container is almost out of memory
    """
    _logger.disabled = True  # the monitor would log that it exists
    monitor = MemoryMonitor(MEMORY_CHECK)
    _logger.disabled = False
    counts: defaultdict[HashableStreamDescriptor, float] = defaultdict(float)
    for message in source.read_batches(_logger, config, catalog, state):
        batch = batch_of(message)
        if batch is None:
            yield _as_line(AirbyteEntrypoint.handle_record_counts(message, counts))
        else:
            counts[HashableStreamDescriptor(name=batch.stream)] += batch.count
            yield batch.lines
        monitor.check_memory_usage()


def _as_line(message: AirbyteMessage) -> str:
    return AirbyteEntrypoint.airbyte_message_to_string(message) + "\n"


def _traced(error: BaseException) -> AirbyteTracedException:
    """Return an error without its cause, whose text may contain row values."""
    traced = as_traced("the connector", error)
    return AirbyteTracedException(traced.internal_message, traced.message, traced.failure_type)


def _set_up_log(stream: Any, is_debug: bool) -> None:
    """Write log lines where the messages go, so that they cannot interleave."""
    # When the reader is gone, logging would print the line on stderr, past the filter of secrets.
    logging.raiseExceptions = False
    is_debug = is_debug or is_platform_debug_log_enabled()
    _logger.setLevel(logging.DEBUG if is_debug else logging.INFO)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)
