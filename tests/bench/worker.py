"""The worker process of the benchmark: answers at once with how long ago the run was enqueued."""

from __future__ import annotations

import os
import time
from typing import Any

import uvloop

from layeron_job_worker import Context, Worker

worker = Worker(os.environ["LAYERON_JOB_ADDRESS"], concurrency=int(os.environ.get("BENCH_CONCURRENCY", "200")))


@worker.task("bench")
async def answer(payload: dict[str, Any], _ctx: Context) -> dict[str, float]:
    """The delay in milliseconds, by the clock that enqueuer and worker share."""
    return {"delay_ms": (time.time() - payload["enqueued_at"]) * 1000}


if __name__ == "__main__":
    uvloop.run(worker.run())
