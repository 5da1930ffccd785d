"""The reconciler ends what nobody else will, once, however many of them turn at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import ValidationError

from layeron_job.ids import new_uuid7
from layeron_job_server.app import App
from layeron_job_server.domain.retry import RetryPolicy
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import CancelConfirmed
from layeron_job_server.loops import reconciler
from layeron_job_server.operations.endings import Verdict
from layeron_job_server.settings import Settings
from layeron_job_server.store import maintenance, sessions
from support import eventually
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


@pytest.fixture(params=["an outage", "a start"])
async def spare(request: pytest.FixtureRequest, core: Core) -> Callable[[], Awaitable[None]]:
    """A turn of the reconciler after workers could not report: the database was away, or this server."""

    async def spare() -> None:
        outage = request.param == "an outage"
        if outage:
            await core.pass_outage(LEASE)
        await reconciler.reconcile_once(core.system, starting=not outage)

    return spare


async def test_an_overrun_is_told_by_its_worker_within_a_lease_of_an_outage(
    core: Core, worker: Worker, spare: Callable[[], Awaitable[None]]
) -> None:
    """Promise 4: what a worker could not report is not held against it."""
    grant = await worker.grant(await core.enqueue())
    await core.pass_time(BEGIN_WITHIN + TIMEOUT + GRACE)
    await spare()
    await core.pass_time(LEASE - SECOND)
    await reconciler.reconcile_once(core.system)
    assert (await core.look(grant.run_id)).status == "running"
    await core.pass_time(SECOND)
    await reconciler.reconcile_once(core.system)
    assert await core.ended_attempts(grant.run_id) == [(1, "timed_out")]


async def test_a_cancel_may_be_heeded_within_a_lease_of_an_outage(
    core: Core, worker: Worker, spare: Callable[[], Awaitable[None]]
) -> None:
    grant = await worker.grant(await core.enqueue(timeout_ms=3_600_000))
    await core.cancel(grant.run_id)
    await core.pass_time(CANCEL_GRACE)
    await spare()
    await core.pass_time(LEASE - SECOND)
    await reconciler.reconcile_once(core.system)
    assert (await core.look(grant.run_id)).status == "running"
    await core.pass_time(SECOND)
    await reconciler.reconcile_once(core.system)
    assert await core.last_reason(grant.run_id) == "CANCEL_IGNORED"


async def test_the_start_of_one_server_gives_no_session_another_lease(core: Core, worker: Worker) -> None:
    """A server that starts again and again keeps no lost worker alive."""
    await reconciler.reconcile_once(core.system)
    await core.pass_silent_time(LEASE)
    await reconciler.reconcile_once(core.system, starting=True)
    assert not await worker.beat()


async def test_a_server_tells_the_others_of_its_start(
    core: Core, database_url: str, nats_url: str, stream_prefix: str
) -> None:
    """Its workers have to find another one first."""
    await core.pass_time(timedelta(hours=1))
    settings = Settings(
        database_url=database_url, nats_url=nats_url, nats_prefix=stream_prefix, grpc_address="127.0.0.1:0"
    )
    async with App(settings):
        await eventually(lambda: core.value("select now() - spared_at < interval '1 minute' from reconciler_turn"))


def test_a_cancel_grace_shorter_than_a_lease_is_refused() -> None:
    """A worker that could not be told for a lease has not ignored anything."""
    assert Settings(lease_ms=9_000, cancel_grace_ms=9_000).cancel_grace_ms == 9_000
    with pytest.raises(ValidationError, match=r"cancel_grace_ms\n.*must be at least lease_ms, which is 9000"):
        Settings(lease_ms=9_000, cancel_grace_ms=8_999)


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


async def _poison(core: Core, *run_ids: UUID) -> None:
    """Make these runs unreadable: with a policy that none of the server's code has written."""
    async with core.database.connection() as connection:
        await connection.execute("update runs set retry = '{}' where run_id = any($1)", list(run_ids))


@pytest.mark.parametrize("sweep", ["lost", "overrunning", "ignoring a cancel", "past start_by"])
async def test_a_run_that_cannot_be_ended_keeps_no_other_from_its_end(
    core: Core, worker: Worker, sweep: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do more of them than a slice has room for."""
    monkeypatch.setattr(reconciler, "_SLICE", 3)
    start_by = await core.value("select now() + interval '1 hour'")
    runs = [await core.enqueue(start_by=start_by if sweep == "past start_by" else None) for _ in range(12)]
    if sweep != "past start_by":
        await core.attempts.start.submit([worker.ask(run_id) for run_id in runs])
    if sweep == "ignoring a cancel":
        for run_id in runs:
            await core.cancel(run_id)
    await (core.pass_silent_time if sweep == "lost" else core.pass_time)(timedelta(hours=1))
    bad = {runs[0], runs[1], runs[2], runs[5]}
    await _poison(core, *bad)
    turn = {
        "lost": reconciler.end_lost_once,
        "overrunning": reconciler.end_overrunning_once,
        "ignoring a cancel": reconciler.end_ignored_cancels_once,
        "past start_by": reconciler.end_past_start_by_once,
    }[sweep]
    assert await turn(core.system) == 8
    left = await core.fetch("select run_id from open_runs where status = any($1)", ["running", "queued"])
    assert {row[0] for row in left} == bad
    assert caplog.text.count("cannot be ended: KeyError") == 4


async def test_a_step_that_fails_keeps_no_other_from_its_turn(
    core: Core, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Here because one row makes the question fail for all."""
    endless, canceled = await worker.grant(await core.enqueue()), await worker.grant(await core.enqueue())
    late = await core.enqueue(start_by=await core.value("select now() + interval '1 hour'"))
    await core.cancel(canceled.run_id)
    async with core.database.connection() as connection:
        await connection.execute("update open_runs set timeout_ms = $2 where run_id = $1", endless.run_id, 2**62)
    await core.pass_time(timedelta(hours=1))
    await reconciler.reconcile_once(core.system)
    assert "end_overrunning_once failed" in caplog.text
    assert await core.last_reason(canceled.run_id) == "CANCEL_IGNORED"
    assert await core.last_reason(late) == "START_DEADLINE_EXCEEDED"


async def test_one_server_at_a_time_repairs_and_another_once_it_is_gone(core: Core) -> None:
    term = timedelta(seconds=10)
    first, second = new_uuid7(), new_uuid7()

    async def claim(server_id: UUID) -> bool:
        return await core.database.write(lambda c: maintenance.claim_repairs(c, server_id, term=term))

    assert sorted(await asyncio.gather(*[claim(server) for server in (first, second)])) == [False, True]
    holder, other = (first, second) if await claim(first) else (second, first)
    await core.pass_time(term - SECOND)
    assert await claim(holder)
    await core.pass_time(term - SECOND)
    assert not await claim(other)
    await core.pass_time(SECOND)
    assert [await claim(other), await claim(holder)] == [True, False]
