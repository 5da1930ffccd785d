"""A server that answers by script: for faults that a real one does not show on demand.

    peer.script = [DatabaseAway(), pb.EnqueueResponse(…)]

Each call takes the next step: an error of the server's domain or a status code is what the call is refused with; a
message is the answer; a list of these is a stream; a function of the request, which may be async, gives any of them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from layeron.job.v1 import job_service_pb2_grpc
from layeron_job.calls import Calls
from layeron_job_server.rpc.errors import status_of

Step: TypeAlias = "Exception | grpc.StatusCode | Message | list[Any] | Callable[[Any], Any]"


@dataclass
class Peer(job_service_pb2_grpc.JobServiceServicer):
    """What it will answer, and what it was asked."""

    script: list[Step] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    seconds_left: list[float] = field(default_factory=list)
    address: str = ""
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: Any, context: Any) -> Any:
        """One unary call."""
        return await self._do(self._next(request, context), request, context)

    async def stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """One call with a stream of answers."""
        for step in self._next(request, context):
            yield await self._do(step, request, context)

    async def hang(self, request: Any) -> None:
        """As a step: never answer, and notice when the caller hangs up."""
        try:
            await asyncio.Event().wait()
        finally:
            self.hung_up.set()

    def _next(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.seconds_left.append(context.time_remaining() or 0.0)
        return self.script.pop(0)

    async def _do(self, step: Any, request: Any, context: Any) -> Any:
        if callable(step):
            step = step(request)
        if inspect.isawaitable(step):
            step = await step
        if isinstance(step, grpc.StatusCode):
            await context.abort(step, f"refused with {step.name}")
        if isinstance(step, Exception):
            await context.abort_with_status(rpc_status.to_status(status_of(step)))
        return step

    Enqueue = EnqueueBatch = GetRun = ListRuns = WaitRun = CancelRun = ReplayRun = answer
    WatchRuns = stream


@dataclass
class Time:
    """A clock that only waiting moves, so that no test waits."""

    now: float = 1_000.0
    waits: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def calls(self, *addresses: str, timeout: float = 10, **options: Any) -> Calls:
        """Calls by this clock, with the longest waits that chance may give."""
        return Calls(
            addresses, timeout=timeout, clock=lambda: self.now, chance=lambda: 1.0, sleep=self.sleep, **options
        )


@asynccontextmanager
async def serving() -> AsyncIterator[Peer]:
    """A peer on a free port."""
    peer = Peer()
    server = grpc.aio.server()
    job_service_pb2_grpc.add_JobServiceServicer_to_server(peer, server)
    peer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield peer
    finally:
        await server.stop(None)
