"""Messages, and what happened to each: sends, bounces, opens, reads, clicks, unsubscribes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from source_listrak.account import UNKNOWN, Message, normal_instant
from source_listrak.cursor import Interval, Progress
from source_listrak.plan import StreamPlan
from source_listrak.slicing import (
    PAGES_OF_A_BLOCK,
    SENDS_SETTLE,
    Window,
    page_blocks,
    wall_end,
    wall_start,
)
from source_listrak.soap.faults import Action, ListrakError
from source_listrak.streams.base import ListrakStream, Slice

ROWS_TO_LEARN_THE_PAGE_SIZE_FOR = 10_000
"""A slice of more rows is worth waiting for its first page, to know how to divide it."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (wall-clock time, as all windows of requests)


class Messages(ListrakStream):
    """`messages`, a slice per list and window; the same requests serve the streams below."""

    name = "messages"
    operation = "ReportListMessageActivity"
    row = "WSMessageActivity"
    primary_key = ["MsgID"]
    cursor_field = "SendDate"
    reads_messages = True

    def messages_since(self, plan: StreamPlan, list_ids: list[int]) -> datetime:
        """Return the oldest send date whose messages an incremental sync emits again."""
        return min((self._start(plan, ident) for ident in list_ids), default=plan.window_end)

    def prepare(self) -> None:
        """Have the account keep the records of the windows that will be emitted."""
        done = Progress(self.plan.done)
        self.sync.account.keeps = lambda list_id, window: (
            not done.is_already_done(_key(list_id, window))
        )

    def _start(self, plan: StreamPlan, list_id: int) -> datetime:
        """Return from which send date on a list's messages are emitted: counters keep changing."""
        if plan.synced_to is None or list_id not in plan.covered:
            return plan.since
        refresh = timedelta(days=self.config.refresh_days)
        return max(plan.since, plan.synced_to - max(refresh, plan.lookback))

    def slices(self) -> Iterator[Slice]:
        """Yield a slice per list and window that can hold messages to emit."""
        last = wall_end(self.plan.window_end, self.sync.zone)
        for list_id in self.list_ids():
            first = wall_start(self._start(self.plan, list_id), self.sync.zone)
            for window in self.sync.account.windows:
                if window.end > first and window.start < last:
                    yield Slice(
                        key=_key(list_id, window),
                        label=f"list {list_id}, messages sent {window.start} to {window.end}",
                        added={"ListID": list_id},
                        window=window,
                    )

    def read_pages(self, piece: Slice) -> Iterator[list[dict[str, Any]]]:
        """Yield the messages of a window that were sent in the span of this sync."""
        assert piece.window is not None
        list_id = piece.added["ListID"]
        first = self.sync.date_of(wall_start(self._start(self.plan, list_id), self.sync.zone))
        last = self.sync.date_of(wall_end(self.plan.window_end, self.sync.zone))
        yield [
            record
            for record in self.sync.account.take_records(list_id, piece.window)
            if first <= record.get("SendDate", first) < last
        ]


