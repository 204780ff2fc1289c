"""The lists and the messages of the account, each fetched once per sync and shared by all streams.

The first caller of a thing fetches it, the others wait for that fetch; nobody waits for another
stream to be scheduled, which could deadlock.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Generic, TypeVar

from source_listrak.slicing import Window

Record = dict[str, Any]
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

UNKNOWN = -1
"""A counter that the response left out."""

COUNTERS = ("OpenCount", "ReadCount", "ClickCount", "RemoveCount", "DeliverCount")
"""The counters of `messages` that tell how much there is to read of a message."""

FetchLists = Callable[[], list[Record]]
FetchWindow = Callable[[int, Window], list[Record]]


class Once(Generic[K, T]):
    """Computes the value of each key once, whichever thread asks first, and shares it."""

    def __init__(self, compute: Callable[[K], T]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._values: dict[K, Future[T]] = {}

    def get(self, key: K) -> T:
        """Return the value; an error of its computation is everybody's."""
        with self._lock:
            future = self._values.get(key)
            is_first = future is None
            if future is None:
                future = self._values[key] = Future()
        if is_first:
            try:
                future.set_result(self._compute(key))
            except BaseException as error:
                future.set_exception(error)
                raise
        return future.result()


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the parent of its activity; counters are UNKNOWN where not told."""

    ident: int
    sent: datetime
    counters: tuple[int, ...]

    def count(self, counter: str) -> int:
        """Return a counter of `messages`."""
        return self.counters[COUNTERS.index(counter)]


class MessageTable:
    """Messages ascending by id, in 64 bytes each: an account can have very many."""

    def __init__(self, rows: Iterable[tuple[int, ...]]) -> None:
        """Take rows (id, sent in microseconds since 1970, counters); of one id the last counts."""
        ordered = sorted({row[0]: row for row in rows}.values())
        self._columns = [array("q", column) for column in zip(*ordered, strict=True)] or [
            array("q")
        ] * (2 + len(COUNTERS))

    @classmethod
    def of(cls, records: Iterable[Record]) -> MessageTable:
        """Return the table of records of `messages`."""
        return cls(
            (
                record["MsgID"],
                _micros(record.get("SendDate")),
                *(record.get(counter, UNKNOWN) for counter in COUNTERS),
            )
            for record in records
            if "MsgID" in record
        )

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[Message]:
        for ident, sent, *counters in self.rows():
            yield Message(ident, _instant(sent), tuple(counters))

    def rows(self) -> Iterator[tuple[int, ...]]:
        """Return the rows that the table was made of."""
        return zip(*self._columns, strict=True)

    def total(self, counter: str) -> int:
        """Return the sum of a counter, as far as told."""
        return sum(value for value in self._columns[2 + COUNTERS.index(counter)] if value > 0)


@dataclass(slots=True)
class _FetchedWindow:
    table: MessageTable
    records: list[Record]


class Account:
    """Lists, windows of messages and delivery reports, each asked for once.

    :param fetch_lists: asks for all lists that the user sees
    :param fetch_messages: asks for the messages of a list sent in a window
    :param fetch_delivery: asks for the delivery report of the same
    """

    def __init__(
        self,
        fetch_lists: FetchLists,
        fetch_messages: FetchWindow,
        fetch_delivery: FetchWindow,
    ) -> None:
        self._lists: Once[None, list[Record]] = Once(lambda _: fetch_lists())
        self._fetch_messages = fetch_messages
        self._fetch_delivery = fetch_delivery
        self._fetched: Once[tuple[int, Window], _FetchedWindow] = Once(self._fetch_window)
        self._tables: Once[int, MessageTable] = Once(self._merge_windows)
        self._bounces: Once[int, dict[int, int]] = Once(self._fetch_bounces)
        self._prefetcher = ThreadPoolExecutor(2, thread_name_prefix="prefetch")
        self.windows: list[Window] = []
        """The windows of messages that this sync needs."""
        self.selected: frozenset[int] | None = None
        """The lists to replicate; None: all."""
        self.keeps: Callable[[int, Window], bool] = lambda _list_id, _window: False
        """Whether the stream `messages` is going to take the records of a window."""

    def lists(self) -> list[Record]:
        """Return the records of all lists that the user sees."""
        return self._lists.get(None)

    def list_ids(self) -> list[int]:
        """Return the ids of the lists to replicate, ascending."""
        visible = {record["ListID"] for record in self.lists() if "ListID" in record}
        return sorted(visible if self.selected is None else visible & self.selected)

    def take_records(self, list_id: int, window: Window) -> list[Record]:
        """Return the records of a window of messages, which are then let go."""
        fetched = self._fetched.get((list_id, window))
        records, fetched.records = fetched.records, []
        return records

    def messages(self, list_id: int) -> MessageTable:
        """Return the messages of a list, of all windows of this sync."""
        return self._tables.get(list_id)

    def prefetch(self, list_id: int) -> None:
        """Have the messages of a list fetched while others are read; its error is kept for all."""
        self._prefetcher.submit(self._tables.get, list_id)

    def bounces(self, list_id: int) -> dict[int, int]:
        """Return BounceCount by message id, from the delivery reports of a list."""
        return self._bounces.get(list_id)

    def _fetch_window(self, key: tuple[int, Window]) -> _FetchedWindow:
        records = self._fetch_messages(*key)
        table = MessageTable.of(records)
        return _FetchedWindow(table, records if self.keeps(*key) else [])

    def _merge_windows(self, list_id: int) -> MessageTable:
        tables = [self._fetched.get((list_id, window)).table for window in self.windows]
        if len(tables) == 1:
            return tables[0]
        return MessageTable(row for table in tables for row in table.rows())

    def _fetch_bounces(self, list_id: int) -> dict[int, int]:
        return {
            record["MsgID"]: record["BounceCount"]
            for window in self.windows
            for record in self._fetch_delivery(list_id, window)
            if "MsgID" in record and "BounceCount" in record
        }


def normal_instant(text: str) -> datetime:
    """Return the instant of a date in the connector's normal form."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _micros(text: str | None) -> int:
    """Return microseconds since 1970 of a normal date; of a missing one, the start of time."""
    return 0 if text is None else round(normal_instant(text).timestamp() * 1_000_000)


def _instant(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, timezone.utc)
