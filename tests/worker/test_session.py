"""The worker's session against a server program of the test: what it says, keeps, sends again and lets go of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.ids import new_run_id
from layeron_job_worker.errors import WorkerError
from support import eventually
from support.scripted_server import ScriptedServer, scripted_server
from support.session_worker import SessionWorker, named, run_one, working


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as server:
        yield server


@pytest.fixture
async def worker(server: ScriptedServer) -> AsyncIterator[SessionWorker]:
    async with working(server) as worker:
        yield worker


async def test_it_says_who_it_is_and_sends_a_heartbeat_at_once(server: ScriptedServer, worker: SessionWorker) -> None:
    stream = await server.stream(1)
    assert (stream.hello.namespace, stream.hello.slots, stream.hello.session_id) == ("theirs", 7, "")
    assert await stream.beats(1)


async def test_each_start_has_an_id_of_its_own_and_its_answer_settles_the_delivery(
    server: ScriptedServer, worker: SessionWorker
) -> None:
    stream = await server.stream(1)
    runs = [worker.start("r1"), worker.start("r2")]
    starts = await stream.starts(2)
    assert [(start.start_id, start.run_id) for start in starts] == [(1, runs[0]), (2, runs[1])]
    await stream.refuse(starts[1])
    await stream.grant(starts[0], payload_json=b"0")
    [finish] = await stream.finishes(1)
    assert (finish.start_id, finish.run_id, finish.attempt, finish.result_json) == (1, runs[0], 1, b"0")
    assert [entry for entry in worker.told if entry[0] in ("settled", "granted")] == [
        ("settled", "r2"),
        ("settled", "r1"),
        ("granted", runs[0]),
    ]
    await stream.record(finish)
    await eventually(lambda: worker.session.is_settled)


async def test_the_answer_of_a_start_that_was_answered_before_begins_no_second_handler(
    server: ScriptedServer, worker: SessionWorker
) -> None:
    stream = await server.stream(1)
    worker.start()
    [start] = await stream.starts(1)
    for _ in range(2):
        await stream.grant(start, payload_json=b"1")
    worker.start()
    await stream.refuse((await stream.starts(2))[1])
    await eventually(lambda: not worker.session.unanswered)
    assert worker.began == [1]


async def test_two_rings_of_one_run_begin_one_handler(server: ScriptedServer, worker: SessionWorker) -> None:
    """The server grants one of the two starts; both deliveries are acked."""
    stream = await server.stream(1)
    run_id = new_run_id()
    worker.session.start(run_id, "r1")
    worker.session.start(run_id, "r2")
    first, second = await stream.starts(2)
    assert first.start_id != second.start_id
    await stream.grant(first, payload_json=b"1")
    await stream.refuse(second)
    await eventually(lambda: {("settled", "r1"), ("settled", "r2")} <= set(worker.told))
    assert worker.began == [1]


async def test_what_has_no_answer_is_named_and_said_again_on_the_next_stream(
    server: ScriptedServer, worker: SessionWorker
) -> None:
    first = await server.stream(1)
    running = await run_one(worker, first)
    reported = await run_one(worker, first, payload=0)
    asked = worker.start("r3")
    await first.starts(3)
    await first.finishes(1)
    first.end()
    second = await server.stream(2)
    assert second.hello.session_id == "ses_1"
    assert named(second) == [(running, 1), (reported, 1)]
    assert list(second.hello.unanswered_starts) == [3]
    assert [(start.start_id, start.run_id) for start in await second.starts(1)] == [(3, asked)]
    assert [finish.run_id for finish in await second.finishes(1)] == [reported]
    assert worker.stopped == []


async def test_a_hello_too_long_for_one_message_names_everything_once(
    server: ScriptedServer, worker: SessionWorker
) -> None:
    first = await server.stream(1)
    for number in range(4_100):
        worker.start(f"r{number}")
    await first.starts(4_100)
    first.end()
    second = await server.stream(2)
    assert second.hellos == 3
    assert list(second.hello.unanswered_starts) == list(range(1, 4_101))


async def test_what_the_server_no_longer_counts_as_ours_is_stopped_and_not_reported(
    server: ScriptedServer, worker: SessionWorker
) -> None:
    first = await server.stream(1)
    gone = await run_one(worker, first, payload=1)
    kept = await run_one(worker, first, payload=2)
    server.superseded = [pb.OpenAttempt(run_id=gone, attempt=1)]
    first.end()
    second = await server.stream(2)
    await eventually(lambda: worker.stopped == [1])
    worker.go.set()
    assert [finish.run_id for finish in await second.finishes(1)] == [kept]


async def test_after_the_session_has_ended_a_new_one_begins_with_nothing_of_the_old(
    server: ScriptedServer, worker: SessionWorker
) -> None:
    first = await server.stream(1)
    await run_one(worker, first)
    worker.start("r2")
    await first.starts(2)
    server.resumes = False
    first.end()
    await eventually(lambda: ("connected", "ses_2") in worker.told)
    second = await server.stream(2)
    await eventually(lambda: worker.stopped == [1])
    assert ("unanswered", "r2") in worker.told
    worker.start("r3")
    assert [start.start_id for start in await second.starts(1)] == [1]
    assert await second.finishes(0) == []


async def test_a_delivery_without_a_server_is_handed_back(server: ScriptedServer, worker: SessionWorker) -> None:
    stream = await server.stream(1)
    server.welcomes = False
    stream.end()
    await eventually(lambda: ("disconnected", "") in worker.told)
    worker.start("r1")
    assert worker.told[-1] == ("unanswered", "r1")


async def test_a_delivery_whose_start_has_no_answer_is_handed_back_once_and_its_start_is_kept(
    server: ScriptedServer, worker: SessionWorker
) -> None:
    stream = await server.stream(1)
    run_id = worker.start("r1")
    await stream.starts(1)
    server.welcomes = False
    stream.end()
    await eventually(lambda: ("unanswered", "r1") in worker.told)
    server.welcomes = True
    (await server.stream(2)).end()
    third = await server.stream(3)
    assert [start.run_id for start in await third.starts(1)] == [run_id]
    assert worker.told.count(("unanswered", "r1")) == 1


async def test_a_cancel_order_stops_the_handler(server: ScriptedServer, worker: SessionWorker) -> None:
    stream = await server.stream(1)
    run_id = await run_one(worker, stream)
    await stream.say(cancel_orders=[pb.CancelOrder(run_id=run_id, attempt=1)])
    [finish] = await stream.finishes(1)
    assert finish.WhichOneof("outcome") == "canceled"


async def test_the_goodbye_is_the_last_thing_that_is_said(server: ScriptedServer, worker: SessionWorker) -> None:
    stream = await server.stream(1)
    worker.start()
    await worker.session.leave(0.2)
    await eventually(lambda: stream.left)
    assert stream.said[-1].HasField("goodbye")
    assert len(await stream.starts(1)) == 1


async def test_a_first_server_that_refuses_the_worker_ends_it_with_its_words() -> None:
    class Strict(ScriptedServer):
        async def Work(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override] # the generated type is that of synchronous servers
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no such task")

    async with scripted_server(Strict()) as server:
        worker = SessionWorker(server.address)
        with pytest.raises(WorkerError, match="FAILED_PRECONDITION: no such task"):
            await asyncio.wait_for(worker.running, 10)
        await worker.close()


async def test_a_server_that_is_away_is_passed_over_for_the_next() -> None:
    async with scripted_server() as server:
        worker = SessionWorker("127.0.0.1:1", server.address)
        try:
            await server.stream(1)
        finally:
            await worker.close()
