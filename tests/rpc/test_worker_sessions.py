"""What keeps a worker's attempts its own: heartbeats, resuming at any server, goodbye, drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import grpc
import pytest

from layeron.job.v1 import job_service_pb2, job_service_pb2_grpc, run_pb2, task_service_pb2_grpc
from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.ids import decode
from layeron_job_server.app import App
from layeron_job_server.embedded import Postgres
from layeron_job_server.store.migrate import upgrade
from support import WorkerStream, eventually, worker_stream
from support.calls import AT_ONCE, Jobs, StartServer, enqueue, enqueue_many, look, register

RECORDED, SUPERSEDED = pb.FINISH_VERDICT_RECORDED, pb.FINISH_VERDICT_SUPERSEDED
BEATEN, AWAY, ENDED = (
    pb.HEARTBEAT_VERDICT_RECORDED,
    pb.HEARTBEAT_VERDICT_DATABASE_AWAY,
    pb.HEARTBEAT_VERDICT_SESSION_ENDED,
)


@pytest.fixture
async def other_channel(start_server: StartServer) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to another server of the same database and stream."""
    server = await start_server()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


def has(*grants: pb.Grant) -> list[pb.OpenAttempt]:
    return [pb.OpenAttempt(run_id=grant.run_id, attempt=grant.attempt) for grant in grants]


async def attempts_of(jobs: Jobs, run_id: str) -> list[str]:
    """How the run's attempts stand or ended."""
    statuses = [attempt.status for attempt in (await look(jobs, run_id)).attempts]
    return [run_pb2.AttemptStatus.Name(status).removeprefix("ATTEMPT_STATUS_").lower() for status in statuses]


async def test_a_heartbeat_renews_the_lease(
    jobs: Jobs, channel: grpc.aio.Channel, database: asyncpg.Connection
) -> None:
    async with worker_stream(channel) as worker:
        session = decode("ses", worker.welcome.session_id)
        query = "select lease_expires_at from worker_sessions where session_id = $1"
        for number in range(1, 4):
            before = await database.fetchval(query, session)
            assert await worker.beat(number) == BEATEN
            assert await database.fetchval(query, session) > before


async def test_a_session_that_goes_on_elsewhere_or_said_goodbye_is_over_for_its_old_stream(
    jobs: Jobs, channel: grpc.aio.Channel, other_channel: grpc.aio.Channel
) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as first, worker_stream(channel) as second:
        async with worker_stream(other_channel, session_id=first.welcome.session_id) as resumed:
            assert (resumed.welcome.resumed, resumed.welcome.epoch) == (True, 2)
            assert await first.beat() == ENDED
            assert await resumed.beat() == BEATEN
        async with worker_stream(other_channel, session_id=second.welcome.session_id) as resumed:
            await resumed.goodbye()
        await second.say(starts=[pb.Start(start_id=1, run_id=run_id)])
        await second.until(lambda: second.heartbeat_answers or None)
        assert [answer.verdict for answer in second.heartbeat_answers] == [ENDED]
        assert second.start_answers == {}
    assert (await look(jobs, run_id)).run.status == run_pb2.RUN_STATUS_QUEUED


async def test_a_worker_that_resumes_at_another_server_keeps_its_attempts_and_finishes_them_there(
    jobs: Jobs, channel: grpc.aio.Channel, other_channel: grpc.aio.Channel
) -> None:
    """Also when its Hello spans many messages."""
    run_ids = await enqueue_many(jobs, 30)
    async with worker_stream(channel) as worker:
        grants = [answer.grant for answer in await worker.start_all(run_ids)]
    more = [pb.Hello(attempts=[attempt]) for attempt in has(*grants)]
    more[-1].last = True
    async with worker_stream(other_channel, *more, session_id=worker.welcome.session_id) as resumed:
        assert (resumed.welcome.session_id, resumed.welcome.epoch) == (worker.welcome.session_id, 2)
        assert list(resumed.welcome.superseded) == []
        for start_id, grant in enumerate(grants, start=1):
            assert await resumed.succeed(start_id, grant) == RECORDED
    for run_id in run_ids:
        assert await attempts_of(jobs, run_id) == ["succeeded"]


async def test_cancel_orders_go_to_the_stream_over_which_the_session_goes_on(
    jobs: Jobs, channel: grpc.aio.Channel, server: App
) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as first:
        attempts = has(await first.grant(1, run_id))
        async with worker_stream(channel, session_id=first.welcome.session_id, attempts=attempts) as second:
            first.call.cancel()
            await first.until(lambda: first.closed or None)
            await jobs.CancelRun(job_service_pb2.CancelRunRequest(run_id=run_id))
            await server.worker_servicer.tell_cancels_once()
            await second.until(lambda: second.cancel_orders or None)
    assert first.cancel_orders == []


