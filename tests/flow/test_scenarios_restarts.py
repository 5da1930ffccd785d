"""Everything is down and comes back, in whichever order: nothing is started twice, and all that was owed is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import permutations
from typing import Any

import pytest

from layeron_job import Client
from layeron_job_server.app import App
from layeron_job_server.embedded import Nats, Postgres
from layeron_job_server.settings import Settings
from layeron_job_server.store.migrate import upgrade
from layeron_job_worker import Worker
from support import eventually
from support.processes import free_port
from support.system import StartWorker


@pytest.mark.slow
@pytest.mark.parametrize("order", list(permutations(["postgres", "nats", "server"])), ids=" ".join)
async def test_promise_1_after_everything_was_down_every_run_ends_in_whichever_order_it_comes_back(
    environment: dict[str, str],
    start_worker: StartWorker,
    postgres_server: Postgres,
    nats_server: Nats,
    order: tuple[str, ...],
) -> None:
    """PostgreSQL and nats-server crash, the server stops, and a worker is left alone with a run under way: it is never
    started anew. Runs that waited, that were due later and that are enqueued afterwards all succeed."""
    await asyncio.to_thread(upgrade, postgres_server.url)
    told = {name.removeprefix("LAYERON_JOB_").lower(): value for name, value in environment.items()}
    settings = Settings.model_validate(
        {
            **told,
            "database_url": postgres_server.url,
            "nats_url": nats_server.url,
            "grpc_address": f"127.0.0.1:{free_port()}",
            "drain_seconds": 0.1,
        }
    )
    handled, go = 0, asyncio.Event()
    worker = Worker(settings.grpc_address, concurrency=1, prefetch=0)

    @worker.task("work")
    async def work(payload: Any) -> Any:
        nonlocal handled
        handled += 1
        await go.wait()
        return payload

    async with AsyncExitStack() as second_server, Client(settings.grpc_address, timeout=30) as jobs:

        async def start_again() -> None:
            await second_server.enter_async_context(App(settings))

        starts: dict[str, Callable[[], Awaitable[None]]] = {
            "postgres": postgres_server.restart,
            "nats": nats_server.restart,
            "server": start_again,
        }
        async with App(settings):
            await start_worker(worker)
            runs = [await jobs.enqueue("work", number) for number in range(10)]
            runs += [await jobs.enqueue("work", number, delay=2) for number in range(10)]
            await eventually(lambda: handled == 1)
        await nats_server.kill()
        await postgres_server.kill()
        for name in order:
            await starts[name]()
        go.set()
        runs += [await jobs.enqueue("work", number) for number in range(10)]
        for run in runs:
            assert (await jobs.runs.wait(run.run_id, timeout=30)).status == "succeeded"
        worker.stop()
