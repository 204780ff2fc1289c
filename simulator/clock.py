"""Instants, wall-clock time and the text of dates, in integer microseconds since 1970.

The service stores wall-clock values without an offset and compares them as such, so an instant
(UTC) and a wall (the account's zone) are kept apart: both are ints, and every name says which.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
_QUARTER = HOUR // 4  # every offset of a modern zone changes on a quarter of an hour
_XSD_DATE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?)?"
)
_MINUTES = [f"{minute // 60:02}:{minute % 60:02}:" for minute in range(24 * 60)]
_EARLIEST, _LATEST = -70 * 365 * DAY, 200 * 365 * DAY  # no row lies outside; spares overflows
_NO_DATE = "0001-01-01T00:00:00"


def to_instant(moment: datetime) -> int:
    """Return the instant of an aware datetime; raise ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a naive datetime is no instant")
    return (moment - EPOCH) // MICROSECOND


def to_datetime(microseconds: int) -> datetime:
    """Return the datetime of an instant; of a wall, its fields under a UTC label."""
    return EPOCH + timedelta(microseconds=microseconds)


class WallClock:
    """Converts between instants and the wall-clock time of one zone."""

    def __init__(self, time_zone: str) -> None:
        self.zone = ZoneInfo(time_zone)
        self._offsets: dict[int, int] = {}
        self._days: dict[int, str] = {}

    def wall(self, instant: int) -> int:
        """Return the wall-clock value of an instant."""
        return instant + self.offset(instant)

    def offset(self, instant: int) -> int:
        """Return the zone's offset at an instant, in microseconds east of UTC."""
        quarter = instant // _QUARTER
        offset = self._offsets.get(quarter)
        if offset is None:
            local = to_datetime(quarter * _QUARTER).astimezone(self.zone)
            offset = (local.utcoffset() or timedelta()) // MICROSECOND
            self._offsets[quarter] = offset
        return offset

    def bounds(self, wall: int) -> tuple[int, int]:
        """Return instants before and after which a wall-clock comparison is certain.

        Away from a change of the offset both are the same instant; near one they are hours apart,
        and rows between them must be compared one by one.
        """
        wall = min(max(wall, _EARLIEST), _LATEST)
        local = to_datetime(wall).replace(tzinfo=self.zone)
        instant = (local.astimezone(timezone.utc) - EPOCH) // MICROSECOND
        if self.offset(instant - 3 * HOUR) == self.offset(instant + 3 * HOUR):
            return instant, instant
        return instant - 3 * HOUR, instant + 3 * HOUR

    def parse(self, text: str) -> int:
        """Return the wall-clock value of an xs:dateTime or YYYY-MM-DD; raise ValueError if neither.

        A value with an offset is converted to the zone, as the service does before it compares.
        """
        match = _XSD_DATE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"The string '{text}' is not a valid AllXsd value.")
        year, month, day, hour, minute, second, fraction, offset = match.groups()
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0),
            int((fraction or "")[:6].ljust(6, "0")), timezone.utc,
        )  # fmt: skip
        value = (moment - EPOCH) // MICROSECOND
        if not offset:
            return value
        if offset != "Z":
            minutes = int(offset[1:3]) * 60 + int(offset[4:])
            value -= (minutes if offset[0] == "+" else -minutes) * 60 * SECOND
        try:
            return self.wall(value)
        except OverflowError as error:
            raise ValueError("Specified time is not supported in this calendar.") from error

    def iso(self, instant: int | None, *, with_offset: bool = False) -> str:
        """Render an instant as .NET does: wall-clock time, fraction digits only where needed."""
        if instant is None:
            return _NO_DATE
        offset = self.offset(instant)
        day, rest = divmod(instant + offset, DAY)
        date = self._days.get(day)
        if date is None:
            date = self._days[day] = to_datetime(day * DAY).strftime("%Y-%m-%dT")
        seconds, fraction = divmod(rest, SECOND)
        minute, second = divmod(seconds, 60)
        text = f"{date}{_MINUTES[minute]}{second:02}"
        if fraction % 1000:
            text += f".{fraction:06}{1 + fraction % 9}"  # seven digits: .NET's full resolution
        elif fraction:
            text += f".{fraction // 1000:03}".rstrip("0")
        if with_offset:
            sign = "-" if offset < 0 else "+"
            minutes = abs(offset) // (60 * SECOND)
            text += f"{sign}{minutes // 60:02}:{minutes % 60:02}"
        return text

    def us(self, instant: int) -> str:
        """Render an instant in .NET's en-US layout, to the second: ``3/5/2014 2:03:22 PM``."""
        at = to_datetime(self.wall(instant))
        half = "AM" if at.hour < 12 else "PM"
        return (
            f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at.minute:02}:{at.second:02} "
            f"{half}"
        )
