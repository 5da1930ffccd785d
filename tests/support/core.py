"""The server's core without gRPC: a system on a real database, its writers, and workers that are driven by hand.

    async with open_core(database_url) as core:
        await core.register()
        worker = await core.worker()
        run_id = await core.enqueue()
        grant = await worker.grant(run_id)
        await worker.succeed(grant)
        assert (await core.look(run_id)).status == "succeeded"

Chance is 0, so that waits have no jitter. Time is moved by hand: only the database's clock judges it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Column, DateTime, Table

from layeron_job_server.domain.retry import Fixed, RetryPolicy, to_json
from layeron_job_server.operations import sessions
from layeron_job_server.operations.attempts import (
    AttemptWriters,
    attempt_writers,
)
from layeron_job_server.operations.control import (
    CancelAsk,
    CancelWriter,
    ReplayAsk,
    cancel_run,
    cancel_writer,
    replay_run,
)
from layeron_job_server.operations.enqueue import (
    EnqueueAsk,
    Enqueued,
    EnqueueWriter,
    enqueue,
    enqueue_batch,
    enqueue_writer,
)
from layeron_job_server.operations.sessions import Connected, SessionWriters, session_writers
from layeron_job_server.operations.system import System, TaskCache
from layeron_job_server.operations.writer import Writer
from layeron_job_server.settings import Settings
from layeron_job_server.store import open_attempts, tables, tasks
from layeron_job_server.store.database import Database
from layeron_job_server.store.outbox import Ring
from layeron_job_server.store.sessions import NewSession

from .hand_worker import BUILD, Worker
from .waiting import eventually

__all__ = ["AT_ONCE", "Core", "Seen", "Worker", "open_core", "pass_time"]

AT_ONCE = RetryPolicy(backoff=Fixed(timedelta(0)))
_MOVED = (
    tables.open_runs,
    tables.outbox,
    tables.worker_sessions,
    tables.idempotency_keys,
    tables.cancel_requests,
    tables.reconciler_turn,
)
_TURNED = tables.reconciler_turn.c.finished_at


async def pass_time(database: Database, delta: timedelta, *, but: Set[Table | Column[Any]] = frozenset()) -> None:
    """Let time go by for everything that waits, `but` for some tables and columns, by moving back what it waits for.

    With nothing left out it looks as if the database had been away for so long.
    """
    async with database.connection() as connection, connection.transaction():
        for table in _MOVED:
            if table not in but:
                times = [c.name for c in table.columns if isinstance(c.type, DateTime) and c not in but]
                moves = ", ".join(f"{name} = {name} - $1::interval" for name in times)
                await connection.execute(f"update {table.name} set {moves}", delta)


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as it stands: of an ended one, `due_at` and `seq` are None."""

    status: str
    attempt: int
    counted: int
    due_at: datetime | None = None
    seq: int | None = None
    cancel_requested_at: datetime | None = None


