"""The promises, kept by the whole system: real servers, workers, PostgreSQL and JetStream."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import nats
import pytest
from nats.aio.client import Client as NatsClient

from layeron_job import Client
from layeron_job.errors import RunNotFound
from layeron_job_worker import Context, Retry, Worker
from support import eventually
from support.processes import server_process
from support.system import NewClient, StartServer, StartWorker

FLAKY = Retry(attempts=3, backoff=[0.2, 0.4])


def quick_worker(*addresses: str, **options: Any) -> tuple[Worker, Counter[str]]:
    """A worker with task "work" that returns its payload, and how often each run was handled."""
    handled: Counter[str] = Counter()
    worker = Worker(list(addresses), concurrency=10, **options)

    @worker.task("work")
    async def work(payload: Any, ctx: Context) -> Any:
        handled[ctx.run_id] += 1
        return payload

    return worker, handled


async def test_promise_1_a_server_killed_right_after_it_answered_loses_no_run(
    environment: dict[str, str], start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    worker, handled = quick_worker((other := await start_server()).address)
    await start_worker(worker)
    async with server_process(environment) as doomed, Client(doomed.address) as jobs:
        run_ids = [one.run_id for one in await asyncio.gather(*(jobs.enqueue("work", n) for n in range(20)))]
        await doomed.kill()
    survivor = await new_client(other.address)
    for run_id in run_ids:
        assert (await survivor.runs.wait(run_id, timeout=30)).status == "succeeded"
    assert set(handled) == set(run_ids)


async def test_promise_1_a_deleted_stream_loses_no_run(
    start_server: StartServer,
    start_worker: StartWorker,
    new_client: NewClient,
    nats_url: str,
) -> None:
    server = await start_server()
    registering, _ = quick_worker(server.address)
    await start_worker(registering)
    registering.stop()
    jobs = await new_client(server.address)
    run_ids = [(await jobs.enqueue("work", n)).run_id for n in range(20)]
    run_ids += [(await jobs.enqueue("work", n, delay=2)).run_id for n in range(5)]
    client = await nats.connect(nats_url)
    stream = server.broker.stream
    await eventually(lambda: _messages(client, stream, at_least=len(run_ids)))
    await client.jetstream().delete_stream(stream)
    await client.close()
    worker, _ = quick_worker(server.address)
    await start_worker(worker)
    for run_id in run_ids:
        assert (await jobs.runs.wait(run_id, timeout=30)).status == "succeeded"


async def _messages(client: NatsClient, stream: str, *, at_least: int) -> bool:
    return (await client.jetstream().stream_info(stream)).state.messages >= at_least


async def test_promise_5_a_hundred_enqueues_of_one_key_over_two_server_processes_make_one_run(
    environment: dict[str, str], start_server: StartServer, start_worker: StartWorker
) -> None:
    worker, _ = quick_worker((await start_server()).address)
    await start_worker(worker)
    async with (
        server_process(environment) as one,
        server_process(environment) as two,
        Client(one.address) as first,
        Client(two.address) as second,
    ):
        results = await asyncio.gather(
            *(
                (first if number % 2 else second).enqueue("work", {"order": 7}, idempotency_key="order-7")
                for number in range(100)
            )
        )
    assert len({result.run_id for result in results}) == 1
    assert sum(result.created for result in results) == 1


async def test_promise_6_a_canceled_waiting_run_never_starts(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    server = await start_server()
    worker, handled = quick_worker(server.address)
    await start_worker(worker)
    jobs = await new_client(server.address)
    runs = [await jobs.enqueue("work", n, delay=1) for n in range(10)]
    for run in runs:
        assert (await jobs.runs.cancel(run.run_id, reason="changed my mind")).status == "canceled"
    later = await jobs.enqueue("work", "later", delay=1.5)
    assert (await jobs.runs.wait(later.run_id, timeout=20)).status == "succeeded"
    assert set(handled) == {later.run_id}
    details = await jobs.runs.get(runs[0].run_id)
    assert details.attempts == []
    assert [(t.to_status, t.note) for t in details.transitions][-1] == ("canceled", "changed my mind")


async def test_promise_6_a_running_worker_hears_of_a_cancel_within_a_second(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    """Also when the cancel goes to another server than the worker's."""
    near, far = await start_server(), await start_server()
    began, canceled_at = asyncio.Event(), 0.0
    worker = Worker(near.address, concurrency=2)

    @worker.task("long")
    async def long(_payload: Any, _ctx: Context) -> None:
        nonlocal canceled_at
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            canceled_at = time.monotonic()
            raise

    await start_worker(worker)
    jobs = await new_client(far.address)
    run = await jobs.enqueue("long")
    await asyncio.wait_for(began.wait(), 10)
    asked_at = time.monotonic()
    assert (await jobs.runs.cancel(run.run_id, reason="enough")).status == "running"
    assert (await jobs.runs.wait(run.run_id, timeout=10)).status == "canceled"
    assert 0 < canceled_at - asked_at < 1.0
    details = await jobs.runs.get(run.run_id)
    assert [attempt.status for attempt in details.attempts] == ["canceled"]
    # Once it is over, the same cancel answers the same.
    assert (await jobs.runs.cancel(run.run_id)).status == "canceled"


