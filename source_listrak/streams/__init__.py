"""HttpStream-style classes, by what a table is sliced by; conversations are read like messages."""

from source_listrak.streams.account import AccountStream, LoginStream
from source_listrak.streams.base import ListrakStream
from source_listrak.streams.list import AnalyticsStream, ListStream, ReportStream
from source_listrak.streams.message import MessageStream
from source_listrak.tables import SlicedBy

CLASSES: dict[SlicedBy, type[ListrakStream]] = {
    "login": LoginStream,
    "account": AccountStream,
    "list": ListStream,
    "report": ReportStream,
    "batch": AnalyticsStream,
    "message": MessageStream,
    "conversation": MessageStream,
}
