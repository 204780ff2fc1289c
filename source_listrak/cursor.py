"""What a sync has done, as state: thread-safe, pure of I/O, small at any size of account.

Slices are generated in ascending order of their keys, so what is done is a few intervals of keys.
As many slices are out at once as there are workers, so there is at most one interval more.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

VERSION = 1
"""Version of the state's format."""

MAX_SKIPPED = 100
"""How many skipped messages a state remembers; the oldest are dropped first."""

Key = tuple[int, ...]
"""Where a slice stands in the order of generation; a shorter key stands for all that it begins."""

Interval = tuple[Key, Key]
"""All slices from the first key to the last one, both with all that they begin."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_KEY_PARTS = 4
_LAST = 2**63


class FutureStateVersion(Exception):
    """The state was written by a later version of the connector."""


def covers(interval: Interval, key: Interval) -> bool:
    """Tell whether `interval` holds all of a slice that reaches from key[0] to key[1]."""
    return interval[0] <= key[0] and _upper(key[1]) <= _upper(interval[1])


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of intervals, ascending; such as overlap become one."""
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= _upper(merged[-1][1]):
            if _upper(last) > _upper(merged[-1][1]):
                merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def _upper(key: Key) -> Key:
    """Return a key after all that begin with `key`."""
    return key + (_LAST,) * (_KEY_PARTS - len(key))


class Progress:
    """The slices of one stream in one sync: which are out, which are done.

    Slices are numbered as they are generated; done ones are kept as runs of numbers. A slice that
    failed stays a hole between two runs.
    """

    def __init__(self, already_done: Iterable[Interval] = ()) -> None:
        self._lock = threading.Lock()
        self._already_done = merge(already_done)
        self._next = 0
        self._parts: dict[int, int] = {}
        """Of slices that several workers read: how many of their parts are not done yet."""
        # Parallel lists, ascending: numbers and keys of the first and last slice of each run.
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._keys: list[Interval] = []

    def begin(self) -> int:
        """Return the number of the next slice in order."""
        with self._lock:
            self._next += 1
            return self._next - 1

    def divide(self, number: int) -> None:
        """Note that a slice has one more part: it is done when all of them are."""
        with self._lock:
            self._parts[number] = self._parts.get(number, 1) + 1

    def is_already_done(self, key: Interval) -> bool:
        """Tell whether an earlier attempt has done all of a slice."""
        return any(covers(interval, key) for interval in self._already_done)

    def done(self, number: int, key: Interval) -> bool:
        """Count a slice, or one part of it, whose records must be on their way to the output.

        The parts share the key of the slice and are counted together only. To resume between them
        would lose rows: when a contact unsubscribes between two attempts, those after move up, some
        from the first page of a part that is missing to the last page of one that is done.

        :return: whether all of the slice is done now
        """
        with self._lock:
            parts = self._parts.pop(number, 1) - 1
            if parts:
                self._parts[number] = parts
                return False
            at = bisect_left(self._firsts, number)
            joins_left = at > 0 and self._lasts[at - 1] == number - 1
            joins_right = at < len(self._firsts) and self._firsts[at] == number + 1
            if joins_left and joins_right:
                self._lasts[at - 1] = self._lasts[at]
                self._keys[at - 1] = (self._keys[at - 1][0], self._keys[at][1])
                del self._firsts[at], self._lasts[at], self._keys[at]
            elif joins_left:
                self._lasts[at - 1] = number
                self._keys[at - 1] = (self._keys[at - 1][0], key[1])
            elif joins_right:
                self._firsts[at] = number
                self._keys[at] = (key[0], self._keys[at][1])
            else:
                self._firsts.insert(at, number)
                self._lasts.insert(at, number)
                self._keys.insert(at, key)
            return True

    @property
    def is_all_done(self) -> bool:
        """Whether each slice that was begun is done."""
        with self._lock:
            return not self._next or (self._firsts, self._lasts) == ([0], [self._next - 1])

    def intervals(self, most: int) -> list[Interval]:
        """Return what is done, with what an earlier attempt has done.

        :param most: how many intervals; those after are forgotten and read again by the next
            attempt (only failed slices can make so many)
        """
        with self._lock:
            done = list(self._keys)
        return merge(self._already_done + done)[:most]


