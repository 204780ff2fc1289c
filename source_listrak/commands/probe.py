"""Find out how the Listrak service behaves where its behavior is undocumented, with at most 60
requests. No data of the account is printed.
"""

from __future__ import annotations

import logging
import platform
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import takewhile
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from source_listrak.config import ListrakConfig
from source_listrak.soap import faults
from source_listrak.soap.rows import Row
from source_listrak.source import Settings, SourceListrak
from source_listrak.streams.http import SoapStream
from source_listrak.sync.slices import Slice
from source_listrak.tables import TABLES, Table

OPTIONS: Mapping[str, Any] = {}
REQUEST_LIMIT = 60
COST_LIMIT = 4
"""Requests that one answer can cost: two attempts, one more for a 404, and a login afterwards."""
STEADY_OPENS = 10
"""Opens within 20 minutes, which make an hour without any implausible."""
LISTS, TRIED, PAGES = 3, 3, 5
LIKELY_PAGE = 1_000
"""Rows of a report that are enough for a conclusion and, most likely, fit on one page."""
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "UTC")
SECOND, HOUR, DAY, YEAR = (timedelta(seconds=n) for n in (1, 3_600, 86_400, 365 * 86_400))

Rows = Sequence[Row]
Span = Sequence[datetime]
"""A start and an end, or nothing."""
Call = tuple[str, tuple[tuple[str, Any], ...], int]
"""A table, the arguments of a request, and its page."""


class CannotTell(Exception):
    """The answers do not settle the question. The text says why, without any data."""


class Conclusion(NamedTuple):
    """What an unknown turned out to be, how sure that is, and the option to set because of it."""

    text: str
    option: str = ""


Fetch = Callable[..., Rows]
"""`Probe.fetch`: a finding requests what it needs, and draws its conclusion."""


def require(condition: object, reason: str) -> None:
    """Raise `CannotTell` unless a condition is true."""
    if not condition:
        raise CannotTell(reason)


def conclude(candidates: Sequence[Any], find: Callable[..., Conclusion], *args: Any) -> Conclusion:
    """Return the first conclusion that a candidate allows, or why the first one allows none."""
    reasons: list[str] = []
    for candidate in candidates:
        try:
            return find(candidate, *args)
        except CannotTell as error:
            reasons.append(str(error))
        except (KeyError, ValueError):
            reasons.append("a row lacks an id or a date")
    reason = [*reasons, "nothing suitable was found, or it could not be read"][0]
    return Conclusion(f"cannot tell: {reason}")


def counted(message: Row, fetch: Fetch, name: str) -> Conclusion:
    """Conclude from the rows of a report what its counter counts."""
    fetched = (fetch(name, message, page=page) for page in range(1, PAGES + 1))
    pages = list(takewhile(len, fetched))
    require(len(pages) < PAGES, f"the reports have more than {PAGES} pages")
    count = message.get(TABLES[name].counter, 0)
    rows = [row for page in pages for row in page]
    if rows and not count:
        text = "nothing: it is zero where there are rows (certain)"
        return Conclusion(text, "skip_inactive_messages: false")
    require(rows or count, "there are no rows")
    require(count <= len(rows), "there are fewer rows than it says")
    people = len({row.get("ContactID") or row.get("EmailAddress") for row in rows})
    require(people < len(rows) or count != people, "no contact appears twice")
    meaning = {people: "contacts", len(rows): "events"}.get(count, "neither contacts nor events")
    return Conclusion(f"{meaning} (likely)")


