"""A source in this process, against a simulator or a service without a socket between."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import orjson
from airbyte_cdk.models import (
    AirbyteMessage,
    AirbyteMessageSerializer,
    AirbyteStateMessageSerializer,
    ConfiguredAirbyteCatalogSerializer,
    Status,
)
from airbyte_cdk.utils.traced_exception import AirbyteTracedException

from drivers.messages import Message, Result
from drivers.process import TIGHT
from drivers.setups import NOW, TABLES, Served, catalog, make_config
from simulator import Account, Endpoint, RequestRecord, SimulatorConfig
from simulator.clock import to_datetime
from simulator.endpoint import PATH
from source_listrak import Settings, SourceListrak
from source_listrak.soap import faults
from source_listrak.soap.client import RetryPolicy
from source_listrak.soap.faults import AttemptFailed
from source_listrak.soap.wire import Limits, Response
from source_listrak.sync.engine import SyncFailed

ONE_ATTEMPT = RetryPolicy(attempts=1, seconds=0, first_wait=0, pause=0)
POLICY = RetryPolicy(attempts=6, seconds=0.0, first_wait=0.001, longest_wait=0.05, pause=0.01)
SETTINGS = Settings(
    now=lambda: NOW,
    read_policy=POLICY,
    check_policy=POLICY,
    limits=Limits(**TIGHT),  # type: ignore[arg-type]
)
"""For a service with a socket, with quick retries."""


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
            now=lambda: to_datetime(self.account.time).replace(microsecond=0),
            read_policy=retries,
            check_policy=retries,
            state_interval=state_interval,
            transport=lambda *_: self,
        )


@dataclass
class InProcessResult(Result):
    """What one run of a source in this process wrote.

    :ivar error: what ended the read, None where it succeeded
    :ivar is_cut: whether the reader stopped reading before the end
    """

    error: AirbyteTracedException | None = None
    is_cut: bool = False


def read_here(
    service: Served,
    tables: Iterable[str] = TABLES,
    *,
    state: Any = None,
    mode: str = "incremental",
    settings: Settings = SETTINGS,
    cut: int | None = None,
    take: Callable[[Message], None] = lambda message: None,
    **changes: Any,
) -> InProcessResult:
    """Read as the command does, but in this process, with the same exit code.

    :param state: as the platform keeps it (`Result.state`)
    :param settings: of a `DirectService`, by its method `at`
    :param cut: stop reading after this number of messages, not counting the log
    :param take: receives each message as it arrives
    :param changes: of the configuration
    """
    result = InProcessResult(0, [])
    config = make_config(service, **changes)
    source = SourceListrak(settings)
    try:
        output = stream(source, config, catalog(tables, mode), state, result.messages.append)
        with closing(output):
            for number, message in enumerate(output, 1):
                result.messages.append(message)
                take(message)
                if number == cut:
                    result.is_cut = True
                    break
    except AirbyteTracedException as error:
        result.code, result.error = 1, error
        if not isinstance(error, SyncFailed):
            result.messages.append(as_json(error.as_airbyte_message()))
    return result


def stream(
    source: SourceListrak,
    config: dict[str, Any],
    catalog: dict[str, Any],
    state: list[dict[str, Any]] | None = None,
    log: Callable[[Message], None] = lambda message: None,
) -> Generator[Message]:
    """Yield the messages of a read by a source that the caller can interrupt.

    :param log: receives the log's messages
    """
    logger = logging.Logger("airbyte.inprocess", logging.INFO)
    logger.addHandler(_Log(log))
    output = source.read(
        logger,
        config,
        ConfiguredAirbyteCatalogSerializer.load(catalog),
        [AirbyteStateMessageSerializer.load(one) for one in state or []],
    )
    with closing(cast("Generator[AirbyteMessage]", output)):
        for message in output:
            yield as_json(message)


def check_here(
    service: Served, *, settings: Settings = SETTINGS, **changes: Any
) -> tuple[bool, str]:
    """Check as the command does, but in this process; return whether it succeeded, and a message.

    :param changes: of the configuration
    """
    config = make_config(service, **changes)
    result = SourceListrak(settings).check(logging.Logger("airbyte", logging.CRITICAL), config)
    return result.status is Status.SUCCEEDED, result.message or ""


def as_json(message: AirbyteMessage) -> Message:
    """Return a message as on a line of the output; of a record, its stream and data."""
    if message.record is not None and message.record.meta is None:  # most are; without JSON
        record = {"stream": message.record.stream, "data": message.record.data}
        return {"type": "RECORD", "record": record}
    parsed: Message = orjson.loads(
        orjson.dumps(AirbyteMessageSerializer.dump(message), default=dict)
    )
    return parsed


class _Log(logging.Handler):
    """Turns log records into messages, as the command does."""

    def __init__(self, take: Callable[[Message], None]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        level = "WARN" if record.levelno == logging.WARNING else record.levelname
        self._take({"type": "LOG", "log": {"level": level, "message": record.getMessage()}})
