"""Floors: canned records through this connector's streams and queue, without an API.

Run: python -m benchmarks.floor records|pages <records> <records of a slice> read --config ...
Single records go through the CDK's entry point, pages through this connector's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from airbyte_cdk.entrypoint import launch

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
    way, total, of_slice, *arguments = sys.argv[1:]
    CannedOpens.total, CannedOpens.of_slice = int(total), int(of_slice)
    source.STREAMS = tuple(
        CannedOpens if stream is MessageOpens else stream for stream in source.STREAMS
    )
    if way == "pages":
        run.run(arguments)
    launch(source.SourceListrak(), arguments)
