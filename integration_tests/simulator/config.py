"""The settings of a running simulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from integration_tests.simulator.account import AccountConfig

_OF_THE_WAY = frozenset({"latency", "bandwidth"})
"""Settings that change when a page arrives and not what stands on it."""


@dataclass
class SimulatorConfig:
    """What the service does beside holding data; any field may be changed while it runs.

    Times are seconds. ``end_style`` is how a page past the end looks: empty, nil or missing.
    ``empty_pages`` puts that many present-but-empty pages in the middle of a message's recipients
    and ends them with a nil result. ``bandwidth`` is bytes a second for each connection.
    ``rate_limit`` is requests a second, beyond which 429 is answered. ``faults`` maps a fault's
    name to its rate or to the fields of ``faults.FaultSpec``.
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
    page_size: int = 1000
    end_style: str = "empty"
    end_inclusive: bool = False
    empty_pages: int = 0
    short_pages: bool = False
    wrapped_domains: bool = False
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
        if name not in _OF_THE_WAY:
            object.__setattr__(self, "version", getattr(self, "version", 0) + 1)
