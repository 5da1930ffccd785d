"""A run that may not start now is put back, keeps its own time, and is let go when nothing holds it any more."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from layeron_job_server.domain.transitions import CancelRequested, advance
from layeron_job_server.operations.starts import Hold
from layeron_job_server.operations.tasks import release_resumed
from layeron_job_server.store import endings, outbox
from layeron_job_server.store.attempts import Change, Ending, Grant
from support.core import Core, Worker
from support.owed import all_owed, ring_in, take_due

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
LOOK_AHEAD = timedelta(seconds=10)


async def test_a_hold_meets_a_pause_or_a_resume_and_never_falls_between_the_two(core: Core, worker: Worker) -> None:
    """A start that is being held waits for the resume that is under way, and then sees that it is not paused."""
    run_id = await core.enqueue()
    await core.pause()
    async with core.database.connection() as connection:
        resuming = connection.transaction()
        await resuming.start()
        await connection.execute("update tasks set paused_at = null, pause_reason = null")
        starting = asyncio.create_task(worker.start(run_id))
        await core.until_blocked()
        await resuming.commit()
    assert await starting is Hold.PAUSED  # as it was asked; but it is not parked
    owed = await core.owed(run_id)
    assert owed is not None
    assert owed["held"] is None
    assert await ring_in(core, run_id) == pytest.approx(2, abs=0.5)
    assert isinstance(await worker.start(run_id), Grant)


async def test_a_run_that_runs_or_has_ended_is_not_held(core: Core, worker: Worker) -> None:
    running, ended = await core.enqueue(), await core.enqueue()
    await worker.grant(running)
    await worker.succeed(await worker.grant(ended))
    async with core.database.connection() as connection:
        await connection.execute("delete from outbox")
    held = [(run_id, 1, no_handler) for run_id, no_handler in ((running, False), (ended, True), (uuid4(), False))]
    assert await core.database.write(lambda c: outbox.hold(c, held, look_ahead=LOOK_AHEAD)) == []
    assert await all_owed(core) == set()


async def test_a_hold_that_meets_the_cancel_of_its_run_leaves_nothing_behind(core: Core, worker: Worker) -> None:
    """Promise 8: not even a row that is parked forever."""
    run_id = await core.enqueue()
    await core.pause()
    async with core.database.connection() as connection:
        canceling = connection.transaction()
        await canceling.start()
        [before] = (await endings.lock(connection, [run_id])).values()
        step = advance(before.run, CancelRequested(), now=before.run.due_at, chance=0.0)
        await endings.save(connection, [Change(before, step, Ending())])
        starting = asyncio.create_task(worker.start(run_id))
        await core.until_blocked()
        await canceling.commit()
    await starting
    assert await core.owed(run_id) is None


async def test_only_what_is_parked_for_a_task_that_is_not_paused_is_released(core: Core) -> None:
    await core.register("other")
    worker = await core.worker("work", "other")
    unable = await core.worker("other")
    mine, theirs, unhandled = await core.enqueue(), await core.enqueue("other"), await core.enqueue()
    assert await unable.start(unhandled) is Hold.NO_HANDLER
    await core.pause("work")
    await core.pause("other")
    assert [await worker.start(run_id) for run_id in (mine, theirs)] == [Hold.PAUSED, Hold.PAUSED]
    await core.resume("work")
    assert await release_resumed(core.system) == 1
    assert dict(await core.fetch("select run_id, held from outbox")) == {
        mine: None,
        theirs: "paused",
        unhandled: "no_handler",
    }
    await core.pass_time(HOUR)
    assert {ring.run_id for ring in await take_due(core)} == {mine, unhandled}


async def test_a_run_that_only_the_wrong_worker_heard_of_is_rung_again_after_a_second(core: Core) -> None:
    """While workers of two builds share a queue, the old ones must not keep new tasks waiting."""
    await core.register("other")
    able, unable = await core.worker("work"), await core.worker("other")
    run_id = await core.enqueue()
    await core.pass_time(HOUR)
    assert await unable.start(run_id) is Hold.NO_HANDLER
    assert await ring_in(core, run_id) == pytest.approx(1, abs=0.5)
    await able.say_goodbye()
    assert await unable.start(run_id) is Hold.NO_HANDLER
    assert await ring_in(core, run_id) == pytest.approx(60, abs=0.5)


async def test_pause_and_resume_with_ten_thousand_waiting_runs_lose_nobody(core: Core, worker: Worker) -> None:
    runs = await core.enqueue_many(10_000)
    await core.pause()
    held = await core.attempts.start.submit([worker.ask(run_id) for run_id in runs])
    assert set(held) == {Hold.PAUSED}
    await core.pass_time(HOUR)
    assert await take_due(core, 20_000) == []  # what is parked costs the sweep nothing
    await core.resume()
    assert [await release_resumed(core.system) for _ in range(3)] == [5_000, 5_000, 0]
    assert {ring.run_id for ring in await take_due(core, 20_000)} == set(runs)
    assert await core.value("select count(*) from outbox where held is not null") == 0
