"""The floor: canned records through the CDK by the connector's own entry point, without an API."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from source_listrak import run, source
from source_listrak.streams.base import Slice
from source_listrak.streams.messages import MessageOpens

ROWS_OF_A_PAGE = 1000


class CannedOpens(MessageOpens):
    """`message_opens` whose rows are made up: nothing is asked, nothing is parsed."""

    total = int(sys.argv.pop(1)) if len(sys.argv) > 1 else 0

    def slices(self) -> Iterator[Slice]:
        """Yield slices as an account of many messages has them."""
        for first in range(0, self.total, 10 * ROWS_OF_A_PAGE):
            yield Slice(
                key=((1, first), (1, first)),
                label=str(first),
                expected_rows=min(10 * ROWS_OF_A_PAGE, self.total - first),
            )

    def read_pages(self, piece: Slice) -> Iterator[list[dict[str, Any]]]:
        """Yield pages of rows that look like the simulator's."""
        for _ in range(0, piece.expected_rows, ROWS_OF_A_PAGE):
            yield [
                {
                    "ContactID": f"contact-{number:012d}",
                    "EmailAddress": f"recipient{number}@example.com",
                    "OpenDate": "2023-07-04T15:16:17.123000Z",
                    "MsgID": 4711,
                }
                for number in range(ROWS_OF_A_PAGE)
            ]


if __name__ == "__main__":
    source.STREAMS = tuple(
        CannedOpens if stream is MessageOpens else stream for stream in source.STREAMS
    )
    run.run()
