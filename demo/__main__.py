"""Replicate a Listrak account into a DuckDB file: the simulator's, or a real one.

Without --config, starts the simulator of the Listrak SOAP service, reads all of its account and
fails unless every table equals what the simulator holds. Exit codes: 0 success, 1 the connector or
a model failed, 2 wrong arguments, 3 the tables differ.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from demo.compare import compare
from demo.connector import Connector, ConnectorError
from demo.load import Schemas, Spool, connect, load
from demo.report import write_report
from demo.transform import SCHEMA, TransformError, build, find_dbt
from simulator import AccountConfig, SimulatorConfig, SimulatorProcess

START_DATE = "2023-01-01"
"""The simulated account holds the year 2023, so that each run gives the same figures."""


def main() -> int:
    """Run the demo and return its exit code."""
    options = _options()
    try:
        with tempfile.TemporaryDirectory(prefix="listrak-demo-") as folder:
            return _run(options, Path(folder))
    except (ConnectorError, TransformError) as error:
        print(f"FAILED: {error}")
        return 1


def _options() -> argparse.Namespace:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m demo", description=summary)
    parser.add_argument("--config", type=Path, help="of a real account, all of which is read")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder to write")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the simulated account (1: 100,000 rows)"
    )
    options = parser.parse_args()
    if options.config is not None and not options.config.is_file():
        parser.error(f"there is no file {options.config}")
    return options


def _run(options: argparse.Namespace, folder: Path) -> int:
    find_dbt()  # before an account is read for an hour
    with ExitStack() as stack:
        simulator: SimulatorProcess | None = None
        config_path = options.config
        if config_path is None:
            simulator = stack.enter_context(SimulatorProcess(simulated_account(options.scale)))
            _step("simulator", f"a Listrak account at {simulator.url}")
            config_path = _write_json(folder / "config.json", _connection(simulator))

        else:
            _step("account", f"all tables of the account in {config_path}, which can take hours")

        connector = Connector(config_path, lambda text: print(f"  {text}", flush=True))
        connector.check()
        _step("check", "the account can be read")
        streams = connector.discover()
        schemas: Schemas = {stream["name"]: stream["json_schema"] for stream in streams}
        _step("discover", f"{len(streams)} tables")

        _step("read", "all of them")
        code = 0
        started = time.monotonic()
        with closing(Spool(folder / "records", schemas)) as spool:
            try:
                for record in connector.read(streams):
                    spool.add(record["stream"], record["data"], record["emitted_at"])
            except ConnectorError as error:
                # A table that the user may not read leaves the others readable.
                print(f"FAILED: {error}; continuing with what was read")
                code = 1
        seconds = time.monotonic() - started
        _step("read", f"{sum(spool.counts.values()):,} records in {seconds:.1f} s")

        path = _new_file(options.output / "listrak.duckdb")
        with connect(path) as database:
            load(database, schemas, spool, "main")
        built = build(path, options.output / "dbt")
        _step("dbt", f"{built.models} models and {built.tests} tests in {built.seconds:.1f} s")
        with connect(path) as database:
            report = options.output / "report.html"
            write_report(database, report)
            _step("report", f"open {report} in a browser")
            if simulator is not None:
                truth = simulator.truth(since=START_DATE)
                if absent := sorted(truth.keys() - schemas.keys()):
                    print(f"FAILED: not in the catalog: {', '.join(absent)}")
                    return 3
                differences = compare(database, schemas, truth, folder / "truth")
                for difference in differences:
                    print(f"FAILED: {difference}")
                if differences:
                    return 3
                _step("compare", f"all {len(truth)} tables equal the simulator's, row for row")
    _step("query", query_command(path))
    return code


def query_command(path: Path) -> str:
    """Return a command of a shell that shows the first rows of a model."""
    database, model = json.dumps(str(path)), f'"FROM {SCHEMA}.listrak__messages"'
    query = f"import duckdb; duckdb.connect({database}).sql({model}).show()"
    return shlex.join([os.path.relpath(sys.executable), "-c", query])


def _step(name: str, text: str) -> None:
    print(f"{name:<10} {text}", flush=True)


def _new_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in (path, path.with_name(path.name + ".wal")):
        old.unlink(missing_ok=True)
    return path


def simulated_account(scale: float = 1.0) -> SimulatorConfig:
    """Return the settings of the account that the demo replicates."""
    account = AccountConfig(
        texts="plain",
        lists=4,
        messages_per_list=26,
        recipients_per_message=560 * scale,
        contacts_per_list=max(1, round(1000 * scale)),
        sends_per_conversation=round(1500 * scale),
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
