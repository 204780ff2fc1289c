"""The settings of a running simulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simulator.account import AccountConfig

_IRRELEVANT_TO_PAGES = frozenset(
    {"latency", "bandwidth", "faults", "moves", "seconds_per_request", "clock_rate"}
)
"""Settings that change when a page arrives, or whether, and not what is on it."""


@dataclass
class Move:
    """Something that happens to the account while it is read.

    It happens after ``after`` requests (of ``operations``, if given), then after each ``every``
    more, ``times`` times in all. Exactly one of the following is given:

    * ``leave``: this number of contacts of list ``list_id`` unsubscribe. ``among`` restricts them
      to a first share of the list: 0.1 means the first tenth, by date.
    * ``come_back``: this number of those who left by a move return.
    * ``record``: this number of rows of ``table`` of message ``msg_id`` become visible. Until then
      they are withheld; their dates are spread over the whole life of the message.
    * ``pass_seconds``: the account's clock advances.
    """

    after: int
    every: int = 1
    times: int = 1
    operations: list[str] | None = None
    list_id: int = 0
    msg_id: int = 0
    table: str = "message_opens"
    leave: int = 0
    come_back: int = 0
    record: int = 0
    pass_seconds: float = 0
    among: float = 1.0


@dataclass
class SimulatorConfig:
    """What the service does besides holding data; any field may be changed while it runs.

    Times are seconds. What is unknown of the real service is a setting, with every reading of it.
    """

    account: AccountConfig = field(default_factory=AccountConfig)

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """Port to listen on; 0: any free one."""
    user_name: str = "demo"
    """User name that logs in."""
    password: str = "p&ss<w>\"ö'rd%"
    """Password that logs in; the default needs escaping in XML, JSON and URLs."""
    lockout_after: int = 3
    """Failed logins in a row after which the account is locked."""
    prohibited: bool = False
    """Whether every login is refused, because of the client's address."""
    password_change_after: int | None = None
    """Logins after which only the new password logs in."""
    new_password: str = "changed"
    """The password after that change."""
    wsdl: str | None = None
    """File to serve as the service's description, at ?wsdl."""

    page_size: int = 2500
    """Rows of a page."""
    row_order: str = "oldest"
    """Order of rows: oldest, newest, address or id."""
    end_style: str = "missing"
    """What the result looks like on a page past the end: missing, nil or empty."""
    end_inclusive: bool = False
    """Whether the end of a range of dates belongs to it."""
    empty_pages: int = 0
    """Empty pages in the middle of the recipients of a message."""
    short_pages: bool = False
    """Whether some pages that are not the last have fewer rows."""
    wrap_pages: int | None = None
    """Page after which the first one follows again."""
    wrapped_domains: bool = False
    """Whether the domains of a list are strings within one element."""

    seconds_per_request: float = 0.0
    """Seconds by which each request moves the account's clock."""
    clock_rate: float = 0.0
    """Seconds that pass in the account in a second of real time; 0: the clock does not move."""
    moves: list[Move] = field(default_factory=list)
    """What happens after given numbers of requests, as JSON: a list of Move (config.py)."""

    latency: float = 0.0
    """Seconds before each response."""
    bandwidth: float | None = None
    """Bytes a second of each connection."""
    gzip: bool = False
    """Whether responses are compressed for clients that accept it."""
    rate_limit: float | None = None
    """Requests a second beyond which the answer is 429."""
    retry_after: float | None = 1
    """Seconds in the header Retry-After of such an answer; null: no header."""
    faults: dict[str, Any] = field(default_factory=dict)
    """Wrong answers, as JSON: the rate of a fault by name, or its FaultSpec (faults.py)."""
    fault_seed: int = 0
    """Decides which requests a fault with a rate below 1 strikes."""
    timeout_limit: float = 600.0
    """Seconds for which a fault that never answers keeps the connection."""
    huge_body_mb: int = 64
    """Megabytes of a fault that answers with too much."""
    redirect_to: str = "http://redirected.invalid/"
    """Where a fault that redirects leads."""

    cache_bytes: int = 256 * 1024 * 1024
    """Bytes of rendered pages to keep."""
    keep_requests: int = 10_000
    """Requests to remember."""
    version: int = field(default=0, init=False)

    def __setattr__(self, name: str, value: object) -> None:
        """Count changes, since a rendered page is only good for the settings it was made with."""
        object.__setattr__(self, name, value)
        if name not in _IRRELEVANT_TO_PAGES:
            object.__setattr__(self, "version", getattr(self, "version", 0) + 1)
