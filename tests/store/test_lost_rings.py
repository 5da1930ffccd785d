"""What JetStream has lost is found in the rows and owed again, where the run still waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from layeron_job_server.store import outbox
from layeron_job_server.store.outbox import Ring
from support.core import Core, Worker
from support.owed import all_owed, ring_in

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
LOOK_AHEAD = timedelta(seconds=10)


async def test_a_ring_that_was_lost_is_owed_again_only_where_the_run_still_waits_for_it(
    core: Core, worker: Worker
) -> None:
    waiting, owed, running, retried, ended, canceled = await core.enqueue_many(6)
    rings = {ring.run_id: ring for ring in core.rung}
    gone = uuid4()
    rings[gone] = rings[waiting]._replace(run_id=gone)
    await worker.grant(running)
    await worker.fail(await worker.grant(retried))
    await worker.succeed(await worker.grant(ended))
    await core.cancel(canceled)
    async with core.database.connection() as connection:
        await connection.execute("delete from outbox where run_id <> $1", owed)
        await connection.execute("update outbox set ring_at = 'infinity', held = 'paused' where run_id = $1", owed)
    owed_again = await core.database.write(lambda c: outbox.owe_missing(c, list(rings.values())))
    assert owed_again == [rings[waiting]]
    assert await all_owed(core) == {waiting, owed}
    assert await ring_in(core, waiting) == pytest.approx(2, abs=0.5)
    assert await core.value("select held from outbox where run_id = $1", owed) == "paused"


async def test_overdue_runs_without_a_row_are_found_slice_by_slice_each_once(core: Core, worker: Worker) -> None:
    runs = await core.enqueue_many(25)
    running, ended, still_owed, *missing = runs
    await core.enqueue(delay=HOUR)
    await worker.grant(running)
    await worker.succeed(await worker.grant(ended))
    await core.pass_time(10 * SECOND)
    async with core.database.connection() as connection:
        await connection.execute("delete from outbox where run_id = any($1)", missing)
    found: list[UUID] = []
    cursor: outbox.Cursor | None = outbox.START
    slices = 0
    while cursor is not None:
        after = cursor
        rings, cursor = await core.database.read(
            lambda c, after=after: outbox.overdue_without_ring(c, after=after, overdue_by=5 * SECOND, slice_size=10)  # type: ignore[misc] # mypy cannot see through the default
        )
        found += [ring.run_id for ring in rings]
        slices += 1
    assert sorted(found) == sorted(missing)
    assert still_owed not in found
    assert slices == 3
    assert await _overdue(core, 11 * SECOND) == []


async def _overdue(core: Core, by: timedelta) -> Sequence[Ring]:
    read = core.database.read(
        lambda c: outbox.overdue_without_ring(c, after=outbox.START, overdue_by=by, slice_size=100)
    )
    return (await read)[0]


async def test_a_found_ring_is_the_one_that_was_lost(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    await worker.fail(await worker.grant(run_id))
    async with core.database.connection() as connection:
        await connection.execute("delete from outbox")
    await core.pass_time(10 * SECOND)
    [found] = await _overdue(core, 5 * SECOND)
    told = core.rung[-1]
    assert found._replace(deliver_at=told.deliver_at) == told
    assert found.deliver_at == (await core.look(run_id)).due_at
