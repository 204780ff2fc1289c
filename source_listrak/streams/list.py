"""Tables sliced by list."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import orjson

from source_listrak.soap.faults import Action, ListrakError
from source_listrak.streams.base import ListrakStream
from source_listrak.sync import windows
from source_listrak.sync.reader import Rows
from source_listrak.sync.reports import micros_of
from source_listrak.sync.slices import Slice

ANALYTICS_BATCH = 2500
"""Messages of one request for their analytics, at most (Listrak's help pages)."""

_CHANGES = ("list_removals", "list_address_changes")


class ListStream(ListrakStream):
    """Rows of one list: all of them, or those of a span of dates."""

    _is_changes_readable = True
    """Cleared when a report of changes fails: its retries, for each list again, take minutes."""

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the list's slice; once per cycle a full read, where rows come and go.

        A contact that returns keeps its AdditionDate, so only a full read finds it.
        """
        slice_ = self.list_slice(list_id)
        key, read_to, end = slice_.key, slice_.read_to, self.plan.end
        if self.table.rows_can_leave and read_to and windows.next_due(key, read_to, end):
            slice_ = self.make_slice(key, self.plan.before.since, None)
        yield slice_

    def recent_changes(self, slice_: Slice) -> int | None:
        """Return a number that any further change of a list changes; None where it is unknown.

        The contacts that left a list, or changed their address there, move those after them to
        other pages. Two days around now, so that neither the time zone nor the clock matters. A
        sum of hashes, since a list can have very many removals in a day.
        """
        if not self._is_changes_readable:
            return None
        now, list_id = self.context.now(), {"ListID": slice_.key[0]}
        window = windows.Window.of(min(self.plan.end, now), now, self.config.zone)
        span = {"StartDate": window.start - windows.MARGIN, "EndDate": window.end + windows.MARGIN}
        slice_ = Slice(slice_.key, slice_.subject, list_id | span, list_id)
        try:
            return sum(sum(self._pages(name, slice_)) for name in _CHANGES)
        except ListrakError as error:
            # A report that is gone is about this list alone.
            self._is_changes_readable = error.fault.action is Action.SKIP
            self.context.logger.warning(
                f"{self.name}: the changes of {slice_.label} could not be read, so, if "
                "contacts left during the read, others may be missing until the list's next full "
                f"read within a week: {error.message}"
            )
            return None

    def _pages(self, table: str, slice_: Slice) -> set[int]:
        """Return a hash of each page of a report."""
        found, report = set[int](), self.context.stream_of(table)
        fetch = partial(self.context.fetch, report, slice_, self.counts)
        for number in itertools.count(1):
            # No page is kept while the next one is awaited.
            hashes = [hash(orjson.dumps(row)) for row in fetch(number).rows]
            # A page with nothing new is the end, in case the service repeats its last page.
            if not hashes or sum(hashes) in found:
                break
            found.add(sum(hashes))
        return found


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
        found, failed = slice_.arguments["MsgIDs"], list[ListrakError]()
        for first in range(0, len(found), ANALYTICS_BATCH):
            batch = found[first : first + ANALYTICS_BATCH]
            try:
                rows = self.fetch_page(replace(slice_, arguments={"MsgIDs": batch})).rows
            except ListrakError as error:
                failed.append(error)  # the other batches are read all the same
                continue
            missing = len(set(batch) - {row.get("MsgID") for row in rows})
            sentence = "a response covers only some of the messages that were requested"
            self.context.count_and_warn(self.name, self.counts, "missing", missing, sentence)
            yield rows
        if failed:
            raise failed[0]
