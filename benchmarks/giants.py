"""Giants: one message of very many opens, one list of very many contacts, among small ones."""

from __future__ import annotations

import itertools
import statistics
import threading

from benchmarks.accounts import account, connector, counted, simulator
from benchmarks.measure import Candidate, Figures, Rounds, interleaved, median
from benchmarks.report import Section, Size
from integration_tests.simulator import AccountConfig, SimulatorProcess

LATENCY = 0.15
WORKERS = 20
ALLOWED = 1.3
"""So many times the seconds that the requests cost at the least, beside the CPU's, are allowed."""
AFFORDED = 240.0
"""Seconds in which all rounds of one account should be over."""


def run(size: Size) -> list[Section]:
    """Read both accounts, and watch how many requests are in flight."""
    million = size.of(1_000_000)
    accounts = {
        f"one message of {million:,} opens": account(
            lists=2, messages_per_list=20, giant_message_opens=million
        ),
        # Of 1,041,000 who came, a million are subscribed still.
        f"one list of {million:,} contacts": account(
            lists=4, messages_per_list=10, contacts_per_list=(int(million * 1.041), 500, 500, 500)
        ),
    }
    rows: list[list[object]] = []
    busy: list[list[object]] = []
    every: dict[str, Rounds] = {}
    watched: dict[str, list[list[int]]] = {}
    for name, of in accounts.items():
        rounds, samples = _read(size, of)
        start, run = median(rounds["start-up"]), median(rounds["connector"])
        rows.append([name, *_figures(run.apart_from(start)), len(rounds["connector"])])
        busy.append([name, *tenths(samples)])
        every[name] = rounds
        watched[name] = samples
    condition = f"{LATENCY * 1000:.0f} ms, {WORKERS} workers, all nine tables"
    return [
        Section(
            f"{condition}, start-up apart",
            ["", "records", "requests", "s", "CPU s", "requests x latency / workers, s",
             f"allowed s ({ALLOWED} x + CPU)", "of the allowed", "peak MB", "rounds"],
            rows,
            every,
        ),
        Section(
            f"The same: requests in flight (of {WORKERS}), mean of each tenth of the time",
            ["", *(f"{tenth}0 %" for tenth in range(1, 11))],
            busy,
            watched,
        ),
    ]  # fmt: skip


def _read(size: Size, of: AccountConfig) -> tuple[Rounds, list[list[int]]]:
    """Return the rounds, and of each how many requests were in flight."""
    samples: list[list[int]] = []
    with simulator(of) as sim:
        connector(sim.url, WORKERS)()  # has the simulator render its pages
        sim.control(config={"latency": LATENCY})
        candidates: dict[str, Candidate] = {
            "start-up": connector(sim.url, WORKERS, ["lists"]),
            "connector": _watched(sim, counted(sim, connector(sim.url, WORKERS)), samples),
        }
        return interleaved(size.rounds, candidates, seconds=AFFORDED), samples


def _figures(run: Figures) -> list[object]:
    bound = run.requests * LATENCY / WORKERS
    allowed = ALLOWED * bound + run.cpu
    return [
        run.records, run.requests, run.wall, run.cpu, bound, allowed, run.wall / allowed,
        run.peak_mb,
    ]  # fmt: skip


def _watched(sim: SimulatorProcess, candidate: Candidate, found: list[list[int]]) -> Candidate:
    """Return a candidate that notes, ten times a second, how many requests are in flight."""

    def run() -> Figures:
        samples: list[int] = []
        over = threading.Event()

        def sample() -> None:
            while not over.wait(0.1):
                samples.append(int(sim.status()["in_flight"]))

        watcher = threading.Thread(target=sample)
        watcher.start()
        try:
            return candidate()
        finally:
            over.set()
            watcher.join()
            found.append(samples)

    return run


def tenths(rounds: list[list[int]]) -> list[float]:
    """Return the mean of each tenth of the time from the first request to the last.

    :param rounds: of each round, how many requests were in flight from moment to moment
    """
    of_rounds = [_tenths(samples) for samples in rounds]
    return [statistics.median(tenth) for tenth in zip(*of_rounds, strict=True)]


def _tenths(samples: list[int]) -> list[float]:
    busy = [index for index, sample in enumerate(samples) if sample]
    during = samples[busy[0] : busy[-1] + 1] if busy else []
    edges = [round(len(during) * tenth / 10) for tenth in range(11)]
    return [statistics.mean(during[begin:end] or [0]) for begin, end in itertools.pairwise(edges)]
