"""Promise 9: too much is refused at once with RESOURCE_EXHAUSTED and when to try again, and keeps nothing else out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc, task_service_pb2_grpc
from layeron.job.v1 import worker_service_pb2 as worker_pb
from layeron_job_server.domain.errors import Overloaded
from layeron_job_server.operations.turns import Turns, in_turns
from layeron_job_server.rpc.interceptors.admission import Room
from layeron_job_server.settings import Settings
from support import eventually, worker_stream
from support.calls import Jobs, StartServer, enqueue, enqueue_many, look, register, seconds
from support.errors import Refused, read_error, refused

REFUSED = ("RESOURCE_EXHAUSTED", "OVERLOADED", 0.25)


def form(answer: Refused) -> tuple[str, str, float | None]:
    return answer.code, answer.reason, answer.retry_seconds


@asynccontextmanager
async def connected(start_server: StartServer, **settings: int) -> AsyncIterator[tuple[grpc.aio.Channel, Jobs]]:
    """A connection to a server with these settings, with the task "work" registered."""
    server = await start_server(**settings)
    async with grpc.aio.insecure_channel(server.address) as channel:
        await register(task_service_pb2_grpc.TaskServiceStub(channel), "work")
        yield channel, job_service_pb2_grpc.JobServiceStub(channel)


@asynccontextmanager
async def no_run_can_be_made(database: asyncpg.Connection) -> AsyncIterator[None]:
    """Whoever makes a run waits; runs can be read."""
    async with database.transaction():
        await database.execute("lock table runs in exclusive mode")
        yield


async def waiting_for_locks(database: asyncpg.Connection, number: int) -> None:
    """Until so many connections wait for a lock."""
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    await eventually(lambda: _is(database, query, number))


async def _is(database: asyncpg.Connection, query: str, number: int) -> bool:
    return bool(await database.fetchval(query) == number)


async def test_batches_beyond_those_at_work_and_those_that_wait_are_refused_at_once(
    start_server: StartServer, database: asyncpg.Connection
) -> None:
    async with connected(start_server, batches_max=2, batches_waiting_max=3) as (channel, jobs):
        async with no_run_can_be_made(database):
            taken = [asyncio.create_task(enqueue_many(jobs, 2)) for _ in range(5)]
            await waiting_for_locks(database, 2)
            async with asyncio.timeout(2):
                answer = await refused(enqueue_many(jobs, 2))
            assert (form(answer), answer.metadata) == (REFUSED, {"subject": "batches"})
            async with worker_stream(channel) as worker:
                assert await worker.beat() == worker_pb.HEARTBEAT_VERDICT_RECORDED
        assert [len(made) for made in await asyncio.gather(*taken)] == [2] * 5
        assert len(await enqueue_many(jobs, 2)) == 2


@pytest.mark.parametrize(("pool_size", "at_work"), [(4, 2), (10, 4), (200, 4)])
def test_batches_leave_half_of_the_connections_to_everybody_else(pool_size: int, at_work: int) -> None:
    assert Settings(database_pool_size=pool_size).batches_at_work_max == at_work


async def test_a_batch_that_fails_or_is_given_up_leaves_its_place() -> None:
    turns = Turns("batches", at_work=1, waiting=1)

    async def take() -> None:
        async with turns.turn():
            await asyncio.Event().wait()

    for _ in range(3):
        at_work, waiting = asyncio.create_task(take()), asyncio.create_task(take())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await take()
        waiting.cancel()
        at_work.cancel()
        await asyncio.wait([at_work, waiting])
        with pytest.raises(ZeroDivisionError):
            async with turns.turn():
                raise ZeroDivisionError


@pytest.mark.parametrize(("items", "size", "turns"), [(1_000, 0, 31), (16, 256 * 1024, 16), (1, 1, 0)])
async def test_everybody_else_has_a_turn_after_each_64_kib_of_a_batch(items: int, size: int, turns: int) -> None:
    """So a batch of 4 MiB delays a heartbeat by what 64 KiB cost, not by what 4 MiB cost."""
    other_turns = 0

    async def other() -> None:
        nonlocal other_turns
        while True:
            await asyncio.sleep(0)
            other_turns += 1

    other_task = asyncio.create_task(other())
    await asyncio.sleep(0)
    assert [item async for item in in_turns(range(items), lambda _: size)] == list(range(items))
    assert other_turns == turns
    other_task.cancel()


async def test_calls_beyond_their_limit_are_refused_unread_and_the_others_get_their_places_back(
    start_server: StartServer, database: asyncpg.Connection
) -> None:
    async with connected(start_server, calls_max=2) as (channel, jobs):
        run_id = (await enqueue(jobs)).run_id
        async with no_run_can_be_made(database):
            taken = [asyncio.create_task(enqueue(jobs)) for _ in range(2)]
            await waiting_for_locks(database, 1)  # the writer's
            for call in (
                lambda: enqueue(jobs),
                lambda: enqueue(jobs, payload_json=b"x" * 12 * 1024 * 1024),
                lambda: look(jobs, run_id),
            ):
                answer = await refused(call())
                assert (form(answer), answer.metadata) == (REFUSED, {"subject": "calls"})
            waited = await jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout=seconds(0.01)))
            assert waited.run.run_id == run_id, "those who wait have a limit of their own"
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
            taken[0].cancel()  # and so leaves its place
            await eventually(lambda: _succeeds(look(jobs, run_id)))
        await taken[1]
        await asyncio.gather(look(jobs, run_id), look(jobs, run_id))


async def _succeeds(call: Awaitable[object]) -> bool:
    """Whether there was a place for this call."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if read_error(error).reason != "OVERLOADED":
            raise
        return False
    return True


