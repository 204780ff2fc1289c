"""`source-listrak probe`: finds out how the service behaves where nothing documents it.

For a user with an account: at most `REQUEST_LIMIT` requests, and no data of the account is printed.
"""

from __future__ import annotations

import argparse
import logging
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from source_listrak.config import ListrakConfig, read_config
from source_listrak.soap.client import Request, RetryPolicy
from source_listrak.soap.faults import Action, ListrakError
from source_listrak.soap.rows import Page
from source_listrak.soap.wire import Response
from source_listrak.soap.xml import local_name, parse
from source_listrak.source import Connection, Settings, SourceListrak
from source_listrak.streams import make_stream
from source_listrak.tables import TABLES

COMMAND = "probe"
REQUEST_LIMIT = 60
CANNOT_TELL = "cannot tell"

_RESERVE = 3
"""Requests that one step may take beside its own: a retry of a 404, and a login to look after."""
_BEYOND_THE_END = 1_000_000
"""A page that no report has."""
_LISTS = 3
_LAYOUTS = {
    "ISO 8601, {} fraction digits": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d+))?",
    "ISO 8601 with an offset": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)",
    "US (month/day/year)": r"\d{1,2}/\d{1,2}/\d{4} .*",
}
_ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "UTC")

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of one unknown.

    :param certainty: "certain", "likely", or empty where the answer says that it cannot be told
    """

    question: str
    answer: str
    certainty: str = ""

    def __str__(self) -> str:
        return f"{self.question}: {self.answer}" + (
            f" ({self.certainty})" if self.certainty else ""
        )


class RequestLimitReached(Exception):
    """The probe may send no further request."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A response: its typed rows, the texts of its dates, and the form of its result."""

    rows: Rows
    dates: list[str]
    form: str


