"""The service as a client meets it, without a socket: with faults, movement and counts."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.account import Account
from simulator.config import SimulatorConfig
from simulator.faults import XML, FaultPlan, Reply, Scene, check, spoil
from simulator.movement import Movement
from simulator.service import NAMESPACE, Service, SoapFault, read_request

PATH = "/v31/IntegrationService.asmx"
Headers = Mapping[str, str]


@dataclass(frozen=True)
class RequestRecord:
    """One request as the service saw it; ``at`` is ``time.monotonic()`` of its arrival."""

    at: float
    operation: str
    arguments: dict[str, Any]
    fault: str | None


class Endpoint:
    """Answers requests as the server does; tests call it where a socket would be in the way.

    ``counts`` and ``requests`` hold what arrived; ``fault_counts`` what was answered wrongly.
    """

    def __init__(self, config: SimulatorConfig, origin: str = "http://localhost") -> None:
        check(config.faults)
        self.config = config
        self.account = Account(config.account)
        self.service = Service(self.account, config)
        self.counts: Counter[str] = Counter()
        self.fault_counts: Counter[str] = Counter()
        self.requests: deque[RequestRecord] = deque(maxlen=config.keep_requests)
        self.origin = origin
        self._plan = FaultPlan(config)
        self._movement = Movement(self.account, config)
        self._arrivals: deque[float] = deque()
        self._lock = threading.Lock()

    def answer(self, operation: str | Headers, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Answer one request, given by the name of its operation or by its HTTP headers.

        :raises TimeoutError: for a fault that never answers
        :raises ConnectionError: for a fault that breaks the connection off
        """
        if isinstance(operation, str):
            operation = {
                "Content-Type": XML,
                "SOAPAction": f'"{NAMESPACE}{operation}"',
            }
        reply = self.reply(operation, body)
        if reply.manner == "timeout":
            raise TimeoutError("the service does not answer")
        if reply.manner in ("reset", "reset_mid_body", "truncated"):
            raise ConnectionError("the service has closed the connection")
        if reply.manner == "huge":
            filler = b"x" * (self.config.huge_body_mb << 20)
            reply.body = reply.body.replace(b"|", filler)
        return reply.status, {"Content-Type": reply.content_type, **reply.headers}, reply.body

    def reply(self, headers: Headers, body: bytes) -> Reply:
        """Answer one request, not yet broken before any fault is applied."""
        with self._lock:  # as the server, which answers on one thread
            return self._reply(headers, body)

    def reset_counts(self) -> None:
        """Restart the counts: of requests, of faults, and of the attempts of each request."""
        self.counts.clear()
        self.fault_counts.clear()
        self.requests.clear()
        self._plan.reset()

    def _reply(self, headers: Headers, body: bytes) -> Reply:
        arrival = time.monotonic()
        if headers.get("Content-Type", "").split(";")[0].strip().lower() != "text/xml":
            return Reply(415, b"Unsupported Media Type", "text/plain")
        if self._is_too_fast(arrival):
            self.counts["429"] += 1
            after = self.config.retry_after
            wait = {} if after is None else {"Retry-After": f"{after:g}"}
            return Reply(429, b"Too Many Requests", "text/plain", wait)
        try:
            call = read_request(body, headers.get("SOAPAction"))
            self.counts[call.operation] += 1
            self._movement.before_request(call.operation, arrival)
            self.service.authenticate(call)
        except SoapFault as fault:
            self.fault_counts["soap:Fault"] += 1
            return Reply(500, fault.render())
        name = self._plan.draw(call)
        self.requests.append(RequestRecord(arrival, call.operation, call.arguments, name))
        if name is not None:
            self.fault_counts[name] += 1
            return spoil(name, Scene(call, self.service, self.config, self.origin))
        compressed = self.config.gzip and "gzip" in headers.get("Accept-Encoding", "")
        try:
            answer = self.service.answer(call, compressed=compressed)
        except SoapFault as fault:
            return Reply(500, fault.render())
        return Reply(200, answer, headers={"Content-Encoding": "gzip"} if compressed else {})

    def _is_too_fast(self, arrival: float) -> bool:
        limit, arrivals = self.config.rate_limit, self._arrivals
        if limit is None:
            return False
        while arrivals and arrivals[0] <= arrival - 1:
            arrivals.popleft()
        if len(arrivals) >= limit:
            return True
        arrivals.append(arrival)
        return False
