"""The reconciler ends what nobody else will, once, however many of them turn at the same time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from layeron_job_server.domain.retry import RetryPolicy
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import CancelConfirmed
from layeron_job_server.loops import reconciler
from layeron_job_server.operations.attempts import Verdict
from layeron_job_server.store import sessions
from support.core import Core, Worker, open_core

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
LEASE = 15 * SECOND
BEGIN_WITHIN, TIMEOUT, GRACE = 2 * SECOND, 60 * SECOND, 5 * SECOND
CANCEL_GRACE = 30 * SECOND


async def _grants(core: Core, worker: Worker, number: int) -> None:
    runs = await core.enqueue_many(number)
    await core.attempts.start.submit([worker.ask(run_id) for run_id in runs])


async def test_a_worker_that_is_not_heard_of_for_a_lease_loses_its_attempts(core: Core, worker: Worker) -> None:
    other = await core.worker()
    lost, kept = await worker.grant(await core.enqueue()), await other.grant(await core.enqueue())
    await core.pass_silent_time(LEASE - SECOND)
    assert await reconciler.end_lost_once(core.system) == 0
    assert await other.beat()
    await core.pass_silent_time(SECOND)
    core.rung.clear()
    assert await reconciler.end_lost_once(core.system) == 1
    seen = await core.look(lost.run_id)
    assert (seen.status, seen.attempt, seen.counted) == ("retrying", 1, 1)
    assert (await core.look(kept.run_id)).status == "running"
    assert await core.fetch("select status, error_type, worker_build from attempts") == [("lost", "Lost", "build-1")]
    assert not await worker.beat()


async def test_what_was_lost_is_due_at_once(core: Core, worker: Worker) -> None:
    """Whatever the policy's waits are: it is not the task's fault."""
    await core.register("slow", retry=RetryPolicy(2))
    doomed = await core.worker("slow")
    run_id = await core.enqueue("slow")
    stale = await doomed.grant(run_id)
    await core.pass_silent_time(LEASE)
    core.rung.clear()
    await reconciler.end_lost_once(core.system)
    assert [ring.run_id for ring in core.rung] == [run_id]
    grant = await (await core.worker("slow")).grant(run_id)
    assert (grant.attempt, grant.counted) == (2, 1)
    assert await doomed.succeed(stale) is Verdict.SUPERSEDED


async def test_a_loss_counts_against_the_policy(core: Core) -> None:
    """Promise 4: a run that kills its workers ends."""
    await core.register("deadly", retry=RetryPolicy(2))
    run_id = await core.enqueue("deadly")
    for _ in range(2):
        await (await core.worker("deadly")).grant(run_id)
        await core.pass_silent_time(LEASE)
        await reconciler.end_lost_once(core.system)
    assert (await core.look(run_id)).status == "dead_lettered"
    assert await core.last_reason(run_id) == "ATTEMPTS_EXHAUSTED"


@pytest.mark.parametrize("reason", ["goodbye", "lease_expired"])
async def test_attempts_that_a_crash_left_with_an_ended_session_are_ended_by_the_next_turn(
    core: Core, worker: Worker, reason: str
) -> None:
    run_id = await core.enqueue()
    await worker.grant(run_id)
    async with core.database.connection() as connection:
        await connection.execute("update worker_sessions set ended_at = now(), end_reason = $1", reason)
    assert await reconciler.end_lost_once(core.system) == 1
    outcome = "interrupted" if reason == "goodbye" else "lost"
    assert await core.ended_attempts(run_id) == [(1, outcome)]
    assert (await core.look(run_id)).counted == (0 if reason == "goodbye" else 1)


async def test_one_turn_ends_all_attempts_of_a_lost_worker_however_many(core: Core, worker: Worker) -> None:
    await _grants(core, worker, 1_100)
    await core.pass_silent_time(LEASE)
    assert await reconciler.end_lost_once(core.system) == 1_100
    assert await core.value("select count(*) from open_runs where status = 'running'") == 0


async def test_reconcilers_of_two_servers_at_once_end_each_attempt_once(
    core: Core, worker: Worker, database_url: str
) -> None:
    """Promises 2 and 4."""
    await _grants(core, worker, 600)
    await core.pass_silent_time(LEASE)
    async with open_core(database_url) as other:
        await asyncio.gather(*[reconciler.end_lost_once(server.system) for server in (core, other) for _ in range(3)])
    await reconciler.end_lost_once(core.system)
    assert await core.value("select count(*) from attempts where status = 'lost'") == 600
    assert await core.value("select count(*) from transitions where seq = 2") == 600
    assert await core.value("select count(*) from transitions where seq > 2") == 0
    assert await core.value("select count(*) from open_runs where status = 'retrying' and counted = 1") == 600


async def test_a_loss_and_a_success_at_once_end_each_attempt_once(core: Core, worker: Worker) -> None:
    """Promise 2."""
    runs = await core.enqueue_many(200)
    grants = [await worker.grant(run_id) for run_id in runs]
    await core.pass_silent_time(LEASE)
    _, *verdicts = await asyncio.gather(
        reconciler.end_lost_once(core.system), *[worker.succeed(grant) for grant in grants]
    )
    await reconciler.end_lost_once(core.system)
    succeeded = await core.value("select count(*) from ended_runs")
    assert verdicts.count(Verdict.RECORDED) == succeeded
    assert await core.value("select count(*) from open_runs where status = 'retrying'") == 200 - succeeded
    assert await core.value("select count(*) from attempts") == 200


@pytest.mark.parametrize(("begun", "ends_after"), [(True, TIMEOUT + GRACE), (False, BEGIN_WITHIN + TIMEOUT + GRACE)])
async def test_an_attempt_past_its_timeout_and_grace_is_timed_out_by_the_server(
    core: Core, worker: Worker, begun: bool, ends_after: timedelta
) -> None:
    """From its begin; from its grant and the time it had to begin, if nobody told of it."""
    grant = await worker.grant(await core.enqueue())
    if begun:
        await core.sessions.begun.submit_one((worker.fence(grant), 0))
    await core.pass_time(ends_after - SECOND)
    assert await reconciler.end_overrunning_once(core.system) == 0
    await core.pass_time(SECOND)
    assert await reconciler.end_overrunning_once(core.system) == 1
    assert await core.ended_attempts(grant.run_id) == [(1, "timed_out")]
    seen = await core.look(grant.run_id)
    assert (seen.status, seen.counted) == ("retrying", 1)
    assert await core.last_reason(grant.run_id) == "ATTEMPT_TIMED_OUT"
    assert await worker.succeed(grant) is Verdict.SUPERSEDED


async def test_a_cancel_that_is_ignored_past_the_grace_fences_the_attempt_off(core: Core, worker: Worker) -> None:
    """Promise 6: the run ends canceled, and its handler's late word changes nothing."""
    ignored, heeded = await worker.grant(await core.enqueue()), await worker.grant(await core.enqueue())
    for grant in (ignored, heeded):
        await core.cancel(grant.run_id)
    await core.pass_time(CANCEL_GRACE - SECOND)
    assert await reconciler.end_ignored_cancels_once(core.system) == 0
    await worker.report(heeded, CancelConfirmed(), AttemptStatus.CANCELED)
    await core.pass_time(SECOND)
    assert await reconciler.end_ignored_cancels_once(core.system) == 1
    assert (await core.look(ignored.run_id)).status == "canceled"
    assert await core.ended_attempts(ignored.run_id) == [(1, "canceled")]
    last = await core.fetch("select reason, note, actor from transitions where run_id = $1 and seq = 2", ignored.run_id)
    assert last == [("CANCEL_IGNORED", "enough", "user")]
    assert await worker.succeed(ignored) is Verdict.SUPERSEDED
    assert await core.last_reason(heeded.run_id) == "CANCEL_REQUESTED"
    assert await core.value("select count(*) from cancel_requests") == 0


