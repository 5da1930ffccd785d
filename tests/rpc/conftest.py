"""One server in the test's process, on a database and a stream of the test's own, and stubs to call it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import grpc
import pytest

from layeron.job.v1 import job_service_pb2_grpc, task_service_pb2_grpc
from layeron_job_server.app import App
from layeron_job_server.settings import Settings
from support.calls import Jobs, StartServer, Tasks, register


@pytest.fixture
async def start_server(database_url: str, nats_url: str, stream_prefix: str) -> AsyncIterator[StartServer]:
    """Start a server on this test's database and stream: `app = await start_server(lease_ms=1_000)`."""
    usual = {
        "database_url": database_url,
        "nats_url": nats_url,
        "nats_prefix": stream_prefix,
        "grpc_address": "127.0.0.1:0",
        "drain_seconds": 0.5,
    }
    async with AsyncExitStack() as stack:

        async def start(**changes: object) -> App:
            return await stack.enter_async_context(App(Settings.model_validate({**usual, **changes})))

        yield start


@pytest.fixture
async def server(start_server: StartServer) -> App:
    """The server; its address is `server.address`."""
    return await start_server()


@pytest.fixture
async def channel(server: App) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to the server."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def tasks(channel: grpc.aio.Channel) -> Tasks:
    """TaskService, with no task registered."""
    return task_service_pb2_grpc.TaskServiceStub(channel)


@pytest.fixture
async def jobs(channel: grpc.aio.Channel, tasks: Tasks) -> Jobs:
    """JobService, with the task "work" registered."""
    await register(tasks, "work")
    return job_service_pb2_grpc.JobServiceStub(channel)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own to the server's database."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()
