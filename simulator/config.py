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
    """What the service does beside holding data; any field may be changed while it runs.

    Times are seconds. What is unknown of the real service is a setting, with every reading of it:
    ``row_order`` is oldest, newest, address or id; ``end_style``, how a page past the end looks,
    is missing, nil or empty. ``empty_pages`` puts that many present but empty pages in the middle
    of a message's recipients. ``wrap_pages``: after this page the first one follows again.

    The account's clock: ``seconds_per_request`` is how far each request moves it, ``clock_rate``
    how many seconds pass in the account in a second of real time (0: none). ``moves`` lists what
    happens after given numbers of requests.

    ``bandwidth`` is in bytes a second for each connection; ``rate_limit`` in requests a second,
    beyond which 429 is answered. ``faults`` maps a fault's name to its rate, to the fields of
    ``faults.FaultSpec``, or to a list of such.
    """

    account: AccountConfig = field(default_factory=AccountConfig)
    host: str = "127.0.0.1"
    port: int = 0
    user_name: str = "demo"
    password: str = "p&ss<w>\"ö'rd%"
    lockout_after: int = 3
    prohibited: bool = False
    password_change_after: int | None = None
    new_password: str = "changed"
    page_size: int = 2500
    row_order: str = "oldest"
    end_style: str = "missing"
    end_inclusive: bool = False
    empty_pages: int = 0
    short_pages: bool = False
    wrap_pages: int | None = None
    wrapped_domains: bool = False
    seconds_per_request: float = 0.0
    clock_rate: float = 0.0
    moves: list[Move] = field(default_factory=list)
    latency: float = 0.0
    bandwidth: float | None = None
    gzip: bool = False
    rate_limit: float | None = None
    retry_after: float | None = 1
    faults: dict[str, Any] = field(default_factory=dict)
    fault_seed: int = 0
    timeout_limit: float = 600.0
    huge_body_mb: int = 64
    redirect_to: str = "http://redirected.invalid/"
    cache_bytes: int = 256 * 1024 * 1024
    keep_requests: int = 10_000
    wsdl: str | None = None
    version: int = field(default=0, init=False)

    def __setattr__(self, name: str, value: object) -> None:
        """Count changes, since a rendered page is only good for the settings it was made with."""
        object.__setattr__(self, name, value)
        if name not in _IRRELEVANT_TO_PAGES:
            object.__setattr__(self, "version", getattr(self, "version", 0) + 1)
