"""Run the simulator of the Listrak SOAP service until SIGTERM or SIGINT (Ctrl-C).

The first line that it prints is the address of the service; the next ones say how to log in, and
where to read what the account holds. Numbers of several lists are written 20,20,0.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import inspect
import json
import signal
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

from simulator.account import AccountConfig
from simulator.config import Move, SimulatorConfig
from simulator.server import Simulator

GROUPS = {
    "seed": "what the account holds",
    "start": "time",
    "open_rate": "events of messages",
    "leaver_every": "contacts and lists that come and go",
    "string_date_style": "unusual data",
    "host": "server and login",
    "page_size": "pages",
    "seconds_per_request": "changes while a client reads",
    "latency": "speed and faults",
    "cache_bytes": "memory",
}
"""The groups of options, each by its first one."""


def _default(one: Field[Any]) -> Any:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _reader(one: Field[Any]) -> Callable[[str], Any]:
    """Return what reads a setting's text: as it is, a date, or JSON (``20`` or ``20,20,0``)."""
    default = _default(one)
    if one.name == "moves":
        return lambda text: [Move(**move) for move in json.loads(text)]
    if str(one.type).startswith("str"):
        return lambda text: None if default is None and text in ("", "null") else text
    if isinstance(default, datetime):
        return _moment

    def read(text: str) -> Any:
        plain = text.startswith(("{", "[", '"')) or "," not in text
        value = json.loads(text if plain else f"[{text}]")
        return set(value) if isinstance(default, set) else value

    return read


def _moment(text: str) -> datetime:
    """Read a date; without an offset it is UTC."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def settings(kind: type) -> list[Field[Any]]:
    """Return the fields of a configuration that are options."""
    return [one for one in fields(kind) if one.init and one.name != "account"]


def documentation(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a configuration, by the field's name."""
    (declared,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(declared, ast.ClassDef)
    return {
        field.target.id: docstring.value.value
        for field, docstring in pairwise(declared.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(docstring, ast.Expr)
        and isinstance(docstring.value, ast.Constant)
    }


def _placeholder(one: Field[Any]) -> str:
    names = {"str": "TEXT", "int": "N", "float": "N", "datetime": "DATE", "bool": "BOOL"}
    return names.get(str(one.type).split(" ")[0], "JSON")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; every field of both configurations is an option."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        usage="%(prog)s [options]",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    group = parser.add_argument_group()
    for kind in (AccountConfig, SimulatorConfig):
        documented = documentation(kind)
        for one in settings(kind):
            if one.name in GROUPS:
                group = parser.add_argument_group(GROUPS[one.name])
            default = _default(one)
            is_flag = isinstance(default, bool)
            group.add_argument(
                f"--{one.name.replace('_', '-')}",
                type=_reader(one),
                default=default,
                help=documented[one.name].replace("%", "%%"),
                metavar=_placeholder(one),
                nargs="?" if is_flag else None,
                const=True if is_flag else None,
            )
    return parser


def parse(arguments: list[str] | None = None) -> SimulatorConfig:
    """Read the command line."""
    given = vars(parser().parse_args(arguments))
    account = AccountConfig(**{one.name: given[one.name] for one in settings(AccountConfig)})
    rest = {one.name: given[one.name] for one in settings(SimulatorConfig)}
    return SimulatorConfig(account=account, **rest)


def _announce(simulator: Simulator) -> None:
    config = simulator.config
    print(
        simulator.url,
        f"user name: {config.user_name}, password: {config.password}",
        f"what a table holds, as lines of JSON: {simulator.origin}/control/truth?table=messages",
        sep="\n",
        flush=True,
    )


async def _main(config: SimulatorConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulator = Simulator(config)
    await simulator.serve_until(stop, lambda: _announce(simulator))


if __name__ == "__main__":
    asyncio.run(_main(parse()))
