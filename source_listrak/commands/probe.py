"""Find out how the Listrak service behaves where nothing documents it, with at most 60 requests. No
data of the account is printed.
"""

from __future__ import annotations

import logging
import platform
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import pairwise, product, takewhile
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from source_listrak.config import ListrakConfig
from source_listrak.soap import client, faults, wire
from source_listrak.soap.rows import Page, Row
from source_listrak.source import Settings, SourceListrak
from source_listrak.streams.http import SoapStream
from source_listrak.tables import TABLES, Table

OPTIONS: Mapping[str, Any] = {}
REQUEST_LIMIT = 60
COST_LIMIT = 4
"""Requests that one answer can cost: two attempts, one more for a 404, and a login afterwards."""
BEYOND_THE_END = 100_000
"""A page that no report has; the numbers of its rows still have 32 bits."""
ROWS_IN_ORDER, ORDERED_SHARE = 10, 0.95
"""Fewer rows can be in some order by chance. Collations and the end of daylight saving put a few
neighbors out of it."""
STEADY_OPENS = 10
"""Opens within 20 minutes, after which a whole hour without any is out of the question."""
LISTS, TRIED, PAGES = 3, 3, 5
ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "UTC")
SECOND, HOUR, DAY, YEAR = (timedelta(seconds=n) for n in (1, 3_600, 86_400, 365 * 86_400))

_DATE = re.compile("Date>((?!0001-)[^<]+)<")
_LAYOUT = re.compile(
    r"(?P<ISO>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d+))?)(?P<ISO_with_offset>Z|[+-]\d\d:\d\d)?"
    r"|(?P<US>\d+/\d+/\d{4} \d+:\d\d:\d\d\W[AP]M)"
)

Rows = Sequence[Row]
Span = Sequence[datetime]
"""A start and an end, or nothing."""
Call = tuple[str, tuple[tuple[str, Any], ...], int]
"""A table, the arguments of a request, and its page."""


class CannotTell(Exception):
    """The account or the service does not show it. The text says why, without any data."""


class Conclusion(NamedTuple):
    """What an unknown turned out to be, how sure that is, and the option to set because of it."""

    text: str
    option: str = ""


class Answer(NamedTuple):
    """What one request brought.

    :param dates: the texts of all dates
    :param form: of the result: absent, nil or empty
    :param fault: the name of what arrived instead, if anything did
    """

    rows: Rows = ()
    dates: Sequence[str] = ()
    form: str = ""
    fault: str = ""


Answers = Mapping[Call, Answer]
Fetch = Callable[..., Answer]
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
    reason = [*reasons, "nothing to look at was found, or it could not be read"][0]
    return Conclusion(f"cannot tell: {reason}")


def order(parent: Row, fetch: Fetch, name: str) -> Conclusion:
    """Conclude by which column the rows of a page ascend or descend.

    Of dates, only the seconds count: layouts may be mixed.
    """
    rows, date = fetch(name, parent).rows, TABLES[name].cursor or ""
    dates = [text[:19] for row in rows if (text := row.get(date) or "").endswith("Z")]
    addresses = [row["EmailAddress"].lower() for row in rows if row.get("EmailAddress")]
    ids = [row["ContactID"] for row in rows if row.get("ContactID")]
    numbers = [one.zfill(20) for one in ids]
    columns = (("date", dates), ("address", addresses), ("id", ids), ("id", numbers))
    require(min(len(set(one)) for _, one in columns) >= ROWS_IN_ORDER, "too few rows")
    found = {
        f"by {column}, {direction}"
        for column, values in columns
        for direction, step in (("ascending", 1), ("descending", -1))
        if sum(a <= b for a, b in pairwise(values[::step])) >= ORDERED_SHARE * (len(values) - 1)
    }
    require(len(found) < 2, " or ".join(sorted(found)))
    return Conclusion(f"{''.join(found) or 'neither by date nor by address or id'} (likely)")


