"""Tables sliced by list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from source_listrak.soap.faults import Action, ListrakError
from source_listrak.streams.base import ListrakStream
from source_listrak.streams.http import Context, SoapStream
from source_listrak.sync import windows
from source_listrak.sync.progress import StreamCounts
from source_listrak.sync.reader import Rows
from source_listrak.sync.reports import micros_of
from source_listrak.sync.slices import Slice
from source_listrak.tables import TABLES

ANALYTICS_BATCH = 2500
"""Messages of one request for their analytics, at most (Listrak's help pages)."""


class RecentRemovals:
    """The contacts that left their list in the days around now.

    Two days around now, so that neither the time zone nor the clock matters. A report that fails
    for one list is not requested for the others: its retries can take minutes.
    """

    def __init__(self, context: Context, counts: StreamCounts) -> None:
        self._context, self._counts = context, counts
        self._report = SoapStream(TABLES["list_removals"], context.config, context.dates)
        self._is_readable = True

    def fetch(self, slice_: Slice, end: datetime) -> frozenset[bytes] | None:
        """Return what identifies all removals of a list; None where they cannot be read.

        :param end: of the window that is being read
        """
        if not self._is_readable:
            return None
        zone, now = self._context.config.zone, self._context.now()
        window = windows.Window.of(min(end, now), now, zone)
        arguments = {
            "ListID": slice_.key[0],
            "StartDate": window.start - windows.MARGIN,
            "EndDate": window.end + windows.MARGIN,
        }
        slice_ = Slice(slice_.key, slice_.subject, arguments)
        found, number, before = set[bytes](), 0, -1
        try:
            # A page with nothing new is the end, in case the service repeats its last page.
            while len(found) > before:
                before, number = len(found), number + 1
                request = self._report.make_request(slice_, number)
                page = self._context.fetch(self._report, request, {}, self._counts)
                found.update(map(orjson.dumps, page.rows))
        except ListrakError as error:
            # A report that is gone is about this list alone.
            self._is_readable = error.fault.action is Action.SKIP
            self._context.logger.warning(
                f"{self._counts.name}: the removals of {slice_.label} could not be read, so, if "
                "contacts left during the read, others may be missing until the list's next full "
                f"read within a week: {error.message}"
            )
            return None
        return frozenset(found)


class ListStream(ListrakStream):
    """Rows of one list: all of them, or those of a span of dates."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._removals = RecentRemovals(self.context, self.counts)

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the list's slice; once per cycle a full read, where rows come and go.

        A contact that returns keeps its AdditionDate, so only a full read finds it.
        """
        read_to = self.plan.read_to(list_id)
        if (
            read_to
            and self.table.rows_can_leave
            and windows.next_due((list_id,), read_to, self.plan.end)
        ):
            yield self.make_slice((list_id,), self.plan.before.since, None)
        else:
            yield self.list_slice(list_id)

    def recent_removals(self, slice_: Slice) -> frozenset[bytes] | None:
        """Return all removals of the days around now; None where they cannot be read."""
        return self._removals.fetch(slice_, self.plan.end)


class ReportStream(ListrakStream):
    """A report per list and window of dates, which other tables are sliced by, too."""

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the rows of a list, window by window, that were sent in the spans of this sync."""
        list_id, zone = slice_.key[0], self.config.zone
        find = windows.cohort_of(self.plan.due_cohorts(list_id, self.table), zone)
        for window, rows in self.reports[self.name].take_rows(list_id):
            # A window ends where the next one begins: should the service include the end, a
            # message sent at that exact moment would arrive twice.
            end = windows.to_micros(windows.instant_of(window.end, zone)) if window else math.inf
            dated = ((micros_of(row.get("SendDate")), row) for row in rows)
            yield [row for sent, row in dated if sent < end and find(sent)]


class AnalyticsStream(ListrakStream):
    """Rows of many messages a request, those that a list sent."""

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the list, with the messages to request.

        The messages are awaited here and not by a worker: rows of `messages` that wait for a
        worker can hold up the shared report.
        """
        find = windows.cohort_of(self.plan.due_cohorts(list_id, self.table), self.config.zone)
        parents = self.reports["messages"].parent_rows(list_id)
        found = [parent.id for parent in parents if find(parent.sent)]
        yield replace(self.list_slice(list_id), arguments={"MsgIDs": found})

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the rows of a list's messages, `ANALYTICS_BATCH` messages at a time."""
        found = slice_.arguments["MsgIDs"]
        for first in range(0, len(found), ANALYTICS_BATCH):
            batch = found[first : first + ANALYTICS_BATCH]
            rows = self.fetch_page(replace(slice_, arguments={"MsgIDs": batch})).rows
            missing = len(set(batch) - {row.get("MsgID") for row in rows})
            sentence = "a response covers only some of the messages that were requested"
            self.context.count_and_warn(self.name, self.counts, "missing", missing, sentence)
            yield rows
