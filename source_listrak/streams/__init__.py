"""The nine tables, in the order in which they are shown and read."""

from __future__ import annotations

from source_listrak.streams.base import ListrakStream
from source_listrak.streams.contacts import SubscribedContacts
from source_listrak.streams.lists import Lists
from source_listrak.streams.messages import (
    MessageBounces,
    MessageClicks,
    MessageOpens,
    MessageReads,
    Messages,
    MessageSends,
    MessageUnsubs,
)

STREAMS: tuple[type[ListrakStream], ...] = (
    Lists,
    Messages,
    SubscribedContacts,
    MessageSends,
    MessageBounces,
    MessageOpens,
    MessageReads,
    MessageClicks,
    MessageUnsubs,
)

__all__ = ["STREAMS", "ListrakStream"]
