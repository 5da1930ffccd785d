"""How the client calls its servers: channels, deadlines, repeats and errors, in one place.

A call has one deadline for all its tries. What is UNAVAILABLE is tried again until then, at the next address if there
are several, after waits of 0 to 0.05 s, doubling to 0 to 1 s. This is safe for every RPC of the client: Enqueue,
EnqueueBatch and ReplayRun carry run ids that were chosen before the first try, and the others may be done twice.
A call that was canceled by nobody here counts as UNAVAILABLE. Batches and watches of a filter also wait while a server
is OVERLOADED. Nothing else is tried again, and every error is a JobError.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
import grpc.aio

from layeron.job.v1 import job_service_pb2_grpc, task_service_pb2_grpc

from . import tracing
from .durations import Seconds, seconds
from .errors import DeadlineExceeded, JobError, Overloaded, Unavailable, from_rpc

if TYPE_CHECKING:
    Jobs = job_service_pb2_grpc.JobServiceAsyncStub
    Tasks = task_service_pb2_grpc.TaskServiceAsyncStub

ADDRESS_VARIABLE: Final = "LAYERON_JOB_ADDRESS"
DEFAULT_ADDRESS: Final = "localhost:7233"
_WAIT_SECONDS: Final = 0.05
_WAIT_SECONDS_MAX: Final = 1.0
_MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
_OPTIONS: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    # A connection that was cut without a word is noticed, also between calls.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # By default a server that is back would not be tried for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),  # repeats are made here, where it is known what is safe
]

Request = TypeVar("Request")
Response = TypeVar("Response")


class Patience:
    """The time that one thing may take, all its tries together."""

    def __init__(
        self,
        limit_seconds: float,
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._until = clock() + limit_seconds
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._ceiling = _WAIT_SECONDS

    def left(self) -> float:
        """The seconds that are left."""
        return self._until - self._clock()

    async def bear(self, error: JobError) -> None:
        """Wait before the next try, at least as long as the error says; raise it if there is no time for one."""
        wait = self._chance() * self._ceiling
        if error.retry_after is not None:
            wait += error.retry_after.total_seconds()
        self._ceiling = min(2 * self._ceiling, _WAIT_SECONDS_MAX)
        if wait >= self.left():
            raise error
        await self._sleep(wait)


@dataclass(frozen=True, slots=True)
class Server:
    """A connection to one address."""

    address: str
    channel: grpc.aio.Channel
    jobs: Jobs
    tasks: Tasks


class Calls:
    """Calls to the servers at some addresses, of which one is in use until it is unavailable."""

    def __init__(
        self,
        address: str | Sequence[str] | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        timeout: Seconds = 10,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.addresses = _addresses(address)
        self.timeout_seconds = seconds(timeout)
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout must be more than 0 s, not {self.timeout_seconds:g} s")
        self.clock = clock
        self._credentials = credentials
        self._metadata = _metadata(token)
        self._chance = chance
        self._sleep = sleep
        self._servers: dict[str, Server] = {}
        self._at = 0
        self._closed = False

    async def unary(
        self,
        rpc: Callable[[Server], grpc.aio.UnaryUnaryMultiCallable[Request, Response]],
        request: Request,
        *,
        wait_for_room: bool = False,
    ) -> Response:
        """The answer to a request, within the client's timeout. wait_for_room: also try again when overloaded."""
        patience = self.patience()
        outage: Unavailable | None = None
        while True:
            try:
                return await self.once(rpc, request, timeout_seconds=patience.left())
            except Unavailable as error:
                outage = error
                await patience.bear(error)
            except Overloaded as error:
                if not wait_for_room:
                    raise
                await patience.bear(error)
            except DeadlineExceeded:
                if outage is not None:  # it says more than that the last try had too little time
                    raise outage from None
                raise

    async def once(
        self,
        rpc: Callable[[Server], grpc.aio.UnaryUnaryMultiCallable[Request, Response]],
        request: Request,
        *,
        timeout_seconds: float,
    ) -> Response:
        """The answer to a single try."""
        server = self._server()
        try:
            return await rpc(server)(request, timeout=timeout_seconds, metadata=self._headers())
        except grpc.aio.AioRpcError as error:
            raise self._told(error, server) from None
        except (asyncio.CancelledError, grpc.aio.UsageError):
            self._raise_if_closed()
            raise

    async def stream(
        self, rpc: Callable[[Server], grpc.aio.UnaryStreamMultiCallable[Request, Response]], request: Request
    ) -> AsyncGenerator[Response, None]:
        """The messages of one stream, which has no deadline."""
        server = self._server()
        call = rpc(server)(request, metadata=self._headers())
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._told(error, server) from None
        except (asyncio.CancelledError, grpc.aio.UsageError):
            self._raise_if_closed()
            raise
        finally:
            call.cancel()

    def patience(self) -> Patience:
        """The client's timeout, from now on."""
        return Patience(self.timeout_seconds, clock=self.clock, chance=self._chance, sleep=self._sleep)

    async def close(self) -> None:
        """End all calls and connections."""
        self._closed = True
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.channel.close()

    def _headers(self) -> grpc.aio.Metadata | None:
        """What is sent with a call: the token, and the trace that is current here."""
        traced = tracing.current()
        if not traced:
            return self._metadata
        return grpc.aio.Metadata(*(self._metadata or ()), *traced.items())

    def _server(self) -> Server:
        """The server in use. Its channel is made here, because it belongs to the event loop that runs now."""
        if self._closed:
            raise RuntimeError("the client is closed")
        address = self.addresses[self._at]
        if address not in self._servers:
            self._servers[address] = _connect(address, self._credentials)
        return self._servers[address]

    def _told(self, error: grpc.aio.AioRpcError, server: Server) -> JobError:
        told = from_rpc(error, server.address)
        # Of many calls that fail together only the first one turns to the next address.
        if isinstance(told, Unavailable | DeadlineExceeded) and server.address == self.addresses[self._at]:
            self._at = (self._at + 1) % len(self.addresses)
        return told

    def _raise_if_closed(self) -> None:
        """What closing does to a call is no cancel of the caller's own."""
        task = asyncio.current_task()
        if self._closed and not (task and task.cancelling()):
            raise JobError("the client was closed during the call", code=grpc.StatusCode.CANCELLED) from None


def _connect(address: str, credentials: grpc.ChannelCredentials | None) -> Server:
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
    return Server(
        address,
        channel,
        job_service_pb2_grpc.JobServiceStub(channel),
        task_service_pb2_grpc.TaskServiceStub(channel),
    )


def _addresses(given: str | Sequence[str] | None) -> list[str]:
    named = given or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    parts = named.split(",") if isinstance(named, str) else named
    addresses = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not addresses:
        raise ValueError("address must name at least one server, such as 'localhost:7233'")
    return addresses


def _metadata(token: str | None) -> grpc.aio.Metadata | None:
    if token is None:
        return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("token must be printable ASCII without spaces, and not empty")
    return grpc.aio.Metadata(("authorization", f"Bearer {token}"))
