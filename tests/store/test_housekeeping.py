"""What no run waits for: lapsed keys and old sessions are forgotten, and the coming days get their partitions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import asyncpg

from layeron_job_server.loops import reconciler
from layeron_job_server.operations.enqueue import EnqueueAsk, resolve
from layeron_job_server.store import maintenance, migrate, runs
from layeron_job_server.store.database import Connection
from support.core import Core, Worker, open_core

DAY = timedelta(days=1)


async def test_lapsed_keys_are_forgotten_however_many_and_no_others(core: Core) -> None:
    async with core.database.connection() as connection:
        await connection.execute(
            "insert into idempotency_keys (task_id, key, run_id, fingerprint, expires_at) "
            "select 1, 'lapsed ' || n, gen_random_uuid(), '', now() - interval '1 s' from generate_series(1, 1200) n"
        )
    for key, window in (("day", "ttl"), ("ever", "forever"), ("active", "while_active")):
        await core.enqueue(idempotency_key=key, key_window=window)
    await reconciler.tidy_once(core.system)
    assert await core.fetch("select key from idempotency_keys order by 1") == [("active",), ("day",), ("ever",)]


async def test_sessions_are_forgotten_a_week_after_their_end(core: Core, worker: Worker) -> None:
    old, recent = await core.worker(), await core.worker()
    await old.say_goodbye()
    await core.pass_outage(7 * DAY)
    await recent.say_goodbye()
    await reconciler.tidy_once(core.system)
    left = {row[0] for row in await core.fetch("select session_id from worker_sessions")}
    assert left == {worker.session_id, recent.session_id}


async def _partitions(core: Core) -> list[str]:
    rows = await core.fetch(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'transitions'::regclass order by 1"
    )
    return [row[0] for row in rows]


async def _today(core: Core) -> date:
    today: date = await core.value("select (now() at time zone 'utc')::date")
    return today


async def test_a_cancel_request_that_a_crash_left_behind_is_forgotten_and_no_other(core: Core, worker: Worker) -> None:
    running, ended, recently = await core.enqueue_many(3)
    for run_id in (running, ended, recently):
        await worker.grant(run_id)
        await core.request_cancel(run_id)
    async with core.database.connection() as connection:
        await connection.execute("delete from open_runs where run_id = any($1)", [ended, recently])
        await connection.execute(
            "update cancel_requests set requested_at = now() - interval '2 minutes' where run_id <> $1", recently
        )
    await reconciler.tidy_once(core.system)
    assert {row[0] for row in await core.fetch("select run_id from cancel_requests")} == {running, recently}


async def test_a_note_that_was_written_while_its_run_ended_is_forgotten_and_no_other(
    core: Core, worker: Worker
) -> None:
    running, ended, recently = await core.enqueue_many(3)
    await worker.grant(running)
    async with core.database.connection() as connection:
        await connection.execute("delete from open_runs where run_id = any($1)", [ended, recently])
        await connection.execute(
            "insert into attempt_notes (run_id, number, updated_at) "
            "select id, 1, now() - interval '2 minutes' * (id <> $2)::int from unnest($1::uuid[]) id",
            [running, ended, recently],
            recently,
        )
    await reconciler.tidy_once(core.system)
    assert {row[0] for row in await core.fetch("select run_id from attempt_notes")} == {running, recently}


async def test_transitions_of_each_of_the_coming_days_get_a_partition_of_their_own(core: Core) -> None:
    today = await _today(core)
    assert await core.database.write(maintenance.make_partitions) == 8
    days = [today + DAY * ahead for ahead in range(8)]
    assert await _partitions(core) == [*[f"transitions_{day:%Y%m%d}" for day in days], "transitions_default"]
    assert await core.database.write(maintenance.make_partitions) == 0
    async with core.database.connection() as connection:
        for at in (days[0], days[0] + DAY):
            await connection.execute(
                "insert into transitions (run_id, seq, task_id, to_status, attempt, reason, at) "
                "values (gen_random_uuid(), 0, 1, 'queued', 0, 'ENQUEUED', $1::date)",
                at,
            )
    assert await core.fetch("select tableoid::regclass::text from transitions order by at") == [
        (f"transitions_{days[0]:%Y%m%d}",),
        (f"transitions_{days[1]:%Y%m%d}",),
    ]


async def test_a_day_that_has_transitions_already_stays_where_it_is(core: Core) -> None:
    tomorrow = await _today(core) + DAY
    async with core.database.connection() as connection:
        await connection.execute(
            "insert into transitions (run_id, seq, task_id, to_status, attempt, reason, at) "
            "values (gen_random_uuid(), 0, 1, 'queued', 0, 'ENQUEUED', $1::date + interval '23:59:59')",
            tomorrow,
        )
    assert await core.database.write(maintenance.make_partitions) == 7
    assert f"transitions_{tomorrow:%Y%m%d}" not in await _partitions(core)
    await core.enqueue()


async def test_partitions_that_cannot_be_made_at_once_are_made_later(core: Core) -> None:
    """Whoever reads transitions for long does not make everybody else wait behind a partition."""
    async with core.database.connection() as connection:
        async with connection.transaction():
            await connection.execute("select from transitions")
            making = asyncio.create_task(core.database.write(maintenance.make_partitions))
            await core.until_blocked()
            await asyncio.wait_for(core.enqueue(), 5)
            assert await making == 0
        assert await core.database.write(maintenance.make_partitions) == 7


async def test_a_day_that_gets_its_first_transitions_while_it_is_to_get_a_partition_stays_where_it_is(
    core: Core,
) -> None:
    task = (await core.system.tasks.by_names("default", ["work"]))["work"]
    async with core.database.connection() as connection:
        writing = connection.transaction()
        await writing.start()
        await runs.make(connection, [resolve(EnqueueAsk("default", "work"), task)], look_ahead=timedelta(0))
        making = asyncio.create_task(core.database.write(maintenance.make_partitions))
        await core.until_blocked()
        await writing.commit()
    assert await making == 0
    assert await core.database.write(maintenance.make_partitions) == 7


async def test_a_migrated_database_has_partitions_for_today_and_tomorrow_by_utc(empty_database_url: str) -> None:
    """The first day's transitions can be pruned like all others, whatever time zone the database has."""
    outside = await asyncpg.connect(empty_database_url)
    try:
        name = await outside.fetchval("select current_database()")
        await outside.execute(f"alter database {name} set timezone = 'Pacific/Kiritimati'")
        await migrate.apply(empty_database_url)
        await outside.execute("set timezone = 'utc'")
        bounds = await outside.fetch(
            "select relname, pg_get_expr(relpartbound, oid) from pg_class "
            "where relispartition and relkind = 'r' and relname <> 'transitions_default' order by 1"
        )
        today = await outside.fetchval("select now()::date")
    finally:
        await outside.close()
    assert [tuple(row) for row in bounds] == [
        (f"transitions_{day:%Y%m%d}", f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + DAY} 00:00:00+00')")
        for day in (today, today + DAY)
    ]
    async with open_core(empty_database_url) as core:
        await core.register()
        await core.enqueue()
        assert await core.value("select tableoid::regclass::text from transitions") == f"transitions_{today:%Y%m%d}"
        assert await core.database.write(maintenance.make_partitions) == 6


