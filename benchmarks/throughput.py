"""Throughput without latency: floors, the connector, a serial client."""

from __future__ import annotations

from benchmarks.accounts import connector, floor, opens_only, serial_client, simulator
from benchmarks.measure import Candidate, Rounds, interleaved, medians
from benchmarks.report import Section, Size

STOCK = "CDK floor, stock"
QUEUE = "CDK floor, this connector's queue"
PAGES = "canned pages, this connector's entry point"
CONNECTOR = "connector"
SERIAL = "serial zeep client"
TABLE = ["message_opens"]
WORKERS = 10


def run(size: Size) -> list[Section]:
    """Read 300,000 opens: of few messages in large pages, and of many in small ones."""
    return [
        _compare(size, 1000, size.of(30), 10_000),
        _compare(size, 50, size.of(3000), 100),
    ]


def _compare(size: Size, page_size: int, messages: int, opens: int) -> Section:
    records = messages * opens
    with simulator(opens_only(messages, opens), page_size=page_size) as sim:
        connector(sim.url, WORKERS, TABLE)()  # has the simulator render its pages
        begin: dict[str, Candidate] = {
            STOCK: floor(sim.url, ["stock_floor"], 0, opens),
            QUEUE: floor(sim.url, ["floor", "records"], 0, opens),
            PAGES: floor(sim.url, ["floor", "pages"], 0, opens),
            CONNECTOR: connector(sim.url, WORKERS, ["lists"]),
            SERIAL: serial_client(sim.url, ["lists"]),
        }
        read: dict[str, Candidate] = {
            STOCK: floor(sim.url, ["stock_floor"], records, opens),
            QUEUE: floor(sim.url, ["floor", "records"], records, opens),
            PAGES: floor(sim.url, ["floor", "pages"], records, opens),
            CONNECTOR: connector(sim.url, WORKERS, TABLE),
            SERIAL: serial_client(sim.url, TABLE),
        }
        started = {f"{key}, start-up": one for key, one in begin.items()}
        rounds = interleaved(size.rounds, {**started, **read})
    _require(rounds, records)
    found = medians(rounds)
    apart = {key: found[key].apart_from(found[f"{key}, start-up"]) for key in read}
    rates = {key: one.records / one.cpu for key, one in apart.items()}
    rows = [
        [
            key,
            one.records,
            one.wall,
            one.records / one.wall,
            one.cpu,
            1e6 * one.cpu / one.records,
            rates[key] / rates[STOCK],
            rates[key] / rates[QUEUE],
            rates[key] / rates[SERIAL],
            found[f"{key}, start-up"].cpu,
            one.peak_mb,
        ]
        for key, one in apart.items()
    ]
    return Section(
        f"Throughput, {messages:,} messages, {page_size}-row pages, start-up apart",
        ["", "records", "s", "records/s", "CPU s", "CPU us/record", "of the stock floor",
         "of the queue's floor", "times the client", "start-up, CPU s", "peak MB"],
        rows,
        rounds,
    )  # fmt: skip


def _require(rounds: Rounds, records: int) -> None:
    """Refuse to compare readers that did not read the same."""
    wrong = {
        (key, one.records)
        for key, runs in rounds.items()
        for one in runs
        if not key.endswith("start-up") and one.records != records
    }
    if wrong:
        raise RuntimeError(f"of {records} records were read: {wrong}")
