"""Attempts without a server: made by hand, run by the worker's own executor, and listened to.

async with open_desk() as desk:
    attempt = desk.attempt(handler, {"n": 1})
    attempt.begin()
    outcome = await desk.outcome(attempt)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import orjson

from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.ids import new_run_id
from layeron_job_worker.executor import Attempt
from layeron_job_worker.outcome import Outcome
from layeron_job_worker.registry import Handler, task_handler

from .waiting import eventually


async def at_once(payload: Any) -> Any:
    """A handler that returns its payload."""
    return payload


class Desk:
    """Makes attempts, and is told of them: `told` has what, in order, as ("reported" or "ended", attempt)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Attempt]] = []
        self.notes = 0
        self.pool = ThreadPoolExecutor(4)
        self._start_ids = count(1)

    def attempt(
        self,
        handler: Handler = at_once,
        payload: Any = None,
        *,
        timeout_ms: int = 60_000,
        result_bytes_max: int = 1_000,
        **grant: Any,
    ) -> Attempt:
        """An attempt that has not begun; `grant` are further fields of its Grant."""
        grant.setdefault("payload_json", orjson.dumps(payload))
        grant.setdefault("attempt", 1)
        grant.setdefault("run_id", new_run_id())
        return Attempt(
            next(self._start_ids),
            pb.Grant(task="work", timeout_ms=timeout_ms, **grant),
            task_handler("work", handler),
            self,
            namespace="default",
            result_bytes_max=result_bytes_max,
            pool=self.pool,
        )

    async def outcome(self, attempt: Attempt) -> Outcome:
        """How an attempt ends, once its handler has returned."""
        await eventually(lambda: ("ended", attempt) in self.told, every=0.002)
        assert attempt.outcome is not None
        return attempt.outcome

    async def run(self, handler: Handler, payload: Any = None, **options: Any) -> Outcome:
        """How a new attempt ends."""
        attempt = self.attempt(handler, payload, **options)
        attempt.begin()
        return await self.outcome(attempt)

    def of(self, attempt: Attempt) -> list[str]:
        """What was told of an attempt, in order."""
        return [what for what, told in self.told if told is attempt]

    def attempt_reported(self, attempt: Attempt) -> None:
        """The outcome is known."""
        self.told.append(("reported", attempt))

    def attempt_ended(self, attempt: Attempt) -> None:
        """The handler has returned."""
        self.told.append(("ended", attempt))

    def attempt_noted(self, attempt: Attempt) -> None:
        """There is progress or a log line."""
        self.notes += 1


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """A desk whose threads end with it."""
    desk = Desk()
    try:
        yield desk
    finally:
        desk.pool.shutdown()
