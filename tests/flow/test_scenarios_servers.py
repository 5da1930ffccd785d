"""Servers that die, stop or hang at the worst moment: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import grpc
import pytest

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc
from layeron_job import Client, new_run_id
from layeron_job.errors import JobError
from layeron_job_server.failpoints import VARIABLE
from layeron_job_worker import Context, Worker
from support import eventually
from support.calls import Jobs
from support.processes import ServerProcess, server_process
from support.system import NewClient, StartServer, StartWorker


def counting_worker(addresses: Sequence[str]) -> tuple[Worker, Counter[str]]:
    """A worker with task "work" that returns its payload, and how often each run was handled."""
    handled: Counter[str] = Counter()
    worker = Worker(list(addresses), concurrency=10)

    @worker.task("work")
    async def work(payload: Any, ctx: Context) -> Any:
        handled[ctx.run_id] += 1
        return payload

    return worker, handled


@asynccontextmanager
async def raw(address: str) -> AsyncIterator[Jobs]:
    """The calls of a server without the client's own repeats."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield job_service_pb2_grpc.JobServiceStub(channel)


async def until_killed(server: ServerProcess) -> None:
    """Until its failpoint has done it."""
    assert await asyncio.wait_for(server.process.wait(), 20) == -signal.SIGKILL


async def all_succeeded_once(jobs: Client, run_ids: Sequence[str]) -> None:
    """Each run succeeds, and has never had but one attempt."""
    for run_id in run_ids:
        assert (await jobs.runs.wait(run_id, timeout=30)).status == "succeeded"
        attempts = (await jobs.runs.get(run_id)).attempts
        assert [(one.number, one.status) for one in attempts] == [(1, "succeeded")]


async def test_promise_1_a_server_killed_between_commit_and_answer_has_made_a_run_that_runs(
    environment: dict[str, str], start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    """Killed after the commit and before the ring. The caller's repeat with its run id answers that same run."""
    other = await start_server()
    worker, handled = counting_worker([other.address])
    await start_worker(worker)
    request = pb.EnqueueRequest(task="work", run_id=new_run_id(), payload_json=b"7")
    async with server_process({**environment, VARIABLE: "enqueue.committed=kill"}) as doomed:
        async with raw(doomed.address) as jobs:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await jobs.Enqueue(request)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        await until_killed(doomed)
    await all_succeeded_once(await new_client(other.address), [request.run_id])
    async with raw(other.address) as again:
        assert not (await again.Enqueue(request)).created
    assert handled == {request.run_id: 1}


async def test_promise_2_runs_that_are_rung_twice_by_two_servers_run_once(
    environment: dict[str, str],
    start_server: StartServer,
    start_worker: StartWorker,
    new_client: NewClient,
    database_url: str,
) -> None:
    """One server is killed after JetStream took its rings and before it noted that; the other rings them again."""
    other = await start_server()
    worker, handled = counting_worker([other.address])
    await start_worker(worker)
    run_ids = [new_run_id() for _ in range(50)]
    async with server_process({**environment, VARIABLE: "ring.published=kill"}) as doomed:
        async with raw(doomed.address) as jobs:
            items = [pb.EnqueueRequest(task="work", run_id=run_id) for run_id in run_ids]
            calls = await asyncio.gather(jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items)), return_exceptions=True)
        assert isinstance(calls[0], (pb.EnqueueBatchResponse, grpc.aio.AioRpcError))
        await until_killed(doomed)
    await all_succeeded_once(await new_client(other.address), run_ids)
    database = await asyncpg.connect(database_url)
    await eventually(lambda: database.fetchval("select not exists (select from outbox)"), seconds=20)
    await database.close()
    assert handled == dict.fromkeys(run_ids, 1)


async def test_promise_5_an_enqueue_that_died_before_its_commit_made_nothing_and_its_repeat_makes_one_run(
    environment: dict[str, str],
    start_server: StartServer,
    start_worker: StartWorker,
    new_client: NewClient,
    database_url: str,
) -> None:
    """Killed in the middle of the transaction, so that the caller sees UNAVAILABLE and knows nothing."""
    other = await start_server()
    worker, handled = counting_worker([other.address])
    await start_worker(worker)
    database, looking = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    request = pb.EnqueueRequest(task="work", idempotency_key="k")
    async with server_process(environment) as doomed, raw(doomed.address) as jobs, database.transaction():
        await database.execute("lock table outbox in share mode")  # what an enqueue writes last
        call = asyncio.ensure_future(jobs.Enqueue(request))
        waits = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and query like $1)"
        await eventually(lambda: looking.fetchval(waits, "%insert into outbox%"))
        await doomed.kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    gone = "select not exists (select from pg_stat_activity where state <> 'idle' and query like $1 and pid <> $2)"
    await eventually(lambda: looking.fetchval(gone, "%insert into outbox%", looking.get_server_pid()))
    assert await looking.fetchval("select count(*) from runs") == 0
    async with raw(other.address) as again:
        answers = [await again.Enqueue(request) for _ in range(3)]
    assert [answer.created for answer in answers] == [True, False, False]
    await all_succeeded_once(await new_client(other.address), [answers[0].run.run_id])
    assert list(handled.values()) == [1]
    await database.close()
    await looking.close()