async def test_a_lost_worker_that_was_to_cancel_leaves_its_run_canceled(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue())
    await core.cancel(grant.run_id)
    await core.pass_silent_time(LEASE)
    await reconciler.end_lost_once(core.system)
    assert (await core.look(grant.run_id)).status == "canceled"
    assert await core.ended_attempts(grant.run_id) == [(1, "lost")]


async def test_after_an_outage_of_the_database_every_session_gets_one_lease_more(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue())
    await reconciler.reconcile_once(core.system)
    await core.pass_outage(2 * LEASE)
    await reconciler.reconcile_once(core.system)
    assert (await core.look(grant.run_id)).status == "running"
    await core.pass_silent_time(LEASE - SECOND)
    await reconciler.reconcile_once(core.system)
    assert (await core.look(grant.run_id)).status == "running"
    await core.pass_silent_time(SECOND)
    await reconciler.reconcile_once(core.system)
    assert (await core.look(grant.run_id)).status == "retrying"


async def test_one_lease_more_is_given_once_however_many_servers_come_back(core: Core, worker: Worker) -> None:
    await core.pass_outage(10 * LEASE)
    async with core.database.connection() as connection, connection.transaction():
        await connection.execute("select from reconciler_turn for update")
        turns = [
            asyncio.create_task(core.database.write(lambda c: sessions.begin_turn(c, lease=LEASE, gap=LEASE / 3)))
            for _ in range(5)
        ]
        await core.until_blocked(5)
    assert sorted([await turn for turn in turns]) == [False] * 4 + [True]


