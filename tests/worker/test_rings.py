"""A doubled ring never runs a handler twice: workers, a server, PostgreSQL and JetStream, and a bell that goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nats
import pytest
from nats.aio.client import Client as NatsClient

from layeron_job import Client
from layeron_job_server.app import App
from layeron_job_server.settings import Settings
from layeron_job_worker import Context, Worker
from support import eventually

_RINGS = 20


@dataclass(slots=True)
class Scene:
    """A server, its stream, and how often each run was handled by workers that wait for `go`."""

    server: App
    nats: NatsClient
    prefix: str
    handled: Counter[str] = field(default_factory=Counter)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def workers(self, number: int) -> AsyncIterator[None]:
        """So many workers, ready to work."""
        workers = [self._worker() for _ in range(number)]
        running = [asyncio.create_task(worker.run(install_signal_handlers=False)) for worker in workers]
        try:
            for worker in workers:
                await asyncio.wait_for(worker.ready.wait(), 20)
            yield
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.gather(*running)

    def _worker(self) -> Worker:
        worker = Worker(self.server.address, concurrency=5)

        @worker.task("work")
        async def work(_payload: Any, ctx: Context) -> None:
            self.handled[ctx.run_id] += 1
            await self.go.wait()

        return worker

    async def ring_again(self, subject: str) -> None:
        """Ring very often, and wait until every ring was answered."""
        for _ in range(_RINGS):
            await self.nats.jetstream().publish(subject, b"")
        await eventually(self._is_empty)

    async def _is_empty(self) -> bool:
        return (await self.nats.jetstream().stream_info(self.server.broker.stream)).state.messages == 0


@pytest.fixture
async def scene(database_url: str, nats_url: str, stream_prefix: str) -> AsyncIterator[Scene]:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "nats_url": nats_url,
            "nats_prefix": stream_prefix,
            "grpc_address": "127.0.0.1:0",
            "drain_seconds": 0.1,
        }
    )
    client = await nats.connect(nats_url)
    async with App(settings) as server:
        yield Scene(server, client, stream_prefix)
    await client.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_run_that_is_rung_for_again_and_again_is_handled_once(scene: Scene, workers: int) -> None:
    rings: list[str] = []

    async def hear(message: Any) -> None:
        rings.append(message.subject)

    await scene.nats.subscribe(f"{scene.prefix}.deliver.>", cb=hear)
    async with scene.workers(workers), Client(scene.server.address) as jobs:
        run_id = (await jobs.enqueue("work", None)).run_id
        await eventually(lambda: scene.handled[run_id] == 1)
        await scene.ring_again(rings[0])
        scene.go.set()
        assert (await jobs.runs.wait(run_id, timeout=20)).status == "succeeded"
        await scene.ring_again(rings[0])
        details = await jobs.runs.get(run_id)
        assert [(one.number, one.status) for one in details.attempts] == [(1, "succeeded")]
    assert scene.handled == {run_id: 1}
