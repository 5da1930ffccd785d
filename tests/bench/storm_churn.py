"""Workers that connect and go, and writers that coalesce, very often: what is left of each in memory?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from layeron.job.v1 import worker_service_pb2 as pb
from layeron.job.v1 import worker_service_pb2_grpc
from layeron_job import new_run_id

from .storm_system import StormSystem, slopes, storm_system

_AT_ONCE: Final = 16
_STEPS: Final = 40
_WARM_STEPS: Final = 8  # pools, caches and allocators fill first
_BATCH: Final = 500
Samples = list[tuple[int, dict[str, float]]]


async def churn(cycles: int, operations: int) -> dict[str, float]:
    """Open and close so many Work streams, then ask so many starts, and tell by how much each process grows."""
    async with storm_system() as system:
        before = system.rss_mib()
        began = time.monotonic()
        streams = await _in_steps(system, cycles, lambda count: _open_and_close(system, count))
        opened = time.monotonic()
        starts = await _in_steps(system, operations, lambda count: _ask_starts(system, count))
        asked = time.monotonic()
        figures: dict[str, float] = {
            "streams opened and closed": cycles,
            "streams per second": cycles / (opened - began),
            "coalesced operations": operations,
            "operations per second": operations / (asked - opened),
        }
        for what, samples in (("stream", streams), ("1,000 operations", starts)):
            factor = 1 if what == "stream" else 1_000
            for name, slope in slopes(samples[_WARM_STEPS:]).items():
                figures[f"{name}: growth for each {what}, KiB"] = slope * factor
        after = system.rss_mib()
        return {**figures, **{f"{name}: RSS at first, MiB": mib for name, mib in before.items()},
                **{f"{name}: RSS at the end, MiB": mib for name, mib in after.items()}}  # fmt: skip


async def _in_steps(system: StormSystem, total: int, step: Callable[[int], Awaitable[None]]) -> Samples:
    samples: Samples = []
    done = 0
    for number in range(1, _STEPS + 1):
        count = total * number // _STEPS - done
        await step(count)
        done += count
        samples.append((done, system.rss_mib()))
    return samples


async def _open_and_close(system: StormSystem, count: int) -> None:
    """Half say goodbye, half just go."""
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for number in left:
            call = worker_service_pb2_grpc.WorkerServiceStub(system.channel).Work()
            await call.write(pb.WorkRequest(hello=_hello()))
            assert isinstance(await call.read(), pb.WorkResponse)
            if number % 2:
                await call.write(pb.WorkRequest(goodbye=pb.Goodbye()))
                await call.done_writing()
                while isinstance(await call.read(), pb.WorkResponse):
                    pass
            else:
                call.cancel()

    await asyncio.gather(*(one_after_the_other() for _ in range(_AT_ONCE)))


async def _ask_starts(system: StormSystem, count: int) -> None:
    """Starts of runs that nobody knows, each of which goes through the writer and to PostgreSQL, and is refused."""
    call = worker_service_pb2_grpc.WorkerServiceStub(system.channel).Work()
    await call.write(pb.WorkRequest(hello=_hello()))
    assert isinstance(await call.read(), pb.WorkResponse)
    run_ids = [new_run_id() for _ in range(_BATCH)]  # those of one run would each need a transaction of its own
    for first in range(0, count, _BATCH):
        start_ids = range(first, min(count, first + _BATCH))
        starts = [pb.Start(start_id=n + 1, run_id=run_id) for n, run_id in zip(start_ids, run_ids, strict=False)]
        await call.write(pb.WorkRequest(starts=starts))
        await call.write(pb.WorkRequest(heartbeat=pb.Heartbeat(number=first + 1)))
        answered = 0
        while answered < len(start_ids):
            response = await call.read()
            assert isinstance(response, pb.WorkResponse)
            answered += len(response.start_answers)
    call.cancel()


def _hello() -> pb.Hello:
    return pb.Hello(tasks=["calm"], queues=["calm"], slots=10, protocol_version=1, last=True)
