"""A page of records as text: what the CDK would write record by record."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.models import AirbyteMessage, Type
from airbyte_cdk.sources.connector_state_manager import HashableStreamDescriptor
from airbyte_cdk.sources.utils.record_helper import stream_data_to_airbyte_message
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.pages import MOST_RECORDS, RecordPage, as_records, page_of
from source_listrak.run import ListrakEntrypoint

VALUES = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=2)
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["MsgID", "Subject", "a b", "ö"]), VALUES, min_size=1),
    min_size=1,
    max_size=5,
)


def messages(stream: str, rows: list[dict[str, Any]]) -> list[AirbyteMessage]:
    """What the CDK hands on of a page."""
    return [
        stream_data_to_airbyte_message(record.stream_name, record.data)
        for record in as_records(stream, rows)
    ]


def without_time(line: str) -> Any:
    message = json.loads(line)
    assert isinstance(message["record"].pop("emitted_at"), int)
    return message


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, stream=st.sampled_from(["lists", 'a"b\nö']))
def test_a_page_reads_as_the_cdk_would_have_written_its_records(
    rows: list[dict[str, Any]], stream: str
) -> None:
    page = RecordPage(stream, rows)
    assert page.count == len(rows)
    assert page.text.endswith("\n")
    lines = page.text.split("\n")[:-1]
    by_the_cdk = [
        AirbyteEntrypoint.airbyte_message_to_string(stream_data_to_airbyte_message(stream, row))
        for row in rows
    ]
    assert list(map(without_time, lines)) == list(map(without_time, by_the_cdk))
    assert lines[0].startswith('{"type":"RECORD"')


@pytest.mark.parametrize("count", [1, MOST_RECORDS, MOST_RECORDS + 1, 3 * MOST_RECORDS])
def test_a_large_page_goes_in_bounded_parts(count: int) -> None:
    rows = [{"MsgID": number} for number in range(count)]
    found = [page_of(message) for message in messages("lists", rows)]
    pages = [page for page in found if page is not None]
    assert len(pages) == len(found)
    assert all(page.count <= MOST_RECORDS for page in pages)
    text = "".join(page.text for page in pages)
    assert [json.loads(line)["record"]["data"] for line in text.splitlines()] == rows


def test_no_rows_are_no_page() -> None:
    assert not list(as_records("lists", []))


def test_nothing_but_a_page_is_taken_for_one() -> None:
    assert page_of(AirbyteMessage(type=Type.LOG)) is None
    record = stream_data_to_airbyte_message("lists", {"page": "a column of that name"})
    assert page_of(record) is None


def test_the_records_of_a_page_are_counted_for_the_next_state() -> None:
    counts: defaultdict[HashableStreamDescriptor, float] = defaultdict(float)
    for message in messages("lists", [{"ListID": 1}] * 7):
        assert ListrakEntrypoint.handle_record_counts(message, counts) is message
    single = stream_data_to_airbyte_message("lists", {"ListID": 1})
    ListrakEntrypoint.handle_record_counts(single, counts)
    assert counts == {HashableStreamDescriptor(name="lists"): 8.0}
