"""Retention: what ended long ago goes with all that belongs to it, and nothing else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from layeron_job.ids import new_uuid7
from layeron_job_server.domain.errors import RunNotFound
from layeron_job_server.loops.pruner import prune_once
from layeron_job_server.store import pruning
from layeron_job_server.store.attempts import Grant
from support.core import Core, Worker

DAY = timedelta(days=1)
_TABLES = ("runs", "ended_runs", "attempts", "transitions", "run_labels")
_NIL = UUID(int=0)


def _run_id_of(age: timedelta) -> UUID:
    return new_uuid7(int((time.time() - age.total_seconds()) * 1000))


async def _ended(core: Core, worker: Worker, *, made: timedelta, ended: timedelta, **ask: Any) -> UUID:
    """A run that was made and ended so long ago, its transitions in the partition of the day it was made."""
    run_id = await core.enqueue(run_id=_run_id_of(made), labels={"customer": "7", "kind": "x"}, **ask)
    await worker.succeed(await worker.grant(run_id))
    await core.fetch("update ended_runs set ended_at = now() - $2::interval where run_id = $1", run_id, ended)
    await _move_transitions(core, run_id, made)
    return run_id


async def _move_transitions(core: Core, run_id: UUID, age: timedelta) -> None:
    day: date = await core.value("select (now() - $1::interval)::date", age)
    async with core.database.connection() as connection:
        await connection.execute(
            f"create table if not exists transitions_{day:%Y%m%d} partition of transitions "
            f"for values from ('{day}') to ('{day + DAY}')"
        )
        await connection.execute("update transitions set at = $2::date where run_id = $1", run_id, day)


async def _rows(core: Core, run_id: UUID) -> dict[str, int]:
    counts = {table: await core.value(f"select count(*) from {table} where run_id = $1", run_id) for table in _TABLES}
    return {table: count for table, count in counts.items() if count}


async def _partitions(core: Core) -> set[str]:
    return {
        name
        for (name,) in await core.fetch(
            "select inhrelid::regclass::text from pg_inherits where inhparent = 'transitions'::regclass"
        )
    }


async def _at_once(*calls: Awaitable[Any]) -> list[Any]:
    """All of them from one moment on."""
    barrier = asyncio.Event()

    async def wait(call: Awaitable[Any]) -> Any:
        await barrier.wait()
        return await call

    waiting = [asyncio.create_task(wait(call)) for call in calls]
    await asyncio.sleep(0)
    barrier.set()
    return list(await asyncio.gather(*waiting))


async def test_what_ended_longer_ago_than_the_retention_goes_with_all_that_belongs_to_it(
    core: Core, worker: Worker
) -> None:
    old = await _ended(core, worker, made=40 * DAY, ended=35 * DAY)
    recent = await _ended(core, worker, made=40 * DAY, ended=5 * DAY)
    waiting = await core.enqueue(run_id=_run_id_of(40 * DAY), labels={"customer": "7"})
    before = await _rows(core, recent), await core.everything(waiting)
    assert await prune_once(core.system, until=asyncio.Event()) == 1
    assert await _rows(core, old) == {}
    assert (await _rows(core, recent), await core.everything(waiting)) == before


async def test_a_day_of_transitions_is_dropped_and_what_still_stands_keeps_its_history(
    core: Core, worker: Worker
) -> None:
    old = await _ended(core, worker, made=40 * DAY, ended=40 * DAY)
    recent = await _ended(core, worker, made=40 * DAY, ended=5 * DAY)
    waiting = await core.enqueue(run_id=_run_id_of(40 * DAY))
    await _move_transitions(core, waiting, 40 * DAY)
    histories = [await core.history(recent), await core.history(waiting)]
    await _ended(core, worker, made=29 * DAY, ended=29 * DAY)
    partitions = await _partitions(core)
    await prune_once(core.system, until=asyncio.Event())
    assert partitions - await _partitions(core) == {min(partitions)}, "the day of 29 days ago is kept"
    assert await core.history(old) == []
    assert [await core.history(recent), await core.history(waiting)] == histories
    await core.fetch("update ended_runs set ended_at = now() - interval '31 days' where run_id = $1", recent)
    await prune_once(core.system, until=asyncio.Event())
    assert await core.history(recent) == [], "also from the default partition"


async def test_a_key_that_is_kept_for_good_answers_a_pruned_run(core: Core, worker: Worker) -> None:
    run_id = await _ended(core, worker, made=40 * DAY, ended=40 * DAY, idempotency_key="k", key_window="forever")
    await prune_once(core.system, until=asyncio.Event())
    again = await core.request(idempotency_key="k", key_window="forever", labels={"customer": "7", "kind": "x"})
    assert again.run_id == run_id
    assert again.made is None


async def test_at_most_a_slice_goes_in_one_transaction_and_the_next_one_goes_on(core: Core, worker: Worker) -> None:
    for _ in range(5):
        await _ended(core, worker, made=40 * DAY, ended=40 * DAY)
    pruned, after = [], _NIL
    while True:
        pruning_slice = await core.database.write(
            partial(pruning.prune_slice, after=after, retention=30 * DAY, limit=2)
        )
        assert pruning_slice is not None
        number, last = pruning_slice
        if last is None:
            break
        pruned.append(number)
        after = last
    assert pruned == [2, 2, 1]


async def test_servers_do_not_prune_at_the_same_time(core: Core, worker: Worker) -> None:
    await _ended(core, worker, made=40 * DAY, ended=40 * DAY)
    async with core.database.connection() as connection, connection.transaction():
        mine = await pruning.prune_slice(connection, _NIL, retention=30 * DAY, limit=10)
        assert mine is not None
        assert mine[0] == 1
        partitions = await _partitions(core)
        assert await prune_once(core.system, until=asyncio.Event()) == 0
        assert await _partitions(core) == partitions


async def test_a_day_that_is_in_use_is_dropped_later(core: Core, worker: Worker) -> None:
    await _ended(core, worker, made=40 * DAY, ended=40 * DAY)
    partitions = await _partitions(core)
    async with core.database.connection() as connection, connection.transaction():
        await connection.execute("select from transitions limit 1")
        assert await prune_once(core.system, until=asyncio.Event()) == 1
        assert await _partitions(core) == partitions
    await prune_once(core.system, until=asyncio.Event())
    assert len(await _partitions(core)) == len(partitions) - 1


async def test_a_replay_takes_all_of_a_run_that_is_being_deleted_or_nothing_of_it(core: Core, worker: Worker) -> None:
    """Runs whose rows somebody deletes, as retention does, while they are replayed: a whole new run or RunNotFound."""
    runs = await core.enqueue_many(200, payload=b'{"to":"ann"}', labels={"kind": "mail"})
    for answer in await core.attempts.start.submit([worker.ask(run_id) for run_id in runs]):
        assert isinstance(answer, Grant)
        await worker.succeed(answer)

    async def delete(run_id: UUID) -> None:
        async with core.database.connection() as connection, connection.transaction():
            for table in ("run_labels", "ended_runs", "attempts", "transitions", "runs"):
                await connection.execute(f"delete from {table} where run_id = $1", run_id)

    async def replay(run_id: UUID) -> UUID | None:
        try:
            return await core.replay(run_id)
        except RunNotFound:
            return None

    made = []
    for first in range(0, 200, 4):
        some = runs[first : first + 4]
        made += (await _at_once(*(delete(run_id) for run_id in some), *(replay(run_id) for run_id in some)))[4:]
    new = [run_id for run_id in made if run_id is not None]
    whole = 'select run_id from runs where payload::text = \'{"to":"ann"}\' and labels::text = \'{"kind":"mail"}\''
    assert {row[0] for row in await core.fetch(f"{whole} and origin = 'replay'")} == set(new)
    assert await core.value("select count(*) from open_runs") == len(new)
    assert await core.value("select count(*) from run_labels") == len(new)
