"""Throughput without latency: the CDK's floor, the connector, a serial client."""

from __future__ import annotations

from benchmarks.measure import Candidate, interleaved, medians
from benchmarks.readers import connector, opens_only, serial_client, simulator, stock_floor
from benchmarks.report import Section, Size, Target

FLOOR, CONNECTOR, SERIAL = "stock CDK floor", "connector", "serial zeep client"
TABLE = ["message_opens"]


def run(size: Size) -> list[Section]:
    """Read 300,000 opens: of few messages in large pages, and of many in small ones."""
    return [
        _compare(size, 1000, size.of(30), 10_000, 2.5),
        _compare(size, 50, size.of(3000), 100, 0.75),
    ]


def _compare(size: Size, page_size: int, messages: int, opens: int, target: float) -> Section:
    records = messages * opens
    with simulator(opens_only(messages, opens), page_size=page_size) as sim:
        connector(sim, TABLE)()  # has the simulator render its pages
        readers: dict[str, Candidate] = {
            FLOOR: stock_floor(records, opens),
            CONNECTOR: connector(sim, TABLE),
            SERIAL: serial_client(sim, TABLE),
        }
        start_up: dict[str, Candidate] = {
            FLOOR: stock_floor(0, opens),
            CONNECTOR: connector(sim, ["lists"]),
            SERIAL: serial_client(sim, ["lists"]),
        }
        started = {f"{name}, start-up": one for name, one in start_up.items()}
        rounds = interleaved(size.rounds, {**started, **readers})
    if any(one.records != records for name in readers for one in rounds[name]):
        raise RuntimeError(f"not every reader read {records} records: {rounds}")
    found = medians(rounds)
    apart = {name: found[name].apart_from(found[f"{name}, start-up"]) for name in readers}
    rates = {name: one.records / one.cpu for name, one in apart.items()}
    rows = [
        [
            name,
            one.records,
            one.wall,
            one.cpu,
            1e6 / rates[name],
            rates[name] / rates[FLOOR],
            rates[name] / rates[SERIAL],
            found[f"{name}, start-up"].cpu,
            one.peak_mb,
        ]
        for name, one in apart.items()
    ]
    return Section(
        f"{records:,} opens of {messages:,} messages, {page_size:,}-row pages, start-up apart",
        ["", "records", "s", "CPU s", "CPU us/record", "times the floor", "times the client",
         "start-up, CPU s", "peak MB"],
        rows,
        rounds,
        [
            Target(
                f"Throughput, {page_size:,}-row pages, times the stock CDK floor",
                rates[CONNECTOR] / rates[FLOOR],
                target,
                is_minimum=True,
            )
        ],
    )  # fmt: skip
