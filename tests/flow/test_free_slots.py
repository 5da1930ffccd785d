"""Free slots take what waits, whatever else the worker listens to."""

from __future__ import annotations

import asyncio
from typing import Any

from layeron_job_worker import Worker
from support import eventually
from support.system import NewClient, StartServer, StartWorker


async def test_a_worker_with_free_slots_begins_what_waits_at_once(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    """Forty slots, forty long runs of one queue and priority: all begin within a second."""
    server = await start_server()
    jobs = await new_client(server.address)
    worker = Worker(server.address, concurrency=40)
    began = 0
    go = asyncio.Event()

    @worker.task("long")
    async def long(_payload: Any) -> None:
        nonlocal began
        began += 1
        await go.wait()

    await start_worker(worker)
    await jobs.enqueue_batch([("long", None)] * 40)
    try:
        await eventually(lambda: began == 40, seconds=2)
    finally:
        go.set()
