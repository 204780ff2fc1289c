"""The messages that a run of the connector writes, and comparisons of records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Message = dict[str, Any]
Records = list[dict[str, Any]]


def parse(lines: Iterable[bytes]) -> Iterator[Message]:
    """Yield the messages of an output as its lines arrive.

    A whole line that is no message becomes a log message, as on a platform. A last line without an
    end, which a killed process leaves, is dropped.
    """
    for line in lines:
        if not line.endswith(b"\n"):
            return
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = None
        if isinstance(message, dict) and "type" in message:
            yield message
        elif text := line.decode(errors="replace").strip():
            yield {"type": "LOG", "log": {"level": "INFO", "message": text}}


@dataclass
class Result:
    """What one run of the connector wrote.

    :ivar code: the exit code; of a source in this process, what the command would exit with
    """

    code: int
    messages: list[Message]
    stderr: str = ""
    stdout: str = field(repr=False, default="")

    def of(self, kind: str) -> list[Message]:
        """Return the messages of a type."""
        return [message for message in self.messages if message["type"] == kind]

    def records(self, table: str) -> Records:
        """Return the records of a table."""
        return [m["record"]["data"] for m in self.of("RECORD") if m["record"]["stream"] == table]

    @property
    def logs(self) -> list[str]:
        """The texts of the log."""
        return [message["log"]["message"] for message in self.of("LOG")]

    @property
    def warnings(self) -> list[str]:
        """The texts of the log's warnings and errors."""
        logs = [message["log"] for message in self.of("LOG")]
        return [log["message"] for log in logs if log["level"] in ("WARN", "ERROR", "FATAL")]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors, each with its `stream` or None."""
        traces = [message["trace"] for message in self.of("TRACE")]
        return [
            trace["error"] | {"stream": (trace["error"].get("stream_descriptor") or {}).get("name")}
            for trace in traces
            if trace["type"] == "ERROR"
        ]

    def error_of(self, table: str) -> str:
        """Return the message of a stream's only error."""
        (error,) = (error["message"] for error in self.errors if error["stream"] == table)
        return str(error)

    @property
    def statuses(self) -> dict[str, str]:
        """The last status of each stream."""
        traces = [message["trace"] for message in self.of("TRACE")]
        found = [trace["stream_status"] for trace in traces if trace["type"] == "STREAM_STATUS"]
        return {status["stream_descriptor"]["name"]: status["status"] for status in found}

    @property
    def connection(self) -> dict[str, Any]:
        """What `check` found."""
        (message,) = self.of("CONNECTION_STATUS")
        status: dict[str, Any] = message["connectionStatus"]
        return status

    @property
    def state(self) -> list[Message]:
        """The last state of each stream, as the platform passes it to the next run."""
        states = [message["state"] for message in self.of("STATE")]
        return list({table_of(state): state for state in states}.values())

    def states(self, table: str) -> list[dict[str, Any]]:
        """Return the states of a stream, in their order."""
        states = [message["state"] for message in self.of("STATE")]
        return [state["stream"]["stream_state"] for state in states if table_of(state) == table]

    def stream_state(self, table: str) -> dict[str, Any]:
        """Return the last state of a stream."""
        return self.states(table)[-1]


def table_of(state: Mapping[str, Any]) -> str:
    """Return the stream of a state."""
    return str(state["stream"]["stream_descriptor"]["name"])


def multiset(records: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return records in a form in which two collections can be compared, whatever their order."""
    return Counter(json.dumps(record, sort_keys=True, ensure_ascii=True) for record in records)


def difference(read: Iterable[Mapping[str, Any]], truth: Iterable[Mapping[str, Any]]) -> str:
    """Return how two collections of records differ; empty when they do not."""
    have, want = multiset(read), multiset(truth)
    missing, extra = want - have, have - want
    if not missing and not extra:
        return ""
    return (
        f"{missing.total()} missing, {extra.total()} too many; "
        f"first missing {next(iter(missing), None)}; first too many {next(iter(extra), None)}"
    )


def differences(
    result: Result, truth: Mapping[str, Records], tables: Iterable[str] | None = None
) -> dict[str, str]:
    """Return the tables whose records are not the truth, and how they differ.

    :param tables: by default all tables of the truth
    """
    chosen = truth if tables is None else tables
    found = {table: difference(result.records(table), truth[table]) for table in chosen}
    return {table: how for table, how in found.items() if how}
