"""PostgreSQL that crashes, is blocked or is burdened: callers are told soon, and no attempt is lost by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import asyncpg
import grpc
import pytest

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc
from layeron_job import new_run_id
from layeron_job_server.embedded import Postgres
from layeron_job_server.store.migrate import upgrade
from layeron_job_worker import Worker
from support import eventually
from support.errors import refused
from support.system import NewClient, StartServer, StartWorker

TIMES = {"lease_ms": 1_500, "heartbeat_interval_ms": 300, "drain_seconds": 0.1}


class PatientWorker:
    """A worker with task "work", whose handlers wait until they are let go and return their payload."""

    def __init__(self, address: str) -> None:
        self.worker = Worker(address, concurrency=50)
        self.handled: list[Any] = []
        self.go = asyncio.Event()

        @self.worker.task("work")
        async def work(payload: Any) -> Any:
            self.handled.append(payload)
            await self.go.wait()
            return payload


@pytest.mark.parametrize("leases", [0, 2], ids=["for a moment", "for longer than the lease"])
async def test_promise_3_postgres_that_crashes_while_handlers_run_costs_no_attempt(
    start_server: StartServer,
    start_worker: StartWorker,
    new_client: NewClient,
    postgres_server: Postgres,
    leases: int,
) -> None:
    """Handlers go on and end while it is away; their results are kept and reported when it is back. Callers are told
    UNAVAILABLE meanwhile, within seconds."""
    await asyncio.to_thread(upgrade, postgres_server.url)
    server = await start_server(database_url=postgres_server.url, **TIMES)
    patient = PatientWorker(server.address)
    await start_worker(patient.worker)
    jobs = await new_client(server.address)
    made = await jobs.enqueue_batch([("work", number) for number in range(10)])
    await eventually(lambda: len(patient.handled) == 10)
    await postgres_server.kill()
    gone_at = time.monotonic()
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = job_service_pb2_grpc.JobServiceStub(channel).Enqueue(pb.EnqueueRequest(task="work"))
        answer = await asyncio.wait_for(refused(call), 10)
    assert answer.code == "UNAVAILABLE"
    patient.go.set()
    await eventually(lambda: time.monotonic() - gone_at > leases * 1.5, seconds=20)  # how long it is away
    await postgres_server.restart()
    for number, one in enumerate(made):
        assert (await jobs.runs.wait(one.run_id, timeout=30)).result == number
        assert [attempt.status for attempt in (await jobs.runs.get(one.run_id)).attempts] == ["succeeded"]
    assert sorted(patient.handled) == list(range(10))


async def test_promise_9_a_table_that_somebody_locks_holds_up_enqueues_within_bounds_and_no_heartbeat(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient, database_url: str
) -> None:
    """Somebody alters `runs` and does not end: what fits waits, the rest is told to come again at once; who works keeps
    its lease; afterwards everything that was taken is there."""
    server = await start_server(**TIMES, waiting_items_max=100)
    patient = PatientWorker(server.address)
    await start_worker(patient.worker)
    jobs = await new_client(server.address)
    running = await jobs.enqueue("work", "running")
    await eventually(lambda: patient.handled)
    database, looking = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    run_ids = [new_run_id() for _ in range(300)]
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = job_service_pb2_grpc.JobServiceStub(channel)
        async with database.transaction():
            await database.execute("lock table runs in exclusive mode")
            lease = await looking.fetchval("select lease_expires_at from worker_sessions")
            requests = [pb.EnqueueRequest(task="work", run_id=run_id) for run_id in run_ids]
            calls = [asyncio.ensure_future(stub.Enqueue(request)) for request in requests]
            await eventually(lambda: len(_refusals(calls)) >= 100)
            later = "select lease_expires_at > $1::timestamptz + interval '2 seconds' from worker_sessions"
            await eventually(lambda: looking.fetchval(later, lease))
            assert {error.code() for error in _refusals(calls)} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        answers = await asyncio.gather(*calls, return_exceptions=True)
    taken = [answer.run.run_id for answer in answers if isinstance(answer, pb.EnqueueResponse)]
    assert len(taken) >= 100
    patient.go.set()
    for run_id in [running.run_id, *taken]:
        assert (await jobs.runs.wait(run_id, timeout=30)).status == "succeeded"
    assert [one.status for one in (await jobs.runs.get(running.run_id)).attempts] == ["succeeded"]
    assert await looking.fetchval("select count(*) from runs") == len(taken) + 1
    await database.close()
    await looking.close()


def _refusals(calls: Sequence[asyncio.Future[Any]]) -> list[grpc.aio.AioRpcError]:
    errors = [call.exception() for call in calls if call.done()]
    return [error for error in errors if isinstance(error, grpc.aio.AioRpcError)]


async def test_a_transaction_that_somebody_leaves_open_stalls_no_run(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient, database_url: str
) -> None:
    """One that has written and one that only reads, both with a snapshot of before: runs flow, who waits for a run or
    watches it is told, and the reconciler turns."""
    server = await start_server(**TIMES)
    patient = PatientWorker(server.address)
    patient.go.set()
    await start_worker(patient.worker)
    jobs = await new_client(server.address)
    writing, reading = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    async with writing.transaction(isolation="repeatable_read"), reading.transaction(isolation="repeatable_read"):
        await writing.execute("insert into namespaces (name) values ('open')")
        assert await reading.fetchval("select count(*) from runs") == 0
        made = await jobs.enqueue_batch([("work", number) for number in range(300)])
        for one in made:
            assert (await jobs.runs.wait(one.run_id, timeout=30)).status == "succeeded"
        seen = [change.transition.to_status async for change in jobs.runs.watch(made[0].run_id)]
        assert seen[-1] == "succeeded"
        turn = await server.database.read(_last_turn)
        await eventually(lambda: _has_turned(server.database, turn))
        assert await reading.fetchval("select count(*) from runs") == 0
    await writing.close()
    await reading.close()


async def _last_turn(connection: Any) -> Any:
    return await connection.fetchval("select max(finished_at) from reconciler_turn")


async def _has_turned(database: Any, since: Any) -> bool:
    return bool(await database.read(_last_turn) > since)