async def test_a_worker_that_is_not_heard_of_for_a_lease_loses_its_attempts(start_server: StartServer) -> None:
    """Promise 3."""
    server = await start_server(lease_ms=300, heartbeat_interval_ms=100, reconcile_interval_ms=50)
    async with grpc.aio.insecure_channel(server.address) as channel:
        await register(task_service_pb2_grpc.TaskServiceStub(channel), "work", retry=AT_ONCE)
        jobs: Jobs = job_service_pb2_grpc.JobServiceStub(channel)
        run_id = (await enqueue(jobs)).run_id
        async with worker_stream(channel) as worker, worker_stream(channel) as beating:
            grant = await worker.grant(1, run_id)

            async def lost() -> object:
                assert await beating.beat() == BEATEN
                return await attempts_of(jobs, run_id) == ["lost"]

            await eventually(lost)
            run = (await look(jobs, run_id)).run
            assert (run.status, run.counted_attempts) == (run_pb2.RUN_STATUS_RETRYING, 1)
            assert await worker.succeed(1, grant) == SUPERSEDED
            assert await worker.beat() == ENDED
            assert (await beating.grant(1, run_id)).attempt == 2


async def test_a_finish_that_had_no_answer_is_answered_over_the_next_stream_as_it_would_have_been(
    jobs: Jobs, channel: grpc.aio.Channel, other_channel: grpc.aio.Channel
) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        assert await worker.succeed(1, grant) == RECORDED
    async with worker_stream(other_channel, session_id=worker.welcome.session_id, attempts=has(grant)) as resumed:
        assert list(resumed.welcome.superseded) == has(grant), "it is not open any more"
        assert await resumed.succeed(1, grant) == RECORDED


async def test_resuming_lists_what_is_no_longer_its_own_and_interrupts_what_it_does_not_know(
    jobs: Jobs, channel: grpc.aio.Channel, other_channel: grpc.aio.Channel
) -> None:
    """Promise 3: whoever holds the fence knows it."""
    kept, ended, forgotten = await enqueue_many(jobs, 3, retry=AT_ONCE)
    async with worker_stream(channel) as worker:
        kept_grant, ended_grant, forgotten_grant = [a.grant for a in await worker.start_all([kept, ended, forgotten])]
        await worker.fail(2, ended_grant)
    attempts = has(kept_grant, ended_grant, pb.Grant(run_id=kept, attempt=7))
    async with worker_stream(other_channel, session_id=worker.welcome.session_id, attempts=attempts) as resumed:
        assert list(resumed.welcome.superseded) == attempts[1:]
        assert await attempts_of(jobs, kept) == ["running"]
        assert await attempts_of(jobs, forgotten) == ["interrupted"]
        seen = (await look(jobs, forgotten)).run
        assert (seen.status, seen.counted_attempts) == (run_pb2.RUN_STATUS_QUEUED, 0)
        assert await resumed.succeed(3, forgotten_grant) == SUPERSEDED
        assert (await resumed.grant(4, forgotten)).attempt == 2


async def test_a_grant_whose_reply_was_lost_is_granted_again_and_not_interrupted(
    jobs: Jobs, channel: grpc.aio.Channel, other_channel: grpc.aio.Channel
) -> None:
    """Promise 3."""
    answered, lost = await enqueue_many(jobs, 2)
    async with worker_stream(channel) as worker:
        await worker.start_all([answered, lost])
    said = {"session_id": worker.welcome.session_id, "unanswered_starts": [2, 3]}
    async with worker_stream(other_channel, **said) as resumed:
        assert await attempts_of(jobs, answered) == ["interrupted"], "it names neither the attempt nor the start"
        assert await attempts_of(jobs, lost) == ["running"]
        assert (await resumed.grant(2, lost)).attempt == 1
        assert await resumed.succeed(2, resumed.start_answers[2].grant) == RECORDED
    assert await attempts_of(jobs, lost) == ["succeeded"]


