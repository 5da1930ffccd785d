"""The lease of a worker and its moves between servers, against server programs of the test: no attempt is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job_worker.connection import Stream
from support import eventually
from support.scripted_server import ScriptedServer, scripted_server
from support.session_worker import SessionWorker, named, run_one, working

# The lease.


async def test_without_an_answer_for_most_of_the_lease_every_handler_is_stopped() -> None:
    async with scripted_server(lease_ms=1_000, heartbeat_interval_ms=100) as server, working(server) as worker:
        stream = await server.stream(1)
        await run_one(worker, stream)
        server.verdict = None
        server.welcomes = False
        await eventually(lambda: worker.stopped == [1])


async def test_heartbeats_that_are_answered_keep_the_lease() -> None:
    async with scripted_server(lease_ms=1_000, heartbeat_interval_ms=100) as server, working(server) as worker:
        stream = await server.stream(1)
        await run_one(worker, stream)
        server.verdict = pb.HEARTBEAT_VERDICT_DATABASE_AWAY
        await stream.beats(20)
        assert worker.stopped == []


async def test_a_success_that_could_not_be_reported_within_the_lease_is_reported_after_it() -> None:
    """The server decides whether the attempt is still ours, and not we."""
    async with scripted_server(lease_ms=1_000, heartbeat_interval_ms=100) as server, working(server) as worker:
        stream = await server.stream(1)
        done = await run_one(worker, stream, payload=0)
        stopped = await run_one(worker, stream, payload=1)
        await stream.finishes(1)
        server.verdict, server.welcomes = None, False
        await eventually(lambda: worker.stopped == [1])
        await server.stream(2)
        server.verdict, server.welcomes = pb.HEARTBEAT_VERDICT_RECORDED, True
        server.streams[-1].end()
        await eventually(lambda: worker.told.count(("connected", "ses_1")) == 2)
        again = server.streams[-1]
        assert named(again) == [(done, 1), (stopped, 1)]
        finishes = {finish.run_id: finish for finish in await again.finishes(2)}
        assert finishes[done].result_json == b"0"
        assert finishes[stopped].interrupted.error_type == "LeaseLost"
        for finish in finishes.values():
            await again.record(finish, pb.FINISH_VERDICT_SUPERSEDED)
        await eventually(lambda: worker.session.is_settled)


async def test_a_success_of_a_session_that_has_ended_meanwhile_is_dropped() -> None:
    async with scripted_server(lease_ms=1_000, heartbeat_interval_ms=100) as server, working(server) as worker:
        stream = await server.stream(1)
        done = await run_one(worker, stream, payload=0)
        await run_one(worker, stream, payload=1)
        server.verdict, server.resumes = None, False
        await eventually(lambda: worker.stopped == [1])
        second = await server.stream(2)
        assert (done, 1) in named(second)
        await eventually(lambda: worker.session.is_settled)
        assert await second.finishes(0) == []


# Moving to another server.


@asynccontextmanager
async def two_servers(**welcome: Any) -> AsyncIterator[tuple[ScriptedServer, ScriptedServer, SessionWorker]]:
    """Two servers and a worker that is connected to the first."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(scripted_server(**welcome)) for _ in range(2)]
        worker = await stack.enter_async_context(working(first, second))
        yield first, second, worker


async def test_a_server_that_drains_is_left_for_another_one_and_nothing_is_lost() -> None:
    async with two_servers() as (first, second, worker):
        old = await first.stream(1)
        run_id = await run_one(worker, old)
        await old.say(drain=pb.Drain())
        new = await second.stream(1)
        assert named(new) == [(run_id, 1)]
        await eventually(lambda: old.left)
        worker.go.set()
        assert [finish.run_id for finish in await new.finishes(1)] == [run_id]
        assert ("disconnected", "") not in worker.told


