"""Tables sliced by conversation: automated programs, such as a welcome series."""

from __future__ import annotations

from collections.abc import Callable

from source_listrak.streams.message import MessageStream
from source_listrak.sync.windows import Visit


class ConversationStream(MessageStream):
    """Rows of one conversation; all are visited on every sync, since they send all the time."""

    def visit_finder(self, list_id: int) -> Callable[[int], Visit | None]:
        """Return the same visit for every conversation."""
        visit = self.plan.visits(list_id, self.table)[-1]
        return lambda sent: visit
