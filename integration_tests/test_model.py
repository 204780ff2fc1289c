"""Whatever happens between and within syncs, what was committed and what is owed is all there was.

A stateful property test: any account, any gaps, cuts between any two messages of the output, events
that are recorded late, lists that come and go, contacts that leave and return while they are read,
reports that are gone, refused or fail, for a moment or for half a year. The destination commits
records up to the last state of their stream only.
"""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from drivers.connection import Connection, Outcome
from drivers.inprocess import DirectService
from drivers.setups import (
    CLICKS,
    CONTACTS,
    CONVERSATION_OPENS,
    CONVERSATIONS,
    DAY,
    DELIVERIES,
    EVENTS,
    MESSAGES,
    NINE,
    OPENS,
    REMOVALS,
    SENDS,
    has_state,
)
from simulator import AccountConfig, Move, SimulatorConfig, Truth
from simulator.clock import to_datetime
from simulator.movement import leave

START = datetime(2023, 9, 20, tzinfo=timezone.utc)
SINCE = datetime(2023, 9, 25, tzinfo=timezone.utc)
FIRST_SYNC = datetime(2023, 11, 4, 20, tzinfo=timezone.utc)  # the clock is put back at night
CYCLE = 7 * DAY
RECENT = 30 * DAY
SETTLING = 3 * DAY

HISTORIES = ("list_removals", "conversation_opens", "abuse_complaints")
COUNTED = {"messages": "MsgID", "message_deliveries": "MsgID", "message_analytics": "MsgID"}
"""Tables whose rows change, and what identifies a row."""
TABLES = (*NINE, *HISTORIES, "message_deliveries", "message_analytics")

ACCOUNT = 0
"""In place of a list, in the states of tables of the whole account."""

Record = dict[str, Any]
Identity = tuple[Any, ...]

faults = st.dictionaries(
    st.sampled_from(["report_gone", "permission", "other_fault", "server_error", "text_in_result"]),
    st.fixed_dictionaries(
        {
            "rate": st.sampled_from([0.3, 1.0]),
            "operations": st.lists(
                st.sampled_from(
                    [
                        MESSAGES,
                        DELIVERIES,
                        CONTACTS,
                        REMOVALS,
                        CLICKS,
                        OPENS,
                        SENDS,
                        CONVERSATIONS,
                        CONVERSATION_OPENS,
                    ]
                ),
                min_size=1,
                max_size=3,
            ),
        }
    ),
    min_size=1,
    max_size=2,
)
stops = st.sampled_from(
    [{}, {}, {}, {"service_gone": {"after": 20}}, {"other_fault": {"after": 9}}]
)

gaps = st.sampled_from([0, 1, 1800, 7000, 40_000, 86_400, 300_000, 700_000, 1_500_000, 16_000_000])
cuts = st.integers(1, 300)
motions = st.tuples(
    st.sampled_from([5, 60, 900]),  # seconds per request
    st.integers(0, 3),  # contacts that leave at once
    st.integers(0, 3),  # contacts that return at once
    st.integers(1, 3),  # requests for contacts between two such events
)