@pytest.mark.parametrize("place", ["start.committed", "finish.committed"])
async def test_promise_3_what_was_written_before_its_answer_was_lost_is_answered_by_another_server_as_it_was(
    environment: dict[str, str],
    start_server: StartServer,
    start_worker: StartWorker,
    new_client: NewClient,
    place: str,
) -> None:
    """A server is killed once grants, or results, are committed and before their worker hears of it: the worker asks
    and reports again elsewhere. No attempt is counted twice and no handler runs twice."""
    other = await start_server()
    async with server_process({**environment, VARIABLE: f"{place}=kill"}) as doomed:
        worker, handled = counting_worker([doomed.address, other.address])
        await start_worker(worker)
        jobs = await new_client(other.address)
        made = await jobs.enqueue_batch([("work", number) for number in range(30)])
        await until_killed(doomed)
    run_ids = [one.run_id for one in made]
    await all_succeeded_once(jobs, run_ids)
    assert handled == dict.fromkeys(run_ids, 1)


@pytest.mark.slow
async def test_promise_1_a_server_that_is_told_to_stop_under_load_loses_and_repeats_nothing(
    environment: dict[str, str], start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    """SIGTERM, as every deploy sends it, while callers enqueue there and a worker works there."""
    other = await start_server()
    answered: list[str] = []
    drain = {"LAYERON_JOB_DRAIN_SECONDS": "1"}
    async with server_process({**environment, **drain}) as leaving, Client(leaving.address, timeout=0.5) as doomed:
        worker, handled = counting_worker([leaving.address, other.address])
        await start_worker(worker)

        async def call() -> None:
            while True:
                try:
                    answered.append((await doomed.enqueue("work")).run_id)
                except JobError:
                    return  # it is gone, and told so

        callers = [asyncio.create_task(call()) for _ in range(8)]
        await eventually(lambda: len(answered) > 100)
        leaving.process.terminate()
        assert await asyncio.wait_for(leaving.process.wait(), 20) == 0
        await asyncio.gather(*callers)
    await all_succeeded_once(await new_client(other.address), answered)
    assert all(handled[run_id] == 1 for run_id in answered)


@pytest.mark.slow
async def test_a_server_that_stood_still_for_longer_than_the_lease_costs_no_run_an_attempt(
    environment: dict[str, str], start_worker: StartWorker, new_client: NewClient, database_url: str
) -> None:
    """SIGSTOP of the only server. Its worker, which hears of nobody, stops its handlers before the lease ends; once the
    server goes on, nobody is counted as lost, and the run goes on at once."""
    settings = {"LEASE_MS": "1500", "HEARTBEAT_INTERVAL_MS": "300", "DRAIN_SECONDS": "0.1"}
    changes = {f"LAYERON_JOB_{name}": value for name, value in settings.items()}
    database = await asyncpg.connect(database_url)
    async with server_process({**environment, **changes}) as server:
        worker = Worker(server.address)
        began = stopped = 0

        @worker.task("long")
        async def long(_payload: Any, _ctx: Context) -> str:
            nonlocal began, stopped
            began += 1
            if began > 1:
                return "done"
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                stopped += 1
                raise
            return "too late"

        await start_worker(worker)
        jobs = await new_client(server.address)
        run = await jobs.enqueue("long")
        await eventually(lambda: began)
        server.process.send_signal(signal.SIGSTOP)
        await eventually(lambda: stopped)
        lapsed = "select bool_and(lease_expires_at < now() - interval '1 second') from worker_sessions"
        await eventually(lambda: database.fetchval(lapsed))
        server.process.send_signal(signal.SIGCONT)
        ended = await jobs.runs.wait(run.run_id, timeout=30)
        assert (ended.status, ended.result, ended.counted_attempts) == ("succeeded", "done", 0)
        assert "lost" not in [attempt.status for attempt in (await jobs.runs.get(run.run_id)).attempts]
    await database.close()
