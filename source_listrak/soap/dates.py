"""Listrak's dates in RFC 3339 and UTC, a form that sorts as text."""

import re
from collections.abc import Callable
from datetime import datetime, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

CACHED_HOURS = 2**14
"""Hours whose conversion is kept: nearly two years of them, in about 3 MB."""

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
    "([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) (0?[1-9]|1[0-2]):([0-5][0-9]:[0-5][0-9])[ \u202f]([AP])M"
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
        # Wall-clock time, in half the time of an expression.
        hour = self._hour(text[:13], "")
        minute, second, fraction = text[13:16], text[16:19], text[19:]
        if hour and minute in _SIXTY and second in _SIXTY:
            if not fraction:
                return f"{hour}{minute}{second}.000000Z"
            if fraction[0] == "." and fraction[1:].isdecimal() and fraction.isascii():
                return f"{hour}{minute}{second}{fraction[:7].ljust(7, '0')}Z"
        return self._convert(text)

    def date_text(self, text: str) -> str | None:
        """Return a date that the service types as a plain string; any other text unchanged."""
        try:
            return self.date_time(text)
        except ValueError:
            return text

    def _convert(self, text: str) -> str | None:
        fraction = offset = ""
        if iso := _ISO_8601.fullmatch(text):
            date, minute, second, fraction, offset = iso.groups("")
            text = f"{date}T{minute or '00:00'}:{second or '00'}"
        elif en_us := _EN_US.fullmatch(text):
            month, day, year, hour, minute, half = en_us.groups()
            hours = int(hour) % 12 + (12 if half == "P" else 0)
            text = f"{year}-{month:0>2}-{day:0>2}T{hours:02}:{minute}"
        else:
            raise ValueError("not a date")
        digits = f"{fraction[:6]:0<6}"
        if known := self._hour(text[:13], offset):
            return f"{known}{text[13:]}.{digits}Z"
        try:
            local = datetime.fromisoformat(text)
            if local == _NET_EMPTY:
                return None
            return f"{self._instant(local, offset).isoformat()}.{digits}Z"
        except OverflowError:
            is_first = local.year == 1
            return "0001-01-01T00:00:00.000000Z" if is_first else "9999-12-31T23:59:59.999999Z"
        except ValueError:  # such as the 30th of February
            raise ValueError("not a date") from None

    def _convert_hour(self, hour: str, offset: str) -> str | None:
        """Return `YYYY-MM-DDTHH` in UTC, None where minutes cannot simply be appended to it.

        So where the offset is not in whole hours, or changes within this one.
        """
        if hour == _NET_EMPTY.isoformat()[:13] or not _LOCAL_HOUR.fullmatch(hour):
            return None
        try:
            ends = (datetime.fromisoformat(hour + rest) for rest in (":00:00", ":59:59"))
            first, last = (self._instant(end, offset).isoformat() for end in ends)
        except (ValueError, OverflowError):
            return None
        return first[:13] if first[13:] == ":00:00" and last == f"{first[:13]}:59:59" else None

    def _instant(self, local: datetime, offset: str) -> datetime:
        """Return a wall-clock time in UTC, naive. :raises OverflowError: beyond year 1 or 9999."""
        zone: tzinfo | None = self._zone
        if offset:  # such as Z, +05:30, -0530 or -05
            zone = datetime.strptime(offset.replace("Z", "+00").ljust(5, "0"), "%z").tzinfo
        return local.replace(tzinfo=zone).astimezone(timezone.utc).replace(tzinfo=None)