async def test_turns_that_follow_each_other_give_no_lease(core: Core, worker: Worker) -> None:
    await reconciler.reconcile_once(core.system)
    for _ in range(6):
        await core.pass_outage(LEASE / 3 - 2 * SECOND)
        assert not await core.database.write(lambda c: sessions.begin_turn(c, lease=LEASE, gap=LEASE / 3))
    assert await core.database.write(lambda c: sessions.expire(c, limit=10)) == [worker.session_id]


async def test_an_outage_revives_no_session_that_has_ended(core: Core, worker: Worker) -> None:
    await worker.say_goodbye()
    await core.pass_outage(10 * LEASE)
    await reconciler.reconcile_once(core.system)
    assert not await worker.beat()
    assert await core.value("select end_reason from worker_sessions") == "goodbye"


async def test_a_run_that_was_to_start_by_now_is_dead_lettered_by_any_number_of_reconcilers_once(
    core: Core, worker: Worker, database_url: str
) -> None:
    start_by = await core.value("select now() + interval '1 hour'")
    late = [await core.enqueue(start_by=start_by) for _ in range(20)]
    started = await core.enqueue(start_by=start_by)
    await worker.grant(started)
    later = await core.enqueue(start_by=start_by + DAY)
    assert await reconciler.end_past_start_by_once(core.system) == 0
    await core.pass_time(timedelta(hours=1))
    async with open_core(database_url) as other:
        await asyncio.gather(*[reconciler.end_past_start_by_once(server.system) for server in (core, other, core)])
    for run_id in late:
        assert await core.history(run_id) == [
            (0, "queued", "ENQUEUED"),
            (1, "dead_lettered", "START_DEADLINE_EXCEEDED"),
        ]
    assert (await core.look(started)).status == "running"
    assert (await core.look(later)).status == "queued"
    assert await core.fetch("select run_id from outbox where run_id = any($1)", late) == []


async def test_a_turn_of_a_quiet_system_changes_nothing(core: Core, worker: Worker) -> None:
    running = await worker.grant(await core.enqueue())
    runs = [running.run_id, await core.enqueue(), await core.enqueue(delay=DAY)]
    before = [await core.everything(run_id) for run_id in runs]
    core.rung.clear()
    for _ in range(2):
        await reconciler.reconcile_once(core.system)
        await reconciler.tidy_once(core.system)
    assert [await core.everything(run_id) for run_id in runs] == before
    assert core.rung == []
