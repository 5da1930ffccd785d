"""One seed: start the system, break it while it works, let it come to rest, and check what it did."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layeron_job import Client
from layeron_job.errors import TaskNotFound
from support import open_folder

from . import plan
from .checker import check
from .dump import dump, quiet_within
from .facts import Finding
from .faults import Injector
from .records import Evidence, read_journal
from .system import WORKERS, System, running
from .workload import Workload, clients

DRAIN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one seed."""

    seed: int
    minutes: float
    evidence: Evidence
    findings: dict[str, list[Finding]]

    @property
    def is_clean(self) -> bool:
        """No rule found anything."""
        return not any(self.findings.values())


async def run(seed: int, minutes: float, kept: Path) -> Trial:
    """Run one seed for so many minutes. What was written down stays in `kept`, with the logs of all programs."""
    shutil.rmtree(kept, ignore_errors=True)
    with open_folder() as place:
        async with running(place) as system:
            evidence = await _play(system, seed, minutes)
        evidence.lives = [life for program in system.programs.values() for life in program.lives]
        evidence.journal = [line for worker in WORKERS for line in read_journal(system.journal(worker))]
        evidence.save(kept)
        for log in (*place.glob("*.log"), *(place / "data").glob("*.log")):
            shutil.copy(log, kept)
    return Trial(seed, minutes, evidence, await asyncio.to_thread(check, evidence))


async def _play(system: System, seed: int, minutes: float) -> Evidence:
    seconds = minutes * 60
    async with _clock() as clock, clients(system.addresses) as known:
        workload, injector = Workload(known), Injector(system)
        await _registered(known["both"])
        began = time.monotonic()
        calls = plan.calls(seed, seconds, time.time_ns() // 1000)
        async with asyncio.TaskGroup() as under_way:
            under_way.create_task(workload.run(calls, began))
            under_way.create_task(injector.run(plan.faults(seed, seconds), began))
        healed = time.monotonic()
        resuming = asyncio.create_task(workload.resume_all())
        quiet = await quiet_within(system, DRAIN_SECONDS)
        drain_seconds = time.monotonic() - healed
        resuming.cancel()
        evidence = Evidence(workload.history, faults=injector.done, dump=await dump(system, clock))
        evidence.dump.drain_seconds = drain_seconds if quiet else None
    return evidence


async def _registered(client: Client) -> None:
    """Wait until the workers have said what tasks there are."""
    for task in plan.TASKS:
        while True:
            with suppress(TaskNotFound):
                await client.tasks.get(task)
                break
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _clock() -> AsyncIterator[list[tuple[int, int]]]:
    """Both clocks, taken together twice a second."""
    pairs: list[tuple[int, int]] = []

    async def look() -> None:
        while True:
            pairs.append((time.time_ns() // 1000, time.monotonic_ns()))
            await asyncio.sleep(0.5)

    looking = asyncio.create_task(look())
    try:
        yield pairs
    finally:
        looking.cancel()
