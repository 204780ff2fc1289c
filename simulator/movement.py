"""What happens to the account while it is read: its clock, and what tests make happen."""

from __future__ import annotations

from collections import Counter

from simulator.account import Account, Happening, Message, mix
from simulator.clock import SECOND
from simulator.config import Move, SimulatorConfig
from simulator.series import Contacts
from simulator.tables import KIND_OF_TABLE


def leave(account: Account, list_id: int, count: int, *, among: float = 1.0) -> list[int]:
    """Have subscribed contacts leave a list now; return their numbers.

    ``among`` restricts them to this first share of the list's pages, as ordered by date.
    """
    contacts = _contacts(account, list_id)
    present = range(contacts.count)
    limit = max(1, int(len(present) * among))
    numbers: list[int] = []
    # A walk by hash over the list: anyone may leave, the same ones in each run.
    for step in range(len(account.happenings), len(account.happenings) + 64 * limit + 64):
        if len(numbers) == count:
            break
        number = mix(account.seed + list_id + step) % limit
        if number not in numbers and contacts.is_present(number, account.time):
            numbers.append(number)
    account.tick()
    account.happen(Happening(account.time, list_id, number, leaves=True) for number in numbers)
    return numbers


def come_back(account: Account, list_id: int, count: int) -> list[int]:
    """Have contacts that left by ``leave`` return to a list now; return their numbers."""
    contacts = _contacts(account, list_id)
    moved = account.contact_moves.get(list_id, {})
    numbers = [n for n in moved if not contacts.is_present(n, account.time)][:count]
    account.tick()
    account.happen(Happening(account.time, list_id, number, leaves=False) for number in numbers)
    return numbers


def withhold(account: Account, msg_id: int, table: str, count: int) -> list[int]:
    """Hide rows of a message, spread over its whole life, as not yet recorded."""
    message, kind = _message(account, msg_id), KIND_OF_TABLE[table]
    total, held = message.counts[kind], account.recorded.get((msg_id, kind), {})
    free = [index for index in range(total) if index not in held]
    count = min(count, len(free))
    chosen = [free[(2 * place + 1) * len(free) // (2 * count)] for place in range(count)]
    account.happen(Happening(None, msg_id=msg_id, kind=kind, index=index) for index in chosen)
    return chosen


def record(account: Account, msg_id: int, table: str, count: int) -> list[int]:
    """Have withheld rows of a message become visible now; return their indices."""
    kind = KIND_OF_TABLE[table]
    held = account.recorded.get((msg_id, kind), {})
    waiting = sorted(
        (index for index, at in held.items() if at is None), key=lambda index: mix(index)
    )
    account.tick()
    account.happen(
        Happening(account.now, msg_id=msg_id, kind=kind, index=index) for index in waiting[:count]
    )
    return waiting[:count]


class Movement:
    """Moves an account as requests arrive."""

    def __init__(self, account: Account, config: SimulatorConfig) -> None:
        self._account, self._config = account, config
        self._seen: Counter[str] = Counter()
        self._moves: list[Move] = []
        self._made: list[int] = []
        self._origin: tuple[float, int] | None = None
        self.adopt(config.moves)

    def adopt(self, moves: list[Move]) -> None:
        """Start counting for these moves; withhold the rows that they will record."""
        self._seen.clear()
        self._moves = list(moves)
        self._made = [0] * len(moves)
        for move in moves:
            if move.record:
                withhold(self._account, move.msg_id, move.table, move.record * move.times)

    def before_request(self, operation: str, arrival: float) -> None:
        """Let happen what is due before a request is answered; ``arrival`` is monotonic time."""
        if self._config.moves != self._moves:
            self.adopt(self._config.moves)
        self._advance(arrival)
        for place, move in enumerate(self._moves):
            for _ in range(self._made[place], self._due(move)):
                self._make(move)
                self._made[place] += 1
        self._seen[operation] += 1

    def _advance(self, arrival: float) -> None:
        seconds = self._config.seconds_per_request
        if self._config.clock_rate:
            if self._origin is not None:
                seconds += (arrival - self._origin[0]) * self._config.clock_rate
            self._origin = arrival, self._account.time
        if seconds:
            self._account.advance(int(seconds * SECOND))

    def _due(self, move: Move) -> int:
        """Return how many times a move is due by now."""
        names = self._seen if move.operations is None else move.operations
        waited = sum(self._seen[name] for name in names) - move.after
        return min(move.times, waited // move.every + 1) if waited >= 0 else 0

    def _make(self, move: Move) -> None:
        account = self._account
        if move.leave:
            leave(account, move.list_id, move.leave, among=move.among)
        if move.come_back:
            come_back(account, move.list_id, move.come_back)
        if move.record:
            record(account, move.msg_id, move.table, move.record)
        if move.pass_seconds:
            account.advance(int(move.pass_seconds * SECOND))


def _contacts(account: Account, list_id: int) -> Contacts:
    one = account.find_list(list_id)
    if one is None:
        raise ValueError(f"there is no list {list_id}")
    return Contacts(account, one, account.time)


def _message(account: Account, msg_id: int) -> Message:
    message = account.find_message(msg_id)
    if message is None:
        raise ValueError(f"there is no message {msg_id}")
    return message
