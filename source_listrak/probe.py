"""Find out how the Listrak service behaves where nothing documents it, with at most 60 requests. No
data of the account is printed.
"""

from __future__ import annotations

import logging
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from source_listrak.config import ListrakConfig
from source_listrak.soap import faults
from source_listrak.soap.client import Request
from source_listrak.soap.rows import Page
from source_listrak.soap.wire import Response
from source_listrak.source import Settings, SourceListrak
from source_listrak.streams import make_stream
from source_listrak.tables import TABLES, Table

OPTIONS: Mapping[str, Any] = {}
CANNOT_TELL = "cannot tell"
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

_DATE = re.compile(rb"Date>((?!0001-)[^<]+)<")
_OFFSET = re.compile(rb"(T\d\d:\d\d:\d\d(?:\.\d+)?)(?:Z|[+-]\d\d:\d\d)(?=<)")
_LAYOUT = re.compile(
    r"(?P<ISO>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d+))?)(?P<ISO_with_offset>Z|[+-]\d\d:\d\d)?"
    r"|(?P<US>\d+/\d+/\d{4} \d+:\d\d:\d\d\W[AP]M)"
)

Row = Mapping[str, Any]
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


def paged_reports(answers: Answers) -> list[list[Rows]]:
    """Return the pages of each paged report that could be read."""
    found: dict[object, list[Rows]] = {}
    for (table, arguments, _), answer in answers.items():
        if TABLES[table].paged and not answer.fault:
            found.setdefault((table, arguments), []).append(answer.rows)
    return list(found.values())


def page_size(reports: Sequence[Sequence[Rows]]) -> Conclusion:
    """Conclude from the pages that another, new one follows: only those are known to be full."""
    pairs = [(report[0], *pair) for report in reports for pair in pairwise(report)]
    full = {len(one) for first, one, after in pairs if one and after and after not in (first, one)}
    if not full:
        raise CannotTell("no report had a second page")
    return Conclusion(f"{' or '.join(f'{size:,}' for size in sorted(full))} rows (certain)")


def empty_page(answers: Answers) -> Conclusion:
    """Conclude from all answers without rows, and from pages that repeat others or follow."""
    forms = {one.form for one in answers.values() if not one.rows and not one.fault}
    described = [f"the result is {form}" for form in sorted(forms)]
    reports = paged_reports(answers)
    if any(len(page) > 2 and report.count(page) > 1 for report in reports for page in report):
        described.append("pages repeat")
    elif any(after and not one for report in reports for one, after in pairwise(report)):
        described.append("pages with rows can follow")
    if not described:
        raise CannotTell("no report ended")
    return Conclusion(f"{'; '.join(described)} (certain)")


def order(rows: Rows, date: str) -> Conclusion:
    """Conclude by which column the rows of a page ascend or descend.

    :param date: the column of the date, of which only the seconds count: layouts may be mixed
    """
    ids = [row["ContactID"] for row in rows if row.get("ContactID")]
    columns = (
        ("date", [text[:19] for row in rows if (text := row.get(date) or "").endswith("Z")]),
        ("address", [row["EmailAddress"].lower() for row in rows if row.get("EmailAddress")]),
        ("id", ids),
        ("id", [one.zfill(20) for one in ids]),
    )
    if min(len(set(values)) for _, values in columns) < ROWS_IN_ORDER:
        raise CannotTell("too few rows")
    found = {
        f"by {name}, {direction}"
        for name, values in columns
        for direction, step in (("ascending", 1), ("descending", -1))
        if sum(a <= b for a, b in pairwise(values[::step])) >= ORDERED_SHARE * (len(values) - 1)
    }
    if len(found) > 1:
        raise CannotTell(" or ".join(sorted(found)))
    return Conclusion(f"{''.join(found) or 'neither by date nor by address or id'} (likely)")


def counter_meaning(count: int, rows: Rows) -> Conclusion:
    """Conclude from the rows of a report what its counter counts."""
    people = len({row.get("ContactID") or row.get("EmailAddress") for row in rows})
    if rows and not count:
        text = "nothing: it is zero where there are rows (certain)"
        return Conclusion(text, "skip_inactive_messages: false")
    if count > len(rows) or not rows:
        raise CannotTell("there are fewer rows than it says" if count else "there are no rows")
    if count not in (people, len(rows)):
        return Conclusion("neither contacts nor events (likely)")
    if people == len(rows):
        raise CannotTell("no contact came twice")
    return Conclusion("contacts (likely)" if count == people else "events (likely)")


