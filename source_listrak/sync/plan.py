"""What one stream has to read in this sync, from its configuration and its state: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from source_listrak.config import ListrakConfig
from source_listrak.sync import windows
from source_listrak.sync.state import Deferred, Done, Key, Running, StreamState
from source_listrak.tables import Table

GONE_FOR_LONG = timedelta(days=30)
"""What has been gone for this time is requested once in a `CYCLE` instead of on every sync."""


@dataclass(frozen=True)
class StreamPlan:
    """What was read before, and the window that is read now.

    :param before: `synced_to` is the end of the last complete window, for its `lists`; None: read
        all. `since` is the start date for those lists: what has left a moving start date is still
        read for one cycle and the lookback, so that its last events arrive
    :param running: the window, new or resumed; no lists: all
    :param deferred: slices that could not be read
    """

    before: StreamState
    running: Running
    deferred: Mapping[Key, Deferred]
    lookback: timedelta
    zone: ZoneInfo

    @property
    def end(self) -> datetime:
        """The end of the window; fixed at its start, and kept by the attempts that finish it."""
        return self.running.end

    def list_ids(self, visible: Iterable[int]) -> list[int]:
        """Return the lists to read, ascending; a list that appeared since waits."""
        lists = self.running.lists
        return sorted(one for one in visible if not lists or one in lists)

    def read_to(self, list_id: int) -> datetime | None:
        """Return until when a list was read; None: never."""
        deferred = self.deferred.get((list_id,))
        if deferred is not None:
            return deferred.read_to
        return self.before.synced_to if list_id in self.before.lists else None

    def start(self, read_to: datetime | None) -> datetime:
        """Return from when events are read that were read until `read_to`."""
        if read_to is None:
            return self.running.since
        return max(self.before.since, read_to - self.lookback)

    def is_postponed(self, key: Key) -> bool:
        """Return whether a slice that has been gone for long is not due in this sync."""
        deferred = self.deferred.get(key)
        if not deferred or not deferred.gone or self.end - deferred.noticed <= GONE_FOR_LONG:
            return False
        after = self.before.synced_to or deferred.noticed
        return windows.next_due(key, after, self.end) is None

    def lists_to_read(self, list_ids: Iterable[int]) -> list[int]:
        """Return the lists that may have slices to read, without what is done or postponed."""
        is_done = self.running.is_list_done
        return [one for one in list_ids if not (is_done(one) or self.is_postponed((one,)))]

    def due_cohorts(self, list_id: int, table: Table) -> list[windows.Cohort]:
        """Return which messages of a list this sync reads, ascending by the date they were sent.

        Recent messages are read on every sync, from `read_to` on. Older ones are revisited by
        month of sending, each (list, month) once in a `CYCLE`, when one of its instants lies in
        (read_to, end]::

            instants of one month     ┊     ●──────────CYCLE────────────●                    ●
                                      ┊  previous                     due
            ──────────────────────────┴──────┴──┬───────────────────────┴──┬───────▶ time
                                             read_to                      end
                                      └ lookback ┘
            its activity is read from [previous − lookback .............. end)

        The previous instant was not after `read_to`, so the sync that was due then read up to its
        own window's end, which lies after that instant: nothing lies between the two windows,
        whatever the gap between the syncs. What was recent at the last sync was read up to
        `read_to`, too.
        """
        read_to, zone = self.read_to(list_id), self.zone
        start = windows.wall_start((self.before if read_to else self.running).since, zone)
        last = windows.wall_end(self.end, zone) + windows.MARGIN
        if read_to is None:
            return [windows.Cohort(windows.Window(start, last), None)]
        border = max(start, windows.wall_start(read_to - max(table.recent, self.lookback), zone))
        found = []
        while table.monthly and start < border:
            end = min(windows.next_month(start), border)
            due = windows.next_due((list_id, start.year, start.month), read_to, self.end)
            if due is not None:
                found.append(windows.Cohort(windows.Window(start, end), due - windows.CYCLE))
            start = end
        return [*found, windows.Cohort(windows.Window(border, last), read_to)]

    def state(
        self, lists: Iterable[int], deferred: Iterable[Deferred], done: Done | None
    ) -> StreamState:
        """Return the state of the window: running, or complete, when it collapses to one instant.

        :param lists: the lists of this window
        :param done: what is done of it; None: all
        """
        listed = tuple(sorted(lists))
        before = self.before.model_copy(update={"owed": tuple(deferred)})
        if done is None:
            return before.model_copy(update={"synced_to": self.end, "lists": listed})
        to, open_keys = done
        running = self.running.model_copy(update={"lists": listed, "to": to, "open": open_keys})
        return before.model_copy(update={"running": running})


def make_plan(
    state: StreamState | None, config: ListrakConfig, now: datetime, *, incremental: bool
) -> tuple[StreamPlan, list[str]]:
    """Return the plan of one stream and what the log says about its state.

    A full refresh resumes only a window that a full refresh began, and otherwise ignores the state.

    :param now: the start of this sync
    """
    since, lookback = config.since(now), timedelta(days=config.lookback_days)
    nothing = StreamState(
        since=since, test_messages=config.include_test_messages, time_zone=config.time_zone
    )
    before, remarks = state or nothing, []
    reason = _restart_reason(before, config, since)
    if reason:
        remarks.append(f"{reason}; reading from the start date.")
        before = nothing
    running = before.running
    if running is not None and (running.full_refresh == incremental or running.end > now):
        running = None
    if running is not None and since < running.since and config.start_date is not None:
        remarks.append("The start date was moved back; starting the unfinished window again.")
        running = None
    if not incremental:
        before = nothing
    synced_to = before.synced_to
    if synced_to is not None and synced_to > now:
        remarks.append("The state's synced_to is in the future; using the current time instead.")
        synced_to = now
    if running is None:
        running = Running(end=now, full_refresh=not incremental, since=since, lists=())
    else:
        remarks.append(f"Resuming the window that ends {running.end:%Y-%m-%dT%H:%M:%SZ}.")
    floor = running.since
    if synced_to is not None and config.start_date is None:
        floor = max(before.since, min(floor, config.since(synced_to) - windows.CYCLE - lookback))
    covered = {"since": floor, "synced_to": synced_to, "lists": before.lists}
    deferred = {one.key: one for one in before.owed}
    plan = StreamPlan(nothing.model_copy(update=covered), running, deferred, lookback, config.zone)
    return plan, remarks


def _restart_reason(state: StreamState, config: ListrakConfig, since: datetime) -> str:
    """Return why a state claims too much under the present configuration; empty if it does not."""
    if config.include_test_messages and not state.test_messages:
        return "Test messages are now included"
    if state.time_zone != config.time_zone:
        return "The time zone was changed, and with it all dates"
    # A default start date moves with the clock, which may be a little behind the last sync's.
    tolerance = timedelta(days=1) if config.start_date is None else timedelta()
    if state.synced_to is not None and since < state.since - tolerance:
        return "The start date was moved back"
    return ""