async def test_only_the_namespace_of_a_session_can_resume_it(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    """Promise 10."""
    await register(task_service_pb2_grpc.TaskServiceStub(channel), "work", namespace="other")
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        said = {"session_id": worker.welcome.session_id, "attempts": has(grant), "namespace": "other"}
        async with worker_stream(channel, **said) as thief:
            assert not thief.welcome.resumed
            assert thief.welcome.session_id != worker.welcome.session_id
            assert list(thief.welcome.superseded) == has(grant)
            assert await thief.succeed(1, grant) == SUPERSEDED
        assert await worker.succeed(1, grant) == RECORDED


async def test_a_goodbye_interrupts_what_is_open_and_after_it_nothing_can_be_resumed(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    reported, open_ = await enqueue_many(jobs, 2)
    async with worker_stream(channel) as worker:
        grants = [answer.grant for answer in await worker.start_all([reported, open_])]
        finish = pb.Finish(start_id=1, run_id=reported, attempt=1, result_json=b"1")
        await worker.say(finishes=[finish], goodbye=pb.Goodbye())
        await worker.until(lambda: worker.closed or None)
        assert worker.finish_answers[1].verdict == RECORDED, "what comes with a goodbye is answered"
        assert await worker.call.code() == grpc.StatusCode.OK
    assert await attempts_of(jobs, reported) == ["succeeded"]
    assert await attempts_of(jobs, open_) == ["interrupted"]
    seen = await look(jobs, open_)
    assert (seen.run.status, seen.run.due_at) == (run_pb2.RUN_STATUS_QUEUED, seen.attempts[0].ended_at)
    async with worker_stream(channel, session_id=worker.welcome.session_id, attempts=has(*grants)) as fresh:
        assert (fresh.welcome.resumed, fresh.welcome.epoch) == (False, 1)
        assert fresh.welcome.session_id != worker.welcome.session_id
        assert list(fresh.welcome.superseded) == has(*grants)


async def test_a_server_that_stops_asks_its_workers_to_go_elsewhere_and_their_attempts_go_on(
    jobs: Jobs, channel: grpc.aio.Channel, start_server: StartServer
) -> None:
    run_id = (await enqueue(jobs)).run_id
    stopping = await start_server(drain_seconds=5)
    async with grpc.aio.insecure_channel(stopping.address) as leaving, worker_stream(leaving) as worker:
        grant = await worker.grant(1, run_id)
        stop = asyncio.create_task(stopping.__aexit__())
        await worker.until(lambda: worker.drained or None)
        assert await worker.beat() == BEATEN, "it still answers, so that nothing is lost on the way"
        said = {"session_id": worker.welcome.session_id, "attempts": has(grant)}
        async with worker_stream(channel, **said) as resumed:
            worker.call.cancel()
            await stop
            assert resumed.welcome.resumed
            assert await resumed.succeed(1, grant) == RECORDED
    assert await attempts_of(jobs, run_id) == ["succeeded"]


@asynccontextmanager
async def on_private_postgres(
    start_server: StartServer, postgres_server: Postgres, **settings: object
) -> AsyncIterator[tuple[App, grpc.aio.Channel, Jobs]]:
    """A server on a PostgreSQL that may be stopped, with task "work" registered."""
    await asyncio.to_thread(upgrade, postgres_server.url)
    server = await start_server(database_url=postgres_server.url, **settings)
    async with grpc.aio.insecure_channel(server.address) as channel:
        await register(task_service_pb2_grpc.TaskServiceStub(channel), "work", retry=AT_ONCE)
        yield server, channel, job_service_pb2_grpc.JobServiceStub(channel)


async def beats(worker: WorkerStream, verdict: int, *, first: int, seconds: float = 0) -> int:
    """Beat until the verdict comes, and go on for so long, in which it stays; the next number."""
    number = first

    async def comes() -> object:
        nonlocal number
        number += 1
        return await worker.beat(number) == verdict

    await eventually(comes, seconds=20)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        number += 1
        assert await worker.beat(number) == verdict
        await asyncio.sleep(0.05)
    return number


@pytest.mark.parametrize("away_seconds", [0.0, 2.0], ids=["for a moment", "for longer than the lease"])
async def test_while_the_database_is_away_heartbeats_say_so_and_no_attempt_is_lost_by_it(
    start_server: StartServer, postgres_server: Postgres, away_seconds: float
) -> None:
    settings = {"lease_ms": 1_500, "heartbeat_interval_ms": 300, "reconcile_interval_ms": 100}
    async with on_private_postgres(start_server, postgres_server, **settings) as (_, channel, jobs):
        run_ids = await enqueue_many(jobs, 3)
        async with worker_stream(channel) as worker:
            grants = [answer.grant for answer in await worker.start_all(run_ids[:2])]
            await postgres_server.stop()
            number = await beats(worker, AWAY, first=1, seconds=away_seconds)
            # What is asked and reported meanwhile is answered when the database is back.
            await worker.say(
                starts=[pb.Start(start_id=3, run_id=run_ids[2])],
                finishes=[pb.Finish(start_id=1, run_id=run_ids[0], attempt=1, result_json=b"1")],
            )
            await postgres_server.restart()
            await beats(worker, BEATEN, first=number)
            granted = await worker.until(lambda: worker.start_answers.get(3))
            await worker.until(lambda: worker.finish_answers.get(1))
            assert worker.finish_answers[1].verdict == RECORDED
            assert await worker.succeed(2, grants[1]) == RECORDED
            assert await worker.succeed(3, granted.grant) == RECORDED
        for run_id in run_ids:
            assert await attempts_of(jobs, run_id) == ["succeeded"]
