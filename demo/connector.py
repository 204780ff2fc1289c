"""The installed connector, run as a platform does: a process that writes one message a line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.messages import Message, parse
from drivers.process import start

COMMAND = "source-listrak"


class ConnectorError(Exception):
    """The connector failed or is not installed."""


class Connector:
    """The connector with one configuration; its log goes to `say`, a line at a time."""

    def __init__(self, config_path: Path, say: Callable[[str], None]) -> None:
        beside_python = str(Path(sys.executable).parent)
        command = shutil.which(COMMAND, path=beside_python) or shutil.which(COMMAND)
        if command is None:
            raise ConnectorError(f"the command {COMMAND} is not installed: pip install .")
        self._command = command
        self._config_path = config_path.absolute()
        self._say = say

    def check(self) -> None:
        """Prove that the account can be read.

        :raises ConnectorError: it cannot, with the connector's own explanation
        """
        status = self._first("connectionStatus", "check")
        if status["status"] != "SUCCEEDED":
            raise ConnectorError(status.get("message") or "check failed without a reason")

    def discover(self) -> list[Message]:
        """Return the streams of the account's catalog."""
        streams: list[Message] = self._first("catalog", "discover")["streams"]
        return streams

    def read(self, streams: list[Message]) -> Iterator[Message]:
        """Yield the records of streams, which are read in full, as they arrive.

        :raises ConnectorError: the connector failed, after the records that it read
        """
        yield from self._payloads("record", "read", configured_catalog(streams))

    def _first(self, kind: str, verb: str) -> Message:
        # All messages are taken, so that the process can end by itself.
        payloads = list(self._payloads(kind, verb))
        if not payloads:
            raise ConnectorError(f"{verb} returned no {kind}")
        return payloads[0]

    def _payloads(self, kind: str, verb: str, catalog: Message | None = None) -> Iterator[Message]:
        command = [self._command, verb, "--config", str(self._config_path)]
        with start(command, stderr=None, catalog=catalog) as process:
            if process.stdout is None:
                raise ConnectorError("the connector has no output")
            for message in parse(process.stdout):
                if kind in message:
                    yield message[kind]
                elif text := describe(message):
                    self._say(text)
            code = process.wait()
        if code != 0:
            raise ConnectorError(f"{COMMAND} {verb} ended with exit code {code}")


def configured_catalog(streams: list[Message]) -> Message:
    """Return the catalog that reads these streams in full."""
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


def describe(message: Message) -> str | None:
    """Return what a message other than a record says to a person, if anything."""
    if "log" in message and message["log"]["level"] not in ("DEBUG", "TRACE"):
        # The lines after the first are stack traces.
        first_line = message["log"]["message"].partition("\n")[0]
        return f"{message['log']['level']:<5} {first_line}"
    if error := message.get("trace", {}).get("error"):
        return f"ERROR {error['message']}"
    return None
