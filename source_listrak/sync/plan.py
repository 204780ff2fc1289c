"""What one stream has to read in this sync, from its configuration and its state: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from source_listrak.config import ListrakConfig
from source_listrak.sync.state import Key, Owed, Running, StreamState
from source_listrak.sync.windows import CYCLE, Visit, next_due, visits
from source_listrak.tables import Table

GONE_FOR_LONG = timedelta(days=30)
"""What has been gone for this time is requested once in a `CYCLE` instead of on every sync."""


@dataclass(frozen=True)
class StreamPlan:
    """The window of one stream.

    :param since: the start date: lists that are not covered are read from here
    :param floor: the start date for covered lists: what has left a moving start date is still read
        for one cycle and the lookback, so that its last events arrive
    :param end: the end of the window; fixed at the start of the sync, and kept by the attempts
        that finish it
    :param synced_to: the end of the last complete window, for the covered lists; None: read all
    :param covered: the lists that `synced_to` holds for
    :param lists: the lists of a window that is resumed; None: all
    :param owed: slices that could not be read
    :param running: the window that is resumed
    """

    since: datetime
    floor: datetime
    end: datetime
    synced_to: datetime | None
    covered: frozenset[int]
    lists: frozenset[int] | None
    owed: Mapping[Key, Owed]
    running: Running | None
    full_refresh: bool
    lookback: timedelta
    test_messages: bool
    zone: ZoneInfo

    def list_ids(self, visible: Iterable[int]) -> list[int]:
        """Return the lists to read, ascending; a list that appeared since waits."""
        return sorted(one for one in visible if self.lists is None or one in self.lists)

    def read_to(self, list_id: int) -> datetime | None:
        """Return until when a list was read; None: never."""
        owed = self.owed.get((list_id,))
        if owed is not None:
            return owed.read_to
        return self.synced_to if list_id in self.covered else None

    def start(self, read_to: datetime | None) -> datetime:
        """Return from when events are read that were read until `read_to`."""
        return self.since if read_to is None else max(self.floor, read_to - self.lookback)

    def is_postponed(self, key: Key) -> bool:
        """Return whether a slice that has been gone for long is not due in this sync."""
        owed = self.owed.get(key)
        return (
            owed is not None
            and owed.gone
            and self.end - owed.noticed > GONE_FOR_LONG
            and next_due(key, self.synced_to or owed.noticed, self.end) is None
        )

    def is_done(self, key: Key) -> bool:
        """Return whether an earlier attempt finished a slice of this window."""
        return self.running is not None and self.running.is_done(key)

    def pending(self, list_ids: Iterable[int]) -> list[int]:
        """Return the lists that may have slices to read, without what is done or postponed."""
        return [
            one
            for one in list_ids
            if not self.is_postponed((one,))
            and not (self.running is not None and self.running.is_list_done(one))
        ]

    def visits(self, list_id: int, table: Table) -> list[Visit]:
        """Return which messages of a list this sync reads for a table."""
        read_to = self.read_to(list_id)
        return visits(
            list_id,
            since=self.since if read_to is None else self.floor,
            read_to=read_to,
            until=self.end,
            recent=max(table.recent, self.lookback),
            monthly=table.monthly,
            zone=self.zone,
        )

    def state(
        self,
        lists: Iterable[int],
        owed: Iterable[Owed],
        *,
        to: Key | None = None,
        open_keys: tuple[Key, ...] = (),
        complete: bool = False,
    ) -> StreamState:
        """Return the state of the window: running, or complete, when it collapses to one instant.

        :param lists: the lists of this window
        :param to: all slices up to this one are done
        :param open_keys: except these
        """
        if complete:
            return StreamState(
                since=self.since if self.synced_to is None else self.floor,
                test_messages=self.test_messages,
                time_zone=self.zone.key,
                synced_to=self.end,
                lists=tuple(sorted(lists)),
                owed=tuple(owed),
            )
        return StreamState(
            since=self.floor,
            test_messages=self.test_messages,
            time_zone=self.zone.key,
            synced_to=self.synced_to,
            lists=tuple(sorted(self.covered)),
            owed=tuple(owed),
            running=Running(
                end=self.end,
                full_refresh=self.full_refresh,
                since=self.since,
                lists=tuple(sorted(lists)),
                to=to,
                open=open_keys,
            ),
        )


def make_plan(
    state: StreamState | None, config: ListrakConfig, now: datetime, *, incremental: bool
) -> tuple[StreamPlan, list[str]]:
    """Return the plan of one stream and what the log says about its state.

    A full refresh resumes only a window that a full refresh began, and otherwise ignores the state.

    :param now: the start of this sync
    """
    since = config.since(now)
    lookback = timedelta(days=config.lookback_days)
    remarks = []
    if state is not None:
        reason = _restart_reason(state, config, since)
        if reason:
            remarks.append(f"{reason}; reading from the start date.")
            state = None
    running = state.running if state else None
    if running is not None and (running.full_refresh == incremental or running.end > now):
        running = None
    if running is not None and since < running.since and config.start_date is not None:
        remarks.append("The start date was moved back; starting the unfinished window again.")
        running = None
    if not incremental:
        state = None
    synced_to = state.synced_to if state else None
    if synced_to is not None and synced_to > now:
        remarks.append("The state's synced_to is in the future; using the current time instead.")
        synced_to = now
    if running is not None:
        remarks.append(f"Resuming the window that ends {running.end:%Y-%m-%dT%H:%M:%SZ}.")
        since = running.since
    floor = since
    if state is not None and synced_to is not None and config.start_date is None:
        floor = max(state.since, min(since, config.since(synced_to) - CYCLE - lookback))
    plan = StreamPlan(
        since=since,
        floor=floor,
        end=running.end if running else now,
        synced_to=synced_to,
        covered=frozenset(state.lists) if state and synced_to else frozenset(),
        lists=frozenset(running.lists) if running else None,
        owed={owed.key: owed for owed in state.owed} if state else {},
        running=running,
        full_refresh=not incremental,
        lookback=lookback,
        test_messages=config.include_test_messages,
        zone=config.zone,
    )
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