def identity(table: str, record: Record) -> Identity:
    """Return what identifies a row: its id where counters change, else all of it."""
    if table in COUNTED:
        return (record[COUNTED[table]],)
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
        contacts=st.sampled_from([6, 15, (6, 80)]),
        page_size=st.integers(1, 7),
        late=st.sampled_from([0, 5, 30]),
        lag=st.sampled_from([0, 0, 3, 12]),
        undated=st.sampled_from([0, 0.4]),
        zone=st.sampled_from(["America/New_York", "UTC"]),
        workers=st.integers(1, 10),
        order=st.sampled_from(["oldest", "newest", "address", "id"]),
        dates=st.sampled_from(["iso", "us"]),
        end_style=st.sampled_from(["missing", "nil", "empty"]),
        end_inclusive=st.booleans(),
        lookback=st.sampled_from([2, 7, 12]),
        away=st.integers(0, 5),
    )
    def account(
        self,
        seed: int,
        lists: int,
        messages: int,
        contacts: int | tuple[int, ...],
        page_size: int,
        late: int,
        lag: int,
        undated: float,
        zone: str,
        workers: int,
        order: str,
        dates: str,
        end_style: str,
        end_inclusive: bool,
        lookback: int,
        away: int,
    ) -> None:
        self.service = DirectService(
            SimulatorConfig(
                account=AccountConfig(
                    seed=seed,
                    lists=lists,
                    messages_per_list=messages,
                    contacts_per_list=contacts,
                    recipients_per_message=12,
                    click_rate=0.5,
                    start=START,
                    now=FIRST_SYNC,
                    time_zone=zone,
                    late_by=late * 3600,
                    lag_hours=lag,
                    engagement_days=60,
                    removal_rate=0.1,
                    conversations_per_list=1,
                    sends_per_conversation=12,
                    messages_without_send_date=undated,
                    string_date_style=dates,
                ),
                page_size=page_size,
                row_order=order,
                end_style=end_style,
                end_inclusive=end_inclusive,
                keep_requests=100_000,
            )
        )
        self.connection = Connection(
            self.service,
            TABLES,
            start_date=f"{SINCE:%Y-%m-%dT%H:%M:%SZ}",
            time_zone=zone,
            num_workers=workers,
            lookback_days=lookback,
        )
        # Contacts that left before the first sync are news when they return.
        for one in self.service.account.lists():
            leave(self.service.account, one.list_id, away)
        self.late = timedelta(hours=late)
        self.now = FIRST_SYNC + timedelta(seconds=1)
        self.committed: dict[str, dict[Identity, Record]] = defaultdict(dict)
        self.unproved: set[int] = set()
        """Lists whose last full read the log calls incomplete."""

    # What happens outside

    @rule(which=st.integers(0, 7))
    def lists_come_and_go(self, which: int) -> None:
        every = self.service.account.every_list()
        hidden = {one.list_id for place, one in enumerate(every) if which >> place & 1}
        self.service.account.hide_lists(hidden if len(hidden) < len(every) else ())

    @rule(skip=st.booleans(), workers=st.integers(1, 10))
    def the_configuration_changes(self, skip: bool, workers: int) -> None:
        self.connection.options |= {"skip_inactive_messages": skip, "num_workers": workers}

    # Syncs

    @rule(gap=gaps)
    def sync(self, gap: int) -> None:
        self._sync(gap)

    @rule(gap=gaps, cut=cuts)
    def sync_that_is_cut(self, gap: int, cut: int) -> None:
        self._sync(gap, cut)

    @rule(gap=gaps, faults=faults, stop=stops)
    def sync_while_the_service_fails(
        self, gap: int, faults: dict[str, Any], stop: dict[str, Any]
    ) -> None:
        self.service.config.faults = faults | stop
        self._sync(gap)

    @rule(gap=gaps)
    def sync_while_the_service_still_fails(self, gap: int) -> None:
        self._sync(gap)

    @rule()
    def the_service_works_again(self) -> None:
        self.service.config.faults = {}

    @rule(gap=gaps, motion=motions, cut=st.one_of(st.none(), cuts))
    def sync_while_the_account_moves(
        self, gap: int, motion: tuple[int, int, int, int], cut: int | None
    ) -> None:
        """Have contacts leave and return with the pages, and the clock run with every request."""
        seconds, leaving, returning, every = motion
        self.service.config.seconds_per_request = seconds
        self.service.config.moves = [
            Move(2 + place, every, 40, [CONTACTS], one.list_id, leave=left, come_back=back)
            for place, one in enumerate(self.service.account.lists())
            for left, back in ((leaving, 0), (0, returning))
        ]
        self._sync(gap, cut)
        self.service.config.seconds_per_request = 0
        self.service.config.moves = []

    @rule()
    def sync_until_nothing_is_owed(self) -> None:
        """Have the service work, and let whole cycles pass, so that nothing may be missing."""
        self.the_service_works_again()
        for days in (0, 7, 7):
            self._sync(days * 86_400)
        assert not self.unproved & {one.list_id for one in self.service.account.lists()}
        for table in filter(has_state, TABLES):
            state = self.connection.state(table)
            assert "running" not in state
            assert state["owed"] == []
            assert instant(state["synced_to"]) == self.now
        contacts = self._truth(self.now).records("subscribed_contacts")
        have = self.committed["subscribed_contacts"].keys()
        assert {identity("subscribed_contacts", row) for row in contacts} <= have

    def teardown(self) -> None:
        if not hasattr(self, "service"):
            return
        self.sync_until_nothing_is_owed()
        self._check_that_nothing_is_made_up()

    def _sync(self, gap: int, cut: int | None = None) -> None:
        self.now += timedelta(seconds=gap)
        outcome = self.connection.sync(self.now, cut=cut, fails=True)
        if outcome.ended > self.now:
            self.now = outcome.ended.replace(microsecond=0) + timedelta(seconds=1)
        if outcome.error is not None and not self.service.config.faults:
            # Where exactly as many rows are inserted as a page has, the next page repeats it.
            assert all("the same page twice" in one["message"] for one in outcome.errors)
            assert self.service.config.moves or self.service.config.seconds_per_request
        for table, records in self.connection.destination.committed.items():
            for record in records:
                self.committed[table][identity(table, record)] = record
            records.clear()
        self._note_full_reads(outcome)
        for table in filter(has_state, TABLES):
            state = self.connection.state(table)
            if "synced_to" in state and "running" not in state:
                self._check_that_nothing_is_missing(table, outcome)
        if not outcome.is_cut:
            self._check_statuses(outcome)

    # What must be true

    def _note_full_reads(self, outcome: Outcome) -> None:
        for one in outcome.arguments(CONTACTS):
            if one["StartDate"] <= "2023-09-26":
                self.unproved.discard(one["ListID"])
        for warning in outcome.warnings:
            if "passes" in warning or "the removals of list" in warning:
                self.unproved.add(int(re.findall(r"list (\d+)", warning)[0]))

    def _check_that_nothing_is_missing(self, table: str, outcome: Outcome) -> None:
        """Check what a complete window claims: all that could be seen, but what is owed."""
        state = self.connection.state(table)
        end = instant(state["synced_to"])
        now = self._truth(end)
        if table == "subscribed_contacts":
            # A contact that came, returned, or slipped through an incremental read this week will
            # arrive with the full read.
            truth = [
                row
                for row in now.contacts_throughout(end - CYCLE, outcome.ended)
                if row.get("AdditionDate", "") > f"{SINCE + DAY:%Y-%m-%d}"
                and row["ListID"] not in self.unproved
            ]
        elif table in EVENTS or table == "conversation_opens":
            truth = list(self._promised(table, end))
        else:
            truth = list(now.records(table))
        committed, lists = self.committed[table], state["lists"]
        owed = {tuple(one[0]) for one in state["owed"]}
        missing = [
            row
            for row in truth
            if identity(table, row) not in committed
            and (key := self._key(row))
            and row.get("ListID", key[0]) in lists
            and not {key, key[:1]} & owed
        ]
        assert not missing, f"{table}: {len(missing)} rows are missing, such as {missing[0]}"
        if table == "messages" and end == outcome.began == outcome.ended:
            self._check_counters(end, owed)

    def _promised(self, table: str, end: datetime) -> Iterator[Record]:
        """Yield the events that must have arrived: by their delay and the age of their message."""
        yield from self._truth(end - CYCLE).records(table)
        tiers = [(DAY, DAY, RECENT)]
        if not self.late:  # then all rows are as much late, by the lag
            tiers.append((timedelta(), timedelta(), SETTLING))
        for period, depth, age in tiers:
            recent = self._recent(end, age)
            for row in self._truth(end - period).records(table):
                is_recent = table == "conversation_opens" or row["MsgID"] in recent
                if is_recent and self.late <= depth:
                    yield row

    def _check_counters(self, end: datetime, owed: set[tuple[int, ...]]) -> None:
        """Check that recent messages carry the counters of this sync."""
        recent = self._recent(end)
        lists = self.connection.state("messages")["lists"]
        for row in self._truth(end).records("messages"):
            key = self._key(row)
            if row["MsgID"] in recent and key[0] in lists and not {key, key[:1]} & owed:
                assert self.committed["messages"][identity("messages", row)] == row

    def _check_statuses(self, outcome: Outcome) -> None:
        """Check that a table which lacks rows is complete only with a warning that names it."""
        for table, status in outcome.statuses.items():
            state = self.connection.state(table)
            if status == "INCOMPLETE":
                assert outcome.error_of(table)
                assert outcome.error is not None
            elif has_state(table):
                assert status == "COMPLETE"
                assert "running" not in state
                assert all(is_gone for _, _, _, is_gone, *_ in state["owed"])
                names = [one for one in outcome.warnings if one.startswith(f"{table}: ")]
                assert names or not state["owed"]
        if outcome.error is None:
            assert outcome.statuses.keys() == set(TABLES)

    def _check_that_nothing_is_made_up(self) -> None:
        """Check committed events against the truth of all time."""
        self.service.account.hide_lists(())
        self.service.account.set_now(self.now + 400 * DAY)
        truth = Truth(self.service.account)
        for table in (*EVENTS, "message_sends", "conversation_opens"):
            real = {identity(table, record) for record in truth.records(table)}
            assert self.committed[table].keys() <= real, table

    def _truth(self, now: datetime) -> Truth:
        """Return what could be seen of visible lists at an instant."""
        return Truth(self.service.account, SINCE, now=now)

    def _recent(self, end: datetime, age: timedelta = RECENT) -> set[int]:
        """Return the messages that were sent in this time, whether they show a date or not."""
        account = self.service.account
        return {
            message.msg_id
            for one in account.lists()
            for message in account.messages(one)
            if to_datetime(message.sent) >= end - age
        }

    def _key(self, row: Record) -> tuple[int, ...]:
        """Return the slice that a row belongs to."""
        account = self.service.account
        if "MessageID" in row:
            return (ACCOUNT,)
        if "ConversationID" in row:
            conversation = account.find_conversation(row["ConversationID"])
            assert conversation is not None
            return conversation.contact_list.list_id, conversation.conversation_id
        if "MsgID" in row:
            message = account.find_message(row["MsgID"])
            assert message is not None
            return message.contact_list.list_id, message.msg_id
        return (row["ListID"],)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def settings_of(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=9,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class TestWhateverHappensNothingIsMissing(Syncs.TestCase):
    settings = settings_of(8)


@pytest.mark.slow
class TestWhateverHappensNothingIsMissingEver(Syncs.TestCase):
    settings = settings_of(200)