def time_zone(message: Row, fetch: Fetch, now: datetime, configured: str) -> Conclusion:
    """Search for the hour of the account's clock: the last one with opens of a message.

    ::

        opens   ┴┴─┴┴┴┴─┴┴┴┴─┴┤ now by the account's clock
        ─────────┬────────────┬────────────┬──▶ hours ahead of UTC
             ahead - 1      ahead      ahead + 1

    Each hour is taken to end ten minutes later, in case two clocks differ.
    """

    def opens_since(hours: float) -> int:
        return len(fetch("message_opens", message, (now + hours * HOUR, now + 16 * HOUR)))

    advice = "run the probe soon after a message was sent"
    require(opens_since(-13) >= STEADY_OPENS, f"too few opens today; {advice}")
    hours = range(14, -13, -1)
    ahead = 15 - bisect_left(hours, True, key=lambda hour: opens_since(hour + 1 / 6) > 0)
    require(opens_since(ahead - 1 / 3) >= STEADY_OPENS, f"too few opens now; {advice}")
    for name in (configured, *ZONES):
        if now.astimezone(ZoneInfo(name)).utcoffset() == ahead * HOUR:
            option = "" if name == configured else f"time_zone: {name}"
            return Conclusion(f"{name}, or another at UTC{ahead:+} now (likely)", option)
    raise CannotTell(f"a zone at UTC{ahead:+}, but none of the common ones")


def mail(conversation: Row, fetch: Fetch, messages: Rows) -> Conclusion:
    """Look among the messages of its first year, too: mail may keep its first date."""
    sent = {row["MsgID"] for row in fetch("conversation_sends", conversation)}
    require(sent, "no mail of conversations was found")
    start = datetime.fromisoformat(conversation["PublishedDate"][:19]) - DAY
    first_year = fetch("messages", conversation, (start, start + YEAR))
    is_listed = any(row["MsgID"] in sent for row in [*messages, *first_year])
    return Conclusion("yes (certain)" if is_listed else "no (likely)")


