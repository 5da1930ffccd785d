"""Promise 9: a client that floods a server is refused quickly, the others are served, and memory stays bounded."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc
from layeron_job import Client, TaskDefinition
from layeron_job_worker import Context, Worker
from support import eventually
from support.calls import Jobs
from support.errors import read_error
from support.processes import server_process
from support.system import StartWorker

FLOODERS = 50
PAYLOAD = b'"' + b"x" * 20_000 + b'"'


@dataclass
class Flood:
    """What became of its calls: answered ones, seconds until each refusal, and reasons."""

    answered: int = 0
    refusals: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    async def call(self, jobs: Jobs) -> None:
        """One call after the other without a pause, whatever becomes of them."""
        while True:
            began_at = time.monotonic()
            try:
                await jobs.Enqueue(pb.EnqueueRequest(task="flood", payload_json=PAYLOAD))
                self.answered += 1
            except grpc.aio.AioRpcError as error:
                self.refusals.append(time.monotonic() - began_at)
                self.reasons[read_error(error).reason] += 1


@asynccontextmanager
async def flooding(address: str) -> AsyncIterator[Flood]:
    """A client that has so many calls under way at any time."""
    flood = Flood()
    async with grpc.aio.insecure_channel(address) as channel:
        jobs: Jobs = job_service_pb2_grpc.JobServiceStub(channel)
        callers = [asyncio.create_task(flood.call(jobs)) for _ in range(FLOODERS)]
        try:
            yield flood
        finally:
            for caller in callers:
                caller.cancel()
            errors = await asyncio.gather(*callers, return_exceptions=True)
            assert {type(error) for error in errors} == {asyncio.CancelledError}


async def test_promise_9_a_client_that_floods_is_refused_at_once_while_others_are_served_and_memory_stays_flat(
    environment: dict[str, str], start_worker: StartWorker
) -> None:
    async with server_process({**environment, "LAYERON_JOB_CALLS_MAX": "20"}) as server:
        async with Client(server.address) as registering:
            await registering.tasks.register([TaskDefinition("flood", queue="flood")])
        worker = Worker([server.address], concurrency=10)

        @worker.task("work")
        async def work(payload: Any, _ctx: Context) -> Any:
            return payload

        await start_worker(worker)
        async with Client(server.address, timeout=30) as honest, flooding(server.address) as flood:
            await eventually(lambda: flood.answered > 100 and len(flood.refusals) > 100, seconds=20)
            before = await resident_bytes(server.process.pid)
            made = await honest.enqueue_batch([("work", number) for number in range(100)], batch_size=20)
            ended = [await honest.runs.wait(one.run_id, timeout=30) for one in made]
            await eventually(lambda: len(flood.refusals) > 3_000, seconds=30)
            after = await resident_bytes(server.process.pid)
        assert [run.status for run in ended] == ["succeeded"] * 100
        assert [run.result for run in ended] == list(range(100))
        assert set(flood.reasons) == {"OVERLOADED"}
        assert statistics.median(flood.refusals) < 0.1
        assert after - before < 64 * 1024 * 1024


async def resident_bytes(process_id: int) -> int:
    """The memory that a process has."""
    ps = await asyncio.create_subprocess_exec("ps", "-o", "rss=", "-p", str(process_id), stdout=asyncio.subprocess.PIPE)
    output, _ = await ps.communicate()
    return int(output) * 1024
