"""The worker process of the storms: answers with how long ago its run was enqueued, or fails, or takes its time."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import uvloop

from layeron_job_worker import Context, Worker

_QUEUE = os.environ["STORM_QUEUE"]
worker = Worker(queues=[_QUEUE], concurrency=int(os.environ["STORM_CONCURRENCY"]))


async def answer(payload: dict[str, Any], ctx: Context) -> dict[str, float]:
    """The delay in milliseconds, by the clock that all share. A payload with `fails` fails so many times first."""
    if ctx.counted_attempts < payload.get("fails", 0):
        raise ValueError("not yet")
    return {"delay_ms": (time.time() - payload["at"]) * 1000}


async def take_time(payload: dict[str, Any]) -> dict[str, float]:
    """Returns after so many seconds."""
    await asyncio.sleep(payload["seconds"])
    return {"delay_ms": (time.time() - payload["at"]) * 1000}


# The storm has registered them with all they need; a worker tells the same again.
if _QUEUE == "crowd":
    worker.task("crowd")(answer)
    worker.task("urgent", priority="high")(answer)
else:
    worker.task("calm")(answer)
    worker.task("long", timeout=3600)(take_time)


if __name__ == "__main__":
    uvloop.run(worker.run())
