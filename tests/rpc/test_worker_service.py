"""The Work stream, spoken by hand: Hello and Welcome, what running handlers tell, and batches of everything."""

from __future__ import annotations

from collections import Counter
from typing import Any

import grpc
import pytest

from layeron.job.v1 import job_service_pb2, run_pb2, task_service_pb2_grpc, worker_service_pb2_grpc
from layeron.job.v1 import worker_service_pb2 as pb
from layeron_job.ids import decode, new_run_id
from layeron_job_server.app import App
from support import eventually, worker_stream
from support.calls import Jobs, StartServer, Tasks, enqueue, enqueue_many, look, register
from support.errors import Refused, refused

MEBIBYTE = 1024 * 1024
GOOD: dict[str, Any] = {"tasks": ["work"], "queues": ["default"], "slots": 1, "protocol_version": 1, "last": True}


async def refused_hello(channel: grpc.aio.Channel, *requests: pb.WorkRequest) -> Refused:
    call = worker_service_pb2_grpc.WorkerServiceStub(channel).Work()
    for request in requests:
        await call.write(request)
    return await refused(call.read())


BAD_HELLOS: list[tuple[dict[str, Any], str]] = [
    ({"namespace": "A b"}, "hello.namespace"),
    ({"session_id": "run_1"}, "hello.session_id"),
    ({"protocol_version": 0}, "hello.protocol_version"),
    ({"protocol_version": 2}, "hello.protocol_version"),
    ({"tasks": []}, "hello.tasks"),
    ({"tasks": [f"t{n}" for n in range(501)]}, "hello.tasks"),
    ({"queues": []}, "hello.queues"),
    ({"queues": [f"q{n}" for n in range(33)]}, "hello.queues"),
    ({"queues": ["default", "Q"]}, "hello.queues[1]"),
    ({"slots": 0}, "hello.slots"),
    ({"slots": -1}, "hello.slots"),
    ({"slots": 100_001}, "hello.slots"),
]


@pytest.mark.usefixtures("jobs")
async def test_a_bad_hello_names_the_field(channel: grpc.aio.Channel) -> None:
    for change, field in BAD_HELLOS:
        answer = await refused_hello(channel, pb.WorkRequest(hello=pb.Hello(**{**GOOD, **change})))
        seen = (answer.code, answer.reason, list(answer.fields))
        assert seen == ("INVALID_ARGUMENT", "INVALID_ARGUMENT", [field]), change


@pytest.mark.usefixtures("jobs")
async def test_a_hello_with_a_malformed_task_names_it(channel: grpc.aio.Channel) -> None:
    for name in ("a\0b", "a b", ""):
        answer = await refused_hello(channel, pb.WorkRequest(hello=pb.Hello(**{**GOOD, "tasks": ["work", name]})))
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["hello.tasks[1]"])


@pytest.mark.usefixtures("jobs")
async def test_all_that_is_wrong_with_a_hello_is_named_at_once(channel: grpc.aio.Channel) -> None:
    answer = await refused_hello(channel, pb.WorkRequest(hello=pb.Hello(last=True)))
    assert set(answer.fields) == {"hello.protocol_version", "hello.tasks", "hello.queues", "hello.slots"}


@pytest.mark.usefixtures("jobs")
async def test_a_stream_that_does_not_begin_with_a_whole_hello_is_refused(channel: grpc.aio.Channel) -> None:
    begun = pb.WorkRequest(hello=pb.Hello(**{**GOOD, "last": False}))
    start = pb.WorkRequest(starts=[pb.Start(start_id=1, run_id=new_run_id())])
    for requests in ([start], [begun, start]):
        answer = await refused_hello(channel, *requests)
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["hello"])


@pytest.mark.usefixtures("jobs")
async def test_bytes_that_are_no_message_end_the_stream_as_an_invalid_argument(channel: grpc.aio.Channel) -> None:
    good = pb.WorkRequest(hello=pb.Hello(**GOOD)).SerializeToString()
    for messages in ([b"\xff\xff"], [good, b"\xff\xff"]):
        call: Any = channel.stream_stream("/layeron.job.v1.WorkerService/Work")()
        for message in messages:
            await call.write(message)
        if len(messages) > 1:
            assert pb.WorkResponse.FromString(await call.read()).HasField("welcome")
        answer = await refused(call.read())
        assert (answer.code, list(answer.fields)) == ("INVALID_ARGUMENT", ["request"])


@pytest.mark.usefixtures("jobs")
async def test_a_hello_with_a_task_that_nobody_registered_there_is_refused(channel: grpc.aio.Channel) -> None:
    for namespace, task in (("", "nobody"), ("other", "work")):
        hello = pb.Hello(**{**GOOD, "tasks": [task], "namespace": namespace})
        answer = await refused_hello(channel, pb.WorkRequest(hello=hello))
        assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "TASK_NOT_REGISTERED")
        assert answer.metadata == {"namespace": namespace or "default", "task": task}


