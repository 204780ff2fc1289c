"""The connector as a process, driven as a platform would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from drivers.messages import Result, parse
from drivers.setups import NOW, ROOT, TABLES, Served, make_config
from drivers.setups import catalog as catalog_of

QUICK = {"attempts": 6, "seconds": 0.2, "first_wait": 0.01, "longest_wait": 0.2, "pause": 0.02}
"""Retries as the connector makes them, a hundred times faster."""

TIGHT = {"connect_seconds": 2.0, "response_seconds": 0.6, "body_bytes": 2**20}
"""Limits that a small account reaches in a short time."""


def command(
    *,
    now: datetime | None = None,
    state_interval: float | None = None,
    retries: Mapping[str, float] | None = None,
    limits: Mapping[str, float] | None = None,
) -> list[str]:
    """Return the command line that starts the connector; see `launch` for the settings."""
    settings = {
        "now": now and now.isoformat(),
        "state_interval": state_interval,
        "retries": retries,
        "limits": limits,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    return [sys.executable, "-m", "drivers.launch", json.dumps(given)]


def files(folder: Path, **contents: Any) -> list[str]:
    """Write config, catalog and state, and return the arguments that name them."""
    args = []
    for name, content in contents.items():
        if content is not None:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content), encoding="utf-8")
            args += [f"--{name}", str(path)]
    return args


@contextmanager
def start(
    command: Sequence[str],
    *,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
    **contents: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, and kill it at the end of the block if it is still running.

    :param contents: what to write into the files that its arguments name: config, catalog, state
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [*command, *files(Path(folder), **contents)],
            stdout=stdout,
            stderr=stderr,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def run(
    verb: str,
    *,
    config: Any = None,
    catalog: Any = None,
    state: Any = None,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout: float = 300,
    **settings: Any,
) -> Result:
    """Run one command of the connector to its end.

    :param options: further arguments of the command line
    :param settings: see `command`
    """
    with start(
        [*command(**settings), verb, *options],
        environment=environment,
        config=config,
        catalog=catalog,
        state=state,
    ) as process:
        stdout, stderr = process.communicate(timeout=timeout)
    return result_of(process.returncode, stdout, stderr)


def result_of(code: int, stdout: bytes, stderr: bytes = b"") -> Result:
    """Return what a process wrote."""
    messages = list(parse(stdout.splitlines(keepends=True)))
    return Result(code, messages, stderr.decode(), stdout.decode())


def check(
    service: Served, *, options: Sequence[str] = (), environment: Any = None, **changes: Any
) -> Result:
    """Run `check` with quick retries.

    :param changes: of the configuration
    """
    return run(
        "check",
        config=make_config(service, **changes),
        options=options,
        environment=environment,
        now=NOW,
        retries=QUICK,
        limits=TIGHT,
        timeout=60,
    )


def read(
    service: Served,
    tables: Iterable[str] = TABLES,
    *,
    state: Any = None,
    mode: str = "incremental",
    now: datetime = NOW,
    options: Sequence[str] = (),
    environment: Any = None,
    limits: Mapping[str, float] | None = TIGHT,
    **changes: Any,
) -> Result:
    """Run `read` with quick retries.

    :param changes: of the configuration
    """
    return run(
        "read",
        config=make_config(service, **changes),
        catalog=catalog_of(tables, mode),
        state=state,
        options=options,
        environment=environment,
        now=now,
        retries=QUICK,
        limits=limits,
        timeout=120,
    )