async def test_five_thousand_calls_at_once_are_answered_or_refused_and_none_is_dropped(
    start_server: StartServer,
) -> None:
    """By its own limits gRPC would cancel many of them without a word."""
    async with connected(start_server, calls_max=20) as (_, jobs):
        run_id = (await enqueue(jobs)).run_id
        answers = await asyncio.gather(*(look(jobs, run_id) for _ in range(5_000)), return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {form(read_error(error)) for error in errors} == {REFUSED}
    assert all(isinstance(answer, pb.GetRunResponse | grpc.aio.AioRpcError) for answer in answers)
    assert len(errors) < len(answers)


async def test_those_who_wait_and_watch_share_a_limit_and_leave_their_places(start_server: StartServer) -> None:
    async with connected(start_server, waits_max=2) as (_, jobs):
        run_id = (await enqueue(jobs)).run_id
        watch, wait = jobs.WatchRuns(pb.WatchRunsRequest(run_id=run_id)), jobs.WaitRun(pb.WaitRunRequest(run_id=run_id))

        def look_again() -> Awaitable[object]:
            return jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, timeout=seconds(0)))

        await watch.read()
        await eventually(lambda: _fails(look_again()))
        answer = await refused(jobs.WatchRuns(pb.WatchRunsRequest()).read())
        assert (form(answer), answer.metadata) == (REFUSED, {"subject": "calls that wait or watch"})
        assert (await look(jobs, run_id)).run.run_id == run_id
        watch.cancel()
        wait.cancel()
        await eventually(lambda: _succeeds(look_again()))


async def _fails(call: Awaitable[object]) -> bool:
    return not await _succeeds(call)


async def test_watches_of_filters_have_a_limit_below_that(start_server: StartServer) -> None:
    async with connected(start_server, filter_watches_max=1) as (_, jobs):
        run_id = (await enqueue(jobs)).run_id
        watch = jobs.WatchRuns(pb.WatchRunsRequest())
        await watch.read()
        answer = await refused(jobs.WatchRuns(pb.WatchRunsRequest()).read())
        assert (answer.code, answer.metadata) == ("RESOURCE_EXHAUSTED", {"subject": "watches of filters"})
        await jobs.WatchRuns(pb.WatchRunsRequest(run_id=run_id)).read()
        watch.cancel()
        await eventually(lambda: _succeeds(jobs.WatchRuns(pb.WatchRunsRequest()).read()))


async def test_worker_streams_beyond_their_limit_are_refused(start_server: StartServer) -> None:
    async with connected(start_server, worker_streams_max=1) as (channel, jobs):
        async with worker_stream(channel) as worker:
            async with worker_stream(channel) as other:
                assert other.closed
                assert await other.call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await worker.beat() == worker_pb.HEARTBEAT_VERDICT_RECORDED
            await enqueue(jobs)
        await eventually(lambda: _can_connect(channel))


async def _can_connect(channel: grpc.aio.Channel) -> bool:
    async with worker_stream(channel) as worker:
        return not worker.closed


def _finishes(sizes: list[int]) -> list[worker_pb.Finish]:
    return [
        worker_pb.Finish(start_id=number, run_id="run_1", attempt=1, result_json=b"x" * size)
        for number, size in enumerate(sizes, start=1)
    ]


async def test_a_message_above_one_mebibyte_ends_its_own_stream_only_unless_it_is_one_item(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as other, worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        large = worker_pb.Finish(start_id=2, run_id=grant.run_id, attempt=1, result_json=b"x" * 2 * 1024 * 1024)
        assert await worker.finish(large) == worker_pb.FINISH_VERDICT_RECORDED, "as a result that breaks the rules"
        await worker.say(finishes=_finishes([700_000, 700_000, 700_000]))
        await worker.until(lambda: worker.closed or None)
        answer = await refused(worker.call.read())
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["finishes"])
        assert "1048576" in answer.message
        assert await other.beat() == worker_pb.HEARTBEAT_VERDICT_RECORDED
    resumed = {"session_id": worker.welcome.session_id}
    async with worker_stream(channel, **resumed) as again:
        assert again.welcome.resumed


async def test_a_hello_above_one_mebibyte_is_refused(channel: grpc.aio.Channel, jobs: Jobs) -> None:
    attempts = [worker_pb.OpenAttempt(run_id=(await enqueue(jobs)).run_id, attempt=1)] * 40_000
    async with worker_stream(channel, attempts=attempts) as worker:
        answer = await refused(worker.call.read())
    assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["hello"])


async def test_whatever_ends_a_call_leaves_its_place() -> None:
    """Also a call that ends before its request was read."""
    room = Room("calls", 1)

    async def call(*, fails: bool) -> bool:
        taken = room.take()
        await asyncio.sleep(0)
        if fails:
            raise ZeroDivisionError
        return taken

    for _ in range(3):
        first, second = asyncio.create_task(call(fails=True)), asyncio.create_task(call(fails=False))
        assert await second is False
        await asyncio.wait([first])
        assert isinstance(first.exception(), ZeroDivisionError)
    assert await asyncio.create_task(call(fails=False))
