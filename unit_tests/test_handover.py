"""The queue between the workers and the thread that writes."""

import queue
import threading

import pytest
from airbyte_cdk.models import AirbyteLogMessage, AirbyteMessage, Level, Type

from source_listrak.handover import MOST_RECORDS, HandoverQueue, HandoverRepository


def log(text: str) -> AirbyteMessage:
    return AirbyteMessage(type=Type.LOG, log=AirbyteLogMessage(level=Level.INFO, message=text))


def test_items_come_out_in_the_order_of_each_thread() -> None:
    handover = HandoverQueue(most=10)
    threads = [
        threading.Thread(target=lambda n=n: [handover.put((n, i)) for i in range(2000)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    seen: dict[int, list[int]] = {n: [] for n in range(4)}
    for _ in range(8000):
        number, item = handover.get()
        seen[number].append(item)
    for thread in threads:
        thread.join()
    assert all(items == list(range(2000)) for items in seen.values())
    assert handover.empty()


def test_a_full_queue_makes_workers_wait_and_refuses_who_cannot() -> None:
    handover = HandoverQueue(most=2)
    handover.put(1)
    handover.put(2)
    with pytest.raises(queue.Full):
        handover.put(3, block=False)
    with pytest.raises(queue.Full):
        handover.put(3, timeout=0.01)
    waiting = threading.Thread(target=handover.put, args=(3,))
    waiting.start()
    assert [handover.get(), handover.get(), handover.get()] == [1, 2, 3]
    waiting.join(timeout=10)
    assert not waiting.is_alive()


def test_messages_of_workers_keep_their_place_and_the_writers_come_next() -> None:
    handover = HandoverQueue(MOST_RECORDS)
    repository = HandoverRepository(handover)
    handover.put("record")
    worker = threading.Thread(target=repository.emit_message, args=(log("worker"),))
    worker.start()
    worker.join()
    repository.emit_message(log("writer"))
    assert [message.log.message for message in repository.consume_queue() if message.log] == [
        "writer"
    ]
    assert handover.get() == "record"
    assert handover.get().log.message == "worker"
