"""Very many runs that want the same moment: they wait where they hold up nobody, and start in their time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import nats

from layeron_job import Item, Retry
from layeron_job_server.app import App
from layeron_job_worker import Worker
from support import eventually
from support.system import NewClient, StartServer, StartWorker

CROWD = 500


async def count(server: App, query: str) -> int:
    """The only number of a query."""
    async with server.database.connection() as connection:
        number: int = await connection.fetchval(query)
        return number


async def test_a_crowd_that_failed_waits_in_postgresql_and_leaves_jetstream_and_the_worker_to_others(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient, nats_url: str
) -> None:
    """Five hundred runs of one queue fail at once and have the same backoff: no delivery of theirs is kept pending, and
    a fresh run of the same queue starts while all of them wait."""
    server = await start_server()
    worker = Worker(server.address, concurrency=50)

    @worker.task("fails", retry=Retry(attempts=2, backoff=60))
    async def fails(_payload: Any) -> None:
        raise OSError("down")

    @worker.task("work")
    async def work(payload: Any) -> Any:
        return payload

    await start_worker(worker)
    jobs = await new_client(server.address)
    await jobs.enqueue_batch([("fails", number) for number in range(CROWD)])
    waiting = "select count(*) from open_runs where status = 'retrying'"
    await eventually(lambda: _is(CROWD, server, waiting), seconds=30)
    client = await nats.connect(nats_url)

    async def is_quiet() -> bool:
        jetstream = client.jetstream()
        pending = [one.num_ack_pending for one in await jetstream.consumers_info(server.broker.stream)]
        return not any(pending) and not (await jetstream.stream_info(server.broker.stream)).state.messages

    await eventually(is_quiet)
    fresh = await jobs.enqueue("work", "fresh")
    assert (await jobs.runs.wait(fresh.run_id, timeout=10)).result == "fresh"
    assert await count(server, waiting) == CROWD
    assert await count(server, "select count(*) from outbox where ring_at > now() + interval '30 seconds'") == CROWD
    await client.close()


async def _is(expected: int, server: App, query: str) -> bool:
    return await count(server, query) == expected


async def test_promise_7_a_crowd_of_one_moment_starts_then_and_lets_urgent_runs_and_other_queues_through(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    """Five hundred runs are scheduled for the same instant. None starts before it; what is enqueued once the crowd is
    at work, with high priority or in another queue, is done long before the crowd."""
    server = await start_server()
    crowded, other = Worker(server.address, concurrency=5), Worker(server.address, queues=["other"])

    @crowded.task("crowd")
    async def crowd(_payload: Any) -> None:
        await asyncio.sleep(0.01)

    @crowded.task("urgent", priority="high")
    async def urgent(payload: Any) -> Any:
        return payload

    other.task("calm")(urgent)
    await start_worker(crowded)
    await start_worker(other)
    jobs = await new_client(server.address)
    due = datetime.now(UTC) + timedelta(seconds=2)
    await jobs.enqueue_batch([Item("crowd", run_at=due)] * CROWD)
    started = "select count(*) from attempts"
    await eventually(lambda: _is_at_least(20, server, started))
    for task in ("urgent", "calm"):
        run = await jobs.enqueue(task, task)
        assert (await jobs.runs.wait(run.run_id, timeout=10)).result == task
    assert await count(server, "select count(*) from open_runs") > CROWD / 4, "the crowd is still at work"
    await eventually(lambda: _is(0, server, "select count(*) from open_runs"), seconds=30)
    early = "select count(*) from attempts where granted_at < $1"
    async with server.database.connection() as connection:
        assert await connection.fetchval(early, due) == 0
        assert await connection.fetchval("select count(*) from attempts") == CROWD + 2


async def _is_at_least(number: int, server: App, query: str) -> bool:
    return await count(server, query) >= number
