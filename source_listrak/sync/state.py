"""The state of one stream, as Airbyte stores it between syncs."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, Field, PlainSerializer, ValidationError

from source_listrak.errors import config_error

VERSION = 2
"""Version of the state's format."""

DEFERRED_LIMIT = 10_000
"""Deferred slices that a state can hold: about 1 MB. Beyond it the window stays open."""


def _as_utc(instant: datetime) -> str:
    # Not strftime, which writes years before 1000 with fewer digits.
    return instant.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


Instant = Annotated[AwareDatetime, PlainSerializer(_as_utc, when_used="json")]

Key = Annotated[tuple[int, ...], Field(min_length=1)]
"""A slice: (list,), (list, message) or (list, conversation); slices are generated ascending."""


Done = tuple[Key | None, tuple[Key, ...]]
"""What is done of a window: all slices up to the first key, except the others; None: none."""


NO_START = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Deferred(NamedTuple):
    """A slice that could not be read.

    :param key: (list,) means all slices of that list
    :param read_to: how far it was read; None: never
    :param noticed: since when it is deferred
    :param gone: whether the service returns 404, or it failed in every sync for a long time
    :param start: the instant from which it must be read; `NO_START` if version 0.2.0 deferred it
    :param expected_rows: the least rows of a full read, according to its counter
    """

    key: Key
    read_to: Instant | None
    noticed: Instant
    gone: bool
    start: Instant = NO_START
    expected_rows: int = 0


class Running(BaseModel, frozen=True):
    """A window that is not finished.

    :param end: its end, fixed when it began
    :param full_refresh: whether a full refresh began it
    :param since: its start date
    :param lists: the lists that it began with
    :param to: all slices up to this one are done, except `open`; None: none
    """

    end: Instant
    full_refresh: bool
    since: Instant
    lists: tuple[int, ...]
    to: Key | None = None
    open: tuple[Key, ...] = ()

    def is_done(self, key: Key) -> bool:
        """Return whether an earlier attempt finished a slice."""
        is_open = key in self.open or key[:1] in self.open
        return self.to is not None and key <= self.to and not is_open

    def is_list_done(self, list_id: int) -> bool:
        """Return whether an earlier attempt finished all slices of a list."""
        if self.to is None or any(key[0] == list_id for key in self.open):
            return False
        return self.to == (list_id,) or self.to[0] > list_id


class StreamState(BaseModel, frozen=True):
    """What a stream has read.

    :param since: the start date up to which `synced_to` holds; an earlier one starts again
    :param test_messages: whether test messages were read
    :param time_zone: the zone in which the dates were read
    :param synced_to: all before this instant was read, of `lists`, but what is deferred
    :param newest: the date of the newest row seen, at most `synced_to`; of the newest message where
        rows have no date
    :param owed: what is deferred
    """

    version: Literal[2] = 2
    since: Instant
    test_messages: bool
    time_zone: str
    synced_to: Instant | None = None
    newest: Instant | None = None
    lists: tuple[int, ...] = ()
    running: Running | None = None
    owed: Annotated[tuple[Deferred, ...], Field(max_length=2 * DEFERRED_LIMIT)] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the state as Airbyte stores it."""
        return self.model_dump(mode="json", exclude_none=True)


def load(state: Mapping[str, Any], stream: str) -> tuple[StreamState | None, str]:
    """Return the state of a stream, None where there is none, and what the log says about it.

    What cannot be understood never skips data: it counts as no state.

    :raises AirbyteTracedException: a configuration error: a later version of the connector wrote it
    """
    if not state or set(state) == {"__ab_no_cursor_state_message"}:
        return None, ""
    version = state.get("version")
    if isinstance(version, (int, float)) and version > VERSION:
        raise config_error(
            f"The state of {stream} was written by a later version of this connector (format "
            f"{version}). Upgrade the connector, or reset the stream."
        )
    if version == 1:
        return None, "The state has the format of an earlier version; reading from the start date."
    if version != VERSION:
        return None, "The state was not written by this connector; reading from the start date."
    try:
        return StreamState.model_validate(dict(state)), ""
    except ValidationError:
        return None, "The state is damaged; reading from the start date."
