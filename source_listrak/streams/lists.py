"""Contact lists: one request, the same that proves the login."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from source_listrak.streams.base import ListrakStream, Slice


class Lists(ListrakStream):
    """Full refresh of `lists`; keyed by ListID."""

    name = "lists"
    operation = "GetContactListCollection"
    row = "WSContactList"
    primary_key = ["ListID"]

    def slices(self) -> Iterator[Slice]:
        """Yield the one slice."""
        yield Slice(key=((0,), (0,)), label="all lists", estimate=len(self.sync.account.list_ids()))

    def read_pages(self, piece: Slice) -> Iterator[list[dict[str, Any]]]:
        """Yield the records that the login brought, of the lists to replicate."""
        selected = set(self.sync.account.list_ids())
        yield [record for record in self.sync.account.lists() if record["ListID"] in selected]
