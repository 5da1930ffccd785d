"""Enqueue and EnqueueBatch when all is well, and what a caller that goes away leaves behind."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import grpc
import orjson
import pytest

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc, run_pb2, task_pb2, task_service_pb2_grpc
from layeron_job.ids import decode, encode, new_run_id
from support.calls import Jobs, StartServer, enqueue, from_now, look, register, seconds, value_of
from support.errors import refused

DEFAULT_RETRY = task_pb2.RetryPolicy(
    max_attempts=3,
    exponential=task_pb2.ExponentialBackoff(initial=seconds(5), maximum=seconds(300), multiplier=2),
    jitter=0.1,
)


async def test_an_enqueue_of_nothing_but_a_task_answers_the_run_with_every_default_written_out(jobs: Jobs) -> None:
    answer = await jobs.Enqueue(pb.EnqueueRequest(task="work"))
    run = answer.run
    assert (answer.created, answer.pruned) == (True, False)
    assert decode("run", run.run_id).version == 7
    assert run == run_pb2.Run(
        run_id=run.run_id,
        namespace="default",
        task="work",
        queue="default",
        priority=task_pb2.PRIORITY_NORMAL,
        status=run_pb2.RUN_STATUS_QUEUED,
        payload=value_of(None),
        retry=DEFAULT_RETRY,
        timeout=seconds(300),
        created_at=run.created_at,
        due_at=run.created_at,
        origin=run_pb2.RUN_ORIGIN_ENQUEUE,
    )
    assert abs(run.created_at.ToMicroseconds() - from_now(0).ToMicroseconds()) < 10e6
    assert (await look(jobs, run.run_id)).run == run


async def test_an_enqueue_shows_everything_the_caller_chose(jobs: Jobs) -> None:
    retry = task_pb2.RetryPolicy(
        max_attempts=7,
        custom=task_pb2.CustomBackoff(delays=[seconds(1), seconds(0.25)]),
        jitter=0,
        max_elapsed=seconds(3_600),
        non_retryable_types=["ValueError"],
    )
    chosen: dict[str, Any] = {
        "run_id": new_run_id(),
        "payload_encoding": "aes-gcm;v=1",
        "idempotency_key": "order-7",
        "labels": {"team": "billing", "empty": "", "ü": "😀"},
        "name": "Rechnung für Änne",
        "priority": task_pb2.PRIORITY_HIGH,
        "timeout": seconds(0.25),
        "retry": retry,
        "start_by": from_now(60),
        "trace_context": {"traceparent": "00-1-2-01", "baggage": "a=1"},
    }
    run = await enqueue(
        jobs,
        idempotency_window=run_pb2.IDEMPOTENCY_WINDOW_TTL,
        idempotency_ttl=seconds(60),
        payload=value_of({"to": "ann"}),
        **chosen,
    )
    assert run == run_pb2.Run(
        namespace="default",
        task="work",
        queue="default",
        status=run_pb2.RUN_STATUS_QUEUED,
        payload=value_of({"to": "ann"}),
        idempotency_window=run_pb2.IDEMPOTENCY_WINDOW_TTL,
        origin=run_pb2.RUN_ORIGIN_ENQUEUE,
        created_at=run.created_at,
        due_at=run.created_at,
        **chosen,
    )
    assert (await look(jobs, run.run_id)).run == run


async def test_a_payload_in_bytes_comes_back_byte_by_byte(jobs: Jobs) -> None:
    for text in (
        b' { "b" : 1.50 ,\n\t"a":[1e2, -0, 0.10],"\\u00fc" : "\\ud83d\\ude00" } ',
        '{"ü":"😀","z":null,"a":true}'.encode(),
        b'""',
        b"null",
        b"9007199254740991",
    ):
        run = await enqueue(jobs, payload_json=text, json_form=pb.JSON_FORM_BYTES)
        again = (await look(jobs, run.run_id, json_form=pb.JSON_FORM_BYTES)).run
        as_value = (await look(jobs, run.run_id, json_form=pb.JSON_FORM_VALUE)).run
        assert (run.payload_json, again.payload_json, as_value.payload_json) == (text, text, b"")
        assert (run.HasField("payload"), again.HasField("payload")) == (False, False)
        assert as_value.payload == value_of(orjson.loads(text))


async def test_a_payload_in_a_value_keeps_its_numbers_and_its_characters(jobs: Jobs) -> None:
    thing = {
        "integers": [0, -1, 2**53 - 1, 1 - 2**53, 100, 1e21],
        "fractions": [0.1, -1.5, 1e-7, 1.7976931348623157e308, 5e-324],
        "texts": ["", "ünïcödé", "😀", "\u2028", "\x7f", '"\\/', "\u00e9"],
        "": {"nested": [[], {}, [None, True, False]]},
    }
    run = await enqueue(jobs, payload=value_of(thing))
    assert run.payload == value_of(thing)
    text = (await look(jobs, run.run_id, json_form=pb.JSON_FORM_BYTES)).run.payload_json
    assert orjson.loads(text) == thing
    assert b"[0,-1,9007199254740991,-9007199254740991,100,1e+21]" in text, "whole numbers are written as such"


async def test_the_same_request_with_the_same_key_answers_the_first_run_as_it_stands(jobs: Jobs) -> None:
    """Promise 5."""
    first = await enqueue(jobs, idempotency_key="k", payload_json=b'{"a":1,"b":2}', labels={"try": "1"})
    await jobs.CancelRun(pb.CancelRunRequest(run_id=first.run_id))
    request = pb.EnqueueRequest(
        task="work", idempotency_key="k", payload_json=b'{"b": 2, "a": 1}', labels={"try": "2"}, delay=seconds(60)
    )
    answer = await jobs.Enqueue(request)
    assert (answer.created, answer.run.run_id) == (False, first.run_id)
    assert answer.run.status == run_pb2.RUN_STATUS_CANCELED
    assert answer.run.labels == {"try": "1"}


async def test_the_same_request_with_the_same_run_id_answers_the_first_run(jobs: Jobs) -> None:
    """Promise 5."""
    request = pb.EnqueueRequest(task="work", run_id=new_run_id(), payload_json=b"1")
    answers = [await jobs.Enqueue(request) for _ in range(3)]
    assert [answer.created for answer in answers] == [True, False, False]
    assert {answer.run.run_id for answer in answers} == {request.run_id}


async def test_another_request_with_a_used_key_is_told_the_run_and_with_a_used_run_id_nothing(jobs: Jobs) -> None:
    first = await enqueue(jobs, idempotency_key="k", payload_json=b'"secret"', run_id=new_run_id())
    answer = await refused(enqueue(jobs, idempotency_key="k", payload_json=b"2"))
    assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "IDEMPOTENCY_KEY_REUSED")
    assert answer.metadata == {"run_id": first.run_id}
    assert "secret" not in answer.message
    for other in ({"payload_json": b"2"}, {"payload_json": b'"secret"', "idempotency_key": "other"}):
        answer = await refused(enqueue(jobs, run_id=first.run_id, **other))
        assert (answer.code, answer.reason, answer.metadata) == ("ALREADY_EXISTS", "RUN_ID_REUSED", {})
        assert "secret" not in answer.message


async def test_a_key_that_is_kept_forever_answers_the_pruned_run_by_its_id(
    jobs: Jobs, database: asyncpg.Connection
) -> None:
    window = run_pb2.IDEMPOTENCY_WINDOW_FOREVER
    request = pb.EnqueueRequest(task="work", idempotency_key="k", idempotency_window=window)
    run = (await jobs.Enqueue(request)).run
    await jobs.CancelRun(pb.CancelRunRequest(run_id=run.run_id))
    for table in ("runs", "ended_runs", "transitions"):
        await database.execute(f"delete from {table}")
    answer = await jobs.Enqueue(request)
    assert (answer.created, answer.pruned) == (False, True)
    assert answer.run == run_pb2.Run(run_id=run.run_id, namespace="default", task="work")
    batch = await jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=[request]))
    assert list(batch.results) == [pb.EnqueueBatchResult(run_id=run.run_id, pruned=True)]


async def test_trace_context_is_taken_from_the_calls_metadata_unless_the_request_has_its_own(jobs: Jobs) -> None:
    metadata = (("traceparent", "00-aa-bb-01"), ("tracestate", "x=1"), ("baggage", "b=2"), ("authorization", "secret"))
    batch = pb.EnqueueBatchRequest(
        items=[
            pb.EnqueueRequest(task="work"),
            pb.EnqueueRequest(task="work", trace_context={"traceparent": "00-cc-dd-00"}),
        ]
    )
    answer = await jobs.Enqueue(batch.items[0], metadata=metadata)
    assert answer.run.trace_context == {"traceparent": "00-aa-bb-01", "tracestate": "x=1", "baggage": "b=2"}
    results = (await jobs.EnqueueBatch(batch, metadata=metadata)).results
    kept = [(await look(jobs, result.run_id)).run.trace_context for result in results]
    assert kept == [answer.run.trace_context, {"traceparent": "00-cc-dd-00"}]


async def test_a_past_run_at_is_at_once_and_a_later_one_is_kept_to_the_microsecond(jobs: Jobs) -> None:
    past = await enqueue(jobs, run_at=from_now(-3_600))
    assert (past.status, past.due_at) == (run_pb2.RUN_STATUS_QUEUED, past.created_at)
    moment = from_now(3_600)
    later = await enqueue(jobs, run_at=moment)
    assert (later.status, later.due_at) == (run_pb2.RUN_STATUS_SCHEDULED, moment)
    delayed = await enqueue(jobs, delay=seconds(0.75))
    assert delayed.status == run_pb2.RUN_STATUS_SCHEDULED
    assert delayed.due_at.ToDatetime() - delayed.created_at.ToDatetime() == timedelta(seconds=0.75)


async def test_a_batch_answers_its_items_in_their_order_and_equal_ones_with_the_first(jobs: Jobs) -> None:
    before = await enqueue(jobs, idempotency_key="before")
    await jobs.CancelRun(pb.CancelRunRequest(run_id=before.run_id))
    chosen = new_run_id()
    items: list[dict[str, Any]] = [
        {"delay": seconds(60)},
        {"idempotency_key": "k"},
        {"idempotency_key": "before"},
        {"run_id": chosen, "payload_json": b"[1, 2]"},
        {"idempotency_key": "k", "labels": {"not": "compared"}},
        {},
        {"run_id": chosen, "payload_json": b"[1,2]"},
    ]
    request = pb.EnqueueBatchRequest(items=[pb.EnqueueRequest(task="work", **item) for item in items])
    results = (await jobs.EnqueueBatch(request)).results
    assert [result.created for result in results] == [True, True, False, True, False, True, False]
    queued, scheduled, canceled = (
        run_pb2.RUN_STATUS_QUEUED,
        run_pb2.RUN_STATUS_SCHEDULED,
        run_pb2.RUN_STATUS_CANCELED,
    )
    assert [result.status for result in results] == [scheduled, queued, canceled, queued, queued, queued, queued]
    ids = [result.run_id for result in results]
    assert (ids[2], ids[3], ids[4], ids[6]) == (before.run_id, chosen, ids[1], chosen)
    assert len(set(ids)) == 5
    again = (await jobs.EnqueueBatch(request)).results
    assert [result.created for result in again] == [True, False, False, False, False, True, False]
    assert [result.run_id for result in again][1:5] == ids[1:5]


@pytest.mark.parametrize("other", [{}, {"idempotency_key": "b"}])
async def test_a_batch_refuses_items_of_one_run_id_with_different_keys_as_two_calls_would(
    jobs: Jobs, other: dict[str, Any]
) -> None:
    run_id = new_run_id()
    one = pb.EnqueueRequest(task="work", run_id=run_id, idempotency_key="a")
    two = pb.EnqueueRequest(task="work", run_id=run_id, **other)
    answer = await refused(jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=[one, two])))
    assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["items[1].run_id"])


async def test_callers_that_go_away_leave_each_run_whole_or_not_at_all_and_the_server_well(
    start_server: StartServer, database: asyncpg.Connection
) -> None:
    server = await start_server(database_pool_size=4)
    async with grpc.aio.insecure_channel(server.address) as channel:
        await register(task_service_pb2_grpc.TaskServiceStub(channel), "work")
        jobs: Jobs = job_service_pb2_grpc.JobServiceStub(channel)
        requests: list[pb.EnqueueRequest] = []
        ended: list[object] = []
        missed = limit = 1
        # Deadlines grow until all calls of a wave meet theirs: by then some have passed at every stage of a call.
        while missed:
            wave = [pb.EnqueueRequest(task="work", run_id=new_run_id(), labels={"a": "b"}) for _ in range(20)]
            calls = [jobs.Enqueue(request, timeout=limit / 1_000) for request in wave]
            lists = [jobs.ListRuns(pb.ListRunsRequest(), timeout=limit / 1_000) for _ in range(5)]
            answers = await asyncio.gather(*calls, *lists, return_exceptions=True)
            missed = sum(isinstance(answer, BaseException) for answer in answers)
            requests += wave
            ended += answers
            limit += 2
        failed = {error.code() for error in ended if isinstance(error, grpc.aio.AioRpcError)}
        assert failed == {grpc.StatusCode.DEADLINE_EXCEEDED}
        asked = [request.run_id for request in requests]
        answered = {answer.run.run_id for answer in ended if isinstance(answer, pb.EnqueueResponse)}
        # Twice as many as the pool has connections: none of those has been lost.
        await asyncio.gather(*(jobs.ListRuns(pb.ListRunsRequest(), timeout=5) for _ in range(8)))
        made = {encode("run", row[0]) for row in await database.fetch("select run_id from runs")}
        assert answered <= made <= set(asked)
        for table in ("open_runs", "transitions", "run_labels"):
            assert {encode("run", row[0]) for row in await database.fetch(f"select run_id from {table}")} == made, table
        again = [await jobs.Enqueue(request, timeout=5) for request in requests]
        assert [answer.created for answer in again] == [run_id not in made for run_id in asked]
