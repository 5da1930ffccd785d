"""The system that the storms beat upon: one server process, workers, a PostgreSQL and a nats-server that may be killed.

Everything listens on loopback, has production's settings (fsync on) and data of its own, and ends with the program.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression

import asyncpg
import grpc
from faults.programs import with_children

from layeron.job.v1 import (
    job_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
)
from layeron_job_server.embedded import Nats, Postgres
from support.processes import free_port

from .servers import data_folder

READY_SECONDS = 30.0
_SAMPLE_SECONDS = 1.0

# Name, queue and priority of the tasks of storm_worker.py.
TASKS = (
    ("crowd", "crowd", task_pb2.PRIORITY_NORMAL),
    ("urgent", "crowd", task_pb2.PRIORITY_HIGH),
    ("calm", "calm", task_pb2.PRIORITY_NORMAL),
    ("long", "calm", task_pb2.PRIORITY_NORMAL),
)


@dataclass(slots=True)
class StormSystem:
    """What runs, and where."""

    postgres: Postgres
    nats: Nats
    address: str
    server: asyncio.subprocess.Process
    channel: grpc.aio.Channel
    jobs: job_service_pb2_grpc.JobServiceAsyncStub
    environment: dict[str, str]
    workers: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start_worker(self, queue: str, concurrency: int = 200) -> None:
        """A worker process of one queue; ended with the system."""
        environment = {**self.environment, "STORM_QUEUE": queue, "STORM_CONCURRENCY": str(concurrency)}
        self.workers[queue] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.storm_worker", env=environment
        )

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of a query, over a connection of its own, which PostgreSQL may have been restarted before."""
        connection = await asyncpg.connect(self.postgres.url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def until_terminal(self, count: int, *, seconds: float) -> float:
        """Wait until so many runs are terminal and none is open; how long that took. SystemExit after so long."""
        began = time.monotonic()
        while True:
            ((ended, still),) = await self.fetch("select (select count(*) from ended_runs), count(*) from open_runs")
            if ended >= count and not still:
                return time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise SystemExit(f"after {seconds:.0f} s {ended} of {count} runs are terminal and {still} are open")
            await asyncio.sleep(0.2)

    def rss_mib(self) -> dict[str, float]:
        """Resident memory of each process; of PostgreSQL what all its processes have together, shared pages once."""
        pids = {"server": self.server.pid, "driver": os.getpid()}
        pids |= {f"worker {queue}": process.pid for queue, process in self.workers.items()}
        with suppress(AssertionError):  # it is away
            pids["nats-server"] = self.nats.pid
        memory = {name: rss_mib(pid) for name, pid in pids.items()}
        with suppress(AssertionError):
            memory["PostgreSQL"] = sum(map(pss_mib, with_children(self.postgres.pid)))
        return memory


@asynccontextmanager
async def storm_system(**settings: str) -> AsyncIterator[StormSystem]:
    """Start everything but workers, with the storms' tasks registered; `settings` are the server's own."""
    address = f"127.0.0.1:{free_port()}"
    cli = Path(sys.executable).parent / "layeron-job"
    async with AsyncExitStack() as stack:
        data = stack.enter_context(data_folder())
        postgres = await stack.enter_async_context(await Postgres.start(data))
        nats = await stack.enter_async_context(await Nats.start(data))
        environment = {
            **os.environ,
            "LAYERON_JOB_DATABASE_URL": postgres.url,
            "LAYERON_JOB_NATS_URL": nats.url,
            "LAYERON_JOB_GRPC_ADDRESS": address,
            "LAYERON_JOB_HTTP_ADDRESS": "",
            "LAYERON_JOB_ADDRESS": address,
            "LAYERON_JOB_LOG_LEVEL": "error",
            **{f"LAYERON_JOB_{name.upper()}": value for name, value in settings.items()},
        }
        server = await asyncio.create_subprocess_exec(cli, "serve", "--migrate", env=environment)
        stack.push_async_callback(_stop, server)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        await asyncio.wait_for(channel.channel_ready(), READY_SECONDS)
        tasks = [task_pb2.TaskDefinition(name=name, queue=queue, priority=priority) for name, queue, priority in TASKS]
        request = task_service_pb2.RegisterTasksRequest(tasks=tasks)
        await task_service_pb2_grpc.TaskServiceStub(channel).RegisterTasks(request)
        jobs = job_service_pb2_grpc.JobServiceStub(channel)
        system = StormSystem(postgres, nats, address, server, channel, jobs, environment)
        try:
            yield system
        finally:
            await asyncio.gather(*map(_stop, system.workers.values()))


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def memory_watched(system: StormSystem) -> AsyncIterator[list[dict[str, float]]]:
    """Samples of `rss_mib`, each second, for as long as the context lasts; a process that is away is left out."""
    samples: list[dict[str, float]] = []

    async def sample() -> None:
        while True:
            samples.append({name: mib for name, mib in system.rss_mib().items() if mib})
            await asyncio.sleep(_SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        sampling.cancel()


def peaks(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    """The most of each process, in MiB."""
    names = {name for sample in samples for name in sample}
    return {f"peak RSS, {name}, MiB": max(sample.get(name, 0.0) for sample in samples) for name in sorted(names)}


def slopes(samples: Sequence[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """KiB by which each process grows for one more of what was counted, by least squares over (count, RSS)."""
    names = set.intersection(*(set(rss) for _, rss in samples))
    counts = [count for count, _ in samples]
    return {name: linear_regression(counts, [rss[name] * 1024 for _, rss in samples]).slope for name in sorted(names)}


def rss_mib(pid: int) -> float:
    """Resident memory; 0 if there is no such process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def pss_mib(pid: int) -> float:
    """Resident memory with its share of what several processes have; 0 of a process that is gone or somebody else's."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


def spread(what: str, values_ms: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the maximum, in milliseconds."""
    return {
        f"{what}, p50, ms": percentile(values_ms, 50),
        f"{what}, p99, ms": percentile(values_ms, 99),
        f"{what}, most, ms": max(values_ms, default=float("nan")),
    }