def counted(message: Row, fetch: Fetch, name: str) -> Conclusion:
    """Conclude from the rows of a report what its counter counts."""
    fetched = (fetch(name, message, page=page).rows for page in range(1, PAGES + 1))
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
    require(people < len(rows) or count != people, "no contact came twice")
    meaning = {people: "contacts", len(rows): "events"}.get(count, "neither contacts nor events")
    return Conclusion(f"{meaning} (likely)")


def range_ends(parent: Row, fetch: Fetch, name: str) -> Conclusion:
    """Conclude from whether a row is found in a range that starts, or ends, at its very date.

    Where no date shows a fraction of a second, it may be cut off, and the row be in truth later
    than its date.
    """
    dates = fetch(name, parent).dates
    whole = whole_seconds(dates)
    require(whole, "no ISO date without a fraction of a second")
    at = datetime.fromisoformat(whole[0])
    spans = ((at, at + SECOND), (at - SECOND, at))
    found = [whole[0] in whole_seconds(fetch(name, parent, span).dates) for span in spans]
    require(any(found), "a row is not found by its date")
    start, end = ("inclusive" if one else "exclusive" for one in found)
    certainty = "certain" if found[1] or any("." in text for text in dates) else "likely"
    return Conclusion(f"start {start}, end {end} ({certainty})")


def whole_seconds(dates: Sequence[str]) -> list[str]:
    """Return the ISO dates without a fraction of a second, and without their offset."""
    matches = filter(None, map(_LAYOUT.fullmatch, dates))
    return [one["ISO"] for one in matches if one["ISO"] and not one[2]]


def time_zone(message: Row, fetch: Fetch, now: datetime, configured: str) -> Conclusion:
    """Search for the hour of the account's clock: the last one with opens of a message.

    ::

        opens   ┴┴─┴┴┴┴─┴┴┴┴─┴┤ now by the account's clock
        ─────────┬────────────┬────────────┬──▶ hours ahead of UTC
             ahead - 1      ahead      ahead + 1

    Each hour is taken to end ten minutes later, in case two clocks differ.
    """

    def opens_since(hours: float) -> int:
        return len(fetch("message_opens", message, (now + hours * HOUR, now + 16 * HOUR)).rows)

    advice = "run the probe soon after a message was sent"
    require(opens_since(-13) >= STEADY_OPENS, f"too few opens today; {advice}")
    hours = range(14, -13, -1)
    ahead = 15 - bisect_left(hours, True, key=lambda hour: opens_since(hour + 1 / 6) > 0)
    require(opens_since(ahead - 1 / 3) >= STEADY_OPENS, f"too few opens now; {advice}")
    for name in (configured, *ZONES):
        if now.astimezone(ZoneInfo(name)).utcoffset() == ahead * HOUR:
            option = "" if name == configured else f"time_zone: {name}"
            return Conclusion(f"{name}, or another at UTC{ahead:+} now (likely)", option)
    raise CannotTell(f"one at UTC{ahead:+} now")


def mail(conversation: Row, fetch: Fetch, messages: Rows) -> Conclusion:
    """Look among the messages of its first year, too: mail may keep its first date."""
    sent = {row["MsgID"] for row in fetch("conversation_sends", conversation).rows}
    require(sent, "no mail of conversations was found")
    start = datetime.fromisoformat(conversation["PublishedDate"][:19]) - DAY
    first_year = fetch("messages", conversation, (start, start + YEAR)).rows
    is_listed = any(row["MsgID"] in sent for row in [*messages, *first_year])
    return Conclusion("yes (certain)" if is_listed else "no (likely)")


def reports(answers: Answers) -> list[list[Rows]]:
    """Return the pages of each report that could be read."""
    pages = [(call[:2], one.rows) for call, one in answers.items() if not one.fault]
    return [[rows for other, rows in pages if other == report] for report in dict(pages)]


