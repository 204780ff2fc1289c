"""Prints the figures of `docs/performance.md`, side by side in one run: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Figures, interleaved, measure, table
from benchmarks.parts import envelopes, reader, startup
from integration_tests.harness import TABLES, catalog, command
from integration_tests.simulator import AccountConfig, SimulatorConfig, SimulatorProcess

START = datetime(2023, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
DAMPED: dict[str, Any] = {"read_rate": 0.0, "removal_rate": 0.0, "bounce_rate": 0.0}


class Bench:
    """The scenarios, each a section of the page."""

    def __init__(self, rounds: int, scale: float) -> None:
        self.rounds = rounds
        self.scale = scale
        self.raw: dict[str, Any] = {}

    def throughput(self) -> str:
        """Compare the CDK's floor, the connector and a serial zeep client, without latency."""
        sections = []
        for name, page_size, messages, recipients in (
            ("1000-row pages", 1000, 30, 10_000),
            ("many small pages (50 rows)", 50, 3000, 100),
        ):
            account = AccountConfig(
                lists=1,
                messages_per_list=max(3, int(messages * self.scale)),
                recipients_per_message=recipients,
                contacts_per_list=0,
                uniform=True,
                open_rate=1.0,
                start=START,
                now=NOW,
                **DAMPED,
            )
            with SimulatorProcess(SimulatorConfig(account=account, page_size=page_size)) as sim:
                config = _config(sim.url, num_workers=10)
                connector = _reader(config, ["message_opens"])
                total = connector().records  # also fills the simulator's page cache
                idle = _reader(config, ["lists"])
                peer = [
                    sys.executable, "-m", "benchmarks.peer", sim.url,
                    config["username"], config["password"], "message_opens",
                ]  # fmt: skip
                floor = [sys.executable, "-m", "benchmarks.floor", str(total), "read"]
                files = {"config": config, "catalog": catalog(["message_opens"], "full_refresh")}
                found = interleaved(
                    self.rounds,
                    {
                        "start-up": idle,
                        "CDK floor": lambda floor=floor, files=files: measure(floor, files)[0],
                        "connector": connector,
                        "serial zeep client": lambda peer=peer: measure(peer)[0],
                    },
                )
            self.raw[f"throughput, {name}"] = {key: asdict(run) for key, run in found.items()}
            begin = found.pop("start-up")
            rows = []
            for key, run in found.items():
                cpu = run.cpu - (begin.cpu if key != "serial zeep client" else 0)
                wall = run.wall - (begin.wall if key != "serial zeep client" else 0)
                rate = run.records / cpu
                rows.append(
                    [key, run.records, wall, run.records / wall, cpu, 1e6 * cpu / run.records,
                     rate, run.peak_mb]
                )  # fmt: skip
            best = rows[0][6]
            for row in rows:
                row.insert(7, row[6] / best)
            sections.append(
                table(
                    f"Throughput without latency, {name}, start-up apart",
                    ["", "records", "s", "records/s", "CPU s", "CPU us/record",
                     "records/CPU s", "of the floor", "peak MB"],
                    rows,
                )
            )  # fmt: skip
        return "\n".join(sections)

    def latency(self) -> str:
        """Show what concurrency makes of latency."""
        rows = []
        account = AccountConfig(
            lists=2,
            messages_per_list=max(4, int(40 * self.scale)),
            recipients_per_message=300,
            start=START,
            now=NOW,
        )
        for latency in (0.01, 0.05, 0.1, 0.15):
            with SimulatorProcess(SimulatorConfig(account=account, latency=latency)) as sim:
                serial = 0.0
                for workers in (1, 5, 10, 20, 40):
                    config = _config(sim.url, num_workers=workers)
                    idle = _reader(config, ["lists"])()
                    sim.reset_counts()
                    run = _reader(config, TABLES)()
                    wall = run.wall - idle.wall
                    serial = serial or wall
                    requests = sum(sim.counts.values())
                    rows.append(
                        [int(latency * 1000), workers, requests, sim.peak_in_flight, wall,
                         serial / wall, run.cpu]
                    )  # fmt: skip
                    print(f"  {rows[-1]}", file=sys.stderr, flush=True)
        self.raw["latency"] = rows
        return table(
            "Latency and workers, all nine tables, start-up apart",
            ["latency ms", "workers", "requests", "peak in flight", "s", "times 1 worker", "CPU s"],
            rows,
        )

    def giant(self) -> str:
        """Read an account with one message of very many opens."""
        opens = int(1_000_000 * self.scale)
        account = AccountConfig(
            lists=2, messages_per_list=20, giant_message_opens=opens, start=START, now=NOW
        )
        latency, workers = 0.15, 20
        with SimulatorProcess(SimulatorConfig(account=account, latency=latency)) as sim:
            config = _config(sim.url, num_workers=workers)
            _reader(config, ["message_opens"])()  # fills the simulator's page cache
            idle = _reader(config, ["lists"])()
            sim.reset_counts()
            with Utilisation(sim) as utilisation:
                run = _reader(config, TABLES)()
            requests = sum(sim.counts.values())
        bound = requests * latency / workers
        row = [opens, run.records, requests, run.wall - idle.wall, bound, run.cpu - idle.cpu,
               (run.wall - idle.wall - (run.cpu - idle.cpu)) / bound, run.peak_mb]  # fmt: skip
        self.raw["giant"] = row
        self.raw["giant, in flight by tenths"] = utilisation.tenths()
        busy = table(
            f"The same: requests in flight (of {workers}), mean of each tenth of the time",
            [f"{tenth}0 %" for tenth in range(1, 11)],
            [utilisation.tenths()],
        )
        return busy + "\n" + table(
            f"One message with very many opens, {latency * 1000:.0f} ms, {workers} workers",
            ["opens", "records", "requests", "s", "requests x latency / workers", "CPU s",
             "(s - CPU s) / bound", "peak MB"],
            [row],
        )  # fmt: skip

    def growth(self) -> str:
        """Grow the account: first sync, and second one with nothing new."""
        rows = []
        for factor in (1, 10, 100):
            account = AccountConfig(
                lists=4,
                messages_per_list=max(1, int(25 * factor * self.scale)),
                recipients_per_message=20,
                contacts_per_list=50,
                start=START,
                now=NOW,
            )
            with SimulatorProcess(SimulatorConfig(account=account)) as sim:
                config = _config(sim.url, num_workers=10)
                state = None
                for sync in ("first", "second"):
                    sim.reset_counts()
                    files = {"config": config, "catalog": catalog(TABLES)}
                    if state is not None:
                        files["state"] = state
                    run, state = measure([*command(now=NOW), "read"], files, keep=True)
                    rows.append(
                        [f"{factor}x", sync, run.records, sum(sim.counts.values()), run.wall,
                         run.peak_mb, run.largest_state]
                    )  # fmt: skip
                    print(f"  {rows[-1]}", file=sys.stderr, flush=True)
        self.raw["growth"] = rows
        return table(
            "Growth of the account",
            ["messages", "sync", "records", "requests", "s", "peak MB", "largest STATE, bytes"],
            rows,
        )

    def memory(self) -> str:
        """Compare the peak of ten times the records."""
        rows = []
        for messages in (30, 300):
            account = AccountConfig(
                lists=1,
                messages_per_list=max(1, int(messages * self.scale)),
                recipients_per_message=10_000,
                contacts_per_list=0,
                uniform=True,
                open_rate=1.0,
                start=START,
                now=NOW,
                **DAMPED,
            )
            with SimulatorProcess(SimulatorConfig(account=account)) as sim:
                run = _reader(_config(sim.url, num_workers=10), ["message_opens"])()
            rows.append([run.records, run.wall, run.peak_mb])
        self.raw["memory"] = rows
        return table("Memory, 10 workers", ["records", "s", "peak MB"], rows)

    def parts(self) -> str:
        """Measure the reader, the envelopes and the start-up alone."""
        sections = []
        for title, headers, rows in (reader(), envelopes(), startup()):
            self.raw[title] = rows
            sections.append(table(title, headers, rows))
        return "\n".join(sections)