async def test_servers_that_make_partitions_at_once_make_each_of_them_once(core: Core, database_url: str) -> None:
    async with open_core(database_url) as other:
        await asyncio.gather(*[reconciler.tidy_once(server.system) for server in (core, other, core, other)])
    assert len(await _partitions(core)) == 9


class _Hesitant:
    """A connection that waits for another one after its look at a table, if that other one comes so far."""

    def __init__(self, connection: Connection, both: asyncio.Barrier) -> None:
        self._connection = connection
        self._both = both

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetchval(self, query: str, *arguments: object) -> Any:
        """The value, some time after it was read."""
        value = await self._connection.fetchval(query, *arguments)
        if "from transitions_default" in query and not self._both.broken:
            with suppress(TimeoutError, asyncio.BrokenBarrierError):
                await asyncio.wait_for(self._both.wait(), 0.3)
            await self._both.abort()
        return value


async def test_servers_that_make_partitions_at_once_do_not_deadlock(core: Core) -> None:
    """Until a deadlock is found, which takes a second, nobody can write to transitions."""
    both = asyncio.Barrier(2)

    async def make() -> int:
        async with core.database.connection() as connection, connection.transaction():
            await connection.execute("set local deadlock_timeout = '20ms'")
            return await maintenance.make_partitions(_Hesitant(connection, both))  # type: ignore[arg-type] # a connection

    made = await asyncio.gather(make(), make(), return_exceptions=True)
    assert set(made) == {0, 8}
