"""A start is granted when everything allows it, once, and otherwise gets a definite answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest

from layeron_job_server.loops import reconciler
from layeron_job_server.operations.starts import Hold, Refusal, SessionOver
from layeron_job_server.operations.tasks import release_resumed
from layeron_job_server.store.attempts import Grant, StartAsk
from support.core import Core, Worker, open_core

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


async def test_a_grant_carries_what_the_handler_needs_and_opens_attempt_one(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue(
        payload=b'{"to": "ann"}', labels={"team": "a"}, trace_context={"traceparent": "00-1"}, name="Mail", timeout_ms=7
    )
    grant = await worker.grant(run_id)
    assert (grant.attempt, grant.counted, grant.max_attempts, grant.timeout_ms) == (1, 0, 3, 7)
    assert (grant.payload, grant.labels, grant.name) == (b'{"to": "ann"}', b'{"team":"a"}', "Mail")
    assert grant.trace_context == b'{"traceparent":"00-1"}'
    assert (await core.look(run_id)).status == "running"


async def test_a_run_is_never_started_before_its_time(core: Core, worker: Worker) -> None:
    """Promise 7."""
    run_id = await core.enqueue(delay=HOUR)
    await core.pass_time(HOUR - SECOND)
    assert await worker.start(run_id) is Hold.NOT_DUE
    assert (await core.look(run_id)).status == "scheduled"
    await core.pass_time(SECOND)
    assert isinstance(await worker.start(run_id), Grant)


async def test_a_retry_is_never_started_before_its_time(core: Core, worker: Worker) -> None:
    """Promise 7."""
    run_id = await core.enqueue()
    await worker.fail(await worker.grant(run_id), retry_after=HOUR)
    assert await worker.start(run_id) is Hold.NOT_DUE
    await core.pass_time(HOUR)
    assert (await worker.grant(run_id)).attempt == 2


async def test_what_is_held_until_due_inside_the_look_ahead_is_answered_for_ringing(core: Core, worker: Worker) -> None:
    soon = await core.enqueue(delay=5 * SECOND)
    late = await core.enqueue(delay=HOUR)
    core.rung.clear()
    assert await worker.start(soon) is Hold.NOT_DUE
    assert await worker.start(late) is Hold.NOT_DUE
    assert [ring.run_id for ring in core.rung] == [soon]
    assert core.rung[0].deliver_at == (await core.look(soon)).due_at
    owed = await core.owed(late)
    assert owed is not None
    assert owed["ring_at"] == owed["deliver_at"] - timedelta(seconds=10)


async def test_a_paused_task_is_never_started_and_its_run_is_parked(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    await core.pause()
    core.rung.clear()
    assert await worker.start(run_id) is Hold.PAUSED
    owed = await core.owed(run_id)
    assert owed is not None
    assert owed["held"] == "paused"
    assert await core.value("select ring_at = 'infinity' from outbox where run_id = $1", run_id)
    assert owed["deliver_at"] == (await core.look(run_id)).due_at
    assert core.rung == []


async def test_a_run_parked_while_its_task_is_resumed_is_released_by_the_next_turn(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    await core.pause()
    await worker.start(run_id)
    assert await release_resumed(core.system) == 0
    await core.resume()
    assert await release_resumed(core.system) == 1
    owed = await core.owed(run_id)
    assert owed is not None
    assert owed["held"] is None
    assert owed["ring_at"] <= owed["now"]
    assert isinstance(await worker.start(run_id), Grant)


async def test_a_scheduled_run_of_a_paused_task_keeps_its_own_due_time(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue(delay=HOUR)
    due_at = (await core.look(run_id)).due_at
    await core.pause()
    assert await worker.start(run_id) is Hold.PAUSED
    await core.resume()
    await release_resumed(core.system)
    owed = await core.owed(run_id)
    assert owed is not None
    assert owed["deliver_at"] == due_at
    assert owed["ring_at"] == owed["deliver_at"] - timedelta(seconds=10)


async def test_pausing_one_task_holds_no_other(core: Core) -> None:
    await core.register("other")
    worker = await core.worker("work", "other")
    await core.pause()
    other = await core.enqueue("other")
    assert isinstance(await worker.start(other), Grant)


async def test_another_namespaces_run_is_unknown(core: Core) -> None:
    """Promise 10."""
    await core.register(namespace="theirs")
    theirs = await core.worker(namespace="theirs")
    run_id = await core.enqueue()
    assert await theirs.start(run_id) is Refusal.UNKNOWN_RUN
    ours = await core.worker()
    await ours.succeed(await ours.grant(run_id))
    assert await theirs.start(run_id) is Refusal.UNKNOWN_RUN  # not even that it has finished
    assert await theirs.start(uuid4()) is Refusal.UNKNOWN_RUN


async def test_a_run_past_its_start_deadline_is_dead_lettered_in_place_of_started(core: Core, worker: Worker) -> None:
    start_by = await core.value("select now() + interval '1 hour'")
    run_id = await core.enqueue(start_by=start_by)
    await core.pass_time(HOUR)
    assert await worker.start(run_id) is Refusal.FINISHED
    assert (await core.look(run_id)).status == "dead_lettered"
    assert await core.history(run_id) == [(0, "queued", "ENQUEUED"), (1, "dead_lettered", "START_DEADLINE_EXCEEDED")]
    assert await core.owed(run_id) is None
    assert await core.ended_attempts(run_id) == []


async def test_a_paused_run_past_its_start_deadline_is_dead_lettered_too(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue(start_by=await core.value("select now() + interval '1 hour'"))
    await core.pause()
    assert await worker.start(run_id) is Hold.PAUSED
    await core.pass_time(HOUR)
    await reconciler.reconcile_once(core.system)
    assert await core.last_reason(run_id) == "START_DEADLINE_EXCEEDED"
    assert await core.owed(run_id) is None


async def test_a_start_deadline_is_met_for_good_by_the_first_start(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue(start_by=await core.value("select now() + interval '1 hour'"))
    await worker.fail(await worker.grant(run_id))
    await core.pass_time(2 * HOUR)
    assert await reconciler.end_past_start_by_once(core.system) == 0
    assert (await worker.grant(run_id)).attempt == 2


@pytest.mark.parametrize("step", [-1, 1])
async def test_a_stale_epoch_is_never_granted(core: Core, worker: Worker, step: int) -> None:
    run_id = await core.enqueue()
    await worker.resume()
    ask = StartAsk(run_id, worker.session_id, worker.epoch + step, 1)
    assert await core.attempts.start.submit_one(ask) is SessionOver.SESSION_OVER
    assert (await core.look(run_id)).status == "queued"


async def test_a_lapsed_lease_is_never_granted_even_before_anybody_has_ended_the_session(
    core: Core, worker: Worker
) -> None:
    run_id = await core.enqueue()
    await core.pass_silent_time(core.system.settings.lease)
    assert await worker.start(run_id) is SessionOver.SESSION_OVER
    assert (await core.look(run_id)).status == "queued"


async def test_an_ended_session_and_one_that_never_was_are_never_granted(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    await worker.say_goodbye()
    assert await worker.start(run_id) is SessionOver.SESSION_OVER
    assert await core.attempts.start.submit_one(StartAsk(run_id, uuid4(), 1, 1)) is SessionOver.SESSION_OVER


async def test_the_same_start_is_granted_the_same_attempt_again(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    first = await worker.grant(run_id, start_id=7)
    assert await worker.start(run_id, start_id=7) == first
    await worker.resume(has=[first])
    assert await worker.start(run_id, start_id=7) == first
    assert len(await core.history(run_id)) == 2


async def test_another_start_of_an_open_attempt_is_refused(core: Core, worker: Worker) -> None:
    """Promise 3."""
    run_id = await core.enqueue()
    await worker.grant(run_id, start_id=7)
    assert await worker.start(run_id, start_id=8) is Refusal.RUNNING
    other = await core.worker()
    assert await other.start(run_id, start_id=7) is Refusal.RUNNING
    assert (await core.look(run_id)).attempt == 1


async def test_a_repeated_start_whose_attempt_has_ended_is_a_new_question(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    grant = await worker.grant(run_id, start_id=7)
    await worker.succeed(grant)
    assert await worker.start(run_id, start_id=7) is Refusal.FINISHED


async def test_a_doubled_ring_never_opens_two_attempts(core: Core, database_url: str) -> None:
    """Promise 3, with starts of two workers over two servers at the same time, for each of a hundred runs."""
    runs = await core.enqueue_many(100)
    async with open_core(database_url) as other_core:
        here, there = await core.worker(), await other_core.worker()

        async def ask(worker: Worker) -> Sequence[object]:
            return await worker.core.attempts.start.submit([worker.ask(run_id) for run_id in runs])

        answers = [await answer for answer in [asyncio.create_task(ask(here)), asyncio.create_task(ask(there))]]
    for run_id, mine, theirs in zip(runs, *answers, strict=True):
        kinds = {type(mine), type(theirs)}
        assert kinds == {Grant, Refusal}, (run_id, mine, theirs)
    assert await core.value("select count(*) from transitions where to_status = 'running'") == 100
    assert await core.value("select count(*) from open_runs where status = 'running' and attempt = 1") == 100


async def test_ten_starts_of_one_run_at_once_give_one_grant(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    answers = await asyncio.gather(*[worker.start(run_id) for _ in range(10)])
    assert sum(isinstance(answer, Grant) for answer in answers) == 1
    assert answers.count(Refusal.RUNNING) == 9


async def test_a_run_without_a_handler_here_is_rung_again_with_growing_patience(core: Core) -> None:
    await core.register("other")
    worker = await core.worker("other")
    run_id = await core.enqueue()

    async def patience() -> float:
        assert await worker.start(run_id) is Hold.NO_HANDLER
        owed = await core.owed(run_id)
        assert owed is not None
        assert owed["held"] == "no_handler"
        return float(await core.value("select extract(epoch from ring_at - now()) from outbox"))

    seen = [await patience()]
    for seconds in (10, 30, 300):
        await core.pass_time(timedelta(seconds=seconds))
        seen.append(await patience())
    assert seen == pytest.approx([1, 5, 20, 60], abs=0.9)
    able = await core.worker()
    assert isinstance(await able.start(run_id), Grant)


async def test_runs_without_a_handler_are_not_rung_at_once(core: Core) -> None:
    await core.register("other")
    worker = await core.worker("other")
    run_id = await core.enqueue()
    core.rung.clear()
    await worker.start(run_id)
    assert core.rung == []


async def test_every_hold_raises_the_generation_so_that_older_rings_do_not_stand_for_it(core: Core) -> None:
    await core.register("other")
    worker = await core.worker("other")
    run_id = await core.enqueue()
    generations = []
    for _ in range(3):
        await worker.start(run_id)
        owed = await core.owed(run_id)
        assert owed is not None
        generations.append(owed["generation"])
    assert generations == [1, 2, 3]


async def test_one_batch_answers_each_start_for_itself(core: Core, worker: Worker) -> None:
    await core.register("paused")
    await core.pause("paused")
    worker = await core.worker("work", "paused")
    late, paused, unknown, done = (
        await core.enqueue(delay=HOUR),
        await core.enqueue("paused"),
        uuid4(),
        await core.enqueue(),
    )
    await worker.succeed(await worker.grant(done))
    due = await core.enqueue()
    asks = [worker.ask(run_id) for run_id in (late, paused, unknown, done, due)]
    answers = await core.attempts.start.submit(asks)
    assert answers[:4] == [Hold.NOT_DUE, Hold.PAUSED, Refusal.UNKNOWN_RUN, Refusal.FINISHED]
    assert isinstance(answers[4], Grant)
