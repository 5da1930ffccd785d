"""NATS that dies, forgets, refuses or is tampered with: PostgreSQL knows what is owed, and every run runs once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import nats
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from layeron.job.v1 import task_service_pb2_grpc
from layeron_job import Client
from layeron_job_server.app import App
from layeron_job_server.embedded import Nats
from layeron_job_server.store import tables
from layeron_job_worker import Context, Worker
from support import eventually, open_folder
from support.calls import register
from support.core import pass_time
from support.system import NewClient, StartServer, StartWorker

CONSUMER = "default_default_normal"


@dataclass(slots=True)
class Scene:
    """A server on a nats-server of the test's own, with task "work" registered and a worker that has not begun."""

    nats: Nats
    store: Path
    server: App
    jobs: Client
    start_worker: StartWorker
    worker: Worker
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    handled: Counter[str] = field(default_factory=Counter)

    async def work(self) -> None:
        """Let the worker work, one run at a time."""
        await self.start_worker(self.worker)

    async def keep_busy(self) -> None:
        """Give the worker a run that ends only when `go` is set."""
        await self.jobs.enqueue("gate")
        await asyncio.wait_for(self.busy.wait(), 10)

    async def enqueue(self, number: int, **options: Any) -> list[str]:
        """Enqueue so many runs, each answered OK."""
        return [(await self.jobs.enqueue("work", n, **options)).run_id for n in range(number)]

    async def all_succeed_once(self, run_ids: list[str]) -> None:
        """Each run succeeds with its only attempt, and its handler ran once; nothing is left in the stream."""
        for run_id in run_ids:
            assert (await self.jobs.runs.wait(run_id, timeout=30)).status == "succeeded"
            details = await self.jobs.runs.get(run_id)
            assert [(one.number, one.status) for one in details.attempts] == [(1, "succeeded")]
            assert self.handled[run_id] == 1
        await eventually(self.is_quiet, seconds=15)

    async def owed(self) -> int:
        """How many outbox rows there are."""
        async with self.server.database.connection() as connection:
            count: int = await connection.fetchval("select count(*) from outbox")
            return count

    async def messages(self) -> int:
        """How many deliveries and schedules the stream has."""
        async with jetstream(self) as js:
            return (await js.stream_info(self.server.broker.stream)).state.messages

    async def is_quiet(self) -> bool:
        """Whether nothing is owed and nothing is left."""
        async with jetstream(self) as js:
            pending = [one.num_ack_pending for one in await js.consumers_info(self.server.broker.stream)]
        return await self.owed() == 0 and await self.messages() == 0 and not any(pending)


