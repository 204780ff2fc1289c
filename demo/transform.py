"""Builds and tests the dbt package in analytics/ on a DuckDB database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "analytics"
SCHEMA = "analytics"
"""Where the models are built; the streams are in the schema main."""


class TransformError(Exception):
    """dbt is not installed, or a model or test failed."""


@dataclass(frozen=True)
class Built:
    """What dbt built and tested, and how long it took in seconds."""

    models: int
    tests: int
    seconds: float


def build(database: Path, folder: Path) -> Built:
    """Build all models and run their tests; no connection to the database may be open.

    :param folder: where dbt may write what it compiles and logs
    :raises TransformError: a model or test failed
    """
    folder = folder.resolve()  # dbt takes a relative path from its project's folder
    run_dbt("build", folder, variables(database))
    results = json.loads((folder / "run_results.json").read_text(encoding="utf-8"))
    kinds = Counter(result["unique_id"].split(".")[0] for result in results["results"])
    return Built(kinds["model"], kinds["test"], results["elapsed_time"])


def variables(database: Path) -> dict[str, Any]:
    """Return the package's variables for a DuckDB database."""
    return {"listrak_duckdb": str(database.resolve()), "listrak_schema": "main"}


def run_dbt(
    command: str, folder: Path, variables: Mapping[str, Any], profiles: Path = HERE
) -> None:
    """Run a command of dbt on the package.

    :param profiles: the folder of the connection profiles
    :raises TransformError: with dbt's own output
    """
    arguments = [
        find_dbt(), "--quiet", "--no-use-colors", *command.split(),
        "--vars", json.dumps(variables),
        "--project-dir", str(PACKAGE), "--profiles-dir", str(profiles),
        "--target-path", str(folder), "--log-path", str(folder),
    ]  # fmt: skip
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise TransformError(f"dbt {command} failed:\n{done.stdout}{done.stderr}")


def find_dbt() -> str:
    """Return the path of the dbt command: that of the variable DBT, or the one on the PATH.

    :raises TransformError: dbt is not installed
    """
    command = shutil.which(os.environ.get("DBT", "dbt"))
    if command is None:
        raise TransformError(
            "dbt is not installed. Install analytics/requirements.txt into an environment of its"
            " own and set DBT to the path of its dbt command, as `make demo` does."
        )
    return command
