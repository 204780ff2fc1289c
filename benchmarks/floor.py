"""The floor: canned records through the CDK by the connector's own entry point, without an API.

Run: python -m benchmarks.floor <records> <records of a slice> read --config ... --catalog ...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.canned import pages
from source_listrak import run, source
from source_listrak.streams.base import Slice
from source_listrak.streams.messages import MessageOpens


class CannedOpens(MessageOpens):
    """`message_opens` whose rows are made up: nothing is asked, nothing is parsed."""

    total = of_slice = 0

    def slices(self) -> Iterator[Slice]:
        """Yield slices as an account has them that holds so many messages."""
        for first in range(0, self.total, self.of_slice):
            yield Slice(
                key=((1, first), (1, first)),
                label=str(first),
                expected_rows=min(self.of_slice, self.total - first),
            )

    def read_pages(self, piece: Slice) -> Iterator[list[dict[str, Any]]]:
        """Yield the canned pages."""
        return pages(piece.expected_rows)


if __name__ == "__main__":
    CannedOpens.total, CannedOpens.of_slice = int(sys.argv.pop(1)), int(sys.argv.pop(1))
    source.STREAMS = tuple(
        CannedOpens if stream is MessageOpens else stream for stream in source.STREAMS
    )
    run.run()
