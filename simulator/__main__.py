"""Run the simulator: prints its address, then serves until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from datetime import datetime, timezone
from typing import Any

from simulator.account import AccountConfig
from simulator.config import Move, SimulatorConfig
from simulator.server import Simulator


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


def _settings(kind: type) -> list[Field[Any]]:
    return [one for one in fields(kind) if one.init and one.name != "account"]


def parse(arguments: list[str] | None = None) -> SimulatorConfig:
    """Read the command line; every field of both configurations is an option."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for kind in (AccountConfig, SimulatorConfig):
        group = parser.add_argument_group(kind.__name__)
        for one in _settings(kind):
            default = _default(one)
            is_flag = isinstance(default, bool)
            group.add_argument(
                f"--{one.name.replace('_', '-')}",
                type=_reader(one),
                default=default,
                help=" ",
                nargs="?" if is_flag else None,
                const=True if is_flag else None,
            )
    given = vars(parser.parse_args(arguments))
    account = AccountConfig(**{one.name: given[one.name] for one in _settings(AccountConfig)})
    rest = {one.name: given[one.name] for one in _settings(SimulatorConfig)}
    return SimulatorConfig(account=account, **rest)


async def _main(config: SimulatorConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    simulator = Simulator(config)
    await simulator.serve_until(stop, lambda: print(simulator.url, flush=True))


if __name__ == "__main__":
    asyncio.run(_main(parse()))
