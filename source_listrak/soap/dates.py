"""Listrak's dates in RFC 3339 and UTC, a form that sorts as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

CACHED_MINUTES = 2**14
"""Minutes whose conversion is kept: eleven days of them, in about 5 MB."""

FIRST_INSTANT = "0001-01-01T00:00:00.000000Z"
LAST_INSTANT = "9999-12-31T23:59:59.999999Z"

_NET_EMPTY = datetime(1, 1, 1)  # noqa: DTZ001 (a wall-clock value: what .NET writes for "never")
_WHOLE_MINUTES_SINCE = "1973"
"""Since then every zone's offset is in whole minutes (Liberia changed last, in 1972)."""

# Not 24:00: only some versions of Python read it.
_LOCAL_MINUTE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_SECONDS = frozenset(f":{second:02}" for second in range(60))
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
        self._minute: Callable[[str, str], str | None] = lru_cache(CACHED_MINUTES)(
            self._convert_minute
        )

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
        minute, second, fraction = text[:16], text[16:19], text[19:]
        in_utc = self._minute(minute, "")
        if in_utc is None or second not in _SECONDS:
            return None
        if not fraction:
            return f"{in_utc}{second}.000000Z"
        if fraction[0] != "." or not fraction[1:].isdecimal() or not fraction.isascii():
            return None
        return f"{in_utc}{second}{fraction[:7].ljust(7, '0')}Z"

    def _convert(self, minute: str, second: str, fraction: str, offset: str) -> str | None:
        digits = f"{fraction[:6]:0<6}"
        in_utc = self._minute(minute, offset)
        if in_utc is not None:
            return f"{in_utc}:{second}.{digits}Z"
        local = datetime.fromisoformat(f"{minute}:{second}")
        if local == _NET_EMPTY:
            return None
        try:
            return f"{self._instant(local, offset).isoformat()}.{digits}Z"
        except OverflowError:
            return FIRST_INSTANT if local.year == 1 else LAST_INSTANT

    def _convert_minute(self, minute: str, offset: str) -> str | None:
        """Return `YYYY-MM-DDTHH:MM` in UTC, None where seconds cannot simply be appended to it."""
        if minute < _WHOLE_MINUTES_SINCE or not _LOCAL_MINUTE.fullmatch(minute):
            return None
        try:
            return self._instant(datetime.fromisoformat(minute), offset).isoformat()[:16]
        except (ValueError, OverflowError):
            return None

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
