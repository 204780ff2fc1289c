"""Reads in the process of the test, against the simulated service without a socket between."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from unittest import mock

import orjson
from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteMessageSerializer,
    AirbyteStateMessageSerializer,
    ConfiguredAirbyteCatalogSerializer,
)

from integration_tests.simulator import Account, SimulatorConfig
from integration_tests.simulator.faults import XML, FaultPlan, Scene, spoil
from integration_tests.simulator.service import Service, SoapFault, read_request
from source_listrak import SourceListrak, source
from source_listrak.soap import transport
from source_listrak.soap.envelope import soap_action
from source_listrak.soap.wire import Answer
from source_listrak.streams import concurrent

_QUIET = logging.getLogger("airbyte.inprocess")
_QUIET.setLevel(logging.CRITICAL)
_NO_PATIENCE = transport.RetryPolicy(attempts=1, seconds=0)


@dataclass
class DirectService:
    """The simulated service, called instead of sent to; counts what it is asked."""

    config: SimulatorConfig = field(default_factory=SimulatorConfig)
    requests: list[tuple[str, tuple[tuple[str, Any], ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.account = Account(self.config.account)
        self._service = Service(self.account, self.config)
        self._plan = FaultPlan(self.config)

    def send(self, operation: str, body: bytes) -> Answer:
        """Answer one request."""
        call = read_request(body, soap_action(operation))
        self.requests.append((operation, tuple(call.arguments.items())))
        name = self._plan.draw(call)
        if name is not None:
            reply = spoil(name, Scene(call, self._service, self.config, "http://localhost"))
            return Answer(reply.status, reply.body, reply.content_type)
        try:
            return Answer(200, self._service.answer(call), XML)
        except SoapFault as fault:
            return Answer(500, fault.render(), XML)

    @contextmanager
    def at(self, now: datetime, state_interval: float = 0.0) -> Iterator[None]:
        """Have the account and the connector share a clock that stands still."""

        def send(client: transport.SoapClient, operation: str, envelope: bytes, _: float) -> Answer:
            for placeholder, value in client._credentials:
                envelope = envelope.replace(placeholder, value)
            return self.send(operation, envelope)

        self.account.set_now(now)
        with (
            mock.patch.object(source, "_now", lambda: now),
            mock.patch.object(transport.SoapClient, "_send", send),
            mock.patch.object(transport, "READ_POLICY", _NO_PATIENCE),
            mock.patch.object(concurrent, "STATE_INTERVAL", state_interval),
        ):
            yield


def read(
    config: dict[str, Any], catalog: dict[str, Any], state: list[dict[str, Any]]
) -> Iterator[AirbyteMessage]:
    """Yield what a read gives; states as the platform keeps them (`Destination.state`)."""
    yield from SourceListrak().read(
        _QUIET,
        config,
        ConfiguredAirbyteCatalogSerializer.load(catalog),
        [AirbyteStateMessageSerializer.load(one) for one in state],
    )


def as_json(message: AirbyteMessage) -> dict[str, Any]:
    """Return a message as it would stand on a line of the output."""
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
        """What the platform hands to the next run."""
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
