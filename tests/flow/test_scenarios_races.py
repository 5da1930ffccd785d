"""Two things at the same moment: whichever wins, both are answered truthfully and one history remains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from layeron.job.v1 import job_service_pb2, job_service_pb2_grpc, run_pb2, task_service_pb2_grpc, worker_service_pb2
from layeron_job.ids import new_uuid7
from layeron_job_server.domain.errors import JobError, RunFinished
from layeron_job_server.operations.control import CancelAsk
from layeron_job_server.operations.endings import Verdict
from layeron_job_server.operations.enqueue import Enqueued
from layeron_job_server.operations.starts import Refusal
from layeron_job_server.store.attempts import Grant
from support import eventually
from support.calls import enqueue, register
from support.core import Core, Worker, open_core
from support.proxy import Cut, open_proxy
from support.system import StartServer
from support.worker_stream import worker_stream


@pytest.fixture
async def core(database_url: str) -> AsyncIterator[Core]:
    """A core with the task "work"."""
    async with open_core(database_url) as core:
        await core.register()
        yield core


@pytest.fixture
async def worker(core: Core) -> Worker:
    """A connected worker that handles "work"."""
    return await core.worker()


async def granted(core: Core, worker: Worker, number: int) -> list[Grant]:
    """So many running attempts."""
    answers = await core.attempts.start.submit([worker.ask(run_id) for run_id in await core.enqueue_many(number)])
    return [answer for answer in answers if isinstance(answer, Grant)]


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    """All of them from one moment on."""
    barrier = asyncio.Event()

    async def wait(call: Awaitable[Any]) -> Any:
        await barrier.wait()
        return await call

    waiting = [asyncio.create_task(wait(call)) for call in calls]
    await asyncio.sleep(0)
    barrier.set()
    return list(await asyncio.gather(*waiting))


async def canceled(core: Core, run_id: UUID) -> JobError | None:
    """Cancel a run; the error that it was answered with."""
    (answer,) = await core.cancels.submit([CancelAsk("default", run_id, "enough")])
    assert answer is None or isinstance(answer, JobError)
    return answer


async def test_promise_6_a_thousand_cancels_and_successes_at_once_are_each_answered_with_what_is_true(
    core: Core, worker: Worker, database_url: str
) -> None:
    """Over two servers. A success that wins stays a success, asked to cancel or not; nobody is told that a run was
    canceled which succeeded before."""
    grants = await granted(core, worker, 1_000)
    async with open_core(database_url) as other:
        for first in range(0, 1_000, 100):
            some = grants[first : first + 100]
            cancels = [canceled(other, grant.run_id) for grant in some]
            answers = await at_once(*(worker.succeed(grant) for grant in some), *cancels)
            assert set(answers[:100]) == {Verdict.RECORDED}
            for error in answers[100:]:
                assert error is None or (isinstance(error, RunFinished) and error.metadata["status"] == "succeeded")
    ended = await core.fetch("select status, count(*) from ended_runs group by 1")
    assert ended == [("succeeded", 1_000)]
    assert await core.value("select count(*) from transitions where to_status = 'canceled'") == 0
    assert await core.value("select count(*) from cancel_requests") == 0


async def test_promise_6_no_failure_that_meets_a_cancel_is_tried_again(
    core: Core, worker: Worker, database_url: str
) -> None:
    """Five hundred times at once, over two servers: the attempt keeps its true outcome, and the run ends canceled."""
    grants = await granted(core, worker, 500)
    async with open_core(database_url) as other:
        cancels = [canceled(other, grant.run_id) for grant in grants]
        answers = await at_once(*(worker.fail(grant) for grant in grants), *cancels)
    assert set(answers) == {Verdict.RECORDED, None}
    assert await core.fetch("select status, count(*) from ended_runs group by 1") == [("canceled", 500)]
    assert await core.fetch("select status, count(*) from attempts group by 1") == [("failed", 500)]
    for count in ("open_runs", "outbox", "cancel_requests"):
        assert await core.value(f"select count(*) from {count}") == 0


async def test_promise_1_a_connection_that_is_lost_in_the_commit_of_many_callers_leaves_each_with_the_truth(
    core: Core, database_url: str
) -> None:
    """A hundred enqueues share transactions whose connection is lost before, in and after their COMMIT: each caller is
    answered with its own run, which is there once."""

    async def ask(server: Core, run_id: UUID) -> Enqueued:
        return await server.request(run_id=run_id, idempotency_key=str(run_id), key_window="forever")

    async with open_proxy(database_url) as proxy, open_core(proxy.url) as cut:
        await cut.request()
        for cuts in ([Cut.IN_COMMIT] * 3, [Cut.AFTER_COMMIT] * 3, [Cut.BEFORE_COMMIT, Cut.IN_COMMIT, Cut.AFTER_COMMIT]):
            proxy.cuts = list(cuts)
            wanted = [new_uuid7() for _ in range(100)]
            answers = await asyncio.gather(*(ask(cut, run_id) for run_id in wanted))
            assert [answer.run_id for answer in answers] == wanted
            assert all(answer.created for answer in answers)
            again = await ask(core, wanted[7])
            assert (again.run_id, again.created) == (wanted[7], False)
            assert len(proxy.cuts) < len(cuts)
    assert await core.value("select count(*) from runs") == 301
    assert await core.value("select count(*) from outbox") == 301


async def test_promise_5_a_hundred_replays_at_once_with_one_chosen_run_id_make_one_run(
    core: Core, worker: Worker, database_url: str
) -> None:
    """Over two servers. Without a chosen run id, as documented, each is a run of its own."""
    old = await core.enqueue(idempotency_key="k", key_window="forever")
    await worker.succeed(await worker.grant(old))
    chosen = new_uuid7()
    async with open_core(database_url) as other:
        same = await at_once(*((core, other)[n % 2].replay(old, new_run_id=chosen) for n in range(100)))
        assert set(same) == {chosen}
        each = await at_once(*((core, other)[n % 2].replay(old) for n in range(20)))
        assert len(set(each)) == 20
    assert await core.value("select count(*) from runs where origin = 'replay'") == 21
    assert await core.value("select run_id from idempotency_keys") == old


async def test_promise_6_a_cancel_while_a_worker_is_between_two_servers_reaches_it_where_it_comes_back(
    start_server: StartServer,
) -> None:
    """Canceled while it has no stream at all: the order waits for it."""
    one, two = await start_server(), await start_server()
    async with grpc.aio.insecure_channel(one.address) as first, grpc.aio.insecure_channel(two.address) as second:
        await register(task_service_pb2_grpc.TaskServiceStub(first), "work")
        jobs = job_service_pb2_grpc.JobServiceStub(first)
        run_id = (await enqueue(jobs)).run_id
        async with worker_stream(first) as worker:
            await worker.grant(1, run_id)
        await eventually(lambda: not one.worker_servicer.has_streams)
        canceled = await jobs.CancelRun(job_service_pb2.CancelRunRequest(run_id=run_id))
        assert canceled.run.status == run_pb2.RUN_STATUS_RUNNING
        has = [worker_service_pb2.OpenAttempt(run_id=run_id, attempt=1)]
        async with worker_stream(second, session_id=worker.welcome.session_id, attempts=has) as resumed:
            orders = await resumed.until(lambda: resumed.cancel_orders or None)
            assert [(order.run_id, order.attempt) for order in orders] == [(run_id, 1)]


@pytest.mark.slow
async def test_promise_6_a_cancel_among_a_hundred_thousand_waiting_runs_is_one_small_change(
    core: Core, worker: Worker
) -> None:
    """Of queued, scheduled and retrying runs: a cancel reads and writes its own rows, and old rings are refused."""
    await core.enqueue_many(60_000)
    await core.enqueue_many(40_000, delay=timedelta(hours=1))
    some = await core.enqueue_many(100)
    some += await core.enqueue_many(100, delay=timedelta(hours=1))
    retrying = await granted(core, worker, 100)
    for grant in retrying:
        await worker.fail(grant, retry_after=timedelta(hours=1))
    some += [grant.run_id for grant in retrying]
    began = time.monotonic()
    errors = await at_once(*(canceled(core, run_id) for run_id in some))
    assert set(errors) == {None}
    assert time.monotonic() - began < 5, "a scan for each would take minutes"
    answers = await core.attempts.start.submit([worker.ask(run_id) for run_id in some])
    assert set(answers) == {Refusal.FINISHED}
    assert await core.value("select count(*) from ended_runs where status = 'canceled'") == 300
    assert await core.value("select count(*) from outbox") == 100_000