async def test_welcome_tells_a_worker_all_it_needs(
    jobs: Jobs, tasks: Tasks, channel: grpc.aio.Channel, server: App, nats_url: str, stream_prefix: str
) -> None:
    await register(tasks, "mail", queue="mails")
    async with worker_stream(channel, tasks=["work", "mail"], queues=["mails", "default", "mails"]) as worker:
        welcome = worker.welcome
    session = decode("ses", welcome.session_id)
    consumers = [
        pb.Consumer(name=f"default_{queue}_{priority}", queue=queue, priority=priority)
        for priority in ("high", "normal", "low")
        for queue in ("mails", "default")
    ]
    assert welcome == pb.Welcome(
        session_id=welcome.session_id,
        epoch=1,
        lease_ms=server.settings.lease_ms,
        heartbeat_interval_ms=server.settings.heartbeat_interval_ms,
        nats_urls=[nats_url],
        nats_credentials=pb.NatsCredentials(),
        inbox_prefix=f"_INBOX_{session.hex}",
        stream=stream_prefix.upper(),
        consumers=consumers,
        ack_wait_ms=server.settings.ack_wait_ms,
        result_bytes_max=server.settings.result_bytes_max,
        begin_within_ms=server.settings.begin_within_ms,
        cancel_grace_ms=server.settings.cancel_grace_ms,
    )


async def test_welcome_has_the_addresses_and_credentials_that_are_meant_for_workers(
    start_server: StartServer, nats_url: str
) -> None:
    worker_url = "nats://one.test:4222, nats://two.test:4222"
    server = await start_server(nats_worker_url=worker_url, nats_user="u", nats_password="p")
    async with grpc.aio.insecure_channel(server.address) as channel:
        await register(task_service_pb2_grpc.TaskServiceStub(channel), "work")
        async with worker_stream(channel) as worker:
            assert worker.welcome.nats_urls == ["nats://one.test:4222", "nats://two.test:4222"]
            assert worker.welcome.nats_credentials == pb.NatsCredentials(user="u", password="p")


async def test_what_a_running_handler_tells_is_seen_kept_and_folded_into_its_attempt(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    run_id = (await enqueue(jobs)).run_id

    def note(progress: bytes = b"", log_tail: str = "", attempt: int = 1) -> pb.AttemptNote:
        return pb.AttemptNote(run_id=run_id, attempt=attempt, progress_json=progress, log_tail=log_tail)

    async with worker_stream(channel) as worker:
        grant = await worker.grant(1, run_id)
        await worker.say(
            begun=[pb.Begun(run_id=run_id, attempt=1, running_ms=0), pb.Begun(run_id="x", attempt=1)],
            notes=[
                note(b'{"done": 1}', "one\n"),
                note(b'{"done": 2}'),
                note(b"{", "two\n"),
                note(b'"' + b"x" * 4_096 + b'"'),
                note(b"3", "of an attempt that is not open", attempt=2),
            ],
        )

        async def told() -> Any:
            [attempt] = (await look(jobs, run_id)).attempts
            return attempt.log_tail == "two\n" and attempt

        running: run_pb2.Attempt = await eventually(told)
        assert (running.progress_json, running.HasField("begun_at")) == (b'{"done": 2}', True)
        await worker.say(notes=[note(b'{"done": 3}')])
        await worker.succeed(1, grant)
        await worker.say(notes=[note(b'"too late"')])
        await worker.beat()
    [attempt] = (await look(jobs, run_id)).attempts
    assert (attempt.progress_json in (b'{"done": 2}', b'{"done": 3}'), attempt.log_tail) == (True, "two\n")
    assert attempt.HasField("begun_at")


async def test_five_hundred_starts_and_finishes_travel_in_one_message_each(
    jobs: Jobs, channel: grpc.aio.Channel
) -> None:
    run_ids = await enqueue_many(jobs, 500, payload_json=b'"' + b"x" * 5_000 + b'"')
    async with worker_stream(channel, slots=500) as worker:
        answers = await worker.start_all(run_ids)
        assert [answer.grant.run_id for answer in answers] == run_ids
        assert sum(worker.sizes) > 2 * MEBIBYTE
        assert max(worker.sizes) <= MEBIBYTE, "answers are split"
        finishes = [
            pb.Finish(start_id=answer.start_id, run_id=answer.grant.run_id, attempt=1, result_json=b"1")
            for answer in answers
        ]
        await worker.say(finishes=finishes)
        await worker.until(lambda: len(worker.finish_answers) == 500 or None)
        assert Counter(answer.verdict for answer in worker.finish_answers.values()) == {pb.FINISH_VERDICT_RECORDED: 500}
    succeeded = job_service_pb2.RunFilter(statuses=[run_pb2.RUN_STATUS_SUCCEEDED])
    page = await jobs.ListRuns(job_service_pb2.ListRunsRequest(filter=succeeded, page_size=500))
    assert len(page.runs) == 500


async def test_payloads_at_their_limit_are_granted_many_at_once(jobs: Jobs, channel: grpc.aio.Channel) -> None:
    run_ids = [(await enqueue(jobs, payload_json=b'"' + b"x" * 262_142 + b'"')).run_id for _ in range(9)]
    async with worker_stream(channel) as worker:
        answers = await worker.start_all(run_ids)
        assert {len(answer.grant.payload_json) for answer in answers} == {262_144}
        assert max(worker.sizes) <= MEBIBYTE
