"""Tables of the whole account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from typing import Any

from source_listrak.streams.base import ListrakStream
from source_listrak.sync.reader import Rows
from source_listrak.sync.slices import Slice

ACCOUNT = 0
"""The account's place among the lists, in keys and states."""


class AccountStream(ListrakStream):
    """One slice: the account."""

    def list_ids(self) -> list[int]:
        """Return the account in place of a list, and the lists, so that the state knows them."""
        return sorted({ACCOUNT, *super().list_ids()})

    def slices_of(self, list_id: int) -> Iterable[Slice]:
        """Yield the one slice in place of the first list."""
        if list_id != ACCOUNT:
            return
        # A list that has appeared has rows since the start date.
        is_covered = set(self.plan.before.lists).issuperset(self.list_ids())
        read_to = self.plan.read_to(ACCOUNT) if is_covered else None
        start = self.plan.start(ACCOUNT) if read_to else self.plan.before.since
        yield Slice(
            (ACCOUNT,),
            ("account", ACCOUNT),
            self.span(start),
            start=start,
            read_to=read_to,
            only_lists=self.config.list_ids,
        )


class LoginStream(AccountStream):
    """The lists, by the request that also proves the login."""

    def log_in(self) -> Rows:
        """Return all lists that the user sees, each once.

        :raises ListrakError: the login failed, or the lists could not be read
        """
        rows = self.fetch_page(Slice(key=(ACCOUNT,), subject=None)).rows
        return list({row["ListID"]: row for row in rows}.values())

    def read_whole(self, slice_: Slice) -> Iterator[Rows]:
        """Yield what the login brought, of the lists to replicate."""
        lists: Any = self.context.lists
        yield [copy(row) for row in lists]
