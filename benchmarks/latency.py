"""With latency: workers against a serial client, giants, and many lists."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from benchmarks.measure import Candidate, Figures, Rounds, interleaved, medians
from benchmarks.readers import LATENCY, connector, serial_client, simulator, syncs
from benchmarks.report import Section, Size, Target
from drivers.setups import NOW, START
from simulator import AccountConfig, SimulatorProcess

MS = f"{LATENCY * 1000:.0f} ms"
AFFORDED = 200.0
"""Seconds in which all rounds of one comparison should be over."""

BOUND_HEADERS = ["requests x latency / workers, s", "CPU s", "s", "of the allowed time", "peak MB"]


def workers(size: Size) -> list[Section]:
    """Read all nine tables with several numbers of workers, and with a client that has none."""
    account = AccountConfig(
        lists=2,
        messages_per_list=size.of(8) + 1,
        recipients_per_message=300,
        start=START,
        now=NOW,
    )
    numbers = (1, 10, 20, 40)
    with simulator(account) as sim:
        connector(sim)()  # has the simulator render the pages of either way to request them
        serial_client(sim)()
        sim.control(config={"latency": LATENCY})
        starts: dict[str, Candidate] = {
            "start-up": connector(sim, ["lists"]),
            "start-up of the client": serial_client(sim, ["lists"]),
        }
        readers: dict[str, Candidate] = {"serial zeep client": serial_client(sim)}
        for number in numbers:
            readers[f"connector, num_workers {number}"] = connector(sim, workers=number)
        rounds = interleaved(size.rounds, {**starts, **readers}, seconds=AFFORDED)
    found = medians(rounds)
    client = found["serial zeep client"].apart_from(found["start-up of the client"])
    apart = {"serial zeep client": client} | {
        name: found[name].apart_from(found["start-up"]) for name in list(readers)[1:]
    }
    if len({one.records for one in apart.values()}) > 1:
        raise RuntimeError(f"the readers did not read the same: {apart}")
    rows = [
        [name, one.records, one.requests, one.in_flight, one.wall, one.cpu, client.wall / one.wall]
        for name, one in apart.items()
    ]
    return [
        Section(
            f"All nine tables, {MS}, start-up apart",
            ["", "records", "requests", "peak in flight", "s", "CPU s", "times the client"],
            rows,
            rounds,
        )
    ]


def giants(size: Size) -> list[Section]:
    """Read one message of a million opens, and one list of a million contacts."""
    number, factor, million = 20, 1.5, size.of(1_000_000)
    message = AccountConfig(
        lists=2, messages_per_list=20, giant_message_opens=million, start=START, now=NOW
    )
    # Nearly one contact in sixteen has left and not returned.
    contacts = [int(million * 1.04), 500, 500, 500]
    contact_list = AccountConfig(
        lists=4, messages_per_list=10, contacts_per_list=contacts, start=START, now=NOW
    )
    accounts = {
        f"a message of {million:,} opens, 1,000-row pages": (message, 1000),
        f"a message of {million:,} opens, 2,500-row pages": (message, 2500),
        f"a list of {million:,} contacts, 2,500-row pages": (contact_list, 2500),
    }
    rows: list[list[object]] = []
    every: dict[str, Rounds] = {}
    targets = []
    for name, (account, page_size) in accounts.items():
        with simulator(account, page_size=page_size) as sim:
            connector(sim, workers=number)()  # has the simulator render its pages
            sim.control(config={"latency": LATENCY})
            readers: dict[str, Candidate] = {
                "start-up": connector(sim, ["lists"]),
                "connector": connector(sim, workers=number),
            }
            every[name] = interleaved(size.rounds, readers, seconds=AFFORDED)
        found = medians(every[name])
        run = found["connector"].apart_from(found["start-up"])
        rows.append([name, run.records, run.requests, *_beside_bound(run, number, factor)])
        targets.append(_target(name, run, number, factor))
    return [
        Section(
            f"All nine tables, {MS}, {number} workers, start-up apart; allowed: "
            f"{factor:g} x (requests x latency / workers) + CPU",
            ["", "records", "requests", *BOUND_HEADERS],
            rows,
            every,
            targets,
        )
    ]


def many_lists(size: Size) -> list[Section]:
    """Read 60 lists with few messages, 6 years of them, and again an hour later."""
    factor, lists, numbers = 1.35, size.of(60), (10, 20, 40)
    start = datetime(2018, 1, 1, tzinfo=timezone.utc)
    account = AccountConfig(
        lists=lists,
        messages_per_list=4,
        recipients_per_message=30,
        contacts_per_list=50,
        start=start,
        now=NOW,
    )
    moments = {"first": NOW, "an hour later": NOW + timedelta(hours=1)}
    revisits: list[float] = []
    with simulator(account, latency=LATENCY) as sim:
        readers: dict[str, Candidate] = {"start-up": connector(sim, ["lists"])}
        for number in numbers:
            first, second = syncs(sim, moments, workers=number).values()
            readers[f"first, {number}"] = first
            readers[f"an hour later, {number}"] = _noting_requests(sim, second, lists, revisits)
        rounds = interleaved(size.rounds, readers, seconds=AFFORDED)
    found = medians(rounds)
    rows, targets = [], []
    for number in numbers:
        for name in moments:
            run = found[f"{name}, {number}"].apart_from(found["start-up"])
            rows.append([name, number, run.requests, *_beside_bound(run, number, factor)])
            if name == "first":
                targets.append(_target(f"{lists} lists, {number} workers", run, number, factor))
    return [
        Section(
            f"{lists} lists, 6 years, all nine tables, {MS}, start-up apart; allowed: "
            f"{factor:g} x (requests x latency / workers) + CPU",
            ["sync", "workers", "requests", *BOUND_HEADERS],
            rows,
            rounds,
            [
                *targets,
                Target(
                    "An hour later, requests per list, without the reports of due months",
                    revisits[0],
                    4,
                ),
            ],
        )
    ]


def _noting_requests(
    sim: SimulatorProcess, sync: Candidate, lists: int, noted: list[float]
) -> Candidate:
    """Return a sync that notes its requests per list, without the reports of due months.

    Each list takes one report of recent messages, and one of deliveries; any other is of a month.
    """

    def run() -> Figures:
        figures = sync()
        months = sim.counts["ReportListMessageActivity"] - lists
        noted.append((figures.requests - 2 * months) / lists)
        return figures

    return run


def _beside_bound(run: Figures, workers: int, factor: float) -> list[object]:
    bound = run.requests * LATENCY / workers
    return [bound, run.cpu, run.wall, run.wall / (factor * bound + run.cpu), run.peak_mb]


def _target(name: str, run: Figures, workers: int, factor: float) -> Target:
    allowed = factor * run.requests * LATENCY / workers + run.cpu
    label = f"{name[0].upper()}{name[1:]}: seconds"
    return Target(label, round(run.wall, 2), round(allowed, 2))