class Utilisation:
    """Samples how many requests the server has in hand."""

    def __init__(self, simulator: SimulatorProcess) -> None:
        self._simulator = simulator
        self._samples: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Utilisation:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.1):
            self._samples.append(int(self._simulator.status()["in_flight"]))

    def tenths(self) -> list[float]:
        """Return the mean of each tenth of the time from the first request to the last."""
        busy = [index for index, sample in enumerate(self._samples) if sample]
        samples = self._samples[busy[0] : busy[-1] + 1] if len(busy) >= 10 else [0] * 10
        edges = [round(len(samples) * tenth / 10) for tenth in range(11)]
        return [
            statistics.mean(samples[begin:end] or [0]) for begin, end in itertools.pairwise(edges)
        ]


def _config(url: str, **options: Any) -> dict[str, Any]:
    return {
        "username": "demo",
        "password": SimulatorConfig().password,
        "endpoint": url,
        "start_date": "2023-01-01T00:00:00Z",
        **options,
    }


def _reader(config: dict[str, Any], tables: Any) -> Callable[[], Figures]:
    files = {"config": config, "catalog": catalog(tables, "full_refresh")}
    return lambda: measure([*command(now=NOW), "read"], files)[0]


def main() -> None:
    """Run the chosen scenarios, print their tables, and write them to the page if asked."""
    scenarios = ["throughput", "latency", "giant", "growth", "memory", "parts"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"{', '.join(scenarios)}; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of a comparison")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the accounts")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(scenarios)
    if unknown:
        parser.error(f"unknown scenarios: {', '.join(sorted(unknown))}")
    bench = Bench(options.rounds, options.scale)
    machine = (
        f"scale {options.scale:g}, {options.rounds} rounds; {platform.machine()}, {_cores()} "
        f"cores, {platform.system()}, Python {platform.python_version()}, "
        f"airbyte-cdk {version('airbyte-cdk')}, "
        f"lxml {version('lxml')}, zeep {version('zeep')}, urllib3 {version('urllib3')}"
    )
    sections = []
    for name in options.scenarios or scenarios:
        print(f"{name} ...", file=sys.stderr, flush=True)
        sections.append(getattr(bench, name)())
        print(sections[-1], flush=True)
    if options.write:
        text = (ROOT / "benchmarks" / "page.md").read_text(encoding="utf-8")
        page = text.replace("{machine}", machine).replace("{tables}", "\n".join(sections))
        Path(ROOT, "docs", "performance.md").write_text(page, encoding="utf-8")
        raw = json.dumps({"machine": machine, **bench.raw}, indent=1, default=str) + "\n"
        Path(ROOT, "docs", "performance.json").write_text(raw, encoding="utf-8")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
