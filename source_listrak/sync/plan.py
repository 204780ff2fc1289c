"""What one stream has to read in this sync, from its configuration and its state: pure."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from source_listrak.config import ListrakConfig
from source_listrak.sync import windows
from source_listrak.sync.state import NO_START, Deferred, Done, Key, Running, StreamState
from source_listrak.tables import Table

GONE_FOR_LONG = timedelta(days=30)
"""A slice that failed in every sync for this time, for any reason, counts as gone: it is requested
once in a `CYCLE`, and no longer makes the sync fail. Airbyte disables connections that do."""

ZONE_CHANGED = "The time zone was changed, and with it all dates"


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
        """Return how far a list was read; None: never."""
        deferred = self.deferred.get((list_id,))
        if deferred is not None:
            # It may have been deferred while the clock was ahead.
            return deferred.read_to and min(deferred.read_to, self.before.synced_to or self.end)
        return self.before.synced_to if list_id in self.before.lists else None

    def start(self, list_id: int, *, weekly: bool = True) -> datetime:
        """Return the instant from which a list, the account or a conversation is read.

        :param weekly: whether the weekly tier of the list applies
        """
        read_to = self.read_to(list_id)
        if read_to is None:
            deferred = self.deferred.get((list_id,))
            return min(deferred.start, self.before.since) if deferred else self.before.since
        always = self._newest(list_id, read_to) - windows.OVERLAP
        tiers = [windows.DAILY, self._weekly] if weekly else [windows.DAILY]
        due = [self._due(tier, (list_id,), read_to) for tier in tiers]
        return max(self.before.since, min([always, *filter(None, due)]))

    @property
    def _weekly(self) -> windows.Tier:
        return windows.Tier(windows.CYCLE, self.lookback)

    def _due(self, tier: windows.Tier, key: Key, read_to: datetime) -> datetime | None:
        """Return the instant from which a tier reads a key, None if it is not due.

        If the service's reports lag or the time zone is wrong, all dates are late; the newest row
        shows by how much.
        """
        start = tier.start(key, read_to, self.end)
        return start and start - (read_to - self._newest(key[0], read_to))

    def _newest(self, list_id: int, read_to: datetime, limit: timedelta = windows.DAY) -> datetime:
        """Return the date of the newest row seen, at most `limit` before the list was read."""
        deferred = self.deferred.get((list_id,))
        newest = min(read_to, self.before.newest or read_to - windows.DAY)
        return max(read_to - limit, min(newest, deferred.start) if deferred else newest)

    def is_lasting(self, noticed: datetime) -> bool:
        """Return whether what has failed since then had failed for long at the previous sync."""
        synced_to = self.before.synced_to
        return synced_to is not None and synced_to - noticed >= GONE_FOR_LONG

    def is_postponed(self, key: Key) -> bool:
        """Return whether a slice that failed for long is not due in this sync."""
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

        Each message is read by age, counted back from `read_to`, the previous sync's end. Those of
        a month share the instants of the weekly tier, of any age, so that no message
        misses one when it grows older::

            sent     ┊ month ┊ month ┊ month ┊ month    daily          recent        new
            ─────────┴───────┴───────┴───────┴───────────┴───────────────┴───────────┴───▶ time
            due by      ◆       ◆       ◆       ◆        ●             always       end
        """
        read_to, end, zone = self.read_to(list_id), self.end, self.zone
        start, window = self.start(list_id, weekly=not table.monthly), windows.Window.of
        last = end + windows.MARGIN
        if read_to is None:
            return [windows.Cohort(window(start, last, zone), start)]
        is_daily = windows.DAILY.start((list_id,), read_to, end) is not None
        recent = read_to - (max(table.recent, table.daily) if is_daily else table.recent)
        # The newest event can be far older than the newest message, which costs a request each.
        limit = windows.DAY if table.recent else read_to - self.before.since
        newest = self._newest(list_id, read_to, limit)
        if newest == self.before.newest and not table.recent:
            newest += timedelta(seconds=1)  # the newest message itself was read
        recent = min(recent, newest)
        ages = {*table.ages, self.lookback} if table.ages else ()
        spans = [window(recent, last, zone)]
        spans += [window(read_to - age, end - age, zone) for age in ages]
        since = windows.wall_start(self.before.since, zone)
        months = windows.months(since, spans[0].end) if table.monthly else []
        edges = sorted({*months, *(max(edge, since) for span in spans for edge in span)})
        found = []
        for low, high in itertools.pairwise(edges):
            starts = [start] if any(one.start <= low < one.end for one in spans) else []
            if table.monthly:
                month = self._due(self._weekly, (list_id, low.year, low.month), read_to)
                starts += [max(self.before.since, month)] if month else []
            if starts:
                found.append(windows.Cohort(windows.Window(low, high), min(starts)))
        return found

    def state(
        self,
        lists: Iterable[int],
        deferred: Iterable[Deferred],
        done: Done | None,
        newest: datetime | None = None,
    ) -> StreamState:
        """Return the state of the window: running, or complete, when it collapses to one instant.

        :param lists: the lists of this window
        :param done: what is done of it; None: all
        :param newest: the date of the newest row seen in this sync
        """
        listed = tuple(sorted(lists))
        before = self.before.model_copy(update={"owed": tuple(deferred)})
        if done is None:
            latest = max(filter(None, (newest, before.newest)), default=None)
            newest = latest and min(self.end, latest)
            complete = {"synced_to": self.end, "lists": listed, "newest": newest}
            return before.model_copy(update=complete)
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
    reason = _restart_reason(before, config, since, now)
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
    if before.synced_to is not None and before.newest is not None and before.synced_to > now:
        remarks.append("The state is from the future; using the date of the newest row instead.")
        # That row was there; what was recorded until then is at most the lookback older.
        known = min(before.newest, now) - lookback
        before = before.model_copy(update={"synced_to": known, "newest": known})
    synced_to = before.synced_to
    if running is None:
        running = Running(end=now, full_refresh=not incremental, since=since, lists=())
    else:
        remarks.append(f"Resuming the window that ends {running.end:%Y-%m-%dT%H:%M:%SZ}.")
    floor = running.since
    if synced_to is not None and config.start_date is None:
        oldest = min([synced_to, *(one.read_to for one in before.owed if one.read_to)])
        floor = max(before.since, min(floor, config.since(oldest) - windows.CYCLE - lookback))
    covered = before.model_dump(include={"lists", "newest"})
    covered |= {"since": floor, "synced_to": synced_to}
    deferred = {}
    for one in before.owed:
        # Version 0.2.0 deferred slices without a start, and a clock that was ahead with a late one.
        start = one.start if one.start > NO_START else min(before.since, config.since(one.noticed))
        deferred[one.key] = one._replace(start=min(start, synced_to or start))
    plan = StreamPlan(nothing.model_copy(update=covered), running, deferred, lookback, config.zone)
    return plan, remarks


def _restart_reason(
    state: StreamState, config: ListrakConfig, since: datetime, now: datetime
) -> str:
    """Return why a state claims too much under the present configuration; empty if it does not."""
    if config.include_test_messages and not state.test_messages:
        return "Test messages are now included"
    zones = (state.time_zone, config.time_zone)
    if not windows.have_same_rules(*zones, min(since, state.since), now):
        return ZONE_CHANGED
    if state.synced_to is not None and state.synced_to > now and state.newest is None:
        return "The state's synced_to is in the future"
    # A default start date moves with the clock, which may be a little behind the last sync's.
    tolerance = timedelta(days=1) if config.start_date is None else timedelta()
    if state.synced_to is not None and since < state.since - tolerance:
        return "The start date was moved back"
    return ""
