"""What is measured of Layeron Job: each function takes the running system and answers one figure, or a few by name."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from statistics import median, quantiles

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2

from .cost import Cost
from .stack import TASK, Stack

CALLERS = 64
BATCH = 500
BATCH_CALLERS = 2
_POLL_SECONDS = 0.02
_STALL_SECONDS = 120.0
_PAYLOAD_PAD = "x" * 110
_COMMITS = 50


async def commit_ms(stack: Stack) -> float:
    """What one small durable transaction takes, alone."""
    await stack.database.execute("create table if not exists bench_commits (at timestamptz not null)")
    took = []
    for _ in range(_COMMITS):
        began = time.perf_counter()
        await stack.database.execute("insert into bench_commits values (now())")
        took.append((time.perf_counter() - began) * 1000)
    await stack.database.execute("drop table bench_commits")
    return median(took)


async def enqueue_unary(stack: Stack, runs: int) -> float:
    """Runs per second from 64 callers, each with one call under way."""
    return await _rate(runs, lambda: _unary(stack, runs))


async def enqueue_batch(stack: Stack, runs: int) -> float:
    """Runs per second in batches of 500, two of them under way."""
    return await _rate(runs, lambda: _batches(stack, runs))


async def drain(stack: Stack, waiting: int) -> dict[str, float]:
    """Runs per second from the first ended run to the last, all of which wait when a worker starts; and their cost."""
    await stack.start_worker()
    while (first := await stack.ended()) == 0:
        await asyncio.sleep(_POLL_SECONDS)
    cost = await Cost.now(stack)
    per_s = await _rate(waiting - first, lambda: _until_ended(stack, waiting))
    return {"drain_per_s": per_s, **await cost.per_run(waiting - first, "drain")}


async def end_to_end_batch(stack: Stack, runs: int) -> dict[str, float]:
    """Runs per second from the first batch to the last ended run, while the worker works; and their cost."""
    ended = await stack.ended()
    cost = await Cost.now(stack)

    async def work() -> None:
        await _batches(stack, runs)
        await _until_ended(stack, ended + runs)

    per_s = await _rate(runs, work)
    return {"end_to_end_batch_per_s": per_s, **await cost.per_run(runs, "end_to_end")}


async def end_to_end_unary(stack: Stack, runs: int) -> float:
    """The same with single enqueues of 64 callers."""
    ended = await stack.ended()

    async def work() -> None:
        await _unary(stack, runs)
        await _until_ended(stack, ended + runs)

    return await _rate(runs, work)


async def latency(stack: Stack, runs: int, per_s: float) -> list[float]:
    """Milliseconds from enqueue to handler at so many single enqueues a second, by the handlers' own answers."""
    asked: list[asyncio.Task[pb.EnqueueResponse]] = []
    began = time.perf_counter()
    for number in range(runs):
        await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
        asked.append(asyncio.create_task(_enqueue(stack)))
    run_ids = [answer.run.run_id for answer in await asyncio.gather(*asked)]
    room = asyncio.Semaphore(CALLERS)

    async def delay(run_id: str) -> float:
        async with room:
            answer = await stack.jobs.WaitRun(pb.WaitRunRequest(run_id=run_id, json_form=pb.JSON_FORM_BYTES))
        assert answer.run.status == run_pb2.RUN_STATUS_SUCCEEDED
        return float(json.loads(answer.run.result_json)["delay_ms"])

    return list(await asyncio.gather(*map(delay, run_ids)))


def percentile(values: list[float], percent: int) -> float:
    """Of at least two values."""
    return quantiles(values, n=100)[percent - 1]


async def _rate(runs: int, work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return runs / (time.perf_counter() - began)


async def _unary(stack: Stack, runs: int) -> None:
    async def caller() -> None:
        for _ in range(runs // CALLERS):
            await _enqueue(stack)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def _enqueue(stack: Stack) -> pb.EnqueueResponse:
    request = pb.EnqueueRequest(task=TASK, payload_json=_payload(), json_form=pb.JSON_FORM_BYTES)
    return await stack.jobs.Enqueue(request)


async def _batches(stack: Stack, runs: int) -> None:
    left = iter(range(0, runs, BATCH))

    async def caller() -> None:
        for _ in left:
            items = [pb.EnqueueRequest(task=TASK, payload_json=_payload()) for _ in range(BATCH)]
            await stack.jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items))

    await asyncio.gather(*(caller() for _ in range(BATCH_CALLERS)))


def _payload() -> bytes:
    return json.dumps({"enqueued_at": time.time(), "to": "user@example.com", "pad": _PAYLOAD_PAD}).encode()


async def _until_ended(stack: Stack, count: int) -> None:
    async with asyncio.timeout(_STALL_SECONDS):
        while await stack.ended() < count:
            await asyncio.sleep(_POLL_SECONDS)
