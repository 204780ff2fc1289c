"""Latency: what workers make of it, beside a client that waits for each answer."""

from __future__ import annotations

from benchmarks.accounts import account, connector, counted, serial_client, simulator
from benchmarks.measure import Candidate, Rounds, interleaved, medians
from benchmarks.report import Section, Size

SERIAL = "serial zeep client"
SERIAL_START = "serial zeep client, start-up"
START = "connector, start-up"
LATENCIES = (0.01, 0.05, 0.15)
WORKERS = (1, 5, 10, 20, 40)


def run(size: Size) -> list[Section]:
    """Read all nine tables of one account at each latency by each number of workers."""
    rows: list[list[object]] = []
    every: dict[str, Rounds] = {}
    # So many messages that the serial client takes 45 seconds at 150 ms.
    of = account(lists=2, messages_per_list=size.of(12, least=2), recipients_per_message=300)
    with simulator(of) as sim:
        connector(sim.url, 10)()  # has the simulator render the pages of each way of asking
        serial_client(sim.url)()
        for latency in LATENCIES:
            sim.control(config={"latency": latency})
            candidates: dict[str, Candidate] = {
                START: connector(sim.url, 10, ["lists"]),
                SERIAL_START: serial_client(sim.url, ["lists"]),
                SERIAL: counted(sim, serial_client(sim.url)),
            }
            for workers in WORKERS:
                candidates[_name(workers)] = counted(sim, connector(sim.url, workers))
            rounds = interleaved(size.rounds, candidates)
            every[f"{latency * 1000:.0f} ms"] = rounds
            rows += _rows(latency, rounds)
    return [
        Section(
            "Latency and workers, start-up apart",
            ["latency ms", "", "records", "requests", "peak in flight", "s", "CPU s",
             "times the serial client", "times 1 worker"],
            rows,
            every,
        )
    ]  # fmt: skip


def _rows(latency: float, rounds: Rounds) -> list[list[object]]:
    found = medians(rounds)
    serial = found[SERIAL].apart_from(found[SERIAL_START])
    apart = {SERIAL: serial} | {
        _name(workers): found[_name(workers)].apart_from(found[START]) for workers in WORKERS
    }
    if len({one.records for one in apart.values()}) > 1:
        raise RuntimeError(f"the readers did not read the same: {apart}")
    single = apart[_name(1)]
    return [
        [
            round(latency * 1000), key, one.records, one.requests, one.in_flight, one.wall,
            one.cpu, serial.wall / one.wall, single.wall / one.wall,
        ]
        for key, one in apart.items()
    ]  # fmt: skip


def _name(workers: int) -> str:
    return f"connector, {workers} worker{'s' if workers > 1 else ''}"
