"""`source-listrak probe`: finds out how the service behaves where nothing documents it.

For a user with an account: at most `REQUEST_LIMIT` requests, and no data of the account is printed.
`Probe` sends the requests and keeps every answer; functions draw the conclusions from answers.

Date-times are wall-clock times of the account, whatever its zone: dates are read without their
offset, as if they were UTC.
"""

from __future__ import annotations

import argparse
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

from source_listrak.config import ListrakConfig, read_config
from source_listrak.soap import faults
from source_listrak.soap.client import Request
from source_listrak.soap.rows import Page
from source_listrak.soap.wire import Response
from source_listrak.source import Settings, SourceListrak
from source_listrak.streams import make_stream
from source_listrak.tables import TABLES

COMMAND = "probe"
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
LISTS, TRIED, PAGES = 5, 3, 5
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
    :param removed: how many characters XML 1.0 forbids
    :param fault: the name of what arrived instead, if anything did
    """

    rows: Rows = ()
    dates: Sequence[str] = ()
    form: str = ""
    removed: int = 0
    fault: str = ""


Answers = Mapping[Call, Answer]


def paged_reports(answers: Answers) -> list[list[Rows]]:
    """Return the pages of each paged report."""
    found: dict[object, list[Rows]] = {}
    for (table, arguments, _), answer in answers.items():
        if TABLES[table].paged:
            found.setdefault((table, arguments), []).append(answer.rows)
    return list(found.values())


def page_size(reports: Sequence[Sequence[Rows]]) -> Conclusion:
    """Conclude from the pages that another, new one follows: only those are known to be full."""
    pairs = [(report[0], *pair) for report in reports for pair in pairwise(report)]
    full = {len(one) for first, one, after in pairs if one and after and after not in (first, one)}
    if not full:
        raise CannotTell(f"at least {largest_page(reports):,} rows")
    return Conclusion(f"{' or '.join(f'{size:,}' for size in sorted(full))} rows (certain)")


def largest_page(reports: Sequence[Sequence[Rows]]) -> int:
    """Return the number of rows of the largest page."""
    return max((len(page) for report in reports for page in report), default=0)


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
        for direction, pairs in (
            ("ascending", pairwise(values)),
            ("descending", pairwise(values[::-1])),
        )
        if sum(one <= after for one, after in pairs) >= ORDERED_SHARE * (len(values) - 1)
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
    if count not in (people, len(rows)):
        return Conclusion("neither contacts nor events (likely)")
    if people == len(rows):
        raise CannotTell("no contact came twice" if rows else "there are no rows")
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


def layouts(texts: Sequence[str]) -> Conclusion:
    """Conclude in which layouts dates are written."""
    matches = [_LAYOUT.fullmatch(text) for text in texts]
    if not matches:
        raise CannotTell("no date was seen")
    names = {str(one.lastgroup or "ISO").replace("_", " ") if one else "another" for one in matches}
    digits = max(len(one[2] or "") if one else 0 for one in matches)
    return Conclusion(f"{', '.join(sorted(names))}; at most {digits} fraction digits (certain)")


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


class Probe:
    """Sends the requests that settle each unknown, at most `REQUEST_LIMIT`, and keeps the answers.

    :raises AirbyteTracedException: the login failed, or no list is visible
    """

    def __init__(self, config: ListrakConfig, settings: Settings) -> None:
        self._config = config.model_copy(update={"time_zone": "UTC"})
        # Silent, because the service's own texts can hold names.
        logger = logging.Logger(COMMAND, logging.CRITICAL + 1)
        policy = replace(settings.read_policy, attempts=2, seconds=0.0)
        self._connection = SourceListrak(settings).connect(self._config, policy, logger)
        self._zone, self._now = config.time_zone, settings.now()
        self._wall = self._now.replace(tzinfo=None)
        self._lists = self._connection.lists[:LISTS]
        self._answers: dict[Call, Answer] = {}

    def conclusions(self) -> Iterator[tuple[str, Conclusion]]:
        """Yield each unknown and what it turned out to be.

        Each is looked for with one message, list or conversation after another, until one shows it.
        """
        messages = self._rows("messages", self._lists)
        messages.sort(key=lambda row: row.get("SendDate") or "")
        lists = [{**row, **_busiest(messages)} for row in self._lists]

        steps: list[tuple[str, Callable[[Row], Conclusion], Rows]] = [
            ("Page size", self._page_size, lists[:1]),
        ]
        for name, conclude, rows in steps:
            conclusion = Conclusion("cannot tell: no message was found in the first lists")
            for row in rows:
                try:
                    conclusion = conclude(row)
                    break
                except CannotTell as reason:
                    conclusion = Conclusion(f"cannot tell: {reason}")
            yield name, conclusion
