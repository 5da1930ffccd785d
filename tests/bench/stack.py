"""The whole system for measuring: PostgreSQL, nats-server, a server process and a worker process, as users run them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc

from layeron.job.v1 import job_service_pb2_grpc, task_pb2, task_service_pb2, task_service_pb2_grpc

from .servers import Servers

TASK = "bench"
_READY_SECONDS = 30.0


@dataclass(slots=True)
class Stack:
    """Where everything is, and the processes that were started."""

    servers: Servers
    address: str
    channel: grpc.aio.Channel
    jobs: job_service_pb2_grpc.JobServiceAsyncStub
    database: asyncpg.Pool[asyncpg.Record]
    server_pids: list[int]
    environment: dict[str, str]
    workers: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start_worker(self, concurrency: int = 1_000) -> asyncio.subprocess.Process:
        """A worker process that answers every run at once."""
        process = await _spawn("bench.worker", {**self.environment, "BENCH_CONCURRENCY": str(concurrency)})
        self.workers.append(process)
        return process

    async def stop_workers(self) -> None:
        """End them, the way a deploy does."""
        while self.workers:
            await _stop(self.workers.pop())

    async def ended(self) -> int:
        """How many runs are terminal."""
        count: int = await self.database.fetchval("select count(*) from ended_runs")
        return count

    async def forget_runs(self) -> None:
        """Leave nothing of the last measurement behind."""
        await self.database.execute(
            "truncate runs, open_runs, ended_runs, attempts, attempt_notes, transitions, run_labels, idempotency_keys, "
            "cancel_requests, outbox"
        )
        await self.database.execute("vacuum analyze")


@asynccontextmanager
async def running(servers: Servers, *, processes: int = 1, address: str = "127.0.0.1:7243") -> AsyncIterator[Stack]:
    """A migrated database and so many server processes on it, with the bench's task registered."""
    environment = {
        **os.environ,
        "LAYERON_JOB_DATABASE_URL": servers.dsn,
        "LAYERON_JOB_NATS_URL": servers.nats_url,
        "LAYERON_JOB_GRPC_ADDRESS": address,
        "LAYERON_JOB_HTTP_ADDRESS": "",
        "LAYERON_JOB_ADDRESS": address,
    }
    cli = Path(sys.executable).parent / "layeron-job"
    migrated = await asyncio.create_subprocess_exec(cli, "migrate", env=environment, stdout=asyncio.subprocess.DEVNULL)
    if await migrated.wait() != 0:
        raise SystemExit("the migration failed")
    server = await asyncio.create_subprocess_exec(cli, "serve", "--processes", str(processes), env=environment)
    database = await asyncpg.create_pool(servers.dsn, min_size=1, max_size=2)
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), _READY_SECONDS)
            await task_service_pb2_grpc.TaskServiceStub(channel).RegisterTasks(
                task_service_pb2.RegisterTasksRequest(tasks=[task_pb2.TaskDefinition(name=TASK)])
            )
            jobs = job_service_pb2_grpc.JobServiceStub(channel)
            pids = [server.pid] if processes == 1 else children(server.pid)
            stack = Stack(servers, address, channel, jobs, database, pids, environment)
            try:
                yield stack
            finally:
                await stack.stop_workers()
        finally:
            await database.close()
            await _stop(server)


def children(pid: int) -> list[int]:
    """The process ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def _spawn(module: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=environment)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            process.kill()
            await process.wait()
