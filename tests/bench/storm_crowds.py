"""A hundred thousand runs that want the same moment, and whether anybody else notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Final

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import task_pb2

from .storm_system import StormSystem, memory_watched, peaks, spread, storm_system

_BATCH: Final = 500
_PROBE_SECONDS: Final = 0.1
_BACKOFF_SECONDS: Final = 30
_AHEAD_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 300.0
_RETRY_LAGS: Final = """
select extract(epoch from s.granted_at - f.retry_at)::float8 * 1000 as lag
from attempts f join attempts s using (run_id) where f.number = 1 and s.number = 2
"""
_DUE_LAGS: Final = """
select extract(epoch from a.granted_at - $1::timestamptz)::float8 * 1000 as lag
from attempts a join runs using (run_id) join tasks t using (task_id) where t.name = 'crowd'
"""
_DELAYS: Final = """
select (a.result ->> 'delay_ms')::float8 as delay
from attempts a join runs using (run_id) join tasks t using (task_id) where t.name = $1
"""


async def backoff(runs: int) -> dict[str, float]:
    """All of one queue fail as fast as they can be handled, and are to be tried again after the same backoff."""
    policy = task_pb2.RetryPolicy(
        max_attempts=3, fixed=task_pb2.FixedBackoff(delay=Duration(seconds=_BACKOFF_SECONDS)), jitter=0
    )
    async with storm_system() as system, memory_watched(system) as memory:
        await _enqueue(system, runs, retry=policy, payload_json=orjson.dumps({"at": time.time(), "fails": 1}))
        await _start_workers(system)
        async with _probing(system) as probes:
            began = time.monotonic()
            await _until(system, "select count(*) from attempts where number = 1", runs)
            failed = time.monotonic() - began
            await system.until_terminal(runs, seconds=_WAIT_SECONDS)
        lags = [row["lag"] for row in await system.fetch(_RETRY_LAGS)]
        ((storm,),) = await system.fetch(
            "select extract(epoch from max(s.ended_at) - min(f.retry_at))::float8 from attempts f "
            "join attempts s using (run_id) where f.number = 1 and s.number = 2"
        )
        return {
            "runs": runs,
            "all failed within, s": failed,
            "from the first that was due again to the last end, s": storm,
            **spread("start lag of the retries", lags),
            **await _ends(system, runs, probes),
            **peaks(memory),
        }


async def schedule(runs: int) -> dict[str, float]:
    """All of one queue are scheduled for the same second."""
    async with storm_system() as system, memory_watched(system) as memory:
        due = Timestamp()
        # About what it takes to enqueue them.
        due.FromMicroseconds(int((time.time() + runs / 6_000 + 2 * _AHEAD_SECONDS) * 1e6))
        await _enqueue(system, runs, run_at=due, payload_json=orjson.dumps({"at": time.time()}))
        early = due.ToMicroseconds() / 1e6 - time.time()
        if early < 1:
            raise SystemExit(f"it took {-early:.0f} s too long to enqueue {runs:,} runs; take fewer")
        await _start_workers(system)
        await asyncio.sleep(max(0.0, due.ToMicroseconds() / 1e6 - time.time() - _AHEAD_SECONDS))
        async with _probing(system) as probes:
            await system.until_terminal(runs, seconds=_WAIT_SECONDS)
        lags = [row["lag"] for row in await system.fetch(_DUE_LAGS, due.ToDatetime(UTC))]
        return {
            "runs": runs,
            "enqueued before they were due, s": early,
            "started before its time": sum(lag < 0 for lag in lags),
            **spread("start lag of the crowd", lags),
            "start lag of the crowd, least, ms": min(lags),
            "runs started per second": runs / (max(lags) - min(lags)) * 1000,
            **await _ends(system, runs, probes),
            **peaks(memory),
        }


async def _enqueue(system: StormSystem, runs: int, **fields: object) -> None:
    request = pb.EnqueueRequest(task="crowd", **fields)  # type: ignore[arg-type] # the message's own fields
    for first in range(0, runs, _BATCH):
        await system.jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=[request] * min(_BATCH, runs - first)))


async def _start_workers(system: StormSystem) -> None:
    await system.start_worker("crowd", 500)
    await system.start_worker("calm", 20)
    await asyncio.sleep(1)  # until they are connected


@asynccontextmanager
async def _probing(system: StormSystem) -> AsyncIterator[list[int]]:
    """Enqueue a run of another queue, and one of high priority of the crowd's own, ten times a second; how many."""
    made = [0]

    async def probe() -> None:
        while True:
            for task in ("calm", "urgent"):
                payload = orjson.dumps({"at": time.time()})
                await system.jobs.Enqueue(pb.EnqueueRequest(task=task, payload_json=payload))
                made[0] += 1
            await asyncio.sleep(_PROBE_SECONDS)

    probing = asyncio.create_task(probe())
    try:
        yield made
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)


async def _until(system: StormSystem, query: str, count: int) -> None:
    began = time.monotonic()
    while (await system.fetch(query))[0][0] < count:
        if time.monotonic() - began > _WAIT_SECONDS:
            raise SystemExit(f"not within {_WAIT_SECONDS:.0f} s: {query}")
        await asyncio.sleep(0.1)


async def _ends(system: StormSystem, runs: int, probes: list[int]) -> dict[str, float]:
    """How the probes fared, by their own results, and that every run succeeded."""
    await system.until_terminal(runs + probes[0], seconds=_WAIT_SECONDS)
    figures: dict[str, float] = {}
    for task, who in (("calm", "a run of another queue"), ("urgent", "a high-priority run of the same queue")):
        delays = [row["delay"] for row in await system.fetch(_DELAYS, task)]
        figures.update(spread(f"enqueue to handler, {who}", delays))
        figures[f"of {len(delays)} later than 1 s, {who}"] = sum(delay > 1_000 for delay in delays)
    rows = await system.fetch("select count(*) from ended_runs where status <> 'succeeded'")
    return {**figures, "runs that did not succeed": rows[0][0]}
