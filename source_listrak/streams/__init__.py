"""HttpStream-style classes, one for each parent."""

from __future__ import annotations

from source_listrak.config import ListrakConfig
from source_listrak.streams.account import AccountStream, LoginStream
from source_listrak.streams.base import ListrakStream, Session, Work
from source_listrak.streams.conversation import ConversationStream
from source_listrak.streams.list import AnalyticsStream, ListStream, ReportStream
from source_listrak.streams.message import MessageStream
from source_listrak.sync.progress import StreamCounts
from source_listrak.tables import Parent, Table

_CLASSES: dict[Parent, type[ListrakStream]] = {
    "login": LoginStream,
    "account": AccountStream,
    "list": ListStream,
    "report": ReportStream,
    "batch": AnalyticsStream,
    "message": MessageStream,
    "conversation": ConversationStream,
}


def make_stream(
    table: Table,
    config: ListrakConfig,
    session: Session | None = None,
    counts: StreamCounts | None = None,
    work: Work | None = None,
) -> ListrakStream:
    """Return the stream of a table, by its parent's class."""
    return _CLASSES[table.parent](table, config, session, counts, work)


__all__ = ["ListrakStream", "LoginStream", "ReportStream", "Session", "Work", "make_stream"]
