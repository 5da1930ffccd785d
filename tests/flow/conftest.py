"""The whole system in a test: servers, workers and clients on a database and a stream of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from layeron_job import Client
from layeron_job_server.app import App
from layeron_job_server.settings import Settings
from layeron_job_worker import Worker
from support.system import NewClient, StartServer, StartWorker


@pytest.fixture
def environment(database_url: str, nats_url: str, stream_prefix: str) -> dict[str, str]:
    """What a server process of this test is told. Times are short, so that faults are noticed soon."""
    return {
        "LAYERON_JOB_DATABASE_URL": database_url,
        "LAYERON_JOB_NATS_URL": nats_url,
        "LAYERON_JOB_NATS_PREFIX": stream_prefix,
        "LAYERON_JOB_LEASE_MS": "3000",
        "LAYERON_JOB_HEARTBEAT_INTERVAL_MS": "500",
        "LAYERON_JOB_RECONCILE_INTERVAL_MS": "200",
        "LAYERON_JOB_SWEEP_INTERVAL_MS": "200",
        "LAYERON_JOB_AUDIT_INTERVAL_MS": "500",
        "LAYERON_JOB_AUDIT_OVERDUE_MS": "1000",
        "LAYERON_JOB_DRAIN_SECONDS": "3",
    }


@pytest.fixture
async def start_server(environment: dict[str, str]) -> AsyncIterator[StartServer]:
    """Start a server in this process: `app = await start_server()`; its address is `app.address`."""
    async with AsyncExitStack() as stack:

        async def start(**changes: object) -> App:
            told = {name.removeprefix("LAYERON_JOB_").lower(): value for name, value in environment.items()}
            settings = Settings.model_validate({**told, "grpc_address": "127.0.0.1:0", **changes})
            return await stack.enter_async_context(App(settings))

        yield start


@pytest.fixture
async def start_worker() -> AsyncIterator[StartWorker]:
    """Run a worker until the end of the test; answers once it is ready."""
    tasks: dict[Worker, asyncio.Task[None]] = {}

    async def start(worker: Worker) -> Worker:
        tasks[worker] = asyncio.create_task(worker.run(install_signal_handlers=False))
        ready = asyncio.create_task(worker.ready.wait())
        await asyncio.wait([ready, tasks[worker]], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if tasks[worker].done():
            tasks[worker].result()
        assert worker.ready.is_set(), "the worker was not ready within 20 s"
        return worker

    yield start
    for worker, task in tasks.items():
        worker.stop()
        await asyncio.wait([task], timeout=20)


@pytest.fixture
async def new_client() -> AsyncIterator[NewClient]:
    """A client of one server: `jobs = await new_client(app)`."""
    async with AsyncExitStack() as stack:

        async def connect(address: str, *, namespace: str = "default") -> Client:
            return await stack.enter_async_context(Client(address, namespace=namespace))

        yield connect