class _MessageRows(ListrakStream):
    """Rows about one message; the rows do not carry MsgID, the slice does."""

    about_message = True
    reads_messages = True
    primary_key = ["MsgID", "EmailAddress"]
    counter: ClassVar[str]
    """The counter that tells how many rows there are."""

    def messages_since(self, plan: StreamPlan, list_ids: list[int]) -> datetime:
        """Return the start date: old messages are opened and clicked, too."""
        return plan.since

    def slices(self) -> Iterator[Slice]:
        """Yield a slice per message that can have rows in this sync's window."""
        first = normal_instant(self.sync.date_of(wall_start(self.plan.since, self.sync.zone)))
        last = normal_instant(self.sync.date_of(wall_end(self.plan.window_end, self.sync.zone)))
        list_ids = self.list_ids()
        done = Progress(self.plan.done)
        for index, list_id in enumerate(list_ids, start=1):
            for next_id in list_ids[index : index + 1]:
                self.sync.account.prefetch(next_id)
            try:
                messages = self.sync.account.messages(list_id)
            except ListrakError as error:
                if error.fault.action is Action.STOP:
                    raise
                yield Slice(
                    key=((list_id,), (list_id,)), label=f"messages of list {list_id}", error=error
                )
                continue
            bounces = self._bounces(list_id)
            for message in messages:
                if first <= message.sent < last:
                    piece = self._slice(list_id, message, bounces.get(message.ident, UNKNOWN))
                    if piece is None:
                        continue
                    if done.is_already_done(piece.key):
                        yield piece
                    else:
                        yield from self._blocks(piece)

    def _bounces(self, list_id: int) -> dict[int, int]:
        return {}

    def _slice(self, list_id: int, message: Message, bounces: int) -> Slice | None:
        start = self._activity_start(list_id, message)
        rows = self._expected_rows(message, bounces)
        if start is None or (rows == 0 and self.config.skip_inactive_messages):
            return None
        return Slice(
            key=((list_id, message.ident), (list_id, message.ident)),
            label=f"message {message.ident}",
            arguments=self._arguments(message.ident, start),
            added={"MsgID": message.ident},
            message=(list_id, message.ident),
            expected_rows=rows,
            # Counters count from the beginning; of a window that begins later, nobody knows.
            estimate=(
                self._estimate(message, rows)
                if start <= max(self.plan.since, message.sent)
                else None
            ),
        )

    def _blocks(self, piece: Slice) -> Iterator[Slice]:
        """Divide a slice that the counters say is large, so that several workers read it.

        Nothing rests on the estimate: a block that meets the end stops, the last one is
        open-ended. A block is keyed by its pages, so that one cut otherwise by the next attempt is
        never taken for it.
        """
        rows = piece.estimate or 0
        pages = -(-rows // self.largest_page) if self.largest_page else 0
        if pages <= 2 * PAGES_OF_A_BLOCK and (pages or rows <= ROWS_TO_LEARN_THE_PAGE_SIZE_FOR):
            yield piece
            return
        # The first page tells how large pages are; it is read here and handed on.
        try:
            piece = replace(piece, first_rows=self.fetch_page(piece, 1))
        except ListrakError as error:
            # Whoever reads the slice deals with it, without asking again.
            self.sync.breaker.check()
            yield replace(piece, first_rows=error)
            return
        pages = -(-rows // self.largest_page) if self.largest_page else 0
        if pages <= 2 * PAGES_OF_A_BLOCK:
            yield piece
            return
        for first, last in page_blocks(pages):
            yield replace(
                piece,
                key=(
                    (*piece.key[0], first) if first > 1 else piece.key[0],
                    piece.key[1] if last is None else (*piece.key[1], last),
                ),
                label=f"{piece.label}, pages {first} to {last or 'the end'}",
                first_page=first,
                last_page=last,
                first_rows=piece.first_rows if first == 1 else None,
                expected_rows=UNKNOWN,
                estimate=piece.estimate if first == 1 else 0,
            )

    def _estimate(self, message: Message, rows: int) -> int | None:
        return rows if rows >= 0 else None

    def _activity_start(self, list_id: int, message: Message) -> datetime | None:
        return self.plan.message_start(list_id, message.ident, message.sent)

    def _expected_rows(self, message: Message, bounces: int) -> int:
        return message.count(self.counter)

    def _arguments(self, message: int, start: datetime) -> dict[str, Any]:
        return {
            "MsgID": message,
            "StartDate": wall_start(start, self.sync.zone),
            "EndDate": wall_end(self.plan.window_end, self.sync.zone),
        }


class MessageClicks(_MessageRows):
    """`message_clicks`: each click on a link, repeated ones too."""

    name = "message_clicks"
    operation = "ReportRangeMessageContactClick"
    row = "WSContactClick"
    cursor_field = "ClickDate"
    date_text_fields = ("ClickDate",)
    counter = "ClickCount"


class MessageOpens(_MessageRows):
    """`message_opens`: contacts who opened a message."""

    name = "message_opens"
    operation = "ReportRangeMessageContactOpen"
    row = "WSContactOpen"
    cursor_field = "OpenDate"
    date_text_fields = ("OpenDate",)
    counter = "OpenCount"


class MessageReads(_MessageRows):
    """`message_reads`: contacts who read a message."""

    name = "message_reads"
    operation = "ReportRangeMessageContactRead"
    row = "WSContactRead"
    cursor_field = "ReadDate"
    date_text_fields = ("ReadDate",)
    counter = "ReadCount"


class MessageUnsubs(_MessageRows):
    """`message_unsubs`: contacts who asked to be removed from the list because of a message."""

    name = "message_unsubs"
    operation = "ReportRangeMessageContactRemoval"
    row = "WSContactRemovalInfo"
    cursor_field = "RemovalDate"
    date_text_fields = ("AdditionDate", "RemovalDate")
    counter = "RemoveCount"


class MessageBounces(_MessageRows):
    """`message_bounces`: addresses to which a message could not be delivered."""

    name = "message_bounces"
    operation = "ReportRangeMessageContactBounces"
    row = "WSContactBounce"
    cursor_field = "BounceDate"
    date_text_fields = ("BounceDate",)
    counter = "BounceCount"

    def _bounces(self, list_id: int) -> dict[int, int]:
        """Return the bounces told by the delivery report, which only saves requests."""
        if not self.config.skip_inactive_messages:
            return {}
        return self.sync.bounces(list_id)

    def _expected_rows(self, message: Message, bounces: int) -> int:
        return bounces


class MessageSends(_MessageRows):
    """`message_sends`: to whom a message was sent; rows carry no date."""

    name = "message_sends"
    operation = "ReportMessageContactSent"
    row = "WSMessageRecipient"
    cursor_field = "MsgID"
    counter = "DeliverCount"
    tolerates_empty_pages = True

    def messages_since(self, plan: StreamPlan, list_ids: list[int]) -> datetime:
        """Return the oldest send date whose recipients are read."""
        if plan.skipped:
            return plan.since
        return min((self._start(plan, ident) for ident in list_ids), default=plan.window_end)

    def _start(self, plan: StreamPlan, list_id: int) -> datetime:
        if plan.synced_to is None or list_id not in plan.covered:
            return plan.since
        return max(plan.since, plan.synced_to - max(SENDS_SETTLE, plan.lookback))

    def _activity_start(self, list_id: int, message: Message) -> datetime | None:
        if (list_id, message.ident) in self.plan.skipped:
            return self.plan.since
        start = self._start(self.plan, list_id)
        return start if message.sent >= start else None

    def _bounces(self, list_id: int) -> dict[int, int]:
        """Return the bounces where the delivery report is at hand anyway."""
        if not (self.config.skip_inactive_messages and self.sync.reads_bounces):
            return {}
        return self.sync.bounces(list_id)

    def _expected_rows(self, message: Message, bounces: int) -> int:
        """Return delivered and bounced together, the recipients of a message that is settled."""
        delivered = message.count("DeliverCount")
        if delivered == UNKNOWN or bounces == UNKNOWN or delivered + bounces == 0:
            # Zero delivered is no proof of no recipients: a message may still be going out.
            return UNKNOWN
        return delivered + bounces

    def _estimate(self, message: Message, rows: int) -> int | None:
        delivered = message.count("DeliverCount")
        return rows if rows >= 0 else delivered if delivered >= 0 else None

    def _arguments(self, message: int, start: datetime) -> dict[str, Any]:
        return {"MsgID": message, "WSException": None}


def _key(list_id: int, window: Window) -> Interval:
    """Return a window as a span of seconds rather than a number.

    So a window that the next attempt cuts otherwise is never taken for this one.
    """
    return (list_id, _seconds(window.start)), (list_id, _seconds(window.end) - 1)


def _seconds(wall: datetime) -> int:
    return int((wall - _EPOCH).total_seconds())