@dataclass(slots=True)
class Core:
    """One server process without its doors: `rung` keeps what a dispatcher would have been told."""

    system: System
    rung: list[Ring]
    writer: EnqueueWriter
    attempts: AttemptWriters
    sessions: SessionWriters
    cancels: CancelWriter
    start_ids: count[int] = field(default_factory=lambda: count(1))

    @property
    def database(self) -> Database:
        """The database all of it works with."""
        return self.system.database

    async def register(
        self,
        name: str = "work",
        *,
        retry: RetryPolicy = AT_ONCE,
        queue: str = "default",
        namespace: str = "default",
        timeout_ms: int = 60_000,
    ) -> tasks.Task:
        """Register a task with normal priority."""
        definition = tasks.TaskDefinition(name, queue, orjson.dumps(to_json(retry)), timeout_ms, 2)
        limits = self.system.settings.name_limits
        return (await self.database.write(lambda c: tasks.register(c, namespace, [definition], **limits)))[0]

    async def worker(self, *names: str, namespace: str = "default") -> Worker:
        """Connect a new worker session that handles these tasks ("work")."""
        connected = await self.connect(*names, namespace=namespace)
        return Worker(self, connected.session_id, connected.epoch, names or ("work",), namespace)

    async def connect(
        self,
        *names: str,
        namespace: str = "default",
        resumes: UUID | None = None,
        has: Sequence[tuple[UUID, int]] = (),
        unanswered: Collection[int] = (),
    ) -> Connected:
        """Connect or resume a session."""
        named = NewSession(UUID(int=0), 0, BUILD, "tests", "1", "host", 1, 10, (), ("default",))
        return await sessions.connect(
            self.system,
            named,
            names or ("work",),
            namespace=namespace,
            resumes=resumes,
            has=has,
            unanswered=unanswered,
        )

    async def request(self, task: str = "work", *, namespace: str = "default", **ask: Any) -> Enqueued:
        """Ask for one run and answer what became of it; `ask` is what EnqueueAsk takes."""
        return await enqueue(self.system, self.writer, EnqueueAsk(namespace, task, **ask))

    async def enqueue(self, task: str = "work", *, namespace: str = "default", **ask: Any) -> UUID:
        """Enqueue one run; `ask` is what EnqueueAsk takes."""
        return (await self.request(task, namespace=namespace, **ask)).run_id

    async def enqueue_many(
        self, number: int, task: str = "work", *, namespace: str = "default", **ask: Any
    ) -> list[UUID]:
        """Enqueue so many runs in batches; `ask` is what EnqueueAsk takes."""
        made: list[UUID] = []
        while len(made) < number:
            asks = [EnqueueAsk(namespace, task, **ask)] * min(1_000, number - len(made))
            made += [one.run_id for one in await enqueue_batch(self.system, asks)]
        return made

    async def pause(self, task: str = "work") -> None:
        """Pause a task."""
        await self.database.write(lambda c: tasks.pause(c, "default", task, "for a test"))

    async def resume(self, task: str = "work") -> None:
        """Resume a task. What is parked is not released by this."""
        await self.database.write(lambda c: tasks.resume(c, "default", task))

    async def cancel(self, run_id: UUID, *, namespace: str = "default") -> None:
        """Cancel a run as a caller does."""
        await cancel_run(self.system, self.cancels, CancelAsk(namespace, run_id, "enough", "user"))

    async def replay(self, run_id: UUID, *, namespace: str = "default", **ask: Any) -> UUID:
        """Replay a terminal run; `ask` is what ReplayAsk takes."""
        return (await replay_run(self.system, self.writer, ReplayAsk(namespace, run_id, "again", **ask)))[0].run_id

    async def request_cancel(self, run_id: UUID) -> None:
        """Ask for the cancel of a running run."""
        await self.database.write(lambda c: open_attempts.request_cancels(c, [(run_id, "enough", "user")]))

    async def pass_time(self, delta: timedelta) -> None:
        """Let time go by in which workers kept beating and the reconciler kept turning."""
        await pass_time(self.database, delta, but={tables.worker_sessions, _TURNED})

    async def pass_silent_time(self, delta: timedelta) -> None:
        """Let time go by in which no worker was heard of, while the reconciler kept turning."""
        await pass_time(self.database, delta, but={_TURNED})

    async def pass_outage(self, delta: timedelta) -> None:
        """Let time go by in which the database was away."""
        await pass_time(self.database, delta)

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """The rows of a query, as tuples."""
        async with self.database.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    async def value(self, query: str, *arguments: object) -> Any:
        """The only value of a query."""
        async with self.database.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def look(self, run_id: UUID) -> Seen:
        """The run as it stands."""
        rows = await self.fetch(
            "select status, attempt, counted, due_at, seq, cancel_requested_at from open_runs where run_id = $1 "
            "union all select status, attempt, counted, null, null, cancel_requested_at from ended_runs "
            "where run_id = $1",
            run_id,
        )
        assert len(rows) == 1, f"a run is open or ended, and not {len(rows)} of it"
        return Seen(*rows[0])

    async def ended_attempts(self, run_id: UUID) -> list[tuple[int, str]]:
        """(number, status) of the attempts that have ended."""
        return await self.fetch("select number, status from attempts where run_id = $1 order by number", run_id)

    async def history(self, run_id: UUID) -> list[tuple[int, str, str]]:
        """(seq, to_status, reason) of all transitions."""
        return await self.fetch("select seq, to_status, reason from transitions where run_id = $1 order by seq", run_id)

    async def last_reason(self, run_id: UUID) -> str:
        """Why the run is in its status."""
        return (await self.history(run_id))[-1][2]

    async def until_blocked(self, number: int = 1) -> None:
        """Wait until so many statements wait for locks that others hold."""
        blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        await eventually(lambda: self.value(f"select ({blocked} and datname = current_database()) >= $1::int", number))

    async def owed(self, run_id: UUID) -> dict[str, Any] | None:
        """The run's outbox row."""
        async with self.database.connection() as connection:
            row = await connection.fetchrow("select *, now() as now from outbox where run_id = $1", run_id)
            return None if row is None else dict(row)

    async def everything(self, run_id: UUID) -> tuple[object, ...]:
        """All that is known of a run, to see that nothing of it has changed."""
        return (
            await self.fetch("select * from open_runs where run_id = $1", run_id),
            await self.fetch("select * from ended_runs where run_id = $1", run_id),
            await self.fetch("select * from attempts where run_id = $1 order by number", run_id),
            await self.fetch("select * from transitions where run_id = $1 order by seq", run_id),
            await self.fetch("select * from outbox where run_id = $1", run_id),
            await self.fetch("select * from idempotency_keys where run_id = $1", run_id),
        )


@asynccontextmanager
async def open_core(
    database_url: str, *, ring: Callable[[Sequence[Ring]], None] | None = None, **settings: Any
) -> AsyncIterator[Core]:
    """A core on a migrated database; `ring` is told of rings too."""
    rung: list[Ring] = []

    def keep(rings: Sequence[Ring]) -> None:
        rung.extend(rings)
        if ring is not None:
            ring(rings)

    database = Database(database_url)
    system = System(
        settings=Settings(database_url=database_url, **settings),
        database=database,
        tasks=TaskCache(database),
        ring=keep,
        hint_cancel=lambda: None,
        chance=lambda: 0.0,
    )
    core = Core(
        system, rung, enqueue_writer(system), attempt_writers(system), session_writers(system), cancel_writer(system)
    )
    writers: list[Writer[Any, Any]] = [core.writer, *core.attempts.all(), *core.sessions.all(), core.cancels]
    running = [asyncio.create_task(writer.run(), name=f"{writer.name} writer") for writer in writers]
    try:
        yield core
    finally:
        for writer in writers:
            writer.stop()
        await asyncio.wait(running)
        await database.close()
