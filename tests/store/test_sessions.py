"""Worker sessions: they live by their lease, come back with a new epoch, and give back what they do not know of."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from layeron_job_server.domain.errors import TaskNotRegistered
from layeron_job_server.loops import reconciler
from layeron_job_server.operations.endings import Verdict
from layeron_job_server.operations.starts import SessionOver
from layeron_job_server.store import open_attempts, starts
from layeron_job_server.store.attempts import Grant
from support.core import Core, Worker, open_core

SECOND = timedelta(seconds=1)


async def _lease_seconds(core: Core, worker: Worker) -> float:
    left = "select extract(epoch from lease_expires_at - now()) from worker_sessions where session_id = $1"
    return float(await core.value(left, worker.session_id))


async def test_a_new_session_begins_with_epoch_one_and_a_whole_lease(core: Core) -> None:
    await core.register("other")
    worker = await core.worker("work", "other")
    assert worker.epoch == 1
    assert await _lease_seconds(core, worker) == pytest.approx(15, abs=1)
    tasks = "select array(select name from tasks where task_id = any(task_ids) order by name) from worker_sessions"
    assert await core.value(tasks) == ["other", "work"]


async def test_a_worker_of_a_task_that_nobody_registered_gets_no_session(core: Core) -> None:
    with pytest.raises(TaskNotRegistered):
        await core.worker("work", "nobody")
    with pytest.raises(TaskNotRegistered):
        await core.worker(namespace="nowhere")
    assert await core.value("select count(*) from worker_sessions") == 0


async def test_a_heartbeat_gives_a_whole_lease_to_its_own_session_alone(core: Core, worker: Worker) -> None:
    other = await core.worker()
    await core.pass_silent_time(10 * SECOND)
    assert await worker.beat()
    assert await _lease_seconds(core, worker) == pytest.approx(15, abs=1)
    assert await _lease_seconds(core, other) == pytest.approx(5, abs=1)


async def test_heartbeats_of_one_batch_are_answered_each_for_itself(core: Core, worker: Worker) -> None:
    gone, moved_on = await core.worker(), await core.worker()
    await gone.say_goodbye()
    before = (moved_on.session_id, moved_on.epoch)
    await moved_on.resume()
    beats = [(one.session_id, one.epoch) for one in (worker, gone, moved_on)] + [(uuid4(), 1)]
    assert await core.sessions.heartbeat.submit(beats) == [True, False, True, False]
    assert await core.sessions.heartbeat.submit([before]) == [False]


async def test_a_heartbeat_revives_a_lapsed_lease_that_nobody_has_ended_yet(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue())
    await core.pass_silent_time(20 * SECOND)
    assert await worker.beat()
    assert await reconciler.end_lost_once(core.system) == 0
    assert await worker.succeed(grant) is Verdict.RECORDED


async def test_a_session_that_comes_back_goes_on_with_a_new_epoch_and_what_it_has(core: Core, worker: Worker) -> None:
    kept, other = await worker.grant(await core.enqueue()), await worker.grant(await core.enqueue())
    await core.pass_silent_time(10 * SECOND)
    connected = await worker.resume(has=[kept, other])
    assert (connected.resumed, connected.epoch, connected.superseded) == (True, 2, [])
    assert await _lease_seconds(core, worker) == pytest.approx(15, abs=1)
    assert await worker.succeed(kept) is Verdict.RECORDED
    assert await worker.fail(other) is Verdict.RECORDED


async def test_what_a_session_comes_back_without_is_given_back_at_no_cost(core: Core, worker: Worker) -> None:
    kept, forgotten = await worker.grant(await core.enqueue()), await worker.grant(await core.enqueue())
    await worker.resume(has=[kept])
    seen = await core.look(forgotten.run_id)
    assert (seen.status, seen.attempt, seen.counted) == ("queued", 1, 0)
    assert await core.ended_attempts(forgotten.run_id) == [(1, "interrupted")]
    assert await core.owed(forgotten.run_id) is not None
    assert (await core.look(kept.run_id)).status == "running"
    assert await worker.succeed(forgotten) is Verdict.SUPERSEDED


async def test_a_start_whose_answer_was_lost_keeps_its_attempt_and_is_answered_again(
    core: Core, worker: Worker
) -> None:
    run_id = await core.enqueue()
    grant = await worker.grant(run_id, start_id=41)
    await worker.resume(unanswered={41})
    assert await worker.start(run_id, start_id=41) == grant


async def test_what_was_taken_from_a_session_meanwhile_is_named_to_it(core: Core, worker: Worker) -> None:
    ended, kept = await worker.grant(await core.enqueue()), await worker.grant(await core.enqueue())
    await worker.succeed(ended)
    never = Grant(uuid4(), 1, *([None] * 12))  # type: ignore[arg-type] # only its run and attempt are looked at
    connected = await worker.resume(has=[ended, kept, never])
    assert connected.superseded == [(ended.run_id, 1), (never.run_id, 1)]


@pytest.mark.parametrize("end", ["goodbye", "lease"])
async def test_an_ended_session_cannot_come_back_and_is_told_to_drop_what_it_has(
    core: Core, worker: Worker, end: str
) -> None:
    grant = await worker.grant(await core.enqueue())
    if end == "goodbye":
        await worker.say_goodbye()
    else:
        await core.pass_silent_time(core.system.settings.lease)
        await reconciler.end_lost_once(core.system)
    connected = await worker.resume(has=[grant])
    assert not connected.resumed
    assert connected.epoch == 1
    assert connected.session_id != worker.session_id
    assert connected.superseded == [(grant.run_id, grant.attempt)]
    assert await worker.succeed(grant) is Verdict.SUPERSEDED


async def test_a_session_of_another_namespace_cannot_be_taken_over(core: Core, worker: Worker) -> None:
    """Promise 10."""
    await core.register(namespace="theirs")
    grant = await worker.grant(await core.enqueue())
    thief = Worker(core, worker.session_id, 1, ("work",), "theirs")
    assert not (await thief.resume(has=[grant])).resumed
    assert (await core.look(grant.run_id)).status == "running"
    assert await worker.beat()


async def test_a_session_comes_back_with_the_tasks_it_has_by_now(core: Core, worker: Worker) -> None:
    await core.register("other")
    worker.tasks = ("other",)
    await worker.resume()
    assert isinstance(await worker.start(await core.enqueue("other")), Grant)
    assert not isinstance(await worker.start(await core.enqueue("work")), Grant)


async def test_a_start_that_is_being_granted_is_waited_for_by_the_session_that_comes_back(
    core: Core, worker: Worker
) -> None:
    """So that no attempt is opened for an epoch that is over without anybody noticing."""
    run_id = await core.enqueue()
    async with core.database.connection() as connection:
        granting = connection.transaction()
        await granting.start()
        assert run_id in await starts.start(connection, [worker.ask(run_id)])
        resuming = asyncio.create_task(worker.resume())
        await core.until_blocked()
        await granting.commit()
    await resuming
    assert worker.epoch == 2
    assert await core.ended_attempts(run_id) == [(1, "interrupted")]


async def test_a_start_waits_for_a_session_that_is_coming_back_and_is_then_too_old(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    async with core.database.connection() as connection:
        resuming = connection.transaction()
        await resuming.start()
        await connection.execute("select from worker_sessions for update")
        await connection.execute("update worker_sessions set epoch = epoch + 1")
        starting = asyncio.create_task(worker.start(run_id))
        await core.until_blocked()
        await resuming.commit()
    assert await starting is SessionOver.SESSION_OVER
    assert (await core.look(run_id)).status == "queued"


async def test_a_session_that_comes_back_over_two_servers_at_once_has_one_last_epoch(
    core: Core, worker: Worker, database_url: str
) -> None:
    async with open_core(database_url) as other:
        elsewhere = Worker(other, worker.session_id, worker.epoch, worker.tasks, worker.namespace)
        connected = await asyncio.gather(*[one.resume() for one in (worker, elsewhere) for _ in range(5)])
    assert sorted(one.epoch for one in connected) == list(range(2, 12))


async def test_a_goodbye_gives_everything_back_at_once_and_at_no_cost(core: Core, worker: Worker) -> None:
    other = await core.worker()
    mine, theirs = await worker.grant(await core.enqueue()), await other.grant(await core.enqueue())
    await worker.say_goodbye()
    seen = await core.look(mine.run_id)
    assert (seen.status, seen.counted) == ("queued", 0)
    assert (await core.look(theirs.run_id)).status == "running"
    assert (await other.grant(mine.run_id)).attempt == 2
    before = await core.everything(mine.run_id)
    await worker.say_goodbye()
    assert await core.everything(mine.run_id) == before
    assert not await worker.beat()


async def test_a_goodbye_of_an_older_epoch_ends_nothing(core: Core, worker: Worker) -> None:
    """It came over a stream that the worker has left."""
    grant = await worker.grant(await core.enqueue())
    before = Worker(core, worker.session_id, worker.epoch, worker.tasks, worker.namespace)
    await worker.resume(has=[grant])
    await before.say_goodbye()
    assert await worker.beat()
    assert (await core.look(grant.run_id)).status == "running"


async def test_the_begin_of_a_handler_is_noted_once_and_never_before_its_grant(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue())
    fence = worker.fence(grant)
    begun = "select extract(epoch from begun_at - granted_at) from open_runs"
    await core.pass_time(10 * SECOND)
    await core.sessions.begun.submit_one((fence, 4_000))
    assert float(await core.value(begun)) == pytest.approx(6, abs=0.5)
    await core.sessions.begun.submit_one((fence, 1_000))
    assert float(await core.value(begun)) == pytest.approx(6, abs=0.5)
    early = await worker.grant(await core.enqueue())
    await core.sessions.begun.submit_one((worker.fence(early), 999_000))
    assert await core.value(f"{begun} where run_id = $1", early.run_id) == 0


async def test_the_begin_of_somebody_elses_attempt_is_not_noted(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue())
    other = await core.worker()
    await core.database.write(lambda c: open_attempts.mark_begun(c, [(other.fence(grant), 1)]))
    assert await core.value("select begun_at from open_runs") is None


async def test_only_the_sessions_asked_for_hear_of_cancels(core: Core, worker: Worker) -> None:
    other = await core.worker()
    mine, theirs = await worker.grant(await core.enqueue()), await other.grant(await core.enqueue())
    for run_id in (mine.run_id, theirs.run_id):
        await core.cancel(run_id)
    orders = await core.database.read(lambda c: open_attempts.cancel_orders(c, [worker.session_id]))
    assert orders == [worker.fence(mine)]
    await worker.fail(mine)
    assert await core.database.read(lambda c: open_attempts.cancel_orders(c, [worker.session_id])) == []