def range_ends(has_start: bool, has_end: bool, has_fractions: bool) -> Conclusion:
    """Conclude from whether a row is found in a range that starts, or ends, at its very date.

    :param has_fractions: whether any date shows a fraction of a second; where none does, it may be
        cut off, and the row be in truth later than its date
    """
    if not has_start and not has_end:
        raise CannotTell("a row is not found by its date")
    start, end = ("inclusive" if has else "exclusive" for has in (has_start, has_end))
    certainty = "certain" if has_end or has_fractions else "likely"
    return Conclusion(f"start {start}, end {end} ({certainty})")


def time_zone(hours: int, now: datetime, configured: str) -> Conclusion:
    """Conclude which zone is that many hours ahead of UTC now."""
    for name in dict.fromkeys((configured, *ZONES)):
        if now.astimezone(ZoneInfo(name)).utcoffset() == hours * HOUR:
            option = "" if name == configured else f"time_zone: {name}"
            return Conclusion(f"{name}, or another at UTC{hours:+} now (likely)", option)
    raise CannotTell(f"one at UTC{hours:+} now")


def layouts(answers: Answers) -> Conclusion:
    """Conclude in which layouts dates are written."""
    matches = [_LAYOUT.fullmatch(text) for one in answers.values() for text in one.dates]
    if not matches:
        raise CannotTell("no date was seen")
    names = {str(match.lastgroup) if match else "another_layout" for match in matches}
    digits = max(len(match[2] or "") if match else 0 for match in matches)
    text = ", ".join(sorted(names)).replace("_", " ")
    return Conclusion(f"{text}; at most {digits} fraction digits (certain)")


def whole_seconds(texts: Sequence[str]) -> list[str]:
    """Return the ISO dates without a fraction of a second, and without their offset."""
    matches = filter(None, map(_LAYOUT.fullmatch, texts))
    return [one["ISO"] for one in matches if one["ISO"] and not one[2]]


def operations(answers: Answers) -> Conclusion:
    """Report which operations fail, and how."""
    works = {table for (table, *_), one in answers.items() if not one.fault} | {"lists"}
    fails = {table: one.fault for (table, *_), one in answers.items() if table not in works}
    described = [f"{TABLES[table].operation} ({fault})" for table, fault in fails.items()]
    rest = f"{len(works)} work, {len(TABLES) - len(works) - len(fails)} were not requested"
    return Conclusion(f"{', '.join(described) or 'none'}; {rest}")


def gone_reports(answers: Answers) -> Conclusion:
    """Report how many reports the service no longer has."""
    reports = {call[:2]: one.fault == faults.REPORT_GONE.name for call, one in answers.items()}
    return Conclusion(f"{sum(reports.values())} of {len(reports)} requested")


def by(column: str) -> Callable[[Row], str]:
    """Return what sorts by a column of texts."""
    return lambda row: row.get(column) or ""


