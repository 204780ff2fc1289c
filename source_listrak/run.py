"""The entry point `source-listrak`: the CDK's commands, written out and left safely."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, TextIO

from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.models import AirbyteMessage, ConnectorSpecification
from airbyte_cdk.sources import Source
from airbyte_cdk.sources.connector_state_manager import HashableStreamDescriptor
from airbyte_cdk.utils.memory_monitor import MemoryMonitor
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from source_listrak import shards
from source_listrak.config import ListrakConfig
from source_listrak.pages import page_of
from source_listrak.soap.faults import unexpected
from source_listrak.source import SourceListrak, SyncFailed, _now

LEAVE_WITHIN = 3.5
"""Seconds after a signal in which the last state is written; then the process ends anyway."""

LEAVE_AT_LAST = 0.5
"""Seconds more for what was begun to be written."""

MESSAGES_BETWEEN_CHECKS = 10
"""Messages between two looks at the memory that the container leaves: of the CDK's own 5,000, each
could be a page of 1,000 records."""

_M_ARENA_MAX = -8
"""In glibc's malloc.h."""


class ListrakEntrypoint(AirbyteEntrypoint):
    """The CDK's entry point, with pages of records, and configuration errors that name the field.

    :param output: where pages are written, in their order among the messages that are yielded
    """

    def __init__(self, source: Source, output: Output) -> None:
        super().__init__(source)
        self._output = output

    def read(
        self, source_spec: ConnectorSpecification, config: Any, catalog: Any, state: list[Any]
    ) -> Iterator[AirbyteMessage]:
        """Write the pages of records, and yield all other messages."""
        self._memory_monitor = MemoryMonitor(check_interval=MESSAGES_BETWEEN_CHECKS)
        for message in super().read(source_spec, config, catalog, state):
            page = page_of(message)
            if page is None:
                yield message
            else:
                self._output.write(page.text)

    @staticmethod
    def handle_record_counts(
        message: AirbyteMessage, stream_message_count: defaultdict[HashableStreamDescriptor, float]
    ) -> AirbyteMessage:
        """Count the records of a page, which the next state of its stream tells."""
        page = page_of(message)
        if page is not None and message.record is not None:
            name = HashableStreamDescriptor(name=message.record.stream)
            stream_message_count[name] += page.count
            return message
        return AirbyteEntrypoint.handle_record_counts(message, stream_message_count)

    @staticmethod
    def validate_connection(source_spec: ConnectorSpecification, config: Mapping[str, Any]) -> None:
        """Validate by the model; the CDK's own message names the value, not the field."""
        ListrakConfig.parse(config)


class Output(io.TextIOBase):
    """Standard output, a whole message at a time, from whichever thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Write text; messages come with their line end in one piece."""
        with self._lock:
            return self._stream.write(text)

    def flush(self) -> None:
        """Hand what was written to the reader."""
        with self._lock:
            self._stream.flush()


def run(args: list[str] | None = None) -> None:
    """Run one command and leave the process, with the exit code 0 only after a success.

    It leaves by `os._exit`: workers may wait on a full queue or on the network, and Python would
    wait for them.
    """
    # UTF-8 as the protocol has it, whatever the locale. And a buffer of its own: what Python sets
    # up with PYTHONUNBUFFERED loses the rest of a text where a signal interrupts its writing.
    output = Output(open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    _share_arenas()
    source = SourceListrak(pages=True)
    _leave_on_signals(source, output)
    code = 1
    try:
        code = _run(source, sys.argv[1:] if args is None else args, output)
        output.flush()
    except BrokenPipeError:
        # The reader is gone; there is nobody left to tell.
        code = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _run(source: SourceListrak, args: list[str], output: Output) -> int:
    if args[:1] == [shards.COMMAND]:
        return _run_shards(args[1:], output)
    entrypoint = ListrakEntrypoint(source, output)
    _log_to(output)
    try:
        parsed = entrypoint.parse_args(args)
    except SystemExit as error:  # argparse, which has told what is wrong
        return error.code if isinstance(error.code, int) else 1
    try:
        for message in entrypoint.run(parsed):
            output.write(message + "\n")
            output.flush()  # there are few of them: records are written by pages
    except SyncFailed as error:
        # Each stream has told its own error in a trace; one more would hide them.
        logging.getLogger("airbyte").error(error.message)
        return 1
    except BrokenPipeError:
        raise
    except BaseException as error:
        # Not by the CDK's excepthook: it prints the text of whatever was raised, and of what that
        # came from, which can be a value of a row.
        if not isinstance(error, AirbyteTracedException):
            error = unexpected("the connector", error)
        logging.getLogger("airbyte").fatal(error.message)
        trace = AirbyteTracedException(
            message=error.message,
            internal_message=error.internal_message,
            failure_type=error.failure_type,
        )
        output.write(entrypoint.airbyte_message_to_string(trace.as_sanitized_airbyte_message()))
        output.write("\n")
        output.flush()
        return 1
    return 0


def _run_shards(args: list[str], output: Output) -> int:
    """Print the shards of an account, or one sentence that tells what is wrong."""
    _log_to(sys.stderr)
    try:
        output.write(shards.run(args, _now()) + "\n")
    except SystemExit as error:  # argparse, which has told what is wrong
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        if not isinstance(error, AirbyteTracedException):
            error = unexpected("the connector", error)
        print(error.message, file=sys.stderr)
        return 1
    return 0


def _share_arenas() -> None:
    """Have all threads share two of glibc's arenas.

    Each of many threads would get one of its own, which keeps what its largest page once needed:
    50 MB more for an account of 10,000 messages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none, and no arenas
        mallopt(_M_ARENA_MAX, 2)


def _log_to(output: Output | TextIO) -> None:
    """Write log lines where the messages go, so that they cannot tear each other."""
    # When the reader is gone, logging would print the line on stderr, past the filter of secrets.
    logging.raiseExceptions = False
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(output)


def _leave_on_signals(source: SourceListrak, output: Output) -> None:
    """End in time on SIGTERM and SIGINT, with the last consistent state written."""

    def leave(number: int, frame: FrameType | None) -> None:
        def force() -> None:
            os._exit(128 + number)

        def leave_whole() -> None:
            # What is written so far, to its last line end; a reader that no longer reads must not
            # keep the process.
            last = threading.Timer(LEAVE_AT_LAST, force)
            last.daemon = True
            last.start()
            with contextlib.suppress(OSError, ValueError):
                output.flush()
            force()

        # The signal only stops the requests; the main thread goes on writing what is on the
        # queue, the state behind its records, and ends the streams as incomplete.
        watchdog = threading.Timer(LEAVE_WITHIN, leave_whole)
        watchdog.daemon = True
        watchdog.start()
        threading.Thread(target=source.interrupt, name="interrupt", daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
