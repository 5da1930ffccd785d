"""A worker process of the fault suite: handlers that do all that handlers do, and write down that they did.

Its wall clock may be wrong by FAULTS_CLOCK_SHIFT seconds, which must not matter.
"""

from __future__ import annotations

import asyncio
import datetime as datetimes
import json
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import grpc.aio._utils
from faults.records import CRASH_EXIT, Line

_SHIFT_SECONDS: Final = int(os.environ["FAULTS_CLOCK_SHIFT"])
_TICK_SECONDS: Final = 0.05
_STALL_SECONDS: Final = 0.25


def _shift_clock() -> None:
    """Before anything of ours is imported that might look at the clock."""
    real_time, real_time_ns = time.time, time.time_ns

    class Shifted(datetimes.datetime):
        """What the machine's clock says, and so much more."""

        @classmethod
        def now(cls, tz: datetimes.tzinfo | None = None) -> Shifted:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: real_time() + _SHIFT_SECONDS
    time.time_ns = lambda: real_time_ns() + _SHIFT_SECONDS * 10**9
    datetimes.datetime = Shifted  # type: ignore[misc] # for the modules that import it from now on
    # gRPC tells its core, which looks at the machine's own clock, deadlines by Python's.
    grpc.aio._utils.time = SimpleNamespace(time=real_time)  # type: ignore[assignment, attr-defined] # only this of it is used


_shift_clock()

from layeron_job_worker import Context, DoNotRetry, Retry, RetryAfter, Worker  # noqa: E402 # after the shift

Payload = dict[str, Any]
Handler = Callable[[Payload, Context], Awaitable[None]]

_NAME: Final = os.environ["FAULTS_WORKER"]
_JOURNAL: Final = os.open(os.environ["FAULTS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_worker = Worker(concurrency=20, queues=["default", "slow"], build_id=_NAME, grace=1)


class Fatal(Exception):
    """An error that some policies do not try again."""


def _write(what: str, **fields: Any) -> int:
    """Write a line of the journal, which is with the kernel once this returns; its time."""
    line = Line(what, time.monotonic_ns(), _NAME, os.getpid(), **fields)
    os.write(_JOURNAL, f"{json.dumps(asdict(line))}\n".encode())
    return line.at_ns


def _about(payload: Payload, ctx: Context) -> dict[str, Any]:
    return {"run_id": ctx.run_id, "attempt": ctx.attempt, "task": ctx.task, "number": payload["number"]}


def _task(name: str, **options: Any) -> Callable[[Handler], None]:
    """Register a handler that keeps a journal and returns when it began."""

    def register(handler: Handler) -> None:
        async def journaled(payload: Payload, ctx: Context) -> dict[str, int]:
            about = _about(payload, ctx)
            began_ns = _write("begin", **about)
            how = "raised"
            try:
                await handler(payload, ctx)
                how = "returned"
            except asyncio.CancelledError:
                how = "stopped"
                raise
            finally:
                _write("end", how=how, **about)
            return {"attempt": ctx.attempt, "began_ns": began_ns}

        _worker.task(name, **options)(journaled)

    return register


@_task("succeed", retry=Retry(attempts=6, backoff=0.3))
async def _succeed(payload: Payload, ctx: Context) -> None:
    await asyncio.sleep(payload["ms"] / 1000)


@_task("flaky", retry=Retry(attempts=8, backoff=[0.1, 0.3, 0.6]))
async def _flaky(payload: Payload, ctx: Context) -> None:
    await asyncio.sleep(payload["ms"] / 1000)
    if ctx.counted_attempts < payload["fails"]:
        raise ValueError("not yet")


@_task("fail", retry=Retry(attempts=3, backoff=0.2, non_retryable=[Fatal]))
async def _fail(payload: Payload, ctx: Context) -> None:
    match payload["error"]:
        case "Fatal":
            raise Fatal
        case "DoNotRetry":
            raise DoNotRetry
        case "RetryAfter":
            raise RetryAfter(payload["after_ms"] / 1000)
    raise ValueError("always")


@_task("hang", timeout=0.7, retry=Retry(attempts=2, backoff=0.2))
async def _hang(payload: Payload, ctx: Context) -> None:
    await asyncio.sleep(3600)


@_task("stubborn", timeout=1, retry=Retry(attempts=3, backoff=0.2))
async def _stubborn(payload: Payload, ctx: Context) -> None:
    """Goes on whatever it is told."""
    until = time.monotonic() + payload["ms"] / 1000
    while (left := until - time.monotonic()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


@_task("crash", retry=Retry(attempts=6, backoff=0.2))
async def _crash(payload: Payload, ctx: Context) -> None:
    await asyncio.sleep(payload["ms"] / 1000)
    if ctx.attempt == 1:
        _exit(payload, ctx)


if _NAME != "w3":  # which holds what it has no handler for

    @_task("slow", queue="slow", priority="low", retry=Retry(attempts=6, backoff=0.3))
    async def _slow(payload: Payload, ctx: Context) -> None:
        for step in range(10):
            await asyncio.sleep(payload["ms"] / 10_000)
            ctx.progress({"step": step})
            ctx.log.info("step %d", step)


@_worker.task("thread", timeout=1, priority="high", retry=Retry(attempts=3, backoff=0.2))
def _thread(payload: Payload, ctx: Context) -> dict[str, int]:
    """A thread that nobody can stop."""
    about = _about(payload, ctx)
    began_ns = _write("begin", **about)
    time.sleep(payload["ms"] / 1000)
    _write("end", how="returned", **about)
    return {"attempt": ctx.attempt, "began_ns": began_ns}


def _exit(payload: Payload, ctx: Context) -> NoReturn:
    _write("end", how="exit", **_about(payload, ctx))
    os._exit(CRASH_EXIT)


async def _tell_stalls() -> None:
    """Write down when this process was not let run, which is no fault of the worker's."""
    since_ns = time.monotonic_ns()
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        now_ns = time.monotonic_ns()
        if now_ns - since_ns > _STALL_SECONDS * 1e9:
            _write("stall", since_ns=since_ns)
        since_ns = now_ns


async def _main() -> None:
    ticking = asyncio.create_task(_tell_stalls())
    await _worker.run()
    ticking.cancel()


if __name__ == "__main__":
    asyncio.run(_main())