def page_size(answers: Answers) -> Conclusion:
    """Conclude from the pages that another, new one follows: only those are known to be full."""
    pairs = [(report[0], *pair) for report in reports(answers) for pair in pairwise(report)]
    full = {len(one) for first, one, after in pairs if one and after and after not in (first, one)}
    require(full, "no report had a second page")
    return Conclusion(f"{' or '.join(f'{size:,}' for size in sorted(full))} rows (certain)")


def empty_page(answers: Answers) -> Conclusion:
    """Conclude from all answers without rows, and from pages that repeat others or follow."""
    forms = {one.form for one in answers.values() if not one.rows and not one.fault}
    described = [f"the result is {form}" for form in sorted(forms)]
    found = reports(answers)
    if any(len(page) > 2 and report.count(page) > 1 for report in found for page in report):
        described.append("pages repeat")
    elif any(after and not one for report in found for one, after in pairwise(report)):
        described.append("pages with rows can follow")
    require(described, "no report ended")
    return Conclusion(f"{'; '.join(described)} (certain)")


def layouts(answers: Answers) -> Conclusion:
    """Conclude in which layouts dates are written."""
    matches = [_LAYOUT.fullmatch(text) for one in answers.values() for text in one.dates]
    require(matches, "no date was seen")
    names = {str(match.lastgroup) if match else "another_layout" for match in matches}
    digits = max(len(match[2] or "") if match else 0 for match in matches)
    text = ", ".join(sorted(names)).replace("_", " ")
    return Conclusion(f"{text}; at most {digits} fraction digits (certain)")


