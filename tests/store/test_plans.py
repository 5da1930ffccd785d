"""What a batch costs does not grow with what waits or runs beside it: hot statements read the rows they name.

The planner knows little of tables that fill and empty: what it was told last may be of another hour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import pytest

from layeron_job_server.store import endings, open_attempts, outbox, starts
from layeron_job_server.store.attempts import Fence, Success
from layeron_job_server.store.database import Connection
from support.core import Core, Worker

_BATCH = 10  # so few that looking up each is cheapest
_BATCHES = 7  # so many that a plan is kept
_LOOK_AHEAD = timedelta(seconds=10)

Step: TypeAlias = Callable[[Connection], Awaitable[object]]

_ROWS_READ = """
select (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables where relname = 'open_runs'
"""


async def _rows_read(connection: Connection, step: Step) -> int:
    """How many rows of open_runs a transaction reads that does this, and is committed."""
    await connection.execute("select pg_stat_force_next_flush()")  # what was counted before
    async with connection.transaction():
        before = await connection.fetchval(_ROWS_READ)
        await step(connection)
        return int(await connection.fetchval(_ROWS_READ)) - int(before)


async def _backlog(core: Core, worker: Worker, analyzed: str) -> Sequence[UUID]:
    """Very many runs that wait until next month, a thousand that run on one worker, a thousand that wait and are due;
    answer those. PostgreSQL has analyzed the tables `before` the first, the second, or `after` the last of these."""
    async with core.database.connection() as connection:
        if analyzed == "before the first":
            await connection.execute("vacuum analyze")
        await core.enqueue_many(4_000, delay=timedelta(days=30))
        if analyzed == "before the second":
            await connection.execute("vacuum analyze")
        runs = await core.enqueue_many(2_000)
        await core.attempts.start.submit([worker.ask(run_id) for run_id in runs[:1_000]])
        if analyzed == "after the last":
            await connection.execute("vacuum analyze")
    return runs[1_000:]


async def _reads(core: Core, runs: Sequence[UUID], steps_of: Callable[[Sequence[UUID]], dict[str, Step]]) -> set[str]:
    """The steps that read more than twice what they name, each step tried batch after batch."""
    read: dict[str, list[int]] = defaultdict(list)
    async with core.database.connection() as connection:
        for start in range(0, _BATCH * _BATCHES, _BATCH):
            for name, step in steps_of(runs[start : start + _BATCH]).items():
                read[name].append(await _rows_read(connection, step))
    return {f"{name}: {rows}" for name, rows in read.items() if max(rows) > 2 * _BATCH}


_ANALYZED = ["before the first", "before the second", "after the last"]


@pytest.mark.parametrize("analyzed", _ANALYZED)
async def test_a_batch_of_starts_or_reports_reads_only_the_runs_it_names(
    core: Core, worker: Worker, analyzed: str
) -> None:
    runs = await _backlog(core, worker, analyzed)

    def steps(batch: Sequence[UUID]) -> dict[str, Step]:
        asks = [worker.ask(run_id) for run_id in batch]
        fences = [Fence(run_id, 1, worker.session_id) for run_id in batch]
        reports = [Success(fence, b"1", 5, "build-1", None) for fence in fences]
        return {
            "start": lambda c: starts.start(c, asks),
            "standing": lambda c: starts.standing(c, asks),
            "begun": lambda c: open_attempts.mark_begun(c, [(fence, 5) for fence in fences]),
            "lock": lambda c: endings.lock(c, batch),
            "succeed": lambda c: endings.succeed(c, reports),
        }

    assert await _reads(core, runs, steps) == set()
    assert await core.value("select count(*) from ended_runs") == _BATCH * _BATCHES


@pytest.mark.parametrize("analyzed", _ANALYZED)
async def test_a_batch_of_repeated_starts_reads_only_the_runs_it_names(
    core: Core, worker: Worker, analyzed: str
) -> None:
    runs = await _backlog(core, worker, analyzed)

    def steps(batch: Sequence[UUID]) -> dict[str, Step]:
        asks = [worker.ask(run_id, start_id=7) for run_id in batch]
        return {"start": lambda c: starts.start(c, asks), "again": lambda c: starts.granted_before(c, asks)}

    assert await _reads(core, runs, steps) == set()


@pytest.mark.parametrize("analyzed", _ANALYZED)
async def test_a_batch_that_is_held_reads_only_the_runs_it_names(core: Core, worker: Worker, analyzed: str) -> None:
    runs = await _backlog(core, worker, analyzed)

    def steps(batch: Sequence[UUID]) -> dict[str, Step]:
        held = [(run_id, 1, False) for run_id in batch]
        return {"hold": lambda c: outbox.hold(c, held, look_ahead=_LOOK_AHEAD)}

    assert await _reads(core, runs, steps) == set()


_ALL_ROWS_READ = """
select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables
where relname in ('runs', 'open_runs', 'attempts', 'ended_runs', 'outbox', 'idempotency_keys')
"""


async def test_plans_that_were_kept_from_quiet_times_are_good_for_busy_ones(core: Core, worker: Worker) -> None:
    """A plan is kept for as long as its connection lives, and most of them are made while next to nothing is there."""

    async def start_and_succeed(connection: Connection, batch: Sequence[UUID]) -> int:
        async with connection.transaction():
            before = int(await connection.fetchval(_ALL_ROWS_READ))
            await starts.start(connection, [worker.ask(run_id) for run_id in batch])
            await endings.lock(connection, batch)
            reports = [Success(Fence(run_id, 1, worker.session_id), b"1", 5, "b", None) for run_id in batch]
            assert set(await endings.succeed(connection, reports)) == set(batch)
            return int(await connection.fetchval(_ALL_ROWS_READ)) - before

    async with core.database.connection() as connection:
        for _ in range(_BATCHES):
            await connection.execute("vacuum analyze")
            await start_and_succeed(connection, await core.enqueue_many(1))
        few = await start_and_succeed(connection, await core.enqueue_many(_BATCH))
        many = await start_and_succeed(connection, (await core.enqueue_many(4_000))[:_BATCH])
    assert many <= 2 * few + _BATCH
