"""The HTTP server, in a background thread of the caller's process."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web
from aiohttp.web_request import BaseRequest

from integration_tests.simulator.account import Account
from integration_tests.simulator.config import SimulatorConfig
from integration_tests.simulator.faults import FaultPlan, Reply, Scene, check, spoil
from integration_tests.simulator.service import Service, SoapFault, read_request
from integration_tests.simulator.truth import TABLES, Bound, Record, Truth, row_counts

PATH = "/v31/IntegrationService.asmx"
_ORIGINAL_ADDRESS = "https://webservices.listrak.com" + PATH
_CHUNK = 1024 * 1024
_POLL = 0.02  # seconds between two looks at whether a client has left


@dataclass(frozen=True)
class RequestRecord:
    """One request as the server saw it; ``at`` is ``time.monotonic()`` of its arrival."""

    at: float
    operation: str
    arguments: dict[str, Any]
    fault: str | None


class Simulator:
    """A Listrak SOAP service: ``with Simulator(SimulatorConfig(...)) as sim: sim.url``."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        check(self.config.faults)
        self.account = Account(self.config.account)
        self.counts: Counter[str] = Counter()
        self.fault_counts: Counter[str] = Counter()
        self.requests: deque[RequestRecord] = deque(maxlen=self.config.keep_requests)
        self.peak_in_flight = 0
        self.port = 0
        self._service = Service(self.account, self.config)
        self._plan = FaultPlan(self.config)
        self._in_flight = 0
        self._arrivals: deque[float] = deque()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    # Life

    @property
    def origin(self) -> str:
        """The server's scheme, host and port."""
        return f"http://{self.config.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address of the SOAP service."""
        return self.origin + PATH

    def __enter__(self) -> Simulator:
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await self.serve_until(self._stop, self._ready.set)

    async def serve_until(self, stop: asyncio.Event, ready: Any) -> None:
        """Serve in the running loop until told to stop; call ``ready`` once ``url`` is known."""
        server = web.Server(self._handle, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, self.config.host, self.config.port, backlog=1024)
        await site.start()
        sockets = site._server.sockets  # type: ignore[union-attr]  # the only way to learn the port
        self.port = sockets[0].getsockname()[1]
        ready()
        await stop.wait()
        await runner.cleanup()

    # Control

    def set_now(self, moment: datetime) -> None:
        """Move the account's clock."""
        self.account.set_now(moment)

    def hide_lists(self, list_ids: Iterable[int]) -> None:
        """Hide exactly these lists from the user."""
        self.account.hide_lists(list_ids)

    def unlock(self) -> None:
        """Lift a lockout."""
        self._service.unlock()

    def reset_counts(self) -> None:
        """Start counting anew: requests, faults, attempts, the peak."""
        self.counts.clear()
        self.fault_counts.clear()
        self.requests.clear()
        self._plan.reset()
        self.peak_in_flight = self._in_flight

    def truth(
        self,
        since: Bound = None,
        until: Bound = None,
        *,
        include_test_messages: bool = True,
        list_ids: Collection[int] | None = None,
    ) -> dict[str, list[Record]]:
        """Give every table's records, as a faultless sync at the present clock would."""
        truth = Truth(
            self.account, since, until,
            include_test_messages=include_test_messages, list_ids=list_ids,
        )  # fmt: skip
        return {table: list(truth.records(table)) for table in TABLES}

    def row_counts(self) -> dict[str, int]:
        """Give the number of rows of every table."""
        return row_counts(self.account)

    # HTTP

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == PATH:
            if request.method == "POST":
                return await self._post(request)
            return self._describe(request)
        if path.startswith("/control"):
            return await self._control(request)
        if path == "/canary":  # fetched only by a client that resolves what it must not
            self.counts["canary"] += 1
            return web.Response(text="canary")
        return web.Response(status=404, text="The resource cannot be found.")

    def _describe(self, request: BaseRequest) -> web.Response:
        if request.method != "GET":
            return web.Response(status=405, text="Method Not Allowed")
        if request.query_string.lower() != "wsdl" or self.config.wsdl is None:
            return web.Response(text="<html><body>IntegrationService</body></html>",
                                content_type="text/html")  # fmt: skip
        text = Path(self.config.wsdl).read_text(encoding="utf-8")
        return web.Response(
            text=text.replace(_ORIGINAL_ADDRESS, self.url), content_type="text/xml", charset="utf-8"
        )

    async def _post(self, request: BaseRequest) -> web.StreamResponse:
        self._in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
        try:
            body = await request.read()
            compressed = self.config.gzip and "gzip" in request.headers.get("Accept-Encoding", "")
            reply = self._reply(request, body, compressed)
            if self.config.latency:
                await asyncio.sleep(self.config.latency)
            if self.config.bandwidth:
                await asyncio.sleep(len(reply.body) / self.config.bandwidth)
            return await self._send(request, reply)
        finally:
            self._in_flight -= 1

    def _reply(self, request: BaseRequest, body: bytes, compressed: bool) -> Reply:
        arrival = time.monotonic()
        if request.headers.get("Content-Type", "").split(";")[0].strip().lower() != "text/xml":
            return Reply(415, b"Unsupported Media Type", "text/plain")
        if self._is_too_fast(arrival):
            self.counts["429"] += 1
            after = self.config.retry_after
            headers = {} if after is None else {"Retry-After": f"{after:g}"}
            return Reply(429, b"Too Many Requests", "text/plain", headers)
        try:
            call = read_request(body, request.headers.get("SOAPAction"))
            self.counts[call.operation] += 1
            self._service.authenticate(call)
        except SoapFault as fault:
            self.fault_counts["soap:Fault"] += 1
            return Reply(500, fault.render())
        name = self._plan.draw(call)
        self.requests.append(RequestRecord(arrival, call.operation, call.arguments, name))
        if name is not None:
            self.fault_counts[name] += 1
            return spoil(name, Scene(call, self._service, self.config, self.origin))
        try:
            answer = self._service.answer(call, compressed=compressed)
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

    async def _send(self, request: BaseRequest, reply: Reply) -> web.StreamResponse:
        headers = {"Content-Type": reply.content_type, **reply.headers}
        if reply.manner == "whole":
            return web.Response(body=reply.body, status=reply.status, headers=headers)
        if reply.manner == "timeout":
            limit = time.monotonic() + self.config.timeout_limit
            while time.monotonic() < limit and _is_connected(request):
                await asyncio.sleep(_POLL)
            _reset(request)
            return web.Response()
        if reply.manner == "reset":
            _reset(request)
            return web.Response()
        response = web.StreamResponse(status=reply.status, headers=headers)
        if reply.manner == "huge":
            before, _, after = reply.body.partition(b"|")
            response.content_length = len(before + after) + self.config.huge_body_mb * _CHUNK
            await response.prepare(request)
            for part in (before, *[b"x" * _CHUNK] * self.config.huge_body_mb, after):
                await response.write(part)
            return response
        response.content_length = len(reply.body)
        await response.prepare(request)
        await response.write(reply.body[: len(reply.body) // 2])
        await asyncio.sleep(_POLL)  # let what was written reach the client
        if reply.manner == "reset_mid_body":
            _reset(request)
        elif request.transport is not None:
            request.transport.close()
        return response

    # The control endpoint

    async def _control(self, request: BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            try:
                self.apply(json.loads(await request.read()))
            except (ValueError, TypeError, AttributeError) as error:
                return web.Response(status=400, text=str(error))
        if request.path == "/control/truth":
            return await self._stream_truth(request)
        return web.json_response(
            {
                "counts": self.counts,
                "fault_counts": self.fault_counts,
                "in_flight": self._in_flight,
                "peak_in_flight": self.peak_in_flight,
                "now": self.account.now,
                "hidden_lists": sorted(self.account.hidden_lists),
                **({"row_counts": self.row_counts()} if request.query_string == "rows" else {}),
            }
        )

    def apply(self, wishes: dict[str, Any]) -> None:
        """Do what a control request asks: now, hide_lists, unlock, reset, config, faults."""
        if "faults" in wishes:
            check(wishes["faults"])
            self.config.faults = wishes["faults"]
        for name, value in wishes.get("config", {}).items():
            if not hasattr(self.config, name):
                raise ValueError(f"no such setting: {name}")
            setattr(self.config, name, value)
        if "now" in wishes:
            self.set_now(datetime.fromisoformat(wishes["now"].replace("Z", "+00:00")))
        if "hide_lists" in wishes:
            self.hide_lists(wishes["hide_lists"])
        if wishes.get("unlock"):
            self.unlock()
        if wishes.get("reset"):
            self.reset_counts()

    async def _stream_truth(self, request: BaseRequest) -> web.StreamResponse:
        """Send a table's truth, one JSON record a line: ``?table=…&since=…&until=…``."""
        query = request.query
        truth = Truth(self.account, query.get("since"), query.get("until"))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for record in truth.records(query.get("table", "lists")):
            await response.write(json.dumps(record).encode() + b"\n")
        await response.write_eof()
        return response


def _is_connected(request: BaseRequest) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _reset(request: BaseRequest) -> None:
    """Abort the connection so that the client sees a reset, not an orderly end."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
