"""GetRun and ListRuns: what is known of a run, and pages of many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import asyncpg
import grpc

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import run_pb2, task_pb2
from layeron.job.v1 import worker_service_pb2 as work_pb2
from layeron_job.ids import attempt_id
from support import eventually, worker_stream
from support.calls import Jobs, Tasks, enqueue, look, register, seconds, value_of


async def test_get_run_tells_the_whole_story_with_the_running_attempt(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    retry = task_pb2.RetryPolicy(fixed=task_pb2.FixedBackoff(delay=seconds(0)))
    run_id = (await enqueue(jobs, retry=retry)).run_id
    async with worker_stream(channel, build_id="build-7") as worker:
        grant = await worker.grant(1, run_id)
        await worker.fail(1, grant, error_type="OSError", error_message="no route", error_detail="Traceback …")
        await worker.grant(2, run_id)
        note = work_pb2.AttemptNote(run_id=run_id, attempt=2, progress_json=b'{"done": 0.5}', log_tail="half way\n")
        await worker.say(notes=[note], begun=[work_pb2.Begun(run_id=run_id, attempt=2, running_ms=0)])

        async def noted() -> Any:
            seen = await look(jobs, run_id)
            return seen.attempts[1].log_tail and seen.attempts[1].HasField("begun_at") and seen

        seen: pb.GetRunResponse = await eventually(noted)
    run, (failed, running) = seen.run, seen.attempts
    assert (run.status, run.attempt, run.counted_attempts) == (run_pb2.RUN_STATUS_RUNNING, 2, 1)
    assert (run.HasField("due_at"), run.HasField("finished_at")) == (False, False)
    assert run.started_at == failed.granted_at
    assert failed == run_pb2.Attempt(
        attempt_id=attempt_id(run_id, 1),
        number=1,
        status=run_pb2.ATTEMPT_STATUS_FAILED,
        granted_at=failed.granted_at,
        ended_at=failed.ended_at,
        retry_at=failed.ended_at,
        error_type="OSError",
        error_message="no route",
        error_detail="Traceback …",
        session_id=worker.welcome.session_id,
        worker_build="build-7",
    )
    assert running == run_pb2.Attempt(
        attempt_id=attempt_id(run_id, 2),
        number=2,
        status=run_pb2.ATTEMPT_STATUS_RUNNING,
        granted_at=running.granted_at,
        begun_at=running.begun_at,
        session_id=worker.welcome.session_id,
        worker_build="build-7",
        progress_json=b'{"done": 0.5}',
        log_tail="half way\n",
    )
    assert [(t.reason_code, t.actor, t.attempt, t.note) for t in seen.transitions] == [
        (run_pb2.TRANSITION_REASON_ENQUEUED, "caller", 0, ""),
        (run_pb2.TRANSITION_REASON_STARTED, worker.welcome.session_id, 1, ""),
        (run_pb2.TRANSITION_REASON_ATTEMPT_FAILED, worker.welcome.session_id, 1, "OSError: no route"),
        (run_pb2.TRANSITION_REASON_STARTED, worker.welcome.session_id, 2, ""),
    ]
    assert [t.seq for t in seen.transitions] == [0, 1, 2, 3]
    assert all(one.to_status == two.from_status for one, two in pairwise(seen.transitions))
    assert (seen.transitions[0].from_status, seen.transitions[3].to_status) == (0, run.status)


async def test_the_views_and_forms_of_a_finished_run(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    run_id = (await enqueue(jobs, payload_json=b"[1, 2]", trace_context={"traceparent": "00-1"})).run_id
    async with worker_stream(channel) as worker:
        await worker.succeed(1, await worker.grant(1, run_id), b'{ "sum": 3 }')
    full = (await look(jobs, run_id)).run
    assert (full.payload, full.result) == (value_of([1, 2]), value_of({"sum": 3}))
    assert (full.payload_json, full.result_json) == (b"", b"")
    in_bytes = (await look(jobs, run_id, view=pb.RUN_VIEW_FULL, json_form=pb.JSON_FORM_BYTES)).run
    assert (in_bytes.payload_json, in_bytes.result_json) == (b"[1, 2]", b'{ "sum": 3 }')
    assert (in_bytes.HasField("payload"), in_bytes.HasField("result")) == (False, False)
    basic = (await look(jobs, run_id, view=pb.RUN_VIEW_BASIC)).run
    for field in ("payload", "result", "trace_context"):
        full.ClearField(field)
    assert basic == full
    assert basic.finished_at.ToMicroseconds() >= basic.started_at.ToMicroseconds()


async def pages_of(jobs: Jobs, **fields: Any) -> list[Sequence[run_pb2.Run]]:
    """All pages of a list."""
    pages: list[Sequence[run_pb2.Run]] = []
    request = pb.ListRunsRequest(**fields)
    while True:
        answer = await jobs.ListRuns(request)
        pages.append(answer.runs)
        if not answer.next_page_token:
            return pages
        assert answer.runs, "a page that is not the last one has runs"
        request.page_token = answer.next_page_token


async def test_every_filter_selects_what_it_says_and_all_of_them_together(
    jobs: Jobs, tasks: Tasks, channel: grpc.aio.Channel
) -> None:
    await register(tasks, "mail", queue="mails")
    await register(tasks, "work", namespace="other")
    await enqueue(jobs, namespace="other", labels={"team": "a"}, idempotency_key="k")
    a = (await enqueue(jobs, labels={"team": "a", "tier": "1"}, idempotency_key="k")).run_id
    b = (await enqueue(jobs, labels={"team": "a", "tier": "2"}, delay=seconds(60))).run_id
    c = await enqueue(jobs, task="mail", labels={"team": "b"}, idempotency_key="k")
    d = (await enqueue(jobs, task="mail", labels={"team": "a"})).run_id
    e = (await enqueue(jobs)).run_id
    await jobs.CancelRun(pb.CancelRunRequest(run_id=d))
    f = (await jobs.ReplayRun(pb.ReplayRunRequest(run_id=d))).run.run_id
    queued, scheduled, running = run_pb2.RUN_STATUS_QUEUED, run_pb2.RUN_STATUS_SCHEDULED, run_pb2.RUN_STATUS_RUNNING
    succeeded, canceled = run_pb2.RUN_STATUS_SUCCEEDED, run_pb2.RUN_STATUS_CANCELED
    selections: list[tuple[set[str], dict[str, Any]]] = [
        ({a, b, c.run_id, d, e, f}, {}),
        ({a, b, e}, {"task": "work"}),
        (set(), {"task": "nobody"}),
        ({c.run_id, d, f}, {"queue": "mails"}),
        ({a, b, d, f}, {"labels": {"team": "a"}}),
        ({b}, {"labels": {"team": "a", "tier": "2"}}),
        (set(), {"labels": {"team": "b", "tier": "2"}}),
        ({a, c.run_id}, {"idempotency_key": "k"}),
        ({f}, {"origin_id": d}),
        ({c.run_id, d, e, f}, {"created_from": c.created_at}),
        ({a, b}, {"created_before": c.created_at}),
        ({a}, {"statuses": [succeeded]}),
        ({c.run_id, f}, {"statuses": [queued]}),
        ({b, d, e}, {"statuses": [scheduled, running, canceled]}),
        ({a, d}, {"labels": {"team": "a"}, "statuses": [succeeded, canceled]}),
        ({d}, {"task": "mail", "queue": "mails", "labels": {"team": "a"}, "statuses": [canceled]}),
    ]
    async with worker_stream(channel) as worker:
        await worker.succeed(1, await worker.grant(1, a))
        await worker.grant(2, e)
        for expected, wanted in selections:
            [page] = await pages_of(jobs, filter=pb.RunFilter(**wanted))
            assert [run.run_id for run in page] == sorted(expected, reverse=True), wanted


async def test_pages_have_every_run_once_newest_first_and_each_namespace_its_own(jobs: Jobs, tasks: Tasks) -> None:
    """Promise 10."""
    await register(tasks, "mail", queue="mails")
    await register(tasks, "work", namespace="other")
    items = [pb.EnqueueRequest(task=("work", "mail")[n % 2]) for n in range(23)]
    made = [result.run_id for result in (await jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items))).results]
    batch = pb.EnqueueBatchRequest(namespace="other", items=[pb.EnqueueRequest(task="work")] * 7)
    others = [result.run_id for result in (await jobs.EnqueueBatch(batch)).results]
    pages = await pages_of(jobs, page_size=5)
    assert [len(page) for page in pages] == [5, 5, 5, 5, 3]
    assert [run.run_id for page in pages for run in page] == sorted(made, reverse=True)
    [page] = await pages_of(jobs, namespace="other", page_size=7)
    assert [run.run_id for run in page] == sorted(others, reverse=True)
    assert {run.namespace for run in page} == {"other"}
    assert await pages_of(jobs, namespace="nobody") == [[]]


async def test_a_list_of_a_namespace_with_very_many_tasks_is_quick(jobs: Jobs, tasks: Tasks) -> None:
    for start in range(0, 2_000, 500):
        await register(tasks, *(f"task{number}" for number in range(start, start + 500)))
    made = [(await enqueue(jobs, task=task)).run_id for task in ("work", "task7", "task999")]
    every_status = [status for status in run_pb2.RunStatus.values() if status]
    request = pb.ListRunsRequest(filter=pb.RunFilter(statuses=every_status))
    page = (await jobs.ListRuns(request, timeout=2)).runs
    assert [run.run_id for run in page] == sorted(made, reverse=True)


async def test_runs_made_or_ended_between_two_pages_shift_nothing(jobs: Jobs) -> None:
    made = sorted([(await enqueue(jobs)).run_id for _ in range(4)], reverse=True)
    first = await jobs.ListRuns(pb.ListRunsRequest(page_size=2))
    await enqueue(jobs)
    for run_id in made:
        await jobs.CancelRun(pb.CancelRunRequest(run_id=run_id))
    second = await jobs.ListRuns(pb.ListRunsRequest(page_size=2, page_token=first.next_page_token))
    assert [run.run_id for run in (*first.runs, *second.runs)] == made
    assert second.next_page_token == ""


async def test_a_page_ends_before_two_mebibytes_and_never_empty(jobs: Jobs) -> None:
    text = b'"' + b"x" * 262_142 + b'"'
    made = sorted([(await enqueue(jobs, payload_json=text)).run_id for _ in range(9)], reverse=True)
    pages = await pages_of(jobs, view=pb.RUN_VIEW_FULL, json_form=pb.JSON_FORM_BYTES)
    assert [len(page) for page in pages] == [7, 2]
    assert [run.run_id for page in pages for run in page] == made
    assert {run.payload_json for page in pages for run in page} == {text}
    [basic] = await pages_of(jobs)
    assert [(run.run_id, run.payload_json, run.HasField("payload")) for run in basic] == [(i, b"", False) for i in made]


async def test_a_page_in_values_fits_into_what_a_grpc_client_takes_unasked(jobs: Jobs) -> None:
    """A number of two bytes of text takes eleven as a Value; clients refuse messages above 4 MiB unless told."""
    text = b"[" + b",".join([b"1"] * 130_000) + b"]"
    made = sorted([(await enqueue(jobs, payload_json=text, json_form=pb.JSON_FORM_BYTES)).run_id for _ in range(4)])
    pages = await pages_of(jobs, view=pb.RUN_VIEW_FULL)
    assert sorted(run.run_id for page in pages for run in page) == made


async def test_a_run_with_many_noisy_attempts_can_be_read_by_a_client_that_was_not_told_of_it(
    jobs: Jobs, database: asyncpg.Connection
) -> None:
    run_id = (await enqueue(jobs)).run_id
    await database.execute(
        "insert into attempts (run_id, number, status, session_id, granted_at, error_message, error_detail, log_tail) "
        "select run_id, n, 'interrupted', run_id, now(), repeat('x', 8192), repeat('y', 32768), repeat('z', 32768) "
        "from runs, generate_series(1, 600) n"
    )
    attempts = (await look(jobs, run_id)).attempts
    assert [attempt.number for attempt in attempts] == list(range(1, 601))
    newest = attempts[-1]
    assert (len(newest.error_message), len(newest.error_detail), len(newest.log_tail)) == (8_192, 32_768, 32_768)
