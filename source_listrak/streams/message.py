"""Tables sliced by message or by conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar

from source_listrak.soap.faults import Action, ListrakError
from source_listrak.streams.base import ListrakStream
from source_listrak.sync.account import UNKNOWN
from source_listrak.sync.engine import FailedList
from source_listrak.sync.reader import Slice
from source_listrak.sync.state import Key
from source_listrak.sync.windows import Visit, visit_finder
from source_listrak.tables import COUNTERS


class ChildStream(ListrakStream):
    """Rows of one parent, which a shared report of its list names."""

    report: ClassVar[str]
    """The table whose report names the parents and has most of their counters."""
    deliveries: ClassVar[str]
    """The table whose report has the other counters."""

    def slices(self) -> Iterable[Slice | FailedList]:
        """Yield a slice per parent that can have rows in this sync's window."""
        lists = self.list_ids()
        for key in sorted(self.plan.owed):
            if len(key) > 1 and key[0] in lists and not self.plan.is_postponed(key):
                yield self.make_slice(key, self.plan.owed[key].read_to)
        for list_id in self.plan.pending(lists):
            try:
                yield from self._slices_of(list_id)
            except ListrakError as error:
                if error.fault.action is Action.STOP:
                    raise
                yield FailedList(list_id, self.plan.read_to(list_id), error)

    def make_slice(self, key: Key, read_to: datetime | None, minimum: int = UNKNOWN) -> Slice:
        """Return the slice of a parent.

        :param key: (list, parent)
        :param minimum: rows that it has at least, or UNKNOWN
        """
        _, parent = key
        column, kind = self.table.id_column, self.table.parent
        arguments: dict[str, Any] = {column: parent}
        if self.table.ranged:
            arguments |= self.span(self.plan.start(read_to))
        return Slice(
            key=key,
            label=f"{kind} {parent}",
            subject=(kind, parent),
            arguments=arguments,
            added={column: parent} if column in self.table.added else {},
            read_to=read_to,
            minimum=None if minimum == UNKNOWN else minimum,
        )

    def visit_finder(self, list_id: int) -> Callable[[int], Visit | None]:
        """Return a function from a parent's send date to the visit that it is due with."""
        raise NotImplementedError

    def _slices_of(self, list_id: int) -> Iterator[Slice]:
        find = self.visit_finder(list_id)
        counter = self._counter(list_id, self.table.counter)
        same = self.table.minimum == self.table.counter
        minimum = counter if same else self._counter(list_id, self.table.minimum)
        for parent in self.work.reports[self.report].parents(list_id):
            visit, key = find(parent[1]), (list_id, parent[0])
            if visit is None or key in self.plan.owed:
                continue  # what is owed came first, or is not due
            if counter(parent) == 0 and self.config.skip_inactive_messages:
                continue
            yield self.make_slice(key, visit.read_to, minimum(parent))

    def _counter(self, list_id: int, name: str | None) -> Callable[[Sequence[int]], int]:
        """Return a function from a row of the report to one of its counters."""
        if name in COUNTERS[self.report]:
            place = 2 + COUNTERS[self.report].index(name)
            return lambda parent: parent[place]
        counts = self._deliveries(list_id, name) if name else {}
        return lambda parent: counts.get(parent[0], UNKNOWN)

    def _deliveries(self, list_id: int, name: str) -> dict[int, int]:
        """Return a counter of the delivery report by parent; empty where it cannot be read.

        The report only saves requests: without it, every parent is requested.
        """
        report = self.work.reports.get(self.deliveries)
        if report is None:
            return {}
        place = 2 + COUNTERS[self.deliveries].index(name)
        try:
            return {parent[0]: parent[place] for parent in report.parents(list_id)}
        except ListrakError as error:
            if error.fault.action is Action.STOP:
                raise
            self.session.logger.warning(
                f"{self.name}: the delivery report of list {list_id} could not be read, so "
                f"everything in that list is requested: {error.message}"
            )
            return {}


class MessageStream(ChildStream):
    """Rows of one message; messages are visited by the date they were sent."""

    report = "messages"
    deliveries = "message_deliveries"

    def visit_finder(self, list_id: int) -> Callable[[int], Visit | None]:
        """Return the visit of a send date in this sync."""
        return visit_finder(self.plan.visits(list_id, self.table), self.config.zone)
