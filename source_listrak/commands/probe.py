"""Find out how the Listrak service behaves where its behavior is undocumented, with at most 60
requests. No data of the account is printed.
"""

import logging
import platform
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import takewhile
from typing import Any

from source_listrak.config import ListrakConfig
from source_listrak.soap import faults
from source_listrak.soap.rows import Row
from source_listrak.source import Settings, SourceListrak
from source_listrak.sync.slices import Slice
from source_listrak.tables import TABLES

REQUEST_LIMIT = 60
COST_LIMIT = 4
"""Requests that one answer can cost: two attempts, one more for a 404, and a login afterwards."""
LISTS, TRIED, PAGES = 3, 3, 5
LIKELY_PAGE = 1_000
"""Rows of a report that are enough for a conclusion and, most likely, fit on one page."""
DAY, YEAR = timedelta(days=1), timedelta(days=365)
NOTHING = "nothing: it is zero where there are rows (certain)"
"""The one conclusion that requires an option."""

Rows = Sequence[Row]
Fetch = Callable[..., Rows]
"""`Probe.fetch`: a finding requests what it needs, and draws its conclusion."""


class CannotTell(Exception):
    """The answers do not settle the question. The text says why, without any data."""


def require(condition: object, reason: str) -> None:
    """Raise `CannotTell` unless a condition is true."""
    if not condition:
        raise CannotTell(reason)


def conclude(candidates: Rows, find: Callable[..., str], *args: Any) -> str:
    """Return the first conclusion that a candidate allows, or why the first one allows none."""
    reasons: list[str] = []
    for candidate in candidates:
        try:
            return find(candidate, *args)
        except (CannotTell, OverflowError) as error:  # or a date at the end of the calendar
            reasons.append(str(error))
    reasons.append("nothing suitable was found, or it could not be read")
    return f"cannot tell: {reasons[0]}"


def counted(message: Row, fetch: Fetch, name: str) -> str:
    """Conclude from the rows of a report what its counter counts."""
    pages = list(takewhile(len, (fetch(name, message, page) for page in range(1, PAGES + 1))))
    require(len(pages) < PAGES, f"the reports have more than {PAGES} pages")
    rows = [row for page in pages for row in page]
    count = message.get(TABLES[name].counter)
    require(count is not None, "the counter is missing")
    require(rows or count, "there are no rows")
    if not count:
        return NOTHING
    require(count <= len(rows), "there are fewer rows than it says")
    people = len({row.get("ContactID") or row.get("EmailAddress") for row in rows})
    require(people < len(rows) or count != people, "no contact appears twice")
    meaning = {people: "contacts", len(rows): "events"}.get(count, "neither contacts nor events")
    return f"{meaning} (likely)"


def mail(conversation: Row, fetch: Fetch, messages: Rows) -> str:
    """Look among the messages of its first year, too: mail may keep its first date."""
    sent = {row["MsgID"] for row in fetch("conversation_sends", conversation)}
    require(sent, "no mail of conversations was found")
    require("PublishedDate" in conversation, "a conversation lacks its date")
    start = datetime.fromisoformat(conversation["PublishedDate"][:19]) - DAY
    first_year = fetch("messages", conversation, since=start)
    is_listed = any(row["MsgID"] in sent for row in [*messages, *first_year])
    return "yes (certain)" if is_listed else "no (likely)"


