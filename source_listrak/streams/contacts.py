"""Contacts who are subscribed to a list now."""

from __future__ import annotations

from collections.abc import Iterator

from source_listrak.slicing import wall_end, wall_start
from source_listrak.streams.base import ListrakStream, Slice


class SubscribedContacts(ListrakStream):
    """`subscribed_contacts`, a slice per list, by the date the contact was added."""

    name = "subscribed_contacts"
    operation = "ReportRangeSubscribedContacts"
    row = "WSContactSubscriptionInfo"
    primary_key = ["ContactID", "ListID"]
    cursor_field = "AdditionDate"

    def slices(self) -> Iterator[Slice]:
        """Yield a slice per list."""
        for list_id in self.list_ids():
            yield Slice(
                key=((list_id,), (list_id,)),
                label=f"list {list_id}",
                arguments={
                    "ListID": list_id,
                    "StartDate": wall_start(self.plan.list_start(list_id), self.sync.zone),
                    "EndDate": wall_end(self.plan.window_end, self.sync.zone),
                },
                added={"ListID": list_id},
            )