class Probe:
    """Sends single requests and draws conclusions.

    Dates are read as if they were UTC, so that what is called an instant here is wall-clock time.
    """

    def __init__(self, config: ListrakConfig, settings: Settings) -> None:
        self._zone = config.zone
        self._config = config.model_copy(update={"time_zone": "UTC"})
        policy = RetryPolicy(attempts=1, seconds=0.0)
        self._connection: Connection = SourceListrak(settings).connect(
            self._config, policy, logging.getLogger("airbyte")
        )
        self._now = settings.now().replace(tzinfo=None)
        self._dates: list[str] = []
        self._operations: dict[str, str] = {}
        self._lists = [row["ListID"] for row in self._connection.lists]
        self._messages: Rows = []

    def findings(self) -> Iterator[Finding]:
        """Yield what each unknown turned out to be."""
        self._survey()
        steps: Mapping[str, Callable[[str], Finding]] = {
            "Page size": self._page_size,
            "Empty page": self._empty_page,
            "Order of rows": self._order,
            "Range ends": self._range_ends,
            "Time zone": self._time_zone,
            "OpenCount counts": self._open_count,
            "ClickCount counts": self._click_count,
            "Gone reports": self._gone_reports,
            "Conversation mail in messages": self._conversation_mail,
            "Refused operations": self._refused,
            "Layout of dates": self._layout,
        }
        for question, step in steps.items():
            try:
                yield step(question)
            except RequestLimitReached:
                yield Finding(question, f"{CANNOT_TELL}: {REQUEST_LIMIT} requests were sent")
            except ListrakError as error:
                if error.fault.action is Action.STOP:
                    raise
                yield Finding(question, f"{CANNOT_TELL}: {error.fault.name}")
        yield Finding("Requests", str(self._connection.counts.requests))

    def suggestions(self, findings: Sequence[Finding]) -> list[str]:
        """Return which options to set."""
        zone = next(one for one in findings if one.question == "Time zone")
        if zone.certainty and self._zone.key not in zone.answer:
            return [f"time_zone: {zone.answer.split()[0]}"]
        return []

    def _get(self, table: str, arguments: Mapping[str, Any], page: int = 1) -> Seen:
        if self._connection.counts.requests >= REQUEST_LIMIT - _RESERVE:
            raise RequestLimitReached
        stream = make_stream(
            TABLES[table], self._config, self._connection.session, self._connection.counts
        )
        kept: list[Response] = []

        def keep(response: Response) -> Page:
            kept.append(response)
            return stream.parse_response(response)

        operation = TABLES[table].operation
        token = {"Page": page} if TABLES[table].paged else None
        request = Request(
            operation,
            stream.url_base,
            stream.request_headers(),
            stream.request_body_data(stream_slice=arguments, next_page_token=token),
            operation,
            (operation, *arguments.values()),
        )
        try:
            answer = self._connection.session.client.send(request, keep, stream.counts)
        except ListrakError as error:
            self._operations.setdefault(operation, error.fault.name)
            raise
        self._operations[operation] = "works"
        root = parse(kept[-1].body, kept[-1].content_type).root
        texts = [e.text for e in root.iter("{*}*") if local_name(e).endswith("Date") and e.text]
        self._dates += texts
        result = next((e for e in root.iter("{*}*") if local_name(e) == f"{operation}Result"), None)
        is_empty = result is not None and not answer.present
        form = "absent" if result is None else "nil" if is_empty else "empty"
        return Seen(answer.rows, texts, form)

    def _span(self, start: timedelta, end: timedelta) -> dict[str, datetime]:
        return {"StartDate": self._now + start, "EndDate": self._now + end}

    def _survey(self) -> None:
        """Look at the messages of the last quarter, or year, of a few lists."""
        for days in (90, 365):
            for list_id in self._lists[:_LISTS]:
                span = self._span(timedelta(days=-days), timedelta(days=1))
                arguments = {"ListID": list_id, **span, "IncludeTestMessages": False}
                self._messages += self._get("messages", arguments).rows
            if self._messages:
                return

    def _busiest(self, counter: str) -> dict[str, Any]:
        found = [row for row in self._messages if row.get(counter)]
        if not found:
            raise RequestLimitReached
        return max(found, key=lambda row: int(row[counter]))

    def _events(self, table: str, message: Mapping[str, Any], page: int = 1) -> Rows:
        whole = self._span(timedelta(days=-3650), timedelta(days=2))
        return self._get(table, {"MsgID": message["MsgID"], **whole}, page).rows

    def _page_size(self, question: str) -> Finding:
        message = self._busiest("DeliverCount")
        arguments = {"MsgID": message["MsgID"]}
        first = len(self._get("message_sends", arguments).rows)
        second = len(self._get("message_sends", arguments, 2).rows)
        if second:
            return Finding(question, f"{first:,} rows", "certain")
        return Finding(question, f"{CANNOT_TELL}: at least {first:,} rows")

    def _empty_page(self, question: str) -> Finding:
        message = self._busiest("DeliverCount")
        seen = self._get("message_sends", {"MsgID": message["MsgID"]}, _BEYOND_THE_END)
        if seen.rows:
            return Finding(question, "none: pages beyond the end repeat rows", "certain")
        return Finding(question, f"the result is {seen.form}", "certain")

    def _order(self, question: str) -> Finding:
        rows = self._events("message_opens", self._busiest("OpenCount"))
        dates = [row["OpenDate"] for row in rows if "OpenDate" in row]
        addresses = [row.get("EmailAddress", "").lower() for row in rows]
        if len(set(dates)) < 4 or len(set(addresses)) < 4:
            return Finding(question, f"{CANNOT_TELL}: too few rows")
        for name, keys in (("date", dates), ("address", addresses)):
            if keys == sorted(keys):
                return Finding(question, f"by {name}, ascending", "likely")
            if keys == sorted(keys, reverse=True):
                return Finding(question, f"by {name}, descending", "likely")
        return Finding(question, "neither by date nor by address", "certain")

    def _range_ends(self, question: str) -> Finding:
        message = self._busiest("OpenCount")
        dates = [row.get("OpenDate", "") for row in self._events("message_opens", message)]
        whole = [date for date in dates if date.endswith(".000000Z")]
        if not whole:
            return Finding(question, f"{CANNOT_TELL}: no date without a fraction of a second")
        at = datetime.fromisoformat(whole[0].removesuffix("Z"))
        second = timedelta(seconds=1)

        def has_row(start: datetime, end: datetime) -> bool:
            span = {"StartDate": start, "EndDate": end}
            seen = self._get("message_opens", {"MsgID": message["MsgID"], **span})
            return any(row.get("OpenDate") == whole[0] for row in seen.rows)

        start, end = has_row(at, at + second), has_row(at - second, at)
        inclusive = {True: "inclusive", False: "exclusive"}
        return Finding(question, f"start {inclusive[start]}, end {inclusive[end]}", "certain")

    def _time_zone(self, question: str) -> Finding:
        """Find the newest event: the wall-clock time of the service is just after it."""
        recent = sorted(self._messages, key=lambda row: str(row.get("SendDate", "")))
        opened = [row for row in recent if row.get("OpenCount")]
        if not opened:
            return Finding(question, f"{CANNOT_TELL}: no message was opened")
        message = opened[-1]["MsgID"]

        def newest_since(hours: int) -> list[str]:
            span = self._span(timedelta(hours=hours), timedelta(hours=16))
            rows = self._get("message_opens", {"MsgID": message, **span}).rows
            return sorted(row["OpenDate"] for row in rows if "OpenDate" in row)

        low, high, found = -13, 15, list[str]()
        while high - low > 1:
            middle = (low + high) // 2
            dates = newest_since(middle)
            if dates:
                low, found = middle, dates
            else:
                high = middle
        if len(found) < 3:
            return Finding(question, f"{CANNOT_TELL}: too few events in the last hours")
        newest = datetime.fromisoformat(found[-1].removesuffix("Z"))
        ahead = (newest - self._now).total_seconds() / 3600
        offset = -(-ahead // 1)
        if (offset - ahead) * 60 > 20:
            return Finding(question, f"{CANNOT_TELL}: at or east of UTC{ahead:+.1f}")
        present = self._now.replace(tzinfo=timezone.utc)
        fitting = [
            name
            for name in (self._zone.key, *_ZONES)
            if present.astimezone(ZoneInfo(name)).utcoffset() == timedelta(hours=offset)
        ]
        name = fitting[0] if fitting else f"UTC{offset:+.0f}"
        return Finding(question, f"{name} (UTC{offset:+.0f} now)", "likely")

    def _open_count(self, question: str) -> Finding:
        return self._counts(question, "message_opens", "OpenCount", None)

    def _click_count(self, question: str) -> Finding:
        return self._counts(question, "message_clicks", "ClickCount", "ClickerCount")

    def _counts(self, question: str, table: str, counter: str, contacts: str | None) -> Finding:
        """Compare a counter with the rows and the contacts of a message of moderate size."""
        candidates = [row for row in self._messages if row.get(counter)]
        if not candidates:
            return Finding(question, f"{CANNOT_TELL}: it is zero everywhere")
        message = min(candidates, key=lambda row: abs(int(row[counter]) - 1000))
        rows: Rows = []
        for page in range(1, 5):
            found = self._events(table, message, page)
            rows += found
            if not found:
                break
        else:
            return Finding(question, f"{CANNOT_TELL}: the smallest report has more than 4 pages")
        people = len({row.get("ContactID", row.get("EmailAddress")) for row in rows})
        count = int(message[counter])
        if len(rows) == people:
            return Finding(question, f"{CANNOT_TELL}: no contact came twice")
        if count == people != len(rows):
            return Finding(question, "contacts", "likely")
        return Finding(question, "events" if count == len(rows) else "neither", "likely")

    def _gone_reports(self, question: str) -> Finding:
        oldest = sorted(self._messages, key=lambda row: str(row.get("SendDate", "")))[:2]
        gone = 0
        for message in oldest:
            try:
                self._events("message_opens", message)
            except ListrakError as error:
                if error.fault.action is not Action.GONE:
                    raise
                gone += 1
        return Finding(question, f"{gone} of the {len(oldest)} oldest messages seen", "certain")

    def _conversation_mail(self, question: str) -> Finding:
        for list_id in self._lists[:_LISTS]:
            for row in self._get("conversations", {"ListID": list_id}).rows:
                if not row.get("DeliverCount"):
                    continue
                span = self._span(timedelta(days=-90), timedelta(days=1))
                arguments = {"ConversationID": row["ConversationID"], **span}
                sends = self._get("conversation_sends", arguments).rows
                mail = {send["MsgID"] for send in sends if "MsgID" in send}
                if mail:
                    known = {message["MsgID"] for message in self._messages}
                    return Finding(question, "yes" if mail & known else "no", "likely")
        return Finding(question, f"{CANNOT_TELL}: no conversation sent mail")

    def _refused(self, question: str) -> Finding:
        """Request every operation once that was not requested yet."""
        parents = {
            "ListID": self._lists[0],
            "MsgID": self._messages[0]["MsgID"] if self._messages else None,
        }
        left = 0
        for name, table in TABLES.items():
            if table.operation in self._operations or table.parent in ("login", "conversation"):
                continue
            parent = parents[table.id_column]
            if parent is None:
                continue
            arguments: dict[str, Any] = {table.id_column: parent}
            if table.parent == "account":
                arguments = {}
            elif table.parent == "batch":
                arguments = {"MsgIDs": [parents["MsgID"]]}
            if table.ranged:
                arguments |= self._span(timedelta(days=-1), timedelta(days=1))
            if name == "message_deliveries":
                arguments["IncludeTestMessages"] = False
            try:
                self._get(name, arguments)
            except RequestLimitReached:
                left += 1
            except ListrakError as error:
                if error.fault.action is Action.STOP:
                    raise
        others = [f"{name} ({how})" for name, how in self._operations.items() if how != "works"]
        rest = f"; {left} not requested" if left else ""
        works = len(self._operations) - len(others)
        return Finding(question, f"{', '.join(others) or 'none'}; {works} work{rest}", "certain")

    def _layout(self, question: str) -> Finding:
        found: dict[str, set[int]] = {}
        for date in self._dates:
            for layout, pattern in _LAYOUTS.items():
                match = re.fullmatch(pattern, date)
                if match:
                    found.setdefault(layout, set()).add(
                        len(match[1] or "") if match.re.groups else 0
                    )
                    break
            else:
                found.setdefault("another layout", set()).add(0)
        if not found:
            return Finding(question, f"{CANNOT_TELL}: no date was seen")
        names = [
            layout.format(f"{min(digits)} to {max(digits)}") for layout, digits in found.items()
        ]
        return Finding(question, ", ".join(sorted(names)), "certain")


def run(args: list[str], settings: Settings) -> str:
    """Return what the command prints.

    :raises SystemExit: the arguments are wrong, or help was requested
    :raises AirbyteTracedException: the configuration is wrong, or the login failed
    """
    parser = argparse.ArgumentParser(
        prog=f"source-listrak {COMMAND}",
        description="Find out how the Listrak service behaves where nothing documents it, with at "
        f"most {REQUEST_LIMIT} requests. No data of the account is printed.",
    )
    parser.add_argument("--config", type=Path, required=True, help="the configuration, a JSON file")
    parsed = parser.parse_args(args)
    probe = Probe(ListrakConfig.parse(read_config(parsed.config)), settings)
    findings = list(probe.findings())
    lines = [str(finding) for finding in findings]
    options = probe.suggestions(findings)
    versions = (
        f"source-listrak {version('airbyte-source-listrak')}, Python {platform.python_version()}"
    )
    return "\n".join(
        [
            *lines,
            "",
            "Options to set: " + (", ".join(options) or "none beside those of the configuration"),
            "",
            "To report this, paste the following block into an issue. It holds no personal data.",
            "```",
            versions,
            *lines,
            "```",
        ]
    )
