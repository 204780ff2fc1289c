"""Runs the installed connector as a platform does: a process that writes one message a line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

Message = dict[str, Any]
Say = Callable[[str], None]
COMMAND = "source-listrak"
FRAMEWORK_CHATTER = (
    "MemoryMonitor ",
    "Starting syncing",
    "Syncing stream",
    "Marking stream",
    "Finished syncing",
)
"""How log lines begin that tell a person nothing: the streams' statuses say it better."""


class ConnectorError(Exception):
    """The connector failed, or is not there."""


class Connector:
    """The connector with one configuration; what it logs goes to `say`, a line at a time."""

    def __init__(self, config_path: Path, say: Say) -> None:
        self._config_path = config_path
        self._say = say
        self._command = _find_command()

    def check(self) -> None:
        """Prove that the account can be read.

        :raises ConnectorError: with the connector's own explanation, when it cannot
        """
        for status in self._payloads("connectionStatus", "check"):
            if status["status"] == "SUCCEEDED":
                return
            raise ConnectorError(status.get("message") or "check failed without a reason")
        raise ConnectorError("check said neither yes nor no")

    def discover(self) -> list[Message]:
        """Return the streams of the account's catalog."""
        for catalog in self._payloads("catalog", "discover"):
            streams: list[Message] = catalog["streams"]
            return streams
        raise ConnectorError("discover gave no catalog")

    def read(self, catalog_path: Path) -> Iterator[Message]:
        """Yield the records of a configured catalog, as they come."""
        yield from self._payloads("record", "read", "--catalog", str(catalog_path))

    def _payloads(self, kind: str, command: str, *arguments: str) -> Iterator[Message]:
        arguments = (command, "--config", str(self._config_path), *arguments)
        with _lines([self._command, *arguments]) as lines:
            for line in lines:
                message = _parse(line)
                if message is None:
                    self._say(line.decode(errors="replace").rstrip())
                elif kind in message:
                    yield message[kind]
                else:
                    for text in describe(message):
                        self._say(text)


def configured_catalog(streams: list[Message]) -> Message:
    """Return the catalog that reads these streams whole."""
    return {
        "streams": [
            {
                "stream": stream,
                "sync_mode": "full_refresh",
                "destination_sync_mode": "overwrite",
                "primary_key": stream.get("source_defined_primary_key"),
            }
            for stream in streams
        ]
    }


def describe(message: Message) -> Iterator[str]:
    """Yield what a message other than a record tells a person, which may be nothing."""
    if "log" in message:
        log = message["log"]
        # The lines after the first are stack traces, which belong into a platform's log.
        first_line = (log["message"].splitlines() or [""])[0]
        if log["level"] not in ("DEBUG", "TRACE") and not first_line.startswith(FRAMEWORK_CHATTER):
            yield f"{log['level']:<5} {first_line}"
    elif "trace" in message:
        trace = message["trace"]
        if "error" in trace:
            yield f"ERROR {trace['error']['message']}"
        elif "stream_status" in trace:
            status = trace["stream_status"]
            if status["status"] in ("COMPLETE", "INCOMPLETE"):
                yield f"{status['stream_descriptor']['name']}: {status['status'].lower()}"


def _find_command() -> str:
    beside_python = str(Path(sys.executable).parent)
    command = shutil.which(COMMAND, path=beside_python) or shutil.which(COMMAND)
    if command is None:
        raise ConnectorError(f"the command {COMMAND} is not installed: pip install .")
    return command


@contextmanager
def _lines(command: list[str]) -> Iterator[Iterator[bytes]]:
    """Run a command, give its output by lines, and see that it neither fails nor stays behind."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise ConnectorError("the connector has no output")
        try:
            yield iter(process.stdout)
            # An early return of the reader must not leave the writer at a full pipe.
            for _ in process.stdout:
                pass
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise ConnectorError(f"the connector ended with exit code {process.returncode}")


def _parse(line: bytes) -> Message | None:
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None
