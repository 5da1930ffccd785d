"""A report ends the attempt it names, once, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from layeron_job_server.domain.retry import Custom, Exponential, Fixed, RetryPolicy
from layeron_job_server.domain.run import AttemptStatus
from layeron_job_server.domain.transitions import (
    ALLOWED,
    CancelConfirmed,
    Interrupted,
    Lost,
    ResultInvalid,
    TimedOut,
)
from layeron_job_server.operations.endings import Report, Verdict
from layeron_job_server.operations.enqueue import EnqueueAsk, enqueue
from layeron_job_server.store import endings, open_attempts
from layeron_job_server.store.attempts import Ending, Fence, Grant, Success
from layeron_job_server.store.open_attempts import Note
from support.core import Core, Worker, open_core

SECOND = timedelta(seconds=1)
RECORDED, SUPERSEDED = Verdict.RECORDED, Verdict.SUPERSEDED


async def test_a_success_ends_the_run_with_its_result(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    grant = await worker.grant(run_id)
    assert await worker.succeed(grant, b'{"sum": 3}', log_tail="done") is RECORDED
    seen = await core.look(run_id)
    assert (seen.status, seen.attempt, seen.counted) == ("succeeded", 1, 0)
    assert await core.fetch("select number, status, result, log_tail, worker_build, session_id from attempts") == [
        (1, "succeeded", b'{"sum": 3}', "done", "build-1", worker.session_id)
    ]
    assert await core.value("select granted_at <= begun_at and begun_at <= ended_at from attempts")


async def test_a_late_finish_of_a_replaced_attempt_changes_nothing(core: Core, worker: Worker) -> None:
    """Promise 3: neither while the next attempt runs, nor while the run waits, nor after its end."""
    other = await core.worker()
    run_id = await core.enqueue()
    stale = await worker.grant(run_id)
    await core.attempts.end.submit_one(Report(worker.fence(stale), Lost(), AttemptStatus.LOST, Ending()))

    async def late_reports_change_nothing() -> None:
        before = await core.everything(run_id)
        assert await worker.succeed(stale) is SUPERSEDED
        assert await worker.fail(stale) is SUPERSEDED
        assert await worker.report(stale, Interrupted(), AttemptStatus.INTERRUPTED) is SUPERSEDED
        assert await core.everything(run_id) == before

    await late_reports_change_nothing()
    grant = await other.grant(run_id)
    await late_reports_change_nothing()
    await other.succeed(grant)
    await late_reports_change_nothing()


async def test_a_report_must_match_run_number_and_session(core: Core, worker: Worker) -> None:
    """Promise 3."""
    other = await core.worker()
    run_id, elsewhere = await core.enqueue(), await core.enqueue()
    grant = await worker.grant(run_id)
    await other.grant(elsewhere)
    before = await core.everything(run_id), await core.everything(elsewhere)
    for fence in (
        Fence(run_id, 2, worker.session_id),
        Fence(run_id, 0, worker.session_id),
        Fence(run_id, 1, other.session_id),
        Fence(elsewhere, 1, worker.session_id),
        Fence(uuid4(), 1, worker.session_id),
    ):
        assert await core.attempts.succeed.submit_one(Success(fence, b"1", 5, "b", None)) is SUPERSEDED
        report = Report(fence, Lost(), AttemptStatus.LOST, Ending())
        assert await core.attempts.end.submit_one(report) is SUPERSEDED
    assert (await core.everything(run_id), await core.everything(elsewhere)) == before
    assert await worker.succeed(grant) is RECORDED


async def test_the_same_report_twice_is_answered_the_same_twice(core: Core, worker: Worker) -> None:
    succeeded = await worker.grant(await core.enqueue())
    failed = await worker.grant(await core.enqueue())
    canceled = await worker.grant(await core.enqueue())
    interrupted = await worker.grant(await core.enqueue())
    timed_out = await worker.grant(await core.enqueue())
    await core.request_cancel(canceled.run_id)
    for _ in range(2):
        assert await worker.succeed(succeeded) is RECORDED
        assert await worker.fail(failed) is RECORDED
        assert await worker.report(canceled, CancelConfirmed(), AttemptStatus.CANCELED) is RECORDED
        assert await worker.report(interrupted, Interrupted(), AttemptStatus.INTERRUPTED) is RECORDED
        assert await worker.report(timed_out, TimedOut(), AttemptStatus.TIMED_OUT) is RECORDED
    assert await core.value("select count(*) from attempts") == 5


async def test_the_same_report_is_recorded_again_also_when_the_next_attempt_runs(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    first = await worker.grant(run_id)
    await worker.fail(first)
    second = await worker.grant(run_id)
    before = await core.everything(run_id)
    assert await worker.fail(first) is RECORDED
    assert await core.everything(run_id) == before
    assert await worker.succeed(second) is RECORDED


async def test_a_second_report_with_another_outcome_is_superseded(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    grant = await worker.grant(run_id)
    await worker.succeed(grant)
    before = await core.everything(run_id)
    assert await worker.fail(grant) is SUPERSEDED
    assert await core.everything(run_id) == before
    other = await worker.grant(await core.enqueue())
    await worker.fail(other)
    assert await worker.succeed(other) is SUPERSEDED


async def test_reports_of_one_attempt_over_two_servers_at_once_end_it_once(
    core: Core, worker: Worker, database_url: str
) -> None:
    """Promise 2: fifty attempts; their success and their loss are reported at the same moment."""
    runs = await core.enqueue_many(50)
    grants = [await worker.grant(run_id) for run_id in runs]
    successes = [Success(worker.fence(grant), b"1", 5, "b", None) for grant in grants]
    losses = [Report(worker.fence(grant), Lost(), AttemptStatus.LOST, Ending()) for grant in grants]
    async with open_core(database_url) as other:
        won, lost = await asyncio.gather(
            core.attempts.succeed.submit(successes), other.attempts.end.submit(list(reversed(losses)))
        )
    lost.reverse()
    assert {frozenset(pair) for pair in zip(won, lost, strict=True)} == {frozenset({RECORDED, SUPERSEDED})}
    assert await core.value("select count(*) from attempts") == 50
    assert await core.value("select count(*) from transitions where seq = 2") == 50


async def test_a_success_that_wins_the_race_with_a_cancel_stays_a_success(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    grant = await worker.grant(run_id)
    await core.request_cancel(run_id)
    assert await worker.succeed(grant) is RECORDED
    seen = await core.look(run_id)
    assert seen.status == "succeeded"
    assert seen.cancel_requested_at is not None
    assert await core.value("select count(*) from cancel_requests") == 0


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (TimedOut(), AttemptStatus.TIMED_OUT),
        (Lost(), AttemptStatus.LOST),
        (Interrupted(), AttemptStatus.INTERRUPTED),
        (ResultInvalid(), AttemptStatus.FAILED),
        (CancelConfirmed(), AttemptStatus.CANCELED),
    ],
)
async def test_after_a_cancel_request_the_attempt_keeps_its_true_outcome_and_the_run_ends_canceled(
    core: Core, worker: Worker, event: TimedOut, outcome: AttemptStatus
) -> None:
    run_id = await core.enqueue()
    grant = await worker.grant(run_id)
    await core.request_cancel(run_id)
    assert await worker.report(grant, event, outcome) is RECORDED
    assert (await core.look(run_id)).status == "canceled"
    assert await core.ended_attempts(run_id) == [(1, outcome)]
    last = await core.fetch("select reason, note, actor from transitions where run_id = $1 and seq = 2", run_id)
    assert last == [("CANCEL_REQUESTED", "enough", "user")]
    assert await core.owed(run_id) is None
    assert await core.value("select count(*) from cancel_requests") == 0


async def test_a_success_that_meets_a_cancel_under_way_leaves_no_request_behind(core: Core, worker: Worker) -> None:
    """Promise 8."""
    run_id = await core.enqueue()
    grant = await worker.grant(run_id)
    async with core.database.connection() as connection:
        canceling = connection.transaction()
        await canceling.start()
        await open_attempts.request_cancels(connection, [(run_id, "enough", "caller")])
        succeeding = asyncio.create_task(worker.succeed(grant))
        await core.until_blocked()
        await canceling.commit()
    assert await succeeding is Verdict.RECORDED
    assert await core.value("select count(*) from cancel_requests") == 0
    assert (await core.look(run_id)).status == "succeeded"


async def test_a_cancel_that_nobody_asked_for_is_a_failure_and_fails_no_neighbour(core: Core, worker: Worker) -> None:
    odd, neighbour = await worker.grant(await core.enqueue()), await worker.grant(await core.enqueue())
    reports = [
        Report(worker.fence(odd), CancelConfirmed(), AttemptStatus.CANCELED, Ending("b")),
        Report(worker.fence(neighbour), TimedOut(), AttemptStatus.TIMED_OUT, Ending("b")),
    ]
    assert await core.attempts.end.submit(reports) == [RECORDED, RECORDED]
    assert (await core.look(odd.run_id)).status == "retrying"
    assert await core.fetch("select number, status, error_type from attempts where run_id = $1", odd.run_id) == [
        (1, "failed", "Canceled")
    ]
    assert await core.attempts.end.submit(reports) == [RECORDED, RECORDED]


@pytest.mark.parametrize(
    ("retry", "waits"),
    [
        (RetryPolicy(4, Custom((3 * SECOND, 60 * SECOND))), [3, 60, 60]),
        (RetryPolicy(4, Fixed(7 * SECOND)), [7, 7, 7]),
        (RetryPolicy(5, Exponential(2 * SECOND, 9 * SECOND, 2.0)), [2, 4, 8, 9]),
    ],
    ids=["custom", "fixed", "exponential"],
)
async def test_a_retry_waits_as_its_policy_says_and_is_owed_in_the_same_transaction(
    core: Core, retry: RetryPolicy, waits: list[float]
) -> None:
    await core.register("flaky", retry=retry)
    worker = await core.worker("flaky")
    run_id = await core.enqueue("flaky")
    for number, wait in enumerate(waits, 1):
        grant = await worker.grant(run_id)
        core.rung.clear()
        assert await worker.fail(grant) is RECORDED
        seen, owed = await core.look(run_id), await core.owed(run_id)
        assert (seen.status, seen.attempt, seen.counted) == ("retrying", number, number)
        assert seen.due_at == await core.value(
            "select ended_at + $2 * interval '1 second' from attempts where run_id = $1 and number = $3",
            run_id,
            wait,
            number,
        )
        assert owed is not None
        assert (owed["deliver_at"], owed["attempt"], owed["held"]) == (seen.due_at, number + 1, None)
        assert [(ring.attempt, ring.deliver_at) for ring in core.rung] == [(number + 1, seen.due_at)]
        assert await core.value(
            "select count(distinct x) from (select xmin::text x from outbox union all select xmin::text from open_runs "
            "union all select xmin::text from attempts where number = $1 "
            "union all select xmin::text from transitions where seq = $2) one",
            number,
            2 * number,
        ) == 1  # fmt: skip
        await core.pass_time(wait * SECOND)
    assert await core.value("select retry_at from attempts where number = 1") is not None


@pytest.mark.parametrize(
    ("retry", "failure", "reason"),
    [
        (RetryPolicy(1), {}, "ATTEMPTS_EXHAUSTED"),
        (RetryPolicy(3), {"retryable": False}, "NON_RETRYABLE"),
        (RetryPolicy(3, non_retryable_types=("Broken",)), {"error_type": "Broken"}, "NON_RETRYABLE"),
        (RetryPolicy(3, Fixed(60 * SECOND), max_elapsed=30 * SECOND), {}, "MAX_ELAPSED"),
        (RetryPolicy(3, max_elapsed=30 * SECOND), {"retry_after": 31 * SECOND}, "MAX_ELAPSED"),
    ],
)
async def test_a_run_that_may_not_be_tried_again_is_dead_lettered(
    core: Core, retry: RetryPolicy, failure: dict[str, Any], reason: str
) -> None:
    await core.register("flaky", retry=retry)
    worker = await core.worker("flaky")
    run_id = await core.enqueue("flaky")
    grant = await worker.grant(run_id)
    core.rung.clear()
    assert await worker.fail(grant, **failure) is RECORDED
    assert (await core.look(run_id)).status == "dead_lettered"
    assert await core.last_reason(run_id) == reason
    assert await core.ended_attempts(run_id) == [(1, "failed")]
    assert await core.owed(run_id) is None
    assert core.rung == []
    assert await worker.fail(grant, **failure) is RECORDED


async def test_an_invalid_result_dead_letters_at_once(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    assert await worker.report(await worker.grant(run_id), ResultInvalid(), AttemptStatus.FAILED) is RECORDED
    assert await core.history(run_id) == [
        (0, "queued", "ENQUEUED"),
        (1, "running", "STARTED"),
        (2, "dead_lettered", "RESULT_INVALID"),
    ]


async def test_a_handler_may_say_when_it_is_to_be_tried_again(core: Core) -> None:
    await core.register("flaky", retry=RetryPolicy(3, Fixed(7 * SECOND)))
    worker = await core.worker("flaky")
    run_id = await core.enqueue("flaky")
    await worker.fail(await worker.grant(run_id), retry_after=timedelta(hours=2))
    seen = await core.look(run_id)
    assert seen.due_at == await core.value("select ended_at + interval '2 hours' from attempts")
    assert await core.value("select retry_at from attempts") == seen.due_at
    owed = await core.owed(run_id)
    assert owed is not None
    assert owed["ring_at"] == owed["deliver_at"] - timedelta(seconds=10)


async def test_what_counts_never_passes_the_policy_and_the_history_replays_to_the_present(core: Core) -> None:
    """Promise 4, over every way an attempt may end."""
    await core.register("long", retry=RetryPolicy(4, Fixed(timedelta(0))))
    worker = await core.worker("long")
    run_id = await core.enqueue("long", delay=SECOND)
    await core.pass_time(SECOND)
    story: list[tuple[object, AttemptStatus]] = [
        (Interrupted(), AttemptStatus.INTERRUPTED),
        (TimedOut(), AttemptStatus.TIMED_OUT),
        (Lost(), AttemptStatus.LOST),
        (Interrupted(), AttemptStatus.INTERRUPTED),
        (None, AttemptStatus.FAILED),
        (Interrupted(), AttemptStatus.INTERRUPTED),
        (None, AttemptStatus.FAILED),
    ]
    for event, outcome in story:
        grant = await worker.grant(run_id)
        assert grant.counted < grant.max_attempts
        if isinstance(event, Interrupted | TimedOut | Lost):
            assert await worker.report(grant, event, outcome) is RECORDED
        else:
            assert await worker.fail(grant) is RECORDED
    seen = await core.look(run_id)
    assert (seen.status, seen.attempt, seen.counted) == ("dead_lettered", 7, 4)
    assert await core.ended_attempts(run_id) == [(number, str(kind)) for number, (_, kind) in enumerate(story, 1)]
    history = await core.history(run_id)
    assert [seq for seq, _, _ in history] == list(range(15))
    statuses = [status for _, status, _ in history]
    assert statuses[0] == "scheduled"
    assert statuses[-1] == seen.status
    for before, after in pairwise(statuses):
        assert any(after in moves.get(before, ()) for moves in ALLOWED.values()), (before, after)  # type: ignore[call-overload]


async def test_a_terminal_run_never_changes(core: Core, worker: Worker) -> None:
    """Promise 2."""
    run_id = await core.enqueue()
    grant = await worker.grant(run_id)
    await worker.succeed(grant)
    before = await core.everything(run_id)
    await worker.start(run_id)
    await core.request_cancel(run_id)
    for event, outcome in ((Lost(), AttemptStatus.LOST), (CancelConfirmed(), AttemptStatus.CANCELED)):
        await worker.report(grant, event, outcome)
    assert await core.everything(run_id) == before


async def test_notes_of_the_running_attempt_are_folded_into_it_at_its_end(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()

    async def note(grant: Grant, progress: bytes | None, log_tail: str | None) -> None:
        await core.sessions.note.submit_one(Note(worker.fence(grant), progress, log_tail))

    first = await worker.grant(run_id)
    await note(first, b'{"at":1}', "one line")
    await note(first, b'{"at":2}', None)
    await worker.fail(first)
    await note(first, b'{"at":99}', "too late")
    second = await worker.grant(run_id)
    await note(second, None, "a line")
    await worker.succeed(second, log_tail="the last line")
    assert await core.fetch("select number, progress, log_tail from attempts order by number") == [
        (1, b'{"at":2}', "one line"),
        (2, None, "the last line"),
    ]
    assert await core.value("select count(*) from attempt_notes") == 0


async def test_a_note_that_meets_the_end_of_its_attempt_leaves_nothing_behind(core: Core, worker: Worker) -> None:
    run_id = await core.enqueue()
    fence = worker.fence(await worker.grant(run_id))
    late = Note(fence, b"1", "late")
    async with core.database.connection() as connection:
        ending = connection.transaction()
        await ending.start()
        await endings.succeed(connection, [Success(fence, b"1", 5, "b", None)])
        noting = asyncio.create_task(core.database.write(lambda c: open_attempts.note(c, [late])))
        await core.until_blocked()
        await ending.commit()
    await noting
    assert await core.value("select count(*) from attempt_notes") == 0


@pytest.mark.parametrize("ending", ["success", "dead letter", "cancel"])
async def test_a_key_held_while_active_is_released_by_the_finishing_transaction(
    core: Core, worker: Worker, ending: str
) -> None:
    ask = EnqueueAsk("default", "work", idempotency_key="k", key_window="while_active")
    first = await enqueue(core.system, core.writer, ask)
    grant = await worker.grant(first.run_id)
    assert (await enqueue(core.system, core.writer, ask)).run_id == first.run_id
    if ending == "success":
        await worker.succeed(grant)
    elif ending == "dead letter":
        await worker.fail(grant, retryable=False)
    else:
        await core.request_cancel(first.run_id)
        await worker.report(grant, CancelConfirmed(), AttemptStatus.CANCELED)
    assert await core.value("select count(*) from idempotency_keys") == 0
    second = await enqueue(core.system, core.writer, ask)
    assert second.created
    assert second.run_id != first.run_id


async def test_a_key_held_while_active_outlives_a_retry_and_other_windows_outlive_the_run(
    core: Core, worker: Worker
) -> None:
    active = await core.enqueue(idempotency_key="a", key_window="while_active")
    kept = await core.enqueue(idempotency_key="b", key_window="forever")
    await worker.fail(await worker.grant(active))
    await worker.succeed(await worker.grant(kept))
    assert await core.fetch("select key from idempotency_keys order by key") == [("a",), ("b",)]


async def test_an_error_is_kept_with_its_type_message_and_detail(core: Core, worker: Worker) -> None:
    grant = await worker.grant(await core.enqueue())
    ending = Ending("build-2", "ValueError", "no such user", '{"line": 3}', 40, "last words")
    await core.attempts.end.submit_one(Report(worker.fence(grant), TimedOut(), AttemptStatus.TIMED_OUT, ending, "why"))
    columns = "worker_build, error_type, error_message, error_detail, log_tail"
    assert await core.fetch(f"select {columns} from attempts") == [
        ("build-2", "ValueError", "no such user", '{"line": 3}', "last words")
    ]
    assert await core.fetch("select note, actor, session_id from transitions where seq = 2") == [
        ("why", None, worker.session_id)
    ]
