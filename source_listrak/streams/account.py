"""Tables of the whole account."""

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import replace

from source_listrak.streams.base import ListrakStream
from source_listrak.sync.reader import Rows
from source_listrak.sync.slices import Slice

ACCOUNT = 0
"""The account's place among the lists, in keys and states."""

LOGIN = Slice(key=(ACCOUNT,), subject=None)
"""The request for the lists, which also proves the login."""


class AccountStream(ListrakStream):
    """One slice: the account."""

    def list_ids(self) -> list[int]:
        """Return the account in place of a list, and the lists, so that the state knows them."""
        return sorted({ACCOUNT, *super().list_ids()})

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the one slice in place of the first list."""
        if list_id != ACCOUNT:
            return
        # A new list is read from the start date.
        is_covered = set(self.plan.before.lists).issuperset(self.list_ids())
        read_to = self.plan.read_to(ACCOUNT) if is_covered else None
        start = self.plan.start(ACCOUNT) if read_to else self.plan.before.since
        whole = Slice((ACCOUNT,), ("account", ACCOUNT), self.span(start), {}, start, read_to)
        yield replace(whole, only_lists=self.config.list_ids)


class LoginStream(AccountStream):
    """The lists, as returned by the login."""

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield the lists to replicate; no further request is made."""
        yield [*map(copy, self.lists)]  # a damaged row keeps what was set to null
