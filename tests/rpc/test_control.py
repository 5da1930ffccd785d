"""CancelRun and ReplayRun, whatever state the run is in."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc, run_pb2, task_pb2
from layeron.job.v1 import worker_service_pb2 as work_pb2
from layeron_job.ids import new_run_id
from layeron_job_server.app import App
from support import worker_stream
from support.calls import Jobs, StartServer, enqueue, from_now, look, seconds, value_of
from support.errors import refused

IN_A_MINUTE = task_pb2.RetryPolicy(fixed=task_pb2.FixedBackoff(delay=seconds(60)))


async def cancel(jobs: Jobs, run_id: str, reason: str = "") -> run_pb2.Run:
    return (await jobs.CancelRun(pb.CancelRunRequest(run_id=run_id, reason=reason))).run


async def replay(jobs: Jobs, run_id: str, **fields: Any) -> pb.ReplayRunResponse:
    return await jobs.ReplayRun(pb.ReplayRunRequest(run_id=run_id, **fields))


async def ended(jobs: Jobs, **fields: Any) -> str:
    """A run that was canceled before it started."""
    run_id = (await enqueue(jobs, **fields)).run_id
    await cancel(jobs, run_id)
    return run_id


@pytest.mark.parametrize("status", ["QUEUED", "SCHEDULED", "RETRYING"])
async def test_a_canceled_waiting_run_is_ended_at_once_and_never_starts(
    jobs: Jobs, channel: grpc.aio.Channel, status: str
) -> None:
    """Promise 6."""
    run_id = (await enqueue(jobs, retry=IN_A_MINUTE, delay=seconds(60 if status == "SCHEDULED" else 0))).run_id
    async with worker_stream(channel) as worker:
        if status == "RETRYING":
            await worker.fail(1, await worker.grant(1, run_id))
        before = (await look(jobs, run_id)).run
        assert before.status == run_pb2.RunStatus.Value(f"RUN_STATUS_{status}")
        run = await cancel(jobs, run_id, "changed my mind")
        assert run.status == run_pb2.RUN_STATUS_CANCELED
        assert run.finished_at == run.cancel_requested_at
        assert not run.HasField("due_at")
        seen = await look(jobs, run_id)
        assert seen.run == run
        last = seen.transitions[-1]
        assert (last.from_status, last.to_status) == (before.status, run.status)
        assert last.reason_code == run_pb2.TRANSITION_REASON_CANCEL_REQUESTED
        assert (last.note, last.actor, last.at) == ("changed my mind", "caller", run.finished_at)
        refusal = (await worker.start(2, run_id)).refusal
        assert refusal.reason == work_pb2.REFUSAL_REASON_FINISHED
    assert await cancel(jobs, run_id, "once more") == run, "a canceled run is answered as it is"
    in_bytes = pb.CancelRunRequest(run_id=run_id, json_form=pb.JSON_FORM_BYTES)
    assert (await jobs.CancelRun(in_bytes)).run.payload_json == b"null"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["over this server", "over another server"])
async def test_a_running_worker_hears_of_a_cancel_within_a_second_and_confirms_it(
    jobs: Jobs, channel: grpc.aio.Channel, start_server: StartServer, *, elsewhere: bool
) -> None:
    """Promise 6."""
    run_id = (await enqueue(jobs)).run_id
    other = await start_server()
    async with worker_stream(channel) as worker, grpc.aio.insecure_channel(other.address) as other_channel:
        grant = await worker.grant(1, run_id)
        asked = job_service_pb2_grpc.JobServiceStub(other_channel) if elsewhere else jobs
        before = time.monotonic()
        run = await cancel(asked, run_id, "first words")
        order = await worker.until(lambda: worker.cancel_orders[0] if worker.cancel_orders else None)
        assert time.monotonic() - before < 1
        assert order == work_pb2.CancelOrder(run_id=run_id, attempt=1)
        assert (run.status, run.HasField("cancel_requested_at")) == (run_pb2.RUN_STATUS_RUNNING, True)
        again = await cancel(jobs, run_id, "other words")
        assert again == run, "the first request stands"
        canceled = work_pb2.Failure(error_type="CancelledError")
        finish = work_pb2.Finish(start_id=1, run_id=run_id, attempt=grant.attempt, canceled=canceled)
        assert await worker.finish(finish) == work_pb2.FINISH_VERDICT_RECORDED
    seen = await look(jobs, run_id)
    assert seen.run.status == run_pb2.RUN_STATUS_CANCELED
    assert [attempt.status for attempt in seen.attempts] == [run_pb2.ATTEMPT_STATUS_CANCELED]
    assert (seen.transitions[-1].note, seen.transitions[-1].actor) == ("first words", "caller")


async def test_a_success_that_wins_the_race_with_a_cancel_stays_a_success(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        await cancel(jobs, run_id)
        assert await worker.succeed(1, grant, b"42") == work_pb2.FINISH_VERDICT_RECORDED
    run = (await look(jobs, run_id)).run
    assert (run.status, run.result, run.HasField("cancel_requested_at")) == (
        run_pb2.RUN_STATUS_SUCCEEDED,
        value_of(42),
        True,
    )
    answer = await refused(cancel(jobs, run_id))
    assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "RUN_ALREADY_FINISHED")
    assert answer.metadata == {"run_id": run_id, "status": "succeeded"}


async def test_a_failure_after_a_cancel_request_is_not_tried_again(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    run_id = (await enqueue(jobs)).run_id
    async with worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        await cancel(jobs, run_id)
        await worker.fail(1, grant, error_type="OSError")
    seen = await look(jobs, run_id)
    assert (seen.run.status, seen.attempts[0].status) == (run_pb2.RUN_STATUS_CANCELED, run_pb2.ATTEMPT_STATUS_FAILED)


async def test_cancels_and_starts_at_the_same_time_leave_no_run_that_started_after_its_cancel(
    jobs: Jobs, channel: grpc.aio.Channel, server: App
) -> None:
    """Promise 6: each run was either canceled before it started, or its worker is told."""
    batch = pb.EnqueueBatchRequest(items=[pb.EnqueueRequest(task="work")] * 100)
    run_ids = [result.run_id for result in (await jobs.EnqueueBatch(batch)).results]
    async with worker_stream(channel, slots=100) as worker:
        starts = asyncio.create_task(worker.start_all(run_ids))
        canceled = await asyncio.gather(*(cancel(jobs, run_id) for run_id in run_ids))
        answers = await starts
        running = {run.run_id for run in canceled if run.status == run_pb2.RUN_STATUS_RUNNING}
        assert {answer.grant.run_id for answer in answers if answer.HasField("grant")} == running
        await server.worker_servicer.tell_cancels_once()
        await worker.until(lambda: {order.run_id for order in worker.cancel_orders} >= running or None)


async def test_a_replay_is_a_new_run_of_the_same_task_payload_and_options(jobs: Jobs) -> None:
    retry = task_pb2.RetryPolicy(max_attempts=9, fixed=task_pb2.FixedBackoff(delay=seconds(1)), jitter=0.5)
    old_id = await ended(
        jobs,
        payload_json=b'{"to": "ann"}',
        payload_encoding="plain",
        name="a mail",
        labels={"team": "a"},
        priority=task_pb2.PRIORITY_LOW,
        timeout=seconds(7),
        retry=retry,
        trace_context={"traceparent": "00-1"},
        idempotency_key="k",
    )
    answer = await replay(jobs, old_id, reason="the bug is fixed", json_form=pb.JSON_FORM_BYTES)
    run = answer.run
    assert answer.created
    assert run == run_pb2.Run(
        run_id=run.run_id,
        namespace="default",
        task="work",
        queue="default",
        priority=task_pb2.PRIORITY_LOW,
        name="a mail",
        status=run_pb2.RUN_STATUS_QUEUED,
        payload_json=b'{"to": "ann"}',
        payload_encoding="plain",
        retry=retry,
        timeout=seconds(7),
        labels={"team": "a"},
        created_at=run.created_at,
        due_at=run.created_at,
        origin=run_pb2.RUN_ORIGIN_REPLAY,
        origin_id=old_id,
        trace_context={"traceparent": "00-1"},
    )
    first = (await look(jobs, run.run_id)).transitions[0]
    assert (first.reason_code, first.note, first.actor) == (
        run_pb2.TRANSITION_REASON_REPLAYED,
        "the bug is fixed",
        "caller",
    )
    old = (await look(jobs, old_id)).run
    assert (old.replayed_by, old.status) == (run.run_id, run_pb2.RUN_STATUS_CANCELED)
    newest = (await replay(jobs, old_id)).run.run_id
    assert (await look(jobs, old_id)).run.replayed_by == max(run.run_id, newest)


async def test_a_replay_may_have_its_own_payload_and_time(jobs: Jobs) -> None:
    old_id = await ended(jobs, payload_json=b"1")
    assert (await replay(jobs, old_id, payload=value_of({"a": 1.5}))).run.payload == value_of({"a": 1.5})
    in_bytes = await replay(jobs, old_id, payload_json=b"[ 2 ]", json_form=pb.JSON_FORM_BYTES)
    assert in_bytes.run.payload_json == b"[ 2 ]"
    delayed = (await replay(jobs, old_id, delay=seconds(60))).run
    assert delayed.status == run_pb2.RUN_STATUS_SCHEDULED
    assert delayed.due_at.ToDatetime() - delayed.created_at.ToDatetime() == seconds(60).ToTimedelta()
    moment = from_now(600)
    assert (await replay(jobs, old_id, run_at=moment)).run.due_at == moment
    assert (await look(jobs, old_id)).run.payload == value_of(1)


async def test_a_repeated_replay_with_a_chosen_run_id_answers_the_first_and_another_one_is_refused(
    jobs: Jobs,
) -> None:
    old_id, other_id = await ended(jobs), await ended(jobs, payload_json=b"2")
    chosen = new_run_id()
    answers = [await replay(jobs, old_id, new_run_id=chosen) for _ in range(2)]
    assert [(answer.created, answer.run.run_id) for answer in answers] == [(True, chosen), (False, chosen)]
    taken = (await enqueue(jobs, run_id=new_run_id())).run_id
    for request in (
        {"run_id": other_id, "new_run_id": chosen},
        {"run_id": old_id, "new_run_id": chosen, "payload_json": b"3"},
        {"run_id": old_id, "new_run_id": taken},
        {"run_id": old_id, "new_run_id": old_id},
    ):
        answer = await refused(jobs.ReplayRun(pb.ReplayRunRequest(**request)))
        assert (answer.code, answer.reason, answer.metadata) == ("ALREADY_EXISTS", "RUN_ID_REUSED", {}), request
    answer = await refused(enqueue(jobs, run_id=chosen))
    assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "RUN_ID_REUSED")


async def test_a_replay_never_takes_the_idempotency_key(jobs: Jobs) -> None:
    window = run_pb2.IDEMPOTENCY_WINDOW_WHILE_ACTIVE
    old_id = await ended(jobs, idempotency_key="k", idempotency_window=window)
    replayed = (await replay(jobs, old_id)).run
    assert (replayed.idempotency_key, replayed.idempotency_window) == ("", 0)
    again = await jobs.Enqueue(pb.EnqueueRequest(task="work", idempotency_key="k", idempotency_window=window))
    assert again.created
    assert again.run.run_id not in (old_id, replayed.run_id)
