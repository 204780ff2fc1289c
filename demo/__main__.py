"""Replicate a Listrak account into a DuckDB file: the simulator's, or a real one.

Without --config, starts the simulator of the Listrak SOAP service, reads all of its account and
fails unless every table equals what the simulator holds. Exit codes: 0 as it should be, 1 the
connector failed, 2 wrong arguments, 3 the tables differ.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console

from demo.compare import compare
from demo.connector import Connector, ConnectorError, configured_catalog
from demo.load import Schemas, Spool, connect, create_views, load
from demo.report import write_report
from demo.show import make_console, show_campaigns, show_counts
from integration_tests.simulator import AccountConfig, SimulatorConfig, SimulatorProcess

ANALYTICS = Path(__file__).resolve().parents[1] / "analytics"
START_DATE = "2023-01-01"
"""The simulated account holds the year 2023, so that each run gives the same figures."""


def main() -> int:
    """Run the demo and return its exit code."""
    options = _options()
    console = make_console()
    try:
        with tempfile.TemporaryDirectory(prefix="listrak-demo-") as folder:
            return _run(options, Path(folder), console)
    except ConnectorError as error:
        console.print(f"FAILED: {error}", style="bold red", markup=False)
        return 1


def _options() -> argparse.Namespace:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m demo", description=summary)
    parser.add_argument("--config", type=Path, help="the configuration of a real account")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder to write")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the simulated account (1: 100,000 rows)"
    )
    options = parser.parse_args()
    if options.config is not None and not options.config.is_file():
        parser.error(f"there is no file {options.config}")
    return options


def _run(options: argparse.Namespace, folder: Path, console: Console) -> int:
    def title(text: str) -> None:
        console.print(f"\n{text}", style="bold", markup=False)

    def say(text: str) -> None:
        console.print(f"  {text}", markup=False, soft_wrap=True)

    with ExitStack() as stack:
        simulator: SimulatorProcess | None = None
        config_path = options.config
        if config_path is None:
            title("Starting the simulator of the Listrak SOAP service")
            simulator = stack.enter_context(SimulatorProcess(_simulated(options.scale)))
            say(f"it listens at {simulator.url}")
            config_path = _write_json(folder / "config.json", _connection(simulator))

        connector = Connector(config_path, say)
        title("check: can the account be read?")
        connector.check()
        say("yes")
        title("discover: which streams are there?")
        streams = connector.discover()
        schemas: Schemas = {stream["name"]: stream["json_schema"] for stream in streams}
        say(", ".join(schemas))

        title("read: all of it")
        catalog_path = _write_json(folder / "catalog.json", configured_catalog(streams))
        started = time.monotonic()
        with Spool(folder / "records", schemas) as spool:
            for record in connector.read(catalog_path):
                spool.add(record["stream"], record["data"])
        seconds = time.monotonic() - started
        records = sum(spool.counts.values())
        say(f"{records:,} records in {seconds:.1f} s, {records / seconds:,.0f} records per second")

        path = options.output / "listrak.duckdb"
        title(f"load: into {path}")
        with _new_database(path) as database:
            load(database, schemas, spool, "main")
            shutil.rmtree(folder / "records")
            views = create_views(database, ANALYTICS)
            say(f"{len(schemas)} tables, and the views {', '.join(views)}")
            show_counts(console, database, list(schemas))
            show_campaigns(console, database)
            report = options.output / "report.html"
            write_report(database, report)
            title(f"report: open {report} in a browser")
            if simulator is not None:
                title("compare: does every table equal what the simulator holds?")
                truth = simulator.truth(since=START_DATE)
                if not _equals(database, schemas, truth, folder / "truth", console):
                    return 3

    title(f"Done. Ask your own questions: duckdb {path}")
    return 0


def _equals(
    database: duckdb.DuckDBPyConnection,
    schemas: Schemas,
    truth: Mapping[str, Iterable[Mapping[str, Any]]],
    folder: Path,
    console: Console,
) -> bool:
    if absent := sorted(truth.keys() - schemas.keys()):
        console.print(f"FAILED: not in the catalog: {', '.join(absent)}", style="bold red")
        return False
    differences = compare(database, schemas, truth, folder)
    for difference in differences:
        console.print(f"FAILED: {difference}", style="bold red", markup=False)
    if not differences:
        console.print(f"  yes: all {len(truth)} tables, row for row")
    return not differences


def _new_database(path: Path) -> duckdb.DuckDBPyConnection:
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in (path, path.with_name(path.name + ".wal")):
        old.unlink(missing_ok=True)
    return connect(path)


def _simulated(scale: float) -> SimulatorConfig:
    account = AccountConfig(
        lists=4,
        messages_per_list=26,
        recipients_per_message=560 * scale,
        contacts_per_list=max(1, round(1000 * scale)),
    )
    return SimulatorConfig(account=account)


def _connection(simulator: SimulatorProcess) -> dict[str, Any]:
    return {
        "username": simulator.config.user_name,
        "password": simulator.config.password,
        "start_date": START_DATE,
        "endpoint": simulator.url,
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
