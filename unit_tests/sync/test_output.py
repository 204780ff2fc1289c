"""Batches of records read as the CDK would write them, and one queue keeps their order."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any

import pytest
from airbyte_cdk.entrypoint import AirbyteEntrypoint
from airbyte_cdk.models import AirbyteMessage
from airbyte_cdk.sources.utils.record_helper import stream_data_to_airbyte_message
from hypothesis import given, settings
from hypothesis import strategies as st

from source_listrak.soap.rows import DamagedRow
from source_listrak.sync.output import (
    BATCH_RECORDS,
    QUEUE_ITEMS,
    RecordBatch,
    as_batches,
    batch_of,
    rate_limited,
    release,
    state_message,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = (
    TEXTS
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.lists(TEXTS, max_size=2)
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["MsgID", "Subject", "a b", "ö"]), VALUES, min_size=1),
    min_size=1,
    max_size=5,
)


def messages(stream: str, rows: list[dict[str, Any]]) -> list[AirbyteMessage]:
    """Return what the CDK passes on of some rows."""
    return [
        stream_data_to_airbyte_message(record.stream_name, record.data)
        for record in as_batches(stream, rows)
    ]


def without_time(line: str | bytes) -> Any:
    message = json.loads(line)
    assert isinstance(message["record"].pop("emitted_at"), int)
    return message


@settings(max_examples=200)
@given(rows=ROWS, stream=st.sampled_from(["lists", 'a"b\nö']))
def test_a_batch_reads_as_the_cdk_would_have_written_its_records(
    rows: list[dict[str, Any]], stream: str
) -> None:
    batch = RecordBatch(stream, rows)
    assert (batch.count, batch.stream) == (len(rows), stream)
    assert batch.lines.endswith(b"\n")
    by_the_cdk = [
        AirbyteEntrypoint.airbyte_message_to_string(stream_data_to_airbyte_message(stream, row))
        for row in rows
    ]
    lines = batch.lines.split(b"\n")[:-1]
    assert [*map(without_time, lines)] == [*map(without_time, by_the_cdk)]
    single = map(AirbyteEntrypoint.airbyte_message_to_string, batch.messages())
    assert [*map(without_time, single)] == [*map(without_time, by_the_cdk)]


@pytest.mark.parametrize("count", [1, BATCH_RECORDS, BATCH_RECORDS + 1, 3 * BATCH_RECORDS])
def test_a_large_page_is_passed_on_in_batches_of_limited_size(count: int) -> None:
    rows = [{"MsgID": number} for number in range(count)]
    found = [batch_of(message) for message in messages("lists", rows)]
    batches = [batch for batch in found if batch is not None]
    assert len(batches) == len(found) == -(-count // BATCH_RECORDS)
    assert all(batch.count <= BATCH_RECORDS for batch in batches)
    lines = b"".join(batch.lines for batch in batches).splitlines()
    assert [json.loads(line)["record"]["data"] for line in lines] == rows


def test_no_rows_are_no_batch() -> None:
    assert not list(as_batches("lists", []))


@pytest.mark.parametrize(
    "message",
    [
        state_message("lists", {}),
        stream_data_to_airbyte_message("lists", {"batch": "a column of that name"}),
    ],
)
def test_nothing_else_is_taken_for_a_batch(message: AirbyteMessage) -> None:
    assert batch_of(message) is None


def test_other_messages_name_their_stream() -> None:
    state = AirbyteEntrypoint.airbyte_message_to_string(state_message("lists", {"version": 2}))
    assert json.loads(state)["state"]["stream"] == {
        "stream_descriptor": {"name": "lists"},
        "stream_state": {"version": 2},
    }
    limited = json.loads(AirbyteEntrypoint.airbyte_message_to_string(rate_limited("lists")))
    status = limited["trace"]["stream_status"]
    assert status["stream_descriptor"]["name"] == "lists"
    assert (status["status"], status["reasons"]) == ("RUNNING", [{"type": "RATE_LIMITED"}])


def test_a_full_queue_lets_workers_wait_until_it_is_read_or_released() -> None:
    made = queue.Queue[object](QUEUE_ITEMS)
    for number in range(QUEUE_ITEMS):
        made.put(number)
    waiting = [threading.Thread(target=made.put, args=("late",)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    assert made.full()
    assert made.get() == 0
    release(made)
    for thread in waiting:
        thread.join(10)
        assert not thread.is_alive()
    made.put("later", timeout=1)


def test_changes_of_a_record_name_what_was_set_to_null() -> None:
    damaged = DamagedRow({"MsgID": 1})
    damaged.nulled = ["SendDate", "Vmta.VmtaID"]
    rows = [{"MsgID": 0}, damaged, {"MsgID": 2}]
    batch = RecordBatch("messages", rows)
    found = [json.loads(line)["record"] for line in batch.lines.splitlines()]
    assert [one["data"] for one in found] == rows
    assert [one.get("meta") for one in found] == [
        None,
        {
            "changes": [
                {"field": name, "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"}
                for name in ("SendDate", "Vmta.VmtaID")
            ]
        },
        None,
    ]
    single = [AirbyteEntrypoint.airbyte_message_to_string(one) for one in batch.messages()]
    assert [json.loads(line)["record"] for line in single] == found
