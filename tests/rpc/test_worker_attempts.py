"""Starts, finishes and notes over the Work stream: each is answered, definitely and the same way twice."""

from __future__ import annotations

from datetime import timedelta

import grpc
import pytest

from layeron.job.v1 import job_service_pb2, run_pb2, task_pb2
from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.ids import new_run_id
from support import worker_stream
from support.calls import AT_ONCE, Jobs, Tasks, enqueue, enqueue_many, look, register, seconds, value_of

SUCCEEDED = run_pb2.RUN_STATUS_SUCCEEDED
RECORDED, SUPERSEDED = pb.FINISH_VERDICT_RECORDED, pb.FINISH_VERDICT_SUPERSEDED
BAD_RESULTS = [
    b'"' + b"x" * 262_143 + b'"',
    b"{",
    b'"\xff"',
    b"NaN",
    b"1e999",
    b"9007199254740993",
    b'"\\u0000"',
    b"[" * 21 + b"]" * 21,
]


async def test_a_grant_carries_all_that_a_handler_needs(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    run = await enqueue(
        jobs,
        payload_json=b' {"to" : "\xc3\xa4nne"}',
        payload_encoding="plain",
        timeout=seconds(1.5),
        labels={"team": "a"},
        trace_context={"traceparent": "00-1"},
        name="a mail",
        retry=task_pb2.RetryPolicy(max_attempts=5, fixed=AT_ONCE.fixed),
    )
    async with worker_stream(channel) as worker:
        expected = pb.Grant(
            run_id=run.run_id,
            attempt=1,
            task="work",
            payload_json=b' {"to" : "\xc3\xa4nne"}',
            timeout_ms=1_500,
            labels={"team": "a"},
            trace_context={"traceparent": "00-1"},
            payload_encoding="plain",
            name="a mail",
            counted_attempts=0,
            max_attempts=5,
            created_at=run.created_at,
            origin=run_pb2.RUN_ORIGIN_ENQUEUE,
        )
        grant = await worker.grant(1, run.run_id)
        assert grant == expected
        await worker.fail(1, grant)
        expected.attempt, expected.counted_attempts = 2, 1
        assert await worker.grant(2, run.run_id) == expected


async def test_a_start_that_is_never_to_be_is_refused_with_the_reason(
    jobs: Jobs, tasks: Tasks, channel: grpc.aio.Channel
) -> None:
    await register(tasks, "work", namespace="other")
    canceled, taken = await enqueue_many(jobs, 2)
    await jobs.CancelRun(job_service_pb2.CancelRunRequest(run_id=canceled))
    foreign = (await enqueue(jobs, namespace="other")).run_id
    async with worker_stream(channel) as other, worker_stream(channel) as worker:
        await other.grant(1, taken)
        finished, running, unknown = (
            pb.REFUSAL_REASON_FINISHED,
            pb.REFUSAL_REASON_RUNNING,
            pb.REFUSAL_REASON_UNKNOWN_RUN,
        )
        asked = {canceled: finished, taken: running, foreign: unknown, new_run_id(): unknown, "x": unknown, "": unknown}
        answers = await worker.start_all(list(asked))
        assert [answer.refusal.reason for answer in answers] == list(asked.values())
    assert (await look(jobs, foreign, namespace="other")).run.status == run_pb2.RUN_STATUS_QUEUED, "promise 10"


async def test_a_start_that_may_not_be_now_is_held_with_the_reason(
    jobs: Jobs, tasks: Tasks, channel: grpc.aio.Channel
) -> None:
    await register(tasks, "mail")
    unhandled, early = (await enqueue(jobs, task="mail")).run_id, (await enqueue(jobs, delay=seconds(60))).run_id
    async with worker_stream(channel) as worker:
        answers = await worker.start_all([unhandled, early])
        assert [answer.held.reason for answer in answers] == [pb.HOLD_REASON_NO_HANDLER, pb.HOLD_REASON_NOT_DUE]
        assert (await look(jobs, unhandled)).run.held_reason == run_pb2.HELD_REASON_NO_HANDLER
        assert (await look(jobs, early)).run.held_reason == run_pb2.HELD_REASON_UNSPECIFIED
    async with worker_stream(channel, tasks=["mail"]) as able:
        assert (await able.grant(1, unhandled)).attempt == 1


async def test_the_same_start_is_answered_the_same_way_and_another_one_of_the_run_is_refused(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    """Promise 3: a lost reply is repaired, and a doubled ring never runs a handler twice."""
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as worker:
        starts = [pb.Start(start_id=start_id, run_id=run_id) for start_id in (7, 8, 7)]
        await worker.say(starts=starts)
        await worker.until(lambda: len(worker.start_answers) == 2 or None)
        grant = worker.start_answers[7].grant
        assert (grant.attempt, worker.start_answers[8].refusal.reason) == (1, pb.REFUSAL_REASON_RUNNING)
        assert await worker.grant(7, run_id) == grant
        assert (await worker.start(9, run_id)).refusal.reason == pb.REFUSAL_REASON_RUNNING
    assert len((await look(jobs, run_id)).transitions) == 2


async def test_a_run_that_is_rung_at_several_workers_is_granted_to_one(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    """Promise 3."""
    run_ids = await enqueue_many(jobs, 50)
    async with worker_stream(channel) as one, worker_stream(channel) as two:
        await one.say(starts=[pb.Start(start_id=n, run_id=run_id) for n, run_id in enumerate(run_ids)])
        theirs = await two.start_all(run_ids, first=0)
        ours = await one.start_all(run_ids, first=0)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.HasField("grant") != other.HasField("grant")
        assert (mine.refusal.reason or other.refusal.reason) == pb.REFUSAL_REASON_RUNNING


async def test_a_finish_is_recorded_once_and_every_other_report_of_the_attempt_changes_nothing(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    """Promise 3."""
    run_id = (await enqueue(jobs, retry=AT_ONCE)).run_id
    async with worker_stream(channel) as worker, worker_stream(channel) as other:
        first = await worker.grant(1, run_id)
        assert await other.succeed(1, first) == SUPERSEDED, "another session's"
        assert await worker.fail(1, first, error_type="OSError") == RECORDED
        assert await worker.fail(1, first, error_type="OSError") == RECORDED, "the same report, answered the same way"
        assert await worker.succeed(1, first) == SUPERSEDED, "it has ended otherwise"
        second = await other.grant(1, run_id)
        before = await look(jobs, run_id)
        assert await worker.succeed(1, first) == SUPERSEDED, "replaced by another attempt"
        assert await worker.fail(1, first) == RECORDED
        assert await other.succeed(1, pb.Grant(run_id=run_id, attempt=3)) == SUPERSEDED, "an attempt to come"
        assert await look(jobs, run_id) == before
        assert await other.succeed(1, second, b'"done"') == RECORDED
        assert await other.succeed(1, second, b'"done"') == RECORDED
        assert await other.fail(1, second) == SUPERSEDED
    seen = await look(jobs, run_id)
    assert (seen.run.status, seen.run.result) == (SUCCEEDED, value_of("done"))
    assert [transition.seq for transition in seen.transitions] == [0, 1, 2, 3, 4]


async def test_finishes_that_name_nothing_are_superseded_beside_good_ones(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as worker:
        await worker.grant(1, run_id)
        finishes = [
            pb.Finish(start_id=2, run_id="x", attempt=1, result_json=b"1"),
            pb.Finish(start_id=3, run_id=run_id, attempt=1),
            pb.Finish(start_id=4, run_id=new_run_id(), attempt=1, result_json=b"1"),
            pb.Finish(start_id=5, run_id=run_id, attempt=-1, failure=pb.Failure()),
            pb.Finish(start_id=1, run_id=run_id, attempt=1, result_json=b"1"),
        ]
        await worker.say(finishes=finishes)
        await worker.until(lambda: len(worker.finish_answers) == 5 or None)
        verdicts = {start_id: answer.verdict for start_id, answer in worker.finish_answers.items()}
    assert verdicts == {1: RECORDED, 2: SUPERSEDED, 3: SUPERSEDED, 4: SUPERSEDED, 5: SUPERSEDED}


async def test_a_result_that_breaks_the_rules_fails_its_attempt_and_dead_letters_the_run(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    run_ids = await enqueue_many(jobs, len(BAD_RESULTS))
    async with worker_stream(channel) as worker:
        for start_id, (run_id, result) in enumerate(zip(run_ids, BAD_RESULTS, strict=True)):
            verdict = await worker.succeed(start_id, await worker.grant(start_id, run_id), result)
            assert verdict == RECORDED
            seen = await look(jobs, run_id)
            assert seen.run.status == run_pb2.RUN_STATUS_DEAD_LETTERED, result[:50]
            assert not seen.run.HasField("result")
            [attempt], last = seen.attempts, seen.transitions[-1]
            assert (attempt.status, attempt.error_type) == (run_pb2.ATTEMPT_STATUS_FAILED, "ResultInvalid")
            assert attempt.error_message.startswith("the result ")
            assert (last.reason_code, last.note) == (run_pb2.TRANSITION_REASON_RESULT_INVALID, attempt.error_message)


async def test_a_result_at_the_limit_is_kept_byte_by_byte_and_an_empty_one_is_null(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    async with worker_stream(channel) as worker:
        for start_id, result in enumerate((b'"' + b"x" * 262_142 + b'"', b' { "a" : 1.50 } ', b"")):
            run_id = (await enqueue(jobs)).run_id
            await worker.succeed(start_id, await worker.grant(start_id, run_id), result)
            run = (await look(jobs, run_id, json_form=job_service_pb2.JSON_FORM_BYTES)).run
            assert (run.status, run.result_json) == (SUCCEEDED, result or b"null")


async def test_a_handler_may_say_when_to_be_tried_again_or_never(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    later, never, far = await enqueue_many(jobs, 3)
    async with worker_stream(channel) as worker:
        await worker.fail(1, await worker.grant(1, later), error_type="Busy", retry_after_ms=90_500)
        await worker.fail(2, await worker.grant(2, never), error_type="BadAddress", do_not_retry=True)
        await worker.fail(3, await worker.grant(3, far), retry_after_ms=2**62)
    seen = await look(jobs, later)
    wait = seen.attempts[0].retry_at.ToDatetime() - seen.attempts[0].ended_at.ToDatetime()
    assert (seen.run.status, wait) == (run_pb2.RUN_STATUS_RETRYING, timedelta(seconds=90.5))
    assert seen.run.due_at == seen.attempts[0].retry_at
    seen = await look(jobs, never)
    assert (seen.run.status, seen.attempts[0].HasField("retry_at")) == (run_pb2.RUN_STATUS_DEAD_LETTERED, False)
    assert seen.transitions[-1].reason_code == run_pb2.TRANSITION_REASON_NON_RETRYABLE
    seen = await look(jobs, far)
    assert seen.run.due_at.ToDatetime() - seen.attempts[0].ended_at.ToDatetime() == timedelta(days=30)


@pytest.mark.parametrize(
    ("outcome", "attempt", "run", "reason", "counted"),
    [
        ("failure", "FAILED", "RETRYING", "ATTEMPT_FAILED", 1),
        ("timed_out", "TIMED_OUT", "RETRYING", "ATTEMPT_TIMED_OUT", 1),
        ("interrupted", "INTERRUPTED", "QUEUED", "ATTEMPT_INTERRUPTED", 0),
        ("canceled", "FAILED", "RETRYING", "ATTEMPT_FAILED", 1),  # nobody had asked for it
    ],
)
async def test_each_outcome_ends_the_attempt_as_what_it_is(
    jobs: Jobs, channel: grpc.aio.Channel, outcome: str, attempt: str, run: str, reason: str, counted: int
) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel, build_id="b7") as worker:
        await worker.grant(1, run_id)
        finish = pb.Finish(start_id=1, run_id=run_id, attempt=1, log_tail="l", ran_ms=1)
        getattr(finish, outcome).MergeFrom(pb.Failure(error_type="E", error_message="m", error_detail="d"))
        for _ in range(2):
            assert await worker.finish(finish) == RECORDED
    seen = await look(jobs, run_id)
    [ended] = seen.attempts
    assert (ended.status, seen.run.status) == (
        run_pb2.AttemptStatus.Value(f"ATTEMPT_STATUS_{attempt}"),
        run_pb2.RunStatus.Value(f"RUN_STATUS_{run}"),
    )
    assert (ended.error_type, ended.error_message, ended.error_detail, ended.log_tail) == ("E", "m", "d", "l")
    assert (ended.worker_build, ended.HasField("begun_at"), seen.run.counted_attempts) == ("b7", True, counted)
    assert seen.transitions[-1].reason_code == run_pb2.TransitionReason.Value(f"TRANSITION_REASON_{reason}")


async def test_notes_that_came_before_the_finish_are_kept_with_the_attempt(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    run_ids = [run.run_id for run in [await enqueue(jobs) for _ in range(20)]]
    async with worker_stream(channel) as worker:
        answers = await worker.start_all(run_ids)
        for answer in answers:
            run_id = answer.grant.run_id
            note = pb.AttemptNote(run_id=run_id, attempt=1, progress_json=b'{"done": 3}')
            finish = pb.Finish(start_id=answer.start_id, run_id=run_id, attempt=1, result_json=b"null")
            await worker.say(notes=[note], finishes=[finish])
        await worker.until(lambda: len(worker.finish_answers) == len(run_ids) or None)
    kept = [[attempt.progress_json for attempt in (await look(jobs, run_id)).attempts] for run_id in run_ids]
    assert kept == [[b'{"done": 3}']] * len(run_ids)


async def test_texts_beyond_their_limits_are_cut_and_never_lose_a_report(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as worker:
        long = "ä\0" * 40_000
        grant = await worker.grant(1, run_id)
        verdict = await worker.fail(
            1, grant, error_type=long, error_message=long, error_detail=long, log_tail=long, do_not_retry=True
        )
        assert verdict == RECORDED
    [attempt] = (await look(jobs, run_id)).attempts
    texts = (attempt.error_type, attempt.error_message, attempt.error_detail, attempt.log_tail)
    assert [len(text.encode()) for text in texts] == [254, 8_192, 32_768, 32_768]
    assert {character for text in texts for character in text} == {"ä"}


@pytest.mark.parametrize("ran_ms", [2**62, -1], ids=["longer than time", "negative"])
async def test_an_absurd_duration_never_loses_a_report(jobs: Jobs, channel: grpc.aio.Channel, ran_ms: int) -> None:
    succeeded, failed = await enqueue_many(jobs, 2)
    async with worker_stream(channel) as worker:
        await worker.start_all([succeeded, failed])
        await worker.say(
            finishes=[
                pb.Finish(start_id=1, run_id=succeeded, attempt=1, ran_ms=ran_ms, result_json=b"1"),
                pb.Finish(start_id=2, run_id=failed, attempt=1, ran_ms=ran_ms, failure=pb.Failure()),
            ]
        )
        await worker.until(lambda: len(worker.finish_answers) == 2 or None)
    for run_id in (succeeded, failed):
        [attempt] = (await look(jobs, run_id)).attempts
        if attempt.HasField("begun_at"):
            assert (
                attempt.granted_at.ToNanoseconds()
                <= attempt.begun_at.ToNanoseconds()
                <= attempt.ended_at.ToNanoseconds()
            )