class Probe:
    """Sends the requests that settle each unknown, at most `REQUEST_LIMIT`, and keeps the answers.

    Date-times are wall-clock times of the account, whatever its zone: dates are read without their
    offset, as if they were UTC.

    :raises AirbyteTracedException: the login failed, or no list is visible
    """

    def __init__(self, config: ListrakConfig, settings: Settings) -> None:
        self._config = config.model_copy(update={"time_zone": "UTC"})
        self._zone, self._now = config.time_zone, settings.now()
        self._wall = self._now.replace(tzinfo=None)
        self._since = config.since(self._now).replace(tzinfo=None)
        # Silent, because the service's own texts can hold names.
        logger = logging.Logger("probe", logging.CRITICAL + 1)
        policy = replace(settings.read_policy, attempts=2, seconds=0.0)
        self._connection = SourceListrak(settings).connect(self._config, policy, logger)
        self._answers: dict[Call, Answer] = {}

    def conclusions(self) -> Iterator[tuple[str, Conclusion]]:
        """Yield each unknown and what it turned out to be.

        It is looked for with one message, list or conversation after another, until one shows it.
        """
        answers, counts = self._answers, self._connection.counts
        lists = self._connection.lists[:LISTS]
        messages = sorted(self._rows("messages", lists), key=by("SendDate"))
        busiest = sorted(messages, key=lambda row: -(row.get("DeliverCount") or 0))[:1]
        for page in (1, 2, 3):
            self._rows("message_sends", busiest, page=page)
        for page in (1, 2, BEYOND_THE_END):
            self._rows("subscribed_contacts", lists[:1], page=page)
        opened = self._readable(messages, "OpenCount")
        clicked = self._readable(messages, "ClickCount")
        conversations = sorted(self._rows("conversations", lists), key=by("PublishedDate"))[-TRIED:]
        ids = {**lists[0], **dict(*opened[:1]), **dict(*conversations[-1:])}
        steps: list[tuple[str, Rows, Callable[[Row], Conclusion]]] = [
            ("Order of contacts", lists, self._order("subscribed_contacts", "AdditionDate")),
            ("Order of opens", opened, self._order("message_opens", "OpenDate")),
            ("OpenCount counts", opened, self._counter("message_opens", "OpenCount")),
            ("ClickCount counts", clicked, self._counter("message_clicks", "ClickCount")),
            ("Range of messages", lists, self._range("messages")),
            ("Range of opens", opened, self._range("message_opens")),
            ("Time zone", messages[: -TRIED - 1 : -1], self._time_zone),
            ("Mail of conversations in messages", conversations, self._mail_in(messages)),
            ("Failing operations", [ids], self._operations),
            ("Gone reports", lists[:1], self._gone),
            ("Page size", [ids], lambda _: page_size(paged_reports(answers))),
            ("Empty page", [ids], lambda _: empty_page(answers)),
            ("Layout of dates", [ids], lambda _: layouts(answers)),
        ]
        for name, rows, conclude in steps:
            yield name, self._try(rows, conclude)
        yield "Characters that XML forbids", Conclusion(f"{counts.removed_characters:,} seen")
        yield "Requests", Conclusion(f"{counts.requests}, of them {counts.retries} retries")

    @staticmethod
    def _try(rows: Rows, conclude: Callable[[Row], Conclusion]) -> Conclusion:
        """Return the first conclusion that a row allows, or why the first row allows none."""
        reasons: list[str] = []
        for row in rows:
            try:
                return conclude(row)
            except CannotTell as error:
                reasons.append(str(error))
            except (KeyError, ValueError):
                reasons.append("a row lacks an id or a date")
        reason = [*reasons, "nothing to look at was found, or it could not be read"][0]
        return Conclusion(f"{CANNOT_TELL}: {reason}")

    def _readable(self, messages: Rows, counter: str) -> Rows:
        """Return the messages whose report is best to read: settled, many rows on few pages."""
        settled = f"{self._wall - 2 * DAY:%Y-%m-%d}"
        pages = (page for report in paged_reports(self._answers) for page in report)
        limit = max(map(len, pages), default=0)

        def rank(row: Row) -> tuple[bool, bool, bool, int]:
            count = row.get(counter) or 0
            return not count, by("SendDate")(row) > settled, count > limit, abs(limit - count)

        return sorted(messages, key=rank)[:TRIED]

    def _rows(self, name: str, parents: Rows, span: Span = (), page: int = 1) -> list[Row]:
        """Return the rows of all parents whose report can be read; see `_fetch`."""
        rows: list[Row] = []
        for parent in parents:
            with suppress(CannotTell):
                rows += self._fetch(name, parent, span, page).rows
        return rows

    def _fetch(self, name: str, parent: Row, span: Span = (), page: int = 1) -> Answer:
        """Return an answer; the same request is sent once.

        :param parent: a row with the id of a list, message or conversation
        :param span: the last year of messages, or the last ten of other reports, by default
        :raises CannotTell: it failed, or cannot be requested
        """
        table, counts = TABLES[name], self._connection.counts
        is_batch, is_report = table.parent == "batch", table.parent == "report"
        column = "MsgID" if is_batch else table.id_column
        if column not in parent:
            raise CannotTell(f"no {column}")
        arguments = {"MsgIDs": (parent[column],)} if is_batch else {column: parent[column]}
        if table.parent == "account":
            arguments = {}
        if table.ranged:
            start, end = span or (self._wall - (1 if is_report else 10) * YEAR, self._wall + DAY)
            arguments |= {"StartDate": start, "EndDate": end}
            arguments |= {"IncludeTestMessages": False} if is_report else {}
        call = (name, tuple(arguments.items()), page)
        if call not in self._answers:
            if counts.requests > REQUEST_LIMIT - COST_LIMIT:
                raise CannotTell(f"the limit of {REQUEST_LIMIT} requests was reached")
            self._answers[call] = self._send(table, arguments, page)
        if fault := self._answers[call].fault:
            raise CannotTell(fault)
        return self._answers[call]

    def _send(self, table: Table, arguments: Mapping[str, Any], number: int) -> Answer:
        session, bodies = self._connection.session, list[bytes]()
        stream = make_stream(table, self._config, session, self._connection.counts)

        def parse(response: Response) -> Page:
            bodies.append(response.body)
            without_offsets = _OFFSET.sub(rb"\1", response.body)
            return stream.parse_response(replace(response, body=without_offsets))

        token = {"Page": number} if table.paged else None
        body = stream.request_body_data(stream_slice=arguments, next_page_token=token)
        name, headers = table.operation, stream.request_headers()
        request = Request(name, stream.url_base, headers, body, name, subject=body)
        try:
            page = session.client.send(request, parse, stream.counts)
        except faults.ListrakError as error:
            return Answer(fault=error.fault.name)
        stream.counts.add(removed_characters=page.removed_characters)
        dates = [text.decode(errors="replace") for text in _DATE.findall(bodies[-1])]
        form = "empty" if page.present else "nil"
        form = form if f"{name}Result".encode() in bodies[-1] else "absent"
        return Answer(page.rows, dates, form)

    def _order(self, name: str, date: str) -> Callable[[Row], Conclusion]:
        return lambda row: order(self._fetch(name, row).rows, date)

    def _counter(self, name: str, counter: str) -> Callable[[Row], Conclusion]:
        def compare(message: Row) -> Conclusion:
            rows: list[Row] = []
            for page in range(1, PAGES + 1):
                found = self._fetch(name, message, page=page).rows
                rows += found
                if not found:
                    return counter_meaning(message.get(counter) or 0, rows)
            raise CannotTell(f"the reports have more than {PAGES} pages")

        return compare

    def _range(self, name: str) -> Callable[[Row], Conclusion]:
        def look(parent: Row) -> Conclusion:
            texts = self._fetch(name, parent).dates
            for text in whole_seconds(texts)[:1]:
                at = datetime.fromisoformat(text)
                starts, ends = (
                    text in whole_seconds(self._fetch(name, parent, span).dates)
                    for span in ((at, at + SECOND), (at - SECOND, at))
                )
                return range_ends(starts, ends, any("." in one for one in texts))
            raise CannotTell("no ISO date without a fraction of a second")

        return look

    def _time_zone(self, message: Row) -> Conclusion:
        """Search for the hour of the account's clock: the last one with opens of a message.

        ::

            opens   ┴┴─┴┴┴┴─┴┴┴┴─┴┤ now by the account's clock
            ─────────┬────────────┬────────────┬──▶ hours ahead of UTC
                   high - 1      high       high + 1

        Each hour is taken to end ten minutes later, in case two clocks differ.
        """

        def opens_since(hours: float) -> Rows:
            span = (self._wall + hours * HOUR, self._wall + 16 * HOUR)
            return self._fetch("message_opens", message, span).rows

        low, high = -13, 15
        if len(opens_since(low)) < STEADY_OPENS:
            raise CannotTell("too few opens today; run the probe soon after a message was sent")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if opens_since(middle + 1 / 6) else (low, middle)
        if len(opens_since(high - 1 / 3)) < STEADY_OPENS:
            raise CannotTell("too few opens now; run the probe soon after a message was sent")
        return time_zone(high, self._now, self._zone)

    def _mail_in(self, messages: Rows) -> Callable[[Row], Conclusion]:
        def look(conversation: Row) -> Conclusion:
            """Look among the messages of its first year, too: mail may keep its first date."""
            mail = {row["MsgID"] for row in self._fetch("conversation_sends", conversation).rows}
            if not mail:
                raise CannotTell("no mail of conversations was found")
            start = datetime.fromisoformat(conversation["PublishedDate"][:19]) - DAY
            first_year = self._fetch("messages", conversation, (start, start + YEAR)).rows
            is_listed = any(row["MsgID"] in mail for row in [*messages, *first_year])
            return Conclusion("yes (certain)" if is_listed else "no (likely)")

        return look

    def _gone(self, one: Row) -> Conclusion:
        """Look at the oldest messages that a sync reads."""
        span = (self._since, self._since + YEAR)
        oldest = sorted(self._rows("messages", [one], span), key=by("SendDate"))
        self._rows("message_opens", oldest[:TRIED])
        return gone_reports(self._answers)

    def _operations(self, parent: Row) -> Conclusion:
        """Request every operation that was not requested yet."""
        requested = {table for table, *_ in self._answers} | {"lists"}
        for name in sorted(TABLES.keys() - requested):
            self._rows(name, [parent], (self._wall - DAY, self._wall + DAY))
        return operations(self._answers)


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
