"""The HTTP port for operators and orchestrators: /healthz, /readyz and /metrics.

    /healthz  200 "ok" while the process answers at all
    /readyz   {"status": "ok" | "degraded" | "unavailable", "database": …, "stream": …}; 503 if unavailable
    /metrics  the text format of Prometheus

It has no authentication and tells names of tasks: listen on an address that only they reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from .health import Health
    from .metrics import Metrics

_STOP_SECONDS: Final = 3


class HttpServer:
    """Serves until `stop`."""

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._scrape),
            ]
        )
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=_STOP_SECONDS
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, address: str) -> int:
        """Listen on host:port and answer the port. Raises OSError when the address cannot be had."""
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise ValueError(f"the HTTP address must be host:port, not {address!r}")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host.strip("[]"), int(port)), family=family)
        except OSError as error:
            raise OSError(f"cannot serve HTTP on {address}: {error.strerror}; see LAYERON_JOB_HTTP_ADDRESS") from error
        bound: int = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        return bound

    async def stop(self) -> None:
        """Answer what is under way and close the port."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    async def _healthz(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _request: Request) -> Response:
        state = self._health.state()
        return JSONResponse(state.told(), status_code=503 if state.status == "unavailable" else 200)

    def _scrape(self, _request: Request) -> Response:
        """No coroutine, so that Starlette calls it in a thread: RPCs do not wait for a scrape."""
        return Response(self._metrics.scrape(), media_type=CONTENT_TYPE_LATEST)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the program."""
        yield
