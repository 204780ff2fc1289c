"""What one stream has to read in this sync, from its configuration and its state: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from source_listrak.config import ListrakConfig
from source_listrak.cursor import MAX_SKIPPED, Interval, StreamState
from source_listrak.slicing import Recheck


@dataclass(frozen=True)
class StreamPlan:
    """The window of one stream, and what of it is already done.

    :param since: the start date: lists that are not covered are read from here
    :param window_end: the end of the window, exclusive; fixed at the start of the sync, and kept
        by the attempts that finish it
    :param synced_to: the end of the last complete sync, for the covered lists; None: read all
    :param covered: the lists that `synced_to` holds for
    :param only_lists: when an unfinished window is resumed, the lists it began with: one that
        appeared since is the next sync's, which reads all of it
    :param done: what earlier attempts have done of this window
    :param skipped: (list, message) that could not be reported on: asked again since the start date
    """

    since: datetime
    window_end: datetime
    synced_to: datetime | None
    covered: frozenset[int]
    only_lists: frozenset[int] | None
    done: tuple[Interval, ...]
    skipped: tuple[tuple[int, int], ...]
    lookback: timedelta
    recheck: Recheck | None
    recheck_before: Recheck | None
    test_messages: bool
    time_zone: str

    def lists(self, visible: Iterable[int]) -> list[int]:
        """Return the lists to read, ascending."""
        return sorted(
            ident for ident in visible if self.only_lists is None or ident in self.only_lists
        )

    def list_start(self, list_id: int) -> datetime:
        """Return from when a list's own rows are read."""
        if self.synced_to is None or list_id not in self.covered:
            return self.since
        return max(self.since, self.synced_to - self.lookback)

    def message_start(self, list_id: int, message: int, sent: datetime) -> datetime | None:
        """Return from when a message's activity is read; None when it is not this sync's turn."""
        if (
            self.synced_to is None
            or list_id not in self.covered
            or (list_id, message) in self.skipped
        ):
            return self.since
        start: datetime | None = self.synced_to
        if self.recheck_before != self.recheck and self.recheck_before is not None:
            # The cycle was changed: when each old message was asked last follows the former one,
            # so all are asked now, a former cycle back.
            if sent < self.synced_to - self.recheck_before.after:
                start = self.synced_to - self.recheck_before.every
        elif self.recheck is not None:
            start = self.recheck.start(message, sent, self.synced_to, self.window_end)
        return None if start is None else max(self.since, start - self.lookback)

    def running(
        self,
        lists: Iterable[int],
        done: Iterable[Interval],
        skipped: Iterable[tuple[int, int]],
    ) -> StreamState:
        """Return the state of the unfinished window."""
        return StreamState(
            synced_to=self.synced_to,
            since=self.since if self.synced_to is not None else None,
            lists=self.covered,
            test_messages=self.test_messages,
            time_zone=self.time_zone,
            recheck=_days(self.recheck_before),
            skipped=tuple(skipped),
            window_end=self.window_end,
            window_since=self.since,
            window_recheck=_days(self.recheck),
            window_lists=frozenset(lists),
            done=tuple(done),
        )

    def complete(self, lists: Iterable[int], skipped: Iterable[tuple[int, int]]) -> StreamState:
        """Return the state when the window is done: all that collapses to one instant."""
        return StreamState(
            synced_to=self.window_end,
            since=self.since,
            lists=frozenset(lists),
            test_messages=self.test_messages,
            time_zone=self.time_zone,
            recheck=_days(self.recheck),
            skipped=tuple(skipped),
        )


def make_plan(
    state: Mapping[str, Any], config: ListrakConfig, now: datetime, *, incremental: bool
) -> tuple[StreamPlan, list[str]]:
    """Return the plan of one stream and what the log has to say about its state.

    A full refresh resumes its own unfinished window (one that began without a `synced_to`) and
    otherwise ignores the state.

    :raises FutureStateVersion: the state was written by a later version of the connector
    """
    parsed, remarks = StreamState.parse(state, now)
    since = config.since(now)
    recheck = (
        Recheck(
            timedelta(days=config.recheck_after_days), timedelta(days=config.recheck_every_days)
        )
        if config.skip_inactive_messages and config.recheck_every_days > 1
        else None
    )
    if not incremental:
        own_window = parsed.window_end is not None and parsed.synced_to is None
        parsed = parsed if own_window else StreamState()
    if config.include_test_messages and not parsed.test_messages:
        remarks.append("Test messages are included anew: reading since the start date.")
        parsed = StreamState()
    if parsed.time_zone not in (None, config.time_zone):
        remarks.append("The time zone was changed, so all dates: reading since the start date.")
        parsed = StreamState()
    if parsed.synced_to is not None and parsed.since is not None and since < parsed.since:
        remarks.append("The start date was moved back: reading since the new start date.")
        parsed = StreamState()
    if parsed.window_end is not None and (
        parsed.window_since is None or since < parsed.window_since
    ):
        remarks.append("The start date was moved back: the running window starts anew.")
        parsed = replace(parsed, window_end=None)
    resumes = parsed.window_end is not None
    covers = parsed.synced_to is not None
    plan = StreamPlan(
        since=parsed.window_since if resumes and parsed.window_since else since,
        window_end=parsed.window_end or now,
        synced_to=parsed.synced_to,
        covered=parsed.lists if covers else frozenset(),
        only_lists=parsed.window_lists if resumes else None,
        done=parsed.done if resumes else (),
        skipped=parsed.skipped[-MAX_SKIPPED:],
        lookback=timedelta(days=config.lookback_days),
        # A window is finished by the cycle that it began with: what was done of it left out the
        # messages that were not due by that one. The next window sees that the cycle changed.
        recheck=_cycle(parsed.window_recheck) if resumes else recheck,
        recheck_before=_cycle(parsed.recheck) if covers else None,
        test_messages=config.include_test_messages,
        time_zone=config.time_zone,
    )
    if resumes:
        remarks.append(f"Resuming the window that ends {plan.window_end:%Y-%m-%dT%H:%M:%SZ}.")
    return plan, remarks


def _cycle(days: tuple[int, int] | None) -> Recheck | None:
    return Recheck(timedelta(days=days[0]), timedelta(days=days[1])) if days else None


def _days(recheck: Recheck | None) -> tuple[int, int] | None:
    return (recheck.after.days, recheck.every.days) if recheck else None
