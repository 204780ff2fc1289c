"""Whatever happens between and within syncs, what was committed is what there was.

A stateful property test: any account, any gaps, cuts between any two messages of the output,
events that become visible late, lists that come and go, other cycles for old messages. The
destination commits records up to the last state of their stream only.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from integration_tests.harness import TABLES, catalog
from integration_tests.inprocess import Destination, DirectService, as_json, read
from integration_tests.simulator import AccountConfig, SimulatorConfig, Truth
from integration_tests.simulator.clock import to_datetime

START = datetime(2023, 9, 20, tzinfo=timezone.utc)
FIRST_SYNC = datetime(2023, 11, 4, 20, tzinfo=timezone.utc)  # the clock is put back at night
KEYED_BY_ID = {"lists": "ListID", "messages": "MsgID"}
Identity = tuple[Any, ...]


def identity(table: str, record: dict[str, Any]) -> Identity:
    """Return what tells a row from another: its id where counters change, else all of it."""
    if table in KEYED_BY_ID:
        return (record[KEYED_BY_ID[table]],)
    return (json.dumps(record, sort_keys=True),)


class Syncs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # The CDK's own summary of each failed read is no news here.
        logging.getLogger("airbyte").setLevel(logging.CRITICAL)

    @initialize(
        seed=st.integers(0, 10_000),
        lists=st.integers(1, 3),
        messages=st.integers(1, 6),
        contacts=st.sampled_from([6, 6, (6, 80)]),
        page_size=st.integers(1, 7),
        late_hours=st.integers(0, 24),
        zone=st.sampled_from(["America/New_York", "UTC"]),
        workers=st.integers(1, 4),
        dates=st.sampled_from(["iso", "us"]),
    )
    def account(
        self,
        seed: int,
        lists: int,
        messages: int,
        contacts: int | tuple[int, ...],
        page_size: int,
        late_hours: int,
        zone: str,
        workers: int,
        dates: str,
    ) -> None:
        self.late = timedelta(hours=late_hours)
        self.service = DirectService(
            SimulatorConfig(
                account=AccountConfig(
                    seed=seed,
                    lists=lists,
                    messages_per_list=messages,
                    contacts_per_list=contacts,
                    recipients_per_message=9,
                    start=START,
                    now=FIRST_SYNC,
                    time_zone=zone,
                    late_by=self.late.total_seconds(),
                    engagement_days=60,
                    removal_rate=0.1,
                    string_date_style=dates,
                ),
                page_size=page_size,
            )
        )
        self.config: dict[str, Any] = {
            "username": "demo",
            "password": self.service.config.password,
            "start_date": "2023-09-25T00:00:00Z",
            "time_zone": zone,
            "num_workers": workers,
            "lookback_days": 1,
            "refresh_days": 10,
            "recheck_after_days": 5,
            "recheck_every_days": 4,
        }
        self.now = FIRST_SYNC
        self.destination = Destination()
        self.latest: dict[str, dict[Identity, dict[str, Any]]] = defaultdict(dict)
        self.longest_cycle = 4

    # What happens outside

    @rule(gap=st.sampled_from([0, 1, 1800, 3600, 7000, 40_000, 86_400, 300_000, 1_500_000]))
    def time_passes(self, gap: int) -> None:
        self.now += timedelta(seconds=gap)

    @rule(which=st.integers(0, 7))
    def lists_come_and_go(self, which: int) -> None:
        every = self.service.account._lists
        hidden = {one.list_id for place, one in enumerate(every) if which >> place & 1}
        self.service.account.hide_lists(hidden if len(hidden) < len(every) else ())

    @rule(
        cycle=st.sampled_from([(5, 4), (5, 9), (2, 4), (9, 2), (1, 1)]),
        skip=st.booleans(),
        workers=st.integers(1, 4),
    )
    def the_configuration_changes(self, cycle: tuple[int, int], skip: bool, workers: int) -> None:
        self.config["recheck_after_days"], self.config["recheck_every_days"] = cycle
        self.config["skip_inactive_messages"] = skip
        self.config["num_workers"] = workers
        self.longest_cycle = max(self.longest_cycle, cycle[1])

    # Syncs

    @rule(cut=st.integers(1, 250))
    def sync_that_is_cut(self, cut: int) -> None:
        self._sync(cut)

    @rule()
    def sync(self) -> None:
        self._sync(None)
        old = self.now - timedelta(days=self.longest_cycle) - self.late
        self._check(self._window_end(), activity_until=old)

    @rule()
    @precondition(lambda self: self.destination.state)
    def sync_by_everything_due(self) -> None:
        """Finish what was cut, and let a whole cycle pass, so that nothing may be missing."""
        self._sync(None)
        self.now += timedelta(days=self.longest_cycle)
        self._sync(None)
        assert self._window_end() == {table: self.now for table in TABLES}
        self._check(self._window_end(), activity_until=self.now)

    def _sync(self, cut: int | None) -> None:
        with self.service.at(self.now):
            output = read(self.config, catalog(), self.destination.state)
            for number, message in enumerate(output, 1):
                self.destination.take(as_json(message))
                if number == cut:
                    output.close()
                    break
        self.destination.end()
        for table, records in self.destination.committed.items():
            for record in records:
                self.latest[table][identity(table, record)] = record
            records.clear()

    def _window_end(self) -> dict[str, datetime]:
        states = {table: self.destination.stream_state(table) for table in TABLES}
        assert all("window_end" not in state for state in states.values())
        return {
            table: datetime.fromisoformat(state["synced_to"].replace("Z", "+00:00"))
            for table, state in states.items()
        }

    def _check(self, ends: dict[str, datetime], *, activity_until: datetime) -> None:
        account = self.service.account
        account.set_now(self.now)
        for table in TABLES:
            until = ends[table]
            if table.startswith("message_") and table != "message_sends":
                until = min(until, activity_until)
            expected = self._truth(table, until)
            missing = set(expected) - set(self.latest[table])
            assert not missing, f"{table}: {sorted(missing)[:3]} until {until}"
        self._check_nothing_made_up()
        self._check_counters(ends["messages"])

    def _truth(self, table: str, until: datetime) -> dict[Identity, dict[str, Any]]:
        """Return the rows of visible lists: messages sent, and events that happened, before."""
        account = self.service.account
        since = datetime.fromisoformat(self.config["start_date"].replace("Z", "+00:00"))
        truth = Truth(account, since, until)
        if table == "lists" or not table.startswith("message_") or table == "message_sends":
            records = list(truth.records(table))
        else:
            # Of messages sent since, all events before: Truth bounds both by one window.
            records = list(Truth(account, since, until).records(table))
            sent = {record["MsgID"] for record in truth.records("messages")}
            assert {record["MsgID"] for record in records} <= sent | {
                message.msg_id
                for one in account.lists()
                for message in account.messages(one)
                if to_datetime(message.sent) < since
            }
            records = [record for record in records if record["MsgID"] in sent]
        return {identity(table, record): record for record in records}

    def _check_nothing_made_up(self) -> None:
        """Check each committed row against the truth of all time, contacts that left included."""
        account = self.service.account
        hidden = set(account.hidden_lists)
        account.hide_lists(())
        account.set_now(self.now + timedelta(days=400))
        try:
            for table in TABLES:
                if table == "subscribed_contacts":
                    continue
                real = {identity(table, record) for record in Truth(account).records(table)}
                assert set(self.latest[table]) <= real, table
        finally:
            account.set_now(self.now)
            account.hide_lists(hidden)

    def _check_counters(self, end: datetime) -> None:
        """Check that messages sent of late carry the counters of the last sync."""
        if end != self.now:
            return  # a window of an earlier attempt was finished: parts of it are older
        since = end - timedelta(days=self.config["refresh_days"])
        for record in Truth(self.service.account, since, end).records("messages"):
            key = identity("messages", record)
            if key in self._truth("messages", end):
                assert self.latest["messages"][key] == record


Syncs.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestWhateverHappensNothingIsMissing = Syncs.TestCase
