"""Listrak's dates in RFC 3339 and UTC, a form that sorts as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

CACHED_HOURS = 2**14
"""Hours whose conversion is kept: nearly two years of them, in about 3 MB."""

FIRST_INSTANT = "0001-01-01T00:00:00.000000Z"
LAST_INSTANT = "9999-12-31T23:59:59.999999Z"

_NET_EMPTY = datetime(1, 1, 1)  # noqa: DTZ001 (a wall-clock value: what .NET writes for "never")
_SIXTY = frozenset(f":{number:02}" for number in range(60))
# Not 24: only some versions of Python read it.
_LOCAL_HOUR = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3])")
_ISO_8601 = re.compile(
    "([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T((?:[01][0-9]|2[0-3]):[0-5][0-9])"
    r"(?::([0-5][0-9])(?:[.,]([0-9]+))?)?"
    r"(Z|[+-](?:0[0-9]|1[0-3])(?::?[0-5][0-9])?|[+-]14(?::?00)?)?)?"
)
# Newer .NET puts a narrow no-break space before AM and PM.
_EN_US = re.compile(
    "([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) (0?[1-9]|1[0-2]):([0-9]{2}):([0-5][0-9])[ \u202f]([AP])M"
)


class DateReader:
    """Converts dates; one without an offset is wall-clock time in the given zone.

    Of an hour that daylight saving repeats, the first is taken. A time in the hour that it skips
    is read with the offset from before the change: 02:30, which never was, is 03:30 in summer
    time. Instants outside the years 1 to 9999 in UTC become the first or the last instant of
    them. Fractions are cut after six digits and never rounded, so that no instant moves into the
    next second. Safe to share between threads.

    :param zone: the zone of dates that carry no offset
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._hour: Callable[[str, str], str | None] = lru_cache(CACHED_HOURS)(self._convert_hour)

    def date_time(self, text: str) -> str | None:
        """Return a date as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, .NET's empty date as None.

        Reads ISO 8601 in its extended format (so every xs:dateTime; a date alone is midnight;
        minutes without seconds; offsets `Z`, `+HH:MM`, `+HHMM`, `+HH`) and the en-US layout of
        .NET (`3/5/2014 2:03:22 PM`).

        :raises ValueError: `text` is not a date; the message holds no part of it
        """
        if usual := self._usual(text):
            return usual
        try:
            if iso := _ISO_8601.fullmatch(text):
                date, minute, second, fraction, offset = iso.groups("")
                return self._convert(
                    f"{date}T{minute or '00:00'}", second or "00", fraction, offset
                )
            if en_us := _EN_US.fullmatch(text):
                month, day, year, hour, minute, second, half = en_us.groups()
                hours = int(hour) % 12 + (12 if half == "P" else 0)
                date = f"{year}-{month:0>2}-{day:0>2}"
                return self._convert(f"{date}T{hours:02}:{minute}", second, "", "")
        except ValueError:
            pass  # such as the 30th of February
        raise ValueError("not a date")

    def date_text(self, text: str) -> str | None:
        """Return a date that the service types as a plain string; any other text unchanged."""
        try:
            return self.date_time(text)
        except ValueError:
            return text

    def _usual(self, text: str) -> str | None:
        """Convert a date without an offset in half the time of an expression, None for others."""
        minute, second, fraction = text[13:16], text[16:19], text[19:]
        hour = self._hour(text[:13], "")
        if hour is None or minute not in _SIXTY or second not in _SIXTY:
            return None
        if not fraction:
            return f"{hour}{minute}{second}.000000Z"
        if fraction[0] != "." or not fraction[1:].isdecimal() or not fraction.isascii():
            return None
        return f"{hour}{minute}{second}{fraction[:7].ljust(7, '0')}Z"

    def _convert(self, minute: str, second: str, fraction: str, offset: str) -> str | None:
        digits = f"{fraction[:6]:0<6}"
        hour = self._hour(minute[:13], offset)
        if hour is not None:
            return f"{hour}{minute[13:]}:{second}.{digits}Z"
        local = datetime.fromisoformat(f"{minute}:{second}")
        if local == _NET_EMPTY:
            return None
        try:
            return f"{self._instant(local, offset).isoformat()}.{digits}Z"
        except OverflowError:
            return FIRST_INSTANT if local.year == 1 else LAST_INSTANT

    def _convert_hour(self, hour: str, offset: str) -> str | None:
        """Return `YYYY-MM-DDTHH` in UTC, None where minutes cannot simply be appended to it.

        So where the offset is not in whole hours, or changes within this one.
        """
        if hour == _NET_EMPTY.isoformat()[:13] or not _LOCAL_HOUR.fullmatch(hour):
            return None
        try:
            first, last = (
                self._instant(datetime.fromisoformat(hour + rest), offset).isoformat()
                for rest in (":00:00", ":59:59")
            )
        except (ValueError, OverflowError):
            return None
        return first[:13] if first[13:] == ":00:00" and last == f"{first[:13]}:59:59" else None

    def _instant(self, local: datetime, offset: str) -> datetime:
        """Return a wall-clock time in UTC, naive. :raises OverflowError: beyond year 1 or 9999."""
        if offset == "Z":
            return local
        if not offset:
            ahead = local.replace(tzinfo=self._zone).utcoffset()
            assert ahead is not None  # a ZoneInfo always knows
            return local - ahead
        ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:].lstrip(":") or 0))
        return local + ahead if offset[0] == "-" else local - ahead
