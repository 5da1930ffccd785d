"""Workers that die, freeze, are cut off or are poisoned: the fence holds, and their runs go on elsewhere."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest
from faults.proxy import Link, Mode, proxy
from nats.aio.client import Client as NatsClient

from layeron_job import Client, Retry
from layeron_job_server.app import App
from layeron_job_worker import Context, Worker
from support import eventually, open_folder
from support.system import NewClient, StartServer, StartWorker
from support.worker_process import RETRY, WorkerProcess, let_go, worker_process

LEASE_SECONDS = 1.5
TIMES = {"lease_ms": 1_500, "heartbeat_interval_ms": 300, "ack_wait_ms": 1_000, "drain_seconds": 0.1}


@pytest.fixture
async def server(start_server: StartServer) -> App:
    """A server with a short lease."""
    return await start_server(**TIMES)


@pytest.fixture
async def jobs(server: App, new_client: NewClient) -> Client:
    """A client of it."""
    return await new_client(server.address)


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    """Where worker processes keep their journal."""
    with open_folder() as path:
        yield path


async def attempts_of(jobs: Client, run_id: str) -> list[str]:
    """How each attempt of a run ended."""
    return [attempt.status for attempt in (await jobs.runs.get(run_id)).attempts]


async def patient_runs(jobs: Client, worker: WorkerProcess, number: int) -> list[str]:
    """So many runs whose handlers have all begun in this worker process."""
    run_ids = [one.run_id for one in await jobs.enqueue_batch([("patient", None)] * number)]
    await eventually(lambda: set(worker.begun("patient")) >= set(run_ids))
    return run_ids


async def test_the_runs_of_a_worker_that_was_killed_start_elsewhere_within_the_lease_and_three_seconds(
    server: App, jobs: Client, folder: Path
) -> None:
    """SIGKILL in the middle of its handlers: each attempt is lost, and counts."""
    async with worker_process(server.address, folder) as doomed:
        run_ids = await patient_runs(jobs, doomed, 5)
        async with worker_process(server.address, folder) as other:
            await doomed.kill()
            killed_at = time.monotonic()
            await eventually(lambda: set(other.begun("patient")) == set(run_ids))
            assert time.monotonic() - killed_at < LEASE_SECONDS + 3
            let_go(folder)
            for run_id in run_ids:
                assert (await jobs.runs.wait(run_id, timeout=20)).result == 2
                assert await attempts_of(jobs, run_id) == ["lost", "succeeded"]


@pytest.mark.slow
async def test_promise_3_a_worker_that_was_frozen_beyond_its_lease_changes_nothing_when_it_thaws(
    server: App, jobs: Client, folder: Path, database_url: str
) -> None:
    """SIGSTOP, until another worker has done its run; then SIGCONT. What it had is over for it, and it works again."""
    async with worker_process(server.address, folder) as frozen:
        (run_id,) = await patient_runs(jobs, frozen, 1)
        frozen.tell(signal.SIGSTOP)
        async with worker_process(server.address, folder) as other:
            await eventually(lambda: other.begun("patient") == [run_id])
            let_go(folder)
            assert (await jobs.runs.wait(run_id, timeout=20)).result == 2
            ended = await jobs.runs.get(run_id)
        frozen.tell(signal.SIGCONT)
        later = await jobs.enqueue("work", "later")
        assert (await jobs.runs.wait(later.run_id, timeout=20)).result == "later"
        assert frozen.begun("work") == [later.run_id]
        assert await jobs.runs.get(run_id) == ended
        assert [attempt.status for attempt in ended.attempts] == ["lost", "succeeded"]
        database = await asyncpg.connect(database_url)
        owed = "select not exists (select from outbox) and not exists (select from open_runs)"
        await eventually(lambda: database.fetchval(owed))
        await database.close()


@pytest.mark.slow
async def test_a_worker_that_no_server_hears_stops_what_it_runs_and_begins_nothing(
    server: App, jobs: Client, start_worker: StartWorker
) -> None:
    """Cut off from every server, while NATS goes on bringing it deliveries. Its handlers are stopped before anybody
    else may be given their runs; once a server is there again, all that waited runs."""
    link = Link("worker-server")
    async with proxy(link, server.port) as port:
        worker = Worker(f"127.0.0.1:{port}", concurrency=20)
        handled: Counter[str] = Counter()
        began, stopped = asyncio.Event(), asyncio.Event()

        @worker.task("work")
        async def work(_payload: Any, ctx: Context) -> None:
            handled[ctx.run_id] += 1

        @worker.task("long", retry=RETRY)
        async def long(_payload: Any, ctx: Context) -> int:
            if ctx.attempt > 1:
                return ctx.attempt
            began.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            stopped.set()
            return 0

        await start_worker(worker)
        run = await jobs.enqueue("long")
        await asyncio.wait_for(began.wait(), 10)
        link.set(Mode.DROP_BOTH)
        waiting = [(await jobs.enqueue("work")).run_id for _ in range(30)]
        await eventually(lambda: _has_ended(jobs, run.run_id, 1))
        assert stopped.is_set(), "stopped before its run was taken away"
        assert not handled
        link.set(Mode.PASS)
        for run_id in waiting:
            assert (await jobs.runs.wait(run_id, timeout=30)).status == "succeeded"
            assert await attempts_of(jobs, run_id) == ["succeeded"]
        assert handled == dict.fromkeys(waiting, 1)
        assert (await jobs.runs.wait(run.run_id, timeout=20)).result == 2
        assert await attempts_of(jobs, run.run_id) == ["lost", "succeeded"]


async def _has_ended(jobs: Client, run_id: str, attempts: int) -> bool:
    ended = [status for status in await attempts_of(jobs, run_id) if status != "running"]
    return len(ended) == attempts


async def test_promise_3_a_worker_whose_acks_are_lost_reports_its_run_and_nobody_runs_it_again(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient, nats_url: str
) -> None:
    """Cut off from NATS on the way up, while a server hears it. JetStream brings the same delivery to another worker,
    whose start is refused."""
    link = Link("worker-nats")
    async with proxy(link, int(nats_url.rpartition(":")[2])) as port:
        mute_server = await start_server(**TIMES, nats_worker_url=f"nats://127.0.0.1:{port}")
        server = await start_server(**TIMES)
        handled_by: list[str] = []

        def worker_at(address: str, name: str) -> Worker:
            worker = Worker(address, concurrency=1, prefetch=0)

            @worker.task("work")
            async def work(_payload: Any) -> None:
                handled_by.append(name)

            return worker

        await start_worker(worker_at(mute_server.address, "mute"))
        jobs = await new_client(server.address)
        first = await jobs.enqueue("work")
        await jobs.runs.wait(first.run_id, timeout=20)  # a pull of its is under way again, or is about to be
        client = await nats.connect(nats_url)
        consumer = client.jetstream().consumer_info
        stream = server.broker.stream
        await eventually(lambda: _waits(consumer(stream, "default_default_normal")))
        link.set(Mode.DROP_UP)
        run = await jobs.enqueue("work")
        assert (await jobs.runs.wait(run.run_id, timeout=20)).status == "succeeded"
        assert handled_by == ["mute", "mute"]
        assert (await consumer(stream, "default_default_normal")).num_ack_pending == 1
        await start_worker(worker_at(server.address, "other"))
        await eventually(lambda: _is_empty(client, stream))
        assert handled_by == ["mute", "mute"]
        assert await attempts_of(jobs, run.run_id) == ["succeeded"]
        link.set(Mode.PASS)
        await client.close()


async def _waits(info: Any) -> bool:
    return bool((await info).num_waiting)


async def _is_empty(client: NatsClient, stream: str) -> bool:
    return (await client.jetstream().stream_info(stream)).state.messages == 0


async def test_promise_3_a_stream_that_is_reset_again_and_again_doubles_nothing_and_costs_no_attempt(
    start_server: StartServer, start_worker: StartWorker, new_client: NewClient
) -> None:
    """The connection between worker and server is reset whenever it stands, while runs flow. The worker waits longer
    from one reset to the next, but never for a lease, which here is that of production."""
    server = await start_server(lease_ms=15_000, heartbeat_interval_ms=3_000, drain_seconds=0.1)
    jobs = await new_client(server.address)
    link = Link("worker-server")
    async with proxy(link, server.port) as port:
        worker = Worker(f"127.0.0.1:{port}", concurrency=10)
        handled: Counter[str] = Counter()

        @worker.task("work")
        async def work(_payload: Any, ctx: Context) -> None:
            handled[ctx.run_id] += 1
            await asyncio.sleep(0.02)

        await start_worker(worker)
        made = await jobs.enqueue_batch([("work", number) for number in range(600)])
        for resets in range(4):
            await eventually(partial(_more_than, handled, resets * 100), seconds=20)
            link.cut()
        for one in made:
            assert (await jobs.runs.wait(one.run_id, timeout=30)).status == "succeeded"
        statuses = [await attempts_of(jobs, one.run_id) for one in made]
        assert statuses == [["succeeded"]] * len(made)
        assert handled == {one.run_id: 1 for one in made}


def _more_than(handled: Counter[str], number: int) -> bool:
    return len(handled) > number


@pytest.mark.slow
async def test_promise_4_a_payload_that_kills_its_worker_is_dead_lettered_and_its_neighbour_survives_it(
    server: App, jobs: Client, folder: Path
) -> None:
    """The attempt is written down before the handler begins, so that each death counts; a supervisor starts the worker
    anew each time. What runs beside the poison loses one attempt with each death and no more."""
    async with worker_process(server.address, folder) as worker:
        neighbour = await jobs.enqueue("patient", retry=Retry(attempts=9, backoff=0))
        await eventually(lambda: worker.begun("patient"))
        poison = await jobs.enqueue("poison")
        await asyncio.wait_for(worker.process.wait(), 20)
    for _ in range(2):
        async with worker_process(server.address, folder) as worker:
            await asyncio.wait_for(worker.process.wait(), 20)
    ended = await jobs.runs.wait(poison.run_id, timeout=20)
    assert (ended.status, ended.counted_attempts) == ("dead_lettered", 3)
    details = await jobs.runs.get(poison.run_id)
    assert [attempt.status for attempt in details.attempts] == ["lost"] * 3
    assert details.transitions[-1].reason_code == "ATTEMPTS_EXHAUSTED"
    let_go(folder)
    async with worker_process(server.address, folder):
        survived = await jobs.runs.wait(neighbour.run_id, timeout=20)
    assert (survived.status, survived.counted_attempts <= 3) == ("succeeded", True)


async def test_a_worker_that_is_told_to_stop_hands_everything_on_at_once_and_at_no_cost(
    server: App, jobs: Client, folder: Path
) -> None:
    """SIGTERM, as every deploy sends it, with runs that have begun, that wait for a slot and that are in its stream:
    none waits for a lease, and none has lost a try."""
    async with worker_process(server.address, folder, concurrency=5, prefetch=10, grace=0.2) as leaving:
        run_ids = [one.run_id for one in await jobs.enqueue_batch([("patient", None)] * 40)]
        await eventually(lambda: len(leaving.begun("patient")) == 5)
        async with worker_process(server.address, folder, concurrency=100) as other:
            leaving.tell(signal.SIGTERM)
            assert await asyncio.wait_for(leaving.process.wait(), 15) == 0
            left_at = time.monotonic()
            await eventually(lambda: set(other.begun("patient")) == set(run_ids))
            assert time.monotonic() - left_at < 1
            let_go(folder)
            for run_id in run_ids:
                ended = await jobs.runs.wait(run_id, timeout=20)
                assert (ended.status, ended.counted_attempts) == ("succeeded", 0)
            interrupted = [run_id for run_id in run_ids if "interrupted" in await attempts_of(jobs, run_id)]
            assert set(interrupted) >= set(leaving.begun("patient"))
