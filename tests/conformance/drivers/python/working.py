"""`driver work`: a worker whose handlers do what their payloads say."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from layeron_job_worker import Context, DoNotRetry, RetryAfter, Worker

from . import given
from .lines import read, say


async def work() -> None:
    """Work until SIGTERM."""
    order = await anext(read())
    worker = Worker(
        namespace=order.get("namespace", "default"),
        queues=order.get("queues"),
        concurrency=order.get("concurrency", 10),
        build_id=order.get("build_id", ""),
        grace=given.length(order, "grace") or timedelta(seconds=30),
    )
    for task in order["tasks"]:
        worker.task(task["name"], **_defaults(task))(_handle)
    telling = asyncio.create_task(_tell_when_ready(worker))
    await worker.run()
    telling.cancel()


async def _tell_when_ready(worker: Worker) -> None:
    await worker.ready.wait()
    say({"ready": True})


def _defaults(task: dict[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in task.items() if value is not None}
    defaults: dict[str, Any] = {name: said[name] for name in ("queue", "priority") if name in said}
    if "timeout_ms" in said:
        defaults["timeout"] = given.length(said, "timeout")
    if "retry" in said:
        defaults["retry"] = given.retry(said["retry"])
    return defaults


async def _handle(payload: Any, ctx: Context) -> Any:
    event = {"run_id": ctx.run_id, "attempt": ctx.attempt}
    say({"start": event})
    try:
        steps = payload.get("do") if isinstance(payload, dict) else None
        return await _do(steps[min(ctx.attempt, len(steps)) - 1], ctx) if steps else None
    finally:
        say({"end": event})


async def _do(step: dict[str, Any], ctx: Context) -> Any:
    if "log" in step:
        ctx.log.info(step["log"])
    if "progress" in step:
        ctx.progress(step["progress"])
    if "sleep_ms" in step:
        await asyncio.sleep(step["sleep_ms"] / 1000)
    if "ignore_cancel_ms" in step:
        await _ignore_cancel(step["ignore_cancel_ms"] / 1000)
    if "exit" in step:
        os._exit(step["exit"])
    if "retry_after_ms" in step:
        raise RetryAfter(timedelta(milliseconds=step["retry_after_ms"]))
    if "do_not_retry" in step:
        raise DoNotRetry(step["do_not_retry"])
    if "fail" in step:
        raise type(step["fail"]["type"], (Exception,), {})(step["fail"]["message"])
    return _told(ctx) if "context" in step else step.get("result")


async def _ignore_cancel(seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


def _told(ctx: Context) -> dict[str, Any]:
    return {
        "run_id": ctx.run_id,
        "attempt": ctx.attempt,
        "task": ctx.task,
        "namespace": ctx.namespace,
        "labels": ctx.labels,
        "name": ctx.name,
        "counted_attempts": ctx.counted_attempts,
        "max_attempts": ctx.max_attempts,
        "payload_encoding": ctx.payload_encoding,
        "trace_context": ctx.trace_context,
        "cancel_requested": ctx.cancel_requested,
    }
