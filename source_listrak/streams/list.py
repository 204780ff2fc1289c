"""Tables sliced by list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from source_listrak.soap.faults import Action, ListrakError
from source_listrak.streams.base import ListrakStream
from source_listrak.sync import windows
from source_listrak.sync.reader import Rows
from source_listrak.sync.reports import micros_of
from source_listrak.sync.slices import Slice
from source_listrak.tables import TABLES

ANALYTICS_BATCH = 2500
"""Messages of one request for their analytics, at most (Listrak's help pages)."""


class ListStream(ListrakStream):
    """Rows of one list: all of them, or those of a span of dates."""

    _has_removals = True
    """Whether the removals of lists could be read so far."""

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the list; all of it once in a cycle where rows come and go.

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
        """Return all removals of the days around now; None where they cannot be read.

        Two days around now, so that neither the time zone nor the clock matters. A report that
        fails for one list is not requested for the others: its retries can take minutes.
        """
        if not self._has_removals:
            return None
        removals = ListStream(TABLES["list_removals"], self.config, self.context)
        zone, now = self.config.zone, self.context.now()
        arguments = {
            "ListID": slice_.key[0],
            "StartDate": windows.wall_start(min(self.plan.end, now), zone) - windows.MARGIN,
            "EndDate": windows.wall_end(now, zone) + windows.MARGIN,
        }
        request = Slice(slice_.key, slice_.subject, arguments)
        found, number, before = set[bytes](), 0, -1
        try:
            # A page without news is the end, should the service repeat its last page.
            while len(found) > before:
                before, number = len(found), number + 1
                found.update(map(orjson.dumps, removals.fetch_page(request, number).rows))
        except ListrakError as error:
            if error.fault.action is Action.STOP:
                raise
            if error.fault.action is not Action.SKIP:  # which is about this list alone
                self._has_removals = False
            self.context.logger.warning(
                f"{self.name}: the removals of {slice_.label} could not be read, so a contact that "
                "others pushed off the pages while they were read may be missing until the list's "
                f"next full read, within a week: {error.message}"
            )
            return None
        return frozenset(found)


class ReportStream(ListStream):
    """A report per list and window of dates, which other tables are sliced by, too."""

    def fetch_report(self, list_id: int, window: windows.Window | None) -> Rows:
        """Return the rows of a list in a window, all of them without one; the last row of an ID.

        :raises ListrakError: they could not be fetched
        """
        arguments: dict[str, Any] = {"ListID": list_id}
        if window is not None:
            arguments |= {
                "StartDate": window.start,
                "EndDate": window.end,
                "IncludeTestMessages": self.config.include_test_messages,
            }
        parent = {"ListID": list_id}
        page = self.fetch_page(Slice((list_id,), ("list", list_id), arguments, added=parent))
        return list({row[self.table.key[-1]]: row for row in page.rows}.values())

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the rows of a list, window by window, that were sent in the spans of this sync."""
        list_id, zone = slice_.key[0], self.config.zone
        find = windows.cohort_of(self.plan.due_cohorts(list_id, self.table), zone)
        for window, rows in self.context.reports[self.name].take_rows(list_id):
            # A window ends where the next one begins: should the service include the end, a
            # message sent at that very moment would come twice.
            end = windows.to_micros(windows.instant_of(window.end, zone)) if window else math.inf
            dated = ((micros_of(row.get("SendDate")), row) for row in rows)
            yield [row for sent, row in dated if sent < end and find(sent)]


class AnalyticsStream(ListStream):
    """Rows of many messages a request, those that a list sent."""

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the list, with the messages to request.

        The messages are awaited here and not by a worker: rows of `messages` that wait for a
        worker can hold up the shared report.
        """
        find = windows.cohort_of(self.plan.due_cohorts(list_id, self.table), self.config.zone)
        parents = self.context.reports["messages"].parent_rows(list_id)
        found = [parent[0] for parent in parents if find(parent[1]) is not None]
        yield replace(self.list_slice(list_id), arguments={"MsgIDs": found})

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the rows of a list's messages, `ANALYTICS_BATCH` messages at a time."""
        found = slice_.arguments["MsgIDs"]
        for first in range(0, len(found), ANALYTICS_BATCH):
            batch = found[first : first + ANALYTICS_BATCH]
            yield self.fetch_page(replace(slice_, arguments={"MsgIDs": batch})).rows