class Probe:
    """Sends the requests that settle each unknown, at most `REQUEST_LIMIT`.

    :raises AirbyteTracedException: the login failed, or no list is visible
    """

    def __init__(self, config: ListrakConfig, settings: Settings) -> None:
        self._now = settings.now()
        config.since(self._now)  # raises for a start date in the future
        config = config.model_copy(update={"include_test_messages": False})  # those have few rows
        # Silent, because the service's own texts can hold names.
        logger = logging.Logger("probe", logging.CRITICAL + 1)
        policy = replace(settings.read_policy, attempts=2, seconds=0.0)
        self._context, self._lists = SourceListrak(settings).connect(config, policy, logger)
        self._faults = {"lists": ""}
        """The fault of each table that was requested; empty where a request succeeded."""

    def conclusions(self) -> Iterator[tuple[str, str]]:
        """Yield each unknown and what it turned out to be, with how sure that is.

        It is looked for with one message or conversation after another, until one shows it.
        """
        counts, lists = self._context.counts, self._lists[:LISTS]
        messages, conversations = self._rows("messages", lists), self._rows("conversations", lists)
        for name in ("message_opens", "message_clicks"):
            counter = TABLES[name].counter
            candidates = self._readable(messages, counter)
            yield f"{counter} counts", conclude(candidates, counted, self.fetch, name)
        is_listed = conclude(conversations[-TRIED:], mail, self.fetch, messages)
        yield "Mail of conversations in messages", is_listed
        ids = ChainMap(lists[0], *messages[-1:], *conversations[-1:])
        yield "Failing operations", self._operations(dict(ids))
        yield "Characters that XML forbids", f"{counts['invalid_characters']:,} seen"
        yield "Requests", f"{counts['requests']}, of them {counts['retries']} retries"

    def _readable(self, messages: Rows, counter: str) -> Rows:
        """Return the messages whose report is best to read: settled, many rows on few pages."""
        recent = f"{self._now - 2 * DAY:%Y-%m-%d}"
        settled = [row for row in messages if row.get("SendDate", "") < recent]
        return sorted(settled, key=lambda row: abs(LIKELY_PAGE - row.get(counter, 0)))[:TRIED]

    def _rows(self, name: str, parents: Rows) -> Rows:
        """Return the rows of all parents whose report can be read; see `fetch`."""
        rows: list[Row] = []
        for parent in parents:
            with suppress(CannotTell):
                rows += self.fetch(name, parent)
        return rows

    def fetch(self, name: str, parent: Row, page: int = 1, since: datetime | None = None) -> Rows:
        """Return the rows of a page, of a year where the request has a span of dates.

        :param parent: a row with the id of a list, message or conversation
        :param since: the start of the year, in wall-clock time; by default a year ago
        :raises CannotTell: it failed, or cannot be requested
        """
        table, context = TABLES[name], self._context
        require(table.id_column in parent, f"no {table.id_column}")
        ident = parent[table.id_column]
        special: dict[str, dict[str, Any]] = {"account": {}, "batch": {"MsgIDs": (ident,)}}
        arguments = special.get(table.sliced_by, {table.id_column: ident})
        if table.ranged:
            # A day more on both sides covers the difference between UTC and the account's zone.
            start = since or self._now.replace(tzinfo=None) - YEAR - DAY
            arguments |= {"StartDate": start, "EndDate": start + YEAR + 2 * DAY}
        is_allowed = context.counts["requests"] <= REQUEST_LIMIT - COST_LIMIT
        require(is_allowed, f"the limit of {REQUEST_LIMIT} requests was reached")
        slice_ = Slice((ident,), (table.sliced_by, ident), arguments)
        stream, number = context.stream_of(name), page if table.paged else None
        try:
            rows = context.fetch(stream, slice_, context.counts, number).rows
        except (faults.ListrakError, faults.SyncStopped) as error:
            self._faults.setdefault(name, error.fault.name)
            raise CannotTell(error.fault.name) from None
        self._faults[name] = ""
        return rows

    def _operations(self, parent: Row) -> str:
        """Request every operation that was not requested yet, and report which fail, and how."""
        for name in sorted(TABLES.keys() - self._faults.keys()):
            self._rows(name, [parent])
        failing = {name: fault for name, fault in self._faults.items() if fault}
        described = [f"{TABLES[name].operation} ({fault})" for name, fault in failing.items()]
        works, rest = len(self._faults) - len(failing), len(TABLES) - len(self._faults)
        return f"{', '.join(described) or 'none'}; {works} work, {rest} were not requested"


def run(config: ListrakConfig, settings: Settings) -> str:
    """Return what the command prints.

    :raises AirbyteTracedException: the login failed, or no list is visible
    """
    found = dict(Probe(config, settings).conclusions())
    options = "skip_inactive_messages: false" if NOTHING in found.values() else "none"
    release = version("airbyte-source-listrak")
    lines = "\n".join(f"{name}: {conclusion}" for name, conclusion in found.items())
    return (
        f"Options to set: {options}\n"
        "To report this, paste the following block into an issue. It contains no personal data.\n"
        f"```\nsource-listrak {release}, Python {platform.python_version()}\n{lines}\n```"
    )
