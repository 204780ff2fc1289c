"""The records that the floors emit: made up, and like the simulator's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ROWS_OF_A_PAGE = 1000


def pages(rows: int) -> Iterator[list[dict[str, Any]]]:
    """Yield so many rows of `message_opens`, a page at a time."""
    for first in range(0, rows, ROWS_OF_A_PAGE):
        yield [
            {
                "ContactID": f"contact-{number:012d}",
                "EmailAddress": f"recipient{number}@example.com",
                "OpenDate": "2023-07-04T15:16:17.123000Z",
                "MsgID": 4711,
            }
            for number in range(min(ROWS_OF_A_PAGE, rows - first))
        ]
