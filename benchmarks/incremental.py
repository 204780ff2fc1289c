"""What syncs cost as an account ages: requests and seconds, with the rules for old messages and
without. Run: python -m benchmarks.incremental"""

from __future__ import annotations

import argparse
import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from integration_tests.harness import catalog, run
from integration_tests.inprocess import Destination, DirectService, as_json, read
from integration_tests.simulator import AccountConfig, SimulatorConfig, SimulatorProcess

START = datetime(2021, 1, 1, tzinfo=timezone.utc)
NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
RULES: dict[str, dict[str, Any]] = {
    "with the rules": {},
    "every message every time": {"skip_inactive_messages": False},
}
SYNCS = {
    "first": NOW,
    "second, nothing new": NOW + timedelta(minutes=1),
    "a day later": NOW + timedelta(days=1),
}


def account(lists: int, messages: int, **values: Any) -> AccountConfig:
    return AccountConfig(
        lists=lists,
        messages_per_list=messages // lists,
        contacts_per_list=20,
        start=START,
        now=NOW,
        **values,
    )


def config(**values: Any) -> dict[str, Any]:
    return {
        "username": "demo",
        "password": SimulatorConfig().password,
        "start_date": "2021-01-01T00:00:00Z",
        **values,
    }


def syncs(lists: int, messages: int, recipients: float) -> None:
    print(f"{lists} lists, {messages:,} messages over 5 years, {recipients:g} recipients each\n")
    print("| sync | rule | requests | seconds |\n| --- | --- | ---: | ---: |")
    settings = SimulatorConfig(account=account(lists, messages, recipients_per_message=recipients))
    with SimulatorProcess(settings) as simulator:
        for rule, values in RULES.items():
            state = None
            for name, now in SYNCS.items():
                simulator.set_now(now)
                simulator.reset_counts()
                began = time.monotonic()
                result = run(
                    "read",
                    config=config(endpoint=simulator.url, **values),
                    catalog=catalog(),
                    state=state,
                    now=now,
                    timeout=900,
                )
                seconds = time.monotonic() - began
                assert result.code == 0, result.stdout[-1000:]
                state = result.state
                print(f"| {name} | {rule} | {simulator.counts.total():,} | {seconds:.1f} |")


def largest_state(lists: int, messages: int) -> None:
    service = DirectService(
        SimulatorConfig(account=account(lists, messages, recipients_per_message=1))
    )
    destination = Destination()
    largest = states = 0
    with service.at(NOW, state_interval=0.05):
        for message in read(config(num_workers=40), catalog(("message_opens",)), []):
            parsed = as_json(message)
            if parsed["type"] == "STATE":
                states += 1
                largest = max(largest, len(json.dumps(parsed["state"])))
            destination.take(parsed)
    print(
        f"\nlargest of {states:,} STATEs at {lists} lists and {messages:,} messages: "
        f"{largest:,} bytes"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", type=int, default=20)
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--recipients", type=float, default=20)
    parsed = parser.parse_args()
    syncs(parsed.lists, parsed.messages, parsed.recipients)
    largest_state(100, 100_000)


if __name__ == "__main__":
    main()
