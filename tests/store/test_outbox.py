"""The outbox: whatever waits is owed a ring, which is rung by whoever comes first, and then forgotten."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import Interrupted
from layeron_job_server.operations.starts import Hold
from layeron_job_server.store import outbox
from layeron_job_server.store.outbox import Ring
from support.core import Core, Worker, open_core
from support.owed import all_owed, ring_in, take_due

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
LOOK_AHEAD = timedelta(seconds=10)


async def _ring(core: Core, run_id: UUID | None = None, **fields: Any) -> Ring:
    """A ring for attempt 1 of some run, due now."""
    now = await core.value("select now()")
    return Ring(run_id or uuid4(), 1, 1, 2, 1, now)._replace(**fields)


async def _owe(core: Core, *rings: Ring) -> None:
    await core.database.write(lambda c: outbox.owe(c, rings, look_ahead=LOOK_AHEAD))


async def _forget(core: Core, *rings: Ring) -> None:
    async with core.database.connection() as connection:
        await outbox.forget(connection, rings)


@pytest.mark.parametrize(("due", "rung_by_the_sweep"), [(0, 2), (5, 2), (12, 2), (13, 3), (3600, 3590)])
async def test_what_is_owed_is_swept_when_it_comes_inside_the_look_ahead_but_memory_may_ring_first(
    core: Core, due: int, rung_by_the_sweep: int
) -> None:
    ring = await _ring(core)
    await _owe(core, ring._replace(deliver_at=ring.deliver_at + due * SECOND))
    assert await ring_in(core, ring.run_id) == pytest.approx(rung_by_the_sweep, abs=0.5)


async def test_what_is_owed_again_takes_the_place_of_what_was_owed(core: Core) -> None:
    ring = await _ring(core)
    await _owe(core, ring)
    async with core.database.connection() as connection:
        await connection.execute("update outbox set held = 'no_handler', generation = 3")
    later = ring._replace(attempt=2, deliver_at=ring.deliver_at + HOUR)
    await _owe(core, later)
    owed = await core.owed(ring.run_id)
    assert owed is not None
    assert (owed["attempt"], owed["deliver_at"], owed["held"]) == (2, later.deliver_at, None)


async def test_a_ring_that_was_taken_is_forgotten_and_no_other(core: Core) -> None:
    taken, other = await _ring(core), await _ring(core)
    await _owe(core, taken, other)
    await _forget(core, taken)
    await _forget(core, taken)
    assert await all_owed(core) == {other.run_id}


async def test_a_ring_of_an_earlier_attempt_does_not_stand_for_the_one_that_is_owed_now(core: Core) -> None:
    ring = await _ring(core)
    await _owe(core, ring._replace(attempt=2))
    await _forget(core, ring)
    assert await all_owed(core) == {ring.run_id}


async def test_a_ring_of_before_a_hold_does_not_stand_for_what_is_owed_after_it(core: Core, worker: Worker) -> None:
    """The ring that was answered with "held" is acknowledged late; the run is still rung after the hold."""
    run_id = await core.enqueue()
    [first] = core.rung
    await core.pause()
    assert await worker.start(run_id) is Hold.PAUSED
    await _forget(core, first)
    assert await all_owed(core) == {run_id}


async def test_a_ring_of_before_a_hold_and_a_retry_does_not_stand_for_the_retry(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    [first] = core.rung
    await worker.fail(await worker.grant(run_id))
    await _forget(core, first)
    assert await all_owed(core) == {run_id}


async def test_the_sweep_takes_what_is_due_once_and_pushes_it_forward(core: Core) -> None:
    due = [await core.enqueue() for _ in range(3)]
    late = await core.enqueue(delay=HOUR)
    assert await take_due(core) == []  # memory has two seconds to ring first
    await core.pass_time(2 * SECOND)
    taken = await take_due(core)
    assert {ring.run_id for ring in taken} == set(due)
    assert await take_due(core) == []
    for run_id in due:
        assert await ring_in(core, run_id) == pytest.approx(10, abs=0.5)
    await core.pass_time(10 * SECOND)
    assert {ring.run_id for ring in await take_due(core)} == set(due)
    await _forget(core, *taken)
    assert await all_owed(core) == {late}


async def test_a_ring_that_the_sweep_takes_is_the_one_that_was_owed(core: Core) -> None:
    await core.enqueue()
    await core.pass_time(2 * SECOND)
    [taken] = await take_due(core)
    [told] = core.rung
    assert taken._replace(deliver_at=told.deliver_at) == told


async def test_the_sweep_takes_the_longest_due_first_and_no_more_than_it_is_told_to(core: Core) -> None:
    runs = []
    for _ in range(5):
        runs.append(await core.enqueue())
        await core.pass_time(SECOND)
    await core.pass_time(2 * SECOND)
    taken = [[ring.run_id for ring in await take_due(core, 2)] for _ in range(3)]
    assert [set(batch) for batch in taken] == [set(runs[:2]), set(runs[2:4]), set(runs[4:])]


async def test_each_consumer_is_swept_for_itself_high_priority_first(core: Core) -> None:
    await core.register("elsewhere", queue="other")
    runs = {priority: await core.enqueue(priority=priority) for priority in (3, 1, 2)}
    await core.enqueue("elsewhere", priority=1)
    parked = await core.enqueue(delay=HOUR)
    await core.pass_time(2 * SECOND)
    queues = {name: queue_id for queue_id, name in await core.fetch("select queue_id, name from queues")}
    default, other = queues["default"], queues["other"]
    consumers = await core.database.read(outbox.consumers_with_due)
    assert consumers == sorted([(default, 1), (default, 2), (default, 3), (other, 1)], key=lambda pair: pair[::-1])
    for priority, run_id in runs.items():
        assert [ring.run_id for ring in await take_due(core, queue_id=default, priority=priority)] == [run_id]
    assert await core.database.read(outbox.consumers_with_due) == [(other, 1)]
    assert parked in await all_owed(core)


async def test_a_sweep_passes_by_what_another_one_holds(core: Core) -> None:
    runs = set(await core.enqueue_many(10))
    await core.pass_time(2 * SECOND)
    async with core.database.connection() as connection, connection.transaction():
        held = await outbox.take_due(connection, 1, 2, limit=4, push_forward=10 * SECOND)
        rest = await asyncio.wait_for(take_due(core), 5)
    assert len(held) == 4
    assert {ring.run_id for ring in held} | {ring.run_id for ring in rest} == runs
    assert len(rest) == 6


async def test_many_sweeps_at_once_over_two_servers_take_every_ring_once(core: Core, database_url: str) -> None:
    runs = set(await core.enqueue_many(2_000))
    await core.pass_time(2 * SECOND)
    async with open_core(database_url) as other:

        async def sweep(server: Core) -> list[Ring]:
            taken: list[Ring] = []
            while batch := await take_due(server, 97):
                taken += batch
            return taken

        swept = await asyncio.gather(*[sweep(server) for server in (core, other) for _ in range(3)])
    # A sweep that saw only rows that others held has stopped early; nothing is lost by that.
    taken = [ring.run_id for batch in [*swept, await take_due(core, 2_000)] for ring in batch]
    assert len(taken) == 2_000
    assert set(taken) == runs


async def test_a_sweep_that_dies_before_its_commit_has_taken_nothing(core: Core) -> None:
    run_id = await core.enqueue()
    await core.pass_time(2 * SECOND)
    async with core.database.connection() as connection:
        dying = connection.transaction()
        await dying.start()
        await outbox.take_due(connection, 1, 2, limit=10, push_forward=10 * SECOND)
        await dying.rollback()
    assert [ring.run_id for ring in await take_due(core)] == [run_id]


@pytest.mark.parametrize("status", ["queued", "scheduled", "retrying", "parked"])
async def test_a_cancel_deletes_what_is_owed(core: Core, worker: Worker, status: str) -> None:
    """Promises 6 and 8."""
    run_id = await core.enqueue(delay=HOUR if status == "scheduled" else timedelta(0))
    if status == "retrying":
        await worker.fail(await worker.grant(run_id))
    if status == "parked":
        await core.pause()
        assert await worker.start(run_id) is Hold.PAUSED
    await core.cancel(run_id)
    assert await all_owed(core) == set()
    assert (await core.look(run_id)).status == "canceled"


@pytest.mark.parametrize("way", ["retry", "interrupted", "replay"])
async def test_whatever_waits_again_is_owed_again(core: Core, worker: Worker, way: str) -> None:
    """Promise 1."""
    run_id = await core.enqueue()
    grant = await worker.grant(run_id)
    async with core.database.connection() as connection:
        await connection.execute("delete from outbox")
    if way == "retry":
        await worker.fail(grant)
    elif way == "interrupted":
        await worker.report(grant, Interrupted(), AttemptStatus.INTERRUPTED)
    else:
        await worker.succeed(grant)
        run_id = await core.replay(run_id)
    assert await all_owed(core) == {run_id}
    assert core.rung[-1].run_id == run_id