async def test_promise_7_no_run_starts_before_its_time(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    server = await start_server()
    worker, _ = quick_worker(server.address)
    await start_worker(worker)
    jobs = await new_client(server.address)
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    runs = [await jobs.enqueue("work", n, delay=0.2 * n) for n in range(8)]
    runs += [await jobs.enqueue("work", "at", run_at=due)]
    for run in runs:
        assert (await jobs.runs.wait(run.run_id, timeout=20)).status == "succeeded"
        details = await jobs.runs.get(run.run_id)
        assert details.run.started_at is not None
        assert run.run.due_at is not None
        assert details.run.started_at >= run.run.due_at


async def test_promise_8_a_quiet_system_owes_nothing(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient, nats_url: str, database_url: str
) -> None:
    server = await start_server()
    worker, handled = quick_worker(server.address)
    await start_worker(worker)
    jobs = await new_client(server.address)
    runs = await jobs.enqueue_batch([("work", number) for number in range(300)])
    for run in runs:
        assert (await jobs.runs.wait(run.run_id, timeout=30)).status == "succeeded"
    client = await nats.connect(nats_url)
    database = await asyncpg.connect(database_url)

    async def quiet() -> bool:
        stream = await client.jetstream().stream_info(server.broker.stream)
        consumers = await client.jetstream().consumers_info(server.broker.stream)
        owed = await database.fetchval("select (select count(*) from outbox) + (select count(*) from open_runs)")
        return stream.state.messages == 0 and owed == 0 and not any(c.num_ack_pending for c in consumers)

    await eventually(quiet, seconds=15)
    await client.close()
    await database.close()
    assert set(handled.values()) == {1}


async def test_promise_10_a_namespace_neither_sees_nor_runs_what_is_anothers(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    server = await start_server()
    ours, handled_by_us = quick_worker(server.address, namespace="ours")
    theirs, handled_by_them = quick_worker(server.address, namespace="theirs")
    await start_worker(ours)
    await start_worker(theirs)
    we, they = await new_client(server.address, namespace="ours"), await new_client(server.address, namespace="theirs")
    run = await we.enqueue("work", 1, idempotency_key="same")
    assert (await they.enqueue("work", 1, idempotency_key="same")).created
    assert (await we.runs.wait(run.run_id, timeout=20)).status == "succeeded"
    for forbidden in (they.runs.get, they.runs.cancel, they.runs.replay):
        with pytest.raises(RunNotFound):
            await forbidden(run.run_id)
    assert run.run_id not in [seen.run_id async for seen in they.runs.list()]
    assert run.run_id in handled_by_us
    assert run.run_id not in handled_by_them


async def test_a_worker_that_resumes_on_another_server_keeps_its_attempts(
    environment: dict[str, str], start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    other = await start_server()
    go_on = asyncio.Event()
    began = asyncio.Event()
    async with server_process(environment) as doomed:
        worker = Worker([doomed.address, other.address], concurrency=2)

        @worker.task("patient")
        async def patient(_payload: Any, ctx: Context) -> int:
            began.set()
            await go_on.wait()
            return ctx.attempt

        await start_worker(worker)
        jobs = await new_client(other.address)
        run = await jobs.enqueue("patient")
        await asyncio.wait_for(began.wait(), 10)
        await doomed.kill()
    await eventually(lambda: other.worker_servicer.has_streams, seconds=15)
    go_on.set()
    assert (await jobs.runs.wait(run.run_id, timeout=20)).result == 1
    assert [attempt.status for attempt in (await jobs.runs.get(run.run_id)).attempts] == ["succeeded"]


async def test_two_servers_and_three_workers_work_as_one_system(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    one, two = await start_server(), await start_server()
    counts = []
    for addresses in ((one.address, two.address), (two.address, one.address), (two.address,)):
        worker, handled = quick_worker(*addresses)
        counts.append(handled)

        @worker.task("flaky", retry=FLAKY)
        async def flaky(payload: Any, ctx: Context) -> str:
            if ctx.attempt <= payload["fails"]:
                raise ValueError("not yet")
            return "done"

        await start_worker(worker)
    first, second = await new_client(one.address), await new_client(two.address)
    plain = await first.enqueue_batch([("work", number) for number in range(200)])
    flaky_runs = await asyncio.gather(
        *(second.enqueue("flaky", {"fails": number % 4}, labels={"kind": "flaky"}) for number in range(40))
    )
    canceled = [await first.enqueue("work", None, delay=60) for _ in range(5)]
    for waiting in canceled:
        await second.runs.cancel(waiting.run_id)
    for made in plain:
        assert (await second.runs.wait(made.run_id, timeout=40)).status == "succeeded"
    for number, run in enumerate(flaky_runs):
        ended = await first.runs.wait(run.run_id, timeout=40)
        # Three attempts are allowed: the fourth of every four never succeeds.
        assert ended.status == ("dead_lettered" if number % 4 == 3 else "succeeded")
        assert ended.attempt == min(number % 4 + 1, 3)
    assert all(counts), "every worker had its share"
    handled_once = Counter[str]()
    for handled in counts:
        handled_once += handled
    assert set(handled_once) == {run.run_id for run in plain}
    assert set(handled_once.values()) == {1}
    dead = [run async for run in first.runs.list(task="flaky", status=["dead_lettered"], labels={"kind": "flaky"})]
    assert len(dead) == 10
    replayed = await second.runs.replay(dead[0].run_id, reason="try again", payload={"fails": 0})
    assert (await first.runs.wait(replayed.run_id, timeout=20)).status == "succeeded"
    assert (await first.runs.get(dead[0].run_id)).run.replayed_by == replayed.run_id
