"""The setups that most runs share: account, clock, tables, configuration, catalog."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol

from simulator import AccountConfig, Simulator, SimulatorConfig
from source_listrak import tables as declared

ROOT = Path(__file__).resolve().parent.parent
TABLES = tuple(declared.TABLES)
NINE = (
    "lists",
    "messages",
    "subscribed_contacts",
    "message_sends",
    "message_bounces",
    "message_opens",
    "message_reads",
    "message_clicks",
    "message_unsubs",
)
"""The tables of Stitch's Listrak integration."""
EVENTS = ("message_bounces", "message_clicks", "message_opens", "message_reads", "message_unsubs")

LOGIN = "GetContactListCollection"
MESSAGES = "ReportListMessageActivity"
DELIVERIES = "ReportListMessageDelivery"
CONTACTS = "ReportRangeSubscribedContacts"
REMOVALS = "ReportRangeListContactRemoval"
ADDRESS_CHANGES = "ReportRangeListContactHygiene"
CLICKS = "ReportRangeMessageContactClick"
OPENS = "ReportRangeMessageContactOpen"
SENDS = "ReportMessageContactSent"
CONVERSATIONS = "ReportListConversationActivity"
CONVERSATION_DELIVERIES = "ReportListConversationDelivery"
CONVERSATION_OPENS = "ReportConversationContactOpen"

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)

START = datetime(2023, 1, 1, tzinfo=timezone.utc)
START_DATE = "2023-01-01"
"""Since when most accounts exist, and what most configurations read: midnight in their zone."""

NOW = datetime(2024, 1, 1, tzinfo=timezone.utc)
"""What the clocks of the account and of the connector show, unless a run moves them."""
NOON = NOW + 12 * HOUR


class Served(Protocol):
    """A simulated service, wherever it runs."""

    config: SimulatorConfig

    @property
    def url(self) -> str:
        """Its endpoint."""


def make_account(**changes: Any) -> AccountConfig:
    """Return an account with two lists, eight messages and a few rows of everything."""
    values: dict[str, Any] = {
        "lists": 2,
        "messages_per_list": 4,
        "recipients_per_message": 30,
        "contacts_per_list": 40,
    }
    return AccountConfig(**values | changes)


def make_simulator(account: AccountConfig | None = None, **settings: Any) -> Simulator:
    """Return a service, not yet started, with several pages of most things.

    :param account: by default the small one
    """
    values: dict[str, Any] = {"page_size": 10, "retry_after": None, "huge_body_mb": 2}
    return Simulator(SimulatorConfig(account=account or make_account(), **values | settings))


def make_config(service: Served, **changes: Any) -> dict[str, Any]:
    """Return a configuration that reads an account from its start on.

    :param changes: further options; None leaves one out
    """
    values = {
        "username": service.config.user_name,
        "password": service.config.password,
        "endpoint": service.url,
        "start_date": START_DATE,
        "num_workers": 4,
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def catalog(tables: Iterable[str] = TABLES, mode: str = "incremental") -> dict[str, Any]:
    """Return a configured catalog; tables without a cursor are always full refresh.

    The schemas are empty: the connector does not read them.
    """

    def configured(name: str) -> dict[str, Any]:
        is_incremental = name in TABLES and has_state(name)
        modes = ["full_refresh", *(["incremental"] if is_incremental else [])]
        return {
            "stream": {"name": name, "json_schema": {}, "supported_sync_modes": modes},
            "sync_mode": mode if is_incremental else "full_refresh",
            "destination_sync_mode": "append",
        }

    return {"streams": [configured(name) for name in tables]}


def has_state(table: str) -> bool:
    """Return whether a table can be read incrementally."""
    return declared.TABLES[table].cursor is not None


def requests(simulator: Simulator) -> int:
    """Return how many SOAP requests arrived."""
    return sum(count for name, count in simulator.counts.items() if name != "canary")


def text(instant: datetime) -> str:
    """Return an instant in the form of the connector's dates."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