async def test_heartbeats_go_on_to_the_old_server_while_the_new_one_does_not_answer() -> None:
    async with two_servers(lease_ms=1_000, heartbeat_interval_ms=100) as (first, second, worker):
        second.welcomes = False
        old = await first.stream(1)
        await run_one(worker, old)
        await old.say(drain=pb.Drain())
        await second.stream(1)
        before = len(await old.beats(0))
        await old.beats(before + 20)
        assert worker.stopped == []
        worker.go.set()
        assert len(await old.finishes(1)) == 1


async def test_no_start_is_sent_to_the_old_server_while_the_new_one_has_a_hello() -> None:
    """The old one would grant what this Hello does not name, and the new one close it as given up."""
    async with two_servers(heartbeat_interval_ms=100) as (first, second, worker):
        second.welcomes = False
        old = await first.stream(1)
        await old.say(drain=pb.Drain())
        new = await second.stream(1)
        run_id = worker.start()
        await old.beats(len(await old.beats(0)) + 5)
        assert await old.starts(0) == []
        await new.say(welcome=pb.Welcome(session_id="ses_1", resumed=True, lease_ms=30_000, heartbeat_interval_ms=100))
        assert [start.run_id for start in await new.starts(1)] == [run_id]
        assert await old.starts(0) == []


async def test_the_old_server_is_worked_with_again_when_the_new_one_does_not_answer() -> None:
    async with two_servers(heartbeat_interval_ms=100) as (first, second, worker):
        second.welcomes = False
        first.verdict = pb.HEARTBEAT_VERDICT_DATABASE_AWAY
        old = await first.stream(1)
        new = await second.stream(1)
        run_id = worker.start()
        new.end()
        assert [start.run_id for start in await old.starts(1)] == [run_id]
        assert ("disconnected", "") not in worker.told


async def test_what_the_old_server_says_after_the_new_one_has_welcomed_us_does_not_break_the_new_stream() -> None:
    async with two_servers(heartbeat_interval_ms=100) as (first, second, _):
        second.welcomes = False
        old = await first.stream(1)
        await old.say(drain=pb.Drain())
        new = await second.stream(1)
        first.verdict = pb.HEARTBEAT_VERDICT_SESSION_ENDED  # for the new one has raised the epoch
        await old.beats(len(await old.beats(0)) + 1)
        await new.say(welcome=pb.Welcome(session_id="ses_1", resumed=True, lease_ms=30_000, heartbeat_interval_ms=100))
        await new.beats(5)
        assert not new.left
        assert (len(first.streams), len(second.streams)) == (1, 1)


async def test_a_write_that_outlives_its_stream_takes_nothing_from_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written, go_on = asyncio.Event(), asyncio.Event()
    write = Stream.write

    async def slow_write(stream: Stream, request: pb.WorkRequest) -> None:
        await write(stream, request)
        if request.starts and not written.is_set():
            written.set()
            await go_on.wait()

    monkeypatch.setattr(Stream, "write", slow_write)
    async with two_servers() as (first, second, worker):
        old = await first.stream(1)
        runs = [worker.start()]
        await asyncio.wait_for(written.wait(), 10)
        await old.say(drain=pb.Drain())
        await eventually(lambda: worker.told.count(("connected", "ses_1")) == 2)
        new = await second.stream(1)
        runs.append(worker.start())
        go_on.set()
        assert [start.run_id for start in await new.starts(2)] == runs


async def test_a_new_server_that_is_slow_to_welcome_us_does_not_shorten_the_lease() -> None:
    async with two_servers(lease_ms=1_000, heartbeat_interval_ms=100) as (first, second, worker):
        second.welcomes, second.verdict = False, None
        old = await first.stream(1)
        await run_one(worker, old)
        await old.say(drain=pb.Drain())
        new = await second.stream(1)
        await old.beats(len(await old.beats(0)) + 15)
        await new.say(welcome=pb.Welcome(session_id="ses_1", resumed=True, lease_ms=1_000, heartbeat_interval_ms=100))
        await new.beats(3)
        assert worker.stopped == []
        await eventually(lambda: worker.stopped == [1])  # for the new one never answers
