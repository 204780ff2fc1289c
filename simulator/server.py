"""The HTTP server, in a background thread of the caller's process."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web
from aiohttp.web_request import BaseRequest

from simulator import movement
from simulator.account import Account
from simulator.config import Move, SimulatorConfig
from simulator.control import Control
from simulator.endpoint import PATH, Endpoint, RequestRecord
from simulator.faults import Reply, check
from simulator.tables import TABLES
from simulator.truth import Truth

_ORIGINAL_ADDRESS = "https://webservices.listrak.com" + PATH
_CHUNK = 1024 * 1024
_POLL = 0.02  # seconds between two looks at whether a client has left
_HAPPENINGS: dict[str, Callable[..., object]] = {
    "leave": movement.leave,
    "come_back": movement.come_back,
    "withhold": movement.withhold,
    "record": movement.record,
}


class Simulator(Control):
    """A Listrak SOAP service: ``with Simulator(SimulatorConfig(...)) as sim: sim.url``."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.endpoint = Endpoint(self.config)
        self.peak_in_flight = 0
        self.port = 0
        self._in_flight = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    @property
    def account(self) -> Account:
        """The account that is served."""
        return self.endpoint.account

    @property
    def counts(self) -> Counter[str]:
        """Requests per operation so far."""
        return self.endpoint.counts

    @property
    def fault_counts(self) -> Counter[str]:
        """Injected faults by name, and soap:Fault for requests that were refused."""
        return self.endpoint.fault_counts

    @property
    def requests(self) -> deque[RequestRecord]:
        """The latest requests, in order of arrival."""
        return self.endpoint.requests

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

    async def serve_until(self, stop: asyncio.Event, ready: Callable[[], object]) -> None:
        """Serve in the running loop until ``stop`` is set; call ``ready`` once ``url`` is known."""
        server = web.Server(self._handle, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, self.config.host, self.config.port, backlog=1024)
        await site.start()
        self.port = runner.addresses[0][1]
        self.endpoint.origin = self.origin
        ready()
        await stop.wait()
        await runner.cleanup()

    # Control

    def control(self, **wishes: Any) -> None:
        """Change faults, config, now, hide_lists, unlock, reset, or make something happen."""
        if "faults" in wishes:
            check(wishes["faults"])
            self.config.faults = wishes["faults"]
        for name, value in wishes.get("config", {}).items():
            if name not in {one.name for one in fields(self.config)}:
                raise ValueError(f"no such setting: {name}")
            moves = name == "moves"
            setattr(self.config, name, [Move(**one) for one in value] if moves else value)
        if "now" in wishes:
            self.account.set_now(datetime.fromisoformat(wishes["now"].replace("Z", "+00:00")))
        if "hide_lists" in wishes:
            self.account.hide_lists(wishes["hide_lists"])
        if wishes.get("unlock"):
            self.endpoint.service.unlock()
        if wishes.get("reset"):
            self.endpoint.reset_counts()
            self.peak_in_flight = self._in_flight
        for name, happen in _HAPPENINGS.items():
            if name in wishes:
                happen(self.account, **wishes[name])

    # HTTP

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == PATH:
            if request.method == "POST":
                return await self._post(request)
            return self._describe(request)
        if path.startswith("/control"):
            return await self._control(request)
        if path == "/canary":  # requested only by a client that resolves what it must not
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
            reply = self.endpoint.reply(request.headers, body)
            if self.config.latency:
                await asyncio.sleep(self.config.latency)
            if self.config.bandwidth:
                await asyncio.sleep(len(reply.body) / self.config.bandwidth)
            return await self._send(request, reply)
        finally:
            self._in_flight -= 1

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
                self.control(**json.loads(await request.read()))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                return web.Response(status=400, text=str(error))
        if request.path == "/control/truth":
            return await self._stream_truth(request)
        account = self.account
        return web.json_response(
            {
                "counts": self.counts,
                "fault_counts": self.fault_counts,
                "in_flight": self._in_flight,
                "peak_in_flight": self.peak_in_flight,
                "now": account.time,
                "hidden_lists": sorted(account.hidden_lists),
                "happenings": [vars(one) for one in account.happenings],
                **({"row_counts": self.row_counts()} if request.query_string == "rows" else {}),
            }
        )

    async def _stream_truth(self, request: BaseRequest) -> web.StreamResponse:
        """Send a table's truth, one JSON record a line: ``?table=…&since=…&until=…``."""
        query = request.query
        table = query.get("table", "")
        if table not in TABLES:
            return web.Response(status=404, text=f"?table= is one of: {', '.join(TABLES)}")
        truth = Truth(self.account, query.get("since"), query.get("until"))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for record in truth.records(table):
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
