"""Slices: what one worker reads at a time, and what the state counts."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airbyte_cdk import AirbyteTracedException

from source_listrak.soap.faults import Action, ListrakError
from source_listrak.sync.state import NO_START, Key


@dataclass(frozen=True, slots=True)
class Slice:
    """One unit of concurrency and of checkpointing.

    :param key: its place in the order of generation
    :param subject: the list, message or conversation that it is about; None: the login
    :param arguments: of the request, except the page number
    :param added: columns that the connector adds
    :param start: the instant from which it is read
    :param read_to: how far it was read before; None: never
    :param expected_rows: the least rows of a full read, according to its counter
    :param only_lists: rows of other lists are not emitted; None: all are
    """

    key: Key
    subject: tuple[str, int] | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    added: Mapping[str, Any] = field(default_factory=dict)
    start: datetime = NO_START
    read_to: datetime | None = None
    expected_rows: int = 0
    only_lists: Collection[int] | None = None

    @property
    def label(self) -> str:
        """Its name in log lines, without personal data."""
        kind, number = self.subject or ("account", 0)
        return "the account" if kind == "account" else f"{kind} {number}"


@dataclass(frozen=True, slots=True)
class FailedSlice:
    """A slice that could not be read; that of a list represents all slices of the list."""

    slice: Slice
    error: AirbyteTracedException

    def calls_for(self, action: Action) -> bool:
        """Return whether it failed with a fault that has this action."""
        return isinstance(self.error, ListrakError) and self.error.fault.action is action