@asynccontextmanager
async def jetstream(scene: Scene) -> AsyncIterator[JetStreamContext]:
    """JetStream, as an operator sees it."""
    client = await nats.connect(scene.nats.url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


@pytest.fixture
async def scene(start_server: StartServer, start_worker: StartWorker, new_client: NewClient) -> AsyncIterator[Scene]:
    """Everything is there but the worker."""
    with open_folder() as folder:
        async with await Nats.start(folder / "data") as server_of_nats:
            server = await start_server(nats_url=server_of_nats.url, ack_wait_ms=1_000, drain_seconds=0.1)
            jobs = await new_client(server.address)
            worker = Worker(server.address, concurrency=1, prefetch=0)
            scene = Scene(server_of_nats, folder / "data" / "nats", server, jobs, start_worker, worker)

            @worker.task("work")
            async def work(payload: Any, ctx: Context) -> Any:
                scene.handled[ctx.run_id] += 1
                return payload

            @worker.task("gate")
            async def gate(_payload: Any) -> None:
                scene.busy.set()
                await scene.go.wait()

            async with grpc.aio.insecure_channel(server.address) as channel:
                await register(task_service_pb2_grpc.TaskServiceStub(channel), "work", "gate")
            yield scene


async def behind_a_busy_worker(scene: Scene, number: int) -> list[str]:
    """Runs whose deliveries wait in the stream for a worker that is there and busy."""
    await scene.work()
    await scene.keep_busy()
    run_ids = await scene.enqueue(number)
    run_ids += await scene.enqueue(5, delay=1)
    await eventually(lambda: _at_least(scene, number))
    return run_ids


async def _at_least(scene: Scene, number: int) -> bool:
    return await scene.messages() >= number


async def purge(scene: Scene) -> None:
    """What an operator may do by mistake."""
    async with jetstream(scene) as js:
        await js.purge_stream(scene.server.broker.stream)


async def delete_stream(scene: Scene) -> None:
    """What an operator may do by mistake."""
    async with jetstream(scene) as js:
        await js.delete_stream(scene.server.broker.stream)


async def delete_consumers(scene: Scene) -> None:
    """What an operator may do by mistake."""
    async with jetstream(scene) as js:
        for consumer in await js.consumers_info(scene.server.broker.stream):
            await js.delete_consumer(scene.server.broker.stream, consumer.name)


async def wipe_disk(scene: Scene) -> None:
    """nats-server comes back on an empty disk."""
    await scene.nats.kill()
    _empty(scene.store)
    await scene.nats.restart()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


Damage = Callable[[Scene], Awaitable[None]]


@pytest.mark.parametrize("damage", [purge, delete_stream, delete_consumers, wipe_disk])
async def test_promise_1_whatever_is_deleted_from_nats_under_a_worker_is_made_again_and_every_run_runs(
    scene: Scene, damage: Damage
) -> None:
    """A purged stream, a deleted one, deleted consumers, an emptied disk: with runs that wait for a busy worker and
    others that JetStream was to deliver later. Neither server nor worker is started anew."""
    run_ids = await behind_a_busy_worker(scene, 20)
    await damage(scene)
    scene.go.set()
    await scene.all_succeed_once(run_ids)


async def test_promise_1_a_nats_server_that_is_killed_and_restarted_under_load_loses_no_run(scene: Scene) -> None:
    """Publications under way have an unknown fate, and are made again."""
    await scene.work()
    answered: list[str] = []

    async def call() -> None:
        while len(answered) < 200:
            answered.extend(await scene.enqueue(1))

    callers = [asyncio.create_task(call()) for _ in range(8)]
    await eventually(lambda: len(answered) > 50)
    await scene.nats.kill()
    await eventually(lambda: len(answered) > 120)
    await scene.nats.restart()
    await asyncio.gather(*callers)
    await scene.all_succeed_once(answered)


async def test_promise_1_while_nats_is_away_enqueues_are_answered_and_run_once_it_is_back(scene: Scene) -> None:
    """A hundred and fifty enqueues, each answered; each is owed in the outbox, and no more than that."""
    await scene.work()
    await scene.nats.kill()
    async with asyncio.timeout(30):
        run_ids = await scene.enqueue(150)
    assert await scene.owed() == 150
    await scene.nats.restart()
    await scene.all_succeed_once(run_ids)


async def test_promise_1_a_nats_server_that_comes_back_with_an_older_disk_repeats_and_loses_nothing(
    scene: Scene,
) -> None:
    """A loss of power: the disk has deliveries of runs that have ended since, and none of those enqueued since."""
    older = await scene.enqueue(20)
    await eventually(lambda: _at_least(scene, 20))
    copy = scene.store.parent / "copy"
    os.kill(scene.nats.pid, signal.SIGSTOP)
    subprocess.run(["cp", "-a", scene.store, copy], check=True)
    os.kill(scene.nats.pid, signal.SIGCONT)
    await scene.work()
    await scene.all_succeed_once(older)
    await scene.keep_busy()
    newer = await scene.enqueue(20)
    await eventually(lambda: _at_least(scene, 20))
    await scene.nats.kill()
    _empty(scene.store)
    subprocess.run(["cp", "-a", f"{copy}/.", scene.store], check=True)
    await scene.nats.restart()
    scene.go.set()
    await scene.all_succeed_once([*older, *newer])


async def test_promise_1_rings_that_jetstream_refuses_are_owed_until_it_takes_them(scene: Scene) -> None:
    """A limit of the stream or the account: each publication is answered with an error."""
    stream = scene.server.broker.stream
    async with jetstream(scene) as js:
        config = (await js.stream_info(stream)).config
        config.max_msg_size = 1
        await js.update_stream(config)
        run_ids = await scene.enqueue(10)
        taken = "select count(*) from outbox where ring_at > now() + interval '5 seconds'"
        async with scene.server.database.connection() as connection:
            await eventually(lambda: connection.fetchval(f"select ({taken}) = 10"))  # the sweep has tried
        assert await scene.messages() == 0
        config.max_msg_size = -1
        await js.update_stream(config)
    await scene.work()
    waits = {tables.worker_sessions, tables.reconciler_turn}
    await pass_time(scene.server.database, timedelta(seconds=10), but=waits)
    await scene.all_succeed_once(run_ids)


async def test_promise_1_what_a_stranger_answers_to_deliveries_costs_no_run_and_no_attempt(scene: Scene) -> None:
    """A worker that nobody hears of takes deliveries and acks them, refuses them again and again, or says that it works
    on them. How often JetStream delivered something is no number of an attempt."""
    run_ids = await scene.enqueue(30)
    await eventually(lambda: _at_least(scene, 30))
    async with jetstream(scene) as js:
        stranger = await js.pull_subscribe_bind(CONSUMER, scene.server.broker.stream)
        taken = await _take(stranger, 30)
        for message in taken[:10]:
            await message.ack()
        for message in taken[10:20]:
            await message.in_progress()
        for message in taken[20:]:
            await message.nak()
        for _ in range(5):
            for message in await _take(stranger, 10):
                assert message.metadata.num_delivered > 1
                await message.nak()
    await scene.work()
    await scene.all_succeed_once(run_ids)


async def _take(consumer: JetStreamContext.PullSubscription, number: int) -> list[Msg]:
    taken: list[Msg] = []
    async with asyncio.timeout(10):
        while len(taken) < number:
            taken += await consumer.fetch(number - len(taken), timeout=5)
    return taken
