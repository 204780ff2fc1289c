"""What one stream has to read in this sync, from its configuration and its state: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from source_listrak.config import ListrakConfig
from source_listrak.sync.state import Done, Key, Owed, Running, StreamState
from source_listrak.sync.windows import CYCLE, Visit, next_due, visits
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
    :param owed: slices that could not be read
    """

    before: StreamState
    running: Running
    owed: Mapping[Key, Owed]
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
        owed = self.owed.get((list_id,))
        if owed is not None:
            return owed.read_to
        return self.before.synced_to if list_id in self.before.lists else None

    def start(self, read_to: datetime | None) -> datetime:
        """Return from when events are read that were read until `read_to`."""
        if read_to is None:
            return self.running.since
        return max(self.before.since, read_to - self.lookback)

    def is_postponed(self, key: Key) -> bool:
        """Return whether a slice that has been gone for long is not due in this sync."""
        owed = self.owed.get(key)
        return (
            owed is not None
            and owed.gone
            and self.end - owed.noticed > GONE_FOR_LONG
            and next_due(key, self.before.synced_to or owed.noticed, self.end) is None
        )

    def pending(self, list_ids: Iterable[int]) -> list[int]:
        """Return the lists that may have slices to read, without what is done or postponed."""
        return [
            one
            for one in list_ids
            if not (self.is_postponed((one,)) or self.running.is_list_done(one))
        ]

    def visits(self, list_id: int, table: Table) -> list[Visit]:
        """Return which messages of a list this sync reads for a table."""
        read_to = self.read_to(list_id)
        return visits(
            list_id,
            since=(self.running if read_to is None else self.before).since,
            read_to=read_to,
            until=self.end,
            recent=max(table.recent, self.lookback),
            monthly=table.monthly,
            zone=self.zone,
        )

    def state(self, lists: Iterable[int], owed: Iterable[Owed], done: Done | None) -> StreamState:
        """Return the state of the window: running, or complete, when it collapses to one instant.

        :param lists: the lists of this window
        :param done: what is done of it; None: all
        """
        listed = tuple(sorted(lists))
        before = self.before.model_copy(update={"owed": tuple(owed)})
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
        floor = max(before.since, min(floor, config.since(synced_to) - CYCLE - lookback))
    covered = {"since": floor, "synced_to": synced_to, "lists": before.lists}
    owed = {one.key: one for one in before.owed}
    plan = StreamPlan(nothing.model_copy(update=covered), running, owed, lookback, config.zone)
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
