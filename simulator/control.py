"""What tests do with a simulator, wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from simulator.account import Account
from simulator.config import SimulatorConfig
from simulator.truth import Bound, Record, Truth, row_counts


class Control(ABC):
    """The controls of a running simulator; each change is one call of ``control``."""

    config: SimulatorConfig

    @property
    @abstractmethod
    def account(self) -> Account:
        """The account as it is now: the server's own, or an equal one."""

    @abstractmethod
    def control(self, **wishes: Any) -> None:
        """Change faults, config, now, hide_lists, unlock, reset, or make something happen.

        ``leave``, ``come_back``, ``withhold`` and ``record`` take the arguments of the functions
        of these names in movement.py.
        """

    @property
    def now(self) -> datetime:
        """The account's clock, in UTC."""
        return self.account.moment

    def set_now(self, moment: datetime) -> None:
        """Move the account's clock."""
        self.control(now=moment.isoformat())

    def hide_lists(self, list_ids: Iterable[int]) -> None:
        """Hide exactly these lists from the user."""
        self.control(hide_lists=sorted(list_ids))

    def unlock(self) -> None:
        """Lift a lockout."""
        self.control(unlock=True)

    def reset_counts(self) -> None:
        """Restart the counts: requests, faults, attempts, the peak."""
        self.control(reset=True)

    def leave(self, list_id: int, count: int, *, among: float = 1.0) -> None:
        """Have subscribed contacts leave a list now, of its first pages if ``among`` is small."""
        self.control(leave={"list_id": list_id, "count": count, "among": among})

    def come_back(self, list_id: int, count: int) -> None:
        """Have contacts that left by ``leave`` return to a list now."""
        self.control(come_back={"list_id": list_id, "count": count})

    def withhold(self, msg_id: int, table: str, count: int) -> None:
        """Hide rows of a message, spread over its whole life, as not yet recorded."""
        self.control(withhold={"msg_id": msg_id, "table": table, "count": count})

    def record(self, msg_id: int, table: str, count: int) -> None:
        """Have withheld rows of a message become visible now."""
        self.control(record={"msg_id": msg_id, "table": table, "count": count})

    def truth(
        self,
        since: Bound = None,
        until: Bound = None,
        *,
        include_test_messages: bool = True,
        list_ids: Collection[int] | None = None,
        tables: Collection[str] | None = None,
        now: datetime | None = None,
    ) -> dict[str, list[Record]]:
        """Return every table's records, or those of ``tables``, as a faultless sync would.

        ``now`` is the instant at which the account is seen, by default its present clock.
        """
        truth = Truth(
            self.account, since, until,
            include_test_messages=include_test_messages, list_ids=list_ids, now=now,
        )  # fmt: skip
        return truth.tables(tables)

    def row_counts(self) -> dict[str, int]:
        """Return the number of rows of every table."""
        return row_counts(self.account)