class Probe:
    """Sends the requests that settle each unknown, at most `REQUEST_LIMIT`, and keeps the answers.

    Spans are in UTC and are sent as they are, although the service takes them for times of the
    account: each has room for the difference, or is what shows it.

    :raises AirbyteTracedException: the login failed, or no list is visible
    """

    def __init__(self, config: ListrakConfig, settings: Settings) -> None:
        self._config, self._now = config, settings.now()
        self._since = config.since(self._now)
        # Silent, because the service's own texts can hold names.
        logger = logging.Logger("probe", logging.CRITICAL + 1)
        policy = replace(settings.read_policy, attempts=2, seconds=0.0)
        self._context, self._lists = SourceListrak(settings).connect(config, policy, logger)
        self._answers: dict[Call, Answer] = {}

    def conclusions(self) -> Iterator[tuple[str, Conclusion]]:
        """Yield each unknown and what it turned out to be.

        It is looked for with one message, list or conversation after another, until one shows it.
        """
        answers, counts, fetch = self._answers, self._context.counts, self.fetch
        lists = [dict(row) for row in self._lists[:LISTS]]
        messages = self._rows("messages", lists)
        busiest = sorted(messages, key=lambda row: -(row.get("DeliverCount") or 0))[:1]
        self._rows("message_sends", busiest, pages=(1, 2, 3))
        self._rows("subscribed_contacts", lists[:1], pages=(1, 2, BEYOND_THE_END))
        opened = self._readable(messages, "OpenCount")
        clicked = self._readable(messages, "ClickCount")
        conversations = self._rows("conversations", lists)[-TRIED:]
        ids = {**lists[0], **dict(*opened[:1]), **dict(*conversations[-1:])}
        yield "Order of contacts", conclude(lists, order, fetch, "subscribed_contacts")
        yield "Order of opens", conclude(opened, order, fetch, "message_opens")
        yield "OpenCount counts", conclude(opened, counted, fetch, "message_opens")
        yield "ClickCount counts", conclude(clicked, counted, fetch, "message_clicks")
        yield "Range of messages", conclude(lists, range_ends, fetch, "messages")
        yield "Range of opens", conclude(opened, range_ends, fetch, "message_opens")
        newest, zone = messages[: -TRIED - 1 : -1], self._config.time_zone
        yield "Time zone", conclude(newest, time_zone, fetch, self._now, zone)
        yield "Mail of conversations in messages", conclude(conversations, mail, fetch, messages)
        yield "Failing operations", self._operations(ids)
        yield "Gone reports", self._gone(lists[0])
        yield "Page size", conclude([answers], page_size)
        yield "Empty page", conclude([answers], empty_page)
        yield "Layout of dates", conclude([answers], layouts)
        yield "Characters that XML forbids", Conclusion(f"{counts['invalid_characters']:,} seen")
        yield "Requests", Conclusion(f"{counts['requests']}, of them {counts['retries']} retries")

    def _readable(self, messages: Rows, counter: str) -> Rows:
        """Return the messages whose report is best to read: settled, many rows on few pages."""
        settled = f"{self._now - 2 * DAY:%Y-%m-%d}"
        sizes = [len(one.rows) for call, one in self._answers.items() if TABLES[call[0]].paged]
        limit = max(sizes, default=0)

        def rank(row: Row) -> tuple[bool, bool, bool, int]:
            count = row.get(counter) or 0
            return not count, row.get("SendDate", "") > settled, count > limit, abs(limit - count)

        return sorted(messages, key=rank)[:TRIED]

    def _rows(self, name: str, parents: Rows, span: Span = (), pages: Sequence[int] = (1,)) -> Rows:
        """Return the rows of all parents whose report can be read, by their date; see `fetch`."""
        rows: list[Row] = []
        for parent, page in product(parents, pages):
            with suppress(CannotTell):
                rows += self.fetch(name, parent, span, page).rows
        return sorted(rows, key=lambda row: row.get("SendDate") or row.get("PublishedDate") or "")

    def fetch(self, name: str, parent: Row, span: Span = (), page: int = 1) -> Answer:
        """Return an answer; the same request is sent once.

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
        require(not answer.fault, answer.fault)
        return answer

    def _send(self, table: Table, arguments: Mapping[str, Any], number: int) -> Answer:
        context, texts = self._context, list[str]()
        stream = SoapStream(table, self._config, context.dates)

        def parse(response: wire.Response) -> Page:
            texts.append(response.body.decode(errors="replace"))
            return stream.parse_response(response)

        token = {"Page": number} if table.paged else None
        body = stream.request_body_data(stream_slice=arguments, next_page_token=token)
        name, headers = table.operation, stream.request_headers()
        request = client.Request(stream.url_base, headers, body, name, subject=body)
        try:
            page = context.client.send(request, parse, context.counts)
        except (faults.ListrakError, faults.SyncStopped) as error:
            return Answer(fault=error.fault.name)
        context.counts.add(invalid_characters=page.invalid_characters)
        form = "empty" if page.present else "nil"
        form = form if f"{name}Result" in texts[-1] else "absent"
        return Answer(page.rows, _DATE.findall(texts[-1]), form)

    def _gone(self, one: Row) -> Conclusion:
        """Look at the oldest messages that a sync reads, and count what is gone of all reports."""
        oldest = self._rows("messages", [one], (self._since, self._since + YEAR))[:TRIED]
        self._rows("message_opens", oldest)
        gone = faults.REPORT_GONE.name
        reports = {call[:2]: answer.fault == gone for call, answer in self._answers.items()}
        return Conclusion(f"{sum(reports.values())} of {len(reports)} requested")

    def _operations(self, parent: Row) -> Conclusion:
        """Request every operation that was not requested yet, and report which fail, and how."""
        for name in sorted(TABLES.keys() - {"lists"} - {call[0] for call in self._answers}):
            self._rows(name, [parent], (self._now - DAY, self._now + DAY))
        works = {call[0] for call, one in self._answers.items() if not one.fault} | {"lists"}
        fails = {call[0]: one.fault for call, one in self._answers.items() if call[0] not in works}
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
        "To report this, paste the following block into an issue. It holds no personal data.\n"
        f"```\nsource-listrak {release}, Python {platform.python_version()}\n{lines}\n```"
    )