class Probe:
    """Sends the requests that settle each unknown, at most `REQUEST_LIMIT`, and keeps the answers.

    Spans are in UTC and are sent as they are, although the service takes them for times of the
    account: each is wide enough for the difference, or measures it.

    :raises AirbyteTracedException: the login failed, or no list is visible
    """

    def __init__(self, config: ListrakConfig, settings: Settings) -> None:
        self._config, self._now = config, settings.now()
        config.since(self._now)  # raises for a start date in the future
        # Silent, because the service's own texts can hold names.
        logger = logging.Logger("probe", logging.CRITICAL + 1)
        policy = replace(settings.read_policy, attempts=2, seconds=0.0)
        self._context, self._lists = SourceListrak(settings).connect(config, policy, logger)
        self._answers: dict[Call, Rows | str] = {}
        """The rows of a response, or the name of the fault that arrived instead."""

    def conclusions(self) -> Iterator[tuple[str, Conclusion]]:
        """Yield each unknown and what it turned out to be.

        It is looked for with one message, list or conversation after another, until one shows it.
        """
        counts, fetch = self._context.counts, self.fetch
        lists = [dict(row) for row in self._lists[:LISTS]]
        messages = self._rows("messages", lists)
        opened = self._readable(messages, "OpenCount")
        clicked = self._readable(messages, "ClickCount")
        conversations = self._rows("conversations", lists)[-TRIED:]
        ids = {**lists[0], **dict(*opened[:1]), **dict(*conversations[-1:])}
        yield "OpenCount counts", conclude(opened, counted, fetch, "message_opens")
        yield "ClickCount counts", conclude(clicked, counted, fetch, "message_clicks")
        newest, zone = messages[: -TRIED - 1 : -1], self._config.time_zone
        yield "Time zone", conclude(newest, time_zone, fetch, self._now, zone)
        yield "Mail of conversations in messages", conclude(conversations, mail, fetch, messages)
        yield "Failing operations", self._operations(ids)
        yield "Characters that XML forbids", Conclusion(f"{counts['invalid_characters']:,} seen")
        yield "Requests", Conclusion(f"{counts['requests']}, of them {counts['retries']} retries")

    def _readable(self, messages: Rows, counter: str) -> Rows:
        """Return the messages whose report is best to read: settled, many rows on few pages."""
        settled = f"{self._now - 2 * DAY:%Y-%m-%d}"

        def rank(row: Row) -> tuple[bool, bool, bool, int]:
            count = row.get(counter) or 0
            is_long, distance = count > LIKELY_PAGE, abs(LIKELY_PAGE - count)
            return not count, row.get("SendDate", "") > settled, is_long, distance

        return sorted(messages, key=rank)[:TRIED]

    def _rows(self, name: str, parents: Rows, span: Span = ()) -> Rows:
        """Return the rows of all parents whose report can be read, by their date; see `fetch`."""
        rows: list[Row] = []
        for parent in parents:
            with suppress(CannotTell):
                rows += self.fetch(name, parent, span)
        return sorted(rows, key=lambda row: row.get("SendDate") or row.get("PublishedDate") or "")

    def fetch(self, name: str, parent: Row, span: Span = (), page: int = 1) -> Rows:
        """Return the rows of a page; the same request is sent once.

        :param parent: a row with the id of a list, message or conversation
        :param span: by default the last year of messages, or the last ten of other reports
        :raises CannotTell: it failed, or cannot be requested
        """
        table, is_report = TABLES[name], TABLES[name].sliced_by == "report"
        require(table.id_column in parent, f"no {table.id_column}")
        ident = parent[table.id_column]
        special: dict[str, dict[str, Any]] = {"account": {}, "batch": {"MsgIDs": (ident,)}}
        arguments = special.get(table.sliced_by, {table.id_column: ident})
        if table.ranged:
            start, end = span or (self._now - (1 if is_report else 10) * YEAR, self._now + DAY)
            arguments["StartDate"] = start.replace(tzinfo=None)
            arguments["EndDate"] = end.replace(tzinfo=None)
            arguments |= {"IncludeTestMessages": False} if is_report else {}
        call = (name, tuple(arguments.items()), page)
        if call not in self._answers:
            is_allowed = self._context.counts["requests"] <= REQUEST_LIMIT - COST_LIMIT
            require(is_allowed, f"the limit of {REQUEST_LIMIT} requests was reached")
            self._answers[call] = self._send(table, arguments, page)
        answer = self._answers[call]
        if isinstance(answer, str):
            raise CannotTell(answer)
        return answer

    def _send(self, table: Table, arguments: Mapping[str, Any], number: int) -> Rows | str:
        context = self._context
        stream = SoapStream(table, context.config, context.dates)
        # A key of its own for each request, since no report says anything about another one.
        slice_ = Slice((0,), ("request", len(self._answers)), arguments)
        request = stream.make_request(slice_, number if table.paged else None)
        try:
            return context.fetch(stream, request, {}, context.counts).rows
        except (faults.ListrakError, faults.SyncStopped) as error:
            return error.fault.name

    def _operations(self, parent: Row) -> Conclusion:
        """Request every operation that was not requested yet, and report which fail, and how."""
        for name in sorted(TABLES.keys() - {"lists"} - {call[0] for call in self._answers}):
            self._rows(name, [parent], (self._now - DAY, self._now + DAY))
        faults_of = {call[0]: one for call, one in self._answers.items() if isinstance(one, str)}
        works = {call[0] for call, one in self._answers.items() if not isinstance(one, str)}
        works |= {"lists"}
        fails = {name: fault for name, fault in faults_of.items() if name not in works}
        described = [f"{TABLES[table].operation} ({fault})" for table, fault in fails.items()]
        rest = f"{len(works)} work, {len(TABLES) - len(works) - len(fails)} were not requested"
        return Conclusion(f"{', '.join(described) or 'none'}; {rest}")


def run(config: ListrakConfig, settings: Settings) -> str:
    """Return what the command prints.

    :raises AirbyteTracedException: the login failed, or no list is visible
    """
    found = list(Probe(config, settings).conclusions())
    options = {one.option for _, one in found if one.option} or {"none"}
    release = version("airbyte-source-listrak")
    lines = "\n".join(f"{name}: {one.text}" for name, one in found)
    return (
        f"Options to set: {', '.join(sorted(options))}\n"
        "To report this, paste the following block into an issue. It contains no personal data.\n"
        f"```\nsource-listrak {release}, Python {platform.python_version()}\n{lines}\n```"
    )
