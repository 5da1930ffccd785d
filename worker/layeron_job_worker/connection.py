"""How a worker reaches its servers: addresses, channels, the registration of tasks, and one `Work` stream."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import grpc
import grpc.aio

from layeron.job.v1 import task_service_pb2, task_service_pb2_grpc, worker_service_pb2_grpc
from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.errors import WorkerError
from layeron_job_worker.registry import TaskHandler

logger = logging.getLogger("layeron_job_worker")

ADDRESS_VARIABLE = "LAYERON_JOB_ADDRESS"
DEFAULT_ADDRESS = "localhost:7233"
_REGISTER_TIMEOUT_SECONDS = 10.0
_WELCOME_SECONDS = 10.0
_SERVER_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # it is there, and too busy
)
_REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
)
_OPTIONS: list[tuple[str, int]] = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    # A new channel really dials anew, instead of sharing a broken connection and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]
_Answer = TypeVar("_Answer")


class StreamBroken(Exception):
    """The stream is gone. `code` is the status the server ended it with, if there is one."""

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code

    @property
    def is_refusal(self) -> bool:
        """The server does not want what was said: to say it again is of no use."""
        return self.code in _REFUSALS


class Backoff:
    """Growing waits with full jitter, 0.1 to 5 s."""

    def __init__(self, initial_seconds: float = 0.1, maximum_seconds: float = 5.0) -> None:
        self._initial = initial_seconds
        self._maximum = maximum_seconds
        self._failures = 0

    def next(self) -> float:
        """The seconds to wait now."""
        ceiling = min(self._maximum, self._initial * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        return random.uniform(self._initial / 2, max(self._initial, ceiling))

    def reset(self) -> None:
        """It went well: begin from the start again."""
        self._failures = 0


class Servers:
    """The servers' addresses, taken in turn."""

    def __init__(self, addresses: str | Sequence[str] | None, credentials: grpc.ChannelCredentials | None) -> None:
        given = addresses or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
        parts = given.split(",") if isinstance(given, str) else list(given)
        self.addresses = [part.strip() for part in parts if part.strip()]
        if not self.addresses:
            raise ValueError("address must name at least one server, such as 'localhost:7233'")
        self._credentials = credentials
        self._at = 0

    def __len__(self) -> int:
        return len(self.addresses)

    def current(self) -> str:
        """The address in use."""
        return self.addresses[self._at % len(self.addresses)]

    def advance(self) -> str:
        """Turn to the next address."""
        self._at += 1
        return self.current()

    def use(self, address: str) -> None:
        """Make it the address in use."""
        self._at = self.addresses.index(address)

    def others(self) -> list[str]:
        """The addresses that are not in use."""
        return [address for address in self.addresses if address != self.current()]

    def channel(self, address: str) -> grpc.aio.Channel:
        """A fresh channel to an address."""
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=_OPTIONS)
        return grpc.aio.secure_channel(address, self._credentials, options=_OPTIONS)


class Stream:
    """One open `Work` call. Everything that may go wrong with it is StreamBroken."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self.address = address
        self.ended = asyncio.Event()
        self._channel = channel
        stub = worker_service_pb2_grpc.WorkerServiceStub(channel)
        self._call = stub.Work()

    async def write(self, request: pb.WorkRequest) -> None:
        """Send one message."""
        await self._guarded(self._call.write(request))

    async def read(self) -> pb.WorkResponse | None:
        """The next message; None when the server ended the stream."""
        response = await self._guarded(self._call.read())
        return response if isinstance(response, pb.WorkResponse) else None

    async def done_writing(self) -> None:
        """Say that nothing more is sent."""
        await self._guarded(self._call.done_writing())

    def cancel(self) -> None:
        """End the stream; a read under way then ends too."""
        self._call.cancel()

    async def close(self) -> None:
        """End the stream and the connection."""
        self.ended.set()
        self._call.cancel()
        await self._channel.close()

    async def _guarded(self, step: Awaitable[_Answer]) -> _Answer:
        try:
            return await step
        except grpc.aio.AioRpcError as error:
            raise StreamBroken(f"{error.code().name}: {error.details()}", error.code()) from None
        except (asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            raise StreamBroken(str(error)) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this task was canceled, but the call it waited for.
            raise StreamBroken("the stream was closed") from None


async def greet(stream: Stream, hellos: Iterable[pb.Hello]) -> pb.Welcome:
    """Say hello on a fresh stream. Without a welcome within 10 s the stream is closed: StreamBroken."""
    try:
        async with asyncio.timeout(_WELCOME_SECONDS):
            for hello in hellos:
                await stream.write(pb.WorkRequest(hello=hello))
            response = await stream.read()
        if response is None or not response.HasField("welcome"):
            raise StreamBroken("the server did not say welcome")
    except TimeoutError:
        await stream.close()
        raise StreamBroken(f"no welcome within {_WELCOME_SECONDS:g} s") from None
    except BaseException:
        await stream.close()
        raise
    return response.welcome


async def register(
    servers: Servers,
    namespace: str,
    handlers: Sequence[TaskHandler],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Tell the server of the tasks, once at process start.

    Waits for a server that is away or too busy; raises WorkerError for any other refusal.
    """
    request = task_service_pb2.RegisterTasksRequest(namespace=namespace, tasks=[h.to_proto() for h in handlers])
    backoff = Backoff()
    while True:
        channel = servers.channel(servers.current())
        try:
            stub = task_service_pb2_grpc.TaskServiceStub(channel)
            await stub.RegisterTasks(request, timeout=_REGISTER_TIMEOUT_SECONDS)
            return
        except grpc.aio.AioRpcError as error:
            if error.code() not in _SERVER_AWAY:
                names = ", ".join(h.name for h in handlers)
                raise WorkerError(
                    f"the server refused to register the tasks {names}: {error.code().name}: {error.details()}"
                ) from error
            logger.warning("no server at %s to register tasks with: %s", servers.current(), error.details())
        finally:
            await channel.close()
        servers.advance()
        await sleep(backoff.next())
