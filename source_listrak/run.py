"""The entry point `source-listrak`: verbs, output, signals and exit codes."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, BinaryIO

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.models import AirbyteMessage, ConnectorSpecification
from airbyte_cdk.sources.connector_state_manager import HashableStreamDescriptor
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak import probe, shards
from source_listrak.config import ListrakConfig
from source_listrak.errors import unexpected
from source_listrak.source import Settings, SourceListrak, SyncFailed
from source_listrak.sync.output import batch_of

EXIT_WITHIN = 3.5
"""Seconds after a signal in which the last state is written; then the process ends anyway."""

FLUSH_WITHIN = 0.5
"""Seconds more for a write that has begun."""

Command = Callable[[list[str], Settings], str]

COMMANDS: Mapping[str, Command] = {probe.COMMAND: probe.run, shards.COMMAND: shards.run}
"""Commands beside those of the CDK; each returns what it prints."""


class Output(io.TextIOBase):
    """Standard output, whole messages at a time, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write_bytes(self, data: bytes) -> None:
        """Write whole lines."""
        with self._lock:
            self._stream.write(data)

    def write(self, text: str) -> int:
        """Write whole lines."""
        self.write_bytes(text.encode())
        return len(text)

    def flush(self) -> None:
        """Pass on what was written to the reader."""
        with self._lock:
            self._stream.flush()


class ListrakEntrypoint(AirbyteEntrypoint):
    """The CDK's entry point, with records in batches and errors that name the field.

    :param output: where batches are written, in their order among the messages that are yielded
    """

    def __init__(self, source: SourceListrak, output: Output) -> None:
        super().__init__(source)
        self._source = source
        self._output = output

    def read(
        self, source_spec: ConnectorSpecification, config: Any, catalog: Any, state: list[Any]
    ) -> Iterator[AirbyteMessage]:
        """Write the batches of records, and yield all other messages."""
        self.set_up_secret_filter(config, source_spec.connectionSpecification)
        counts: defaultdict[HashableStreamDescriptor, float] = defaultdict(float)
        for message in self._source.read_batches(self.logger, config, catalog, state):
            batch = batch_of(message)
            if batch is None:
                yield self.handle_record_counts(message, counts)
            else:
                counts[HashableStreamDescriptor(name=batch.stream)] += batch.count
                self._output.write_bytes(batch.lines)

    @staticmethod
    def validate_connection(source_spec: ConnectorSpecification, config: Mapping[str, Any]) -> None:
        """Validate by the model; the CDK's own message names the value, not the field."""
        ListrakConfig.parse(config)


def run(args: list[str] | None = None, settings: Settings | None = None) -> None:
    """Run one command and exit, with code 0 only after a success.

    Exits by `os._exit`: workers may wait on a full queue or on the network, and Python would wait
    for them.

    :param args: of the command line, by default those of the process
    :param settings: time, patience and transport
    """
    # A buffer of its own: what Python sets up with PYTHONUNBUFFERED loses the rest of a text where
    # a signal interrupts its writing.
    output = Output(open(sys.stdout.fileno(), "wb", closefd=False))  # noqa: SIM115
    settings = settings or Settings()
    code = 1
    try:
        code = _run(sys.argv[1:] if args is None else args, settings, output)
        output.flush()
    except BrokenPipeError:
        code = 1  # the reader is gone
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _run(args: list[str], settings: Settings, output: Output) -> int:
    if args and args[0] in COMMANDS:
        return _run_command(COMMANDS[args[0]], args[1:], settings, output)
    source = SourceListrak(settings)
    _exit_on_signals(source, output)
    entrypoint = ListrakEntrypoint(source, output)
    _log_to(output)
    try:
        parsed = entrypoint.parse_args(args)
    except SystemExit as error:  # argparse, which has printed what is wrong
        return error.code if isinstance(error.code, int) else 1
    try:
        for message in entrypoint.run(parsed):
            output.write(message + "\n")
            output.flush()  # there are few of them: records are written in batches
    except SyncFailed as error:
        # The error of each stream was emitted; one more would hide them.
        logging.getLogger("airbyte").error(error.message)
        return 1
    except BrokenPipeError:
        raise
    except BaseException as error:
        # Not by the CDK's excepthook: it prints the text of whatever was raised, and of what
        # caused it, which can be a value of a row.
        traced = _traced(error)
        logging.getLogger("airbyte").fatal(traced.message)
        output.write(entrypoint.airbyte_message_to_string(traced.as_sanitized_airbyte_message()))
        output.write("\n")
        output.flush()
        return 1
    return 0


def _run_command(command: Command, args: list[str], settings: Settings, output: Output) -> int:
    """Print what a command returns, or one sentence that says what is wrong."""
    _log_to(sys.stderr)
    try:
        output.write(command(args, settings) + "\n")
    except SystemExit as error:  # argparse, which has printed what is wrong
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        print(_traced(error).message, file=sys.stderr)
        return 1
    return 0


def _traced(error: BaseException) -> AirbyteTracedException:
    """Return an error without what caused it, whose text can be a value of a row."""
    if not isinstance(error, AirbyteTracedException):
        error = unexpected("the connector", error)
    return AirbyteTracedException(
        message=error.message,
        internal_message=error.internal_message,
        failure_type=error.failure_type,
    )


def _log_to(output: Any) -> None:
    """Write log lines where the messages go, so that they cannot tear each other."""
    # When the reader is gone, logging would print the line on stderr, past the filter of secrets.
    logging.raiseExceptions = False
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(output)


def _exit_on_signals(source: SourceListrak, output: Output) -> None:
    """Exit in time on SIGTERM and SIGINT, with the last consistent state written."""

    def stop(number: int, frame: FrameType | None) -> None:
        def exit_now() -> None:
            os._exit(128 + number)

        def flush_and_exit() -> None:
            # What is written so far, to its last line end; a reader that no longer reads must not
            # keep the process.
            _start_timer(FLUSH_WITHIN, exit_now)
            with contextlib.suppress(OSError, ValueError):
                output.flush()
            exit_now()

        # The signal only stops the requests; the main thread continues to write what is on the
        # queue, the state behind its records, and ends the streams as incomplete.
        _start_timer(EXIT_WITHIN, flush_and_exit)
        threading.Thread(target=source.interrupt, name="interrupt", daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _start_timer(seconds: float, function: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()
