"""Reads in the process of the test, against the simulated service without a socket between."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteMessageSerializer,
    AirbyteStateMessageSerializer,
    ConfiguredAirbyteCatalogSerializer,
)

from simulator import Account, Endpoint, RequestRecord, SimulatorConfig
from simulator.clock import to_datetime
from simulator.endpoint import PATH
from source_listrak import Settings, SourceListrak
from source_listrak.soap import faults
from source_listrak.soap.client import RetryPolicy
from source_listrak.soap.faults import AttemptFailed
from source_listrak.soap.wire import Response

LOGGER = logging.getLogger("airbyte.inprocess")
LOGGER.setLevel(logging.CRITICAL)  # tests that read the log set another level
ONE_ATTEMPT = RetryPolicy(attempts=1, seconds=0, first_wait=0, pause=0)


class DirectService:
    """The simulated service as a transport: called instead of sent to, faults and movement apply.

    :ivar peak_in_flight: the largest number of requests that were in flight at once
    """

    url = f"http://localhost{PATH}"

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.endpoint = Endpoint(self.config)
        self.peak_in_flight = 0
        self._in_flight = 0
        self._counting = threading.Lock()

    @property
    def account(self) -> Account:
        """The account that is served."""
        return self.endpoint.account

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests that arrived, in their order."""
        return list(self.endpoint.requests)

    def count(self, operation: str) -> int:
        """Return how many requests of an operation arrived."""
        return self.endpoint.counts[operation]

    def reset_counts(self) -> None:
        """Restart the counts: of requests, faults and attempts, and the peak."""
        self.endpoint.reset_counts()
        self.peak_in_flight = 0

    def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """Answer one request, after the configured latency."""
        with self._counting:
            self._in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
        try:
            if self.config.latency:
                time.sleep(self.config.latency)
            status, answered, content = self.endpoint.answer(headers, body)
        except TimeoutError:
            raise AttemptFailed(faults.TIMEOUT) from None
        except ConnectionError:
            raise AttemptFailed(faults.CONNECTION) from None
        finally:
            with self._counting:
                self._in_flight -= 1
        retry_after = float(answered.get("Retry-After", 0))
        return Response(status, content, answered["Content-Type"], retry_after)

    def at(
        self, now: datetime, *, state_interval: float = 0.0, retries: RetryPolicy = ONE_ATTEMPT
    ) -> Settings:
        """Move the account's clock, and return settings with which the connector shares it."""
        self.account.set_now(now)
        return Settings(
            now=lambda: to_datetime(self.account.now).replace(microsecond=0),
            read_policy=retries,
            check_policy=retries,
            state_interval=state_interval,
            transport=lambda *_: self,
        )


def read(
    settings: Settings,
    config: dict[str, Any],
    catalog: dict[str, Any],
    state: list[dict[str, Any]] | None = None,
) -> Iterator[AirbyteMessage]:
    """Yield the messages of a read.

    :param settings: of `DirectService.at`
    :param state: as the platform keeps it (`Destination.state`)
    """
    yield from read_from(SourceListrak(settings), config, catalog, state)


def read_from(
    source: SourceListrak,
    config: dict[str, Any],
    catalog: dict[str, Any],
    state: list[dict[str, Any]] | None = None,
) -> Iterator[AirbyteMessage]:
    """Yield the messages of a read by a source that the caller can interrupt."""
    yield from source.read(
        LOGGER,
        config,
        ConfiguredAirbyteCatalogSerializer.load(catalog),
        [AirbyteStateMessageSerializer.load(one) for one in state or []],
    )


def as_json(message: AirbyteMessage) -> dict[str, Any]:
    """Return a message as on a line of the output."""
    parsed: dict[str, Any] = orjson.loads(
        orjson.dumps(AirbyteMessageSerializer.dump(message), default=dict)
    )
    return parsed


class Destination:
    """Commits the records of a stream up to its last state, as Airbyte's destinations do."""

    def __init__(self) -> None:
        self.committed: dict[str, list[dict[str, Any]]] = {}
        self.pending: dict[str, list[dict[str, Any]]] = {}
        self._states: dict[str, dict[str, Any]] = {}

    @property
    def state(self) -> list[dict[str, Any]]:
        """What the platform passes to the next run."""
        return list(self._states.values())

    def stream_state(self, table: str) -> dict[str, Any]:
        """Return the committed state of a stream."""
        state = self._states.get(table)
        return state["stream"]["stream_state"] if state else {}

    def take(self, message: dict[str, Any]) -> None:
        """Receive one line of the output."""
        if message["type"] == "RECORD":
            record = message["record"]
            self.pending.setdefault(record["stream"], []).append(record["data"])
        elif message["type"] == "STATE":
            state = message["state"]
            name = state["stream"]["stream_descriptor"]["name"]
            self.committed.setdefault(name, []).extend(self.pending.pop(name, []))
            self._states[name] = state

    def end(self) -> None:
        """Forget what no state covers: the source is gone."""
        self.pending.clear()
