"""A connection that syncs again and again, in this process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from drivers.inprocess import DirectService, InProcessResult, read_here
from drivers.messages import Message, Records, multiset, table_of
from drivers.setups import NINE
from simulator import RequestRecord, Truth


@dataclass(kw_only=True)
class Outcome(InProcessResult):
    """What one sync wrote and requested.

    :ivar began: the first instant that the account showed
    :ivar ended: the last one
    """

    began: datetime
    ended: datetime
    requests: list[RequestRecord] = field(default_factory=list)

    def arguments(self, operation: str) -> list[dict[str, Any]]:
        """Return the arguments of the requests for an operation."""
        return [one.arguments for one in self.requests if one.operation == operation]


class Destination:
    """Commits the records of a stream up to its last state, as Airbyte's destinations do."""

    def __init__(self) -> None:
        self.committed: dict[str, Records] = {}
        self.pending: dict[str, Records] = {}
        self._states: dict[str, dict[str, Any]] = {}

    @property
    def state(self) -> list[dict[str, Any]]:
        """What the platform passes to the next run."""
        return list(self._states.values())

    def stream_state(self, table: str) -> dict[str, Any]:
        """Return the committed state of a stream."""
        state = self._states.get(table)
        return state["stream"]["stream_state"] if state else {}

    def take(self, message: Message) -> None:
        """Receive one line of the output."""
        if message["type"] == "RECORD":
            record = message["record"]
            self.pending.setdefault(record["stream"], []).append(record["data"])
        elif message["type"] == "STATE":
            state = message["state"]
            name = table_of(state)
            self.committed.setdefault(name, []).extend(self.pending.pop(name, []))
            self._states[name] = state

    def end(self) -> None:
        """Forget what no state covers: the source is gone."""
        self.pending.clear()


class Connection:
    """One connection between a simulated account and a destination.

    :param tables: the streams that are selected
    :param options: of the configuration
    """

    def __init__(
        self, service: DirectService, tables: Iterable[str] = NINE, **options: Any
    ) -> None:
        self.service = service
        self.tables = tuple(tables)
        self.options = options
        self.destination = Destination()

    def state(self, table: str) -> dict[str, Any]:
        """Return the committed state of a stream."""
        return self.destination.stream_state(table)

    def committed(self, table: str) -> Records:
        """Return the committed records of a table."""
        return self.destination.committed.get(table, [])

    def sync(
        self,
        now: datetime,
        *,
        cut: int | None = None,
        fails: bool = False,
        mode: str = "incremental",
        tables: Iterable[str] | None = None,
        **options: Any,
    ) -> Outcome:
        """Sync at an instant, and commit what states cover.

        :param cut: stop reading after this number of messages
        :param fails: whether the sync may fail
        :param tables: instead of all
        :param options: of the configuration, for this sync and those that follow
        """
        self.options |= options
        service = self.service
        service.reset_counts()
        result = read_here(
            service,
            self.tables if tables is None else tables,
            state=self.destination.state,
            mode=mode,
            settings=service.at(now),
            cut=cut,
            take=self.destination.take,
            **self.options,
        )
        self.destination.end()
        ended = datetime.fromtimestamp(service.account.time / 1e6, timezone.utc)
        outcome = Outcome(**vars(result), began=now, ended=ended, requests=service.requests)
        if outcome.error is not None and not fails:
            raise outcome.error
        return outcome

    def missing(
        self, since: datetime, until: datetime, *, now: datetime | None = None
    ) -> dict[str, int]:
        """Count the rows that were to be seen and were not committed, by table.

        :param since: the start date
        :param until: rows dated before this instant, and those of messages sent before it
        :param now: the instant at which the account is seen; by default, as it is now
        """
        truth = Truth(self.service.account, since, until, now=now)
        found = {}
        for table in self.tables:
            have = multiset(self.committed(table))
            lost = sum(row not in have for row in multiset(truth.records(table)))
            if lost:
                found[table] = lost
        return found
