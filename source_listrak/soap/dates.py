"""Dates as Listrak writes them, in RFC 3339 and UTC: a form that sorts as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

CACHED_CONVERSIONS = 2**14
"""Hours whose conversion is kept: nearly two years of them, in about 4 MB."""

FIRST_INSTANT = "0001-01-01T00:00:00.000000Z"
LAST_INSTANT = "9999-12-31T23:59:59.999999Z"

_NET_EMPTY = datetime(1, 1, 1)  # noqa: DTZ001 (a wall-clock value: what .NET writes for "never")
_NET_EMPTY_HOUR = "0001-01-01T00"
_NET_EMPTY_TEXT = "0001-01-01T00:00:00"

# To look these up is ten times faster than an expression.
_WITHIN_HOUR = {f":{minute:02}:{second:02}" for minute in range(60) for second in range(60)}
_FRACTIONS = {"": ".000000Z"} | {
    f".{number:0{digits}}": f".{number:0{digits}}".ljust(7, "0") + "Z"
    for digits in (1, 2, 3)
    for number in range(10**digits)
}

_DATE = "([0-9]{4}-[0-9]{2}-[0-9]{2})"
# Not 24:00: only some versions of Python read it.
_MINUTE = "((?:[01][0-9]|2[0-3]):[0-5][0-9])"
_HOUR_OR_MINUTE = re.compile(_DATE + "T(?:[01][0-9]|2[0-3])(?::[0-5][0-9])?")
_XS_DATE_TIME = re.compile(
    _DATE + "T" + _MINUTE + r":([0-5][0-9])(?:\.([0-9]+))?"
    r"(Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?"
)
_ISO_8601 = re.compile(
    _DATE + "(?:T" + _MINUTE + r"(?::([0-5][0-9])(?:[.,]([0-9]+))?)?"
    r"(Z|[+-](?:0[0-9]|1[0-3])(?::?[0-5][0-9])?|[+-]14(?::?00)?)?)?"
)
# Newer .NET puts a narrow no-break space before AM and PM.
_EN_US = re.compile(
    "([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) (0?[1-9]|1[0-2]):([0-9]{2}):([0-5][0-9])[ \u202f]([AP])M"
)


class _Cache(dict[str, "str | None"]):
    """A bounded cache that costs one lookup: half of what `lru_cache` costs, and it is hot."""

    def __init__(self, convert: Callable[[str], str | None]) -> None:
        super().__init__()
        self._convert = convert

    def __missing__(self, key: str) -> str | None:
        if len(self) >= CACHED_CONVERSIONS:
            self.clear()
        value = self[key] = self._convert(key)
        return value


class DateReader:
    """Converts dates; one without an offset is wall-clock time in the given zone.

    Of an hour that daylight saving repeats, the first is taken; a time in the hour that it skips
    is read with the offset from before the change (02:30, which never was, is 03:30 in summer
    time). What lies outside the years 1 to 9999 in UTC becomes the first or the last instant of
    them. Fractions are cut after six digits and never rounded, so that no instant moves into the
    next second. Safe to share between threads.

    :param zone: the zone of dates that carry no offset
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._hours = _Cache(self._convert)
        self._in_utc: Callable[[str, str], str | None] = lru_cache(CACHED_CONVERSIONS)(
            self._convert
        )

    def date_time(self, text: str) -> str | None:
        """Return an xs:dateTime as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, .NET's empty date as None.

        :raises ValueError: `text` is no xs:dateTime; the message holds no part of it
        """
        if text == _NET_EMPTY_TEXT:
            return None
        usual = self.usual(text)
        if usual is not None:
            return usual
        match = _XS_DATE_TIME.fullmatch(text.strip(" \t\r\n"))
        if match is None:
            raise ValueError("not an xs:dateTime")
        date, minute, second, fraction, offset = match.groups(default="")
        try:
            return self._exact(f"{date}T{minute}", second, fraction, offset)
        except ValueError:
            raise ValueError("no such date or time") from None

    def date_text(self, text: str) -> str | None:
        """Return a date that the service types as a plain string in the form of `date_time`.

        Understood are ISO 8601 in its extended format (a date alone is midnight; minutes without
        seconds; offsets `Z`, `+HH:MM`, `+HHMM`, `+HH`) and the en-US layout of .NET
        (`3/5/2014 2:03:22 PM`). Anything else is returned untouched, .NET's empty date as None.
        """
        if text == _NET_EMPTY_TEXT:
            return None
        usual = self.usual(text)
        if usual is not None:
            return usual
        try:
            if iso := _ISO_8601.fullmatch(text):
                date, minute, second, fraction, offset = iso.groups(default="")
                return self._exact(f"{date}T{minute or '00:00'}", second or "00", fraction, offset)
            if en_us := _EN_US.fullmatch(text):
                month, day, year, hour, minute, second, half = en_us.groups()
                hours = int(hour) % 12 + (12 if half == "P" else 0)
                return self._exact(
                    f"{year}-{month:0>2}-{day:0>2}T{hours:02}:{minute}", second, "", ""
                )
        except ValueError:
            pass  # such as the 30th of February
        return text

    def usual(self, text: str) -> str | None:
        """Convert the usual layout, as `date_time` and `date_text` do; else return None."""
        within, end = text[13:19], text[19:]
        if within not in _WITHIN_HOUR:
            return None
        fraction = _FRACTIONS.get(end)
        if fraction is None:
            if end[0] != "." or not end[1:].isdecimal() or not end.isascii():
                return None
            fraction = end[:7].ljust(7, "0") + "Z"
        hour = self._hours[text[:13]]
        if hour is not None:
            return f"{hour}{within}{fraction}"
        # In a zone of half hours, or at a change of its offset.
        minute = self._in_utc(text[:16], "")
        return None if minute is None else f"{minute}{within[3:]}{fraction}"

    def _exact(self, minute: str, second: str, fraction: str, offset: str) -> str | None:
        """Convert `YYYY-MM-DDTHH:MM` and what follows it."""
        digits = f"{fraction[:6]:0<6}"
        whole = self._in_utc(minute, offset)
        if whole is not None:
            return f"{whole}:{second}.{digits}Z"
        local = datetime.fromisoformat(f"{minute}:{second}")
        if local == _NET_EMPTY:
            return None
        try:
            return f"{self._instant(local, offset).isoformat()}.{digits}Z"
        except OverflowError:
            return FIRST_INSTANT if local.year == 1 else LAST_INSTANT

    def _convert(self, local: str, offset: str = "") -> str | None:
        """Return an hour (`YYYY-MM-DDTHH`) or minute (`…:MM`) in UTC.

        None where the rest of a time cannot simply be appended: the offset changes within it or
        has a finer part (local mean time had seconds), it is .NET's empty date, or no date.
        """
        if local.startswith(_NET_EMPTY_HOUR) or not _HOUR_OR_MINUTE.fullmatch(local):
            return None
        first, last = (":00:00", ":59:59") if len(local) == len(_NET_EMPTY_HOUR) else (":00", ":59")
        try:
            start = self._instant(datetime.fromisoformat(local + first), offset).isoformat()
            end = self._instant(datetime.fromisoformat(local + last), offset).isoformat()
        except (ValueError, OverflowError):
            return None
        whole = start.removesuffix(first)
        return whole if start != whole and end == whole + last else None

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