@dataclass(frozen=True)
class StreamState:
    """The state of one stream, as Airbyte keeps it between syncs.

    :param synced_to: all before this instant was read, of `lists`; None before the first sync
    :param since: the start date of that; an earlier one in the configuration starts anew
    :param lists: the lists that `synced_to` holds for
    :param test_messages: whether test messages were read, in all that the state counts
    :param time_zone: the zone in which the dates were read; another one makes them wrong
    :param recheck: days after and days every of the old messages' cycle
    :param skipped: (list, message) that could not be reported on and are asked again
    :param window_end: the end of the running window, None when complete
    :param window_lists: the lists of the running window
    :param window_since: the start date of the running window
    :param window_recheck: the old messages' cycle of the running window
    :param done: intervals of the running window
    """

    synced_to: datetime | None = None
    since: datetime | None = None
    lists: frozenset[int] = frozenset()
    test_messages: bool = True
    time_zone: str | None = None
    recheck: tuple[int, int] | None = None
    skipped: tuple[tuple[int, int], ...] = ()
    window_end: datetime | None = None
    window_lists: frozenset[int] = frozenset()
    window_since: datetime | None = None
    window_recheck: tuple[int, int] | None = None
    done: tuple[Interval, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return the state as Airbyte stores it."""
        state: dict[str, Any] = {"version": VERSION, "test_messages": self.test_messages}
        if self.time_zone is not None:
            state["time_zone"] = self.time_zone
        if self.synced_to is not None and self.since is not None:
            state["synced_to"] = _text(self.synced_to)
            state["since"] = _text(self.since)
            state["lists"] = sorted(self.lists)
            if self.recheck:
                state["recheck"] = list(self.recheck)
        if self.skipped:
            state["skipped"] = [list(pair) for pair in self.skipped]
        if self.window_end is not None and self.window_since is not None:
            state["window_end"] = _text(self.window_end)
            state["window_since"] = _text(self.window_since)
            if self.window_recheck:
                state["window_recheck"] = list(self.window_recheck)
            if self.window_lists != self.lists or self.synced_to is None:
                state["window_lists"] = sorted(self.window_lists)
            state["done"] = [[list(first), list(last)] for first, last in self.done]
        return state

    @classmethod
    def parse(cls, state: Mapping[str, Any], now: datetime) -> tuple[StreamState, list[str]]:
        """Return the state and what is wrong with it, one sentence for each fault.

        What cannot be understood never skips data: a cursor in the future is taken for now, a
        running window that cannot be read starts anew, and a foreign state is none.

        :raises FutureStateVersion: the state was written by a later version of the connector
        """
        if not state or state == {"__ab_no_cursor_state_message": True}:
            return cls(), []
        version = state.get("version")
        if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
            raise FutureStateVersion(version)
        if version != VERSION:
            return cls(), ["The state is not one of this connector: reading since the start date."]
        problems: list[str] = []
        zone = state.get("time_zone")
        parsed = cls(
            test_messages=state.get("test_messages") is True,
            time_zone=zone if isinstance(zone, str) else None,
        )
        synced_to, since = _instant(state.get("synced_to")), _instant(state.get("since"))
        lists = _ids(state.get("lists"))
        recheck = _recheck(state.get("recheck"))
        if None not in (synced_to, since, lists, recheck):
            assert synced_to is not None and since is not None
            assert lists is not None and recheck is not None
            if synced_to > now:
                problems.append("The state's synced_to lies in the future: taken for now.")
                synced_to = now
            parsed = replace(
                parsed,
                synced_to=synced_to,
                since=since,
                lists=lists,
                recheck=recheck or None,
            )
        elif "synced_to" in state:
            # Nor does a running window count, whose slices were read from `synced_to` on only.
            problems.append("The state's synced_to cannot be read: reading since the start date.")
            return cls(), problems
        skipped = state.get("skipped", [])
        if isinstance(skipped, list) and all(_is_key(pair, 2) for pair in skipped):
            parsed = replace(
                parsed, skipped=tuple((pair[0], pair[1]) for pair in skipped[-MAX_SKIPPED:])
            )
        else:
            problems.append("The state's skipped messages cannot be read: reading anew.")
            return cls(), problems
        if "window_end" in state:
            end, window_since = _instant(state["window_end"]), _instant(state.get("window_since"))
            window_lists = _ids(state["window_lists"]) if "window_lists" in state else parsed.lists
            done = _intervals(state.get("done"))
            window_recheck = _recheck(state.get("window_recheck"))
            if (
                end is None
                or window_since is None
                or window_lists is None
                or done is None
                or window_recheck is None
                or end > now
                or (parsed.synced_to is not None and end < parsed.synced_to)
            ):
                problems.append("The state's running window cannot be read: it starts anew.")
            else:
                parsed = replace(
                    parsed,
                    window_end=end,
                    window_since=window_since,
                    window_lists=window_lists,
                    window_recheck=window_recheck or None,
                    done=done,
                )
        return parsed, problems


def _text(instant: datetime) -> str:
    return instant.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _instant(value: object) -> datetime | None:
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None


def _ids(value: object) -> frozenset[int] | None:
    if isinstance(value, list) and all(type(item) is int for item in value):
        return frozenset(value)
    return None


def _is_key(value: object, length: int | None = None) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= _KEY_PARTS
        and (length is None or len(value) == length)
        and all(type(part) is int for part in value)
    )


def _recheck(value: object) -> tuple[int, int] | tuple[()] | None:
    """Return days after and days every, nothing where there is no cycle, None when unreadable."""
    if value is None:
        return ()
    if isinstance(value, list) and _is_key(value, 2) and all(1 <= days <= 3650 for days in value):
        return value[0], value[1]
    return None


def _intervals(value: object) -> tuple[Interval, ...] | None:
    if not isinstance(value, list):
        return None
    intervals = []
    for pair in value:
        if not (
            isinstance(pair, list) and len(pair) == 2 and _is_key(pair[0]) and _is_key(pair[1])
        ):
            return None
        first, last = tuple(pair[0]), tuple(pair[1])
        if first > _upper(last):
            return None
        intervals.append((first, last))
    return tuple(intervals)
