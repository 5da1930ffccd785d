"""Bad input is answered with the right code, reason and field, and leaves nothing behind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import asyncpg
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from layeron.job.v1 import job_service_pb2 as pb
from layeron.job.v1 import job_service_pb2_grpc, run_pb2, task_pb2, task_service_pb2, task_service_pb2_grpc
from layeron_job.ids import encode, new_run_id, new_uuid7
from support.errors import refused

Jobs: TypeAlias = "job_service_pb2_grpc.JobServiceAsyncStub"
Tasks: TypeAlias = "task_service_pb2_grpc.TaskServiceAsyncStub"

DAY = 86_400
TEN_YEARS = 3653 * 86_400
DEEP = b"[" * 21 + b"]" * 21


def number(value: float) -> Value:
    return Value(number_value=value)


def text(value: str) -> Value:
    return Value(string_value=value)


def nested(depth: int) -> Value:
    value = Value()
    value.list_value.values.add()
    for _ in range(depth - 1):
        outer = Value()
        outer.list_value.values.add().CopyFrom(value)
        value = outer
    return value


def seconds(value: float) -> Duration:
    return Duration(seconds=int(value), nanos=round((value - int(value)) * 1e9))


def at(offset: float) -> Timestamp:
    now = Timestamp()
    now.GetCurrentTime()
    return Timestamp(seconds=now.seconds + int(offset))


def an_enqueue(**changes: Any) -> pb.EnqueueRequest:
    return pb.EnqueueRequest(**{"task": "work", **changes})


# What is wrong, the request, and the one field that is named.
BAD_ENQUEUES: list[tuple[str, dict[str, Any], str]] = [
    ("no task", {"task": ""}, "task"),
    ("a task with a dot", {"task": "a.b"}, "task"),
    ("a task of 65 characters", {"task": "t" * 65}, "task"),
    ("a namespace in capitals", {"namespace": "Default"}, "namespace"),
    ("a namespace of 64 characters", {"namespace": "n" * 64}, "namespace"),
    ("delay and run_at", {"delay": seconds(1), "run_at": at(1)}, "delay"),
    ("a negative delay", {"delay": seconds(-1)}, "delay"),
    ("a delay of more than ten years", {"delay": seconds(TEN_YEARS + 1)}, "delay"),
    ("a delay beyond all time", {"delay": seconds(315_576_000_000)}, "delay"),
    ("a time more than ten years ahead", {"run_at": at(TEN_YEARS + DAY)}, "run_at"),
    ("a time more than ten years ago", {"run_at": at(-TEN_YEARS - DAY)}, "run_at"),
    ("a time beyond all time", {"run_at": Timestamp(seconds=10**15)}, "run_at"),
    ("a start_by before the run is due", {"delay": seconds(60), "start_by": at(30)}, "start_by"),
    ("a start_by in the past", {"start_by": at(-1)}, "start_by"),
    ("a payload over the limit", {"payload_json": b'"' + b"x" * 262_143 + b'"'}, "payload_json"),
    ("a value over the limit", {"payload": text("x" * 262_143)}, "payload"),
    ("an integer beyond 2^53", {"payload_json": b'{"id": 9007199254740993}'}, "payload_json"),
    ("an integer beyond 64 bits", {"payload_json": b"[-123456789012345678901234567890]"}, "payload_json"),
    ("an integer beyond 2^53 in a value", {"payload": number(9007199254740994.0)}, "payload"),
    ("a number beyond all doubles", {"payload_json": b"1e999"}, "payload_json"),
    ("NaN", {"payload_json": b"NaN"}, "payload_json"),
    ("NaN in a value", {"payload": number(math.nan)}, "payload"),
    ("infinity in a value", {"payload": number(-math.inf)}, "payload"),
    ("U+0000", {"payload_json": b'"a\\u0000b"'}, "payload_json"),
    ("U+0000 in a value", {"payload": text("a\0b")}, "payload"),
    ("a lone surrogate", {"payload_json": b'"\\ud800"'}, "payload_json"),
    ("depth 21", {"payload_json": DEEP}, "payload_json"),
    ("depth 21 in a value", {"payload": nested(21)}, "payload"),
    ("a depth that would exhaust a stack", {"payload_json": b"[" * 100_000 + b"]" * 100_000}, "payload_json"),
    ("invalid UTF-8", {"payload_json": b'"\xff"'}, "payload_json"),
    ("no JSON", {"payload_json": b"{"}, "payload_json"),
    ("a name twice in one object", {"payload_json": b'{"a":1,"b":{"a":2},"a":3}'}, "payload_json"),
    ("a name twice, once escaped", {"payload_json": b'[{"caf\\u00e9":1, "caf\xc3\xa9":1}]'}, "payload_json"),
    ("both payload forms", {"payload": number(1), "payload_json": b"1"}, "payload"),
    ("a payload_encoding of 64 characters", {"payload_encoding": "e" * 64}, "payload_encoding"),
    ("a malformed run id", {"run_id": "run_123"}, "run_id"),
    ("a run id of another kind", {"run_id": new_run_id().replace("run_", "att_")}, "run_id"),
    ("a run id out of range", {"run_id": "run_" + "z" * 26}, "run_id"),
    ("the nil run id", {"run_id": "run_" + "0" * 26}, "run_id"),
    ("a run id that is no UUIDv7", {"run_id": "run_" + "0" * 25 + "1"}, "run_id"),
    ("a run id of two days ago", {"run_id": encode("run", new_uuid7(1_000_000))}, "run_id"),
    ("a key of 256 characters", {"idempotency_key": "k" * 256}, "idempotency_key"),
    ("a key with U+0000", {"idempotency_key": "a\0"}, "idempotency_key"),
    ("a window without a key", {"idempotency_window": run_pb2.IDEMPOTENCY_WINDOW_FOREVER}, "idempotency_window"),
    ("a ttl without a key", {"idempotency_ttl": seconds(60)}, "idempotency_ttl"),
    (
        "a ttl for another window",
        {
            "idempotency_key": "k",
            "idempotency_window": run_pb2.IDEMPOTENCY_WINDOW_FOREVER,
            "idempotency_ttl": seconds(60),
        },
        "idempotency_ttl",
    ),
    ("a ttl under a second", {"idempotency_key": "k", "idempotency_ttl": seconds(0.5)}, "idempotency_ttl"),
    ("an unknown window", {"idempotency_key": "k", "idempotency_window": 99}, "idempotency_window"),
    ("an unknown priority", {"priority": 99}, "priority"),
    ("17 labels", {"labels": {str(n): "" for n in range(17)}}, "labels"),
    ("a label key of 64 characters", {"labels": {"k" * 64: ""}}, "labels"),
    ("a label value of 256 characters", {"labels": {"k": "v" * 256}}, "labels"),
    ("a label with U+0000", {"labels": {"k": "\0"}}, "labels"),
    ("a name of 256 characters", {"name": "n" * 256}, "name"),
    ("a name with U+0000", {"name": "\0"}, "name"),
    ("a timeout of nothing", {"timeout": seconds(0)}, "timeout"),
    ("a timeout of eight days", {"timeout": seconds(8 * 86_400)}, "timeout"),
    ("a trace context of 5 KiB", {"trace_context": {"tracestate": "x" * 5_000}}, "trace_context"),
    ("a trace context of 2,500 letters in 5,000 bytes", {"trace_context": {"baggage": "ü" * 2_500}}, "trace_context"),
    ("no attempts", {"retry": task_pb2.RetryPolicy(max_attempts=0)}, "retry.max_attempts"),
    ("1,001 attempts", {"retry": task_pb2.RetryPolicy(max_attempts=1_001)}, "retry.max_attempts"),
    ("jitter above one", {"retry": task_pb2.RetryPolicy(jitter=1.5)}, "retry.jitter"),
    ("jitter that is no number", {"retry": task_pb2.RetryPolicy(jitter=math.nan)}, "retry.jitter"),
    (
        "a fixed wait that is not said",
        {"retry": task_pb2.RetryPolicy(fixed=task_pb2.FixedBackoff())},
        "retry.fixed.delay",
    ),
    (
        "a wait of 31 days",
        {"retry": task_pb2.RetryPolicy(fixed=task_pb2.FixedBackoff(delay=seconds(31 * 86_400)))},
        "retry.fixed.delay",
    ),
    (
        "a wait beyond all time",
        {"retry": task_pb2.RetryPolicy(fixed=task_pb2.FixedBackoff(delay=seconds(315_576_000_000)))},
        "retry.fixed.delay",
    ),
    ("a list of no waits", {"retry": task_pb2.RetryPolicy(custom=task_pb2.CustomBackoff())}, "retry.custom.delays"),
    (
        "a negative wait in a list",
        {"retry": task_pb2.RetryPolicy(custom=task_pb2.CustomBackoff(delays=[seconds(1), seconds(-1)]))},
        "retry.custom.delays[1]",
    ),
    (
        "a multiplier below one",
        {"retry": task_pb2.RetryPolicy(exponential=task_pb2.ExponentialBackoff(multiplier=0.5))},
        "retry.exponential.multiplier",
    ),
    ("no time at all", {"retry": task_pb2.RetryPolicy(max_elapsed=seconds(0))}, "retry.max_elapsed"),
    (
        "an error type without a name",
        {"retry": task_pb2.RetryPolicy(non_retryable_types=[""])},
        "retry.non_retryable_types[0]",
    ),
]


@pytest.fixture
async def nothing_left_behind(jobs: Jobs, database_url: str) -> Any:
    """Checks afterwards that no row was written."""
    yield
    connection = await asyncpg.connect(database_url)
    try:
        for table in ("runs", "open_runs", "outbox", "transitions", "idempotency_keys", "run_labels"):
            assert await connection.fetchval(f"select count(*) from {table}") == 0, table
    finally:
        await connection.close()


@pytest.mark.usefixtures("nothing_left_behind")
async def test_a_bad_enqueue_names_the_field_and_leaves_nothing_behind(jobs: Jobs) -> None:
    for what, changes, field in BAD_ENQUEUES:
        answer = await refused(jobs.Enqueue(an_enqueue(**changes)))
        seen = (answer.code, answer.reason, list(answer.fields))
        assert seen == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", [field]), what
        assert field in answer.message, what


@pytest.mark.usefixtures("nothing_left_behind")
async def test_a_bad_item_of_a_batch_is_named_by_its_place_and_nothing_of_the_batch_is_made(jobs: Jobs) -> None:
    for what, changes, field in BAD_ENQUEUES:
        if field == "namespace":
            continue  # an item's namespace is that of its batch
        items = [an_enqueue(), an_enqueue(**changes), an_enqueue()]
        answer = await refused(jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items)))
        seen = (answer.code, answer.reason, list(answer.fields))
        assert seen == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", [f"items[1].{field}"]), what


@pytest.mark.usefixtures("nothing_left_behind")
async def test_every_problem_of_a_request_is_named_at_once(jobs: Jobs) -> None:
    request = an_enqueue(task="", name="n" * 300, delay=seconds(-1), payload_json=b"{", priority=9)
    answer = await refused(jobs.Enqueue(request))
    assert set(answer.fields) == {"task", "name", "delay", "payload_json", "priority"}


@pytest.mark.usefixtures("nothing_left_behind")
@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.EnqueueBatchRequest(), ["items"]),
        (pb.EnqueueBatchRequest(items=[an_enqueue()] * 1_001), ["items"]),
        (pb.EnqueueBatchRequest(items=[an_enqueue(payload_json=b'"' + b"x" * 200_000 + b'"')] * 22), ["items"]),
        (pb.EnqueueBatchRequest(namespace="A b", items=[an_enqueue()]), ["namespace"]),
        (pb.EnqueueBatchRequest(items=[an_enqueue(namespace="other")]), ["items[0].namespace"]),
    ],
    ids=["no items", "1,001 items", "over 4 MiB", "a bad namespace", "an item of another namespace"],
)
async def test_a_bad_batch_is_refused(jobs: Jobs, request_: pb.EnqueueBatchRequest, fields: list[str]) -> None:
    answer = await refused(jobs.EnqueueBatch(request_))
    assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", fields)


@pytest.mark.usefixtures("nothing_left_behind")
async def test_different_items_of_one_key_or_run_id_refuse_the_batch(jobs: Jobs) -> None:
    run_id = new_run_id()
    for field, value in (("idempotency_key", "k"), ("run_id", run_id)):
        items = [an_enqueue(payload_json=b"1", **{field: value}), an_enqueue(payload_json=b"2", **{field: value})]
        answer = await refused(jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items)))
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", [f"items[1].{field}"])


@pytest.mark.usefixtures("nothing_left_behind")
async def test_a_task_that_nobody_registered_is_refused_with_what_to_do(jobs: Jobs) -> None:
    answer = await refused(jobs.Enqueue(an_enqueue(task="nobody")))
    assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "TASK_NOT_REGISTERED")
    assert answer.metadata == {"namespace": "default", "task": "nobody"}
    assert "RegisterTasks" in answer.message
    batch = pb.EnqueueBatchRequest(items=[an_enqueue(), an_enqueue(task="nobody")])
    of_batch = await refused(jobs.EnqueueBatch(batch))
    assert (of_batch.reason, of_batch.metadata) == (answer.reason, answer.metadata)
    assert of_batch.fields == {"items[1].task": answer.message}
    assert of_batch.message == f"items[1].task: {answer.message}"


@pytest.mark.parametrize(
    ("field", "reason"), [("idempotency_key", "IDEMPOTENCY_KEY_REUSED"), ("run_id", "RUN_ID_REUSED")]
)
async def test_an_item_of_a_batch_whose_key_or_run_id_is_anothers_is_named(jobs: Jobs, field: str, reason: str) -> None:
    taken = {field: new_run_id()}
    await jobs.Enqueue(an_enqueue(**taken))
    items = [an_enqueue(), an_enqueue(payload_json=b"1", **taken)]
    answer = await refused(jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items)))
    assert (answer.code, answer.reason, list(answer.fields)) == ("ALREADY_EXISTS", reason, [f"items[1].{field}"])


async def test_an_item_of_a_batch_that_the_database_refuses_is_named_and_nothing_is_made(
    jobs: Jobs, database: asyncpg.Connection
) -> None:
    await database.execute("alter table runs add constraint no_more check (name <> 'unloved')")
    try:
        items = [an_enqueue(name="unloved" if place == 5 else "loved") for place in range(11)]
        answer = await refused(jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=items)))
    finally:
        await database.execute("alter table runs drop constraint no_more")
    assert (answer.code, answer.reason, list(answer.fields)) == ("INVALID_ARGUMENT", "CANNOT_BE_STORED", ["items[5]"])
    assert "items[5]" in answer.message
    assert "unloved" not in answer.message
    assert await database.fetchval("select count(*) from runs") == 0


def _named(message: Callable[..., Any], **rest: Any) -> Callable[[str], Any]:
    return lambda run_id: message(run_id=run_id, **rest)


@pytest.mark.parametrize("rpc", ["GetRun", "CancelRun", "ReplayRun", "WaitRun"])
async def test_a_run_that_is_malformed_unknown_or_anothers_is_refused(jobs: Jobs, rpc: str) -> None:
    call, message = getattr(jobs, rpc), getattr(pb, f"{rpc}Request")
    for bad in ("", "run_1", "x", "run_" + "0" * 26):
        answer = await refused(call(message(run_id=bad)))
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["run_id"])
    unknown = new_run_id()
    answer = await refused(call(message(run_id=unknown)))
    assert (answer.code, answer.reason) == ("NOT_FOUND", "RUN_NOT_FOUND")
    ours = (await jobs.Enqueue(an_enqueue())).run.run_id
    answer = await refused(call(message(run_id=ours, namespace="other")))
    assert (answer.code, answer.reason) == ("NOT_FOUND", "RUN_NOT_FOUND")
    assert (await jobs.GetRun(pb.GetRunRequest(run_id=ours))).run.status == run_pb2.RUN_STATUS_QUEUED


@pytest.mark.parametrize("page_size", [0, -1, 501, 2**31 - 1])
async def test_a_page_size_out_of_its_limits_is_refused(jobs: Jobs, tasks: Tasks, page_size: int) -> None:
    for call in (
        jobs.ListRuns(pb.ListRunsRequest(page_size=page_size)),
        tasks.ListTasks(task_service_pb2.ListTasksRequest(page_size=page_size)),
    ):
        answer = await refused(call)
        assert (answer.code, answer.fields) == ("INVALID_ARGUMENT", {"page_size": "must be 1 to 500"})


async def test_a_page_token_of_another_list_or_of_no_list_is_refused(jobs: Jobs, tasks: Tasks) -> None:
    await jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=[an_enqueue()] * 3))
    token = (await jobs.ListRuns(pb.ListRunsRequest(page_size=1))).next_page_token
    assert token
    for foreign in (
        pb.ListRunsRequest(page_token=token, namespace="other"),
        pb.ListRunsRequest(page_token=token, filter=pb.RunFilter(task="work")),
        pb.ListRunsRequest(page_token="rubbish"),
        pb.ListRunsRequest(page_token="AAAA"),
    ):
        answer = await refused(jobs.ListRuns(foreign))
        assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
        assert list(answer.fields) == ["page_token"]
    for rubbish in ("rubbish", token):
        answer = await refused(tasks.ListTasks(task_service_pb2.ListTasksRequest(page_token=rubbish)))
        assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize(
    ("filter_", "field"),
    [
        (pb.RunFilter(task="a b"), "filter.task"),
        (pb.RunFilter(queue="A"), "filter.queue"),
        (pb.RunFilter(statuses=[99]), "filter.statuses[0]"),  # type: ignore[list-item] # a number no client knows
        (pb.RunFilter(statuses=[run_pb2.RUN_STATUS_UNSPECIFIED]), "filter.statuses[0]"),
        (pb.RunFilter(labels={"": "x"}), "filter.labels"),
        (pb.RunFilter(idempotency_key="\0"), "filter.idempotency_key"),
        (pb.RunFilter(origin_id="run_1"), "filter.origin_id"),
        (pb.RunFilter(created_from=Timestamp(seconds=10**15)), "filter.created_from"),
    ],
)
async def test_a_bad_filter_is_refused(jobs: Jobs, filter_: pb.RunFilter, field: str) -> None:
    answer = await refused(jobs.ListRuns(pb.ListRunsRequest(filter=filter_)))
    assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", [field])


async def test_a_bad_watch_is_refused(jobs: Jobs) -> None:
    run_id = (await jobs.Enqueue(an_enqueue())).run.run_id
    statuses = pb.RunFilter(statuses=[run_pb2.RUN_STATUS_QUEUED])
    for request, field in (
        (pb.WatchRunsRequest(run_id="run_1"), "run_id"),
        (pb.WatchRunsRequest(run_id=run_id, filter=pb.RunFilter(task="work")), "filter"),
        (pb.WatchRunsRequest(run_id=run_id, resume_token="x"), "resume_token"),
        (pb.WatchRunsRequest(resume_token="x"), "resume_token"),
        (pb.WatchRunsRequest(resume_token="é"), "resume_token"),
        (pb.WatchRunsRequest(filter=statuses), "filter.statuses"),
    ):
        answer = await refused(jobs.WatchRuns(request).read())
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", [field])
    assert (await refused(jobs.WatchRuns(pb.WatchRunsRequest(run_id=new_run_id())).read())).reason == "RUN_NOT_FOUND"


async def test_cancel_of_a_finished_run_and_replay_of_an_active_one_are_refused(jobs: Jobs) -> None:
    run_id = (await jobs.Enqueue(an_enqueue(delay=seconds(60)))).run.run_id
    answer = await refused(jobs.ReplayRun(pb.ReplayRunRequest(run_id=run_id)))
    assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "RUN_NOT_FINISHED")
    assert answer.metadata == {"run_id": run_id, "status": "scheduled"}
    await jobs.CancelRun(pb.CancelRunRequest(run_id=run_id))
    assert (await jobs.CancelRun(pb.CancelRunRequest(run_id=run_id))).run.status == run_pb2.RUN_STATUS_CANCELED
    for request, field in (
        (pb.ReplayRunRequest(run_id=run_id, reason="r" * 1_025), "reason"),
        (pb.ReplayRunRequest(run_id=run_id, new_run_id="run_1"), "new_run_id"),
        (pb.ReplayRunRequest(run_id=run_id, payload=number(1), payload_json=b"1"), "payload"),
        (pb.ReplayRunRequest(run_id=run_id, delay=seconds(1), run_at=at(1)), "delay"),
    ):
        answer = await refused(jobs.ReplayRun(request))
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", [field])
    answer = await refused(jobs.CancelRun(pb.CancelRunRequest(run_id=run_id, reason="r" * 1_025)))
    assert list(answer.fields) == ["reason"]


@pytest.mark.parametrize(
    ("definitions", "fields"),
    [
        ([], ["tasks"]),
        ([{"name": f"t{n}"} for n in range(501)], ["tasks"]),
        ([{"name": "a b"}], ["tasks[0].name"]),
        ([{"name": "a"}, {"name": "a"}], ["tasks[1].name"]),
        ([{"name": "a", "queue": "Q"}], ["tasks[0].queue"]),
        ([{"name": "a", "timeout": seconds(8 * 86_400)}], ["tasks[0].timeout"]),
        ([{"name": "a", "retry": task_pb2.RetryPolicy(max_attempts=-1)}], ["tasks[0].retry.max_attempts"]),
        ([{"name": "a", "priority": 7}], ["tasks[0].priority"]),
    ],
)
async def test_a_bad_registration_is_refused(
    tasks: Tasks, definitions: list[dict[str, Any]], fields: list[str]
) -> None:
    request = task_service_pb2.RegisterTasksRequest(tasks=[task_pb2.TaskDefinition(**one) for one in definitions])
    answer = await refused(tasks.RegisterTasks(request))
    assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", fields)
    assert (await tasks.ListTasks(task_service_pb2.ListTasksRequest())).tasks == []


@pytest.mark.parametrize("rpc", ["GetTask", "PauseTask", "ResumeTask"])
async def test_a_task_that_is_malformed_or_unknown_is_refused(tasks: Tasks, rpc: str) -> None:
    call, message = getattr(tasks, rpc), getattr(task_service_pb2, f"{rpc}Request")
    answer = await refused(call(message(name="a b")))
    assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["name"])
    answer = await refused(call(message(name="nobody")))
    assert (answer.code, answer.reason) == ("NOT_FOUND", "TASK_NOT_FOUND")


@pytest.mark.parametrize("method", ["JobService/Enqueue", "JobService/WatchRuns", "TaskService/RegisterTasks"])
async def test_bytes_that_are_no_message_are_an_invalid_argument(channel: grpc.aio.Channel, method: str) -> None:
    unary: Any = channel.unary_unary
    stream: Any = channel.unary_stream
    for rubbish in (b"\xff\xff\xff", b"\x12\x02\xff\xff"):  # no message; a string that is not UTF-8
        if method.endswith("WatchRuns"):
            call: Any = stream(f"/layeron.job.v1.{method}")(rubbish).read()
        else:
            call = unary(f"/layeron.job.v1.{method}")(rubbish)
        answer = await refused(call)
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["request"])


async def test_what_is_at_its_limit_is_taken(jobs: Jobs) -> None:
    await jobs.Enqueue(
        an_enqueue(
            payload_json=b'"' + b"x" * 262_142 + b'"',
            labels={f"{n:063}": "v" * 255 for n in range(16)},
            idempotency_key="k" * 255,
            name="ü" * 255,
            payload_encoding="e" * 63,
            delay=seconds(TEN_YEARS),
            timeout=seconds(7 * 86_400),
            run_id=encode("run", new_uuid7()),
        )
    )
    for payload in (b"9007199254740991", b"-9007199254740991", b"[" * 20 + b"]" * 20, b"1e308", b'"\\ud83d\\ude00"'):
        await jobs.Enqueue(an_enqueue(payload_json=payload))
    assert len((await jobs.EnqueueBatch(pb.EnqueueBatchRequest(items=[an_enqueue()] * 1_000))).results) == 1_000
