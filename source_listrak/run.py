"""The entry point `source-listrak`: verbs, output, signals and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any, TextIO

from airbyte_cdk import AirbyteEntrypoint, AirbyteTracedException
from airbyte_cdk.models import AirbyteMessage, ConnectorSpecification
from airbyte_cdk.sources.connector_state_manager import HashableStreamDescriptor

from source_listrak.commands import probe, shards
from source_listrak.config import ListrakConfig
from source_listrak.errors import as_traced
from source_listrak.inputs import read_config
from source_listrak.source import Settings, SourceListrak, SyncFailed
from source_listrak.sync.output import batch_of

EXIT_WITHIN = 3.5
"""Seconds after a signal in which the last state is written; then the process ends anyway."""

FLUSH_WITHIN = 0.5
"""Seconds more for a write that has begun."""

COMMANDS: Mapping[str, ModuleType] = {"probe": probe, "shards": shards}
"""Commands beside those of the CDK; `run` of each returns what it prints."""


class ListrakEntrypoint(AirbyteEntrypoint):
    """The CDK's entry point, with records in batches and errors that name the field.

    :param output: where batches are written, in their order among the messages that are yielded
    """

    def __init__(self, source: SourceListrak, output: io.TextIOWrapper) -> None:
        super().__init__(source)
        self._source = source
        self._output = output.buffer

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
                self._output.write(batch.lines)

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
    # a signal interrupts its writing. It writes whole what each of several threads gives it.
    buffer = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115
    output = io.TextIOWrapper(buffer, "utf-8", write_through=True)
    code = 1
    try:
        done = _run(sys.argv[1:] if args is None else args, settings or Settings(), output)
        output.flush()
        code = done
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _run(args: list[str], settings: Settings, output: io.TextIOWrapper) -> int:
    """Run one command and return its exit code.

    :raises BrokenPipeError: the reader is gone
    """
    command = COMMANDS.get(args[0]) if args else None
    _log_to(sys.stderr if command else output)
    try:
        if command:
            output.write(_run_command(command, args, settings) + "\n")
        else:
            _run_verb(args, settings, output)
    except SystemExit as error:  # argparse, which has printed what is wrong
        return error.code if isinstance(error.code, int) else 1
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except SyncFailed as error:
        # The error of each stream was emitted; one more would hide them.
        logging.getLogger("airbyte").error(error.message)
        return 1
    except BaseException as error:
        # Not by the CDK's excepthook: it prints the text of whatever was raised, and of what
        # caused it, which can be a value of a row.
        traced = _traced(error)
        if command:
            print(traced.message, file=sys.stderr)
        else:
            logging.getLogger("airbyte").fatal(traced.message)
            message = traced.as_sanitized_airbyte_message()
            output.write(AirbyteEntrypoint.airbyte_message_to_string(message) + "\n")
        return 1
    return 0


def _run_verb(args: list[str], settings: Settings, output: io.TextIOWrapper) -> None:
    """Write the messages of one of the CDK's commands."""
    source = SourceListrak(settings)
    _exit_on_signals(source, output)
    entrypoint = ListrakEntrypoint(source, output)
    for message in entrypoint.run(entrypoint.parse_args(args)):
        output.write(message + "\n")
        output.flush()  # there are few of them: records are written in batches


def _run_command(command: ModuleType, args: list[str], settings: Settings) -> str:
    """Return what one of `COMMANDS` prints; its module's docstring is the help."""
    parser = argparse.ArgumentParser(f"source-listrak {args[0]}", description=command.__doc__)
    parser.add_argument("--config", required=True, help="the configuration, a JSON file")
    for name, keywords in command.OPTIONS.items():
        parser.add_argument(name, required=True, **keywords)
    options = vars(parser.parse_args(args[1:]))
    config = ListrakConfig.parse(read_config(options.pop("config")))
    return str(command.run(config, settings, **options))


def _traced(error: BaseException) -> AirbyteTracedException:
    """Return an error without what caused it, whose text can be a value of a row."""
    traced = as_traced("the connector", error)
    return AirbyteTracedException(traced.internal_message, traced.message, traced.failure_type)


def _log_to(stream: TextIO) -> None:
    """Write log lines where the messages go, so that they cannot tear each other."""
    # When the reader is gone, logging would print the line on stderr, past the filter of secrets.
    logging.raiseExceptions = False
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(stream)


def _exit_on_signals(source: SourceListrak, output: TextIO) -> None:
    """Exit in time on SIGTERM and SIGINT, with the last consistent state written."""

    def stop(number: int, frame: FrameType | None) -> None:
        # The signal only stops the requests; the main thread continues to write what is on the
        # queue, the state behind its records, and ends the streams as incomplete.
        _start_timer(EXIT_WITHIN, _flush_and_exit, output, 128 + number)
        _start_timer(0, source.interrupt)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _flush_and_exit(output: TextIO, code: int) -> None:
    """Write what is left, to its last line end; a reader that no longer reads cannot prevent it."""
    _start_timer(FLUSH_WITHIN, os._exit, code)
    with contextlib.suppress(OSError, ValueError):
        output.flush()
    os._exit(code)


def _start_timer(seconds: float, function: Callable[..., None], *args: object) -> None:
    timer = threading.Timer(seconds, function, args)
    timer.daemon = True
    timer.start()
